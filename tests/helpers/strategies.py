"""Hypothesis strategies: feature matrices of every kind that has ever made a selection fail, in every store; and runs."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interpdisc_core.selectors import Choice, ComputeOptions, Demud, Prior, Rows, Selection, SelectorLike
from interpdisc_core.selectors import rows as rows_module
from interpdisc_core.selectors.exact import moments, search, shard
from interpdisc_core.selectors.rows import ArrayRows, ChunkedRows, open_zarr_rows
from tests.helpers import literal_demud


def examples(count: int) -> settings:
    """For properties whose examples are slow: `count` examples, in CI twice as many."""
    return settings(max_examples=2 * count if settings().derandomize else count)


METHODS = ("full", "incremental", "static")
KINDS = ("normal", "float32", "scaled", "low rank", "duplicates", "offset")


@dataclass(frozen=True)
class SelectionProblem:
    """One selection: features (N, d), prior (n0, d) and the settings."""

    features: npt.NDArray[Any]
    prior: npt.NDArray[np.float64]
    settings: Demud


def make_matrix(kind: str, count: int, dimension: int, seed: int) -> npt.NDArray[Any]:
    """A seeded matrix (rows, dimension) of one of KINDS."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, dimension))
    if kind == "float32":
        return values.astype(np.float32)
    if kind == "scaled":  # a spectrum over four decades
        return values * 10.0 ** rng.uniform(-2, 2, dimension)
    if kind == "low rank":
        rank = int(rng.integers(0, dimension + 1))
        return values[:, :rank] @ rng.normal(size=(rank, dimension)) + rng.normal(size=dimension)
    if kind == "duplicates":
        return values[rng.integers(0, max(count // 3, 1), count)]
    if kind == "offset":
        return values + 100 * rng.normal(size=dimension)
    return values


@st.composite
def draw_features(
    draw: st.DrawFn, *, rows: int = 24, dimension: int = 9
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Features (N, d), 1 ≤ N ≤ `rows`, and a prior (n0, d): none, one row, several, or more rows than dimensions."""
    n, d = draw(st.integers(1, rows)), draw(st.integers(1, dimension))
    prior = draw(st.sampled_from((0, 0, 1, 3, d + 3)))
    if draw(st.integers(0, 3)) == 0:  # on a coarse grid of integers there are many exact ties
        combined = draw(arrays(np.int8, (n + prior, d), elements=st.integers(-2, 2))).astype(np.float32)
    else:
        combined = make_matrix(draw(st.sampled_from(KINDS)), n + prior, d, draw(st.integers(0, 2**32 - 1)))
    return combined[prior:], combined[:prior].astype(np.float64)


@st.composite
def draw_problems(draw: st.DrawFn, methods: tuple[str, ...] = METHODS) -> SelectionProblem:
    """A selection with any method, rank (also k ≥ N and k > d) and start."""
    rows, prior = draw(draw_features())
    start = draw(st.one_of(st.sampled_from(("svd", "mean")), st.integers(0, len(rows) - 1)))
    settings = Demud(method=draw(st.sampled_from(methods)), rank=draw(st.integers(1, 12)), start=start)
    return SelectionProblem(rows, prior, settings)


# ---------------------------------------------------------------------------------------- stores


@dataclass(frozen=True)
class StoredRows:
    """Rows as a store holds them: `array` (N, d), and the factors `scale` (N,) if it is quantized."""

    array: npt.NDArray[Any]
    scale: npt.NDArray[Any] | None = None

    @property
    def values(self) -> npt.NDArray[Any]:
        """Exact values (N, d)."""
        return self.array if self.scale is None else self.array.astype(np.float64) * self.scale[:, None]

    def rows(self, store: str) -> Rows:
        """The rows in a store of STORES."""
        return STORES[store](self)


DTYPES = ("float64", "float32", "float16", "int8")


def store_values(values: npt.NDArray[Any], kind: str) -> StoredRows:
    """Values (N, d) rounded to a type of DTYPES; int8 with a scale for each row."""
    if kind != "int8":
        return StoredRows(values.astype(kind))
    wide = values.astype(np.float64)
    scale = np.maximum(np.abs(wide).max(axis=1, initial=0.0), 1e-30) / 127
    return StoredRows(np.rint(wide / scale[:, None]).astype(np.int8), scale.astype(np.float32))


def make_permuted_rows(source: StoredRows, chunk: int = 4, keep: int = 0) -> ChunkedRows:
    """Rows in chunks of `chunk` rows; chunks, and rows within a chunk, are in another order than the rows."""
    size = len(source.array)
    positions = np.random.default_rng(size).permutation(size)  # of each row in the store
    numbers, values = 7 * (positions // chunk) + 3, np.empty_like(source.values)
    values[positions] = source.values
    return ChunkedRows(
        source.array.shape[1],
        values.dtype,
        numbers,
        positions % chunk,
        lambda number: values[number // 7 * chunk : (number // 7 + 1) * chunk],
        keep,
    )


def _zarr_store(chunk: int) -> Callable[[StoredRows], Rows]:
    def make_rows(source: StoredRows) -> Rows:
        shape = tuple(max(size, 1) for size in (min(chunk, len(source.array)), source.array.shape[1]))
        array = zarr.create_array({}, shape=source.array.shape, chunks=shape, dtype=source.array.dtype)
        array[:] = source.array
        return open_zarr_rows(array, source.scale)

    return make_rows


def _make_memmap_rows(source: StoredRows) -> Rows:
    with tempfile.TemporaryFile() as file:
        memmap = np.memmap(file, dtype=source.array.dtype, mode="w+", shape=source.array.shape)
    memmap[:] = source.array
    return ArrayRows(memmap, source.scale)


STORES: dict[str, Callable[[StoredRows], Rows]] = {
    "array": lambda stored: ArrayRows(stored.array, stored.scale),
    "column-major": lambda stored: ArrayRows(np.asfortranarray(stored.array), stored.scale),
    "wide": lambda stored: ArrayRows(stored.values.astype(np.float64)),
    "mapped": _make_memmap_rows,
    "zarr 3": _zarr_store(3),
    "zarr 64": _zarr_store(64),
    "permuted": make_permuted_rows,
}


class SpyRows:
    """Other rows; `read_counts` (N,) counts how often each was read, `calls` has the indices of each read."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.read_counts, self.calls = rows, np.zeros(rows.shape[0], dtype=int), list[npt.NDArray[np.intp]]()
        self.shape, self.dtype = rows.shape, rows.dtype

    @property
    def read_stats(self) -> rows_module.ReadStats:
        """See `Rows`."""
        return self.rows.read_stats

    def get(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """See `Rows`."""
        np.add.at(self.read_counts, rows, 1)
        self.calls.append(rows)
        return self.rows.get(rows)


# ---------------------------------------------------------------------------------------- runs


@contextmanager
def small_blocks(block: int, query_group: int = 2) -> Iterator[None]:
    """Blocks of `block` rows and groups of `query_group` screened rows: a few rows take all the paths of a million."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (rows_module, moments, search):
            patch.setattr(module, "BLOCK_ROWS", block)
        patch.setattr(literal_demud, "CENTER_ROWS", block)
        for name, value in (
            ("_FIRST_ROWS", query_group),
            ("_GROUP_ROWS", 2 * query_group),
            ("_MAX_CANDIDATES", query_group),
        ):
            patch.setattr(shard, name, value)
        yield


def take_picks(selection: Selection, picks: int = 10**6) -> list[Choice]:
    """The next picks of a selection, each learned, until nothing is new or there are `picks`."""
    choices: list[Choice] = []
    while len(choices) < picks and (choice := selection.peek()) is not None:
        choices.append(choice)
        selection.learn(choice.row)
    return choices


def run_selector(
    selector: SelectorLike,
    features: Rows | npt.ArrayLike,
    prior: npt.NDArray[np.float64] | Prior | None = None,
    picks: int = 10**6,
    labels: Sequence[str | None] | None = None,
    **compute_options: Any,
) -> list[Choice]:
    """The picks of a new selection, see `take_picks`. compute_options: fields of `ComputeOptions`."""
    rows: Any = features if hasattr(features, "get") else np.asarray(features)
    if prior is None:
        prior = np.empty((0, rows.shape[1]))
    return take_picks(selector.open(rows, prior, labels, ComputeOptions(**compute_options)), picks)


def rows_of(choices: Sequence[Choice]) -> list[int]:
    """The picked rows in order."""
    return [choice.row for choice in choices]


def comparable_choices(choices: Sequence[Choice]) -> list[tuple[Any, ...]]:
    """All fields of each choice, comparable to the bit."""
    return [
        (c.row, c.score, c.near_ties, *(None if v is None else v.tobytes() for v in (c.expected, c.residual, c.mean)))
        for c in choices
    ]


def make_clusters(rows: int, dimension: int, seed: int, clusters: int = 12) -> npt.NDArray[np.float64]:
    """Rows about a few centers of different sizes, with a falling spectrum: as features of images are."""
    rng = np.random.default_rng(seed)
    scales, weights = np.geomspace(1, 0.05, dimension), 1 / np.arange(1, clusters + 1)
    centers = 3 * rng.normal(size=(clusters, dimension)) * scales
    offsets = rng.normal(size=(rows, dimension)) * scales * rng.gamma(2, 0.3, (rows, 1))
    return centers[rng.choice(clusters, rows, p=weights / weights.sum())] + offsets
