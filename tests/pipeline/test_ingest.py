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

from interpdisc_core import digest
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import Batch, list_batches
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.run import Run, RunInputs, RunMember
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.images import memory_budget
from interpdisc_core.images.memory_budget import MEMORY_VARIABLE
from interpdisc_core.operations.verify import verify_archive
from interpdisc_core.pipeline import ingest
from interpdisc_core.pipeline.extract import BlockResult, extract_block
from interpdisc_core.pipeline.ingest import IngestResult
from interpdisc_core.pipeline.outstanding import accept_outstanding
from interpdisc_core.pipeline.partition import split_range
from interpdisc_core.pipeline.select import load_member_features
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors import Demud
from interpdisc_core.selectors.rows import gather_float64
from interpdisc_core.sources import file_uri, list_entries
from interpdisc_core.storage.location import Location
from tests.helpers.killers import KILLER_SIZE, count_deaths, make_killer_environment

PLAN = Plan(representation=PixelValues(side=8), explain=0)
START = 10**18
"""A time of last change, nanoseconds; every file gets its own, so that no test depends on a disk's clock."""
_clock = [START]

# ------------------------------------------------------------------------ what the other tests of the core use too


def make_image_bytes(seed: int, format: str = "PNG", size: tuple[int, int] = (11, 9)) -> bytes:
    """The bytes of a small image of noise; another seed, another content."""
    sink = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(sink, format)
    return sink.getvalue()


def write_file(path: Path, data: bytes, mtime_ns: int | None = None) -> int:
    """A file with these bytes, changed at `when` or later than any file before; returns when."""
    _clock[0] += 1_000_000
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return touch_file(path, _clock[0] if mtime_ns is None else mtime_ns)


def touch_file(path: Path, mtime_ns: int | None = None) -> int:
    """The same bytes, changed later; returns when."""
    _clock[0] += 1_000_000
    mtime_ns = _clock[0] if mtime_ns is None else mtime_ns
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return mtime_ns


def write_photos(folder: Path, count: int, first: int = 0) -> Path:
    """A folder of `count` images 00.png, 01.png, … of different contents."""
    for number in range(count):
        write_file(folder / f"{number:02d}.png", make_image_bytes(first + number))
    return folder


def check_archive(archive: Path) -> dict[str, int]:
    """The archive is whole and every input has one status; returns how many have which, zeros left out."""
    report = verify_archive(str(archive))
    assert report.faults == ()
    assert sum(report.counts.values()) == report.inputs
    for features in report.features:
        assert features.ready == features.extracted + features.to_do == report.counts["ready"]
    return {status: count for status, count in report.counts.items() if count}


def run_ingest(
    archive: Path,
    *given: Path,
    background: tuple[Path, ...] = (),
    labels: object = "",
    plan: Plan = PLAN,
    part: int = 1000,
    block: int = 1000,
    workers: int = 1,
    meanwhile: Callable[[], object] = lambda: None,
) -> IngestResult:
    """List, check `part` inputs at a time, settle; after every step the archive is sound.

    meanwhile: what happens to the files between the listing and the checks.
    """
    inputs = RunInputs(
        sources=tuple(map(str, given)),
        background=tuple(map(str, background)),
        labels=os.fspath(labels),  # type: ignore[call-overload]
    )
    listing = ingest.list_inputs(str(archive), inputs)
    assert sum(check_archive(archive).values()) >= listing.inputs
    input_count = verify_archive(str(archive)).inputs
    meanwhile()
    for rows in split_range(listing.unchecked, part, 1):
        watch = ProgressReporter(str(archive))
        check_result = ingest.check_inputs(str(archive), listing.name, rows, listing.sequence, watch, 1.0)
        accept_outstanding(str(archive), check_result.unread, check_result.inputs, 1.0)
        assert sum(check_archive(archive).values()) == input_count
    ingest_result = ingest.resolve_inputs(str(archive), listing.name, plan, inputs, block, workers)
    assert "pending" not in check_archive(archive)
    assert verify_archive(str(archive)).inputs == input_count
    assert sum(ingest_result.ledger.values()) == listing.inputs
    check_rows(archive)
    return ingest_result


def run_extract(archive: Path, ingest_result: IngestResult, plan: Plan = PLAN) -> list[BlockResult]:
    """Extract what is left; the archive is sound after every block."""
    block_results = []
    for block in ingest_result.blocks:
        block_results.append(
            extract_block(str(archive), plan, block, ingest_result.sequence, ProgressReporter(str(archive)))
        )
        check_archive(archive)
    accept_outstanding(str(archive), sum(result.unread_count for result in block_results), ingest_result.images, 1.0)
    return block_results


def open_run(archive: Path, ingest_result: IngestResult) -> Run:
    """The run that was settled."""
    return Run(Location.parse(archive), ingest_result.run)


def members_by_id(archive: Path, ingest_result: IngestResult) -> dict[str, RunMember]:
    """Its images by id."""
    run_members = open_run(archive, ingest_result).read_members()
    by_id = {member.id: member for member in run_members}
    assert len(by_id) == len(run_members)
    return by_id


def read_entries(archive: Path) -> list[CatalogEntry]:
    """Every input's latest event."""
    return list(catalog.load_entries(Location.parse(archive)).values())


def find_entry(archive: Path, path: Path) -> CatalogEntry:
    """The latest event of the newest version of a file."""
    return [entry for entry in read_entries(archive) if entry.uri == file_uri(str(path))][-1]


def check_rows(archive: Path) -> None:
    """Every ready input has a row, no two the same, and in its batch that row is its content."""
    place = Location.parse(archive)
    contents_by_batch = {
        number: Batch.read(place, number).table["sha256"].to_pylist() for number in list_batches(place)
    }
    ready = [entry for entry in read_entries(archive) if entry.status == "ready"]
    assert len({(entry.batch, entry.row) for entry in ready}) == len({entry.sha256 for entry in ready}) == len(ready)
    for entry in ready:
        assert contents_by_batch[entry.batch][entry.row] == entry.sha256


