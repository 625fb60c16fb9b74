"""The selection step of a run: its members' features to picks, with a state from which it goes on."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from interpdisc_core import digest
from interpdisc_core.errors import StoreError
from interpdisc_core.features import FeatureStore, gather, rows_of
from interpdisc_core.progress import Watch
from interpdisc_core.runs import STEP, Member, Near, Pick, Run
from interpdisc_core.selectors import Means, Seen
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.selectors.rows import Rows, UnitRows, lengths_of, take
from interpdisc_core.storage import Place
from interpdisc_core.terms import Terms

log = logging.getLogger(__name__)

_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Selected:
    """What a selection came to. exhausted: it stopped early, since nothing was new any more."""

    run: str
    picks: int
    near_ties: int
    exhausted: bool
    resumed_at: int


@dataclass(frozen=True, slots=True)
class Table:
    """A run's members that have features. rows (n, d): read when they are needed, normalised. raw: as extracted."""

    members: list[Member]
    rows: Rows
    raw: Rows


def features_of(run: Run) -> tuple[Table, Table]:
    """The candidates and the background of a run, normalised as its plan says.

    Raises StoreError where a block that is needed is not complete.
    """
    store, tables = FeatureStore(run.archive, run.plan.features), []
    members = run.members()
    for role in ("candidate", "background"):
        some = [member for member in members if member.role == role]
        raw, there = rows_of(store, [(member.batch, member.row) for member in some])
        kept = [member for member, is_there in zip(some, there, strict=True) if is_there]
        tables.append(Table(kept, UnitRows(raw) if run.plan.normalise == "l2" else raw, raw))
    return tables[0], tables[1]


# One thread: sums over several differ in the last bits, and so would the scores of a run that goes on elsewhere. It costs
# little, since the products are bound by memory; on busy cores a BLAS of several threads takes several times longer.
@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]
def select(url: str, run_id: str, watch: Watch, threads: int = 1) -> Selected:
    """Make the run's picks. Interrupted, it goes on after its last checkpoint and makes the same picks.

    threads: that look at rows, no more than there are cores; no pick depends on it.

    Raises StoreError where features are missing or not one candidate could be read.
    """
    run = Run(Place.of(url), run_id)
    plan = run.plan
    candidates, known = features_of(run)
    if not candidates.members:
        raise StoreError(f"not one of the images of run {run_id} could be read; its ledger says why for each.")
    # An image that could not be got at last time may be there now: then the picks are to be made again.
    terms = run.terms
    told_terms = [terms.told()] if terms != Terms() else []
    over = digest.of_json([[member.sha256 for member in table.members] for table in (candidates, known)] + told_terms)
    # Picks also tell what is known of the images: labels, addresses and records may be others since.
    of = digest.of_json([[asdict(member) for member in table.members] for table in (candidates, known)] + told_terms)
    if run.place.exists("picks.json") and (told := run.place.read_json("picks.json")).get("of") == of:
        ties = [pick["near_ties"] for pick in told["picks"]]
        return Selected(run_id, len(ties), sum(ties), told["exhausted"], len(ties))
    known_values = take(known.rows, np.arange(len(known.members)))
    wanted = min(plan.picks, len(candidates.members))
    meter = watch.meter("select", "picks")

    rows, scores, ties = _checkpoint(run, over)
    if not rows:
        run.create_vectors(wanted, candidates.rows.shape[1])
    labels = [member.label for member in candidates.members]
    means = Means(threads=max(1, min(threads, os.cpu_count() or 1)))
    prior: Floats | Seen = known_values.reshape(-1, candidates.rows.shape[1])
    if (remembered := _remembered(run, terms)) is not None:
        prior = remembered
    opened = plan.selector.open(candidates.rows, prior, labels if any(labels) else None, means)
    selection = terms.limited(opened, [member.key for member in candidates.members])
    for row in rows:
        selection.learn(row)
    resumed, fresh, exhausted = len(rows), [], False
    while len(rows) < wanted:
        choice = selection.peek()
        if choice is None:
            exhausted = True
            break
        selection.learn(choice.row)
        x = take(candidates.rows, np.array([choice.row]))[0]
        nothing = np.full_like(x, np.nan)
        fresh.append((x, choice.expected if choice.expected is not None else nothing,
                      choice.mean if choice.mean is not None else nothing))  # fmt: skip
        rows, scores, ties = [*rows, choice.row], [*scores, choice.score], [*ties, choice.near_ties]
        meter.at(len(rows))
        if len(rows) % STEP == 0 or len(rows) == wanted:
            fresh = _keep(run, over, rows, scores, ties, fresh)
    _keep(run, over, rows, scores, ties, fresh)
    picked = take(candidates.rows, np.array(rows, dtype=np.intp))
    nearest = _nearest(candidates, known, rows, picked, known_values)
    lengths = np.ones(len(rows))
    if plan.normalise == "l2":
        lengths = lengths_of(candidates.raw.get(np.array(rows, dtype=np.intp)))
    picks = [
        Pick(
            rank, member.id, member.key, member.uri, member.sha256, score, near_ties, member.label, member.record,
            float(length), near,
        )
        for rank, (member, score, near_ties, length, near) in enumerate(
            zip((candidates.members[row] for row in rows), scores, ties, lengths, nearest, strict=True), start=1
        )
    ]  # fmt: skip
    # What it cost since it last went on; counters of an interrupted part are gone with it.
    run.place.write_json("selection-cost.json", {"resumed_at": resumed, **selection.counters()})
    run.place.write_json("picks.json", {"of": of, "exhausted": exhausted, "picks": [asdict(pick) for pick in picks]})
    meter.close()
    return Selected(run_id, len(picks), sum(ties), exhausted, resumed)


