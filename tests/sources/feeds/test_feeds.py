"""Polling a real server with faults: whatever fails, in the end the inbox holds what the feed has."""

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from interpdisc_core import digest, sources
from interpdisc_core.sources import SourceEntry
from interpdisc_core.sources.feeds import HttpPolicy, Mars2020Feed, MslFeed, PollResult
from interpdisc_core.sources.feeds.inbox import Inbox
from interpdisc_core.storage.location import Location
from tests.rehearsal.downlink import Downlink, FaultRates
from tests.rehearsal.feed_server import FeedServer

HASTY = HttpPolicy(pause_s=0.0, max_connections=2, timeout_s=5.0, tries=3, backoff_s=0.0005)
Feed = MslFeed | Mars2020Feed
NONE = FaultRates()
RATES = st.sampled_from([0.0, 0.2, 0.6])
FAULTS = st.builds(
    FaultRates,
    late=RATES,
    duplicates=RATES,
    resent=RATES,
    fields=RATES,
    truncated=RATES,
    cut=RATES,
    errors=RATES,
    html=RATES,
    reset=RATES,
    pages=RATES,
    empty=RATES,
    busy=RATES,
    seed=st.integers(0, 2**20),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen small images of six sols, among them pairs of a full frame and its thumbnail."""
    folder = tmp_path_factory.mktemp("rover")
    draw = np.random.default_rng(5)
    for number, (sol, camera, kind) in enumerate(
        (sol, camera, kind)
        for sol, camera in [(3, "ML"), (3, "MR"), (4, "MH"), (6, "ML"), (7, "MR"), (9, "ML"), (13, "MH")]
        for kind in "EI"
    ):
        noise = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        name = f"{sol:04d}{camera}0000010{number // 2:02d}01{number // 2:05d}{kind}01_DRCL.JPG"
        Image.fromarray(noise).save(folder / name, quality=92)
    return folder


@contextmanager
def serve_images(images: Path, faults: FaultRates = NONE, clock: int = 0) -> Iterator[FeedServer]:
    """A server of these images at that time."""
    downlink = Downlink.from_folder(images, faults)
    downlink.advance(clock)
    with FeedServer(downlink, retry_after_s=0.0).serve_in_thread() as server:
        yield server


def make_feed(server: FeedServer, schema: str, **settings_of_feed: object) -> Feed:
    """The feed of one of its schemas, which neither pauses nor waits."""
    kind = MslFeed if schema == "msl" else Mars2020Feed
    return kind(url=server.feed_url(schema), http_policy=HASTY, **settings_of_feed)  # type: ignore[arg-type]


def poll_until_done(feed: Feed, inbox: Location) -> PollResult:
    """Poll until nothing is new or outstanding."""
    for _ in range(12):
        result = feed.poll(inbox)
        if result.complete and not result.outstanding and result.new + result.resent == 0:
            return result
    raise AssertionError(f"polling does not end: {result}")


def contents_by_id(feed: Feed, inbox: Location) -> dict[str, set[str]]:
    """The digests of the contents of each image, by the id of the feed; read from the files."""
    contents: dict[str, set[str]] = {}
    for item in feed.list(inbox):
        assert not item.skip_reason
        data = sources.read_input(item.uri)
        assert (len(data), digest.digest_bytes(data)) == (item.size, item.stamp)
        contents.setdefault(str(item.record["imageid"]), set()).add(item.stamp)
    return contents


def read_all_files(inbox: Location) -> dict[str, bytes]:
    """All files of an inbox."""
    root = Path(inbox.url)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------- in the end


@settings(max_examples=12)
@given(
    faults=FAULTS, schema=st.sampled_from(["msl", "mars2020"]), page_size=st.sampled_from([1, 3, 100]), data=st.data()
)
def test_repeated_polls_fetch_all_images(
    images: Path, faults: FaultRates, schema: str, page_size: int, data: st.DataObject
) -> None:
    """For any faults, page sizes and times of polling: every image in its best version, and nothing else."""
    with serve_images(images, faults) as server, tempfile.TemporaryDirectory() as folder:
        feed, inbox = make_feed(server, schema, page_size=page_size), Location(folder)
        while not server.downlink.clock >= server.downlink.last_step:
            server.downlink.advance(data.draw(st.integers(1, 4)))
            feed.poll(inbox)
        poll_until_done(feed, inbox)
        before = read_all_files(inbox)
        feed.poll(inbox)
        assert read_all_files(inbox) == before
        truth = server.describe_images(schema)["images"]
        contents = contents_by_id(feed, inbox)
        assert contents.keys() == truth.keys()
        for name, image in truth.items():
            assert image["versions"][-1] in contents[name] <= set(image["versions"])


@dataclass(frozen=True)
class FailingLocation(Location):
    """A location where the process is killed after some writes."""

    left: list[int] = field(default_factory=lambda: [10**9])

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write, or die before it."""
        if self.left[0] <= 0:
            raise KeyboardInterrupt
        self.left[0] -= 1
        Location(self.url).write(name, data, durable=durable)


@settings(max_examples=12)
@given(
    faults=FAULTS,
    schema=st.sampled_from(["msl", "mars2020"]),
    writes_before_death=st.lists(st.integers(0, 12), max_size=6),
)
def test_a_poll_killed_at_any_write_is_resumed(
    images: Path, faults: FaultRates, schema: str, writes_before_death: list[int]
) -> None:
    """Nothing is lost, and nothing is fetched twice."""
    with (
        serve_images(images, replace(faults, late=0, resent=0), clock=99) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        feed, inbox = make_feed(server, schema, page_size=4), Location(folder)
        for number in writes_before_death:
            dying = FailingLocation(folder, [number])
            try:
                feed.poll(dying)
            except KeyboardInterrupt:
                assert dying.left == [0]
        poll_until_done(feed, inbox)
        truth = server.describe_images(schema)["images"]
        assert contents_by_id(feed, inbox) == {name: set(image["versions"]) for name, image in truth.items()}
        assert len([name for name in read_all_files(inbox) if "/images/" in name]) == len(truth)
        assert not inbox.list_names(f"{feed.inbox_name}/partial")


def test_records_that_move_between_pages_are_fetched(images: Path) -> None:
    """The clock advances after each page: a record that moves to a page already read is fetched by the next poll."""
    with (
        serve_images(images, FaultRates(resent=0.7, late=0.5, seed=4), clock=2) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        feed, inbox = make_feed(server, "msl", page_size=2), Location(folder)
        result = feed.poll(inbox, lambda result: server.downlink.advance())
        assert result.complete
        assert result.pages > 6
        poll_until_done(feed, inbox)
        truth = server.describe_images("msl")["images"]
        assert all(image["versions"][-1] in contents_by_id(feed, inbox)[name] for name, image in truth.items())


# ----------------------------------------------------------------------------------------------------- one poll


def test_polling_an_empty_feed_succeeds(images: Path, tmp_path: Path) -> None:
    """No image yet, or a mission that this server does not know."""
    with serve_images(images) as server:
        for feed in (
            make_feed(server, "msl"),
            make_feed(server, "mars2020"),
            make_feed(server, "mars2020", category="ingenuity"),
        ):
            result = feed.poll(Location.parse(tmp_path))
            assert (result.complete, result.failure, result.new, result.pages) == (True, "", 0, 1)
            assert list(feed.list(Location.parse(tmp_path))) == []


def test_a_poll_counts_what_it_did(images: Path, tmp_path: Path) -> None:
    """New, resent, amended, of other cameras, unknown fields; seconds without new images."""
    with serve_images(images, FaultRates(resent=1.0, fields=1.0, seed=1)) as server:
        feed, inbox, reports = (
            make_feed(server, "msl", cameras=("mast_left", "MAST_RIGHT")),
            Location.parse(tmp_path),
            [],
        )
        server.downlink.advance(1)
        result = feed.poll(inbox, reports.append)
        assert (result.new, result.resent, result.outstanding, result.excluded) == (4, 0, 0, 0)
        assert result.silent_for_seconds == 0.0
        assert result.newest_received == result.cursor > "2012-08-0"
        assert (
            {"extended.illumination", "dateReceived", "schema_version", "xyz.x"} >= set(result.unknown_fields) != set()
        )
        assert reports[-1].new == 4
        assert feed.poll(inbox).silent_for_seconds > 0
        server.downlink.advance(10**6)
        result = feed.poll(inbox)
        assert (result.new, result.resent, result.excluded) == (6, 4, 4)


def test_later_contents_of_an_id_have_ids_of_their_own(images: Path, tmp_path: Path) -> None:
    """The first content keeps the id; the record is the latest of each content, verbatim."""
    with serve_images(images, FaultRates(resent=1.0), clock=1) as server:
        feed, inbox = make_feed(server, "mars2020"), Location.parse(tmp_path)
        feed.poll(inbox)
        first = {item.id: item for item in feed.list(inbox)}
        assert {item.record["sample_type"] for item in first.values()} == {"Thumbnail", "Full"}
        server.downlink.advance(10**6)
        feed.poll(inbox)
        after = {item.id: item for item in feed.list(inbox)}
        assert first.items() <= after.items()
        later = [item for name, item in after.items() if "@" in name and name.partition("@")[0] in first]
        assert len(later) == len(first)
        assert all(item.id == f"{item.record['imageid']}@{item.stamp[:8]}" for item in later)
        described = server.describe_images("mars2020")["images"]
        assert {item.stamp for item in later} == {described[name]["versions"][1] for name in first}


def test_an_interrupted_download_is_resumed(images: Path, tmp_path: Path) -> None:
    """Within a poll and by the next one; not with another content of the same URL."""
    with serve_images(images, FaultRates(truncated=1.0, resent=1.0, seed=2), clock=1) as server:
        inbox, one_try = Location.parse(tmp_path), replace(HASTY, tries=1)
        feed = replace(make_feed(server, "msl"), http_policy=one_try)
        result = feed.poll(inbox)
        assert (result.new, result.outstanding) == (0, 4)
        assert len(inbox.list_names("msl/partial")) == 4
        assert server.resumed_downloads == 0
        for _ in range(2):
            feed.poll(inbox)
        assert server.resumed_downloads > 0
        server.downlink.advance(10**6)
        poll_until_done(feed, inbox)
        assert inbox.list_names("msl/partial") == []
        truth = server.describe_images("msl")["images"]
        assert all(contents <= set(truth[name]["versions"]) for name, contents in contents_by_id(feed, inbox).items())


def test_a_download_interrupted_after_its_last_byte_is_fetched_again(images: Path, tmp_path: Path) -> None:
    """The server refuses a range that begins at the end: what was saved must not be resumed at every poll."""
    with serve_images(images, FaultRates(truncated=1.0, seed=2), clock=1) as server:
        inbox = Location.parse(tmp_path)
        feed = replace(make_feed(server, "msl"), http_policy=replace(HASTY, tries=1))
        assert feed.poll(inbox).outstanding == 4
        for name in inbox.list_names("msl/partial"):
            header, _, half = inbox.read(f"msl/partial/{name}").partition(b"\n")
            whole = next(
                data for path in images.rglob("*") if path.is_file() and (data := path.read_bytes()).startswith(half)
            )
            inbox.write(f"msl/partial/{name}", header + b"\n" + whole)
        poll_until_done(feed, inbox)
        assert inbox.list_names("msl/partial") == []


def test_an_image_that_cannot_be_fetched_is_listed_after_some_polls(images: Path, tmp_path: Path) -> None:
    """It is tried in each poll, and fetched once it is available."""
    with serve_images(images, FaultRates(cut=1.0, seed=3), clock=1) as server:
        feed, inbox = (
            replace(make_feed(server, "msl"), http_policy=replace(HASTY, tries=1), patience=2),
            Location.parse(tmp_path),
        )
        downlink = server.downlink
        downlink.meets_fault = lambda fault, what: fault == "cut"  # type: ignore[method-assign]
        result = feed.poll(inbox)
        assert (result.new, result.outstanding, result.complete) == (0, 4, True)
        assert list(feed.list(inbox)) == []
        feed.poll(inbox)
        entries = list(feed.list(inbox))
        assert len(entries) == 4
        assert all("could not be fetched in 2 polls: truncated" in item.skip_reason for item in entries)
        assert all(item.record["imageid"] == item.id for item in entries)
        assert Inbox(inbox, "msl").read_outstanding()[0].tries == 2
        del downlink.meets_fault
        poll_until_done(feed, inbox)
        assert [item.id for item in feed.list(inbox)] == sorted(item.id for item in entries)
        assert not any(item.skip_reason for item in feed.list(inbox))


def test_a_host_that_is_down_is_left_alone(images: Path, tmp_path: Path) -> None:
    """A poll without a server, or with images that are all refused, ends soon and says why; the next one resumes."""
    with serve_images(images, clock=99) as server:
        feed, inbox = (
            replace(make_feed(server, "msl"), http_policy=replace(HASTY, tries=1, max_connections=1)),
            Location.parse(tmp_path),
        )
        downlink = server.downlink
        downlink.meets_fault = lambda fault, what: fault == "errors"  # type: ignore[method-assign]
        result = feed.poll(inbox)
        assert not result.complete
        assert "8 images in a row could not be fetched" in result.failure
        assert result.outstanding == 8
        assert result.cursor == ""
        del downlink.meets_fault
        assert poll_until_done(feed, inbox).complete
        assert len(list(feed.list(inbox))) == 14
    last_result = feed.poll(inbox)
    assert (last_result.complete, last_result.failure, last_result.cursor) == (
        False,
        "no connection",
        result.cursor or last_result.cursor,
    )
    assert len(list(feed.list(inbox))) == 14


# ------------------------------------------------------------------------------------------------ what is kept


def test_a_sealed_day_reads_the_same(images: Path, tmp_path: Path) -> None:
    """Many small files of a day become one: the same list and polls; also if a process was killed in between."""
    with serve_images(images, FaultRates(resent=0.5, fields=0.5, seed=8), clock=99) as server:
        feed, inbox = make_feed(server, "msl"), Location.parse(tmp_path)
        poll_until_done(feed, inbox)
        before, box = list(feed.list(inbox)), Inbox(inbox, "msl")
        loose = {day: inbox.list_names(f"msl/records/{day}") for day in box.list_days()}
        record_files = {
            f"msl/records/{day}/{name}": inbox.read(f"msl/records/{day}/{name}") for day in loose for name in loose[day]
        }
        for day in box.list_days():
            box.seal(day, min_records=1)
        assert all(len(inbox.list_names(f"msl/records/{day}")) == 1 for day in box.list_days())
        assert {day: sorted(box.list_record_names(day)) for day in box.list_days()} == loose
        assert list(feed.list(inbox)) == before
        for name in list(record_files)[::2]:  # a process that was killed before it had removed them all
            inbox.write(name, record_files[name])
        result = feed.poll(inbox)
        assert (result.new, result.resent, result.amended) == (0, 0, 0)
        assert list(feed.list(inbox)) == before
        for day in box.list_days():
            box.seal(day, min_records=1)
        assert list(feed.list(inbox)) == before


def test_records_are_kept_verbatim(images: Path, tmp_path: Path) -> None:
    """Nested, null and unknown fields included."""
    from tests.rehearsal.schemas import list_feed_records

    with serve_images(images, FaultRates(fields=1.0, seed=5), clock=99) as server:
        for schema in ("msl", "mars2020"):
            feed, inbox = make_feed(server, schema), Location.parse(tmp_path)
            feed.poll(inbox)
            sent = {record["imageid"]: record for record in list_feed_records(server.downlink, schema, server.base_url)}
            assert {item.id: item.record for item in feed.list(inbox)} == sent
            assert all(isinstance(item, SourceEntry) for item in feed.list(inbox))


def test_changed_settings_read_all_pages_again(images: Path, tmp_path: Path) -> None:
    """Images of a camera that was excluded are fetched; known images are not fetched again."""
    with serve_images(images, clock=99) as server:
        inbox = Location.parse(tmp_path)
        one_camera = make_feed(server, "msl", cameras=("MAHLI",), overlap_days=0.0, page_size=2)
        assert one_camera.poll(inbox).new == 4
        all_cameras = replace(one_camera, cameras=())
        result = all_cameras.poll(inbox)
        assert (result.new, result.complete) == (10, True)
        assert all_cameras.poll(inbox).pages < result.pages
        since = replace(all_cameras, name="late", since_sol=7)
        assert since.poll(inbox).new == 6


def test_a_record_from_the_future_hides_nothing(images: Path, tmp_path: Path) -> None:
    """The cursor is never later than the present."""
    from interpdisc_core.provenance import utc_now

    with serve_images(images, clock=1) as server:
        server.downlink.shots = tuple(
            replace(s, versions=tuple(replace(v, received_at=v.received_at.replace(year=2150)) for v in s.versions))
            if s.sol == 3
            else s
            for s in server.downlink.shots
        )
        feed, inbox = make_feed(server, "msl", page_size=1), Location.parse(tmp_path)
        assert feed.poll(inbox).cursor <= utc_now("microseconds")


def test_uris_of_the_inbox_lead_to_the_images(images: Path, tmp_path: Path) -> None:
    """Also if the archive's path has spaces."""
    with serve_images(images, clock=1) as server:
        feed, inbox = make_feed(server, "mars2020"), Location.parse(tmp_path / "archive with space" / "inbox")
        feed.poll(inbox)
        for item in feed.list(inbox):
            assert Image.open(io.BytesIO(sources.read_input(item.uri))).size == (16, 12)
        state = json.loads(inbox.read("mars2020/cursor.json"))
        assert state["received"] == feed.poll(inbox).cursor
