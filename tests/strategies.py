"""Hypothesis strategies: feature matrices of every kind that has ever made a selection go wrong, in every store."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interpdisc_core.selectors import Choice, Demud, Rows, leading, screen, shard
from interpdisc_core.selectors import rows as rows_module
from interpdisc_core.selectors.rows import ArrayRows, ChunkedRows, zarr_rows
from tests.core import literal

METHODS = ("full", "incremental", "static")
KINDS = ("normal", "float32", "scaled", "low rank", "duplicates", "offset")


@dataclass(frozen=True)
class Problem:
    """One selection: features (N, d), prior (n0, d) and the settings."""

    features: npt.NDArray[Any]
    prior: npt.NDArray[np.float64]
    settings: Demud


def matrix(kind: str, rows: int, dimension: int, seed: int) -> npt.NDArray[Any]:
    """A seeded matrix (rows, dimension) of one of KINDS."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, dimension))
    if kind == "float32":
        return values.astype(np.float32)
    if kind == "scaled":  # a spectrum over four decades
        return values * 10.0 ** rng.uniform(-2, 2, dimension)
    if kind == "low rank":
        rank = int(rng.integers(0, dimension + 1))
        return values[:, :rank] @ rng.normal(size=(rank, dimension)) + rng.normal(size=dimension)
    if kind == "duplicates":
        return values[rng.integers(0, max(rows // 3, 1), rows)]
    if kind == "offset":
        return values + 100 * rng.normal(size=dimension)
    return values


@st.composite
def features(
    draw: st.DrawFn, *, rows: int = 24, dimension: int = 9
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Features (N, d), 1 ≤ N ≤ `rows`, and a prior (n0, d): none, one row, several, or more rows than dimensions."""
    n, d = draw(st.integers(1, rows)), draw(st.integers(1, dimension))
    prior = draw(st.sampled_from((0, 0, 1, 3, d + 3)))
    if draw(st.integers(0, 3)) == 0:  # a coarse grid of integers is full of exact ties
        whole = draw(arrays(np.int8, (n + prior, d), elements=st.integers(-2, 2))).astype(np.float32)
    else:
        whole = matrix(draw(st.sampled_from(KINDS)), n + prior, d, draw(st.integers(0, 2**32 - 1)))
    return whole[prior:], whole[:prior].astype(np.float64)


@st.composite
def problems(draw: st.DrawFn, methods: tuple[str, ...] = METHODS) -> Problem:
    """A selection with any method, rank (also k ≥ N and k > d) and start."""
    rows, prior = draw(features())
    start = draw(st.one_of(st.sampled_from(("svd", "mean")), st.integers(0, len(rows) - 1)))
    settings = Demud(method=draw(st.sampled_from(methods)), rank=draw(st.integers(1, 12)), start=start)
    return Problem(rows, prior, settings)


# ---------------------------------------------------------------------------------------- stores


@dataclass(frozen=True)
class Stored:
    """Rows as they are kept: `array` (N, d), with the factors `scale` (N,) of a quantised one."""

    array: npt.NDArray[Any]
    scale: npt.NDArray[Any] | None = None

    @property
    def values(self) -> npt.NDArray[Any]:
        """(N, d), exact."""
        return self.array if self.scale is None else self.array.astype(np.float64) * self.scale[:, None]

    def rows(self, store: str) -> Rows:
        """The rows in one of STORES."""
        return STORES[store](self)


TYPES = ("float64", "float32", "float16", "int8")


def stored(values: npt.NDArray[Any], kind: str) -> Stored:
    """Values (N, d) rounded to one of TYPES; int8 with a scale for each row."""
    if kind != "int8":
        return Stored(values.astype(kind))
    wide = values.astype(np.float64)
    scale = np.maximum(np.abs(wide).max(axis=1, initial=0.0), 1e-30) / 127
    return Stored(np.rint(wide / scale[:, None]).astype(np.int8), scale.astype(np.float32))


def permuted(kept: Stored, chunk: int = 4, keep: int = 0) -> ChunkedRows:
    """Rows in chunks of `chunk` whose order, and that of the rows within, has nothing to do with theirs."""
    count = len(kept.array)
    place = np.random.default_rng(count).permutation(count)  # of each row among all that are stored
    numbers, values = 7 * (place // chunk) + 3, np.empty_like(kept.values)
    values[place] = kept.values
    return ChunkedRows(
        kept.array.shape[1], values.dtype, numbers, place % chunk,
        lambda number: values[number // 7 * chunk : (number // 7 + 1) * chunk], keep,
    )  # fmt: skip


def _zarr(chunk: int) -> Callable[[Stored], Rows]:
    def rows(kept: Stored) -> Rows:
        shape = tuple(max(size, 1) for size in (min(chunk, len(kept.array)), kept.array.shape[1]))
        array = zarr.create_array({}, shape=kept.array.shape, chunks=shape, dtype=kept.array.dtype)
        array[:] = kept.array
        return zarr_rows(array, kept.scale)

    return rows


def _mapped(kept: Stored) -> Rows:
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype=kept.array.dtype, mode="w+", shape=kept.array.shape)
    mapped[:] = kept.array
    return ArrayRows(mapped, kept.scale)


STORES: dict[str, Callable[[Stored], Rows]] = {
    "array": lambda kept: ArrayRows(kept.array, kept.scale),
    "column-major": lambda kept: ArrayRows(np.asfortranarray(kept.array), kept.scale),
    "wide": lambda kept: ArrayRows(kept.values.astype(np.float64)),
    "mapped": _mapped,
    "zarr 3": _zarr(3),
    "zarr 64": _zarr(64),
    "permuted": permuted,
}


class Spy:
    """Others' rows; `seen` (N,) counts how often each was given, `calls` has what was asked for together."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.seen, self.calls = rows, np.zeros(rows.shape[0], dtype=int), list[npt.NDArray[np.intp]]()
        self.shape, self.dtype = rows.shape, rows.dtype

    @property
    def reads(self) -> rows_module.Reads:
        """See `Rows`."""
        return self.rows.reads

    def get(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """See `Rows`."""
        np.add.at(self.seen, rows, 1)
        self.calls.append(rows)
        return self.rows.get(rows)


# ---------------------------------------------------------------------------------------- runs


@contextmanager
def small(block: int, group: int = 2) -> Iterator[None]:
    """Blocks of `block` rows and groups of looks of `group`: a few rows go through all that a million would."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (rows_module, leading, screen):
            patch.setattr(module, "BLOCK", block)
        patch.setattr(literal, "FIRST", block)
        for name, value in (("_FIRST", group), ("_SOME", 2 * group), ("_CROWD", group)):
            patch.setattr(shard, name, value)
        yield


def told(choices: list[Choice]) -> list[tuple[Any, ...]]:
    """All of each choice, comparable to the bit."""
    return [
        (c.row, c.score, c.near_ties, *(None if v is None else v.tobytes() for v in (c.expected, c.residual, c.mean)))
        for c in choices
    ]


def clustered(rows: int, dimension: int, seed: int, clusters: int = 12) -> npt.NDArray[np.float64]:
    """Rows about a few centres, some of which have many, with a falling spectrum: as features of images are."""
    rng = np.random.default_rng(seed)
    spread, often = np.geomspace(1, 0.05, dimension), 1 / np.arange(1, clusters + 1)
    centres = 3 * rng.normal(size=(clusters, dimension)) * spread
    around = rng.normal(size=(rows, dimension)) * spread * rng.gamma(2, 0.3, (rows, 1))
    return centres[rng.choice(clusters, rows, p=often / often.sum())] + around
