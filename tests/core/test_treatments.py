"""Treatments of feature rows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.treatments import Treatment


def rows(n: int = 40, d: int = 12, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows with directions of very different size, none of them about 0."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * np.geomspace(10, 0.1, d) + rng.normal(size=d)).astype(np.float32)


EVERY = [
    Treatment(normalise=step, whiten=whiten, strength=strength, unit=unit)  # type: ignore[arg-type]
    for step in ("none", "l2", "power", "power-l2")
    for whiten, strength in ((0, 1.0), (5, 0.0), (5, 0.5), (5, 1.0), (99, 1.0))
    for unit in (False, True)
]


@pytest.mark.parametrize("treatment", EVERY, ids=repr)
@pytest.mark.parametrize("shape", [(40, 12), (8, 12), (1, 12), (2, 1), (0, 3)])
def test_rows_stay_rows(treatment: Treatment, shape: tuple[int, int]) -> None:
    """(n, d) becomes (n, d'), finite, float64, d' at most what was asked for, and the input stays as it is."""
    given = rows(*shape)
    given.flags.writeable = False
    made = treatment.of(given)
    assert made.dtype == np.float64
    assert made.shape[0] == shape[0]
    assert made.shape[1] <= (treatment.whiten or shape[1])
    assert np.isfinite(made).all()


@pytest.mark.parametrize("treatment", EVERY, ids=repr)
def test_the_order_of_rows_does_not_matter(treatment: Treatment) -> None:
    """Permuted rows are treated to the same, permuted, up to rounding; the type that values come in does not matter at all."""
    values, order = rows(), np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(treatment.of(values[order]), treatment.of(values)[order], atol=1e-8)
    np.testing.assert_array_equal(treatment.of(values.astype(np.float64)), treatment.of(values))


def test_by_hand() -> None:
    """Steps on one small row: signed square root, and length 1."""
    row = np.array([[9.0, -16.0]])
    np.testing.assert_allclose(Treatment(normalise="power").of(row), [[3, -4]])
    np.testing.assert_allclose(Treatment(normalise="power-l2").of(row), [[0.6, -0.8]])
    np.testing.assert_allclose(Treatment(normalise="l2").of(row), row / np.sqrt(337))
    np.testing.assert_array_equal(Treatment().of(row), row)


@pytest.mark.parametrize("n", [40, 9])
def test_whitened_rows_have_unit_covariance(n: int) -> None:
    """Kept directions are uncorrelated, have mean 0 and deviation 1; in rows fewer than features too."""
    made = Treatment(whiten=6).of(rows(n))
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(made.T @ made / n, np.eye(6), atol=1e-7)


@given(st.floats(0, 1), st.integers(1, 12))
def test_strength_is_between_pca_and_whitening(strength: float, directions: int) -> None:
    """A direction's deviation is its own to the power 1 − strength; distances of PCA in all directions are the rows' own."""
    values = rows()
    plain, made = (Treatment(whiten=directions, strength=s).of(values) for s in (0.0, strength))
    np.testing.assert_allclose(made.std(axis=0), plain.std(axis=0) ** (1 - strength), rtol=1e-5)
    whole = Treatment(whiten=12, strength=0.0).of(values)
    np.testing.assert_allclose(
        ((whole[0] - whole[1:]) ** 2).sum(axis=1),
        ((values[0].astype(float) - values[1:]) ** 2).sum(axis=1),
        rtol=1e-6,
    )


def test_directions_without_variance_are_dropped() -> None:
    """Rounding is not blown up to novelty: equal rows have no directions, and a copied feature adds none."""
    assert not Treatment(whiten=5).of(np.full((7, 4), 3.25)).any()
    values = rows()
    assert Treatment(whiten=24).of(np.hstack([values, values])).shape[1] == 12


@pytest.mark.parametrize("settings", [{"whiten": -1}, {"strength": 1.5}, {"strength": -0.1}])
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    """Wrong settings are refused with a sentence."""
    with pytest.raises(PlanError, match="treatment"):
        Treatment(**settings)
