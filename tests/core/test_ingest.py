"""Ingest: every input is accounted for at every moment, one content has one row, and nothing about a file raises."""

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from interpdisc_core import catalog, digest, ingest
from interpdisc_core.catalog import Entry
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.extraction import Receipt, extract
from interpdisc_core.features import Batch, batches
from interpdisc_core.ingest import Settled
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.representations import PixelValues
from interpdisc_core.runs import Inputs, Member, Run
from interpdisc_core.selection import features_of
from interpdisc_core.selectors import Demud
from interpdisc_core.selectors.rows import take
from interpdisc_core.sources import file_uri, listing
from interpdisc_core.storage import Place
from interpdisc_core.verification import verify

PLAN = Plan(representation=PixelValues(side=8), explain=0)
START = 10**18
"""A time of last change, nanoseconds; every file gets its own, so that no test depends on a disk's clock."""
_clock = [START]

# ------------------------------------------------------------------------ what the other tests of the core use too


def picture(seed: int, format: str = "PNG", size: tuple[int, int] = (11, 9)) -> bytes:
    """The bytes of a small image of noise; another seed, another content."""
    sink = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(sink, format)
    return sink.getvalue()


def put(path: Path, data: bytes, when: int | None = None) -> int:
    """A file with these bytes, changed at `when` or later than any file before; returns when."""
    _clock[0] += 1_000_000
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return touch(path, _clock[0] if when is None else when)


def touch(path: Path, when: int | None = None) -> int:
    """The same bytes, changed later; returns when."""
    _clock[0] += 1_000_000
    when = _clock[0] if when is None else when
    os.utime(path, ns=(when, when))
    return when


def photos(folder: Path, count: int, first: int = 0) -> Path:
    """A folder of `count` images 00.png, 01.png, … of different contents."""
    for number in range(count):
        put(folder / f"{number:02d}.png", picture(first + number))
    return folder


def sound(archive: Path) -> dict[str, int]:
    """The archive is whole and every input has one status; returns how many have which, zeros left out."""
    found = verify(str(archive))
    assert found.faults == ()
    assert sum(found.counts.values()) == found.inputs
    for features in found.features:
        assert features.ready == features.extracted + features.to_do == found.counts["ready"]
    return {status: count for status, count in found.counts.items() if count}


def ingested(
    archive: Path, *given: Path, background: tuple[Path, ...] = (), labels: object = "", plan: Plan = PLAN,
    part: int = 1000, block: int = 1000, workers: int = 1, meanwhile: Callable[[], object] = lambda: None,
) -> Settled:  # fmt: skip
    """List, check `part` inputs at a time, settle; after every step the archive is sound.

    meanwhile: what happens to the files between the listing and the checks.
    """
    inputs = Inputs(
        sources=tuple(map(str, given)), background=tuple(map(str, background)), labels=os.fspath(labels)  # type: ignore[call-overload]
    )  # fmt: skip
    listed = ingest.enlist(str(archive), inputs)
    assert sum(sound(archive).values()) >= listed.inputs
    seen = verify(str(archive)).inputs
    meanwhile()
    for rows in ingest.ranges(listed.unchecked, part, 1):
        counts = ingest.check(str(archive), listed.name, rows, listed.turn, Watch(str(archive)))
        assert sum(counts.values()) == rows[1] - rows[0]
        assert sum(sound(archive).values()) == seen
    settled = ingest.settle(str(archive), listed.name, plan, inputs, block, workers)
    assert "pending" not in sound(archive)
    assert verify(str(archive)).inputs == seen
    assert sum(settled.ledger.values()) == listed.inputs
    rows_are_their_own(archive)
    return settled


def extracted(archive: Path, settled: Settled, plan: Plan = PLAN) -> list[Receipt]:
    """Extract what is left; the archive is sound after every block."""
    made = []
    for block in settled.blocks:
        made.append(extract(str(archive), plan, block, settled.turn, Watch(str(archive))))
        sound(archive)
    return made


def run_of(archive: Path, settled: Settled) -> Run:
    """The run that was settled."""
    return Run(Place.of(archive), settled.run)


def members(archive: Path, settled: Settled) -> dict[str, Member]:
    """Its images by id."""
    found = run_of(archive, settled).members()
    by_id = {member.id: member for member in found}
    assert len(by_id) == len(found)
    return by_id


def entries(archive: Path) -> list[Entry]:
    """Every input's latest event."""
    return list(catalog.load(Place.of(archive)).values())


def entry_of(archive: Path, path: Path) -> Entry:
    """The latest event of the newest version of a file."""
    return [entry for entry in entries(archive) if entry.uri == file_uri(str(path))][-1]


