"""A table of feature rows with ids and labels: the input of a selection without images."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interpdisc_core import digest
from interpdisc_core._types import IndexArray
from interpdisc_core.errors import PlanError
from interpdisc_core.metadata.expressions import Columns, match_expression
from interpdisc_core.pipeline.feature_columns import NO_COLUMNS, FeatureColumns
from interpdisc_core.pipeline.labels import count_unlabelled, load_labels
from interpdisc_core.selectors.rows import ChunkedRows, NormalizedRows, Rows, SubsetRows


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Feature rows with what is known of each.

    Attributes:
        name: The source as the user gave it.
        rows: (n, d) features, read when needed.
        ids: Id of each row.
        labels: Class of each row, or None.
        numbers: (n,) The number of each row in the source, rising.
        identity: Digest that changes when the data may have changed.
        identity_source: What the digest is computed from, in words.
        columns: Returns the fields that an expression can use.
        features: Digest of an archive's representation; empty for other sources.
        feature_columns: The columns that the features are, if they have names.
        notes: Sentences about rows that are left out and labels that do not fit.
    """

    name: str
    rows: Rows
    ids: Sequence[str]
    labels: Sequence[str | None]
    numbers: IndexArray
    identity: str
    identity_source: str
    columns: Callable[[], Columns]
    features: str = ""
    feature_columns: FeatureColumns = NO_COLUMNS
    notes: tuple[str, ...] = ()

    def filter_rows(self, expression: str) -> "FeatureTable":
        """The rows for which `expression` is true.

        Raises:
            PlanError: If the expression is not valid, or is true of no row.
        """
        row_numbers = np.flatnonzero(match_expression(expression, self.columns()))
        if not len(row_numbers):
            raise PlanError(f"{self.name}: {expression!r} is true of none of its {len(self.numbers)} rows.")
        return self.take_rows(row_numbers)

    def take_rows(self, row_numbers: IndexArray) -> "FeatureTable":
        """The rows at rising indices (m,) into this table."""
        positions = row_numbers.tolist()

        def columns() -> Columns:
            return {name: [values[position] for position in positions] for name, values in self.columns().items()}

        return replace(
            self,
            rows=_take_rows(self.rows, row_numbers),
            ids=[self.ids[position] for position in positions],
            labels=[self.labels[position] for position in positions],
            numbers=self.numbers[row_numbers],
            columns=columns,
        )

    def normalize(self) -> "FeatureTable":
        """The same table with every row divided by its Euclidean length, as `l2` in a plan; float16 becomes float32."""
        return replace(self, rows=NormalizedRows(self.rows))

    def with_labels(self, label_source: str) -> "FeatureTable":
        """The same table with the labels of `load_labels`; a row without one there keeps its own.

        Raises:
            PlanError: As `load_labels`.
        """
        uris = self.columns().get("uri", ()) if label_source else ()
        loaded = load_labels(label_source, self.ids, [str(uri or "") for uri in uris])
        labels = [loaded.class_of(name, label) for name, label in zip(self.ids, self.labels, strict=True)]
        unlabelled_note = count_unlabelled(labels)
        return replace(
            self,
            labels=labels,
            columns=lambda: {**self.columns(), "label": labels},
            notes=(*self.notes, *loaded.notes, *([unlabelled_note] if unlabelled_note else [])),
        )

    def identity_values(self) -> list[str]:
        """What identifies the data and the rows that are left of it."""
        return [self.identity, digest.digest_array(self.numbers.astype(np.int64))]

    def find_positions(self, row_ids: Iterable[str]) -> list[int]:
        """The indices of ids in this table, rising.

        Raises:
            PlanError: If an id is missing, or is that of several rows.
        """
        positions_by_id: dict[str, list[int]] = defaultdict(list)
        for position, name in enumerate(self.ids):
            positions_by_id[name].append(position)
        positions: set[int] = set()
        for name in row_ids:
            if len(positions_by_id.get(name, [])) != 1:
                frequency = f"{len(positions_by_id[name])} times" if name in positions_by_id else "not"
                raise PlanError(f"{self.name}: the id {name!r} is {frequency} among its {len(self.ids)} rows.")
            positions.add(positions_by_id[name][0])
        return sorted(positions)


def _take_rows(rows: Rows, row_numbers: IndexArray) -> Rows:
    if isinstance(rows, ChunkedRows):  # a chunk is then still read only once
        return ChunkedRows(
            rows.shape[1],
            rows.dtype,
            rows.chunk_numbers[row_numbers],
            rows.rows_in_chunk[row_numbers],
            rows.read_chunk,
            decode_chunk=rows.decode_chunk,
            cache_bytes=rows.cache_bytes,
        )
    return SubsetRows(rows, row_numbers)
