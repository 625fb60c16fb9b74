"""What NASA's raw-image feeds have in common: their settings, polling and listing."""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from interpdisc_core import digest
from interpdisc_core.errors import PlanError
from interpdisc_core.settings import settings
from interpdisc_core.sources.entry import SourceEntry
from interpdisc_core.sources.feeds.list_inbox import list_inbox
from interpdisc_core.sources.feeds.poll import poll_feed
from interpdisc_core.sources.feeds.protocol import PollReporter, PollResult, ignore_progress
from interpdisc_core.sources.feeds.record import ArrivalRecord, FeedPage, is_from_cameras, parse_feed_page
from interpdisc_core.sources.feeds.settings import HttpPolicy
from interpdisc_core.storage.location import Location


@settings
class NasaFeed:
    """Settings of a feed; its subclasses say which.

    Args:
        url: The feed's address.
        name: Of the inbox; empty: the mission or category.
        since_sol: Older sols are not requested.
        cameras: Instruments to fetch, in any case; empty: all.
        page_size: Records of a page; the servers give at most 100.
        overlap_days: How far before the newest record of the last poll a poll reads, for records published late.
        patience: Polls after which an image that cannot be fetched is listed with a `skip_reason`; later polls still
            try to fetch it.
        http_policy: How the server is treated.
    """

    url: str = ""
    name: str = ""
    since_sol: Annotated[int, Field(ge=0)] | None = None
    cameras: tuple[str, ...] = ()
    page_size: Annotated[int, Field(ge=1, le=100)] = 100
    overlap_days: Annotated[float, Field(ge=0, le=10_000)] = 7.0
    patience: Annotated[int, Field(ge=1)] = 3
    http_policy: HttpPolicy = field(default_factory=HttpPolicy)

    _list_key: ClassVar[str]
    """The field of an answer that holds its records."""
    _known_fields: ClassVar[frozenset[str]]
    """Names of a record's fields, nested ones with a dot; others are reported by a poll."""

    def __post_init__(self) -> None:
        if not _is_feed_url(self.url):
            raise PlanError(f"{self.url!r} is not the address of a feed; it begins with https:// or http://.")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", self.inbox_name):
            raise PlanError(
                f"{self.inbox_name!r} cannot name an inbox; use letters, digits, - and _, at most 40 characters."
            )

    @property
    def inbox_name(self) -> str:
        """See `FeedAdapter`."""
        raise NotImplementedError

    def parse_page(self, payload: Any) -> FeedPage | None:
        """See `FeedAdapter`."""
        return parse_feed_page(payload, self._list_key)

    def is_wanted(self, arrival: ArrivalRecord) -> bool:
        """See `FeedAdapter`."""
        return is_from_cameras(arrival, self.cameras)

    def is_known_field(self, name: str) -> bool:
        """See `FeedAdapter`."""
        return name in self._known_fields

    def poll(self, inbox: Location, report: PollReporter = ignore_progress) -> PollResult:
        """Fetch new images into the archive's inbox; see `interpdisc_core.sources.feeds.poll.poll_feed`."""
        return poll_feed(self, inbox, report)

    def list(self, inbox: Location | None = None) -> Iterator[SourceEntry]:
        """The images in the inbox; see `interpdisc_core.sources.feeds.list_inbox.list_inbox`."""
        return list_inbox(self, inbox, self.patience)

    # The parts of `FeedAdapter` that differ.

    def query_digest(self) -> str:
        """See `FeedAdapter`."""
        raise NotImplementedError

    def page_url(self, number: int) -> str:
        """See `FeedAdapter`."""
        raise NotImplementedError

    def parse_arrival(self, record: dict[str, Any]) -> ArrivalRecord:
        """See `FeedAdapter`."""
        raise NotImplementedError

    def _sol_condition(self) -> dict[str, str]:
        """The parameter of a page's address that leaves out older sols."""
        return {} if self.since_sol is None else {"condition_2": f"{self.since_sol}:sol:gte"}


def digest_query(*settings: Any) -> str:
    """A digest of the settings that select records."""
    return digest.digest_json(list(settings))


def _is_feed_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment
    except ValueError:
        return False
