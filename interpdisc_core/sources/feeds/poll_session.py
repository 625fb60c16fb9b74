"""The state of one poll, which sorts records into known, new, resent, amended and deferred ones."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from interpdisc_core.provenance import utc_now
from interpdisc_core.sources.feeds.download import download_image
from interpdisc_core.sources.feeds.http_client import FetchError, HttpClient
from interpdisc_core.sources.feeds.inbox import FetchedImage, Inbox, arrival_name, outstanding_name, record_name
from interpdisc_core.sources.feeds.protocol import FeedAdapter, PollResult
from interpdisc_core.sources.feeds.record import ArrivalRecord, FeedPage, collect_field_names

_MAX_HOST_FAILURES = 8
"""After this many failed images in a row the host is left alone until the next poll."""
_MAX_RETRIES = 500
"""Outstanding images tried in one poll, those with the fewest tries first."""


@dataclass(slots=True)
class PollSession:
    """What one poll knows and has done so far.

    `deferred` are the outstanding images of earlier polls, by file, with the number of polls that tried them;
    `failed_names` those of this poll. The counts are those of `PollResult`.
    """

    feed: FeedAdapter
    client: HttpClient
    inbox: Inbox
    deferred: dict[str, int]
    partials: set[str]
    pool: ThreadPoolExecutor
    pages: int = 0
    new: int = 0
    resent: int = 0
    amended: int = 0
    fetched_bytes: int = 0
    newest_received: datetime | None = None
    excluded: set[str] = field(default_factory=set)
    unknown_fields: set[str] = field(default_factory=set)
    failed_names: set[str] = field(default_factory=set)
    changed_days: set[str] = field(default_factory=set)
    _record_names: dict[str, set[str]] = field(default_factory=dict)
    _arrival_names: dict[str, set[str]] = field(default_factory=dict)
    _fetched_images: dict[str, FetchedImage] = field(default_factory=dict)
    _content_names: dict[int | None, dict[str, set[str]]] = field(default_factory=dict)
    _host_failures: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, feed: FeedAdapter, client: HttpClient, inbox: Inbox) -> "PollSession":
        """The state at the start of a poll."""
        deferred = {item.file: item.tries for item in inbox.read_outstanding()}
        return cls(
            feed,
            client,
            inbox,
            deferred,
            inbox.list_partial_paths(),
            ThreadPoolExecutor(feed.http_policy.max_connections),
        )

    def build_result(self) -> PollResult:
        """The result so far."""
        return PollResult(
            feed=self.inbox.feed,
            new=self.new,
            resent=self.resent,
            amended=self.amended,
            excluded=len(self.excluded),
            pages=self.pages,
            fetched_bytes=self.fetched_bytes,
            newest_received=self.newest_received.isoformat() if self.newest_received else "",
            unknown_fields=tuple(sorted(self.unknown_fields)[:20]),
        )

    def fetch_page(self, number: int) -> FeedPage:
        """A page of the feed.

        Raises:
            FetchError: If it cannot be fetched or has no list of records.
        """
        page = self.feed.parse_page(self.client.get_json(self.feed.page_url(number)))
        if page is None:
            raise FetchError("the feed's answer has no list of records; its schema may have changed")
        self.pages += 1
        self.unknown_fields |= {
            name for name in collect_field_names(page.records) if not self.feed.is_known_field(name)
        }
        return page

    def process_arrivals(self, arrivals: list[ArrivalRecord]) -> bool:
        """Fetch what is new in a page; returns whether all was known.

        Raises:
            FetchError: If the host seems to be down.
        """
        first_versions: dict[str, ArrivalRecord] = {}
        later_versions: dict[str, ArrivalRecord] = {}
        for arrival in arrivals:
            self.newest_received = max(filter(None, (self.newest_received, arrival.received)), default=None)
            if not self.feed.is_wanted(arrival):
                self.excluded.add(record_name(arrival))
            elif outstanding_name(arrival) in self.deferred or outstanding_name(arrival) in self.failed_names:
                continue  # fetched by `retry_outstanding`, or tried already
            elif (
                not self._is_recorded(arrival)
                and first_versions.setdefault(arrival_name(arrival), arrival).digest != arrival.digest
            ):
                later_versions[record_name(arrival)] = arrival
        fresh = [arrival for arrival in first_versions.values() if not self._is_recorded(arrival)]
        self._fetch_all(fresh)
        self._fetch_all(list(later_versions.values()))
        return not fresh and not later_versions

    def retry_outstanding(self) -> None:
        """Try again what earlier polls could not fetch.

        Raises:
            FetchError: If the host seems to be down.
        """
        retries = []
        for item in sorted(self.inbox.read_outstanding(), key=lambda item: (item.tries, item.file)):
            arrival = self.feed.parse_arrival(item.record)
            if item.file != outstanding_name(arrival):  # another URL by the feed's present settings: a new record
                self.inbox.remove_outstanding(item.file)
            elif item.file not in self.failed_names:  # once a poll is enough
                retries.append(arrival)
        self._fetch_all(retries[:_MAX_RETRIES])

    def _is_recorded(self, arrival: ArrivalRecord) -> bool:
        day = arrival.received_day
        if day not in self._record_names:
            self._record_names[day] = self.inbox.list_record_names(day)
            self._arrival_names[day] = {name.rpartition("-")[0] for name in self._record_names[day]}
        return record_name(arrival) in self._record_names[day]

    def _fetch_all(self, arrivals: list[ArrivalRecord]) -> None:
        futures: list[Future[None]] = []
        for arrival in arrivals:
            if self._is_recorded(arrival):  # a process was killed between two writes
                self.inbox.remove_outstanding(outstanding_name(arrival))
            else:
                futures.append(self.pool.submit(self._fetch_one, arrival, self._find_earlier_image(arrival)))
        try:
            for future in futures:
                future.result()
        except BaseException:
            self.client.stop.set()
            for future in futures:
                future.cancel()
            raise

    def _fetch_one(self, arrival: ArrivalRecord, earlier_image: FetchedImage | None) -> None:
        """Fetch an image and write it with its record. `earlier_image` was fetched for an earlier version of the record."""
        name = self.inbox.partial_path(arrival)
        tries = self.deferred.get(outstanding_name(arrival), 0)
        try:
            if not arrival.url:
                raise FetchError("its record names no image")
            etag = earlier_image.etag if earlier_image else ""
            body = download_image(
                self.client, self.inbox.location, name, arrival.url, has_partial=name in self.partials, etag=etag
            )
        except FetchError as error:
            if self.client.stop.is_set():
                raise
            self.inbox.defer(arrival, str(error), tries + 1, utc_now("microseconds"))
            self.failed_names.add(outstanding_name(arrival))
            self._count_host_failure(error)
            return
        if body is None and earlier_image:
            image, content_names = earlier_image, {earlier_image.name.rpartition("/")[2]}
        elif body:
            with self._lock:
                content_names = self._contents_of_image(arrival)
            image = self.inbox.write_image(arrival, body.data, body.sha256, body.etag, utc_now("microseconds"))
        self.inbox.write_record(arrival, image)
        if tries:
            self.inbox.remove_outstanding(outstanding_name(arrival))
        with self._lock:
            self._update_counts(arrival, image, content_names, is_downloaded=body is not None)

    def _update_counts(
        self, arrival: ArrivalRecord, image: FetchedImage, content_names: set[str], *, is_downloaded: bool
    ) -> None:
        content = image.name.rpartition("/")[2]
        if content in content_names:
            self.amended += 1
        else:
            self.resent, self.new = self.resent + bool(content_names), self.new + (not content_names)
            content_names.add(content)
        self.fetched_bytes += image.size if is_downloaded else 0
        self._host_failures = 0
        self._record_names[arrival.received_day].add(record_name(arrival))
        self._arrival_names[arrival.received_day].add(arrival_name(arrival))
        self._fetched_images[arrival_name(arrival)] = image
        self.changed_days.add(arrival.received_day)

    def _find_earlier_image(self, arrival: ArrivalRecord) -> FetchedImage | None:
        """The image that was fetched for an earlier version of this record."""
        name = arrival_name(arrival)
        if name in self._arrival_names[arrival.received_day] and name not in self._fetched_images:
            records = self.inbox.read_day(arrival.received_day)
            self._fetched_images |= {item.file.rpartition("-")[0]: item.image for item in records}
        return self._fetched_images.get(name)

    def _contents_of_image(self, arrival: ArrivalRecord) -> set[str]:
        """The file names of this image's contents in the inbox."""
        if arrival.sol not in self._content_names:
            by_id: dict[str, set[str]] = {}
            for name in self.inbox.list_image_names(arrival.sol):
                by_id.setdefault(name.rpartition("-")[0], set()).add(name)
            self._content_names[arrival.sol] = by_id
        return self._content_names[arrival.sol].setdefault(arrival.name, set())

    def _count_host_failure(self, error: FetchError) -> None:
        with self._lock:
            self._host_failures = self._host_failures + 1 if error.host_down else 0
            if self._host_failures < _MAX_HOST_FAILURES:
                return
        raise FetchError(
            f"{_MAX_HOST_FAILURES} images in a row could not be fetched, the last because: {error}", host_down=True
        )