def list_parts(archive: Path) -> list[str]:
    """Names of the catalog's parts."""
    return Location.parse(archive).list_names("catalog")


# ------------------------------------------------------------------------------------------------- accounting


@pytest.mark.parametrize("part", [1, 2, 3, 7, 1000])
def test_every_input_has_a_status_at_every_moment(tmp_path: Path, part: int) -> None:
    """Good, duplicate, broken, empty and skipped files: counts add up after each step, however checks are parted."""
    folder = write_photos(tmp_path / "in", 5)
    shutil.copy(folder / "03.png", folder / "copy.png")
    write_file(folder / "broken.png", b"\x89PNG no image")
    write_file(folder / "empty.jpg", b"")
    write_file(folder / "notes.txt", b"hello")
    write_file(folder / ".hidden.png", make_image_bytes(9))
    ingest_result = run_ingest(tmp_path / "archive", folder, part=part)
    assert {k: v for k, v in ingest_result.ledger.items() if v} == {
        "ready": 5,
        "duplicate-of": 1,
        "quarantined": 2,
        "skipped": 2,
    }
    assert ingest_result.candidates == 5
    assert ingest_result.background == 0
    assert ingest_result.images == 5


def test_the_size_of_checks_changes_nothing(tmp_path: Path) -> None:
    """The same run, members, batches and statuses for every size of part and number of workers."""
    folder = write_photos(tmp_path / "in", 7)
    write_file(folder / "x.png", b"junk")
    outcomes = []
    for number, part in enumerate((1, 3, 1000)):
        archive = tmp_path / f"archive-{number}"
        ingest_result = run_ingest(archive, folder, part=part)
        table = Batch.read(Location.parse(archive), 0).table
        outcomes.append(
            (
                ingest_result.run,
                open_run(archive, ingest_result).read_members(),
                read_entries(archive),
                table,
                ingest_result.ledger,
            )
        )
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(total=st.integers(0, 200), block=st.integers(1, 50), workers=st.integers(0, 9))
def test_ranges_cover_every_item_once(total: int, block: int, workers: int) -> None:
    """Parts of at most `block`, without gap or overlap, and enough of them for every worker."""
    ranges = split_range(total, block, workers)
    assert [item for start, stop in ranges for item in range(start, stop)] == list(range(total))
    assert all(0 < stop - start <= block for start, stop in ranges)
    assert len(ranges) >= min(total, workers) / 2


@pytest.mark.parametrize(("block", "workers", "blocks"), [(1000, 1, 1), (3, 1, 4), (1, 1, 10), (1000, 4, 4)])
def test_there_are_enough_blocks_and_none_is_too_large(tmp_path: Path, block: int, workers: int, blocks: int) -> None:
    """Ten images: blocks of at most `block`, and one for every worker at least."""
    ingest_result = run_ingest(tmp_path / "archive", write_photos(tmp_path / "in", 10), block=block, workers=workers)
    assert len(ingest_result.blocks) == blocks
    assert ingest_result.images == 10


def test_the_same_listing_twice_is_the_same_run(tmp_path: Path) -> None:
    """No new part of the catalog, no new batch, the same id and members; after extraction nothing is left to do."""
    folder, archive = write_photos(tmp_path / "in", 4), tmp_path / "archive"
    write_file(folder / "bad.png", b"junk")
    shutil.copy(folder / "00.png", folder / "copy.png")
    first = run_ingest(archive, folder)
    before = list_parts(archive), members_by_id(archive, first)
    again = run_ingest(archive, folder)
    assert again.run == first.run
    assert again.ledger == first.ledger
    assert (list_parts(archive), members_by_id(archive, again)) == before
    run_extract(archive, again)
    assert run_ingest(archive, folder).blocks == ()
    assert len(list_batches(Location.parse(archive))) == 1


def test_a_run_killed_during_ingest_resumes(tmp_path: Path) -> None:
    """Stopped after listing, or after some of the checks: the next run checks the rest and ends as one that was not."""
    folder = write_photos(tmp_path / "in", 6)
    inputs = RunInputs(sources=(str(folder),))
    uninterrupted = run_ingest(tmp_path / "straight", folder)
    for done in range(4):
        archive = tmp_path / f"killed-{done}"
        listing = ingest.list_inputs(str(archive), inputs)
        for rows in split_range(listing.unchecked, 2, 1)[:done]:
            ingest.check_inputs(str(archive), listing.name, rows, listing.sequence, ProgressReporter(str(archive)))
        assert ingest.list_inputs(str(archive), inputs).unchecked == 6 - 2 * done
        ingest_result = run_ingest(archive, folder)
        assert ingest_result.run == uninterrupted.run
        assert members_by_id(archive, ingest_result) == members_by_id(tmp_path / "straight", uninterrupted)


