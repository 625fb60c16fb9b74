"""Extraction: a block's features do not depend on how the work was parted, and a bad image never stops it."""

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from interpdisc_core._types import Float32Array
from interpdisc_core.archive.batches import Batch, BlockId
from interpdisc_core.archive.feature_store import FeatureStore, gather_features
from interpdisc_core.operations.verify import verify_archive
from interpdisc_core.pipeline.extract import extract_block
from interpdisc_core.pipeline.ingest import IngestResult
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import PixelValues, batching
from interpdisc_core.storage.location import Location
from tests.helpers.killers import KILLER_SIZE, count_deaths, make_killer_environment
from tests.pipeline.test_ingest import (
    PLAN,
    check_archive,
    find_entry,
    list_parts,
    make_image_bytes,
    members_by_id,
    open_run,
    read_entries,
    run_extract,
    run_ingest,
    touch_file,
    write_file,
    write_photos,
)

OTHER = Plan(representation=PixelValues(side=4), explain=0)


def read_vectors_by_id(archive: Path, ingest_result: IngestResult, plan: Plan = PLAN) -> dict[str, Float32Array]:
    """Features of a run's members, by id."""
    vectors_by_id = open_run(archive, ingest_result).read_members()
    values = gather_features(
        FeatureStore(Location.parse(archive), plan.features_digest),
        [(member.batch, member.row) for member in vectors_by_id],
    )
    return {member.id: row for member, row in zip(vectors_by_id, values, strict=True)}


def read_files(archive: Path) -> dict[str, bytes]:
    """The bytes of every file below an archive's features."""
    return {str(p.relative_to(archive)): p.read_bytes() for p in archive.glob("features/**/*") if p.is_file()}


def find_missing_ids(archive: Path, ingest_result: IngestResult, plan: Plan = PLAN) -> set[str]:
    """Ids of members that have no vector; no vector is there in part."""
    ids = read_vectors_by_id(archive, ingest_result, plan)
    assert all(np.isnan(row).all() or not np.isnan(row).any() for row in ids.values())
    return {name for name, row in ids.items() if np.isnan(row).all()}


