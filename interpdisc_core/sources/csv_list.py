"""A list: a CSV file with a column of paths or URIs, and optionally an id, a label and metadata."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from interpdisc_core.errors import PlanError
from interpdisc_core.settings import settings
from interpdisc_core.sources import detached_labels
from interpdisc_core.sources.entry import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    PATH_COLUMNS,
    SourceEntry,
    make_file_entry,
)
from interpdisc_core.sources.uris import FILE_SCHEME, display_name, path_or_uri_to_path
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import unmark_formula

_SEPARATORS = (",", ";", "\t")  # the first of equals is taken
_QUOTED_CELL = re.compile(r'(?:^|(?<=[,;\t]))[ ]*"(?:[^"]|"")*"', re.MULTILINE)
_STATED_SEPARATOR = re.compile(r"sep=([,;\t|])\r?\n")
"""A first line by which spreadsheets name the separator."""

_NO_CLASS = frozenset({"", "nan", "none", "null", "n/a", "<na>"})
"""What programs write for a missing value, in lower case."""


@settings
class ListFile:
    """A list of inputs. Each row is kept whole, as the input's record.

    Args:
        path: A local CSV file with a header; paths in it are relative to its folder.
    """

    kind: Literal["list"] = "list"
    path: str

    def list(self, inbox: Location | None = None) -> Iterator[SourceEntry]:
        """See `SourceLike.list`.

        Raises:
            PlanError: If it cannot be read as CSV, has no rows, or has no column of paths.
        """
        rows = read_csv_rows(self.path)
        path_column = find_column(rows, PATH_COLUMNS)
        if path_column is None:
            raise PlanError(
                f"{self.path}: no column of paths; name one of its columns {', '.join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}."
            )
        id_column, label_column = find_column(rows, ID_COLUMNS), find_column(rows, LABEL_COLUMNS)
        base = os.path.dirname(os.path.abspath(self.path))
        entries = []
        for row in rows:
            # Paths keep their bytes, whatever the encoding; what is shown must be text.
            path_text = row[path_column].strip()
            record = {display_name(key): display_name(value) for key, value in row.items()}
            listed_entry = _make_row_entry(path_text, base)
            identifier = record[display_name(id_column)].strip() if id_column else ""
            class_label = parse_class(row[label_column]) if label_column else None
            entries.append(replace(listed_entry, id=identifier or listed_entry.id, label=class_label, record=record))
        yield from detached_labels.pair_labels(entries)


def _make_row_entry(path_text: str, base: str) -> SourceEntry:
    if "://" in path_text and not path_text.startswith(FILE_SCHEME):
        return SourceEntry(display_name(path_text), display_name(path_text))
    path = os.path.join(base, path_or_uri_to_path(path_text))
    if not os.path.lexists(path) and os.path.lexists(readable_path := decode_cell(path)):
        return make_file_entry(readable_path, decode_cell(path_text))
    return make_file_entry(path, path_text)


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file with a header, as text. Bytes that are not UTF-8 are surrogates: see `decode_cell`.

    Attributes:
        rows: Values by column; a missing value is empty.
        ragged_lines: Numbers of the lines that have more or fewer values than the header.
    """

    rows: list[dict[str, str]]
    ragged_lines: tuple[int, ...]


def read_csv_table(path: str) -> CsvTable:
    """Read a CSV file with a header; cells that `tables.mark_formula` marked are as they were before.

    The separator is the comma, semicolon or tab that the header has most of outside of quotes. The encoding is UTF-8 or
    UTF-16.

    Raises:
        PlanError: If the file cannot be read as CSV, or has no rows.
    """
    try:
        text = _decode_text(path, Path(path).read_bytes())
        separator, text = _split_separator(text)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        numbered_rows = [(reader.line_num, row) for row in reader]
    except (OSError, csv.Error) as error:
        raise PlanError(f"{path}: cannot be read as CSV: {error}.") from error
    if not numbered_rows:
        raise PlanError(f"{path}: the list has no rows; it needs a header and one line for each image.")
    return CsvTable(
        [
            {unmark_formula(key): unmark_formula(value or "") for key, value in row.items() if key is not None}
            for _, row in numbered_rows
        ],
        tuple(number for number, row in numbered_rows if None in row or None in row.values()),
    )


def _decode_text(path: str, data: bytes) -> str:
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise PlanError(f"{path}: is a spreadsheet's own file, not CSV; save it as CSV (UTF-8).")
    if data.startswith(b"PAR1"):
        raise PlanError(f"{path}: is a Parquet file, not CSV; save it as CSV (UTF-8).")
    # Without a mark at the beginning, the zero bytes of ASCII characters tell the order of bytes.
    start = data[:1000]
    encoding = (
        "utf-16"
        if start.startswith((b"\xff\xfe", b"\xfe\xff"))
        else "utf-16-le"
        if start[1::2].count(0) > len(start) / 4
        else "utf-16-be"
        if start[::2].count(0) > len(start) / 4
        else ""
    )
    if not encoding:
        return data.decode("utf-8-sig", "surrogateescape")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: is UTF-16, but damaged ({error.reason}); save it as CSV (UTF-8).") from error


def _split_separator(text: str) -> tuple[str, str]:
    """The separator, and the text from its header on."""
    text = text.lstrip("\r\n")
    if stated := _STATED_SEPARATOR.match(text):
        return stated[1], text[stated.end() :]
    header = next(iter(_QUOTED_CELL.sub("", text[:100_000]).splitlines()), "")
    return max(_SEPARATORS, key=header.count), text


def decode_cell(cell: str) -> str:
    """A cell as text: one that is not UTF-8 is taken as Windows-1252, or as Latin-1 where that has no such character."""
    data = cell.encode("utf-8", "surrogateescape")
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            pass
    return data.decode("latin-1")


def parse_class(cell: str) -> str | None:
    """The class that a cell names, composed (NFC) and without blanks around it; None for what stands for no value."""
    name = unicodedata.normalize("NFC", decode_cell(cell).strip())
    return None if name.lower() in _NO_CLASS else name


def read_csv_rows(path: str) -> list[dict[str, str]]:
    """The rows of `read_csv_table`."""
    return read_csv_table(path).rows


def find_column(rows: list[dict[str, str]], names: tuple[str, ...]) -> str | None:
    """The column whose name, in lower case, is the first possible of `names`; None if there is none."""
    by_lower_name = {key.strip().lower(): key for key in rows[0]}
    return next((by_lower_name[name] for name in names if name in by_lower_name), None)
