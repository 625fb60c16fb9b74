"""The loop that makes picks, with checkpoints from which it resumes: of a run, and of a selection of features alone.

A checkpoint is two things in one folder, written in this order: the vectors of the new picks (`vectors`, see
`interpdisc_core.archive.pick_vectors`) and the state that counts them (`selection.json`). Each is written whole or not
at all, so a process may be killed at any time.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from interpdisc_core._types import FloatArray, IndexArray
from interpdisc_core.archive import pick_vectors
from interpdisc_core.archive.pick_vectors import PICKS_PER_CHECKPOINT, STATE_FILE
from interpdisc_core.digest import digest_array
from interpdisc_core.errors import DamageError
from interpdisc_core.selectors import Choice
from interpdisc_core.selectors.rows import Rows, gather_float64
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)


@dataclass(slots=True)
class SelectionState:
    """The picks so far, in order.

    Attributes:
        rows: Index of each pick among the candidates, from 0.
        scores: Score of each pick, higher is newer.
        near_ties: How many other candidates had nearly the same score.
        vector_digests: SHA-256 of the vectors of each pick; empty if an earlier version wrote the state.
        exhausted: Whether the selection ended because nothing is new any more.
    """

    rows: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    near_ties: list[int] = field(default_factory=list)
    vector_digests: list[str] = field(default_factory=list)
    exhausted: bool = False


@dataclass(frozen=True, slots=True)
class SelectionCheckpoint:
    """Where a selection keeps its state.

    Attributes:
        location: The folder.
        inputs_digest: Digest of everything that decides the picks; a state of another digest does not count.
        numbers: (n,) The number of each candidate in its source, rising; the state names picks by it.
        remarks: Written into the state for people; never read.
    """

    location: Location
    inputs_digest: str
    numbers: IndexArray
    remarks: Mapping[str, str] = field(default_factory=dict)

    def read(self, dimension: int) -> SelectionState | None:
        """The state of an earlier call, or None if there is none for these inputs with all of its vectors.

        A damaged state, or damaged vectors, are reported and count as none: the picks are made again.
        """
        try:
            payload = self.location.read_checked_json(STATE_FILE)
            if payload["over"] != self.inputs_digest:
                return None
            count, _, stored_dimension = pick_vectors.open_vectors(self.location).shape
            if count < len(payload["rows"]) or stored_dimension != dimension:
                return None
            digests = pick_vectors.check_vectors(self.location)
            rows = np.searchsorted(self.numbers, payload["rows"])
            if not np.array_equal(self.numbers[rows % max(len(self.numbers), 1)], payload["rows"]):
                return None
            # A run's state had no `exhausted` in version 0.1.
            state = SelectionState(
                rows.tolist(), payload["scores"], payload["near_ties"], digests, payload.get("exhausted", False)
            )
        except DamageError as error:
            log.warning("%s The selection starts again.", error)
            return None
        except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, ValueError):
            return None
        log.info("selection resumes after pick %d", len(state.rows))
        return state

    def add_missing_vectors(self, state: SelectionState) -> None:
        """Bring the vectors of an earlier version to today's form, so that more picks can follow."""
        vectors = pick_vectors.add_missing_vectors(self.location, len(state.rows))
        if vectors is not None:
            state.vector_digests = [digest_array(each) for each in vectors] if state.vector_digests else []
            self.write(state, [])

    def write(self, state: SelectionState, unsaved_vectors: list[FloatArray]) -> None:
        """Write the vectors (4, d) of the latest picks, then the state that counts them."""
        if unsaved_vectors:
            first = len(state.rows) - len(unsaved_vectors)
            pick_vectors.write_vectors(self.location, first, np.array(unsaved_vectors))
            if len(state.vector_digests) == first:  # else an earlier version made the first ones
                state.vector_digests += [digest_array(vectors) for vectors in unsaved_vectors]
        self.location.write_checked_json(
            STATE_FILE,
            {
                "over": self.inputs_digest,
                **self.remarks,
                "rows": self.numbers[state.rows].tolist() if state.rows else [],
                "scores": state.scores,
                "near_ties": state.near_ties,
                "vectors": state.vector_digests,
                "exhausted": state.exhausted,
            },
        )


def extend_picks(
    checkpoint: SelectionCheckpoint,
    state: SelectionState,
    target_count: int,
    rows: Rows,
    *,
    peek: Callable[[], Choice | None],
    learn: Callable[[int], None],
    compute_weight_direction: Callable[[Choice], FloatArray | None],
    third_vector: Literal["mean", "residual"],
    on_progress: Callable[[int], None],
) -> None:
    """Make picks until there are `target_count`, or until nothing is new any more; `state` is changed in place.

    Args:
        checkpoint: Where the state is written, every `PICKS_PER_CHECKPOINT` picks and at the end.
        state: The picks that exist already; they are learned before the first new pick.
        target_count: Number of picks wanted.
        rows: (n, d) features of the candidates.
        peek: The next pick, or None if nothing is new any more.
        learn: Learns a pick, so that what resembles it is no longer new.
        compute_weight_direction: The direction of weights of the choice that `peek` returned last.
        third_vector: Which vector of a choice is kept after x and x̂.
        on_progress: Called with the number of picks after each.
    """
    unsaved_vectors: list[FloatArray] = []
    unlearned_rows = list(state.rows)
    if state.rows and len(state.rows) < target_count and not state.exhausted:
        checkpoint.add_missing_vectors(state)
    while len(state.rows) < target_count and not state.exhausted:
        for row in unlearned_rows:
            learn(row)
        choice = peek()
        if choice is None:
            state.exhausted = True
            checkpoint.write(state, unsaved_vectors)
            break
        unlearned_rows = [int(choice.row)]
        state.rows.append(int(choice.row))
        state.scores.append(float(choice.score))
        state.near_ties.append(int(choice.near_ties))
        unsaved_vectors.append(_stack_vectors(choice, compute_weight_direction(choice), rows, third_vector))
        if len(state.rows) % PICKS_PER_CHECKPOINT == 0 or len(state.rows) == target_count:
            checkpoint.write(state, unsaved_vectors)
            unsaved_vectors = []
        on_progress(len(state.rows))


def _stack_vectors(choice: Choice, direction: FloatArray | None, rows: Rows, third_vector: str) -> FloatArray:
    """x, x̂, a third vector and the direction of weights of a pick (4, d); NaN for those that the selector has not."""
    x = gather_float64(rows, np.array([choice.row]))[0]
    others: list[Any] = [choice.expected, getattr(choice, third_vector), direction]
    return np.array([x, *(np.full_like(x, np.nan) if vector is None else vector for vector in others)])
