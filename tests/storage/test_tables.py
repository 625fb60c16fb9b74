"""Tables keep hostile text, missing values and types."""

import csv
import io
import itertools
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError, StoreError, one_line
from interpdisc_core.storage.file_names import make_file_name, slugify
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet, read_parquet, rows_to_csv, rows_to_parquet, unmark_formula

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={"id": TEXT, "rank": st.none() | st.integers(0, 99), "trusted": st.booleans()}),
    min_size=1,
)


HOSTILE_TEXT = st.one_of(
    st.text("=+-@\t\r\n;|' \u00a0＝a1,\"", max_size=12),
    st.sampled_from(["=cmd|' /C calc'!A0", "x;=HYPERLINK(A1);y", "+1-2", "@SUM(A1)", "-2+3", "'-a.png", "-1.5", "''"]),
)
"""Texts that a spreadsheet may run, and their near relations."""


def read_csv(data: bytes) -> list[dict[str, str]]:
    """The rows as the program reads them."""
    rows = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return [{unmark_formula(name): unmark_formula(value) for name, value in row.items()} for row in rows]


@given(rows=ROWS)
def test_csv_and_parquet_hold_the_same_rows(rows: list[dict[str, object]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    read_back = read_csv(rows_to_csv(rows))
    booleans = {True: "yes", False: "no"}
    expected = [{name: row.get(name) for name in columns} for row in rows]
    if columns:
        as_text = [
            {
                name: "" if value is None else booleans[value] if isinstance(value, bool) else str(value)
                for name, value in row.items()
            }
            for row in expected
        ]
        assert read_back == as_text
        assert pq.read_table(io.BytesIO(rows_to_parquet(rows))).to_pylist() == expected


@given(name=HOSTILE_TEXT, text=HOSTILE_TEXT | TEXT)
@example(name=';"=', text="")
def test_no_spreadsheet_runs_a_cell(name: str, text: str) -> None:
    """Whatever separator it is set to, and whether or not it trims blanks; the program reads the text itself back."""
    data = rows_to_csv([{name: text, f"{name}2": -1.5}])
    assert read_csv(data) == [{name: text, f"{name}2": "-1.5"}]
    for separator, quoting in [(",", csv.QUOTE_ALL), *itertools.product(";|\t", (csv.QUOTE_ALL, csv.QUOTE_NONE))]:
        rows = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=separator, quoting=quoting)
        cells = [cell for row in rows for cell in row if not re.match(NUMBER_OR_ITS_CELL, cell)]
        assert not [cell for cell in cells if re.match(r"\s*[=+\-@＝]", cell)], data
        assert (
            quoting != csv.QUOTE_ALL
            or separator != ","
            or not [cell for cell in cells if cell[:1] in "\t\r\n" and cell]
        )


NUMBER_OR_ITS_CELL = r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"*(,|$)'
"""A number is no formula, also if a spreadsheet that is set to another separator takes what follows it for its cell's."""


def test_numbers_stay_numbers() -> None:
    assert (
        rows_to_csv([{"a": -1, "b": -1.5, "c": np.float32(-0.5), "d": "-7"}]) == b'"a","b","c","d"\n-1,-1.5,-0.5,"-7"\n'
    )


def test_no_other_code_writes_csv() -> None:
    """Every CSV file has what `rows_to_csv` promises."""
    root = Path(__file__).parents[2]
    writers = re.compile(r"csv\.(writer|DictWriter)|write_csv|to_csv\(|savetxt")
    found = {
        str(path.relative_to(root)): line.strip()
        for folder in ("interpdisc_core", "tasks", "flows", "deploy")
        for path in (root / folder).rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if writers.search(line.replace("rows_to_csv(", ""))
    }
    assert list(found) == ["interpdisc_core/storage/tables.py"]


def test_text_that_utf_8_cannot_hold_is_escaped_alike() -> None:
    rows = [{"id": "a\udcff.png", "score": 1}, {"score": 0.5}]
    assert rows_to_csv(rows) == b'"id","score"\n"a\\udcff.png",1\n"",0.5\n'
    assert pq.read_table(io.BytesIO(rows_to_parquet(rows))).to_pylist() == [
        {"id": "a\\udcff.png", "score": 1.0},
        {"id": None, "score": 0.5},
    ]


def test_a_column_that_was_not_declared_is_an_error() -> None:
    with pytest.raises(ValueError, match="score"):
        rows_to_csv([{"id": "a", "score": 1}], ["id"])


def test_missing_columns_of_a_parquet_file_are_left_out(tmp_path: object) -> None:
    archive = Location.parse(str(tmp_path))
    archive.write("t.parquet", rows_to_parquet([{"a": 1, "b": "x"}]))
    assert read_parquet(archive, "t.parquet", ["b", "c"]).to_pylist() == [{"b": "x"}]
    archive.write("u.parquet", encode_parquet(read_parquet(archive, "t.parquet"))[:-3])
    with pytest.raises(StoreError, match=r"u\.parquet is damaged"):
        read_parquet(archive, "u.parquet")


@given(text=st.text())
def test_a_slug_is_a_plain_file_name(text: str) -> None:
    slug = slugify(text, default="run")
    assert 1 <= len(slug) <= 32
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not slug.startswith("-")


def test_a_name_must_not_be_empty() -> None:
    with pytest.raises(PlanError, match="not empty"):
        make_file_name("")


@given(text=st.text())
def test_an_error_is_one_line(text: str) -> None:
    line = one_line(ValueError(text))
    assert line
    assert len(line) <= 200
    assert len(line.splitlines()) == 1
