"""Measuring: the cells of a part, one after the other; what each came to is kept as it is done."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from interpdisc_core.errors import InterpdiscError, StoreError
from interpdisc_core.evaluation import discovery
from interpdisc_core.lab import collection as collections
from interpdisc_core.lab import label_errors, replay_results
from interpdisc_core.lab import replay as replays
from interpdisc_core.lab import study as studies
from interpdisc_core.lab.cells import Cell, cells, outcomes, place_of, problems
from interpdisc_core.lab.study import Discovery, LabelErrors, Replay
from interpdisc_core.lab.trials import Index, Trial
from interpdisc_core.outliers import outliers
from interpdisc_core.progress import Watch
from interpdisc_core.spread import spread, typical_distance

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """What `measure` did: cells done, and those of them that could not be computed."""

    part: int
    cells: int
    failed: int


@dataclass(frozen=True)
class Given:
    """What an experiment looks at: treated rows (n, d), and of each its label, place in the collection, and day of a replay."""

    values: Floats
    labels: list[str | None]
    rows: Index
    days: Sequence[replays.Day | None]

    @cached_property
    def epsilon(self) -> float:
        """Within which two rows count as alike; see `spread.typical_distance`."""
        return typical_distance(self.values)


# One thread: scores do not depend on how many there are, and workers do not wait for each other.
@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def measure(url: str, name: str, part: int, watch: Watch) -> Measured:
    """Compute the cells of a part that are not done yet.

    A cell that cannot be computed has the reason for its outcome, and is tried again by the next run; it stops no other.
    Raises StoreError where the archive cannot be read or written.
    """
    place, kept = place_of(url, name), outcomes(url)
    study = studies.parse(place.read_json("study.json"), f"{place.url}/study.json")
    about = place.read_json("cells.json")
    images = collections.read(url, about["collection"])
    wanted = set(place.read_json(f"parts/{part:05d}.json"))
    done = {digest for digest in wanted if kept.exists(f"{digest}.json")}
    meter = watch.meter("measure", f"{part:05d}")
    meter.at(len(done))
    features: dict[str, Any] = {}
    treated: tuple[Any, Given] | None = None
    failed = 0
    for cell, trial in cells(study, images, np.array(about["among"], dtype=np.intp)):
        if cell.digest not in wanted or cell.digest in done:
            continue
        experiment = study.experiments[cell.experiment]
        if cell.representation not in features:
            found = collections.features(url, images.members, experiment.representations[cell.representation])
            features = {cell.representation: found}  # one at a time: they may be large
        of = (cell.experiment, cell.representation, cell.treatment, cell.trials, cell.number)
        if treated is None or treated[0] != of:
            values = experiment.treatments[cell.treatment].of(features[cell.representation][trial.rows])
            treated = of, _given(images, experiment, trial, values)
        outcome = _outcome(experiment, cell, treated[1])
        failed += bool(outcome["problem"])
        (problems(url) if outcome["problem"] else kept).write_json(f"{cell.digest}.json", outcome)
        done.add(cell.digest)
        meter.at(len(done))
    meter.close()
    return Measured(part, len(done), failed)


def _given(images: collections.Collection, experiment: Any, trial: Trial, values: Floats) -> Given:
    days = replay_results.days_of(experiment, images, trial) if isinstance(experiment, Replay) else ()
    return Given(values, [images.about.labels[row] for row in trial.rows], trial.rows, days)


def _outcome(experiment: Any, cell: Cell, given: Given) -> dict[str, Any]:
    began, cpu = time.monotonic(), time.process_time()
    problem, found = "", {}
    try:
        found = _KINDS[type(experiment)](experiment, cell, given)
    except StoreError:
        raise
    except InterpdiscError as error:
        problem = str(error)
    except Exception as error:
        log.exception("%s, %s, %s, %s: failed", cell.representation, cell.treatment, cell.method, cell.trials)
        problem = f"{type(error).__name__}: {error}"
    return {
        **asdict(cell), "images": len(given.labels), "features": int(given.values.shape[1]), "problem": problem,
        "seconds": round(time.monotonic() - began, 4), "cpu": round(time.process_time() - cpu, 4),
        **found,
    }  # fmt: skip


def _discovery(experiment: Discovery, cell: Cell, given: Given) -> dict[str, Any]:
    """How soon a selector shows what classes there are."""
    novel = np.array([label in experiment.novel for label in given.labels])
    t = min(experiment.t, len(given.labels))
    began = time.process_time()
    rows, scores, ties, exhausted = _picks(experiment.selectors[cell.method], given, max(t, int(novel.sum())))
    selecting = time.process_time() - began
    found = discovery(given.labels, rows, t)
    return {
        "t": found.t, "classes": found.classes, "nauc": found.exact, "nauc_whi2018": found.whi2018,
        "nauc_random": found.exact_random, "firsts": found.firsts, "missed": found.missed,
        "picks": [int(given.rows[row]) for row in rows], "scores": scores[:t], "near_ties": ties, "exhausted": exhausted,
        "selecting": round(selecting, 4), "spread": spread(given.values, rows[:t], given.epsilon).summary(),
        "outliers": outliers(novel, rows).summary() if novel.any() else None,
    }  # fmt: skip


def _picks(selector: Any, given: Given, most: int) -> tuple[list[int], list[float], int, bool]:
    """Rows, their scores, near-ties in all, and whether nothing was new any more before there were `most`."""
    selection = selector.open(given.values, np.empty((0, given.values.shape[1])), given.labels)
    rows: list[int] = []
    scores: list[float] = []
    ties = 0
    while len(rows) < most:
        choice = selection.peek()
        if choice is None:
            return rows, scores, ties, True
        selection.learn(choice.row)
        rows, scores, ties = [*rows, choice.row], [*scores, choice.score], ties + choice.near_ties
    return rows, scores, ties, False


def _label_errors(experiment: LabelErrors, cell: Cell, given: Given) -> dict[str, Any]:
    """Which labels a method suspects: those that are there, or with wrong ones planted how many of these it finds."""
    method, labelled = experiment.methods[cell.method], sum(bool(label) for label in given.labels)
    if cell.setting is not None:
        rate, number = cell.setting
        labels, which = label_errors.planted(given.labels, rate, experiment.seed + number)
        return asdict(label_errors.detection(label_errors.suspects(given.values, labels, method), which, labelled))
    found = label_errors.suspects(given.values, given.labels, method)
    most = min(_SUSPECTS, len(found.order))
    return {
        "classes": len({label for label in given.labels if label}), "judged": len(found.order),
        "rows": [int(given.rows[row]) for row in found.order[:most]], "scores": found.score[:most].tolist(),
        "suggested": found.suggested[:most],
        "neighbours": [[int(given.rows[row]) for row in near] for near in found.neighbours[:most]],
    }  # fmt: skip


def _replay(experiment: Replay, cell: Cell, given: Given) -> dict[str, Any]:
    """What a selector shows day by day."""
    replay = replays.replayed(
        given.values, given.days, given.labels, experiment.selectors[cell.method], horizon=cell.setting,
        most=max(experiment.budgets),
    )  # fmt: skip
    return replay_results.kept(replay)


_KINDS: dict[type, Callable[[Any, Cell, Given], dict[str, Any]]] = {
    Discovery: _discovery, LabelErrors: _label_errors, Replay: _replay,
}  # fmt: skip
_SUSPECTS = 1000
"""Most suspects that an outcome keeps."""