def rows_are_their_own(archive: Path) -> None:
    """Every ready input has a row, no two the same, and in its batch that row is its content."""
    place = Place.of(archive)
    known = {number: Batch.read(place, number).table["sha256"].to_pylist() for number in batches(place)}
    ready = [entry for entry in entries(archive) if entry.status == "ready"]
    assert len({(entry.batch, entry.row) for entry in ready}) == len({entry.sha256 for entry in ready}) == len(ready)
    for entry in ready:
        assert known[entry.batch][entry.row] == entry.sha256


def parts(archive: Path) -> list[str]:
    """Names of the catalog's parts."""
    return Place.of(archive).names("catalog")


# ------------------------------------------------------------------------------------------------- accounting


@pytest.mark.parametrize("part", [1, 2, 3, 7, 1000])
def test_every_input_has_a_status_at_every_moment(tmp_path: Path, part: int) -> None:
    """Good, duplicate, broken, empty and skipped files: counts add up after each step, however checks are parted."""
    folder = photos(tmp_path / "in", 5)
    shutil.copy(folder / "03.png", folder / "copy.png")
    put(folder / "broken.png", b"\x89PNG no image")
    put(folder / "empty.jpg", b"")
    put(folder / "notes.txt", b"hello")
    put(folder / ".hidden.png", picture(9))
    settled = ingested(tmp_path / "archive", folder, part=part)
    assert {k: v for k, v in settled.ledger.items() if v} == {
        "ready": 5, "duplicate-of": 1, "quarantined": 2, "skipped": 2
    }  # fmt: skip
    assert settled.candidates == 5
    assert settled.known == 0
    assert settled.images == 5


def test_the_parting_of_checks_changes_nothing(tmp_path: Path) -> None:
    """The same run, members, batches and statuses for every size of part and number of workers."""
    folder = photos(tmp_path / "in", 7)
    put(folder / "x.png", b"junk")
    told = []
    for number, part in enumerate((1, 3, 1000)):
        archive = tmp_path / f"archive-{number}"
        settled = ingested(archive, folder, part=part)
        table = Batch.read(Place.of(archive), 0).table
        told.append((settled.run, run_of(archive, settled).members(), entries(archive), table, settled.ledger))
    assert told[0] == told[1] == told[2]


@given(total=st.integers(0, 200), block=st.integers(1, 50), workers=st.integers(0, 9))
def test_ranges_cover_everything_once(total: int, block: int, workers: int) -> None:
    """Parts of at most `block`, without gap or overlap, and enough of them for every worker."""
    found = ingest.ranges(total, block, workers)
    assert [item for start, stop in found for item in range(start, stop)] == list(range(total))
    assert all(0 < stop - start <= block for start, stop in found)
    assert len(found) >= min(total, workers) / 2


@pytest.mark.parametrize(("block", "workers", "blocks"), [(1000, 1, 1), (3, 1, 4), (1, 1, 10), (1000, 4, 4)])
def test_blocks_are_as_large_as_asked_and_enough(tmp_path: Path, block: int, workers: int, blocks: int) -> None:
    """Ten images: blocks of at most `block`, and one for every worker at least."""
    settled = ingested(tmp_path / "archive", photos(tmp_path / "in", 10), block=block, workers=workers)
    assert len(settled.blocks) == blocks
    assert settled.images == 10


def test_the_same_listing_twice_is_the_same_run(tmp_path: Path) -> None:
    """No new part of the catalog, no new batch, the same id and members; after extraction nothing is left to do."""
    folder, archive = photos(tmp_path / "in", 4), tmp_path / "archive"
    put(folder / "bad.png", b"junk")
    shutil.copy(folder / "00.png", folder / "copy.png")
    first = ingested(archive, folder)
    before = parts(archive), members(archive, first)
    again = ingested(archive, folder)
    assert again.run == first.run
    assert again.ledger == first.ledger
    assert (parts(archive), members(archive, again)) == before
    extracted(archive, again)
    assert ingested(archive, folder).blocks == ()
    assert len(batches(Place.of(archive))) == 1


def test_a_run_killed_anywhere_is_taken_up(tmp_path: Path) -> None:
    """Stopped after listing, or after some of the checks: the next run checks the rest and ends as one that was not."""
    folder = photos(tmp_path / "in", 6)
    inputs = Inputs(sources=(str(folder),))
    straight = ingested(tmp_path / "straight", folder)
    for done in range(4):
        archive = tmp_path / f"killed-{done}"
        listed = ingest.enlist(str(archive), inputs)
        for rows in ingest.ranges(listed.unchecked, 2, 1)[:done]:
            ingest.check(str(archive), listed.name, rows, listed.turn, Watch(str(archive)))
        assert ingest.enlist(str(archive), inputs).unchecked == 6 - 2 * done
        settled = ingested(archive, folder)
        assert settled.run == straight.run
        assert members(archive, settled) == members(tmp_path / "straight", straight)


