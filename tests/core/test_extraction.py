"""Extraction: a block's features do not depend on how the work was parted, and a bad image never stops it."""

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from interpdisc_core import embedding
from interpdisc_core.extraction import extract
from interpdisc_core.features import Batch, Block, FeatureStore, Values, gather
from interpdisc_core.ingest import Settled
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.representations import PixelValues
from interpdisc_core.storage import Place
from interpdisc_core.verification import verify
from tests.core.test_ingest import (
    PLAN,
    entries,
    entry_of,
    extracted,
    ingested,
    members,
    parts,
    photos,
    picture,
    put,
    run_of,
    sound,
    touch,
)

OTHER = Plan(representation=PixelValues(side=4), explain=0)


def vectors(archive: Path, settled: Settled, plan: Plan = PLAN) -> dict[str, Values]:
    """Features of a run's members, by id."""
    found = run_of(archive, settled).members()
    values = gather(FeatureStore(Place.of(archive), plan.features), [(member.batch, member.row) for member in found])
    return {member.id: row for member, row in zip(found, values, strict=True)}


def files(archive: Path) -> dict[str, bytes]:
    """The bytes of every file below an archive's features."""
    return {str(p.relative_to(archive)): p.read_bytes() for p in archive.glob("features/**/*") if p.is_file()}


def lacking(archive: Path, settled: Settled, plan: Plan = PLAN) -> set[str]:
    """Ids of members that have no vector; no vector is there in part."""
    found = vectors(archive, settled, plan)
    assert all(np.isnan(row).all() or not np.isnan(row).any() for row in found.values())
    return {name for name, row in found.items() if np.isnan(row).all()}


