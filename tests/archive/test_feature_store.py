"""Features in an archive: what is written is read back, in any order, and damage never passes for data."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.archive.batches import Batch, BlockId, list_batches, write_batch
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.feature_store import FeatureStore, gather_features, open_feature_rows
from interpdisc_core.errors import DamageError, StoreError
from interpdisc_core.representations import PixelValues
from interpdisc_core.storage.location import Location, translate_write_errors

SIZES = ((7, 3), (5, 2))
"""Rows and rows a block of the two batches below."""
WIDE = 6


def entry(number: int) -> CatalogEntry:
    """An input of a batch."""
    return CatalogEntry(f"{number:016x}", f"{number}.png", f"file:///{number}.png", 1, "1", sha256=f"{number:064x}")


def values_of(batch: int) -> npt.NDArray[np.float32]:
    """The features of a batch; its row 1 has none."""
    made = np.random.default_rng(batch).normal(size=(SIZES[batch][0], WIDE)).astype(np.float32)
    made[1] = np.nan
    return made


def fill(store: FeatureStore, batch: Batch, number: int) -> None:
    """Write one block of a batch."""
    start, stop = batch.row_range(number)
    failed = {1: "truncated"} if start <= 1 < stop else {}
    store.write(batch, number, values_of(batch.number)[start:stop], failed, "numpy")


def complete(root: Path) -> FeatureStore:
    """An archive of two batches, complete."""
    made = FeatureStore(Location.parse(root), "spec")
    made.write_spec(PixelValues())
    for number, (rows, block) in enumerate(SIZES):
        write_batch(made.archive, number, [entry(10 * number + row) for row in range(rows)], block)
        batch = Batch.read(made.archive, number)
        made.create_array(batch, WIDE)
        for part in range(batch.block_count):
            fill(made, batch, part)
    return made


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """One for each test, to damage."""
    return complete(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """One for all tests that only read."""
    return complete(tmp_path_factory.mktemp("features"))


def chunk(store: FeatureStore, batch: int, number: int) -> Path:
    """The file of a block's values."""
    return Path(store.archive.url, f"features/spec/{batch:06d}/values/c/{number}/0")


def record(store: FeatureStore, batch: int, number: int) -> Path:
    """The file of a block's record."""
    return Path(store.archive.url, f"features/spec/{batch:06d}/records/{number:06d}.json")


# ---------------------------------------------------------------------------------------------------- batches


def test_a_batch_says_which_image_each_row_is(store: FeatureStore) -> None:
    """Keys, addresses and contents in the order given; blocks cover the rows."""
    assert list_batches(store.archive) == [0, 1]
    batch = Batch.read(store.archive, 0)
    assert batch.table["key"].to_pylist() == [entry(row).key for row in range(7)]
    assert batch.table["sha256"].to_pylist() == [entry(row).sha256 for row in range(7)]
    assert [batch.row_range(number) for number in range(batch.block_count)] == [(0, 3), (3, 6), (6, 7)]


def test_a_missing_batch_is_reported(store: FeatureStore) -> None:
    """A sentence with its number; one for a damaged file too."""
    with pytest.raises(StoreError, match="no batch 7"):
        Batch.read(store.archive, 7)
    store.archive.write("batches/000000.parquet", b"PAR1 nothing PAR1")
    with pytest.raises(StoreError, match="damaged"):
        Batch.read(store.archive, 0)


# ------------------------------------------------------------------------------------------------------ gather


def test_rows_in_any_order_with_repetitions(store: FeatureStore) -> None:
    """Places of two batches, mixed and repeated: each row is its own, NaN where there is none."""
    places = [(1, 4), (0, 6), (0, 0), (1, 1), (0, 6), (1, 0), (0, 1), (0, 5), (1, 4)]
    expected = np.stack([values_of(batch)[row] for batch, row in places])
    actual = gather_features(store, places)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, expected)


@given(st.lists(st.sampled_from([(batch, row) for batch in (0, 1) for row in range(SIZES[batch][0])]), max_size=30))
def test_any_list_of_rows_is_gathered_in_its_order(whole: FeatureStore, places: list[tuple[int, int]]) -> None:
    """The same law for whatever is asked for; nothing asked, nothing given."""
    actual = gather_features(whole, places)
    assert len(actual) == len(places)
    for row, (batch, number) in zip(actual, places, strict=True):
        np.testing.assert_array_equal(row, values_of(batch)[number])