def test_a_kill_between_batch_and_catalog_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the batch and the events that speak of it: the next run writes another batch."""
    folder, archive = write_photos(tmp_path / "in", 3), tmp_path / "archive"
    inputs = RunInputs(sources=(str(folder),))
    listing = ingest.list_inputs(str(archive), inputs)
    ingest.check_inputs(str(archive), listing.name, (0, 3), listing.sequence, ProgressReporter(str(archive)))

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "write_part", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest.resolve_inputs(str(archive), listing.name, PLAN, inputs, 2, 1)
    check_archive(archive)
    ingest_result = run_ingest(archive, folder, block=2)
    assert len(run_extract(archive, ingest_result)) == 2
    assert {member.batch for member in members_by_id(archive, ingest_result).values()} == {1}


def test_reporting_progress_changes_nothing(tmp_path: Path) -> None:
    """A check that is watched tells how far it is, and logs the same."""
    folder, archive = write_photos(tmp_path / "in", 5), str(tmp_path / "archive")
    watch = ProgressReporter(archive, "token")
    listing = ingest.list_inputs(archive, RunInputs(sources=(str(folder),)))
    watch.begin_stage("ingest", listing.unchecked, "images")
    for rows in split_range(listing.unchecked, 2, 1):
        ingest.check_inputs(archive, listing.name, rows, listing.sequence, watch)
    assert [(stage["stage"], stage["total"], stage["done"]) for stage in watch.read_stages()] == [("ingest", 5, 5.0)]


# ------------------------------------------------------------------------------------- duplicates and versions


def test_identical_files_share_a_row(tmp_path: Path) -> None:
    """Five names, two contents: two rows; the member is the lowest id, whatever the order of listing."""
    folder, archive = tmp_path / "in", tmp_path / "archive"
    for name in ("b.png", "c.png", "z/a.png"):
        write_file(folder / name, make_image_bytes(1))
    write_file(folder / "y.png", make_image_bytes(2))
    write_file(folder / "x.jpg", make_image_bytes(2))
    ingest_result = run_ingest(archive, folder)
    assert set(members_by_id(archive, ingest_result)) == {"b.png", "x.jpg"}
    assert {k: v for k, v in ingest_result.ledger.items() if v} == {"ready": 2, "duplicate-of": 3}
    assert len(Batch.read(Location.parse(archive), 0).table) == 2
    keys = {entry.key for entry in read_entries(archive) if entry.status == "ready"}
    assert all(entry.reason in keys for entry in read_entries(archive) if entry.status == "duplicate-of")


def test_the_copy_with_the_lowest_id_is_the_member(tmp_path: Path) -> None:
    """A copy with a lower id that is added later becomes the member; the row stays."""
    folder, archive = write_photos(tmp_path / "in", 2), tmp_path / "archive"
    first = members_by_id(archive, run_ingest(archive, folder))
    shutil.copy(folder / "01.png", folder / "00-copy.png")
    second = members_by_id(archive, run_ingest(archive, folder))
    assert set(second) == {"00.png", "00-copy.png"}
    assert (second["00-copy.png"].batch, second["00-copy.png"].row) == (first["01.png"].batch, first["01.png"].row)
    assert second["00-copy.png"].uri == file_uri(str(folder / "00-copy.png"))


def test_a_touched_file_is_no_new_image(tmp_path: Path) -> None:
    """New time stamp, same bytes: no new row, the older version stays ready, and the run is the same."""
    folder, archive = write_photos(tmp_path / "in", 3), tmp_path / "archive"
    first = run_ingest(archive, folder)
    touch_file(folder / "01.png")
    again = run_ingest(archive, folder)
    assert again.run == first.run
    assert len(list_batches(Location.parse(archive))) == 1
    old, new = (entry for entry in read_entries(archive) if entry.id == "01.png")
    assert (old.status, new.status, new.reason) == ("ready", "duplicate-of", old.key)
    assert members_by_id(archive, again)["01.png"].row == members_by_id(archive, first)["01.png"].row
    assert set(members_by_id(archive, again)) == {"00.png", "01.png", "02.png"}


def test_a_changed_file_is_a_new_version(tmp_path: Path) -> None:
    """Other bytes: the old version is superseded by the new one, which gets a row of its own."""
    folder, archive = write_photos(tmp_path / "in", 3), tmp_path / "archive"
    first = run_ingest(archive, folder)
    write_file(folder / "01.png", make_image_bytes(50))
    again = run_ingest(archive, folder)
    assert again.run != first.run
    old, new = (entry for entry in read_entries(archive) if entry.id == "01.png")
    assert (old.status, old.reason, new.status) == ("superseded-by", new.key, "ready")
    assert (new.batch, new.row) == (1, 0)
    assert members_by_id(archive, again)["01.png"].sha256 == digest.digest_bytes(make_image_bytes(50))
    assert check_archive(archive) == {"ready": 3, "superseded-by": 1}


def test_both_old_versions_of_a_changed_file_are_superseded(tmp_path: Path) -> None:
    """Both old versions are superseded."""
    folder, archive = write_photos(tmp_path / "in", 2), tmp_path / "archive"
    run_ingest(archive, folder)
    touch_file(folder / "01.png")
    run_ingest(archive, folder)
    write_file(folder / "01.png", make_image_bytes(50))
    run_ingest(archive, folder)
    assert [entry.status for entry in read_entries(archive) if entry.id == "01.png"] == [
        "superseded-by",
        "superseded-by",
        "ready",
    ]


def test_a_copy_of_a_superseded_content_takes_its_row(tmp_path: Path) -> None:
    """a and b are the same, a changes: b is ready now, with the row that the content has."""
    folder, archive = tmp_path / "in", tmp_path / "archive"
    for name in ("a.png", "b.png"):
        write_file(folder / name, make_image_bytes(1))
    first = members_by_id(archive, run_ingest(archive, folder))["a.png"]
    write_file(folder / "a.png", make_image_bytes(2))
    ingest_result = run_ingest(archive, folder)
    assert find_entry(archive, folder / "b.png").status == "ready"
    now = members_by_id(archive, ingest_result)
    assert (now["b.png"].batch, now["b.png"].row) == (first.batch, first.row)
    assert set(now) == {"a.png", "b.png"}


def test_a_content_that_comes_back_has_its_old_row(tmp_path: Path) -> None:
    """A, then B, then A again as a new version: the row of A, and no third row."""
    folder, archive = tmp_path / "in", tmp_path / "archive"
    write_file(folder / "a.png", make_image_bytes(1))
    first = members_by_id(archive, run_ingest(archive, folder))["a.png"]
    write_file(folder / "a.png", make_image_bytes(2))
    run_ingest(archive, folder)
    write_file(folder / "a.png", make_image_bytes(1))
    now = members_by_id(archive, run_ingest(archive, folder))["a.png"]
    assert (now.sha256, now.batch, now.row) == (first.sha256, first.batch, first.row)
    assert check_archive(archive) == {"ready": 1, "superseded-by": 2}


def test_an_old_version_that_is_restored_counts_again(tmp_path: Path) -> None:
    """`cp -p` of a backup: the very version that was superseded is listed again, and takes part again."""
    folder, archive = write_photos(tmp_path / "in", 2), tmp_path / "archive"
    mtime_ns = write_file(folder / "x.png", make_image_bytes(30))
    first = members_by_id(archive, run_ingest(archive, folder))["x.png"]
    write_file(folder / "x.png", make_image_bytes(31))
    run_ingest(archive, folder)
    write_file(folder / "x.png", make_image_bytes(30), mtime_ns)
    ingest_result = run_ingest(archive, folder)
    now = members_by_id(archive, ingest_result)
    assert set(now) == {"00.png", "01.png", "x.png"}
    assert now["x.png"] == first
    assert check_archive(archive) == {"ready": 3, "superseded-by": 1}


def test_a_moved_folder_adds_no_rows(tmp_path: Path) -> None:
    """The same contents under another name are no new rows; members have the new addresses."""
    archive = tmp_path / "archive"
    run_extract(archive, run_ingest(archive, write_photos(tmp_path / "in", 3)))
    (tmp_path / "in").rename(tmp_path / "moved")
    ingest_result = run_ingest(archive, tmp_path / "moved")
    assert ingest_result.blocks == ()
    assert all("/moved/" in member.uri for member in members_by_id(archive, ingest_result).values())
    assert len(list_batches(Location.parse(archive))) == 1


# ------------------------------------------------------------------------------- files that cannot be got at


def test_a_file_that_vanishes_is_tried_again(tmp_path: Path) -> None:
    """Gone between listing and check: outstanding; back again and listed again: ready."""
    folder, archive = write_photos(tmp_path / "in", 2), tmp_path / "archive"
    mtime_ns = write_file(folder / "x.png", make_image_bytes(7))
    ingest_result = run_ingest(archive, folder, meanwhile=(folder / "x.png").unlink)
    entry = find_entry(archive, folder / "x.png")
    assert (entry.status, entry.retryable) == ("outstanding", True)
    assert "vanished" in entry.reason
    assert set(members_by_id(archive, ingest_result)) == {"00.png", "01.png"}
    write_file(folder / "x.png", make_image_bytes(7), mtime_ns)
    ingest_result = run_ingest(archive, folder)
    entry = find_entry(archive, folder / "x.png")
    assert (entry.status, entry.reason, entry.retryable) == ("ready", "", False)
    assert set(members_by_id(archive, ingest_result)) == {"00.png", "01.png", "x.png"}


def test_a_file_that_is_no_image_is_not_tried_again(tmp_path: Path) -> None:
    """Its content is at fault: quarantined with the reason, once and for all, until it changes."""
    folder, archive = write_photos(tmp_path / "in", 1), tmp_path / "archive"
    write_file(folder / "x.png", b"junk")
    run_ingest(archive, folder)
    entry = find_entry(archive, folder / "x.png")
    assert (entry.status, entry.retryable) == ("quarantined", False)
    assert "not an image" in entry.reason
    assert ingest.list_inputs(str(archive), RunInputs(sources=(str(folder),))).unchecked == 0
    write_file(folder / "x.png", make_image_bytes(7))
    assert set(members_by_id(archive, run_ingest(archive, folder))) == {"00.png", "x.png"}


def test_an_image_that_returns_is_extracted(tmp_path: Path) -> None:
    """Vanished before extraction, then back: the archive is sound also between its check and its settling."""
    folder, archive = write_photos(tmp_path / "in", 1), tmp_path / "archive"
    mtime_ns = write_file(folder / "x.png", make_image_bytes(7))
    ingest_result = run_ingest(archive, folder)
    (folder / "x.png").unlink()
    run_extract(archive, ingest_result)
    assert check_archive(archive) == {"ready": 1, "outstanding": 1}
    write_file(folder / "x.png", make_image_bytes(7), mtime_ns)
    ingest_result = run_ingest(archive, folder)  # sound after each step
    assert check_archive(archive) == {"ready": 2}
    run_extract(archive, ingest_result)
    rows = load_member_features(open_run(archive, ingest_result))[0].rows
    assert not np.isnan(gather_float64(rows, np.arange(rows.shape[0]))).any()


def test_an_undecodable_content_is_tried_once(tmp_path: Path) -> None:
    """Copies of a truncated file: all of them are quarantined at once, and a later copy costs no new row."""
    folder, archive = write_photos(tmp_path / "in", 1), tmp_path / "archive"
    for name in ("a.png", "b.png", "c.png"):
        write_file(folder / name, make_image_bytes(3)[:-60])
    run_extract(archive, run_ingest(archive, folder))
    run_extract(archive, run_ingest(archive, folder))
    assert check_archive(archive) == {"ready": 1, "quarantined": 3}
    write_file(folder / "d.png", make_image_bytes(3)[:-60])
    ingest_result = run_ingest(archive, folder)
    assert ingest_result.blocks == ()
    assert check_archive(archive) == {"ready": 1, "quarantined": 4}
    assert "truncated" in find_entry(archive, folder / "d.png").reason
    before = list_parts(archive)
    run_ingest(archive, folder)
    assert list_parts(archive) == before


# -------------------------------------------------------------------------------------- the run and its id


def test_the_run_id_depends_on_plan_contents_and_ids(tmp_path: Path) -> None:
    """A change of any of the three is another run; a copy of the folder elsewhere in the same name is the same."""
    folder = write_photos(tmp_path / "in", 3)
    ids = [run_ingest(tmp_path / "a", folder).run]
    ids.append(run_ingest(tmp_path / "b", folder, plan=replace(PLAN, picks=2)).run)
    ids.append(run_ingest(tmp_path / "c", folder, plan=replace(PLAN, selector=Demud(rank=3))).run)
    shutil.copytree(folder, tmp_path / "elsewhere" / "in")
    assert run_ingest(tmp_path / "d", tmp_path / "elsewhere" / "in").run == ids[0]
    (folder / "00.png").rename(folder / "0.png")
    ids.append(run_ingest(tmp_path / "e", folder).run)
    write_file(folder / "0.png", make_image_bytes(60))
    ids.append(run_ingest(tmp_path / "f", folder).run)
    assert len(set(ids)) == len(ids)
    assert run_ingest(tmp_path / "g", folder, background=(tmp_path / "elsewhere",)).run not in ids
    assert all(name.startswith("in-") for name in ids)


def test_a_run_does_not_depend_on_what_else_the_archive_holds(tmp_path: Path) -> None:
    """The same run and members in a fresh archive and in one where contents came in another order, as other files."""
    folder, used = write_photos(tmp_path / "in", 5), tmp_path / "used"
    write_file(tmp_path / "other" / "zz.png", make_image_bytes(3))
    write_file(tmp_path / "other" / "03.png", make_image_bytes(1))
    write_file(tmp_path / "other" / "unrelated.png", make_image_bytes(99))
    shutil.copy(folder / "02.png", folder / "02-copy.png")
    run_ingest(used, tmp_path / "other")
    run_ingest(used, folder / "04.png")
    first, second = run_ingest(tmp_path / "fresh", folder), run_ingest(used, folder)
    assert first.run == second.run
    assert first.candidates == second.candidates

    def bare(archive: Path, ingest_result: IngestResult) -> list[RunMember]:
        return [replace(member, batch=0, row=0) for member in open_run(archive, ingest_result).read_members()]

    assert bare(tmp_path / "fresh", first) == bare(used, second)


def test_the_order_of_sources_does_not_matter(tmp_path: Path) -> None:
    """Two folders in either order: the same run with the same members."""
    first_folder, second_folder = write_photos(tmp_path / "one", 2), write_photos(tmp_path / "two", 3, first=10)
    first, second = (
        run_ingest(tmp_path / "a", first_folder, second_folder),
        run_ingest(tmp_path / "b", second_folder, first_folder),
    )
    assert members_by_id(tmp_path / "a", first) == members_by_id(tmp_path / "b", second)
    assert first.run == second.run


def test_images_in_the_background_are_not_candidates(tmp_path: Path) -> None:
    """A content in the background is no candidate, be it the same file or a copy; members keep their order."""
    folder, background = write_photos(tmp_path / "in", 4), tmp_path / "known"
    write_file(background / "zzz.png", make_image_bytes(1))
    ingest_result = run_ingest(tmp_path / "archive", folder, background=(background, folder / "02.png"))
    run_members = open_run(tmp_path / "archive", ingest_result).read_members()
    assert [(member.id, member.role) for member in run_members] == [
        ("00.png", "candidate"),
        ("03.png", "candidate"),
        ("02.png", "background"),
        ("zzz.png", "background"),
    ]
    assert (ingest_result.candidates, ingest_result.background) == (2, 2)


@pytest.mark.parametrize("copied", [False, True])
def test_a_run_without_candidates_says_why(tmp_path: Path, copied: bool) -> None:
    """All in the background, as the same files or as copies: one sentence that says so, in words."""
    folder = background = write_photos(tmp_path / "in", 2)
    if copied:
        background = Path(shutil.copytree(folder, tmp_path / "known"))
    with pytest.raises(PlanError, match="in the background too") as caught:
        run_ingest(tmp_path / "archive", folder, background=(background,))
    assert not any(entry.key in str(caught.value) for entry in read_entries(tmp_path / "archive"))
    check_archive(tmp_path / "archive")


def test_a_folder_of_no_images_says_why(tmp_path: Path) -> None:
    """The first reason is in the sentence."""
    write_file(tmp_path / "in" / "a.png", b"")
    with pytest.raises(PlanError, match=r"none of the 1 inputs .*zero bytes"):
        run_ingest(tmp_path / "archive", tmp_path / "in")
    assert check_archive(tmp_path / "archive") == {"quarantined": 1}


def test_equal_ids_of_two_sources_are_made_unique(tmp_path: Path) -> None:
    """Different images of one relative name stay apart by unique ids, the same ones in either order of sources."""
    first, two = write_photos(tmp_path / "one", 2), write_photos(tmp_path / "two", 2, first=10)
    actual = members_by_id(tmp_path / "a", run_ingest(tmp_path / "a", first, two))
    assert len(actual) == 4
    assert {name.partition("@")[0] for name in actual} == {"00.png", "01.png"}
    assert {(member.uri, member.sha256) for member in actual.values()} == {
        (file_uri(str(folder / name)), digest.digest_bytes((folder / name).read_bytes()))
        for folder in (first, two)
        for name in ("00.png", "01.png")
    }
    assert set(members_by_id(tmp_path / "b", run_ingest(tmp_path / "b", two, first))) == set(actual)


# ------------------------------------------------------------------------------------------------------ labels


def write_labels(path: Path, rows: Iterable[tuple[str, str]], header: tuple[str, str] = ("image", "label")) -> Path:
    """A CSV file of classes by image."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize("names", [("a/1.png", "b/2.png"), ("1.png", "2.png")], ids=["id", "basename"])
