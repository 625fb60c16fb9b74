"""Where one poll's records are dealt with: known, new, sent again, amended, or put off."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from interpdisc_core.feeds.arrivals import Arrival, Page, fields_of
from interpdisc_core.feeds.client import Client, Trouble
from interpdisc_core.feeds.downloads import fetch
from interpdisc_core.feeds.inbox import Fetched, Inbox, arrival_name, outstanding_name, record_name
from interpdisc_core.feeds.seam import Polled, Speaks

_FAR = 8
"""After this many images in a row that the host could not give, it is left alone until the next poll."""
_AGAIN = 500
"""So many outstanding images are tried in one poll, those with the fewest tries first."""


@dataclass(slots=True)
class Desk:
    """What one poll knows and has done so far.

    put_off: outstanding images from before this poll, by file: in how many polls they were tried. failed: in this one.
    """

    feed: Speaks
    client: Client
    box: Inbox
    put_off: dict[str, int]
    partials: set[str]
    pool: ThreadPoolExecutor
    pages: int = 0
    new: int = 0
    resent: int = 0
    amended: int = 0
    fetched_bytes: int = 0
    newest: datetime | None = None
    left_out: set[str] = field(default_factory=set)
    unfamiliar: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    _records: dict[str, set[str]] = field(default_factory=dict)
    _arrivals: dict[str, set[str]] = field(default_factory=dict)
    _fetched: dict[str, Fetched] = field(default_factory=dict)
    _contents: dict[int | None, dict[str, set[str]]] = field(default_factory=dict)
    _far: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, feed: Speaks, client: Client, box: Inbox) -> "Desk":
        """A desk at the beginning of a poll."""
        put_off = {item.file: item.tries for item in box.outstanding()}
        return cls(feed, client, box, put_off, box.partials(), ThreadPoolExecutor(feed.manners.together))

    def polled(self) -> Polled:
        """What was done so far."""
        return Polled(
            feed=self.box.feed, new=self.new, resent=self.resent, amended=self.amended, left_out=len(self.left_out),
            pages=self.pages, fetched_bytes=self.fetched_bytes,
            newest_received=self.newest.isoformat() if self.newest else "",
            unfamiliar=tuple(sorted(self.unfamiliar)[:20]),
        )  # fmt: skip

    def page(self, number: int) -> Page:
        """A page of the feed. Raises Trouble where it cannot be had or has no records that can be told."""
        page = self.feed.page(self.client.json(self.feed.page_url(number)))
        if page is None:
            raise Trouble("the feed's answer has no list of records: its schema may have changed")
        self.pages += 1
        self.unfamiliar |= {name for name in fields_of(page.records) if not self.feed.familiar(name)}
        return page

    def take(self, arrivals: list[Arrival]) -> bool:
        """Take in what is new of a page. Returns whether nothing was. Raises Trouble where the host gives up."""
        first: dict[str, Arrival] = {}
        further: dict[str, Arrival] = {}
        for arrival in arrivals:
            self.newest = max(filter(None, (self.newest, arrival.received)), default=None)
            if not self.feed.wanted(arrival):
                self.left_out.add(record_name(arrival))
            elif outstanding_name(arrival) in self.put_off or outstanding_name(arrival) in self.failed:
                continue  # its turn comes, or came
            elif not self._kept(arrival) and first.setdefault(arrival_name(arrival), arrival).digest != arrival.digest:
                further[record_name(arrival)] = arrival
        fresh = [arrival for arrival in first.values() if not self._kept(arrival)]
        self._fetch(fresh)
        self._fetch(list(further.values()))
        return not fresh and not further

    def outstanding_again(self) -> None:
        """Try what could not be fetched before this poll. Raises Trouble where the host gives up."""
        waiting = []
        for item in sorted(self.box.outstanding(), key=lambda item: (item.tries, item.file)):
            arrival = self.feed.arrival(item.record)
            if item.file != outstanding_name(arrival):  # another address by the feed's settings of now: seen as new
                self.box.settled(item.file)
            elif item.file not in self.failed:  # once a poll is enough
                waiting.append(arrival)
        self._fetch(waiting[:_AGAIN])

    def _kept(self, arrival: Arrival) -> bool:
        day = arrival.day
        if day not in self._records:
            self._records[day] = self.box.known(day)
            self._arrivals[day] = {name.rpartition("-")[0] for name in self._records[day]}
        return record_name(arrival) in self._records[day]

    def _fetch(self, arrivals: list[Arrival]) -> None:
        running: list[Future[None]] = []
        for arrival in arrivals:
            if self._kept(arrival):  # killed between two writes: taken in, and still noted as outstanding
                self.box.settled(outstanding_name(arrival))
            else:
                running.append(self.pool.submit(self._one, arrival, self._image_of(arrival)))
        try:
            for future in running:
                future.result()
        except BaseException:
            self.client.stop.set()
            for future in running:
                future.cancel()
            raise

    def _one(self, arrival: Arrival, known: Fetched | None) -> None:
        """Fetch an image and keep it with its record. known: what was fetched for an earlier wording of the record."""
        name = self.box.partial(arrival)
        tries = self.put_off.get(outstanding_name(arrival), 0)
        try:
            if not arrival.url:
                raise Trouble("its record names no image")
            etag = known.etag if known else ""
            body = fetch(self.client, self.box.place, name, arrival.url, begun=name in self.partials, etag=etag)
        except Trouble as error:
            if self.client.stop.is_set():
                raise
            self.box.put_off(arrival, str(error), tries + 1, now())
            self.failed.add(outstanding_name(arrival))
            self._give_up_after(error)
            return
        if body is None and known:
            image, have = known, {known.name.rpartition("/")[2]}
        elif body:
            with self._lock:
                have = self._taken(arrival)
            image = self.box.take(arrival, body.data, body.sha256, body.etag, now())
        self.box.keep(arrival, image)
        if tries:
            self.box.settled(outstanding_name(arrival))
        with self._lock:
            self._count(arrival, image, have, fetched=body is not None)

    def _count(self, arrival: Arrival, image: Fetched, have: set[str], *, fetched: bool) -> None:
        content = image.name.rpartition("/")[2]
        if content in have:
            self.amended += 1
        else:
            self.resent, self.new = self.resent + bool(have), self.new + (not have)
            have.add(content)
        self.fetched_bytes += image.size if fetched else 0
        self._far = 0
        self._records[arrival.day].add(record_name(arrival))
        self._arrivals[arrival.day].add(arrival_name(arrival))
        self._fetched[arrival_name(arrival)] = image
        self.touched.add(arrival.day)

    def _image_of(self, arrival: Arrival) -> Fetched | None:
        """What was fetched for an earlier wording of this record."""
        name = arrival_name(arrival)
        if name in self._arrivals[arrival.day] and name not in self._fetched:
            kept = self.box.of_day(arrival.day)
            self._fetched |= {item.file.rpartition("-")[0]: item.image for item in kept}
        return self._fetched.get(name)

    def _taken(self, arrival: Arrival) -> set[str]:
        """The contents that are there of this image."""
        if arrival.sol not in self._contents:
            by_id: dict[str, set[str]] = {}
            for name in self.box.contents(arrival.sol):
                by_id.setdefault(name.rpartition("-")[0], set()).add(name)
            self._contents[arrival.sol] = by_id
        return self._contents[arrival.sol].setdefault(arrival.name, set())

    def _give_up_after(self, error: Trouble) -> None:
        with self._lock:
            self._far = self._far + 1 if error.far else 0
            if self._far < _FAR:
                return
        raise Trouble(f"{_FAR} images in a row could not be had, the last because: {error}", far=True)


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
