"""Rows from any store are the values that are stored; what was read is counted, and hardly anything is."""

import threading
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Demud, Means
from interpdisc_core.selectors.rows import (
    BLOCK,
    ArrayRows,
    ChunkedRows,
    FilledRows,
    Reads,
    as_rows,
    blocks,
    take,
    zarr_rows,
)
from tests.strategies import METHODS, STORES, TYPES, Spy, Stored, clustered, matrix, permuted, small, stored

# ---------------------------------------------------------------------------------------- values


@given(
    st.sampled_from(sorted(STORES)), st.sampled_from(TYPES), st.integers(1, 30), st.integers(1, 6),
    st.integers(0, 2**32 - 1), st.data(),
)  # fmt: skip
def test_rows_are_the_values_stored(
    store: str, kind: str, count: int, dimension: int, seed: int, data: st.DataObject
) -> None:
    """Any rows, in the order asked for, repeats included, of a type that holds them exactly; and they are counted."""
    kept = stored(matrix("normal", count, dimension, seed), kind)
    rows = kept.rows(store)
    asked = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=12)), dtype=np.intp)
    found = rows.get(asked)
    assert rows.shape == kept.array.shape
    assert found.dtype == rows.dtype
    np.testing.assert_array_equal(found.astype(np.float64), kept.values[asked].astype(np.float64))
    assert take(rows, asked).dtype == np.float64
    assert rows.reads.rows == 2 * len(asked)


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 5))
def test_blocks_lie_at_multiples_whatever_the_range(count: int, block: int, start: int) -> None:
    """Blocks cover [start, count) once, in order; none is longer than a block."""
    x = np.arange(3.0 * count).reshape(count, 3)
    with small(block):
        parts = list(blocks(ArrayRows(x), start * block))
    assert [at.start for at, _ in parts] == list(range(start * block, count, block))
    assert all(at.stop - at.start == len(values) <= block for at, values in parts)
    got = np.concatenate([np.empty((0, 3)), *(values for _, values in parts)])
    np.testing.assert_array_equal(got, x[start * block :])


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", ">f4", ">f8"])
def test_whole_numbers_and_foreign_byte_orders(dtype: str) -> None:
    """Integers and booleans come as float64; floats in the machine's own byte order."""
    x = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    rows = ArrayRows(x)
    assert rows.dtype == (np.dtype(dtype).newbyteorder("=") if "f" in dtype else np.float64)
    np.testing.assert_array_equal(take(rows, np.array([2, 0])), [[1, 1], [0, 1]])


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((2, 2, 2)), np.array([["a"]]), np.zeros((2, 2), complex)])
def test_what_is_no_matrix_of_numbers_is_refused(bad: npt.NDArray[Any]) -> None:
    """The sentence has the shape and the type that were given."""
    with pytest.raises(PlanError, match=r"array \(N, d\) of numbers"):
        ArrayRows(bad)
    with pytest.raises(PlanError, match=r"array \(N, d\) of numbers"):
        as_rows(bad)


def test_a_zarr_array_that_is_no_matrix_is_refused() -> None:
    """So is a Zarr array of one dimension."""
    zarr = pytest.importorskip("zarr")
    with pytest.raises(PlanError, match=r"\(4,\)"):
        zarr_rows(zarr.zeros((4,), chunks=(2,)))


def test_a_missing_value_is_filled_and_no_other() -> None:
    """`FilledRows` gives 0 for NaN, leaves infinities and all else, and changes nothing in the store."""
    x = np.array([[1, np.nan], [np.inf, 3]], dtype=np.float32)
    filled = FilledRows(ArrayRows(x))
    np.testing.assert_array_equal(filled.get(np.arange(2)), [[1, 0], [np.inf, 3]])
    assert filled.get(np.arange(2)).dtype == np.float32
    assert np.isnan(x[0, 1])


