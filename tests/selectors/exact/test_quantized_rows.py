"""Fixed-point copies: their error bounds hold for the numbers as stored."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpdisc_core.selectors.exact.quantized_rows import CopyBits, QuantizedRows, allocate_array
from tests.helpers.strategies import KINDS, make_clusters, make_matrix

FLOATS = ("float64", "float32", "float16")


def quantize(values: npt.NDArray[Any], bits: CopyBits, center: npt.NDArray[np.float64] | None = None) -> QuantizedRows:
    """Copies of all rows, by default about the mean of the first five as float32 (or float64, if that is out of range)."""
    if center is None:
        mean = values[:5].astype(np.float64).mean(axis=0)
        with np.errstate(over="ignore"):
            exact = mean.astype(np.float32).astype(np.float64)
        center = exact if np.isfinite(exact).all() else mean
    copies = QuantizedRows.allocate(len(values), center, bits, in_file=False)
    for start in range(0, len(values), 7):
        copies.quantize(slice(start, min(start + 7, len(values))), values[start : start + 7])
    return copies


def distances(copies: QuantizedRows, values: npt.NDArray[Any]) -> npt.NDArray[np.longdouble]:
    """|x − c − s·q| (n,), in extended precision."""
    copy = copies.steps.astype(np.longdouble) * copies.scale[:, None].astype(np.longdouble)
    return np.sqrt((((values.astype(np.longdouble) - copies.center) - copy) ** 2).sum(axis=1))


@given(
    st.sampled_from(KINDS),
    st.integers(1, 30),
    st.integers(1, 70),
    st.integers(0, 2**32 - 1),
    st.sampled_from(FLOATS),
    st.sampled_from((8, 16)),
    st.integers(-4, 4),
    st.booleans(),
)
def test_the_error_bound_is_at_least_the_distance_from_the_copy(
    kind: str, count: int, dimension: int, seed: int, dtype: str, bits: CopyBits, decades: int, spike: bool
) -> None:
    """`error_bound` ≥ |x − c − s·q| for rows of any kind, type and size, also with one feature a thousand times the rest."""
    values = make_matrix(kind, count, dimension, seed).astype(np.float64) * 10.0**decades
    if spike:
        values[:, 0] *= 1000
    with np.errstate(over="ignore"):
        values = np.clip(values, *(np.finfo(dtype).min / 4, np.finfo(dtype).max / 4)).astype(dtype)
    copies = quantize(values, bits)
    assert (copies.error_bound >= distances(copies, values)).all()


@given(
    st.one_of(
        st.tuples(st.just("float64"), st.floats(-300, 300)),
        st.tuples(st.just("float32"), st.floats(-42, 37)),
    ),
    st.sampled_from((8, 16)),
)
@example(("float64", -300), 8)
@example(("float64", 300), 16)
@example(("float32", -42), 16)
@example(("float32", 37), 8)
def test_the_error_bound_holds_at_the_ends_of_a_type(scale: tuple[str, float], bits: CopyBits) -> None:
    """Also if steps are below the smallest number of the type, or squares beyond its largest; it is never NaN."""
    dtype, size = scale[0], 10.0 ** scale[1]
    values = (np.clip(make_matrix("normal", 20, 6, 1), -3, 3) * size).astype(dtype)
    copies = quantize(values, bits)
    assert np.isfinite(copies.error_bound).all()
    assert (copies.error_bound >= distances(copies, values)).all()
    assert (copies.error_bound <= 0.02 * size * np.sqrt(6)).all() or size < 1e-38


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("bits", "part"), [(8, 0.05), (16, 2e-4)])
def test_the_error_bound_is_not_much_more_than_the_distance(dtype: str, bits: CopyBits, part: float) -> None:
    """On smooth data it is at most 1.5 times the distance, and a small part of |x − c|."""
    values = make_clusters(300, 40, seed=1).astype(dtype)
    copies = quantize(values, bits)
    assert np.median(copies.error_bound / distances(copies, values)) < 1.5
    away = np.linalg.norm(values.astype(np.float64) - copies.center, axis=1)
    assert (copies.error_bound < part * away).mean() > 0.99
    assert (np.abs(copies.norm - away) <= copies.error_bound * 1.01 + 1e-5 * away).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_row_at_the_center_has_no_error(dtype: str) -> None:
    """And one whose offset is a whole number of steps hardly any."""
    center = np.array([1.0, 2.0, -0.5])
    values = np.array([[1, 2, -0.5], [2, 2, -0.5], [0, 2, 0.5]], dtype=dtype)
    copies = quantize(values, 16, center)
    np.testing.assert_array_equal(copies.steps[0], 0)
    assert copies.error_bound[0] == 0
    assert (copies.error_bound[1:] < 1e-6).all()
    np.testing.assert_allclose(copies.norm, [0, 1, np.sqrt(2)], rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from((8, 16)))
def test_only_rows_with_missing_values_are_marked(seed: int, bits: CopyBits) -> None:
    """Their copies are void; the copies of the others are as if no value was missing."""
    values = make_matrix("normal", 20, 5, seed)
    holes = np.random.default_rng(seed).random(values.shape) < 0.1
    center = values.mean(axis=0)
    copies, complete = quantize(np.where(holes, np.nan, values), bits, center), quantize(values, bits, center)
    np.testing.assert_array_equal(copies.has_missing, holes.any(axis=1))
    for name in ("steps", "scale", "norm", "error_bound"):
        np.testing.assert_array_equal(
            getattr(copies, name)[~copies.has_missing], getattr(complete, name)[~copies.has_missing]
        )
    assert not copies.norm[copies.has_missing].any()


@pytest.mark.parametrize("bits", [8, 16])
def test_copies_in_a_file_are_those_in_memory(bits: CopyBits) -> None:
    """The same numbers, by slices and by rows in any order."""
    values = make_clusters(50, 8, seed=2)
    memory = quantize(values, bits)
    file = QuantizedRows.allocate(50, memory.center, bits, in_file=True)
    assert isinstance(file.steps, np.memmap)
    file.quantize(slice(0, 50), values)
    np.testing.assert_array_equal(file.steps, memory.steps)
    some = np.array([7, 3, 49, 3])
    np.testing.assert_array_equal(file.read_steps(some, np.float32), memory.steps[some].astype(np.float32))


def test_an_empty_array_is_in_memory() -> None:
    """An empty file cannot be mapped."""
    assert allocate_array((0, 5), np.int16, in_file=True).shape == (0, 5)
    assert allocate_array((5, 0), np.int16, in_file=True).shape == (5, 0)
