"""Selection alone: from the features of an archive, or from features that a user brings, to a folder of picks.

No image is read. The folder holds:

    result.json        settings, picks and cost
    picks.csv          rank, row, id, label, score, near_ties
    vectors            Zarr (picks, 4, d) float64: x, x̂, the residual x − x̂ and the direction of weights of each pick
    selection.json     the checkpoint: the same command resumes from it; a larger number of picks extends the
                       selection, a smaller one shortens it

The checkpoint counts only while settings and data are the same; otherwise the selection starts again.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from interpdisc_core import digest
from interpdisc_core.archive import pick_vectors
from interpdisc_core.archive.layout import open_or_create_archive
from interpdisc_core.archive.memory import Memory
from interpdisc_core.archive.memory_record import MemoryRecord
from interpdisc_core.archive.pick_vectors import STATE_FILE
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import PlanError
from interpdisc_core.metrics.discovery import discovery_to_json, evaluate_discovery
from interpdisc_core.pipeline import feature_readers
from interpdisc_core.pipeline.feature_table import FeatureTable
from interpdisc_core.pipeline.select_options import SelectOptions
from interpdisc_core.pipeline.selection_background import fit_background, open_horizon
from interpdisc_core.pipeline.selection_loop import SelectionCheckpoint, SelectionState, extend_picks
from interpdisc_core.progress import Stopwatch
from interpdisc_core.provenance import collect_environment
from interpdisc_core.selectors import Demud
from interpdisc_core.selectors.compute import ComputeOptions
from interpdisc_core.selectors.demud import DemudSelection
from interpdisc_core.selectors.exact.shard_pool import ShardPool
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import Rows, iter_blocks
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import rows_to_csv

log = logging.getLogger(__name__)
_PICK_COLUMNS = ("rank", "row", "id", "label", "score", "near_ties")


def select_rows(
    options: SelectOptions,
    out: str,
    *,
    on_progress: Callable[[int, int], None] = lambda _made, _wanted: None,
    write_lock: AbstractContextManager[object] | None = None,
    make_shard_pool: Callable[[Callable[[], Rows]], ShardPool] | None = None,
) -> dict[str, Any]:
    """Make the picks in the folder or s3:// prefix `out`, or resume making them.

    Args:
        options: What to select from what.
        out: The folder; created if missing.
        on_progress: Called with the number of picks made and the number wanted.
        write_lock: Held while anything is written.
        make_shard_pool: Makes the workers that score the rows elsewhere, from a function that opens the rows there.

    Returns:
        The content of `result.json`.

    Raises:
        PlanError: If the options do not fit the data.
        StoreError: If something cannot be read or written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "features.npy", np.eye(5))
        >>> result = select_rows(SelectOptions(source=str(folder / "features.npy"), picks=2), str(folder / "out"))
        >>> len(result["picks"]), result["n"], result["d"]
        (2, 5, 5)
    """
    clock = Stopwatch()
    table, background = _load_tables(options)
    memory, horizon, horizon_counts = open_horizon(options, table)
    known, interesting = table.find_positions(options.known), set(table.find_positions(options.interesting))
    selector = _resolve_start_row(options.selector, table)
    target_count = min(options.picks, len(table.numbers) - len(known))
    if not target_count:
        raise PlanError(f"{options.source}: all of its {len(known)} rows are known, so there is nothing to pick.")
    inputs_digest = digest.digest_json(
        {
            "settings": [digest.digest_settings(selector), options.normalise, _digest_weights(selector)],
            "data": table.identity_values(),
            "background": [part.identity_values() for part in background],
            "horizon": horizon,
            "known": known,
            "interesting": sorted(interesting),
            "classes": list(table.labels) if selector.interest else [],
        }
    )
    clock.lap("read")

    def load_prior() -> Prior:
        if memory is not None:
            return memory.load_horizon(list(horizon)) or Prior.empty(table.rows.shape[1])
        return fit_background(background, table.rows.shape[1], selector.missing)

    def open_selection() -> DemudSelection:
        compute_options = ComputeOptions(
            threads=options.threads,
            device=options.device,
            shard_pool=make_shard_pool(partial(open_rows, options)) if make_shard_pool else None,
        )
        labels = table.labels if selector.interest and any(table.labels) else None
        selection = selector.open(table.rows, load_prior(), labels, compute_options)
        for row in known:
            selection.absorb(row)
        return selection

    with write_lock or nullcontext():
        location = Location.parse(out)
        checkpoint = SelectionCheckpoint(
            location, inputs_digest, table.numbers, {"data is told by": table.identity_source}
        )
        state, resumed_at, counters = _make_picks(
            checkpoint, table.rows, open_selection, interesting, target_count, on_progress
        )
        clock.lap("select")
        result = {
            **_describe_inputs(options, table, background, horizon_counts),
            **_describe_picks(options, table, known, state, target_count),
            "resumed_at": resumed_at,
            "counters": counters,
            "vectors": {
                "address": f"{location.url}/vectors",
                "order": ["x", "expected", "residual", "weight_direction"],
            },
            "out": location.url,
            "timings": clock.laps,
            "environment": collect_environment(),
        }
        location.write("picks.csv", rows_to_csv(result["picks"], _PICK_COLUMNS))
        location.write_json("result.json", result)
    return result


@single_blas_thread
def _make_picks(
    checkpoint: SelectionCheckpoint,
    rows: Rows,
    open_selection: Callable[[], DemudSelection],
    interesting: set[int],
    target_count: int,
    on_progress: Callable[[int, int], None],
) -> tuple[SelectionState, int, dict[str, Any]]:
    """The picks, at least `target_count` unless exhausted; how many of these existed before; and the cost."""
    dimension = rows.shape[1]
    state = checkpoint.read(dimension)
    resumed_at = min(len(state.rows), target_count) if state else 0
    if state and (len(state.rows) >= target_count or state.exhausted):
        return state, resumed_at, asdict(rows.read_stats)
    selection = open_selection()
    if state is None:
        selection.peek()  # raises for data that cannot be selected from, before an earlier selection is removed
        _replace_folder(checkpoint.location, target_count, dimension)
        state = SelectionState()
    elif pick_vectors.open_vectors(checkpoint.location).shape[0] < target_count:
        pick_vectors.resize_vectors(checkpoint.location, target_count)
    extend_picks(
        checkpoint,
        state,
        target_count,
        rows,
        peek=selection.peek,
        learn=lambda row: (selection.skip if row in interesting else selection.learn)(row),
        compute_weight_direction=selection.compute_weight_direction,
        third_vector="residual",
        on_progress=lambda count: on_progress(count, target_count),
    )
    pick_vectors.resize_vectors(checkpoint.location, len(state.rows))
    return state, resumed_at, {**asdict(rows.read_stats), **_to_json_value(selection.counters())}


def _replace_folder(location: Location, target_count: int, dimension: int) -> None:
    """Remove an earlier selection from the folder, and make room for vectors.

    Raises:
        PlanError: If the folder holds anything but a selection.
    """
    is_selection_folder = location.exists(STATE_FILE)
    foreign_files = (
        "archive.json",
        "plan.json",
        *(() if is_selection_folder else ("result.json", "picks.csv", "vectors/zarr.json")),
    )
    if present_files := [name for name in foreign_files if location.exists(name)]:
        raise PlanError(f"{location.url}: holds {present_files[0]} of something else; name another folder with --out.")
    if is_selection_folder and location.exists("result.json"):
        log.warning("%s held another selection, which is replaced", location.url)
    # Written first: if the process is killed from here on, the folder is known to be a selection, without a state.
    location.write_checked_json(STATE_FILE, {"over": ""})
    for name in ("result.json", "picks.csv", "vectors"):
        location.remove(name)
    pick_vectors.create_vectors(location, target_count, dimension)


def _load_tables(options: SelectOptions) -> tuple[FeatureTable, list[FeatureTable]]:
    """The rows to pick from, and those that count as known.

    Raises:
        PlanError: If they have different numbers of features.
    """

    def filter_and_normalize(table: FeatureTable, expression: str) -> FeatureTable:
        table = table.filter_rows(expression) if expression else table
        return table.normalize() if options.normalise == "l2" else table

    archives = [
        source for source in (options.source, *options.background) if Location.parse(source).exists("archive.json")
    ]

    def read_table(source: str, features: str) -> FeatureTable:
        return feature_readers.read_feature_table(source, features if source in archives or not archives else "")

    # Labels come first, so that an expression can name them.
    all_rows = read_table(options.source, options.features)
    table = filter_and_normalize(all_rows.with_labels(options.labels) if options.labels else all_rows, options.where)
    background = []
    for source in options.background:
        # An archive as background must have the representation of the source.
        background_table = (
            all_rows if source == options.source else read_table(source, table.features or options.features)
        )
        background_table = filter_and_normalize(background_table, options.background_where)
        if background_table.rows.shape[1] != table.rows.shape[1]:
            raise PlanError(
                f"{source}: its rows have {background_table.rows.shape[1]} features, those of {options.source} {table.rows.shape[1]}."
            )
        table.feature_columns.check_background(options.source, background_table.feature_columns, source)
        background.append(background_table)
    return table, background


def open_rows(options: SelectOptions) -> Rows:
    """The rows to pick from, opened again: called by workers elsewhere."""
    return _load_tables(replace(options, background=(), background_where=""))[0].rows


def remember_rows(options: SelectOptions, archive: str, stratum: str, batch: str) -> MemoryRecord:
    """Add the rows of `options` (source, where, features, normalise) to an archive's memory, as one batch.

    Adding the same rows again changes nothing.

    Args:
        options: The rows.
        archive: Address of the archive whose memory it is; created if missing.
        stratum: The part of the memory, such as an instrument.
        batch: The batch's name, such as a sol.

    Raises:
        StoreError: If the batch exists with other rows.
    """
    table, _ = _load_tables(options)
    made_from = {"features": table.features, "normalise": options.normalise, "identity": table.identity_values()}
    record = MemoryRecord.from_rows(batch, (values for _, values in iter_blocks(table.rows)), made_from)
    Memory(open_or_create_archive(archive), stratum).add(record)
    return record


def _digest_weights(selector: Demud) -> str:
    """Digest of the file of weights; empty if the weights are not a file."""
    return digest.digest_file(selector.weights) if Path(selector.weights).is_file() else ""


def _resolve_start_row(selector: Demud, table: FeatureTable) -> Demud:
    """The selector with its start row, given by its number in the source, as an index into the table."""
    if not isinstance(selector.start, int):
        return selector
    position = int(np.searchsorted(table.numbers, selector.start))
    if position == len(table.numbers) or table.numbers[position] != selector.start:
        raise PlanError(
            f"{table.name}: the start row {selector.start} is not among the {len(table.numbers)} rows to pick from."
        )
    return replace(selector, start=position)


def _to_json_value(value: Any) -> Any:
    """Counters with the types of JSON."""
    if isinstance(value, dict):
        return {str(key): _to_json_value(part) for key, part in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _describe_inputs(
    options: SelectOptions,
    table: FeatureTable,
    background: Sequence[FeatureTable],
    horizon_counts: dict[str, int],
) -> dict[str, Any]:
    """The part of `result.json` that says what was selected from what."""
    horizon = {"stratum": options.horizon, "batches": list(horizon_counts), "count": sum(horizon_counts.values())}
    return {
        "source": options.source,
        "n": len(table.numbers),
        "d": table.rows.shape[1],
        "columns": {"taken": list(table.feature_columns.taken), "left_out": dict(table.feature_columns.left_out)},
        "settings": {
            "selector": asdict(options.selector),
            "normalise": options.normalise,
            "picks": options.picks,
            "features": table.features,
            "where": options.where,
            "labels": options.labels,
            "known": len(options.known),
            "interesting": len(options.interesting),
        },
        "background": {
            "sources": list(options.background),
            "where": options.background_where,
            "count": sum(len(part.numbers) for part in background),
        },
        "horizon": horizon if horizon_counts else None,
        "identity": {"digest": table.identity, "by": table.identity_source},
        "left_out": [note for part in (table, *background) for note in part.notes],
    }


def _describe_picks(
    options: SelectOptions, table: FeatureTable, known: list[int], state: SelectionState, target_count: int
) -> dict[str, Any]:
    """The part of `result.json` about the picks, and how soon they found the classes."""
    rows = state.rows[:target_count]
    candidate_rows = np.delete(np.arange(len(table.numbers)), known).tolist()
    index_of_row = {row: index for index, row in enumerate(candidate_rows)}
    labels, picks = [table.labels[row] for row in candidate_rows], [index_of_row[row] for row in rows]
    discovery = evaluate_discovery(labels, picks, options.picks) if any(labels) else None
    return {
        "picks": [
            {
                "rank": rank,
                "row": int(table.numbers[row]),
                "id": table.ids[row],
                "label": table.labels[row],
                "score": score,
                "near_ties": ties,
            }
            for rank, (row, score, ties) in enumerate(zip(rows, state.scores, state.near_ties, strict=False), start=1)
        ],
        "near_ties": sum(state.near_ties[:target_count]),
        "exhausted": state.exhausted and len(state.rows) < options.picks,
        **discovery_to_json(discovery),
    }
