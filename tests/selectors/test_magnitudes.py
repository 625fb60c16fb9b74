"""Features of any magnitude: within a wide range only their unit matters not, beyond it a sentence names row and feature."""

from typing import Any

import numpy as np
import pytest

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Demud, NearestNeighbours, Rx
from interpdisc_core.selectors.rows import l2_normalize, row_norms

VALUES = np.random.default_rng(3).normal(size=(50, 6))
SELECTORS = [
    Demud(rank=3),
    Demud(rank=2, method="incremental", start="mean"),
    Demud(rank=3, method="static"),
    Demud(rank=3, missing="ignore"),
    Rx(),
    NearestNeighbours(),
]
over_selectors = pytest.mark.parametrize("settings", SELECTORS, ids=repr)


def pick(settings: Any, values: Any, count: int = 5) -> list[tuple[int, float]]:
    """Rows and scores of the first picks."""
    selection, picks = settings.open(values, np.empty((0, values.shape[1]))), []
    for _ in range(count):
        choice = selection.peek()
        picks.append((choice.row, choice.score))
        selection.learn(choice.row)
    return picks


@pytest.mark.filterwarnings("error")
@over_selectors
@pytest.mark.parametrize("exponent", [225, -222])
def test_another_unit_of_the_features_changes_no_pick(settings: Any, exponent: int) -> None:
    """All features times a power of 2, near both ends of the range: the same picks."""
    expected, found = pick(settings, VALUES), pick(settings, np.ldexp(VALUES, exponent))
    assert [row for row, _ in found] == [row for row, _ in expected]


@over_selectors
def test_values_beyond_the_squares_of_float64_are_refused_by_row_and_feature(settings: Any) -> None:
    """Too large, even one of them; or all too small."""
    one = VALUES.copy()
    one[31, 4] = -1e300
    for values, sentence in (
        (one, r"row 31 has -1e\+300 in feature 4;"),
        (VALUES * 1e200, r"row 0 has .* in feature 0;"),
        (VALUES * 1e-200, rf"row {np.abs(VALUES).argmax() // 6}\b.*multiply"),
    ):
        with pytest.raises(PlanError, match=sentence):
            pick(settings, values)
    assert len(pick(settings, np.where(VALUES > 1, 1e-300, VALUES))) == 5  # beside others, small values are harmless


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_directions_are_kept_at_any_magnitude(dtype: type) -> None:
    """A row of l2 has length 1, whatever its magnitude: its squares may be beyond its type. Other rows keep their bits."""
    limits = np.finfo(dtype)
    usual = VALUES.astype(dtype)
    for factor in (limits.max / 8, limits.tiny * 2.0**30):
        rows = np.vstack([usual, VALUES.astype(dtype) * dtype(factor), np.full((1, 6), np.nan, dtype)])
        rows[0, 0] = np.nan
        unit = l2_normalize(rows)
        np.testing.assert_array_equal(unit[:50], l2_normalize(rows[:50]))
        np.testing.assert_allclose(unit[51:100], unit[1:50], rtol=8 * limits.eps)
        assert unit.dtype == dtype
        lengths = row_norms(rows)
        np.testing.assert_allclose(lengths[51:100] / dtype(factor), row_norms(usual)[1:50], rtol=8 * limits.eps)