def test_a_batch_without_its_catalog_part_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the batch and the events that speak of it: the next run writes another batch."""
    folder, archive = photos(tmp_path / "in", 3), tmp_path / "archive"
    inputs = Inputs(sources=(str(folder),))
    listed = ingest.enlist(str(archive), inputs)
    ingest.check(str(archive), listed.name, (0, 3), listed.turn, Watch(str(archive)))

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "write_part", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest.settle(str(archive), listed.name, PLAN, inputs, 2, 1)
    sound(archive)
    settled = ingested(archive, folder, block=2)
    assert len(extracted(archive, settled)) == 2
    assert {member.batch for member in members(archive, settled).values()} == {1}


def test_marks_of_progress_change_nothing(tmp_path: Path) -> None:
    """A check that is watched tells how far it is, and logs the same."""
    folder, archive = photos(tmp_path / "in", 5), str(tmp_path / "archive")
    watch = Watch(archive, "token")
    listed = ingest.enlist(archive, Inputs(sources=(str(folder),)))
    watch.begin("ingest", listed.unchecked, "images")
    for rows in ingest.ranges(listed.unchecked, 2, 1):
        ingest.check(archive, listed.name, rows, listed.turn, watch)
    assert [(stage["stage"], stage["total"], stage["done"]) for stage in watch.read()] == [("ingest", 5, 5.0)]


# ------------------------------------------------------------------------------------- duplicates and versions


def test_identical_files_share_a_row(tmp_path: Path) -> None:
    """Five names, two contents: two rows; the member is the lowest id, whatever the order of listing."""
    folder, archive = tmp_path / "in", tmp_path / "archive"
    for name in ("b.png", "c.png", "z/a.png"):
        put(folder / name, picture(1))
    put(folder / "y.png", picture(2))
    put(folder / "x.jpg", picture(2))
    settled = ingested(archive, folder)
    assert set(members(archive, settled)) == {"b.png", "x.jpg"}
    assert {k: v for k, v in settled.ledger.items() if v} == {"ready": 2, "duplicate-of": 3}
    assert len(Batch.read(Place.of(archive), 0).table) == 2
    keys = {entry.key for entry in entries(archive) if entry.status == "ready"}
    assert all(entry.why in keys for entry in entries(archive) if entry.status == "duplicate-of")


def test_the_lowest_id_is_the_member_also_of_what_was_there_before(tmp_path: Path) -> None:
    """A copy with a lower id that is added later becomes the member; the row stays."""
    folder, archive = photos(tmp_path / "in", 2), tmp_path / "archive"
    first = members(archive, ingested(archive, folder))
    shutil.copy(folder / "01.png", folder / "00-copy.png")
    second = members(archive, ingested(archive, folder))
    assert set(second) == {"00.png", "00-copy.png"}
    assert (second["00-copy.png"].batch, second["00-copy.png"].row) == (first["01.png"].batch, first["01.png"].row)
    assert second["00-copy.png"].uri == file_uri(str(folder / "00-copy.png"))


def test_a_touched_file_is_no_new_image(tmp_path: Path) -> None:
    """New time stamp, same bytes: no new row, the older version stays ready, and the run is the same."""
    folder, archive = photos(tmp_path / "in", 3), tmp_path / "archive"
    first = ingested(archive, folder)
    touch(folder / "01.png")
    again = ingested(archive, folder)
    assert again.run == first.run
    assert len(batches(Place.of(archive))) == 1
    old, new = (entry for entry in entries(archive) if entry.id == "01.png")
    assert (old.status, new.status, new.why) == ("ready", "duplicate-of", old.key)
    assert members(archive, again)["01.png"].row == members(archive, first)["01.png"].row
    assert set(members(archive, again)) == {"00.png", "01.png", "02.png"}


def test_a_changed_file_is_a_new_version(tmp_path: Path) -> None:
    """Other bytes: the old version is superseded by the new one, which gets a row of its own."""
    folder, archive = photos(tmp_path / "in", 3), tmp_path / "archive"
    first = ingested(archive, folder)
    put(folder / "01.png", picture(50))
    again = ingested(archive, folder)
    assert again.run != first.run
    old, new = (entry for entry in entries(archive) if entry.id == "01.png")
    assert (old.status, old.why, new.status) == ("superseded-by", new.key, "ready")
    assert (new.batch, new.row) == (1, 0)
    assert members(archive, again)["01.png"].sha256 == digest.of_bytes(picture(50))
    assert sound(archive) == {"ready": 3, "superseded-by": 1}


def test_a_touched_and_then_changed_file(tmp_path: Path) -> None:
    """Both old versions are superseded."""
    folder, archive = photos(tmp_path / "in", 2), tmp_path / "archive"
    ingested(archive, folder)
    touch(folder / "01.png")
    ingested(archive, folder)
    put(folder / "01.png", picture(50))
    ingested(archive, folder)
    assert [entry.status for entry in entries(archive) if entry.id == "01.png"] == [
        "superseded-by", "superseded-by", "ready"
    ]  # fmt: skip


def test_a_copy_of_a_superseded_content_takes_its_row(tmp_path: Path) -> None:
    """a and b are the same, a changes: b is ready now, with the row that the content has."""
    folder, archive = tmp_path / "in", tmp_path / "archive"
    for name in ("a.png", "b.png"):
        put(folder / name, picture(1))
    first = members(archive, ingested(archive, folder))["a.png"]
    put(folder / "a.png", picture(2))
    settled = ingested(archive, folder)
    assert entry_of(archive, folder / "b.png").status == "ready"
    now = members(archive, settled)
    assert (now["b.png"].batch, now["b.png"].row) == (first.batch, first.row)
    assert set(now) == {"a.png", "b.png"}


def test_a_content_that_comes_back_has_its_old_row(tmp_path: Path) -> None:
    """A, then B, then A again as a new version: the row of A, and no third row."""
    folder, archive = tmp_path / "in", tmp_path / "archive"
    put(folder / "a.png", picture(1))
    first = members(archive, ingested(archive, folder))["a.png"]
    put(folder / "a.png", picture(2))
    ingested(archive, folder)
    put(folder / "a.png", picture(1))
    now = members(archive, ingested(archive, folder))["a.png"]
    assert (now.sha256, now.batch, now.row) == (first.sha256, first.batch, first.row)
    assert sound(archive) == {"ready": 1, "superseded-by": 2}


def test_an_old_version_put_back_with_its_time_stamp(tmp_path: Path) -> None:
    """`cp -p` of a backup: the very version that was superseded is listed again, and takes part again."""
    folder, archive = photos(tmp_path / "in", 2), tmp_path / "archive"
    when = put(folder / "x.png", picture(30))
    first = members(archive, ingested(archive, folder))["x.png"]
    put(folder / "x.png", picture(31))
    ingested(archive, folder)
    put(folder / "x.png", picture(30), when)
    settled = ingested(archive, folder)
    now = members(archive, settled)
    assert set(now) == {"00.png", "01.png", "x.png"}
    assert now["x.png"] == first
    assert sound(archive) == {"ready": 3, "superseded-by": 1}


def test_a_moved_folder_is_known(tmp_path: Path) -> None:
    """The same contents under another name are no new rows; members have the new addresses."""
    archive = tmp_path / "archive"
    extracted(archive, ingested(archive, photos(tmp_path / "in", 3)))
    (tmp_path / "in").rename(tmp_path / "moved")
    settled = ingested(archive, tmp_path / "moved")
    assert settled.blocks == ()
    assert all("/moved/" in member.uri for member in members(archive, settled).values())
    assert len(batches(Place.of(archive))) == 1


# ------------------------------------------------------------------------------- files that cannot be got at


def test_a_file_that_vanishes_is_tried_again(tmp_path: Path) -> None:
    """Gone between listing and check: quarantined for access; back again and listed again: ready."""
    folder, archive = photos(tmp_path / "in", 2), tmp_path / "archive"
    when = put(folder / "x.png", picture(7))
    settled = ingested(archive, folder, meanwhile=(folder / "x.png").unlink)
    entry = entry_of(archive, folder / "x.png")
    assert (entry.status, entry.access) == ("quarantined", True)
    assert "vanished" in entry.why
    assert set(members(archive, settled)) == {"00.png", "01.png"}
    put(folder / "x.png", picture(7), when)
    settled = ingested(archive, folder)
    entry = entry_of(archive, folder / "x.png")
    assert (entry.status, entry.why, entry.access) == ("ready", "", False)
    assert set(members(archive, settled)) == {"00.png", "01.png", "x.png"}


def test_a_file_without_an_image_is_not_tried_again(tmp_path: Path) -> None:
    """Its content is at fault: quarantined with the reason, once and for all, until it changes."""
    folder, archive = photos(tmp_path / "in", 1), tmp_path / "archive"
    put(folder / "x.png", b"junk")
    ingested(archive, folder)
    entry = entry_of(archive, folder / "x.png")
    assert (entry.status, entry.access) == ("quarantined", False)
    assert "not an image" in entry.why
    assert ingest.enlist(str(archive), Inputs(sources=(str(folder),))).unchecked == 0
    put(folder / "x.png", picture(7))
    assert set(members(archive, ingested(archive, folder))) == {"00.png", "x.png"}


def test_an_image_that_comes_back_is_pending_for_a_while(tmp_path: Path) -> None:
    """Vanished before extraction, then back: the archive is sound also between its check and its settling."""
    folder, archive = photos(tmp_path / "in", 1), tmp_path / "archive"
    when = put(folder / "x.png", picture(7))
    settled = ingested(archive, folder)
    (folder / "x.png").unlink()
    extracted(archive, settled)
    assert sound(archive) == {"ready": 1, "quarantined": 1}
    put(folder / "x.png", picture(7), when)
    settled = ingested(archive, folder)  # sound after each step
    assert sound(archive) == {"ready": 2}
    extracted(archive, settled)
    rows = features_of(run_of(archive, settled))[0].rows
    assert not np.isnan(take(rows, np.arange(rows.shape[0]))).any()


def test_a_content_that_cannot_be_decoded_is_tried_once(tmp_path: Path) -> None:
    """Copies of a truncated file: all of them are quarantined at once, and a later copy costs no new row."""
    folder, archive = photos(tmp_path / "in", 1), tmp_path / "archive"
    for name in ("a.png", "b.png", "c.png"):
        put(folder / name, picture(3)[:-60])
    extracted(archive, ingested(archive, folder))
    extracted(archive, ingested(archive, folder))
    assert sound(archive) == {"ready": 1, "quarantined": 3}
    put(folder / "d.png", picture(3)[:-60])
    settled = ingested(archive, folder)
    assert settled.blocks == ()
    assert sound(archive) == {"ready": 1, "quarantined": 4}
    assert "truncated" in entry_of(archive, folder / "d.png").why
    before = parts(archive)
    ingested(archive, folder)
    assert parts(archive) == before


# -------------------------------------------------------------------------------------- the run and its id


def test_the_run_is_named_by_plan_contents_and_ids(tmp_path: Path) -> None:
    """A change of any of the three is another run; a copy of the folder elsewhere in the same name is the same."""
    folder = photos(tmp_path / "in", 3)
    ids = [ingested(tmp_path / "a", folder).run]
    ids.append(ingested(tmp_path / "b", folder, plan=replace(PLAN, picks=2)).run)
    ids.append(ingested(tmp_path / "c", folder, plan=replace(PLAN, selector=Demud(rank=3))).run)
    shutil.copytree(folder, tmp_path / "elsewhere" / "in")
    assert ingested(tmp_path / "d", tmp_path / "elsewhere" / "in").run == ids[0]
    (folder / "00.png").rename(folder / "0.png")
    ids.append(ingested(tmp_path / "e", folder).run)
    put(folder / "0.png", picture(60))
    ids.append(ingested(tmp_path / "f", folder).run)
    assert len(set(ids)) == len(ids)
    assert ingested(tmp_path / "g", folder, background=(tmp_path / "elsewhere",)).run not in ids
    assert all(name.startswith("in-") for name in ids)


def test_what_the_archive_held_before_does_not_matter(tmp_path: Path) -> None:
    """The same run and members in a fresh archive and in one where contents came in another order, as other files."""
    folder, used = photos(tmp_path / "in", 5), tmp_path / "used"
    put(tmp_path / "other" / "zz.png", picture(3))
    put(tmp_path / "other" / "03.png", picture(1))
    put(tmp_path / "other" / "unrelated.png", picture(99))
    shutil.copy(folder / "02.png", folder / "02-copy.png")
    ingested(used, tmp_path / "other")
    ingested(used, folder / "04.png")
    here, there = ingested(tmp_path / "fresh", folder), ingested(used, folder)
    assert here.run == there.run
    assert here.candidates == there.candidates

    def bare(archive: Path, settled: Settled) -> list[Member]:
        return [replace(member, batch=0, row=0) for member in run_of(archive, settled).members()]

    assert bare(tmp_path / "fresh", here) == bare(used, there)


def test_the_order_of_sources_does_not_matter(tmp_path: Path) -> None:
    """Two folders in either order: the same run with the same members."""
    one, two = photos(tmp_path / "one", 2), photos(tmp_path / "two", 3, first=10)
    here, there = ingested(tmp_path / "a", one, two), ingested(tmp_path / "b", two, one)
    assert members(tmp_path / "a", here) == members(tmp_path / "b", there)
    assert here.run == there.run


def test_background_wins(tmp_path: Path) -> None:
    """A content in the background is no candidate, be it the same file or a copy; members keep their order."""
    folder, known = photos(tmp_path / "in", 4), tmp_path / "known"
    put(known / "zzz.png", picture(1))
    settled = ingested(tmp_path / "archive", folder, background=(known, folder / "02.png"))
    found = run_of(tmp_path / "archive", settled).members()
    assert [(member.id, member.role) for member in found] == [
        ("00.png", "candidate"), ("03.png", "candidate"), ("02.png", "background"), ("zzz.png", "background")
    ]  # fmt: skip
    assert (settled.candidates, settled.known) == (2, 2)


@pytest.mark.parametrize("copied", [False, True])
def test_a_run_without_candidates_says_why(tmp_path: Path, copied: bool) -> None:
    """All in the background, as the same files or as copies: one sentence that says so, in words."""
    folder = known = photos(tmp_path / "in", 2)
    if copied:
        known = Path(shutil.copytree(folder, tmp_path / "known"))
    with pytest.raises(PlanError, match="in the background too") as caught:
        ingested(tmp_path / "archive", folder, background=(known,))
    assert not any(entry.key in str(caught.value) for entry in entries(tmp_path / "archive"))
    sound(tmp_path / "archive")


def test_a_folder_of_no_images_says_why(tmp_path: Path) -> None:
    """The first reason is in the sentence."""
    put(tmp_path / "in" / "a.png", b"")
    with pytest.raises(PlanError, match=r"none of the 1 inputs .*zero bytes"):
        ingested(tmp_path / "archive", tmp_path / "in")
    assert sound(tmp_path / "archive") == {"quarantined": 1}


def test_two_sources_with_the_same_ids(tmp_path: Path) -> None:
    """Different images of one relative name stay apart by unique ids, the same ones in either order of sources."""
    one, two = photos(tmp_path / "one", 2), photos(tmp_path / "two", 2, first=10)
    found = members(tmp_path / "a", ingested(tmp_path / "a", one, two))
    assert len(found) == 4
    assert {name.partition("@")[0] for name in found} == {"00.png", "01.png"}
    assert {(member.uri, member.sha256) for member in found.values()} == {
        (file_uri(str(folder / name)), digest.of_bytes((folder / name).read_bytes()))
        for folder in (one, two)
        for name in ("00.png", "01.png")
    }
    assert set(members(tmp_path / "b", ingested(tmp_path / "b", two, one))) == set(found)


# ------------------------------------------------------------------------------------------------------ labels


def labels_file(path: Path, rows: Iterable[tuple[str, str]], header: tuple[str, str] = ("image", "label")) -> Path:
    """A CSV file of classes by image."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize("names", [("a/1.png", "b/2.png"), ("1.png", "2.png")], ids=["id", "basename"])
