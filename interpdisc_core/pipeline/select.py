"""The selection step of a run: the features of its members to picks, with checkpoints from which it resumes."""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from interpdisc_core import digest
from interpdisc_core._types import FloatArray
from interpdisc_core.archive.constraints import SelectionConstraints
from interpdisc_core.archive.feature_store import FeatureStore, gather_features, open_feature_rows
from interpdisc_core.archive.pick_vectors import STATE_FILE, check_vectors, create_vectors
from interpdisc_core.archive.run import Pick, Run, RunMember
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import DamageError, StoreError
from interpdisc_core.pipeline.seen_images import SeenImages, compose_expectations, find_nearest
from interpdisc_core.pipeline.selection_loop import SelectionCheckpoint, SelectionState, extend_picks
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.selectors import ComputeOptions, Prior
from interpdisc_core.selectors.rows import NormalizedRows, Rows, gather_float64, l2_normalize, row_norms
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SelectionResult:
    """Outcome of a selection.

    Attributes:
        run: The run's id.
        picks: Number of picks.
        near_ties: Candidates with nearly the score of a pick, over all picks.
        exhausted: Whether it ended early because nothing is new any more.
        resumed_at: Number of picks that existed before this call.
    """

    run: str
    picks: int
    near_ties: int
    exhausted: bool
    resumed_at: int


@dataclass(frozen=True, slots=True)
class MemberFeatures:
    """Members of a run that have features.

    Attributes:
        members: The images.
        rows: (n, d) features, normalized as the run's plan says; read when needed.
        raw_rows: (n, d) features as extracted.
    """

    members: list[RunMember]
    rows: Rows
    raw_rows: Rows


def load_member_features(run: Run) -> tuple[MemberFeatures, MemberFeatures]:
    """The candidates and the background of a run, normalized as its plan says.

    Raises:
        StoreError: If a block of features is not complete.
    """
    store, tables = FeatureStore(run.archive, run.plan.features_digest), []
    members = run.read_members()
    for role in ("candidate", "background"):
        role_members = [member for member in members if member.role == role]
        raw_rows, has_features = open_feature_rows(store, [(member.batch, member.row) for member in role_members])
        present_members = [member for member, is_present in zip(role_members, has_features, strict=True) if is_present]
        rows = NormalizedRows(raw_rows) if run.plan.normalise == "l2" else raw_rows
        tables.append(MemberFeatures(present_members, rows, raw_rows))
    return tables[0], tables[1]


# It costs little time, since the products are bound by memory; on busy cores a BLAS of several threads takes several
# times longer.
@single_blas_thread
def select_picks(url: str, run_id: str, reporter: ProgressReporter, threads: int = 1) -> SelectionResult:
    """Make the picks of a run. After an interruption it resumes at the last checkpoint and makes the same picks.

    Args:
        url: The archive's address.
        run_id: The run.
        reporter: Is given the number of picks after each.
        threads: Threads that score rows, at most the number of cores. The picks do not depend on it.

    Raises:
        StoreError: If features are missing, or if no candidate could be read.
    """
    run = Run(Location.parse(url), run_id)
    candidates, background = load_member_features(run)
    if not candidates.members:
        raise StoreError(f"no image of run {run_id} could be read; its report and its catalog give the reasons.")
    constraints = run.constraints
    constraint_values = [constraints.as_dict()] if constraints != SelectionConstraints() else []
    # Picks repeat what is known of the images. They are rebuilt when labels, addresses or records have changed.
    members_digest = digest.digest_json(
        [[asdict(member) for member in table.members] for table in (candidates, background)] + constraint_values
    )
    try:
        finished = _read_finished(run, members_digest)
    except DamageError as error:
        log.warning("%s The picks are made again.", error)
        finished = None
    if finished is not None:
        return finished
    # An image that could not be read last time may be readable now. Then the selection starts again.
    contents_digest = digest.digest_json(
        [[member.sha256 for member in table.members] for table in (candidates, background)] + constraint_values
    )
    checkpoint = SelectionCheckpoint(run.location, contents_digest, np.arange(len(candidates.members)))
    background_values = gather_float64(background.rows, np.arange(len(background.members)))
    background_values = background_values.reshape(-1, candidates.rows.shape[1])
    meter = reporter.open_meter("select", "picks")
    state, resumed_at, counters = _make_picks(
        run, candidates, background_values, checkpoint, constraints, threads, on_progress=meter.update
    )
    known_keys = set(constraints.known)
    seen = SeenImages(
        candidates.members,
        candidates.rows,
        background.members,
        background_values,
        [row for row, member in enumerate(candidates.members) if member.key in known_keys],
        has_memory=bool(constraints.batches or constraints.absorbed),
    )
    picks = _describe_picks(run, candidates, seen, state)
    # Of this call alone: the counters of an interrupted call are lost with it.
    run.location.write_checked_json("selection-cost.json", {"resumed_at": resumed_at, **counters})
    run.location.write_checked_json(
        "picks.json", {"of": members_digest, "exhausted": state.exhausted, "picks": [asdict(pick) for pick in picks]}
    )
    meter.flush()
    return SelectionResult(run_id, len(picks), sum(state.near_ties), state.exhausted, resumed_at)