def test_labels_match_by_id_or_by_file_name(tmp_path: Path, names: tuple[str, str]) -> None:
    """Rows name images by their id or by their file's name; an image without a row has no label."""
    for number, name in enumerate(("a/1.png", "b/2.png", "b/3.png")):
        write_file(tmp_path / "in" / name, make_image_bytes(number))
    table = write_labels(tmp_path / "labels.csv", [(names[0], "rock"), (names[1], "sand"), ("nowhere.png", "sky")])
    actual = members_by_id(tmp_path / "archive", run_ingest(tmp_path / "archive", tmp_path / "in", labels=table))
    assert {member.id: member.label for member in actual.values()} == {
        "a/1.png": "rock",
        "b/2.png": "sand",
        "b/3.png": None,
    }


def test_labels_by_folder(tmp_path: Path) -> None:
    """The name of the folder an image lies in; none for one that lies in no folder."""
    for number, name in enumerate(("x/rock/1.png", "sand/2.png", "3.png")):
        write_file(tmp_path / "in" / name, make_image_bytes(number))
    actual = members_by_id(tmp_path / "archive", run_ingest(tmp_path / "archive", tmp_path / "in", labels="folder"))
    assert {member.id: member.label for member in actual.values()} == {
        "x/rock/1.png": "rock",
        "sand/2.png": "sand",
        "3.png": None,
    }


