"""Features that a user brings, without images: what all file formats have in common."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from interpdisc_core import digest
from interpdisc_core._types import AnyArray
from interpdisc_core.errors import PlanError, StoreError, one_line
from interpdisc_core.metadata.expressions import Columns
from interpdisc_core.pipeline.feature_columns import NO_COLUMNS, FeatureColumns
from interpdisc_core.pipeline.feature_table import FeatureTable
from interpdisc_core.selectors.rows import Rows
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.remote_files import get_s3_filesystem


def build_bare_table(
    source: str,
    location: Location,
    rows: Rows,
    ids: Sequence[str] | None,
    labels: Sequence[str | None] | None,
    columns: Callable[[], Columns] = dict,
    feature_columns: FeatureColumns = NO_COLUMNS,
) -> FeatureTable:
    """The table of features that a user brings.

    Args:
        source: The source as the user gave it.
        location: Where its files are.
        rows: (n, d) features.
        ids: Id of each row; None for their numbers.
        labels: Class of each row, or None if there are none.
        columns: Returns the other fields that an expression can use.
        feature_columns: The columns that the features are, if they have names.

    Raises:
        PlanError: If there are no features, or not as many ids or labels as rows.
    """
    count, dimension = rows.shape
    if not count or not dimension:
        raise PlanError(f"{source}: has no features, its shape is {rows.shape}.")
    for kind, values in (("ids", ids), ("labels", labels)):
        if values is not None and len(values) != count:
            raise PlanError(f"{source}: has {len(values)} {kind} for {count} rows of features.")
    names = ids if ids is not None else [str(row) for row in range(count)]
    classes = labels if labels is not None else [None] * count
    return FeatureTable(
        name=source,
        rows=rows,
        ids=names,
        labels=classes,
        numbers=np.arange(count),
        identity=_digest_files(location, rows),
        identity_source="sizes and times of its files",
        columns=lambda: {**columns(), "row": range(count), "id": names, "label": classes},
        feature_columns=feature_columns,
    )


def _digest_files(location: Location, rows: Rows) -> str:
    """Digest of shape, dtype, and the names, sizes and times (in S3 the ETags) of a source's files."""
    file_facts: list[list[object]] = []
    if location.is_remote:
        for key, facts in sorted(get_s3_filesystem().find(location.url, detail=True).items()):
            file_facts.append([str(key).partition("/")[2], facts.get("size"), str(facts.get("ETag"))])
    else:
        for path in sorted(Path(location.url).rglob("*")) or [Path(location.url)]:
            if path.is_file():
                facts = path.stat()
                name = os.fsencode(path.relative_to(location.url)).decode("utf-8", "backslashreplace")
                file_facts.append([name, facts.st_size, facts.st_mtime_ns])
    return digest.digest_json([list(rows.shape), str(rows.dtype), file_facts])


def to_text(value: object) -> str | None:
    """An id or a label as text; None if missing."""
    if value is None or value != value or value in ("", b""):  # noqa: PLR0124 - NaN
        return None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def name_read_errors(source: str, read: Callable[[int], AnyArray]) -> Callable[[int], AnyArray]:
    """The same function, whose errors name the source."""

    def read_or_raise(number: int) -> AnyArray:
        try:
            return read(number)
        except Exception as error:
            raise StoreError(f"{source}: chunk {number} cannot be read: {one_line(error)}.") from error

    return read_or_raise