def test_labels_by_id_or_by_name(tmp_path: Path, names: tuple[str, str]) -> None:
    """Rows name images by their id or by their file's name; an image without a row has no label."""
    for number, name in enumerate(("a/1.png", "b/2.png", "b/3.png")):
        put(tmp_path / "in" / name, picture(number))
    table = labels_file(tmp_path / "labels.csv", [(names[0], "rock"), (names[1], "sand"), ("nowhere.png", "sky")])
    found = members(tmp_path / "archive", ingested(tmp_path / "archive", tmp_path / "in", labels=table))
    assert {member.id: member.label for member in found.values()} == {
        "a/1.png": "rock", "b/2.png": "sand", "b/3.png": None
    }  # fmt: skip


def test_labels_by_folder(tmp_path: Path) -> None:
    """The name of the folder an image lies in; none for one that lies in no folder."""
    for number, name in enumerate(("x/rock/1.png", "sand/2.png", "3.png")):
        put(tmp_path / "in" / name, picture(number))
    found = members(tmp_path / "archive", ingested(tmp_path / "archive", tmp_path / "in", labels="folder"))
    assert {member.id: member.label for member in found.values()} == {
        "x/rock/1.png": "rock", "sand/2.png": "sand", "3.png": None
    }  # fmt: skip