def _read_finished(run: Run, members_digest: str) -> SelectionResult | None:
    """The result of the picks that are written already, if they are of the same members.

    Raises:
        DamageError: If they, or their vectors, are damaged.
    """
    try:
        with name_damage(f"{run.location.url}/picks.json"):
            payload = run.location.read_checked_json("picks.json")
            if payload["of"] != members_digest:
                return None
            near_ties = [pick["near_ties"] for pick in payload["picks"]]
            result = SelectionResult(run.id, len(near_ties), sum(near_ties), payload["exhausted"], len(near_ties))
    except FileNotFoundError:
        return None
    check_vectors(run.location)
    return result


def _make_picks(
    run: Run,
    candidates: MemberFeatures,
    background_values: FloatArray,
    checkpoint: SelectionCheckpoint,
    constraints: SelectionConstraints,
    threads: int,
    on_progress: Callable[[int], None],
) -> tuple[SelectionState, int, dict[str, Any]]:
    """The picks, the number of picks that existed before, and the cost."""
    dimension = candidates.rows.shape[1]
    target_count = min(run.plan.picks, len(candidates.members))
    state = checkpoint.read(dimension)
    if state is None:
        run.location.remove(STATE_FILE)  # first: it has digests of the vectors
        create_vectors(run.location, target_count, dimension)
        state = SelectionState()
    resumed_at = len(state.rows)
    prior = _load_constraint_prior(run, constraints)
    labels = [member.label for member in candidates.members]
    base_selection = run.plan.selector.open(
        candidates.rows,
        background_values if prior is None else prior,
        labels if any(labels) else None,
        ComputeOptions(threads=max(1, min(threads, os.cpu_count() or 1))),
    )
    selection = constraints.constrain(base_selection, [member.key for member in candidates.members])
    extend_picks(
        checkpoint,
        state,
        target_count,
        candidates.rows,
        peek=selection.peek,
        learn=selection.learn,
        compute_weight_direction=selection.compute_weight_direction,
        third_vector="mean",
        on_progress=on_progress,
    )
    return state, resumed_at, selection.counters()


def _load_constraint_prior(run: Run, constraints: SelectionConstraints) -> Prior | None:
    """The model of what the run's constraints count as seen, normalized as its plan says."""
    store = FeatureStore(run.archive, run.plan.features_digest)
    absorbed_rows = gather_features(store, list(constraints.absorbed)).astype(np.float64)
    if run.plan.normalise == "l2":
        absorbed_rows = l2_normalize(absorbed_rows)
    return constraints.build_prior(run.archive, absorbed_rows)


def _describe_picks(run: Run, candidates: MemberFeatures, seen: SeenImages, state: SelectionState) -> list[Pick]:
    """The picks with what is known of their images, with the nearest images seen before, and with what was expected."""
    rows = np.array(state.rows, dtype=np.intp)
    members = [candidates.members[row] for row in state.rows]
    lengths = row_norms(candidates.raw_rows.get(rows)) if run.plan.normalise == "l2" else np.ones(len(rows))
    nearest, compositions = find_nearest(seen, state.rows), compose_expectations(run, seen, state.rows)
    return [
        Pick(
            rank=rank,
            id=member.id,
            key=member.key,
            uri=member.uri,
            sha256=member.sha256,
            score=state.scores[rank - 1],
            near_ties=state.near_ties[rank - 1],
            label=member.label,
            record=member.record,
            length=float(lengths[rank - 1]),
            nearest=nearest[rank - 1],
            composition=compositions[rank - 1],
        )
        for rank, member in enumerate(members, start=1)
    ]