def test_labels_of_a_list(tmp_path: Path) -> None:
    """A list brings its own labels and records; those given beside it win."""
    write_photos(tmp_path / "in", 2)
    table = write_list(tmp_path, b"path,id,label,sol\nin/00.png,first,rock,12\nin/01.png,second,,13\n")
    actual = members_by_id(tmp_path / "archive", run_ingest(tmp_path / "archive", table))
    assert {member.id: member.label for member in actual.values()} == {"first": "rock", "second": None}
    assert '"sol": "12"' in actual["first"].record
    list_path = write_labels(tmp_path / "labels.csv", [("first", "boulder")])
    actual = members_by_id(tmp_path / "other", run_ingest(tmp_path / "other", table, labels=list_path))
    assert actual["first"].label == "boulder"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("other.png", "rock")], ("image", "label"), "other.png"),
        ([("00.png", "")], ("image", "label"), "none of its rows has a class"),
        ([("00.png", "rock")], ("alpha", "beta"), "'alpha', 'beta'"),
        ([], ("image", "label"), "has no rows"),
    ],
    ids=["no such image", "no class", "other columns", "no rows"],
)
def test_labels_that_match_nothing_are_refused(
    tmp_path: Path, rows: list[tuple[str, str]], header: tuple[str, str], message: str
) -> None:
    """A sentence with the file's name, before anything is checked."""
    table = write_labels(tmp_path / "labels.csv", rows, header)
    with pytest.raises(PlanError, match=message) as caught:
        run_ingest(tmp_path / "archive", write_photos(tmp_path / "in", 1), labels=table)
    assert str(table) in str(caught.value)
    assert list_parts(tmp_path / "archive") == []