def test_labels_of_a_list(tmp_path: Path) -> None:
    """A list brings its own labels and records; those given beside it win."""
    photos(tmp_path / "in", 2)
    table = put_list(tmp_path, b"path,id,label,sol\nin/00.png,first,rock,12\nin/01.png,second,,13\n")
    found = members(tmp_path / "archive", ingested(tmp_path / "archive", table))
    assert {member.id: member.label for member in found.values()} == {"first": "rock", "second": None}
    assert '"sol": "12"' in found["first"].record
    given = labels_file(tmp_path / "labels.csv", [("first", "boulder")])
    found = members(tmp_path / "other", ingested(tmp_path / "other", table, labels=given))
    assert found["first"].label == "boulder"


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([("other.png", "rock")], ("image", "label"), "other.png"),
        ([("00.png", "")], ("image", "label"), "none of its 0 names"),
        ([("00.png", "rock")], ("alpha", "beta"), "alpha, beta"),
        ([], ("image", "label"), "without rows"),
    ],
    ids=["no such image", "no class", "other columns", "no rows"],
)
def test_labels_that_label_nothing(
    tmp_path: Path, rows: list[tuple[str, str]], header: tuple[str, str], said: str
) -> None:
    """A sentence with the file's name, before anything is checked."""
    table = labels_file(tmp_path / "labels.csv", rows, header)
    with pytest.raises(PlanError, match=said) as caught:
        ingested(tmp_path / "archive", photos(tmp_path / "in", 1), labels=table)
    assert str(table) in str(caught.value)
    assert parts(tmp_path / "archive") == []


