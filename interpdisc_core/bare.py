"""A selection alone: from the features of an archive, or features that a user brings, to a folder of picks.

No image is touched. In the folder:

    result.json        what was asked, the picks, what it cost
    picks.csv          rank, row, id, label, score, near_ties
    vectors            Zarr (picks, 3, d) float64: x, x̂ and r = x − x̂ of each pick
    selection.json     from which the same command goes on; a larger number of picks extends it, a smaller one cuts it

Every few picks their vectors are written and then the state that speaks of them, each whole or not at all, so a
process may die at any time. The state holds while the settings and the data are the same; else it begins anew.
"""

import csv
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from threadpoolctl import threadpool_limits

from interpdisc_core import digest, tables
from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation import discovery
from interpdisc_core.features import representation_of, storing, zarr_options
from interpdisc_core.ingest import environment, ready_archive
from interpdisc_core.memory import Memory, Record
from interpdisc_core.progress import Stopwatch
from interpdisc_core.representations import Normalisation
from interpdisc_core.runs import STEP
from interpdisc_core.selectors import Choice, Demud
from interpdisc_core.selectors.choice import NULL
from interpdisc_core.selectors.crew import Crew
from interpdisc_core.selectors.demud import Selection
from interpdisc_core.selectors.rows import Floats, Rows, blocks, take
from interpdisc_core.selectors.screen import Means
from interpdisc_core.selectors.seen import Seen
from interpdisc_core.storage import Place
from interpdisc_core.tables import Table

log = logging.getLogger(__name__)

Ids = tuple[str, ...]
_AT_ONCE = 4096
"""Rows of a background whose model is their SVD in one; beyond that it is made block by block."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to select from what.

    source, features: see `tables.read`. where: an expression that leaves a part of the rows (`subset`). normalise: as
    in a plan. labels: a CSV file of classes by id, or `folder`. background: sources of rows that count as already
    known; background_where: leaves a part of these. known: ids that are learned before the first pick and never
    picked; interesting: ids that may be picked, but are not learned then. selector: where it starts at a row, that
    is the row's number in the source. picks: how many, n ≥ 1. threads: that look at rows, device: that multiplies them
    (`Means`); no pick depends on these.
    horizon: instead of a background, the stratum of a memory whose batches count as known; last, without: which, see
    `Memory.horizon`; memory: the archive that has it, by default the source.
    """

    source: str
    features: str = ""
    where: str = ""
    normalise: Normalisation = "none"
    labels: str = ""
    background: tuple[str, ...] = ()
    background_where: str = ""
    known: Ids = ()
    interesting: Ids = ()
    selector: Demud = field(default_factory=Demud)
    picks: int = 50
    threads: int = 1
    device: str = "cpu"
    horizon: str = ""
    last: int | None = None
    without: Ids = ()
    memory: str = ""

    def __post_init__(self) -> None:
        if self.picks < 1:
            raise PlanError(f"picks (-n) must be at least 1, not {self.picks}.")
        if self.threads < 1:
            raise PlanError(f"threads must be at least 1, not {self.threads}.")
        if both := sorted({*self.known} & {*self.interesting}):
            raise PlanError(f"{both[0]!r} cannot be both known and interesting: what is known is not picked.")
        if self.horizon and self.background:
            raise PlanError("give a --background or a --horizon, not both: what is known is one or the other.")
        if (self.last or self.without or self.memory) and not self.horizon:
            raise PlanError("--last, --without and --memory are of a --horizon, and there is none.")
        if self.background_where and not self.background:
            raise PlanError("--background-where leaves a part of a background, and there is no --background.")


@dataclass(slots=True)
class _State:
    """The picks so far. rows: their places in the table (from 0). exhausted: nothing was new after them."""

    rows: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    near_ties: list[int] = field(default_factory=list)
    exhausted: bool = False


def ids_of(given: str) -> Ids:
    """Ids of a command line: separated by commas, or `@FILE` with one a line. Raises PlanError for no such file."""
    if not given.startswith("@"):
        return tuple(name for name in (part.strip() for part in given.split(",")) if name)
    try:
        text = Path(given[1:]).read_bytes().decode("utf-8-sig", "backslashreplace")
    except OSError as error:
        raise PlanError(f"{given[1:]}: cannot be read: {error.strerror}.") from error
    return tuple(line for line in (line.strip() for line in text.splitlines()) if line)


