"""What counts as already known in a selection of features: a background's rows, or batches of an archive's memory."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.archive.feature_store import parse_store_name
from interpdisc_core.archive.memory import Memory
from interpdisc_core.errors import PlanError
from interpdisc_core.pipeline.feature_table import FeatureTable
from interpdisc_core.pipeline.select_options import SelectOptions
from interpdisc_core.selectors.decision import RANK_RTOL
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import find_value_fault, iter_blocks
from interpdisc_core.storage.location import Location

MAX_SVD_ROWS = 4096
"""Rows of a background up to which its model is a single SVD; that of a larger one is built block by block."""


def open_horizon(options: SelectOptions, table: FeatureTable) -> tuple[Memory | None, dict[str, str], dict[str, int]]:
    """The memory of the horizon in `options`, the digest of each of its batches, and the rows of each.

    Raises:
        PlanError: If there is no such memory, or a batch is of other features than the rows of `table`.
    """
    if not options.horizon:
        return None, {}, {}
    archive = Location.parse(options.memory or options.source)
    if not archive.exists("archive.json"):
        raise PlanError(
            f"{options.memory or options.source}: not an archive, so it has no stratum of a memory; name the archive with --memory."
        )
    memory = Memory(archive, options.horizon)
    batches = memory.list_horizon_batches(last=options.last, exclude=options.without)
    if not batches:
        raise PlanError(
            f"{archive.url}: the memory of {options.horizon!r} has no batch; `interpdisc remember` adds them."
        )
    counts = {}
    for name in batches:
        record = memory.read(name)
        counts[name], made_from = record.count, record.made_from
        # float16 rows of a backfill are the same features, rounded: float32 rows may be compared with them.
        representation = parse_store_name(made_from.get("features", ""))
        if (representation, made_from.get("normalise")) != (parse_store_name(table.features), options.normalise):
            raise PlanError(
                f"{archive.url}: batch {name!r} of {options.horizon!r} is of features {made_from.get('features') or 'of no archive'}, "
                f"normalised {made_from.get('normalise')}; the rows are {table.features or 'of no archive'}, {options.normalise}."
            )
    return memory, batches, counts


def fit_background(
    parts: Sequence[FeatureTable],
    dimension: int,
    missing: Literal["refuse", "zero", "ignore"],
    max_svd_rows: int = MAX_SVD_ROWS,
) -> Prior:
    """The model of the background's rows, which are read block by block.

    Args:
        parts: The background.
        dimension: d, the number of features.
        missing: What a missing value (NaN) is: `zero`, or with `ignore` the mean of the rows that have the value.
        max_svd_rows: Rows up to which the model is a single SVD.

    Raises:
        PlanError: If a value is infinite or out of range, or missing with `refuse`; names row and feature.
    """
    count = sum(len(part.numbers) for part in parts)
    total, valid_counts = np.zeros(dimension), np.zeros(dimension)
    for part in parts:
        for span, values in iter_blocks(part.rows):
            if fault := find_value_fault(values, may_be_missing=missing != "refuse"):
                row = span.start + fault.row
                raise PlanError(f"{part.name}: its row {part.numbers[row]} ({part.ids[row]!r}) {fault.text}.")
            total += np.nansum(values, axis=0, dtype=np.float64)
            valid_counts += (~np.isnan(values)).sum(axis=0)
    fill_values = total / np.maximum(valid_counts, 1) if missing == "ignore" else np.zeros(dimension)

    def iter_filled_rows() -> Iterator[FloatArray]:
        for part in parts:
            for _, values in iter_blocks(part.rows):
                yield np.where(np.isnan(values), fill_values, values).astype(np.float64)

    if count <= max_svd_rows:
        return Prior.from_items(np.vstack([np.empty((0, dimension)), *iter_filled_rows()]))
    mean = (total + (count - valid_counts) * fill_values) / count
    # The triangular factor of a QR decomposition has the singular values and axes of all rows.
    triangle = np.empty((0, dimension))
    for values in iter_filled_rows():
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, values - mean]), mode="r"))
    _, lengths, axes = np.linalg.svd(triangle, full_matrices=False)
    rank = int((lengths > RANK_RTOL * lengths[0]).sum())
    return Prior(count, mean, lengths[:rank], axes[:rank])
