"""Polling, against a real server with faults: whatever goes wrong, in the end the inbox holds what the feed has."""

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

from deploy.rehearsal.downlink import Downlink, Faults
from deploy.rehearsal.feed_server import FeedServer
from interpdisc_core import digest, sources
from interpdisc_core.feeds import Manners, Mars2020Feed, MslFeed, Polled
from interpdisc_core.feeds.inbox import Inbox
from interpdisc_core.sources import Listed
from interpdisc_core.storage import Place

HASTY = Manners(pause_s=0.0, together=2, timeout_s=5.0, tries=3, backoff_s=0.0005)
Feed = MslFeed | Mars2020Feed
NONE = Faults()
RATES = st.sampled_from([0.0, 0.2, 0.6])
FAULTS = st.builds(
    Faults, late=RATES, duplicates=RATES, resent=RATES, fields=RATES, truncated=RATES, cut=RATES, errors=RATES, html=RATES,
    reset=RATES, pages=RATES, empty=RATES, busy=RATES, seed=st.integers(0, 2**20),
)  # fmt: skip


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
def serving(images: Path, faults: Faults = NONE, clock: int = 0) -> Iterator[FeedServer]:
    """A server of these images at that time."""
    downlink = Downlink.of(images, faults)
    downlink.advance(clock)
    with FeedServer(downlink, wait_s=0.0).running() as server:
        yield server


def feed_of(server: FeedServer, schema: str, **given: object) -> Feed:
    """The feed of one of its schemas, without much patience for manners."""
    kind = MslFeed if schema == "msl" else Mars2020Feed
    return kind(url=server.feed_url(schema), manners=HASTY, **given)  # type: ignore[arg-type]


def settled(feed: Feed, inbox: Place) -> Polled:
    """Poll until nothing is left to do."""
    for _ in range(12):
        polled = feed.poll(inbox)
        if polled.complete and not polled.outstanding and polled.new + polled.resent == 0:
            return polled
    raise AssertionError(f"it does not come to an end: {polled}")


def contents(feed: Feed, inbox: Place) -> dict[str, set[str]]:
    """The digests of the contents of each image, by the id of the feed; read from the files."""
    found: dict[str, set[str]] = {}
    for item in feed.list(inbox):
        assert not item.skipped
        data = sources.read(item.uri)
        assert (len(data), digest.of_bytes(data)) == (item.size, item.stamp)
        found.setdefault(str(item.record["imageid"]), set()).add(item.stamp)
    return found


def everything(inbox: Place) -> dict[str, bytes]:
    """All files of an inbox."""
    root = Path(inbox.url)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------- in the end


@settings(max_examples=12)
@given(
    faults=FAULTS, schema=st.sampled_from(["msl", "mars2020"]), page_size=st.sampled_from([1, 3, 100]), data=st.data()
)
def test_in_the_end_the_inbox_is_the_truth(
    images: Path, faults: Faults, schema: str, page_size: int, data: st.DataObject
) -> None:
    """Whatever faults, page sizes, and moments of polling: every image in its best version, and nothing else."""
    with serving(images, faults) as server, tempfile.TemporaryDirectory() as folder:
        feed, inbox = feed_of(server, schema, page_size=page_size), Place(folder)
        while not server.downlink.clock >= server.downlink.end:
            server.downlink.advance(data.draw(st.integers(1, 4)))
            feed.poll(inbox)
        settled(feed, inbox)
        before = everything(inbox)
        feed.poll(inbox)
        assert everything(inbox) == before
        truth = server.truth(schema)["images"]
        found = contents(feed, inbox)
        assert found.keys() == truth.keys()
        for name, image in truth.items():
            assert image["versions"][-1] in found[name] <= set(image["versions"])


@dataclass(frozen=True)
class Failing(Place):
    """A place where the process dies after so many writes."""

    left: list[int] = field(default_factory=lambda: [10**9])

    def write(self, name: str, data: bytes) -> None:
        """Write, or die before it."""
        if self.left[0] <= 0:
            raise KeyboardInterrupt
        self.left[0] -= 1
        Place(self.url).write(name, data)