def select(
    asked: Asked,
    out: str,
    *,
    tell: Callable[[int, int], None] = lambda _made, _wanted: None,
    alone: AbstractContextManager[object] | None = None,
    crew: Callable[[Callable[[], Rows]], Crew] | None = None,
) -> dict[str, Any]:
    """Make the picks, or go on making them, in the folder or s3:// prefix `out`; returns what `result.json` says.

    tell: is told picks made and picks wanted, now and then. alone: is held while anything is written. crew: makes who
    looks at the rows, elsewhere, from what opens them there.
    Raises PlanError for what cannot be meant, and StoreError where something cannot be read or written.
    """
    clock = Stopwatch()
    table, seen = _tables(asked)
    memory, horizon, counts = _memory(asked, table)
    known, interesting = table.find(asked.known), set(table.find(asked.interesting))
    selector = _placed(asked.selector, table)
    wanted = min(asked.picks, len(table.numbers) - len(known))
    if not wanted:
        raise PlanError(f"{asked.source}: all of its {len(known)} rows are known, so there is nothing to pick.")
    over = digest.of_json(
        {
            "settings": [digest.of_settings(selector), asked.normalise, _weights(selector)], "data": _identity(table),
            "background": [_identity(part) for part in seen], "horizon": horizon, "known": known, "interesting": sorted(interesting),
            "classes": list(table.labels) if selector.interest else [],
        }
    )  # fmt: skip
    clock.lap("read")
    means = Means(
        threads=asked.threads, device=asked.device, crew=crew(partial(rows_asked, asked)) if crew else None
    )  # fmt: skip

    def before() -> Seen:
        if memory is not None:
            return memory.horizon(list(horizon)) or Seen.none(table.rows.shape[1])
        return _seen(seen, table.rows.shape[1], selector)

    with alone or nullcontext():
        place = Place.of(out)
        state, resumed, counters = _picks(place, over, table, before, selector, known, interesting, wanted, tell, means)
        clock.lap("select")
        result = _result(asked, table, seen, counts, known, state, wanted, resumed, counters, clock.laps, place)
        place.write("picks.csv", _csv(result["picks"]))
        place.write_json("result.json", result)
    return result


# One thread: sums over several differ in the last bits, and so would the picks of one that goes on elsewhere.
@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]
def _picks(
    place: Place, over: str, table: Table, before: Callable[[], Seen], selector: Demud, known: list[int],
    interesting: set[int], wanted: int, tell: Callable[[int, int], None], means: Means,
) -> tuple["_State", int, dict[str, Any]]:  # fmt: skip
    """At least the picks that are wanted, unless it is exhausted; how many of them were there; what it cost."""
    dimension = table.rows.shape[1]
    there = _resumed(place, over, table, dimension)
    resumed = min(len(there.rows), wanted) if there else 0
    if there and (len(there.rows) >= wanted or there.exhausted):
        return there, resumed, asdict(table.rows.reads)
    selection = _open(selector, table, before(), means)
    for row in known:
        selection.absorb(row)
    if there is None:
        selection.peek()  # what cannot be selected from is told before anything of another selection goes
    state = there or _begun(place, wanted, dimension)
    vectors = _Vectors(place, wanted)
    fresh: list[Floats] = []
    pending = list(state.rows)
    while len(state.rows) < wanted:
        for row in pending:
            (selection.skip if row in interesting else selection.learn)(row)
        choice = selection.peek()
        if choice is None:
            state.exhausted = True
            break
        pending = [int(choice.row)]
        state.rows += pending
        state.scores.append(float(choice.score))
        state.near_ties.append(int(choice.near_ties))
        fresh.append(_vectors_of(choice, table))
        if len(state.rows) % STEP == 0 or len(state.rows) == wanted:
            _keep(place, over, table, state, vectors, fresh)
            tell(len(state.rows), wanted)
    if state.exhausted:
        _keep(place, over, table, state, vectors, fresh)
    vectors.cut(len(state.rows))
    return state, resumed, {**asdict(table.rows.reads), **_plain(selection.counters())}