def test_an_incomplete_block_is_reported(store: FeatureStore) -> None:
    """Values without their record do not count; a place in another block of the batch can still be had."""
    record(store, 0, 1).unlink()
    assert store.list_complete_blocks(0) == {0, 2}
    with pytest.raises(StoreError, match=r"block 1 of batch 0 is not extracted yet"):
        gather_features(store, [(0, 0), (0, 3)])
    assert len(gather_features(store, [(0, 0), (0, 6), (1, 2)])) == 3
    other = FeatureStore(store.archive, "another")
    assert other.list_complete_blocks(0) == set()
    with pytest.raises(StoreError, match="not extracted yet"):
        gather_features(other, [(0, 0)])


@pytest.mark.parametrize("damage", ["lost", "flipped", "short", "no array"])
def test_damage_is_not_taken_for_unreadable_images(store: FeatureStore, damage: str) -> None:
    """A complete block whose values are gone or altered is an error, never rows of NaN that are left out in silence."""
    path = chunk(store, 0, 1)
    if damage == "lost":
        path.unlink()
    elif damage == "flipped":
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        Path(store.archive.url, "features/spec/000000/values/zarr.json").unlink()
    with pytest.raises(StoreError, match="batch 0"):
        gather_features(store, [(0, 3)])
    assert len(gather_features(store, [(1, 0)])) == 1


# ------------------------------------------------------------------------------------------------------- writing


def test_writing_again_writes_the_same_bytes(store: FeatureStore) -> None:
    """Chunk and record, byte for byte."""
    before = chunk(store, 0, 0).read_bytes(), record(store, 0, 0).read_bytes()
    fill(store, Batch.read(store.archive, 0), 0)
    assert (chunk(store, 0, 0).read_bytes(), record(store, 0, 0).read_bytes()) == before


def test_a_block_is_one_file(store: FeatureStore) -> None:
    """No two blocks share a chunk: as many files as blocks, also for a last block that is short."""
    folder = Path(store.archive.url, "features/spec/000000/values/c")
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "2"]
    assert all(len(list(path.iterdir())) == 1 for path in folder.iterdir())


def test_a_block_without_vectors_is_stored(store: FeatureStore) -> None:
    """NaN all over is written like any other values."""
    batch = Batch.read(store.archive, 1)
    store.write(batch, 2, np.full((1, WIDE), np.nan, dtype=np.float32), {4: "vanished"}, "numpy")
    assert chunk(store, 1, 2).is_file()
    assert store.check_block(batch, 2) is None
    assert np.isnan(gather_features(store, [(1, 4)])).all()