@settings(max_examples=12)
@given(faults=FAULTS, schema=st.sampled_from(["msl", "mars2020"]), deaths=st.lists(st.integers(0, 12), max_size=6))
def test_killed_at_any_write_it_goes_on(images: Path, faults: Faults, schema: str, deaths: list[int]) -> None:
    """Polls that die after n writes, then polls that don't: nothing is lost, and nothing taken twice."""
    with (
        serving(images, replace(faults, late=0, resent=0), clock=99) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        feed, inbox = feed_of(server, schema, page_size=4), Place(folder)
        for number in deaths:
            dying = Failing(folder, [number])
            try:
                feed.poll(dying)
            except KeyboardInterrupt:
                assert dying.left == [0]
        settled(feed, inbox)
        truth = server.truth(schema)["images"]
        assert contents(feed, inbox) == {name: set(image["versions"]) for name, image in truth.items()}
        assert len([name for name in everything(inbox) if "/images/" in name]) == len(truth)
        assert not inbox.names(f"{feed.called}/partial")


def test_records_that_move_while_pages_are_read(images: Path) -> None:
    """The clock goes on after each page: what slips to a page that was read already comes with the next poll."""
    with (
        serving(images, Faults(resent=0.7, late=0.5, seed=4), clock=2) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        feed, inbox = feed_of(server, "msl", page_size=2), Place(folder)
        polled = feed.poll(inbox, lambda polled: server.downlink.advance())
        assert polled.complete
        assert polled.pages > 6
        settled(feed, inbox)
        truth = server.truth("msl")["images"]
        assert all(image["versions"][-1] in contents(feed, inbox)[name] for name, image in truth.items())


# ----------------------------------------------------------------------------------------------------- one poll


def test_an_empty_feed_is_no_trouble(images: Path, tmp_path: Path) -> None:
    """No image yet, or a mission that this server does not know: a success without images."""
    with serving(images) as server:
        for feed in (
            feed_of(server, "msl"), feed_of(server, "mars2020"), feed_of(server, "mars2020", category="ingenuity"),
        ):  # fmt: skip
            polled = feed.poll(Place.of(tmp_path))
            assert (polled.complete, polled.trouble, polled.new, polled.pages) == (True, "", 0, 1)
            assert list(feed.list(Place.of(tmp_path))) == []


def test_a_poll_says_what_it_did(images: Path, tmp_path: Path) -> None:
    """New, sent again, amended, of other cameras, unfamiliar fields; how long it was silent."""
    with serving(images, Faults(resent=1.0, fields=1.0, seed=1)) as server:
        feed, inbox, heard = feed_of(server, "msl", cameras=("mast_left", "MAST_RIGHT")), Place.of(tmp_path), []
        server.downlink.advance(1)
        polled = feed.poll(inbox, heard.append)
        assert (polled.new, polled.resent, polled.outstanding, polled.left_out) == (4, 0, 0, 0)
        assert polled.silent_for_seconds == 0.0
        assert polled.newest_received == polled.cursor > "2012-08-0"
        assert {"extended.illumination", "dateReceived", "schema_version", "xyz.x"} >= set(polled.unfamiliar) != set()
        assert heard[-1].new == 4
        assert feed.poll(inbox).silent_for_seconds > 0
        server.downlink.advance(10**6)
        polled = feed.poll(inbox)
        assert (polled.new, polled.resent, polled.left_out) == (6, 4, 4)


def test_later_contents_of_an_id_have_ids_of_their_own(images: Path, tmp_path: Path) -> None:
    """The content that was there first keeps the id, whatever comes; the record is the latest of each content, verbatim."""
    with serving(images, Faults(resent=1.0), clock=1) as server:
        feed, inbox = feed_of(server, "mars2020"), Place.of(tmp_path)
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
        asked = server.truth("mars2020")["images"]
        assert {item.stamp for item in later} == {asked[name]["versions"][1] for name in first}


def test_a_download_goes_on_where_it_broke_off(images: Path, tmp_path: Path) -> None:
    """Within a poll, and in the next one from what was kept of it; not with another content of the same address."""
    with serving(images, Faults(truncated=1.0, resent=1.0, seed=2), clock=1) as server:
        inbox, once = Place.of(tmp_path), replace(HASTY, tries=1)
        feed = replace(feed_of(server, "msl"), manners=once)
        polled = feed.poll(inbox)
        assert (polled.new, polled.outstanding) == (0, 4)
        assert len(inbox.names("msl/partial")) == 4
        assert server.resumed == 0
        for _ in range(2):
            feed.poll(inbox)
        assert server.resumed > 0
        server.downlink.advance(10**6)
        settled(feed, inbox)
        assert inbox.names("msl/partial") == []
        truth = server.truth("msl")["images"]
        assert all(found <= set(truth[name]["versions"]) for name, found in contents(feed, inbox).items())


def test_what_cannot_be_had_is_listed_with_its_reason_and_recovers(images: Path, tmp_path: Path) -> None:
    """Not before so many polls; tried at each; in the end an image like any other."""
    with serving(images, Faults(cut=1.0, seed=3), clock=1) as server:
        feed, inbox = replace(feed_of(server, "msl"), manners=replace(HASTY, tries=1), patience=2), Place.of(tmp_path)
        link = server.downlink
        link.goes_wrong = lambda fault, what: fault == "cut"  # type: ignore[method-assign]
        polled = feed.poll(inbox)
        assert (polled.new, polled.outstanding, polled.complete) == (0, 4, True)
        assert list(feed.list(inbox)) == []
        feed.poll(inbox)
        listed = list(feed.list(inbox))
        assert len(listed) == 4
        assert all("could not be fetched in 2 polls: cut short" in item.skipped for item in listed)
        assert all(item.record["imageid"] == item.id for item in listed)
        assert Inbox(inbox, "msl").outstanding()[0].tries == 2
        del link.goes_wrong
        settled(feed, inbox)
        assert [item.id for item in feed.list(inbox)] == sorted(item.id for item in listed)
        assert not any(item.skipped for item in feed.list(inbox))


def test_a_host_that_is_down_is_left_alone(images: Path, tmp_path: Path) -> None:
    """A poll without a server, or with images that are all refused, ends soon and says why; the next goes on."""
    with serving(images, clock=99) as server:
        feed, inbox = replace(feed_of(server, "msl"), manners=replace(HASTY, tries=1, together=1)), Place.of(tmp_path)
        link = server.downlink
        link.goes_wrong = lambda fault, what: fault == "errors"  # type: ignore[method-assign]
        polled = feed.poll(inbox)
        assert not polled.complete
        assert "8 images in a row could not be had" in polled.trouble
        assert polled.outstanding == 8
        assert polled.cursor == ""
        del link.goes_wrong
        assert settled(feed, inbox).complete
        assert len(list(feed.list(inbox))) == 14
    gone = feed.poll(inbox)
    assert (gone.complete, gone.trouble, gone.cursor) == (False, "no connection", polled.cursor or gone.cursor)
    assert len(list(feed.list(inbox))) == 14


# ------------------------------------------------------------------------------------------------ what is kept


def test_a_sealed_day_reads_as_before(images: Path, tmp_path: Path) -> None:
    """Many small files of a day become one: the same list, the same polls; also when that was broken off half-way."""
    with serving(images, Faults(resent=0.5, fields=0.5, seed=8), clock=99) as server:
        feed, inbox = feed_of(server, "msl"), Place.of(tmp_path)
        settled(feed, inbox)
        before, box = list(feed.list(inbox)), Inbox(inbox, "msl")
        loose = {day: inbox.names(f"msl/records/{day}") for day in box.days()}
        kept = {
            f"msl/records/{day}/{name}": inbox.read(f"msl/records/{day}/{name}") for day in loose for name in loose[day]
        }
        for day in box.days():
            box.seal(day, least=1)
        assert all(len(inbox.names(f"msl/records/{day}")) == 1 for day in box.days())
        assert {day: sorted(box.known(day)) for day in box.days()} == loose
        assert list(feed.list(inbox)) == before
        for name in list(kept)[::2]:  # a process that was killed before it had removed them all
            inbox.write(name, kept[name])
        polled = feed.poll(inbox)
        assert (polled.new, polled.resent, polled.amended) == (0, 0, 0)
        assert list(feed.list(inbox)) == before
        for day in box.days():
            box.seal(day, least=1)
        assert list(feed.list(inbox)) == before


def test_records_are_kept_word_for_word(images: Path, tmp_path: Path) -> None:
    """What is listed is what the feed sends: nested, null and unknown fields included."""
    from deploy.rehearsal.schemas import records

    with serving(images, Faults(fields=1.0, seed=5), clock=99) as server:
        for schema in ("msl", "mars2020"):
            feed, inbox = feed_of(server, schema), Place.of(tmp_path)
            feed.poll(inbox)
            sent = {record["imageid"]: record for record in records(server.downlink, schema, server.base)}
            assert {item.id: item.record for item in feed.list(inbox)} == sent
            assert all(isinstance(item, Listed) for item in feed.list(inbox))


def test_other_settings_look_at_all_pages_again(images: Path, tmp_path: Path) -> None:
    """A camera that was left out comes when it is wanted, however old; what is there is not fetched again."""
    with serving(images, clock=99) as server:
        inbox = Place.of(tmp_path)
        few = feed_of(server, "msl", cameras=("MAHLI",), overlap_days=0.0, page_size=2)
        assert few.poll(inbox).new == 4
        all_of_them = replace(few, cameras=())
        polled = all_of_them.poll(inbox)
        assert (polled.new, polled.complete) == (10, True)
        assert all_of_them.poll(inbox).pages < polled.pages
        since = replace(all_of_them, name="late", since_sol=7)
        assert since.poll(inbox).new == 6


def test_a_record_from_the_future_hides_nothing(images: Path, tmp_path: Path) -> None:
    """The cursor does not go beyond the present."""
    from interpdisc_core.feeds.desk import now

    with serving(images, clock=1) as server:
        server.downlink.shots = tuple(
            replace(s, versions=tuple(replace(v, received=v.received.replace(year=2150)) for v in s.versions)) if s.sol == 3 else s
            for s in server.downlink.shots
        )  # fmt: skip
        feed, inbox = feed_of(server, "msl", page_size=1), Place.of(tmp_path)
        assert feed.poll(inbox).cursor <= now()


def test_decoding_an_image_of_the_inbox(images: Path, tmp_path: Path) -> None:
    """The stored address leads to the image's bytes."""
    with serving(images, clock=1) as server:
        feed, inbox = feed_of(server, "mars2020"), Place.of(tmp_path / "archive with space" / "inbox")
        feed.poll(inbox)
        for item in feed.list(inbox):
            assert Image.open(io.BytesIO(sources.read(item.uri))).size == (16, 12)
        state = json.loads(inbox.read("mars2020/cursor.json"))
        assert state["received"] == feed.poll(inbox).cursor
