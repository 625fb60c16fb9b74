"""Raw-image feeds of rovers: what is new is fetched into the archive's inbox, and listed from there.

`Mars2020Feed` and `MslFeed` are settings; `poll(inbox)` goes to the network, `list(inbox)` does not. Add a feed: one
frozen dataclass with the members of `seam.Speaks`, `poll` and `list`, and a line in the union of sources.
"""

from interpdisc_core.feeds.manners import Manners as Manners
from interpdisc_core.feeds.mars2020 import Mars2020Feed as Mars2020Feed
from interpdisc_core.feeds.msl import MslFeed as MslFeed
from interpdisc_core.feeds.seam import Polled as Polled