def test_an_array_is_created_once(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers at once: the one that comes second, though it saw nothing, changes nothing and goes on."""
    before = gather_features(store, [(0, row) for row in range(7)])
    store.create_array(Batch.read(store.archive, 0), WIDE)
    monkeypatch.setattr(Location, "exists", lambda *_: False)
    store.create_array(Batch.read(store.archive, 0), WIDE)
    np.testing.assert_array_equal(gather_features(store, [(0, row) for row in range(7)]), before)


def test_values_of_another_size_are_refused(store: FeatureStore) -> None:
    """As many rows as the block has; the block stays as it is."""
    batch = Batch.read(store.archive, 0)
    with pytest.raises(ValueError, match="has 3 rows"):
        store.write(batch, 0, np.zeros((2, WIDE), dtype=np.float32), {}, "numpy")
    assert store.check_block(batch, 0) is None


def test_a_record_is_read_back(store: FeatureStore) -> None:
    """Rows, failures with their reasons, and what computed it."""
    actual = store.read_record(BlockId(0, 0))
    assert actual.rows == (0, 3)
    assert actual.failed == {"1": "truncated"}
    assert actual.runtime == "numpy"


# --------------------------------------------------------------------------------------------------------- faults


def test_a_whole_archive_has_no_fault(store: FeatureStore) -> None:
    """Every block of both batches."""
    for number in (0, 1):
        batch = Batch.read(store.archive, number)
        assert [store.check_block(batch, part) for part in range(batch.block_count)] == [None] * batch.block_count


@pytest.mark.parametrize("position", [0, 1, 30, -5, -1])
def test_a_flipped_bit_is_found(store: FeatureStore, position: int) -> None:
    """Anywhere in a chunk, the checksum's own bytes too; the other blocks are whole."""
    data = bytearray(chunk(store, 0, 1).read_bytes())
    data[position] ^= 1
    chunk(store, 0, 1).write_bytes(data)
    batch = Batch.read(store.archive, 0)
    fault = store.check_block(batch, 1)
    assert fault is not None
    assert "block 1" in fault
    assert store.check_block(batch, 0) is None


def test_a_missing_chunk_is_found(store: FeatureStore) -> None:
    """Also of a block in which nothing could be read, which would read the same."""
    batch = Batch.read(store.archive, 1)
    store.write(batch, 2, np.full((1, WIDE), np.nan, dtype=np.float32), {4: "vanished"}, "numpy")
    for number in (0, 2):
        chunk(store, 1, number).unlink(missing_ok=True)
        fault = store.check_block(batch, number)
        assert fault is not None
        assert "chunk is missing" in fault


def test_a_chunk_that_goes_during_a_selection_is_damage(store: FeatureStore) -> None:
    """A block is compared with its hash once; read again without its chunk, it is not zeros."""
    rows, _ = open_feature_rows(store, [(0, row) for row in range(3)])
    rows.cache_bytes = 0
    assert rows.get(np.array([0])).any()
    rows._cache.clear()
    chunk(store, 0, 0).unlink()
    with pytest.raises(DamageError, match="block 0 of batch 0"):
        rows.get(np.array([1]))


def test_values_of_another_block_are_found(store: FeatureStore) -> None:
    """Chunks that were exchanged are whole by their checksum, but not by the record's hash."""
    one, two = chunk(store, 0, 0).read_bytes(), chunk(store, 0, 1).read_bytes()
    chunk(store, 0, 0).write_bytes(two)
    chunk(store, 0, 1).write_bytes(one)
    batch = Batch.read(store.archive, 0)
    assert all("hash" in (store.check_block(batch, number) or "") for number in (0, 1))


@pytest.mark.parametrize(("change", "message"), [({"rows": [3, 6]}, "other rows"), ({"sha256": "0" * 64}, "hash")])
def test_a_wrong_record_is_found(store: FeatureStore, change: dict[str, Any], message: str) -> None:
    """A record that speaks of other rows, or of other values."""
    path = record(store, 0, 0)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    path.with_name(f"{path.name}.sha256").unlink()  # as in an archive of an earlier version
    fault = store.check_block(Batch.read(store.archive, 0), 0)
    assert fault is not None
    assert message in fault


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"rows": 3}'])
def test_a_damaged_record_is_found(store: FeatureStore, content: str) -> None:
    """Cut off, or something else: it is the block's fault, and no reason for `verify` to stop."""
    record(store, 0, 0).write_text(content)
    assert "000000.json" in (store.check_block(Batch.read(store.archive, 0), 0) or "")
    with pytest.raises(StoreError, match="damaged"):
        store.read_record(BlockId(0, 0))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "disk is full"),
        (PermissionError(13, "no"), "permission"),
        (OSError(5, "I/O error"), "cannot be written"),
    ],
)
def test_a_failure_to_write_is_a_clear_error(error: OSError, message: str) -> None:
    """Whatever Zarr's writing meets."""
    with pytest.raises(StoreError, match=message), translate_write_errors("/archive"):
        raise error
    with pytest.raises(KeyError), translate_write_errors("/archive"):
        raise KeyError("not of the disk")


def test_stores_of_one_archive_are_independent(store: FeatureStore) -> None:
    """Another representation's features do not count as these."""
    other = replace(store, name="other")
    other.create_array(Batch.read(store.archive, 0), 2)
    assert other.list_complete_blocks(0) == set()
    assert store.list_complete_blocks(0) == {0, 1, 2}