def test_a_vector_is_that_of_its_image(tmp_path: Path) -> None:
    """Each row is the representation of its own image, as it is computed by hand."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 5)
    settled = ingested(archive, folder, block=2)
    (receipt, *_) = extracted(archive, settled)
    assert (receipt.images, receipt.failed) == (2, 0)
    assert receipt.seconds > 0
    from interpdisc_core.images import decode

    for name, row in vectors(archive, settled).items():
        image = PLAN.representation.prepare(decode((folder / name).read_bytes(), at_least=8))
        np.testing.assert_array_equal(row, PLAN.representation.load()(image[None])[0])


@pytest.mark.parametrize("block", [1, 3, 100])
def test_blocks_do_not_change_features(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same features, bit for bit, whatever the size of blocks and of batches in the network."""
    folder = photos(tmp_path / "in", 7)
    put(folder / "bad.png", picture(40)[:-70])
    whole = ingested(tmp_path / "whole", folder)
    extracted(tmp_path / "whole", whole)
    monkeypatch.setattr(embedding, "BATCH", 2)
    parted = ingested(tmp_path / "parted", folder, block=block)
    assert len(parted.blocks) == -(-8 // block)
    extracted(tmp_path / "parted", parted)
    here, there = vectors(tmp_path / "whole", whole), vectors(tmp_path / "parted", parted)
    assert here.keys() == there.keys()
    assert all(here[name].tobytes() == there[name].tobytes() for name in here)
    assert lacking(tmp_path / "parted", parted) == {"bad.png"}


def test_the_order_of_blocks_does_not_matter(tmp_path: Path) -> None:
    """Blocks extracted backwards: the same files, byte for byte."""
    folder, made = photos(tmp_path / "in", 7), []
    for number, step in enumerate((1, -1)):
        archive = tmp_path / f"archive-{number}"
        settled = ingested(archive, folder, block=2)
        extracted(archive, replace(settled, blocks=settled.blocks[::step]))
        made.append(files(archive))
    assert made[0] == made[1]


def test_a_block_written_twice_is_the_same_bytes(tmp_path: Path) -> None:
    """A record lost, as after a kill: done again, every file of the features is what it was."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 5)
    put(folder / "bad.png", picture(40)[:-70])
    settled = ingested(archive, folder, block=4)
    extracted(archive, settled)
    before = files(archive)
    counts = sound(archive)
    for record in archive.glob("features/*/*/records/*"):
        record.unlink()
    again = ingested(archive, folder, block=4)
    assert len(again.blocks) == 2
    extracted(archive, again)
    assert files(archive) == before
    assert sound(archive) == counts


def test_a_block_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """No file is written, no image is read; the receipt tells how many had failed."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 3)
    put(folder / "bad.png", picture(40)[:-70])
    settled = ingested(archive, folder)
    extracted(archive, settled)
    before = {path: path.stat().st_mtime_ns for path in archive.glob("**/*")}
    for path in folder.iterdir():
        path.unlink()
    (receipt,) = extracted(archive, settled)
    assert (receipt.images, receipt.failed, receipt.seconds, receipt.runtime) == (4, 1, 0.0, "numpy")
    assert {path: path.stat().st_mtime_ns for path in archive.glob("**/*")} == before


def test_another_representation_is_beside_the_first(tmp_path: Path) -> None:
    """Features by representation: extracting the second leaves the first's files as they were."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 3)
    extracted(archive, ingested(archive, folder))
    before = files(archive)
    settled = ingested(archive, folder, plan=OTHER)
    assert settled.images == 3
    extracted(archive, settled, OTHER)
    after = files(archive)
    assert before.items() <= after.items()
    assert all(row.shape == (48,) for row in vectors(archive, settled, OTHER).values())
    assert {features.kind for features in verify(str(archive)).features} == {"pixels"}


def vanish(path: Path) -> None:
    path.unlink()


def change(path: Path) -> None:
    put(path, picture(77))


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"), [(vanish, "vanished"), (change, "changed since"), (become_a_folder, "not a regular file")]
)
def test_an_image_that_cannot_be_got_at(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    """Gone, or another, between check and extraction: no vector, a reason, and another try when it is listed again."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 4)
    when = (folder / "02.png").stat().st_mtime_ns
    settled = ingested(archive, folder, block=3)
    damage(folder / "02.png")
    assert [receipt.failed for receipt in extracted(archive, settled)] == [1, 0]
    store = FeatureStore(Place.of(archive), PLAN.features)
    assert list(store.record(Block(0, 0)).failed) == ["2"]
    assert said in store.record(Block(0, 0)).failed["2"]
    entry = entry_of(archive, folder / "02.png")
    assert (entry.status, entry.access) == ("quarantined", True)
    assert said in entry.why
    assert lacking(archive, settled) == {"02.png"}
    assert sound(archive) == {"ready": 3, "quarantined": 1}

    if (folder / "02.png").is_dir():
        (folder / "02.png").rmdir()
    put(folder / "02.png", picture(2), when)
    settled = ingested(archive, folder)
    extracted(archive, settled)
    assert lacking(archive, settled) == set()
    assert sound(archive) == {"ready": 4}


def test_an_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    """Its header is good and its pixels are cut off: quarantined for good, and no member of the next run."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 3)
    put(folder / "cut.png", picture(40)[:-70])
    first = ingested(archive, folder)
    assert "cut.png" in members(archive, first)
    assert [receipt.failed for receipt in extracted(archive, first)] == [1]
    entry = entry_of(archive, folder / "cut.png")
    assert (entry.status, entry.access, entry.batch, entry.row) == ("quarantined", False, -1, -1)
    assert "truncated" in entry.why
    assert lacking(archive, first) == {"cut.png"}
    again = ingested(archive, folder)
    assert again.run == first.run
    assert again.blocks == ()
    assert "cut.png" not in members(archive, again)


@pytest.mark.parametrize("block", [2, 10])
def test_a_block_without_one_readable_image(tmp_path: Path, block: int) -> None:
    """All of its images are cut off: its chunk is there, NaN all over, and the archive is sound."""
    archive, folder = tmp_path / "archive", tmp_path / "in"
    for number in range(4):
        put(folder / f"{number}.png", picture(number)[: None if number > 1 and block == 2 else -70])
    settled = ingested(archive, folder, block=block)
    extracted(archive, settled)
    store = FeatureStore(Place.of(archive), PLAN.features)
    batch = Batch.read(Place.of(archive), 0)
    assert all(store.fault(batch, number) is None for number in range(batch.blocks))
    assert (archive / "features" / PLAN.features / "000000/values/c/0/0").is_file()
    assert np.isnan(store.read(batch, 0)).all()
    assert store.read(batch, 0).shape[1] == 192
    assert len(lacking(archive, settled)) == (2 if block == 2 else 4)
    assert sound(archive)["quarantined"] == (2 if block == 2 else 4)


def test_a_hundred_bad_images_among_good_ones(tmp_path: Path) -> None:
    """More than the network takes at once, good and bad in turns: each in its own row."""
    archive, folder = tmp_path / "archive", tmp_path / "in"
    for number in range(80):
        put(folder / f"{number:02d}.png", picture(number)[: -70 if number % 3 == 0 else None])
    settled = ingested(archive, folder)
    (receipt,) = extracted(archive, settled)
    assert lacking(archive, settled) == {f"{number:02d}.png" for number in range(0, 80, 3)}
    assert receipt.failed == 27
    assert sound(archive) == {"ready": 53, "quarantined": 27}


# ----------------------------------------------------------------------- a content that lies in several files


def test_a_copy_is_read_where_the_first_file_is_gone(tmp_path: Path) -> None:
    """A folder that was moved, and another representation: the images are there, so they have features."""
    archive = tmp_path / "archive"
    extracted(archive, ingested(archive, photos(tmp_path / "in", 3)))
    (tmp_path / "in").rename(tmp_path / "moved")
    settled = ingested(archive, tmp_path / "moved", plan=OTHER)
    assert [receipt.failed for receipt in extracted(archive, settled, OTHER)] == [0]
    assert lacking(archive, settled, OTHER) == set()
    assert sound(archive) == {"ready": 3, "duplicate-of": 3}


def test_a_row_whose_first_file_has_changed_since(tmp_path: Path) -> None:
    """The content of a row moved on to a copy when its first file changed: the copy is what is read."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 1)
    for name in ("a.png", "b.png"):
        put(folder / name, picture(30))
    extracted(archive, ingested(archive, folder))
    put(folder / "a.png", picture(31))
    settled = ingested(archive, folder, plan=OTHER)
    extracted(archive, settled, OTHER)
    assert lacking(archive, settled, OTHER) == set()
    assert sound(archive) == {"ready": 3, "superseded-by": 1}


def test_a_content_that_came_back_and_vanished(tmp_path: Path) -> None:
    """A, B, A again, then gone before extraction: what is quarantined is the version that was ready."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 1)
    for seed in (30, 31, 30):
        put(folder / "x.png", picture(seed))
        extracted(archive, ingested(archive, folder))
    settled = ingested(archive, folder, plan=OTHER)
    data, when = (folder / "x.png").read_bytes(), (folder / "x.png").stat().st_mtime_ns
    (folder / "x.png").unlink()
    extracted(archive, settled, OTHER)
    assert entry_of(archive, folder / "x.png").status == "quarantined"
    assert sound(archive) == {"ready": 1, "superseded-by": 2, "quarantined": 1}
    put(folder / "x.png", data, when)
    settled = ingested(archive, folder, plan=OTHER)
    extracted(archive, settled, OTHER)
    assert lacking(archive, settled, OTHER) == set()
    assert sound(archive) == {"ready": 2, "superseded-by": 2}


def test_a_version_that_is_over_is_not_quarantined(tmp_path: Path) -> None:
    """The block of a new representation also has the row of a superseded content: it stays superseded."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 2)
    extracted(archive, ingested(archive, folder))
    put(folder / "00.png", picture(31))
    settled = ingested(archive, folder, plan=OTHER)
    extracted(archive, settled, OTHER)
    assert sound(archive) == {"ready": 2, "superseded-by": 1}
    assert lacking(archive, settled, OTHER) == set()


def test_copies_of_a_content_that_is_gone_everywhere(tmp_path: Path) -> None:
    """Both files vanished: both are quarantined sooner or later; one of them back: it is ready."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 1)
    when = [put(folder / name, picture(30)) for name in ("a.png", "b.png")]
    settled = ingested(archive, folder)
    for name in ("a.png", "b.png"):
        (folder / name).unlink()
    extracted(archive, settled)
    extracted(archive, ingested(archive, folder))
    put(folder / "b.png", picture(30), when[1])
    settled = ingested(archive, folder)
    extracted(archive, settled)
    assert set(members(archive, settled)) == {"00.png", "b.png"}
    assert lacking(archive, settled) == set()


# ---------------------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize("where", ["create", "write"])
def test_killed_before_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Killed after the quarantine is logged, before or after the values are written: done again, it is as if not."""
    folder = photos(tmp_path / "in", 3)
    put(folder / "cut.png", picture(40)[:-70])
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    extracted(straight, ingested(straight, folder))
    settled = ingested(killed, folder)

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, where, kill)
        with pytest.raises(Killed):
            extract(str(killed), PLAN, settled.blocks[0], settled.turn, Watch(str(killed)))
    assert verify(str(killed)).sound
    before = len(parts(killed))
    extracted(killed, settled)
    assert len(parts(killed)) == before, "the same part is written again"
    assert files(killed) == files(straight)
    assert [replace(entry, at="") for entry in entries(killed)] == [replace(e, at="") for e in entries(straight)]