def _remembered(run: Run, terms: Terms) -> Seen | None:
    """What the run's terms count as seen, normalised as its plan says."""
    absorbed = gather(FeatureStore(run.archive, run.plan.features), list(terms.absorbed)).astype(np.float64)
    if run.plan.normalise == "l2" and len(absorbed):
        absorbed = absorbed / np.linalg.norm(absorbed, axis=1, keepdims=True)
    return terms.prior(run.archive, absorbed)


def _checkpoint(run: Run, over: str) -> tuple[list[int], list[float], list[int]]:
    """Rows, scores and near-ties of the picks so far; none where there is no state, or one over other images."""
    if not run.place.exists("selection.json") or (state := run.place.read_json("selection.json"))["over"] != over:
        return [], [], []
    log.info("selection goes on after pick %d", len(state["rows"]))
    return state["rows"], state["scores"], state["near_ties"]


def _keep(
    run: Run,
    over: str,
    rows: list[int],
    scores: list[float],
    ties: list[int],
    fresh: list[tuple[Floats, Floats, Floats]],
) -> list[tuple[Floats, Floats, Floats]]:
    """Write a checkpoint: first the vectors of the fresh picks, then the state that speaks of them."""
    if fresh:
        run.write_vectors(len(rows) - len(fresh), np.array(fresh))
        run.place.write_json("selection.json", {"over": over, "rows": rows, "scores": scores, "near_ties": ties})
    return []


def _nearest(
    candidates: Table, known: Table, rows: Sequence[int], picked: Floats, background: Floats
) -> list[tuple[Near, ...]]:
    """For each pick (n, d) the nearest images that were seen before it: background (n0, d) and earlier picks."""
    if not rows:
        return []
    seen = [Near(m.id, m.uri, m.sha256, "background", 0.0) for m in known.members]
    earlier = ((number, candidates.members[row]) for number, row in enumerate(rows, start=1))
    seen += [Near(m.id, m.uri, m.sha256, f"pick {number}", 0.0) for number, m in earlier]
    every = np.vstack([background.reshape(-1, picked.shape[1]), picked])
    result = []
    for number, x in enumerate(picked):
        before = every[: len(background) + number]
        distance = np.sqrt(((before - x) ** 2).sum(axis=1))
        nearest = np.argsort(distance, kind="stable")[:_NEAREST]
        result.append(tuple(replace(seen[i], distance=float(distance[i])) for i in nearest))
    return result