def test_labels_are_of_candidates_only(tmp_path: Path) -> None:
    """What is known already is not labelled."""
    known = photos(tmp_path / "known" / "old", 1, first=20).parent
    folder = photos(tmp_path / "in" / "new", 2).parent
    settled = ingested(tmp_path / "archive", folder, background=(known,), labels="folder")
    assert {member.label for member in members(tmp_path / "archive", settled).values()} == {"new", None}


# ------------------------------------------------------------------------------------------------------- names

NAMES = [
    b"new\nline.png", b"quo'te\".png", b"<b>&amp;.png", b"latin1-\xe9.png", b"\xff\xfe.png", "火星-🪐.png".encode(),
    b" lead.png", b"100%25.png", b"a,b.png", b"back\\slash.png", b"\x01\x7f.png",
]  # fmt: skip


def test_any_name_survives(tmp_path: Path) -> None:
    """Newlines, quotes, markup, bytes that are no UTF-8: catalog and members have them as text that tells them apart."""
    folder, archive = tmp_path / "in", tmp_path / "archive"
    for number, name in enumerate(NAMES):
        put(folder / os.fsdecode(name), picture(number))
    settled = ingested(archive, folder, part=4)
    assert settled.candidates == len(NAMES)
    wanted = {item.id: item.uri for item in listing([str(folder)])}
    assert len(wanted) == len(NAMES)
    assert {member.id: member.uri for member in members(archive, settled).values()} == wanted
    assert {entry.id: entry.uri for entry in entries(archive)} == wanted
    assert {"new\nline.png", "quo'te\".png", "<b>&amp;.png", "latin1-\\xe9.png", "\\xff\\xfe.png"} <= set(wanted)
    assert [receipt.failed for receipt in extracted(archive, settled)] == [0]


