"""The filter language: what expressions mean, and that nothing in them is executed."""

import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.metadata.expressions import match_expression, to_identifier

COLUMNS: dict[str, list[Any]] = {
    "sol": ["9", "10", "", None, "1e3"],
    "instrument": ["MAST_LEFT", "MAST_RIGHT", "MAST_LEFT", "", "9"],
    "gain": [0.5, float("nan"), -2, 10**20, True],
    "taken": [datetime.date(2014, 1, day) for day in (1, 2, 3, 4, 5)],
    "class": ["a", "b", "a", None, "c"],
    "Site Drive": [1, 2, 3, 4, 5],
}


def rows(expression: str, columns: dict[str, list[Any]] = COLUMNS) -> list[int]:
    """The rows for which it is true."""
    return np.flatnonzero(match_expression(expression, columns)).tolist()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sol > 9.5", [1, 4]),  # numbers, though they are written as text: '10' is more than '9'
        ("sol == '10.0'", [1]),
        ("sol == 1000", [4]),
        ("sol != 9", [1, 4]),  # a missing field makes every comparison false
        ("not sol == 9", [1, 2, 3, 4]),
        ("9 <= sol < 11", [0, 1]),
        ("sol > 5 and instrument == 'MAST_LEFT'", [0]),
        ("sol > 500 or instrument == 'MAST_RIGHT'", [1, 4]),
        ("instrument in ('MAST_LEFT', 'X')", [0, 2]),
        ("instrument not in ['MAST_LEFT']", [1, 4]),
        ("sol in {9, 1000}", [0, 4]),
        ("'LEFT' in instrument", [0, 2]),
        ("'LEFT' not in instrument", [1, 4]),
        ("instrument > 100", []),  # a number and a text that is none: only != is true
        ("instrument != 9", [0, 1, 2]),
        ("instrument > 'MAST_M'", [1]),
        ("sol < instrument", [0, 1]),  # as texts where one is none: '9' < 'M', '10' < 'M'; '1e3' < '9' are numbers
        ("gain < 0", [2]),
        ("gain == +0.5", [0]),
        ("gain == -2", [2]),
        ("gain == 100000000000000000001", []),  # exact, not as floats
        ("gain == True", [4]),
        ("taken >= '2014-01-04'", [3, 4]),
        ("class_ == 'a'", [0, 2]),
        ("class_ != ''", [0, 1, 2, 4]),
        ("Site_Drive >= 4", [3, 4]),
        ("  sol == 9 \n", [0]),
        ("sol in ()", []),
    ],
)
def test_expressions_select_rows(expression: str, expected: list[int]) -> None:
    """As Python reads them, with the rules for numbers, texts and missing fields."""
    assert rows(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "sol",
        "sol >",
        "1",
        "True",
        "'a'",
        "sol > 1; sol",
        "x = 1",
        "(sol := 3) > 1",
        "sol is None",
        "sol == None",
        "__import__('os').system('false') == 0",
        "sol.__class__ == 1",
        "sol[0] == 1",
        "len(sol) == 1",
        "sol + 1 == 2",
        "f'{sol}' == '9'",
        "b'a' == sol",
        "1j == sol",
        "... == sol",
        "[s for s in sol] == 1",
        "sol in [*sol]",
        "-sol == 1",
        "~1 == sol",
        "-'a' == sol",
        "-True == sol",
        "lambda: 1",
        "sol if sol else sol",
        "sol and 1",
        "not sol",
        "{} == sol",
        "sol == 1 \0",
        "((((" * 100,
        "not " * 5000 + "sol == 1",
        "(" * 5000 + "1" + ")" * 5000 + " == sol",
        "sol == " + "-" * 3000 + "1",
        "yield == 1",
        "await sol",
        "sol @ sol == 1",
        "sol in sol in 3 + 4",
        "sol <> 1",
    ],
)
def test_other_syntax_is_refused_in_one_line(expression: str) -> None:
    """Calls, attributes, arithmetic and the rest."""
    with pytest.raises(PlanError) as caught:
        match_expression(expression, COLUMNS)
    assert "\n" not in str(caught.value).replace(repr(expression), "")


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    """As they are written in an expression."""
    with pytest.raises(PlanError, match=r"no field 'class_name'; choose from sol, instrument, .*class_, Site_Drive"):
        match_expression("class_name == 'a'", COLUMNS)


def test_an_ambiguous_field_is_refused() -> None:
    """Only if it is used."""
    columns: dict[str, list[Any]] = {"a b": [1], "a-b": [2], "c": [3]}
    assert rows("c == 3", columns) == [0]
    with pytest.raises(PlanError, match="'a_b' is ambiguous: 'a b' or 'a-b'"):
        match_expression("a_b == 1", columns)


@given(st.text())
def test_every_field_has_an_identifier(field: str) -> None:
    """Whatever a column is called, an expression can name it."""
    assert rows(f"{to_identifier(field)} == 2", {field: [1, 2, 3]}) == [1]


@given(st.lists(st.none() | st.floats() | st.integers() | st.text(), min_size=1), st.floats(allow_nan=False))
def test_numbers_compare_as_numbers(values: list[Any], limit: float) -> None:
    """In a column of anything, `>` holds for the numbers above, and `<=` for the other numbers."""
    written = repr(limit) if np.isfinite(limit) else f"{'-' if limit < 0 else ''}1e999"
    above, below = rows(f"x > {written}", {"x": values}), rows(f"x <= {written}", {"x": values})
    assert not set(above) & set(below)
    for row, value in enumerate(values):
        if isinstance(value, int | float):
            assert (row in above) == (value > limit)
            assert (row in below) == (value <= limit)


@given(st.text(alphabet="sol()<>=!'\"andornti 0123456789.-[],_{}:\\#@", max_size=40))
def test_any_text_is_an_expression_or_a_plan_error(expression: str) -> None:
    """Nothing else is raised."""
    try:
        matches = match_expression(expression, {"sol": ["1"], "a": [2]})
    except PlanError:
        return
    assert matches.shape == (1,)