def test_labels_that_do_not_fit_are_noted(tmp_path: Path) -> None:
    """Ragged lines, names of no image, contradictions and images without a label are sentences in the run's ledger."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 4)
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n00.png,a\n01.png,b\n01.png,c\nnobody.png,a\n02.png\n")
    ingest_result = run_ingest(archive, folder, labels=labels)
    assert {name: member.label for name, member in members_by_id(archive, ingest_result).items()} == {
        "00.png": "a",
        "01.png": None,
        "02.png": None,
        "03.png": None,
    }
    assert open_run(archive, ingest_result).location.read_json("ledger.json")["notes"] == [
        "labels.csv: 1 line has more or fewer values than the header: 6.",
        "labels.csv: 1 name is not that of an image: 'nobody.png'.",
        "labels.csv: 1 image has several classes, so taken as unlabelled: '01.png'.",
        "3 of the 4 images to pick from have no label; they count as no class.",
    ]
    labels.write_text("id,label\n" + "".join(f"{number:02d}.png,a\n" for number in range(4)))
    ingest_result = run_ingest(archive, folder, labels=labels)
    assert open_run(archive, ingest_result).location.read_json("ledger.json")["notes"] == []


def test_a_list_treats_its_labels_as_a_table_of_labels(tmp_path: Path) -> None:
    """NaN is no class; an image listed with two has none, whichever is first; both are told, and so are ragged lines."""
    write_photos(tmp_path / "in", 4)
    table = write_list(
        tmp_path,
        b"path,label\nin/00.png,rock\n./in/00.png,sand\nin/00.png,rock\nin/01.png,NaN\nin/02.png\nin/03.png,rock \n"
        b"in/03.png,nan\n",
    )
    ingest_result = run_ingest(tmp_path / "archive", table)
    labels = {
        Path(member.uri).name: member.label for member in members_by_id(tmp_path / "archive", ingest_result).values()
    }
    assert labels == {"00.png": None, "01.png": None, "02.png": None, "03.png": "rock"}
    assert open_run(tmp_path / "archive", ingest_result).location.read_json("ledger.json")["notes"] == [
        f"{table.name}: 1 line has more or fewer values than the header: 6.",
        "1 image has several classes, so taken as unlabelled: 'in/00.png'.",
        "3 of the 4 images to pick from have no label; they count as no class.",
    ]


def test_contradicting_labels_hide_the_label_of_the_list(tmp_path: Path) -> None:
    write_photos(tmp_path / "in", 2)
    table = write_list(tmp_path, b"path,label\nin/00.png,rock\nin/01.png,sand\n")
    labels = write_labels(tmp_path / "labels.csv", [("in/00.png", "a"), ("00.png", "b"), ("elsewhere.png", "a")])
    ingest_result = run_ingest(tmp_path / "archive", table, labels=labels)
    assert {name: member.label for name, member in members_by_id(tmp_path / "archive", ingest_result).items()} == {
        "in/00.png": None,
        "in/01.png": "sand",
    }


def test_an_id_of_several_files_is_not_labelled_by_it(tmp_path: Path) -> None:
    """Two folders with the same names: a path that names one of the files must not label the other."""
    for number, name in enumerate(("one/00.png", "two/00.png", "two/01.png")):
        write_file(tmp_path / name, make_image_bytes(number))
    labels = write_labels(tmp_path / "labels.csv", [("one/00.png", "rock"), ("two/01.png", "sand")])
    ingest_result = run_ingest(tmp_path / "archive", tmp_path / "one", tmp_path / "two", labels=labels)
    notes = open_run(tmp_path / "archive", ingest_result).location.read_json("ledger.json")["notes"]
    assert "1 name fits several images" in notes[0]
    assert notes[1].startswith("2 of the 3 images")


def test_images_of_the_source_in_the_background_are_counted(tmp_path: Path) -> None:
    """As the same files, and as copies of their contents."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 5)
    write_file(tmp_path / "known" / "copy.png", make_image_bytes(0))
    ingest_result = run_ingest(archive, folder, background=(tmp_path / "known", folder / "04.png"))
    assert (ingest_result.candidates, ingest_result.background) == (3, 2)
    assert open_run(archive, ingest_result).location.read_json("ledger.json")["notes"] == [
        "2 images of the source are in the background too: known, so never picked."
    ]


