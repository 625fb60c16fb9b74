"""Fixed-point copies: what is stated of their error holds for the very numbers that are stored."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.selectors.sketch import Bits, Sketch, empty
from tests.strategies import KINDS, clustered, matrix

FLOATS = ("float64", "float32", "float16")


def copied(values: npt.NDArray[Any], bits: Bits, centre: npt.NDArray[np.float64] | None = None) -> Sketch:
    """All rows copied, about the mean of the first five as float32 (where it holds that) unless told otherwise."""
    if centre is None:
        mean = values[:5].astype(np.float64).mean(axis=0)
        with np.errstate(over="ignore"):
            exact = mean.astype(np.float32).astype(np.float64)
        centre = exact if np.isfinite(exact).all() else mean
    sketch = Sketch.room(len(values), centre, bits, scratch=False)
    for start in range(0, len(values), 7):
        sketch.put(slice(start, min(start + 7, len(values))), values[start : start + 7])
    return sketch


def distance(sketch: Sketch, values: npt.NDArray[Any]) -> npt.NDArray[np.longdouble]:
    """|x − c − s·q| (n,) as it is, in extended precision."""
    copy = sketch.whole.astype(np.longdouble) * sketch.scale[:, None].astype(np.longdouble)
    return np.sqrt((((values.astype(np.longdouble) - sketch.centre) - copy) ** 2).sum(axis=1))


@given(
    st.sampled_from(KINDS), st.integers(1, 30), st.integers(1, 70), st.integers(0, 2**32 - 1),
    st.sampled_from(FLOATS), st.sampled_from((8, 16)), st.integers(-4, 4), st.booleans(),
)  # fmt: skip
def test_the_error_is_at_least_the_distance_from_the_copy(
    kind: str, count: int, dimension: int, seed: int, dtype: str, bits: Bits, decades: int, spike: bool
) -> None:
    """`error` ≥ |x − c − s·q| for rows of any kind, type and size, also with one feature a thousand times the rest."""
    values = matrix(kind, count, dimension, seed).astype(np.float64) * 10.0**decades
    if spike:
        values[:, 0] *= 1000
    with np.errstate(over="ignore"):
        values = np.clip(values, *(np.finfo(dtype).min / 4, np.finfo(dtype).max / 4)).astype(dtype)
    sketch = copied(values, bits)
    assert (sketch.error >= distance(sketch, values)).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e-42, 1e-38, 1e-30, 1e30, 1e37, 1e150, 1e300])
def test_the_error_holds_at_the_ends_of_a_type(size: float, dtype: str, bits: Bits) -> None:
    """The same where steps are below the smallest number of the type, or squares beyond its largest; and no NaN."""
    if dtype == "float32" and not 1e-43 < size < 1e38:
        pytest.skip("beyond float32")
    values = (np.clip(matrix("normal", 20, 6, 1), -3, 3) * size).astype(dtype)
    sketch = copied(values, bits)
    true = distance(sketch, values)
    assert np.isfinite(sketch.error).all()
    assert (sketch.error >= true).all()
    assert (sketch.error <= 0.02 * size * np.sqrt(6)).all() or size < 1e-38


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("bits", "part"), [(8, 0.05), (16, 2e-4)])
def test_the_error_is_not_much_more_than_the_distance(dtype: str, bits: Bits, part: float) -> None:
    """On smooth data it is at most 1.5 times the distance, and a small part of |x − c|."""
    values = clustered(300, 40, seed=1).astype(dtype)
    sketch = copied(values, bits)
    assert np.median(sketch.error / distance(sketch, values)) < 1.5
    away = np.linalg.norm(values.astype(np.float64) - sketch.centre, axis=1)
    assert (sketch.error < part * away).mean() > 0.99
    assert (np.abs(sketch.size - away) <= sketch.error * 1.01 + 1e-5 * away).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_centre_itself_and_rows_of_one_value(dtype: str) -> None:
    """A row at the centre has a copy without error; so has one whose offset is a whole number of steps."""
    centre = np.array([1.0, 2.0, -0.5])
    values = np.array([[1, 2, -0.5], [2, 2, -0.5], [0, 2, 0.5]], dtype=dtype)
    sketch = copied(values, 16, centre)
    np.testing.assert_array_equal(sketch.whole[0], 0)
    assert sketch.error[0] == 0
    assert (sketch.error[1:] < 1e-6).all()
    np.testing.assert_allclose(sketch.size, [0, 1, np.sqrt(2)], rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from((8, 16)))
def test_a_row_with_a_missing_value_is_ragged_and_no_other(seed: int, bits: Bits) -> None:
    """Rows with NaN are marked, their copies void; the copies of the others are as if those were not there."""
    values = matrix("normal", 20, 5, seed)
    holes = np.random.default_rng(seed).random(values.shape) < 0.1
    centre = values.mean(axis=0)
    sketch, whole = copied(np.where(holes, np.nan, values), bits, centre), copied(values, bits, centre)
    np.testing.assert_array_equal(sketch.ragged, holes.any(axis=1))
    for name in ("whole", "scale", "size", "error"):
        np.testing.assert_array_equal(getattr(sketch, name)[~sketch.ragged], getattr(whole, name)[~sketch.ragged])
    assert not sketch.size[sketch.ragged].any()


@pytest.mark.parametrize("bits", [8, 16])
def test_copies_in_a_file_are_those_in_memory(bits: Bits) -> None:
    """The same numbers, by slices and by rows in any order."""
    values = clustered(50, 8, seed=2)
    memory = copied(values, bits)
    file = Sketch.room(50, memory.centre, bits, scratch=True)
    assert isinstance(file.whole, np.memmap)
    file.put(slice(0, 50), values)
    np.testing.assert_array_equal(file.whole, memory.whole)
    some = np.array([7, 3, 49, 3])
    np.testing.assert_array_equal(file.about(some, np.float32), memory.whole[some].astype(np.float32))


def test_nothing_needs_no_file() -> None:
    """An array without elements is one in memory: a file of no bytes cannot be mapped."""
    assert empty((0, 5), np.int16, scratch=True).shape == (0, 5)
    assert empty((5, 0), np.int16, scratch=True).shape == (5, 0)