# ---------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", TYPES)
def test_a_chunk_is_counted_whole(kind: str) -> None:
    """One row of a Zarr array costs its chunk, in the store's own type; the chunk that is kept costs nothing."""
    kept = stored(clustered(20, 6, seed=1), kind)
    rows = kept.rows("zarr 3")
    size = kept.array.itemsize
    rows.get(np.array([4]))
    assert rows.reads == Reads(1, 3 * 6 * size, 1)
    rows.get(np.array([5, 3, 4]))
    assert rows.reads == Reads(4, 3 * 6 * size, 1)
    rows.get(np.array([19]))
    assert rows.reads == Reads(5, (3 + 2) * 6 * size, 2)


@given(st.lists(st.integers(0, 19), max_size=30), st.integers(0, 4))
def test_the_chunks_used_last_are_kept(asked: list[int], room: int) -> None:
    """Of chunks of 4 rows the last `room`, at least one, are not read again."""
    x = matrix("normal", 20, 3, seed=1)
    read: list[int] = []

    def chunk(number: int) -> npt.NDArray[Any]:
        read.append(number)
        return x[4 * number : 4 * number + 4]

    every = np.arange(20)
    rows = ChunkedRows(3, x.dtype, every // 4, every % 4, chunk, keep=room * 4 * 3 * 8)
    kept: list[int] = []
    for row in asked:
        np.testing.assert_array_equal(rows.get(np.array([row]))[0], x[row])
        kept = [*(number for number in kept if number != row // 4), row // 4][-max(room, 1) :]
        assert list(rows._kept) == kept
    assert rows.reads.chunks == len(read)
    assert rows.reads.bytes == len(read) * 4 * 3 * 8


def test_several_threads_may_ask_for_rows() -> None:
    """Four threads that ask one source for the same few chunks in turn all get what is stored."""
    kept = Stored(clustered(64, 5, seed=2))
    rows, wrong = permuted(kept, chunk=8, keep=2 * 8 * 5 * 8), []

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(150):
            which = rng.integers(0, 64, 5)
            if not np.array_equal(rows.get(which), kept.array[which]):
                wrong.append(which)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert rows.reads.rows == 4 * 150 * 5


# ---------------------------------------------------------------------------------------- what a selection reads


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keep", [0, 1 << 10])
def test_chunks_that_cannot_win_are_not_read(method: Any, keep: int) -> None:
    """After the first pass a pick reads the chunks of its few rivals: three on average, of 60."""
    kept, chunks = Stored(clustered(900, 16, seed=3)), Counter[int]()
    rows = permuted(kept, chunk=15, keep=keep)
    read = rows.read
    rows.read = lambda number: chunks.update([number]) or read(number)  # type: ignore[func-returns-value]
    selection = Demud(method=method, rank=5, start="mean").open(rows, np.empty((0, 16)))
    selection.learn(selection.peek().row)  # type: ignore[union-attr]
    after, costs = chunks.total(), []
    for _ in range(40):
        before = chunks.total()
        choice = selection.peek()
        assert choice is not None
        selection.learn(choice.row)
        costs.append(chunks.total() - before)
    assert after >= 60
    assert max(costs) <= 16
    assert np.mean(costs) <= 3
    assert selection.counters()["chunks_read"] == chunks.total()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", ["svd", "mean", 7])
@pytest.mark.parametrize("store", ["array", "zarr 64", "permuted"])
def test_counters_are_what_the_store_saw(method: Any, start: Any, store: str) -> None:
    """Rows and bytes are the store's own; passes are as many as every row was read; ties and bounds add up."""
    x, picks = Stored(clustered(500, 12, seed=4).astype(np.float32)), 30
    spy = Spy(x.rows(store))
    with small(64, group=8):
        selection, ties = Demud(method=method, rank=4, start=start).open(spy, np.empty((0, 12))), 0
        for _ in range(picks):
            choice = selection.peek()
            assert choice is not None
            ties += choice.near_ties
            selection.learn(choice.row)
    told = selection.counters()
    assert told["rows_read"] == spy.seen.sum() == sum(map(len, spy.calls)) == spy.reads.rows
    assert told["bytes_read"] == spy.reads.bytes
    if store == "array":
        assert told["bytes_read"] == told["rows_read"] * 12 * 4
    assert told["passes"] == spy.seen.min() == 1
    assert told["rows_read"] < 1.6 * 500
    assert told["near_ties"] == ties
    assert picks * 0.9 <= told["bounds"] / 500 <= picks
    assert 500 <= told["rows_screened"] < 0.5 * picks * 500
    assert told["copy_bytes"] == 500 * 12 * 2
    assert set(told["seconds"]) == {"prepare", "model", "screen", "decide"}
    assert all(seconds >= 0 for seconds in told["seconds"].values())


@pytest.mark.parametrize(("shape", "decades", "passes"), [((300, 20), 1, 1), ((300, 20), 3, 2), ((20, 300), 1, 2)])
def test_every_pass_is_counted(shape: tuple[int, int], decades: int, passes: int) -> None:
    """Also those that the first model takes: of a steep spectrum, and of rows fewer than features."""
    rng = np.random.default_rng(5)
    left, right = (np.linalg.qr(rng.normal(size=(n, 20)))[0] for n in shape)
    spy = Spy(ArrayRows((left * np.geomspace(1, 10.0**-decades, 20)) @ right.T))
    with small(4, group=2):  # the first block is read once more, for a point amid the rows
        selection = Demud(rank=18).open(spy, np.empty((0, shape[1])))
        selection.peek()
    assert spy.seen[4:].min() == passes
    assert selection.counters()["passes"] == passes


def test_a_search_for_the_nearest_is_a_pass_that_is_counted() -> None:
    """`seek` looks at every free row."""
    spy = Spy(ArrayRows(clustered(100, 6, seed=6)))
    settings = Demud(rank=2, interest="x", action="seek", start=3)
    with small(10):
        selection = settings.open(spy, np.empty((0, 6)), labels=["x" if row == 3 else "" for row in range(100)])
        selection.learn(3)
        selection.peek()
    assert spy.seen[10:].min() == 2
    assert selection.counters()["passes"] == 2


@pytest.mark.parametrize("method", METHODS)
def test_near_ties_are_counted_over_all_picks(method: Any) -> None:
    """Of grid points many are tied at several picks; a second look at a pick counts nothing."""
    x = np.random.default_rng(9).integers(-1, 2, (60, 4)).astype(np.float32)
    selection, ties = Demud(method=method, rank=2, start=0).open(x, np.empty((0, 4))), []
    for _ in range(6):
        choice = selection.peek()
        assert choice is selection.peek()
        assert choice is not None
        ties.append(choice.near_ties)
        selection.learn(choice.row)
    assert sum(tied > 0 for tied in ties) >= 2
    assert selection.counters()["near_ties"] == sum(ties)


@pytest.mark.parametrize(("bits", "size"), [(8, 1), (16, 2)])
def test_copies_are_as_large_as_they_are_said_to_be(bits: Any, size: int) -> None:
    """One or two bytes for each value."""
    selection = Demud(rank=2).open(clustered(100, 6, seed=7), np.empty((0, 6)), means=Means(bits=bits))
    selection.peek()
    assert selection.counters()["copy_bytes"] == 100 * 6 * size


def test_a_source_is_opened_without_being_read() -> None:
    """Nothing is read before a pick is asked for, and then a given first row alone."""
    spy = Spy(ArrayRows(clustered(BLOCK + 10, 4, seed=8)))
    selection = Demud(start=5).open(spy, np.empty((0, 4)))
    assert spy.seen.sum() == 0
    selection.peek()
    assert spy.seen.sum() == spy.seen[5] == 1