def test_each_row_holds_the_features_of_its_own_image(tmp_path: Path) -> None:
    """Each row is the representation of its own image, as it is computed by hand."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 5)
    ingest_result = run_ingest(archive, folder, block=2)
    (receipt, *_) = run_extract(archive, ingest_result)
    assert (receipt.images, receipt.failed_count) == (2, 0)
    assert receipt.seconds > 0
    from interpdisc_core.images.decode import decode

    for name, row in read_vectors_by_id(archive, ingest_result).items():
        image = PLAN.representation.prepare(decode((folder / name).read_bytes(), at_least=8))
        np.testing.assert_array_equal(row, PLAN.representation.load()(image[None])[0])


@pytest.mark.parametrize("block", [1, 3, 100])
def test_features_do_not_depend_on_the_block_size(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same features, bit for bit, whatever the size of blocks and of batches in the network."""
    folder = write_photos(tmp_path / "in", 7)
    write_file(folder / "bad.png", make_image_bytes(40)[:-70])
    single = run_ingest(tmp_path / "whole", folder)
    run_extract(tmp_path / "whole", single)
    monkeypatch.setattr(batching, "EMBED_MINIBATCH", 2)
    divided = run_ingest(tmp_path / "parted", folder, block=block)
    assert len(divided.blocks) == -(-8 // block)
    run_extract(tmp_path / "parted", divided)
    expected, actual = read_vectors_by_id(tmp_path / "whole", single), read_vectors_by_id(tmp_path / "parted", divided)
    assert expected.keys() == actual.keys()
    assert all(expected[name].tobytes() == actual[name].tobytes() for name in expected)
    assert find_missing_ids(tmp_path / "parted", divided) == {"bad.png"}


def test_an_image_that_kills_is_found_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image at a time in another process: the same features, bit for bit; the killer is not tried a third time."""
    folder, archive = write_photos(tmp_path / "in", 7), tmp_path / "archive"
    write_file(folder / "killer.png", make_image_bytes(50, size=KILLER_SIZE))
    write_file(folder / "bad.png", make_image_bytes(40)[:-70])
    ingest_result = run_ingest(tmp_path / "whole", folder)
    run_extract(tmp_path / "whole", ingest_result)
    expected = read_vectors_by_id(tmp_path / "whole", ingest_result)

    ingest_result, url = run_ingest(archive, folder), str(archive)
    environment = make_killer_environment(tmp_path / "killer", "pixels")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (block,) = ingest_result.blocks
    result = extract_block(url, PLAN, block, ingest_result.sequence, ProgressReporter(url), is_isolated=True)
    assert result.failed_count == 2
    assert count_deaths(environment) == 2
    assert "kills the process that decodes it" in find_entry(archive, folder / "killer.png").reason
    assert find_entry(archive, folder / "bad.png").reason.startswith("truncated")
    vectors = read_vectors_by_id(archive, ingest_result)
    assert find_missing_ids(archive, ingest_result) == {"bad.png", "killer.png"}
    assert all(vectors[name].tobytes() == expected[name].tobytes() for name in vectors if name != "killer.png")
    check_archive(archive)

    # Another plan, in this process, in which the image could be decoded: it is not tried.
    store = FeatureStore(Location.parse(archive), OTHER.features_digest)
    extract_block(url, OTHER, block, ingest_result.sequence + 1, ProgressReporter(url))
    assert any("kills the process" in reason for reason in store.read_record(block).failed.values())


def test_the_order_of_blocks_does_not_change_the_files(tmp_path: Path) -> None:
    """Blocks extracted backwards: the same files, byte for byte."""
    folder, contents = write_photos(tmp_path / "in", 7), []
    for number, step in enumerate((1, -1)):
        archive = tmp_path / f"archive-{number}"
        ingest_result = run_ingest(archive, folder, block=2)
        run_extract(archive, replace(ingest_result, blocks=ingest_result.blocks[::step]))
        contents.append(read_files(archive))
    assert contents[0] == contents[1]


def test_writing_a_block_again_writes_the_same_bytes(tmp_path: Path) -> None:
    """A record lost, as after a kill: done again, every file of the features is what it was."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 5)
    write_file(folder / "bad.png", make_image_bytes(40)[:-70])
    ingest_result = run_ingest(archive, folder, block=4)
    run_extract(archive, ingest_result)
    before = read_files(archive)
    counts = check_archive(archive)
    for record in archive.glob("features/*/*/records/*"):
        record.unlink()
    again = run_ingest(archive, folder, block=4)
    assert len(again.blocks) == 2
    run_extract(archive, again)
    assert read_files(archive) == before
    assert check_archive(archive) == counts


def test_a_complete_block_is_skipped(tmp_path: Path) -> None:
    """No file is written, no image is read; the receipt tells how many had failed."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 3)
    write_file(folder / "bad.png", make_image_bytes(40)[:-70])
    ingest_result = run_ingest(archive, folder)
    run_extract(archive, ingest_result)
    before = {path: path.stat().st_mtime_ns for path in archive.glob("**/*")}
    for path in folder.iterdir():
        path.unlink()
    (receipt,) = run_extract(archive, ingest_result)
    assert (receipt.images, receipt.failed_count, receipt.seconds, receipt.runtime) == (4, 1, 0.0, "numpy")
    assert {path: path.stat().st_mtime_ns for path in archive.glob("**/*")} == before


def test_a_second_representation_does_not_change_the_first(tmp_path: Path) -> None:
    """Features by representation: extracting the second leaves the first's files as they were."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 3)
    run_extract(archive, run_ingest(archive, folder))
    before = read_files(archive)
    ingest_result = run_ingest(archive, folder, plan=OTHER)
    assert ingest_result.images == 3
    run_extract(archive, ingest_result, OTHER)
    after = read_files(archive)
    assert before.items() <= after.items()
    assert all(row.shape == (48,) for row in read_vectors_by_id(archive, ingest_result, OTHER).values())
    assert {features.kind for features in verify_archive(str(archive)).features} == {"pixels"}


def delete(path: Path) -> None:
    path.unlink()


def replace_content(path: Path) -> None:
    write_file(path, make_image_bytes(77))


def replace_with_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [(delete, "vanished"), (replace_content, "changed since"), (replace_with_folder, "not a regular file")],
)
def test_an_image_that_cannot_be_got_at_is_tried_again(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    """Gone, or another, between check and extraction: no vector, a reason, and another try when it is listed again."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 4)
    mtime_ns = (folder / "02.png").stat().st_mtime_ns
    ingest_result = run_ingest(archive, folder, block=3)
    damage(folder / "02.png")
    assert [receipt.failed_count for receipt in run_extract(archive, ingest_result)] == [1, 0]
    store = FeatureStore(Location.parse(archive), PLAN.features_digest)
    assert list(store.read_record(BlockId(0, 0)).failed) == ["2"]
    assert message in store.read_record(BlockId(0, 0)).failed["2"]
    entry = find_entry(archive, folder / "02.png")
    assert (entry.status, entry.retryable) == ("outstanding", True)
    assert message in entry.reason
    assert find_missing_ids(archive, ingest_result) == {"02.png"}
    assert check_archive(archive) == {"ready": 3, "outstanding": 1}

    if (folder / "02.png").is_dir():
        (folder / "02.png").rmdir()
    write_file(folder / "02.png", make_image_bytes(2), mtime_ns)
    ingest_result = run_ingest(archive, folder)
    run_extract(archive, ingest_result)
    assert find_missing_ids(archive, ingest_result) == set()
    assert check_archive(archive) == {"ready": 4}


def test_an_undecodable_image_is_quarantined_for_good(tmp_path: Path) -> None:
    """Its header is good and its pixels are cut off: quarantined for good, and no member of the next run."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 3)
    write_file(folder / "cut.png", make_image_bytes(40)[:-70])
    first = run_ingest(archive, folder)
    assert "cut.png" in members_by_id(archive, first)
    assert [receipt.failed_count for receipt in run_extract(archive, first)] == [1]
    entry = find_entry(archive, folder / "cut.png")
    assert (entry.status, entry.retryable, entry.batch, entry.row) == ("quarantined", False, -1, -1)
    assert "truncated" in entry.reason
    assert find_missing_ids(archive, first) == {"cut.png"}
    again = run_ingest(archive, folder)
    assert again.run == first.run
    assert again.blocks == ()
    assert "cut.png" not in members_by_id(archive, again)


@pytest.mark.parametrize("block", [2, 10])
def test_a_block_without_readable_images_is_written_as_nan(tmp_path: Path, block: int) -> None:
    """All of its images are cut off: its chunk is there, NaN all over, and the archive is sound."""
    archive, folder = tmp_path / "archive", tmp_path / "in"
    for number in range(4):
        write_file(folder / f"{number}.png", make_image_bytes(number)[: None if number > 1 and block == 2 else -70])
    ingest_result = run_ingest(archive, folder, block=block)
    run_extract(archive, ingest_result)
    store = FeatureStore(Location.parse(archive), PLAN.features_digest)
    batch = Batch.read(Location.parse(archive), 0)
    assert all(store.check_block(batch, number) is None for number in range(batch.block_count))
    assert (archive / "features" / PLAN.features_digest / "000000/values/c/0/0").is_file()
    assert np.isnan(store.read(batch, 0)).all()
    assert store.read(batch, 0).shape[1] == 192
    assert len(find_missing_ids(archive, ingest_result)) == (2 if block == 2 else 4)
    assert check_archive(archive)["quarantined"] == (2 if block == 2 else 4)


def test_bad_images_among_good_ones_do_not_shift_rows(tmp_path: Path) -> None:
    """More than the network takes at once, good and bad in turns: each in its own row."""
    archive, folder = tmp_path / "archive", tmp_path / "in"
    for number in range(80):
        write_file(folder / f"{number:02d}.png", make_image_bytes(number)[: -70 if number % 3 == 0 else None])
    ingest_result = run_ingest(archive, folder)
    (receipt,) = run_extract(archive, ingest_result)
    assert find_missing_ids(archive, ingest_result) == {f"{number:02d}.png" for number in range(0, 80, 3)}
    assert receipt.failed_count == 27
    assert check_archive(archive) == {"ready": 53, "quarantined": 27}


# ----------------------------------------------------------------------- a content that lies in several files


def test_a_copy_is_read_if_the_first_file_is_missing(tmp_path: Path) -> None:
    """A folder that was moved, and another representation: the images are there, so they have features."""
    archive = tmp_path / "archive"
    run_extract(archive, run_ingest(archive, write_photos(tmp_path / "in", 3)))
    (tmp_path / "in").rename(tmp_path / "moved")
    ingest_result = run_ingest(archive, tmp_path / "moved", plan=OTHER)
    assert [receipt.failed_count for receipt in run_extract(archive, ingest_result, OTHER)] == [0]
    assert find_missing_ids(archive, ingest_result, OTHER) == set()
    assert check_archive(archive) == {"ready": 3, "duplicate-of": 3}


def test_a_copy_is_read_if_the_first_file_has_changed(tmp_path: Path) -> None:
    """The content of a row moved on to a copy when its first file changed: the copy is what is read."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 1)
    for name in ("a.png", "b.png"):
        write_file(folder / name, make_image_bytes(30))
    run_extract(archive, run_ingest(archive, folder))
    write_file(folder / "a.png", make_image_bytes(31))
    ingest_result = run_ingest(archive, folder, plan=OTHER)
    run_extract(archive, ingest_result, OTHER)
    assert find_missing_ids(archive, ingest_result, OTHER) == set()
    assert check_archive(archive) == {"ready": 3, "superseded-by": 1}


def test_a_content_that_returned_and_vanished_again_is_outstanding(tmp_path: Path) -> None:
    """A, B, A again, then gone before extraction: what is outstanding is the version that was ready."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 1)
    for seed in (30, 31, 30):
        write_file(folder / "x.png", make_image_bytes(seed))
        run_extract(archive, run_ingest(archive, folder))
    ingest_result = run_ingest(archive, folder, plan=OTHER)
    data, mtime_ns = (folder / "x.png").read_bytes(), (folder / "x.png").stat().st_mtime_ns
    (folder / "x.png").unlink()
    run_extract(archive, ingest_result, OTHER)
    assert find_entry(archive, folder / "x.png").status == "outstanding"
    assert check_archive(archive) == {"ready": 1, "superseded-by": 2, "outstanding": 1}
    write_file(folder / "x.png", data, mtime_ns)
    ingest_result = run_ingest(archive, folder, plan=OTHER)
    run_extract(archive, ingest_result, OTHER)
    assert find_missing_ids(archive, ingest_result, OTHER) == set()
    assert check_archive(archive) == {"ready": 2, "superseded-by": 2}


def test_a_superseded_version_is_not_quarantined(tmp_path: Path) -> None:
    """The block of a new representation also has the row of a superseded content: it stays superseded."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 2)
    run_extract(archive, run_ingest(archive, folder))
    write_file(folder / "00.png", make_image_bytes(31))
    ingest_result = run_ingest(archive, folder, plan=OTHER)
    run_extract(archive, ingest_result, OTHER)
    assert check_archive(archive) == {"ready": 2, "superseded-by": 1}
    assert find_missing_ids(archive, ingest_result, OTHER) == set()


def test_a_content_is_ready_again_if_one_of_its_copies_returns(tmp_path: Path) -> None:
    """Both files vanished: both are quarantined sooner or later; one of them back: it is ready."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 1)
    mtime_ns = [write_file(folder / name, make_image_bytes(30)) for name in ("a.png", "b.png")]
    ingest_result = run_ingest(archive, folder)
    for name in ("a.png", "b.png"):
        (folder / name).unlink()
    run_extract(archive, ingest_result)
    run_extract(archive, run_ingest(archive, folder))
    write_file(folder / "b.png", make_image_bytes(30), mtime_ns[1])
    ingest_result = run_ingest(archive, folder)
    run_extract(archive, ingest_result)
    assert set(members_by_id(archive, ingest_result)) == {"00.png", "b.png"}
    assert find_missing_ids(archive, ingest_result) == set()


# ---------------------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize("step", ["create_array", "write"])
def test_extraction_resumes_after_a_kill_before_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Killed after the quarantine is logged, before or after the values are written: done again, it is as if not."""
    folder = write_photos(tmp_path / "in", 3)
    write_file(folder / "cut.png", make_image_bytes(40)[:-70])
    uninterrupted, killed = tmp_path / "straight", tmp_path / "killed"
    run_extract(uninterrupted, run_ingest(uninterrupted, folder))
    ingest_result = run_ingest(killed, folder)

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, step, kill)
        with pytest.raises(Killed):
            extract_block(
                str(killed), PLAN, ingest_result.blocks[0], ingest_result.sequence, ProgressReporter(str(killed))
            )
    assert verify_archive(str(killed)).is_sound
    before = len(list_parts(killed))
    run_extract(killed, ingest_result)
    assert len(list_parts(killed)) == before, "the same part is written again"
    assert read_files(killed) == read_files(uninterrupted)
    assert [replace(entry, at="") for entry in read_entries(killed)] == [
        replace(e, at="") for e in read_entries(uninterrupted)
    ]


def test_a_touched_file_is_extracted_by_its_content(tmp_path: Path) -> None:
    """A new time stamp between check and extraction is no other file."""
    archive, folder = tmp_path / "archive", write_photos(tmp_path / "in", 2)
    ingest_result = run_ingest(archive, folder)
    touch_file(folder / "00.png")
    run_extract(archive, ingest_result)
    assert find_missing_ids(archive, ingest_result) == set()


def test_extraction_accepts_names_that_are_not_utf8(tmp_path: Path) -> None:
    """Names that are no UTF-8 in a block; the one that vanished is named in the ledger by its text."""
    archive, folder = tmp_path / "archive", tmp_path / "in"
    names = [os.fsdecode(name) for name in (b"a\xff.png", b"b\n.png", b"c'\".png")]
    for number, name in enumerate(names):
        write_file(folder / name, make_image_bytes(number))
    ingest_result = run_ingest(archive, folder)
    (folder / names[0]).unlink()
    run_extract(archive, ingest_result)
    assert find_missing_ids(archive, ingest_result) == {"a\\xff.png"}
    assert {entry.id: entry.status for entry in read_entries(archive)} == {
        "a\\xff.png": "outstanding",
        "b\n.png": "ready",
        "c'\".png": "ready",
    }


def test_a_block_result_holds_numbers_and_names_only(tmp_path: Path) -> None:
    """What travels back from a worker: numbers and names only."""
    archive = tmp_path / "archive"
    (receipt,) = run_extract(archive, run_ingest(archive, write_photos(tmp_path / "in", 3)))
    assert asdict(receipt).keys() == {"block", "images", "failed_count", "unread_count", "seconds", "runtime"}
    assert receipt.block == BlockId(0, 0)