def test_a_touched_file_is_extracted_by_its_content(tmp_path: Path) -> None:
    """A new time stamp between check and extraction is no other file."""
    archive, folder = tmp_path / "archive", photos(tmp_path / "in", 2)
    settled = ingested(archive, folder)
    touch(folder / "00.png")
    extracted(archive, settled)
    assert lacking(archive, settled) == set()


def test_extraction_goes_on_with_odd_names(tmp_path: Path) -> None:
    """Names that are no UTF-8 in a block; the one that vanished is named in the ledger by its text."""
    archive, folder = tmp_path / "archive", tmp_path / "in"
    names = [os.fsdecode(name) for name in (b"a\xff.png", b"b\n.png", b"c'\".png")]
    for number, name in enumerate(names):
        put(folder / name, picture(number))
    settled = ingested(archive, folder)
    (folder / names[0]).unlink()
    extracted(archive, settled)
    assert lacking(archive, settled) == {"a\\xff.png"}
    assert {entry.id: entry.status for entry in entries(archive)} == {
        "a\\xff.png": "quarantined", "b\n.png": "ready", "c'\".png": "ready"
    }  # fmt: skip


def test_a_receipt_is_small_and_plain(tmp_path: Path) -> None:
    """What travels back from a worker: numbers and names only."""
    archive = tmp_path / "archive"
    (receipt,) = extracted(archive, ingested(archive, photos(tmp_path / "in", 3)))
    assert asdict(receipt).keys() == {"block", "images", "failed", "seconds", "runtime"}
    assert receipt.block == Block(0, 0)
