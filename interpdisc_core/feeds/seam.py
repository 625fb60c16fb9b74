"""The two sides of a poll: what it needs of a feed, and what it says it did."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from interpdisc_core.feeds.arrivals import Arrival, Page, Record
from interpdisc_core.feeds.manners import Manners


class Speaks(Protocol):
    """A feed, as a poll needs it."""

    @property
    def called(self) -> str:
        """Its name in the inbox."""

    @property
    def manners(self) -> Manners:
        """How its server is treated."""

    @property
    def overlap_days(self) -> float:
        """How far back of the newest record a poll looks."""

    @property
    def url(self) -> str:
        """Its address."""

    def asked(self) -> str:
        """A digest of the settings that say which records are wanted."""

    def page_url(self, number: int) -> str:
        """The address of a page, newest records first, from 0."""

    def page(self, payload: Any) -> Page | None:
        """An answer's records, None where it has none that can be told."""

    def arrival(self, record: Record) -> Arrival:
        """The view of a record; never raises."""

    def wanted(self, arrival: Arrival) -> bool:
        """Whether this camera's images are taken."""

    def familiar(self, name: str) -> bool:
        """Whether a field of this name is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What a poll did. new: images of ids not seen before; resent: other contents of known ones.

    amended: records that changed while their image did not. outstanding: images that cannot be had so far, by now.
    left_out: of cameras that are not wanted. pages, fetched_bytes: what was read. newest_received: of all records
    seen, ISO 8601; cursor: of the last whole poll. silent_for_seconds: since a poll last brought something.
    unfamiliar: fields that this program has not heard of. complete: it came to its end; else `trouble` says why not,
    and the next poll goes on.
    """

    feed: str
    new: int = 0
    resent: int = 0
    amended: int = 0
    outstanding: int = 0
    left_out: int = 0
    pages: int = 0
    fetched_bytes: int = 0
    newest_received: str = ""
    cursor: str = ""
    silent_for_seconds: float = 0.0
    unfamiliar: tuple[str, ...] = ()
    complete: bool = False
    trouble: str = ""


Report = Callable[[Polled], None]


def quiet(polled: Polled) -> None:
    """Tell nobody."""