def _tables(asked: Asked) -> tuple[Table, list[Table]]:
    """The rows to pick from, and those that count as known. Raises PlanError where they cannot be compared."""

    def prepared(table: Table, where: str) -> Table:
        table = table.where(where) if where else table
        return table.normalised() if asked.normalise == "l2" else table

    archives = [source for source in (asked.source, *asked.background) if Place.of(source).exists("archive.json")]

    def opened(source: str, features: str) -> Table:
        return tables.read(source, features if source in archives or not archives else "")

    # Labels come first, so that an expression can name them.
    whole = opened(asked.source, asked.features)
    table = prepared(whole.labelled(asked.labels) if asked.labels else whole, asked.where)
    seen = []
    for source in asked.background:
        # Of an archive the same representation.
        part = whole if source == asked.source else opened(source, table.features or asked.features)
        part = prepared(part, asked.background_where)
        if part.rows.shape[1] != table.rows.shape[1]:
            raise PlanError(
                f"{source}: its rows have {part.rows.shape[1]} features, those of {asked.source} {table.rows.shape[1]}."
            )
        seen.append(part)
    return table, seen


def rows_asked(asked: Asked) -> Rows:
    """The rows to pick from, opened anew: what a crew elsewhere does."""
    return _tables(replace(asked, background=(), background_where=""))[0].rows


def _memory(asked: Asked, table: Table) -> tuple[Memory | None, dict[str, str], dict[str, int]]:
    """The memory of the horizon that is asked for, and its batches: what names each one's content, and its rows.

    Raises PlanError where a batch was made of other features than the rows.
    """
    if not asked.horizon:
        return None, {}, {}
    archive = Place.of(asked.memory or asked.source)
    if not archive.exists("archive.json"):
        raise PlanError(f"{asked.memory or asked.source}: a --horizon is of an archive's memory; name one by --memory.")
    memory = Memory(archive, asked.horizon)
    batches = memory.chosen(last=asked.last, without=asked.without)
    if not batches:
        raise PlanError(f"{archive.url}: no batch is left in the memory of {asked.horizon!r}; `remember` adds them.")
    counts = {}
    for name in batches:
        record = memory.read(name)
        counts[name], made = record.count, record.made_from
        # float16 rows of a backfill may be what rows in float32 are held against: they are the same features, rounded.
        of = representation_of(made.get("features", ""))
        if (of, made.get("normalise")) != (representation_of(table.features), asked.normalise):
            raise PlanError(
                f"{archive.url}: batch {name!r} of {asked.horizon!r} is of features {made.get('features') or 'of no archive'}, "
                f"normalised {made.get('normalise')}; the rows are {table.features or 'of no archive'}, {asked.normalise}."
            )
    return memory, batches, counts


def remember(asked: Asked, archive: str, stratum: str, batch: str) -> Record:
    """Put the rows of `asked` (source, where, features, normalise) into an archive's memory, as one batch.

    The same again is no change. Raises StoreError where the batch is there with other rows.
    """
    table, _ = _tables(asked)
    made_from = {"features": table.features, "normalise": asked.normalise, "identity": _identity(table)}
    record = Record.of(batch, (values for _, values in blocks(table.rows)), made_from)
    Memory(ready_archive(archive), stratum).add(record)
    return record


def _identity(table: Table) -> list[str]:
    return [table.identity, digest.of_array(table.numbers.astype(np.int64))]


def _weights(selector: Demud) -> str:
    """What names the content of a file of weights."""
    return digest.of_file(selector.weights) if Path(selector.weights).is_file() else ""


def _placed(selector: Demud, table: Table) -> Demud:
    """The selector whose start row, a number in the source, is a place in the table."""
    if not isinstance(selector.start, int):
        return selector
    place = int(np.searchsorted(table.numbers, selector.start))
    if place == len(table.numbers) or table.numbers[place] != selector.start:
        raise PlanError(
            f"{table.name}: the start row {selector.start} is not among the {len(table.numbers)} rows to pick from."
        )
    return replace(selector, start=place)


