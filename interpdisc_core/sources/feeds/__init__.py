"""The raw-image feeds of rovers: polling fetches new images into the archive's inbox, listing reads the inbox.

`Mars2020Feed` and `MslFeed` are settings; `poll(inbox)` uses the network, `list(inbox)` does not. To add a feed of NASA's
kind, derive from `nasa_feed.NasaFeed`; any other implements `protocol.FeedAdapter`, `poll` and `list`. Then add it to the
union `Source` in `interpdisc_core.sources`.

May import the other modules of `sources` and what is below. Owns the archive's `inbox/` (see `inbox`).
"""

from interpdisc_core.sources.feeds.mars2020 import Mars2020Feed as Mars2020Feed
from interpdisc_core.sources.feeds.msl import MslFeed as MslFeed
from interpdisc_core.sources.feeds.protocol import PollResult as PollResult
from interpdisc_core.sources.feeds.settings import HttpPolicy as HttpPolicy
