"""Tables as bytes: one Parquet writer and reader, and one CSV writer."""

import contextlib
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from interpdisc_core.errors import DamageError, one_line
from interpdisc_core.storage.location import Location

ROW_GROUP_ROWS = 65_536
_BOOLEAN_TEXTS = {True: "yes", False: "no"}
_CELL_START = r"(^|[;|\t\r\n])((?:[^\S;|\t\r\n]|\")*)"
"""Where a cell may begin: a spreadsheet set to another separator than the comma also begins one within quoted text, and takes
a quotation mark there for the beginning of a quoted cell."""
_FORMULA_START = r"(?='*[=+\-@\t\r\n＝＋－＠])"
_UNMARKED_FORMULA, _MARKED_FORMULA = (
    re.compile(_CELL_START + _FORMULA_START),
    re.compile(f"{_CELL_START}'{_FORMULA_START}"),
)
_PLAIN_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

TableRow = Mapping[str, Any]
"""Values by column."""


def encode_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return sink.getvalue()


def read_parquet(archive: Location, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, and compare it with its checksum if it has one.

    Args:
        archive: The folder.
        name: The file's name in it.
        columns: Columns to read; those that the file does not have are left out. None: all.

    Raises:
        FileNotFoundError: If there is no such file.
        DamageError: If the file is damaged.
    """
    with translate_read_errors(archive, name):
        # Without Arrow's thread pools: with them, a process on a busy machine sometimes aborts at its exit.
        file = pq.ParquetFile(io.BytesIO(archive.read_checked(name)), pre_buffer=False)
        return file.read(columns=None if columns is None else list(columns), use_threads=False)


@contextlib.contextmanager
def translate_read_errors(archive: Location, name: str) -> Iterator[None]:
    """Turn what Arrow raises for a damaged file into a DamageError that names it."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError, MemoryError) as error:
        if isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno is not None):
            raise  # the file system's, not Arrow's
        raise DamageError(f"{archive.url}/{name} is damaged: {one_line(error)}.") from error


def rows_to_parquet(rows: Sequence[TableRow], schema: pa.Schema | None = None) -> bytes:
    """Rows as a Parquet file. Lone surrogates in text are escaped, as in the CSV.

    Args:
        rows: A column that a row lacks is null there.
        schema: Columns and their types. None: the columns of all rows, in order of first appearance; text if any value
            is text, float64 if any is a float.
    """
    safe_rows = [{name: _escape_surrogates(value) for name, value in row.items()} for row in rows]
    if schema is not None:
        return encode_parquet(pa.Table.from_pylist(safe_rows, schema=schema))
    columns = _collect_columns(safe_rows)
    return encode_parquet(pa.table({name: _infer_column([row.get(name) for row in safe_rows]) for name in columns}))


def rows_to_csv(rows: Sequence[TableRow], columns: Sequence[str] | None = None) -> bytes:
    r"""Rows as CSV: UTF-8, a header, lines that end with `\n`.

    Every text is quoted, so names with commas, quotes and newlines are read back unchanged, except that a text which a
    spreadsheet would run is marked by `mark_formula`. Numbers are written as such. True and False are `yes` and `no`,
    None is empty, lone surrogates are escaped.

    Args:
        rows: A column that a row lacks is empty there.
        columns: The columns in order. None: those of all rows, in order of first appearance.

    Raises:
        ValueError: If a row has a column that `columns` lacks.

    Example:
        >>> rows_to_csv([{"id": "a.png", "rank": 1, "trusted": True}, {"id": "b.png", "rank": 2}])
        b'"id","rank","trusted"\n"a.png",1,"yes"\n"b.png",2,""\n'
    """
    sink = io.StringIO(newline="")
    names = _collect_columns(rows) if columns is None else columns
    writer = csv.DictWriter(sink, fieldnames=names, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow({name: mark_formula(name) for name in names})
    writer.writerows({name: _format_cell(value) for name, value in row.items()} for row in rows)
    return sink.getvalue().encode("utf-8", "backslashreplace")


def mark_formula(text: str) -> str:
    """A text as a cell that no spreadsheet runs; `unmark_formula` undoes it.

    An apostrophe is put before `=`, `+`, `-`, `@` (also in their wide forms), tab and line end, where a cell may begin.
    Texts that are numbers stay as they are.

    Example:
        >>> mark_formula("=1+2"), mark_formula("a-1"), mark_formula("-1.5"), mark_formula("'-b")
        ("'=1+2", 'a-1', '-1.5', "''-b")
    """
    return text if _PLAIN_NUMBER.fullmatch(text) else _UNMARKED_FORMULA.sub(r"\1\2'", text)


def unmark_formula(cell: str) -> str:
    """The text of a cell that `mark_formula` made, to the letter.

    Example:
        >>> unmark_formula("'=1+2"), unmark_formula("'tis")
        ('=1+2', "'tis")
    """
    return _MARKED_FORMULA.sub(r"\1\2", cell)


def _collect_columns(rows: Iterable[TableRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _infer_column(values: list[Any]) -> pa.Array:
    if any(isinstance(value, str) for value in values):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if any(isinstance(value, float) for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values)


def _format_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return _BOOLEAN_TEXTS[value]
    return value if value is None or isinstance(value, Number) else mark_formula(str(value))


def _escape_surrogates(value: Any) -> Any:
    """Text that UTF-8 can hold: a lone surrogate becomes its number."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