def _open(selector: Demud, table: Table, seen: Seen, means: Means) -> Selection:
    """The selection over a table's rows, which are read as they are needed."""
    labels = table.labels if selector.interest and any(table.labels) else None
    return selector.open(table.rows, seen, labels, means)


def _seen(parts: Sequence[Table], dimension: int, selector: Demud) -> Seen:
    """The model of the background's rows, read block by block.

    A missing value is 0 with `missing` zero, and the mean of the rows that have it with `ignore`. Raises PlanError
    for one with `refuse`, and for an infinite one.
    """
    count = sum(len(part.numbers) for part in parts)
    total, there = np.zeros(dimension), np.zeros(dimension)
    for part in parts:
        for at, values in blocks(part.rows):
            bad = np.isinf(values) if selector.missing != "refuse" else ~np.isfinite(values)
            if bad.any():
                row = at.start + int(np.argwhere(bad)[0, 0])
                raise PlanError(
                    f"{part.name}: its row {part.numbers[row]} ({part.ids[row]!r}) has a value that is not finite."
                )
            total += np.nansum(values, axis=0, dtype=np.float64)
            there += (~np.isnan(values)).sum(axis=0)
    filling = total / np.maximum(there, 1) if selector.missing == "ignore" else np.zeros(dimension)

    def filled() -> Iterator[Floats]:
        for part in parts:
            for _, values in blocks(part.rows):
                yield np.where(np.isnan(values), filling, values).astype(np.float64)

    if count <= _AT_ONCE:
        return Seen.of(np.vstack([np.empty((0, dimension)), *filled()]))
    mean = (total + (count - there) * filling) / count
    # The triangle of a QR decomposition has the singular values and axes of all rows, however many there are.
    triangle = np.empty((0, dimension))
    for values in filled():
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, values - mean]), mode="r"))
    _, lengths, axes = np.linalg.svd(triangle, full_matrices=False)
    kept = int((lengths > NULL * lengths[0]).sum())
    return Seen(count, mean, lengths[:kept], axes[:kept])