@pytest.mark.parametrize("name", NAMES[:5], ids=repr)
def test_a_source_of_any_name(tmp_path: Path, name: bytes) -> None:
    """The folder itself may have any name; the run tells which it was."""
    folder = photos(tmp_path / os.fsdecode(name), 1)
    settled = ingested(tmp_path / "archive", folder)
    assert run_of(tmp_path / "archive", settled).inputs.sources == (str(folder),)
    assert settled.run.isascii()
    assert "/" not in settled.run


def put_list(folder: Path, content: bytes) -> Path:
    """A CSV list."""
    put(folder / "list.csv", content)
    return folder / "list.csv"


@pytest.mark.parametrize(
    "cell",
    [b"ftp://host/x.jpg", b"ftp://caf\xe9/x.jpg", b"gone.png", b"", b"a\0b.png", b"file:///a%00b.png", b"x" * 5000],
    ids=repr,
)
def test_an_address_in_a_list_that_leads_nowhere(tmp_path: Path, cell: bytes) -> None:
    """It is one input, quarantined with a reason; the images beside it are taken."""
    photos(tmp_path / "in", 1)
    table = put_list(tmp_path, b"x,path\n1,in/00.png\n2," + cell + b"\n")
    settled = ingested(tmp_path / "archive", table)
    assert {k: v for k, v in settled.ledger.items() if v} == {"ready": 1, "quarantined": 1}
    (lost,) = (entry for entry in entries(tmp_path / "archive") if entry.status == "quarantined")
    assert lost.access
    assert lost.why


# ---------------------------------------------------------------------------------------------- the archive


def test_an_archive_of_another_layout(tmp_path: Path) -> None:
    """A sentence with both versions, and nothing written."""
    Place.of(tmp_path / "archive").write_json("archive.json", {"format": 99})
    with pytest.raises(StoreError, match="99"):
        ingest.enlist(str(tmp_path / "archive"), Inputs(sources=(str(photos(tmp_path / "in", 1)),)))
    with pytest.raises(StoreError, match="is not an archive"):
        verify(str(tmp_path / "in"))


def test_archives_do_not_hold_each_other_up(tmp_path: Path) -> None:
    """An archive inside the folder of images: what is in it is listed like any file, and the images are found."""
    folder = photos(tmp_path / "in", 2)
    for _ in range(2):
        settled = ingested(folder / "archive", folder)
        assert {member.id for member in members(folder / "archive", settled).values()} == {"00.png", "01.png"}


# ------------------------------------------------------------------------------------- sequences of everything