def test_labels_are_of_candidates_only(tmp_path: Path) -> None:
    """What is known already is not labelled."""
    background = write_photos(tmp_path / "known" / "old", 1, first=20).parent
    folder = write_photos(tmp_path / "in" / "new", 2).parent
    ingest_result = run_ingest(tmp_path / "archive", folder, background=(background,), labels="folder")
    assert {member.label for member in members_by_id(tmp_path / "archive", ingest_result).values()} == {"new", None}


# ------------------------------------------------------------------------------------------------------- names

NAMES = [
    b"new\nline.png",
    b"quo'te\".png",
    b"<b>&amp;.png",
    b"latin1-\xe9.png",
    b"\xff\xfe.png",
    "火星-🪐.png".encode(),
    b" lead.png",
    b"100%25.png",
    b"a,b.png",
    b"back\\slash.png",
    b"\x01\x7f.png",
]


def test_names_of_any_bytes_survive(tmp_path: Path) -> None:
    """Newlines, quotes, markup, bytes that are no UTF-8: catalog and members have them as text that tells them apart."""
    folder, archive = tmp_path / "in", tmp_path / "archive"
    for number, name in enumerate(NAMES):
        write_file(folder / os.fsdecode(name), make_image_bytes(number))
    ingest_result = run_ingest(archive, folder, part=4)
    assert ingest_result.candidates == len(NAMES)
    expected = {item.id: item.uri for item in list_entries([str(folder)])}
    assert len(expected) == len(NAMES)
    assert {member.id: member.uri for member in members_by_id(archive, ingest_result).values()} == expected
    assert {entry.id: entry.uri for entry in read_entries(archive)} == expected
    assert {"new\nline.png", "quo'te\".png", "<b>&amp;.png", "latin1-\\xe9.png", "\\xff\\xfe.png"} <= set(expected)
    assert [receipt.failed_count for receipt in run_extract(archive, ingest_result)] == [0]


@pytest.mark.parametrize("name", NAMES[:5], ids=repr)
def test_a_source_of_any_name(tmp_path: Path, name: bytes) -> None:
    """The folder itself may have any name; the run tells which it was."""
    folder = write_photos(tmp_path / os.fsdecode(name), 1)
    ingest_result = run_ingest(tmp_path / "archive", folder)
    assert open_run(tmp_path / "archive", ingest_result).inputs.sources == (str(folder),)
    assert ingest_result.run.isascii()
    assert "/" not in ingest_result.run


def write_list(folder: Path, content: bytes) -> Path:
    """A CSV list."""
    write_file(folder / "list.csv", content)
    return folder / "list.csv"


@pytest.mark.parametrize(
    "cell",
    [b"ftp://host/x.jpg", b"ftp://caf\xe9/x.jpg", b"gone.png", b"", b"a\0b.png", b"file:///a%00b.png", b"x" * 5000],
    ids=repr,
)
def test_a_listed_address_that_does_not_exist_is_outstanding(tmp_path: Path, cell: bytes) -> None:
    """It is one input, outstanding with a reason; the images beside it are taken."""
    write_photos(tmp_path / "in", 1)
    table = write_list(tmp_path, b"x,path\n1,in/00.png\n2," + cell + b"\n")
    ingest_result = run_ingest(tmp_path / "archive", table)
    assert {k: v for k, v in ingest_result.ledger.items() if v} == {"ready": 1, "outstanding": 1}
    (lost,) = (entry for entry in read_entries(tmp_path / "archive") if entry.status == "outstanding")
    assert lost.retryable
    assert lost.reason


# ---------------------------------------------------------------------------------------------- the archive


def test_an_archive_of_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    """A sentence with both versions, and nothing written."""
    Location.parse(tmp_path / "archive").write_json("archive.json", {"format": 99})
    with pytest.raises(StoreError, match="99"):
        ingest.list_inputs(str(tmp_path / "archive"), RunInputs(sources=(str(write_photos(tmp_path / "in", 1)),)))
    with pytest.raises(StoreError, match="is not an archive"):
        verify_archive(str(tmp_path / "in"))


