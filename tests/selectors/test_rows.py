"""Rows from any store are the values stored; reads are counted, and there are few."""

import threading
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import ComputeOptions, Demud
from interpdisc_core.selectors.rows import (
    BLOCK_ROWS,
    ArrayRows,
    ChunkedRows,
    NormalizedRows,
    ReadStats,
    ZeroFilledRows,
    as_rows,
    gather_float64,
    iter_blocks,
    l2_normalize,
    open_zarr_rows,
)
from tests.helpers.strategies import (
    DTYPES,
    METHODS,
    STORES,
    SpyRows,
    StoredRows,
    make_clusters,
    make_matrix,
    make_permuted_rows,
    small_blocks,
    store_values,
)

# Values


@given(
    st.sampled_from(sorted(STORES)),
    st.sampled_from(DTYPES),
    st.integers(1, 30),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_rows_of_any_store_are_the_values_stored(
    store: str, kind: str, count: int, dimension: int, seed: int, data: st.DataObject
) -> None:
    """At any indices, repeats included, in a type that holds them exactly; and they are counted."""
    stored = store_values(make_matrix("normal", count, dimension, seed), kind)
    rows = stored.rows(store)
    indices = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=12)), dtype=np.intp)
    values = rows.get(indices)
    assert rows.shape == stored.array.shape
    assert values.dtype == rows.dtype
    np.testing.assert_array_equal(values.astype(np.float64), stored.values[indices].astype(np.float64))
    assert gather_float64(rows, indices).dtype == np.float64
    assert rows.read_stats.rows == 2 * len(indices)


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 5))
def test_blocks_cover_any_range_once_in_order(count: int, block: int, start: int) -> None:
    x = np.arange(3.0 * count).reshape(count, 3)
    with small_blocks(block):
        blocks = list(iter_blocks(ArrayRows(x), start * block))
    assert [at.start for at, _ in blocks] == list(range(start * block, count, block))
    assert all(at.stop - at.start == len(values) <= block for at, values in blocks)
    values = np.concatenate([np.empty((0, 3)), *(part for _, part in blocks)])
    np.testing.assert_array_equal(values, x[start * block :])


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", ">f4", ">f8"])
def test_integers_become_float64_and_floats_get_native_byte_order(dtype: str) -> None:
    x = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    rows = ArrayRows(x)
    assert rows.dtype == (np.dtype(dtype).newbyteorder("=") if "f" in dtype else np.float64)
    np.testing.assert_array_equal(gather_float64(rows, np.array([2, 0])), [[1, 1], [0, 1]])


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((2, 2, 2)), np.array([["a"]]), np.zeros((2, 2), complex)])
def test_an_array_that_is_not_a_matrix_of_numbers_is_refused(bad: npt.NDArray[Any]) -> None:
    with pytest.raises(PlanError, match=r"array \(N, d\) of numbers"):
        ArrayRows(bad)
    with pytest.raises(PlanError, match=r"array \(N, d\) of numbers"):
        as_rows(bad)


def test_a_zarr_array_that_is_no_matrix_is_refused() -> None:
    zarr = pytest.importorskip("zarr")
    with pytest.raises(PlanError, match=r"\(4,\)"):
        open_zarr_rows(zarr.zeros((4,), chunks=(2,)))


