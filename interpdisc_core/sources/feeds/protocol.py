"""What a poll needs of a feed, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from interpdisc_core.sources.feeds.record import ArrivalRecord, FeedPage, RawRecord
from interpdisc_core.sources.feeds.settings import HttpPolicy


class FeedAdapter(Protocol):
    """A feed as a poll uses it."""

    @property
    def inbox_name(self) -> str:
        """The folder of this feed in the archive's inbox."""

    @property
    def http_policy(self) -> HttpPolicy:
        """Rate limits, retries and limits of size for its server."""

    @property
    def overlap_days(self) -> float:
        """How many days before the newest record of the last poll a poll reads."""

    @property
    def url(self) -> str:
        """The feed's address."""

    def query_digest(self) -> str:
        """A digest of the settings that select records; after a change a poll reads all pages again."""

    def page_url(self, number: int) -> str:
        """The URL of page `number`, counted from 0, newest records first."""

    def parse_page(self, payload: Any) -> FeedPage | None:
        """The records of an answer (JSON); None if it has no list of records."""

    def parse_arrival(self, record: RawRecord) -> ArrivalRecord:
        """The parts of a record that are needed to fetch its image. Never raises."""

    def is_wanted(self, arrival: ArrivalRecord) -> bool:
        """Whether this image is fetched, by its camera."""

    def is_known_field(self, name: str) -> bool:
        """Whether a record's field of this name is known; nested names have a dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollResult:
    """What a poll did.

    Args:
        feed: Name of the inbox.
        new: Images fetched whose ids were unknown.
        resent: Images fetched that are other contents of known ids.
        amended: Records that changed while their image did not.
        outstanding: Images that could not be fetched so far.
        excluded: Images of cameras that are not wanted.
        pages: Pages read.
        fetched_bytes: Of images.
        newest_received: Newest reception time of the records read, ISO 8601, or empty.
        cursor: The same of the last complete poll.
        silent_for_seconds: Since a poll last fetched an image.
        unknown_fields: Names of records' fields that this program does not know, at most 20.
        complete: Whether it read to its end. If not, the next poll resumes.
        failure: Why it is not complete.
    """

    feed: str
    new: int = 0
    resent: int = 0
    amended: int = 0
    outstanding: int = 0
    excluded: int = 0
    pages: int = 0
    fetched_bytes: int = 0
    newest_received: str = ""
    cursor: str = ""
    silent_for_seconds: float = 0.0
    unknown_fields: tuple[str, ...] = ()
    complete: bool = False
    failure: str = ""


PollReporter = Callable[[PollResult], None]


def ignore_progress(result: PollResult) -> None:
    """A `PollReporter` that does nothing."""
