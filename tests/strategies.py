"""Hypothesis strategies: feature matrices of every kind that has ever made a selection go wrong."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interpdisc_core.selectors import Demud

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
