"""A list: a CSV file with a column of paths or addresses, and optionally an id, a label and metadata."""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import unquote_to_bytes

from interpdisc_core.errors import PlanError
from interpdisc_core.sources import products
from interpdisc_core.sources.listed import ID_COLUMNS, LABEL_COLUMNS, PATH_COLUMNS, Listed, file, shown
from interpdisc_core.storage import Place


@dataclass(frozen=True, kw_only=True)
class ListFile:
    """path: a local CSV file with a header. Paths in it are relative to it; a row is kept whole as the record."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["list"] = "list"
    path: str

    def list(self, inbox: Place | None = None) -> Iterator[Listed]:
        """See `Lists.list`. Raises PlanError also for a table without rows or without a column of paths."""
        table = read_table(self.path)
        where = column(table, PATH_COLUMNS)
        if where is None:
            raise PlanError(f"{self.path}: no column of paths; name one of its columns {', '.join(PATH_COLUMNS)}.")
        name, label = column(table, ID_COLUMNS), column(table, LABEL_COLUMNS)
        base = os.path.dirname(os.path.abspath(self.path))
        found = []
        for row in table:
            # Paths keep their bytes, whatever the encoding; what people read must be text.
            given, record = row[where], {shown(key): shown(value) for key, value in row.items()}
            item = _one(given, base)
            identifier = record[shown(name)] if name else ""
            of = record[shown(label)] if label else ""
            found.append(replace(item, id=identifier or item.id, label=of or None, record=record))
        yield from products.paired(found)


def _one(given: str, base: str) -> Listed:
    if "://" in given and not given.startswith("file://"):
        return Listed(shown(given), shown(given))
    path = os.fsdecode(unquote_to_bytes(given.removeprefix("file://"))) if given.startswith("file://") else given
    return file(os.path.join(base, path), given)


def read_table(path: str) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, as text. Raises PlanError where it is not one."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig", "surrogateescape")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (OSError, csv.Error) as error:
        raise PlanError(f"{path}: cannot be read as CSV: {error}.") from error
    if not rows:
        raise PlanError(f"{path}: a CSV list without rows; it needs a header and one line an image.")
    return [{str(key): value or "" for key, value in row.items() if key is not None} for row in rows]


def column(table: list[dict[str, str]], names: tuple[str, ...]) -> str | None:
    """The first of `names` that the table has as a column, whatever its case."""
    have = {key.strip().lower(): key for key in table[0]}
    return next((have[name] for name in names if name in have), None)