def _plain(value: Any) -> Any:
    """Counters as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _vectors_of(choice: Choice, table: Table) -> Floats:
    """x, x̂ and r of a pick (3, d); x̂ and r are NaN where the selector expects nothing."""
    x = take(table.rows, np.array([choice.row]))[0]
    nothing = np.full_like(x, np.nan)
    expected = nothing if choice.expected is None else choice.expected
    return np.array([x, expected, nothing if choice.residual is None else choice.residual])


class _Vectors:
    """The array of vectors, as long as it has to be. Zarr writes a chunk whole or not at all, as `Place` does a file."""

    def __init__(self, place: Place, wanted: int) -> None:
        self.place, self.array = place, _vectors(place)
        if self.array.shape[0] < wanted:
            with storing(place.url):
                self.array.resize((wanted, *self.array.shape[1:]))

    def write(self, first: int, vectors: list[Floats]) -> None:
        """Put vectors (3, d) of picks from index `first`."""
        with storing(self.place.url):
            self.array[first : first + len(vectors)] = np.array(vectors)

    def cut(self, picks: int) -> None:
        """Leave room for no more than `picks`: more was made where it is exhausted, or more were wanted once."""
        with storing(self.place.url):
            self.array.resize((picks, *self.array.shape[1:]))


def _vectors(place: Place) -> "zarr.Array[Any]":
    return zarr.open_array(store=f"{place.url}/vectors", mode="r+", storage_options=zarr_options(place))


def _begun(place: Place, wanted: int, dimension: int) -> _State:
    """No pick yet, and room for vectors. What is there of another selection goes.

    Raises PlanError where the folder holds something else than a selection.
    """
    ours = place.exists("selection.json")
    others = ("archive.json", "plan.json", *(() if ours else ("result.json", "picks.csv", "vectors/zarr.json")))
    if there := [name for name in others if place.exists(name)]:
        raise PlanError(f"{place.url}: holds {there[0]} of something else; name another folder with --out.")
    if ours and place.exists("result.json"):
        log.warning("%s held another selection, which is replaced", place.url)
    # First the claim: whoever dies from here on leaves a folder that is ours, and a state that is nobody's.
    place.write_json("selection.json", {"over": ""})
    for name in ("result.json", "picks.csv", "vectors"):
        place.remove(name)
    with storing(place.url):
        zarr.create_array(
            store=f"{place.url}/vectors", shape=(wanted, 3, dimension), chunks=(STEP, 3, dimension), dtype="float64",
            fill_value=float("nan"), overwrite=True, storage_options=zarr_options(place),
        )  # fmt: skip
    return _State()


def _resumed(place: Place, over: str, table: Table, dimension: int) -> _State | None:
    """The picks that are there, if they are of these settings and data, vectors and all."""
    try:
        told = place.read_json("selection.json")
        if told["over"] != over or (shape := _vectors(place).shape)[0] < len(told["rows"]) or shape[2] != dimension:
            return None
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError):
        return None
    rows = np.searchsorted(table.numbers, told["rows"]).tolist()
    log.info("selection goes on after pick %d", len(rows))
    return _State(rows, told["scores"], told["near_ties"], told["exhausted"])


def _keep(place: Place, over: str, table: Table, state: _State, vectors: _Vectors, fresh: list[Floats]) -> None:
    """Write a checkpoint: first the vectors of the fresh picks, then the state that speaks of them."""
    if fresh:
        vectors.write(len(state.rows) - len(fresh), fresh)
    rows = table.numbers[state.rows].tolist() if state.rows else []
    place.write_json(
        "selection.json",
        {
            "over": over, "data is told by": table.identified_by, "rows": rows, "scores": state.scores,
            "near_ties": state.near_ties, "exhausted": state.exhausted,
        },
    )  # fmt: skip
    fresh.clear()


def _result(
    asked: Asked,
    table: Table,
    seen: Sequence[Table],
    horizon: dict[str, int],
    known: list[int],
    state: _State,
    wanted: int,
    resumed: int,
    counters: dict[str, Any],
    timings: dict[str, float],
    place: Place,
) -> dict[str, Any]:
    rows = state.rows[:wanted]
    free = np.delete(np.arange(len(table.numbers)), known).tolist()
    at = {row: number for number, row in enumerate(free)}
    labels = [table.labels[row] for row in free]
    found = discovery(labels, [at[row] for row in rows], asked.picks) if any(labels) else None
    return {
        "source": asked.source,
        "n": len(table.numbers),
        "d": table.rows.shape[1],
        "settings": {
            "selector": asdict(asked.selector),
            "normalise": asked.normalise,
            "picks": asked.picks,
            "features": table.features,
            "where": asked.where,
            "labels": asked.labels,
            "known": len(asked.known),
            "interesting": len(asked.interesting),
        },
        "background": {
            "sources": list(asked.background),
            "where": asked.background_where,
            "count": sum(len(part.numbers) for part in seen),
        },
        "horizon": {"stratum": asked.horizon, "batches": list(horizon), "count": sum(horizon.values())}
        if horizon
        else None,
        "identity": {"digest": table.identity, "by": table.identified_by},
        "left_out": [part.left_out for part in (table, *seen) if part.left_out],
        "picks": [
            {
                "rank": rank, "row": int(table.numbers[row]), "id": table.ids[row], "label": table.labels[row],
                "score": score, "near_ties": ties,
            }
            for rank, (row, score, ties) in enumerate(zip(rows, state.scores, state.near_ties, strict=False), start=1)
        ],
        "near_ties": sum(state.near_ties[:wanted]),
        "exhausted": state.exhausted and len(state.rows) < asked.picks,
        "resumed_at": resumed,
        "counters": counters,
        **(found.summary() if found else {"nauc": None, "classes": None}),
        "vectors": {"address": f"{place.url}/vectors", "order": ["x", "expected", "residual"]},
        "out": place.url,
        "timings": timings,
        "environment": environment(),
    }  # fmt: skip


def _csv(picks: list[dict[str, Any]]) -> bytes:
    """UTF-8 with every text quoted, as the picks of a run are."""
    sink = io.StringIO(newline="")
    names = ["rank", "row", "id", "label", "score", "near_ties"]
    writer = csv.DictWriter(sink, fieldnames=names, quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(picks)
    return sink.getvalue().encode("utf-8", "backslashreplace")