def test_archives_do_not_block_each_other(tmp_path: Path) -> None:
    """An archive inside the folder of images: what is in it is listed like any file, and the images are found."""
    folder = write_photos(tmp_path / "in", 2)
    for _ in range(2):
        ingest_result = run_ingest(folder / "archive", folder)
        assert {member.id for member in members_by_id(folder / "archive", ingest_result).values()} == {
            "00.png",
            "01.png",
        }


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
        write_file(self.folder / "keep.png", make_image_bytes(100))
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
            self.kept.setdefault(name, (make_image_bytes(more), write_file(path, make_image_bytes(more))))
        elif what == "restore" and name in self.kept:
            write_file(path, *self.kept[name])
        elif what == "junk":
            write_file(path, b"junk")
        elif path.exists() and what == "copy" and more != name:
            write_file(self.folder / more, path.read_bytes())
        elif path.exists() and what == "rename":
            path.rename(self.folder / more)
        elif path.exists() and what == "touch":
            touch_file(path)
        elif path.exists() and what == "delete":
            path.unlink()

    def round(self, early: str | None, late: str | None, plan: Plan | None) -> None:
        """One run over the folder as it is, and all that must hold after it."""
        listing = self.files()
        self.seen |= set(listing)
        ingest_result = run_ingest(
            self.archive,
            self.folder,
            plan=plan or PLAN,
            part=2,
            block=2,
            meanwhile=lambda: Location.parse(self.folder).remove(early or "none"),
        )
        for key, data in listing.items():
            if key not in self.checked and key[0] != early:
                self.checked[key] = None if data == b"junk" else data
        expected = {content for key in listing if (content := self.checked.get(key))}
        actual = open_run(self.archive, ingest_result).read_members()
        assert {member.sha256 for member in actual} == {digest.digest_bytes(content) for content in expected}
        assert len(actual) == len(expected)
        assert verify_archive(str(self.archive)).inputs == len(self.seen)
        if plan:
            if late:
                (self.folder / late).unlink(missing_ok=True)
            run_extract(self.archive, ingest_result, plan)
            there = {digest.digest_bytes(content) for key, content in self.files().items() if key in listing}
            got = {member.sha256 for member in load_member_features(open_run(self.archive, ingest_result))[0].members}
            assert got >= there & {member.sha256 for member in actual}, "a file that is there has its features"
        again = {
            (entry.id, entry.size, int(entry.stamp))
            for entry in read_entries(self.archive)
            if entry.status == "outstanding"
        }
        self.checked = {key: content for key, content in self.checked.items() if key not in again}


@settings(max_examples=6)
@given(st.lists(ROUNDS, min_size=2, max_size=5))
@example(
    [
        ([("write", "a.png", 1), ("copy", "a.png", "b.png")], None, None, None),
        ([("write", "a.png", 2)], None, None, PLANS[0]),
    ]
)
@example(
    [
        ([("write", "a.png", 1)], None, None, PLANS[0]),
        ([("write", "a.png", 2)], None, None, PLANS[0]),
        ([("restore", "a.png")], None, None, PLANS[1]),
    ]
)
@example([([("write", "a.png", 1)], None, None, PLANS[0]), ([("rename", "a.png", "b.png")], None, None, PLANS[1])])
@example(
    [
        ([("write", "a.png", 1)], None, "a.png", PLANS[0]),
        ([("restore", "a.png")], "a.png", None, None),
        ([("restore", "a.png")], None, None, PLANS[1]),
    ]
)
def test_any_history_of_a_folder_keeps_the_archive_consistent(
    rounds: list[tuple[list[Any], str | None, str | None, Plan | None]],
) -> None:
    """Add, change, copy, rename, touch, delete, restore, vanish: sound at every moment, every version ever listed is
    counted, members are the contents that are listed and can be read, and what is there has its features.
    """
    with tempfile.TemporaryDirectory() as root:
        disk = Disk(Path(root))
        for operations, early, late, plan in rounds:
            for operation in operations:
                disk.do(*operation)
            disk.round(early, late, plan)


def test_a_file_that_kills_when_its_header_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One input at a time in another process: only that file is quarantined, and it is not read again where it is known."""
    folder, archive, url = write_photos(tmp_path / "in", 4), tmp_path / "archive", str(tmp_path / "archive")
    write_file(folder / "killer.png", make_image_bytes(50, size=KILLER_SIZE))
    environment = make_killer_environment(tmp_path / "killer", "header")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for count in (5, 1):
        listing = ingest.list_inputs(url, RunInputs(sources=(str(folder),)))
        assert listing.unchecked == count
        ingest.check_inputs(
            url, listing.name, (0, 5), listing.sequence, ProgressReporter(url), is_isolated=listing.unchecked == 5
        )
        assert count_deaths(environment) == 2
        write_file(folder / "copy.png", (folder / "killer.png").read_bytes())
    entries = {entry.id: entry for entry in read_entries(archive)}
    for name in ("killer.png", "copy.png"):
        assert entries[name].status == "quarantined"
        assert "kills the process" in entries[name].reason
    assert sum(entry.status == "pending" and bool(entry.sha256) for entry in entries.values()) == 4


def test_a_larger_budget_for_memory_takes_back_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What took too much memory is quarantined; listed again with more memory it is read, and so are its copies."""
    folder, archive = write_photos(tmp_path / "in", 2), tmp_path / "archive"
    write_file(folder / "large.png", make_image_bytes(50))
    write_file(folder / "copy.png", make_image_bytes(50))
    monkeypatch.setenv(MEMORY_VARIABLE, "40")
    monkeypatch.setattr(memory_budget, "_STRIP_BYTES", 60 * 10**6)
    run_extract(archive, run_ingest(archive, folder))
    assert "decoding it takes 61 MB" in find_entry(archive, folder / "large.png").reason
    assert find_entry(archive, folder / "copy.png").status == "quarantined"
    monkeypatch.setenv(MEMORY_VARIABLE, "62")
    ingest_result = run_ingest(archive, folder)
    run_extract(archive, ingest_result)
    assert not any(entry.status == "quarantined" for entry in read_entries(archive))
    assert ingest_result.candidates == 3
