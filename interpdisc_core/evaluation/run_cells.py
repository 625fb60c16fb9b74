"""Compute the cells of a part, one after the other; each outcome is written when it is done."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from interpdisc_core._types import FloatArray, IndexArray
from interpdisc_core.blas_threads import single_blas_thread
from interpdisc_core.errors import InterpdiscError, StoreError
from interpdisc_core.evaluation import label_errors, replay_results
from interpdisc_core.evaluation import replay as replays
from interpdisc_core.evaluation import study as studies
from interpdisc_core.evaluation.dataset import LabeledDataset, read_dataset, read_features
from interpdisc_core.evaluation.grid import GridCell, iter_cells, locate_outcomes, locate_problems, locate_study
from interpdisc_core.evaluation.sampling import Trial
from interpdisc_core.evaluation.study import DiscoveryExperiment, LabelErrorExperiment, ReplayExperiment
from interpdisc_core.metrics.discovery import evaluate_discovery
from interpdisc_core.metrics.diversity import score_diversity, typical_distance
from interpdisc_core.metrics.outlier_ranking import score_outliers
from interpdisc_core.progress import ProgressReporter, Stopwatch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PartResult:
    """The cells of a part, and how many of them could not be computed (failed)."""

    part: int
    cells: int
    failed: int


@dataclass(frozen=True)
class TrialData:
    """Rows of a trial: treated features (n, d), and for each its label, its row in the collection, and its day in a replay."""

    values: FloatArray
    labels: list[str | None]
    rows: IndexArray
    days: Sequence[replays.DayKey | None]

    @cached_property
    def epsilon(self) -> float:
        """Distance up to which two rows count as alike; see `interpdisc_core.metrics.diversity.typical_distance`."""
        return typical_distance(self.values)


# One thread: scores must not depend on the number of threads, and workers must not wait for each other.
@single_blas_thread
@threadpool_limits.wrap(limits=1, user_api="openmp")  # type: ignore[untyped-decorator]
def run_cells(url: str, name: str, part: int, watch: ProgressReporter) -> PartResult:
    """Compute the cells of a part that are not computed yet.

    If a cell cannot be computed, the reason is recorded, the next run computes it again, and the others are computed.

    Args:
        url: The archive.
        name: The study's name in it.
        part: Number of the part; see `interpdisc_core.evaluation.schedule.Schedule`.
        watch: Where progress is reported.

    Raises:
        StoreError: If the archive cannot be read or written.
    """
    location, outcome_location = locate_study(url, name), locate_outcomes(url)
    study = studies.parse_study(location.read_checked_json("study.json"), f"{location.url}/study.json")
    manifest = location.read_checked_json("cells.json")
    dataset = read_dataset(url, manifest["collection"])
    part_digests = set(location.read_checked_json(f"parts/{part:05d}.json"))
    finished_digests = {digest for digest in part_digests if outcome_location.exists(f"{digest}.json")}
    meter = watch.open_meter("measure", f"{part:05d}")
    meter.update(len(finished_digests))
    features: dict[str, Any] = {}
    cached_trial: tuple[Any, TrialData] | None = None
    failed = 0
    for cell, trial in iter_cells(study, dataset, np.array(manifest["among"], dtype=np.intp)):
        if cell.digest not in part_digests or cell.digest in finished_digests:
            continue
        experiment = study.experiments[cell.experiment]
        if cell.representation not in features:
            feature_rows = read_features(url, dataset.members, experiment.representations[cell.representation])
            features = {cell.representation: feature_rows}  # of one representation at a time: they may be large
        trial_key = (cell.experiment, cell.representation, cell.treatment, cell.trials, cell.number)
        if cached_trial is None or cached_trial[0] != trial_key:
            values = experiment.treatments[cell.treatment].apply(features[cell.representation][trial.rows])
            cached_trial = trial_key, _build_trial_data(dataset, experiment, trial, values)
        outcome = _run_cell(experiment, cell, cached_trial[1])
        failed += bool(outcome["problem"])
        (locate_problems(url) if outcome["problem"] else outcome_location).write_checked_json(
            f"{cell.digest}.json", outcome
        )
        finished_digests.add(cell.digest)
        meter.update(len(finished_digests))
    meter.flush()
    return PartResult(part, len(finished_digests), failed)


def _build_trial_data(dataset: LabeledDataset, experiment: Any, trial: Trial, values: FloatArray) -> TrialData:
    days = (
        replay_results.extract_trial_days(experiment, dataset, trial)
        if isinstance(experiment, ReplayExperiment)
        else ()
    )
    return TrialData(values, [dataset.table.labels[row] for row in trial.rows], trial.rows, days)


def _run_cell(experiment: Any, cell: GridCell, trial_data: TrialData) -> dict[str, Any]:
    wall, cpu = Stopwatch(), Stopwatch(time.process_time)
    problem, payload = "", {}
    try:
        payload = _RUNNERS[type(experiment)](experiment, cell, trial_data)
    except StoreError:
        raise
    except InterpdiscError as error:
        problem = str(error)
    except Exception as error:
        log.exception("%s, %s, %s, %s: failed", cell.representation, cell.treatment, cell.method, cell.trials)
        problem = f"{type(error).__name__}: {error}"
    return {
        **asdict(cell),
        "images": len(trial_data.labels),
        "features": int(trial_data.values.shape[1]),
        "problem": problem,
        "seconds": round(wall.elapsed, 4),
        "cpu": round(cpu.elapsed, 4),
        **payload,
    }


def _run_discovery(experiment: DiscoveryExperiment, cell: GridCell, trial_data: TrialData) -> dict[str, Any]:
    """How soon a selector finds the classes."""
    is_novel = np.array([label in experiment.novel for label in trial_data.labels])
    t = min(experiment.t, len(trial_data.labels))
    cpu = Stopwatch(time.process_time)
    rows, scores, ties, exhausted = _select_rows(
        experiment.selectors[cell.method], trial_data, max(t, int(is_novel.sum()))
    )
    cpu_seconds = cpu.elapsed
    result = evaluate_discovery(trial_data.labels, rows, t)
    return {
        "t": result.t,
        "classes": result.classes,
        "nauc": result.nauc,
        "nauc_whi2018": result.nauc_whi2018,
        "nauc_random": result.random_nauc,
        "firsts": result.first_picks,
        "missed": result.missed_classes,
        "picks": [int(trial_data.rows[row]) for row in rows],
        "scores": scores[:t],
        "near_ties": ties,
        "exhausted": exhausted,
        "selecting": round(cpu_seconds, 4),
        "spread": score_diversity(trial_data.values, rows[:t], trial_data.epsilon).as_dict(),
        "outliers": score_outliers(is_novel, rows).as_dict() if is_novel.any() else None,
    }


def _select_rows(selector: Any, trial_data: TrialData, limit: int) -> tuple[list[int], list[float], int, bool]:
    """Rows, their scores, near ties in all, and whether the selection ended before `limit` rows, as nothing was new."""
    selection = selector.open(trial_data.values, np.empty((0, trial_data.values.shape[1])), trial_data.labels)
    rows: list[int] = []
    scores: list[float] = []
    ties = 0
    while len(rows) < limit:
        choice = selection.peek()
        if choice is None:
            return rows, scores, ties, True
        selection.learn(choice.row)
        rows, scores, ties = [*rows, choice.row], [*scores, choice.score], ties + choice.near_ties
    return rows, scores, ties, False


def _run_label_errors(experiment: LabelErrorExperiment, cell: GridCell, trial_data: TrialData) -> dict[str, Any]:
    """Which of the real labels a method suspects; or, with planted errors, how many of these it finds."""
    method, labeled_count = experiment.methods[cell.method], sum(bool(label) for label in trial_data.labels)
    if cell.setting is not None:
        rate, number = cell.setting
        labels, wrong_rows = label_errors.plant_label_errors(trial_data.labels, rate, experiment.seed + number)
        return asdict(
            label_errors.score_detection(
                label_errors.rank_suspects(trial_data.values, labels, method), wrong_rows, labeled_count
            )
        )
    ranking = label_errors.rank_suspects(trial_data.values, trial_data.labels, method)
    limit = min(_MAX_SUSPECTS, len(ranking.order))
    return {
        "classes": len({label for label in trial_data.labels if label}),
        "judged": len(ranking.order),
        "rows": [int(trial_data.rows[row]) for row in ranking.order[:limit]],
        "scores": ranking.scores[:limit].tolist(),
        "suggested": ranking.suggested_labels[:limit],
        "neighbours": [[int(trial_data.rows[row]) for row in neighbors] for neighbors in ranking.neighbors[:limit]],
    }


def _run_replay(experiment: ReplayExperiment, cell: GridCell, trial_data: TrialData) -> dict[str, Any]:
    """How a selector ranks each day's images."""
    replay = replays.replay_days(
        trial_data.values,
        trial_data.days,
        trial_data.labels,
        experiment.selectors[cell.method],
        horizon=cell.setting,
        limit=max(experiment.budgets),
    )
    return replay_results.encode_replay(replay)


_RUNNERS: dict[type, Callable[[Any, GridCell, TrialData], dict[str, Any]]] = {
    DiscoveryExperiment: _run_discovery,
    LabelErrorExperiment: _run_label_errors,
    ReplayExperiment: _run_replay,
}
_MAX_SUSPECTS = 1000
"""Most suspects of an outcome."""
