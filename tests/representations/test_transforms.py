"""Transforms of feature rows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.representations.transforms import FeatureTransform


def rows(n: int = 40, d: int = 12, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows with directions of very different size, none of them about 0."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * np.geomspace(10, 0.1, d) + rng.normal(size=d)).astype(np.float32)


transforms = st.builds(
    FeatureTransform,
    normalise=st.sampled_from(("none", "l2", "power", "power-l2")),
    whiten=st.sampled_from((0, 1, 5, 99)),
    strength=st.floats(0, 1),
    unit=st.booleans(),
)


@given(transforms, st.sampled_from([(40, 12), (8, 12), (1, 12), (2, 1), (0, 3)]))
def test_rows_become_finite_float64_rows_and_the_input_stays(
    transform: FeatureTransform, shape: tuple[int, int]
) -> None:
    """(n, d) becomes (n, d'), where d' is at most what was asked for."""
    values = rows(*shape)
    values.flags.writeable = False
    result = transform.apply(values)
    assert result.dtype == np.float64
    assert result.shape[0] == shape[0]
    assert result.shape[1] <= (transform.whiten or shape[1])
    assert np.isfinite(result).all()


@given(transforms)
def test_the_order_of_rows_does_not_matter(transform: FeatureTransform) -> None:
    """Permuted rows give the permuted result, up to rounding; the type of the values does not matter at all."""
    values, order = rows(), np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(transform.apply(values[order]), transform.apply(values)[order], atol=1e-8)
    np.testing.assert_array_equal(transform.apply(values.astype(np.float64)), transform.apply(values))


def test_normalization_of_one_row() -> None:
    """Steps on one small row: signed square root, and length 1."""
    row = np.array([[9.0, -16.0]])
    np.testing.assert_allclose(FeatureTransform(normalise="power").apply(row), [[3, -4]])
    np.testing.assert_allclose(FeatureTransform(normalise="power-l2").apply(row), [[0.6, -0.8]])
    np.testing.assert_allclose(FeatureTransform(normalise="l2").apply(row), row / np.sqrt(337))
    np.testing.assert_array_equal(FeatureTransform().apply(row), row)


@pytest.mark.parametrize("n", [40, 9])
def test_whitened_rows_are_uncorrelated_with_mean_0_and_deviation_1(n: int) -> None:
    """Also with fewer rows than features."""
    result = FeatureTransform(whiten=6).apply(rows(n))
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(result.T @ result / n, np.eye(6), atol=1e-7)


@given(st.floats(0, 1), st.integers(1, 12))
def test_a_deviation_becomes_its_power_of_1_minus_strength(strength: float, directions: int) -> None:
    """And PCA in all directions keeps the distances of rows."""
    values = rows()
    plain, result = (FeatureTransform(whiten=directions, strength=s).apply(values) for s in (0.0, strength))
    np.testing.assert_allclose(result.std(axis=0), plain.std(axis=0) ** (1 - strength), rtol=1e-5)
    whole = FeatureTransform(whiten=12, strength=0.0).apply(values)
    np.testing.assert_allclose(
        ((whole[0] - whole[1:]) ** 2).sum(axis=1),
        ((values[0].astype(float) - values[1:]) ** 2).sum(axis=1),
        rtol=1e-6,
    )


def test_directions_without_variance_are_dropped() -> None:
    """Rounding is not amplified: equal rows have no directions, and a copied feature adds none."""
    assert not FeatureTransform(whiten=5).apply(np.full((7, 4), 3.25)).any()
    values = rows()
    assert FeatureTransform(whiten=24).apply(np.hstack([values, values])).shape[1] == 12


@pytest.mark.parametrize("settings", [{"whiten": -1}, {"strength": 1.5}, {"strength": -0.1}])
def test_settings_outside_their_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="treatment: "):
        FeatureTransform(**settings)