def test_zero_filled_rows_fill_missing_values_only() -> None:
    """0 for NaN; infinities and all else stay, and the store is not changed."""
    x = np.array([[1, np.nan], [np.inf, 3]], dtype=np.float32)
    filled = ZeroFilledRows(ArrayRows(x))
    np.testing.assert_array_equal(filled.get(np.arange(2)), [[1, 0], [np.inf, 3]])
    assert filled.get(np.arange(2)).dtype == np.float32
    assert np.isnan(x[0, 1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_row_of_zeros_stays_and_any_other_has_length_one(dtype: type[np.floating[Any]]) -> None:
    """Also one whose squares are beyond its type: single and double precision agree on which rows are zeros."""
    limits = np.finfo(dtype)
    x = np.array([[0, 0], [3, 4], [np.nan, 0], [np.nan, 2]], dtype=dtype)
    x = np.concatenate([x, np.array([[3, 4]], dtype=dtype) * limits.tiny, [[limits.max / 2, limits.max / 2]]]).astype(
        dtype
    )
    rows = NormalizedRows(ArrayRows(x)).get(np.arange(len(x)))
    half = np.sqrt(0.5)
    expected = [[0, 0], [0.6, 0.8], [np.nan, 0], [np.nan, 1], [0.6, 0.8], [half, half]]
    np.testing.assert_allclose(rows, expected, rtol=1e-3 if dtype == np.float16 else 1e-6)
    np.testing.assert_allclose(l2_normalize(x.astype(np.float64)), rows, rtol=1e-6)


# What is read


@pytest.mark.parametrize("kind", DTYPES)
def test_a_chunk_is_counted_whole(kind: str) -> None:
    """One row of a Zarr array costs its chunk, in the type of the store; a cached chunk costs nothing."""
    stored = store_values(make_clusters(20, 6, seed=1), kind)
    rows = stored.rows("zarr 3")
    size = stored.array.itemsize
    rows.get(np.array([4]))
    assert rows.read_stats == ReadStats(1, 3 * 6 * size, 1)
    rows.get(np.array([5, 3, 4]))
    assert rows.read_stats == ReadStats(4, 3 * 6 * size, 1)
    rows.get(np.array([19]))
    assert rows.read_stats == ReadStats(5, (3 + 2) * 6 * size, 2)


@given(st.lists(st.integers(0, 19), max_size=30), st.integers(0, 4))
def test_the_chunks_used_last_are_cached(rows_to_read: list[int], room: int) -> None:
    """Of chunks of 4 rows the last `room`, at least one, are not read again."""
    x = make_matrix("normal", 20, 3, seed=1)
    read: list[int] = []

    def read_chunk(number: int) -> npt.NDArray[Any]:
        read.append(number)
        return x[4 * number : 4 * number + 4]

    numbers = np.arange(20)
    rows = ChunkedRows(3, x.dtype, numbers // 4, numbers % 4, read_chunk, cache_bytes=room * 4 * 3 * 8)
    cached: list[int] = []
    for row in rows_to_read:
        np.testing.assert_array_equal(rows.get(np.array([row]))[0], x[row])
        cached = [*(number for number in cached if number != row // 4), row // 4][-max(room, 1) :]
        assert list(rows._cache) == cached
    assert rows.read_stats.chunks == len(read)
    assert rows.read_stats.bytes == len(read) * 4 * 3 * 8


def test_several_threads_may_read_the_same_rows() -> None:
    """Four threads that read the same few chunks in turn all get what is stored."""
    stored = StoredRows(make_clusters(64, 5, seed=2))
    rows, wrong = make_permuted_rows(stored, chunk=8, keep=2 * 8 * 5 * 8), []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(150):
            indices = rng.integers(0, 64, 5)
            if not np.array_equal(rows.get(indices), stored.array[indices]):
                wrong.append(indices)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert rows.read_stats.rows == 4 * 150 * 5


# What a selection reads


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keep", [0, 1 << 10])
def test_chunks_without_candidates_are_not_read(method: Any, keep: int) -> None:
    """After the first pass a pick reads the chunks of its few candidates: three on average, of 60."""
    stored, chunks = StoredRows(make_clusters(900, 16, seed=3)), Counter[int]()
    rows = make_permuted_rows(stored, chunk=15, keep=keep)
    read = rows.read_chunk
    rows.read_chunk = lambda number: chunks.update([number]) or read(number)  # type: ignore[func-returns-value]
    selection = Demud(method=method, rank=5, start="mean").open(rows, np.empty((0, 16)))
    selection.learn(selection.peek().row)  # type: ignore[union-attr]
    after_first_pick, costs = chunks.total(), []
    for _ in range(40):
        before = chunks.total()
        choice = selection.peek()
        assert choice is not None
        selection.learn(choice.row)
        costs.append(chunks.total() - before)
    assert after_first_pick >= 60
    assert max(costs) <= 16
    assert np.mean(costs) <= 3
    assert selection.counters()["chunks_read"] == chunks.total()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", ["svd", "mean", 7])
@pytest.mark.parametrize("store", ["array", "zarr 64", "permuted"])
def test_counters_equal_the_reads_of_the_store(method: Any, start: Any, store: str) -> None:
    """Rows and bytes; passes, which are the times that every row was read; ties and bounds add up."""
    x, picks = StoredRows(make_clusters(500, 12, seed=4).astype(np.float32)), 30
    spy = SpyRows(x.rows(store))
    with small_blocks(64, query_group=8):
        selection, ties = Demud(method=method, rank=4, start=start).open(spy, np.empty((0, 12))), 0
        for _ in range(picks):
            choice = selection.peek()
            assert choice is not None
            ties += choice.near_ties
            selection.learn(choice.row)
    counters = selection.counters()
    assert counters["rows_read"] == spy.read_counts.sum() == sum(map(len, spy.calls)) == spy.read_stats.rows
    assert counters["bytes_read"] == spy.read_stats.bytes
    if store == "array":
        assert counters["bytes_read"] == counters["rows_read"] * 12 * 4
    assert counters["passes"] == spy.read_counts.min() == 1
    assert counters["rows_read"] < 1.6 * 500
    assert counters["near_ties"] == ties
    assert picks * 0.9 <= counters["bounds"] / 500 <= picks
    assert 500 <= counters["rows_screened"] < 0.5 * picks * 500
    assert counters["copy_bytes"] == 500 * 12 * 2
    assert set(counters["seconds"]) == {"prepare", "model", "screen", "decide"}
    assert all(seconds >= 0 for seconds in counters["seconds"].values())


@pytest.mark.parametrize(("shape", "decades", "passes"), [((300, 20), 1, 1), ((300, 20), 3, 2), ((20, 300), 1, 2)])
def test_every_pass_is_counted(shape: tuple[int, int], decades: int, passes: int) -> None:
    """Also those for the first model: of a steep spectrum, and of fewer rows than features."""
    rng = np.random.default_rng(5)
    left, right = (np.linalg.qr(rng.normal(size=(n, 20)))[0] for n in shape)
    spy = SpyRows(ArrayRows((left * np.geomspace(1, 10.0**-decades, 20)) @ right.T))
    with small_blocks(4, query_group=2):  # the first block is read once more, for the center
        selection = Demud(rank=18).open(spy, np.empty((0, shape[1])))
        selection.peek()
    assert spy.read_counts[4:].min() == passes
    assert selection.counters()["passes"] == passes


def test_seek_counts_as_a_pass() -> None:
    """It reads every free row."""
    spy = SpyRows(ArrayRows(make_clusters(100, 6, seed=6)))
    settings = Demud(rank=2, interest="x", action="seek", start=3)
    with small_blocks(10):
        selection = settings.open(spy, np.empty((0, 6)), labels=["x" if row == 3 else "" for row in range(100)])
        selection.learn(3)
        selection.peek()
    assert spy.read_counts[10:].min() == 2
    assert selection.counters()["passes"] == 2


@pytest.mark.parametrize("method", METHODS)
def test_near_ties_are_counted_over_all_picks(method: Any) -> None:
    """Of grid points many are tied at several picks; a second peek counts nothing."""
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
def test_copies_take_one_or_two_bytes_for_each_value(bits: Any, size: int) -> None:
    selection = Demud(rank=2).open(
        make_clusters(100, 6, seed=7), np.empty((0, 6)), compute_options=ComputeOptions(copy_bits=bits)
    )
    selection.peek()
    assert selection.counters()["copy_bytes"] == 100 * 6 * size


def test_opening_a_selection_reads_nothing() -> None:
    """A first pick by row reads that row alone."""
    spy = SpyRows(ArrayRows(make_clusters(BLOCK_ROWS + 10, 4, seed=8)))
    selection = Demud(start=5).open(spy, np.empty((0, 4)))
    assert spy.read_counts.sum() == 0
    selection.peek()
    assert spy.read_counts.sum() == spy.read_counts[5] == 1