FILES = ("a.png", "b.png", "c.png")
PLANS = tuple(Plan(representation=PixelValues(side=side), explain=0) for side in (2, 3))
name_of = st.sampled_from(FILES)
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(("touch", "delete", "restore", "junk")), name_of),
    st.tuples(st.just("write"), name_of, st.integers(0, 2)),
    st.tuples(st.sampled_from(("copy", "rename")), name_of, name_of),
)
ROUNDS = st.tuples(
    st.lists(OPERATIONS, min_size=1, max_size=2),
    st.sampled_from((None, None, None, *FILES)),  # vanishes before it is checked
    st.sampled_from((None, None, None, *FILES)),  # vanishes before it is extracted
    st.sampled_from((None, *PLANS)),  # what is extracted, if anything
)


class Disk:
    """A folder of images, and what an archive must know of it."""

    def __init__(self, root: Path) -> None:
        self.folder, self.archive = root / "in", root / "archive"
        put(self.folder / "keep.png", picture(100))
        self.kept: dict[str, tuple[bytes, int]] = {}
        self.seen: set[tuple[str, int, int]] = set()
        self.checked: dict[tuple[str, int, int], bytes | None] = {}

    def files(self) -> dict[tuple[str, int, int], bytes]:
        """Contents by name, size and time."""
        return {
            (path.name, path.stat().st_size, path.stat().st_mtime_ns): path.read_bytes()
            for path in self.folder.iterdir()
        }

    def do(self, what: str, name: str, more: Any = None) -> None:
        """One change of the folder; one that is not possible is left out."""
        path = self.folder / name
        if what == "write":
            self.kept.setdefault(name, (picture(more), put(path, picture(more))))
        elif what == "restore" and name in self.kept:
            put(path, *self.kept[name])
        elif what == "junk":
            put(path, b"junk")
        elif path.exists() and what == "copy" and more != name:
            put(self.folder / more, path.read_bytes())
        elif path.exists() and what == "rename":
            path.rename(self.folder / more)
        elif path.exists() and what == "touch":
            touch(path)
        elif path.exists() and what == "delete":
            path.unlink()

    def round(self, early: str | None, late: str | None, plan: Plan | None) -> None:
        """One run over the folder as it is, and all that must hold after it."""
        listed = self.files()
        self.seen |= set(listed)
        settled = ingested(
            self.archive, self.folder, plan=plan or PLAN, part=2, block=2,
            meanwhile=lambda: Place.of(self.folder).remove(early or "none"),
        )  # fmt: skip
        for key, data in listed.items():
            if key not in self.checked and key[0] != early:
                self.checked[key] = None if data == b"junk" else data
        expected = {content for key in listed if (content := self.checked.get(key))}
        found = run_of(self.archive, settled).members()
        assert {member.sha256 for member in found} == {digest.of_bytes(content) for content in expected}
        assert len(found) == len(expected)
        assert verify(str(self.archive)).inputs == len(self.seen)
        if plan:
            if late:
                (self.folder / late).unlink(missing_ok=True)
            extracted(self.archive, settled, plan)
            there = {digest.of_bytes(content) for key, content in self.files().items() if key in listed}
            got = {member.sha256 for member in features_of(run_of(self.archive, settled))[0].members}
            assert got >= there & {member.sha256 for member in found}, "a file that is there has its features"
        again = {
            (entry.id, entry.size, int(entry.stamp))
            for entry in entries(self.archive)
            if entry.status == "quarantined" and entry.access
        }
        self.checked = {key: content for key, content in self.checked.items() if key not in again}


@settings(max_examples=6)
@given(st.lists(ROUNDS, min_size=2, max_size=5))
@example(
    [([("write", "a.png", 1), ("copy", "a.png", "b.png")], None, None, None),
     ([("write", "a.png", 2)], None, None, PLANS[0])]
)  # fmt: skip
@example(
    [([("write", "a.png", 1)], None, None, PLANS[0]), ([("write", "a.png", 2)], None, None, PLANS[0]),
     ([("restore", "a.png")], None, None, PLANS[1])]
)  # fmt: skip
@example(
    [([("write", "a.png", 1)], None, None, PLANS[0]), ([("rename", "a.png", "b.png")], None, None, PLANS[1])]
)  # fmt: skip
@example(
    [([("write", "a.png", 1)], None, "a.png", PLANS[0]), ([("restore", "a.png")], "a.png", None, None),
     ([("restore", "a.png")], None, None, PLANS[1])]
)  # fmt: skip
def test_whatever_happens_to_a_folder(rounds: list[tuple[list[Any], str | None, str | None, Plan | None]]) -> None:
    """Add, change, copy, rename, touch, delete, restore, vanish: sound at every moment, every version ever listed is
    counted, members are the contents that are listed and can be read, and what is there has its features.
    """
    with tempfile.TemporaryDirectory() as root:
        disk = Disk(Path(root))
        for operations, early, late, plan in rounds:
            for operation in operations:
                disk.do(*operation)
            disk.round(early, late, plan)
