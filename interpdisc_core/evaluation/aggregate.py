"""The outcomes of a study's cells, and their summaries over draws."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.evaluation.grid import locate_outcomes, locate_problems, locate_study
from interpdisc_core.metrics.confidence import Interval, bootstrap_nauc_interval, estimate_mean_interval
from interpdisc_core.metrics.discovery import REPORTED_PICKS, classes_found_at, curve_from_first_picks, oracle_curve

Outcome = dict[str, Any]
"""What a cell computed, by name, as its JSON file has it; `problem` says why it has no result, empty if it has."""
METHOD_KEYS = ("representation", "treatment", "method", "trials")
"""What a method is called by within an experiment."""
SUMMARY_KEYS = ("experiment", *METHOD_KEYS)
"""What a method is called by within a study: one summary over draws each."""
CELL_KEYS = (*SUMMARY_KEYS, "number", "variant")
"""What a cell is called by."""
_NAN_INTERVAL = (float("nan"), float("nan"))


def read_outcomes(url: str, name: str) -> list[Outcome]:
    """The outcomes of all cells of a study, in the study's order.

    Args:
        url: The archive.
        name: The study's name in it.
    """
    cells = locate_study(url, name).read_checked_json("cells.json")["cells"]
    # The outcome may be from another study of the same images, where the cell has other names.
    return [cell | _read_outcome(url, cell["digest"]) | select_names(cell, CELL_KEYS) for cell in cells]


def _read_outcome(url: str, digest: str) -> Outcome:
    for location in (locate_outcomes(url), locate_problems(url)):
        try:
            outcome: Outcome = location.read_checked_json(f"{digest}.json")
        except FileNotFoundError:
            continue
        return outcome
    return {"problem": "it was not computed; give the same command again"}


def select_names(outcome: Outcome, keys: Sequence[str]) -> Outcome:
    """Some of the names of an outcome's cell."""
    return {key: outcome[key] for key in keys}


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """A method on one representation and treatment, over the draws of its trials.

    Attributes:
        experiment, representation, treatment, method, trials: Names.
        draws: Draws that were computed.
        t: Picks that count.
        images: Mean number of images.
        classes: Mean number of classes.
        nauc: nAUC_t, 0 to 100, mean and interval over draws; higher is better.
        whi2018: The same by the script of Wagstaff & Lee 2018; None if a draw has none.
        random_nauc: The exact expectation of `nauc` for a random order.
        class_interval: 95 % bootstrap interval of nAUC_t over classes, of the first draw.
        classes_found: Mean classes found after some numbers of picks.
        curve: Mean classes among the first i picks (t,).
        diversity: Means of `interpdisc_core.metrics.diversity`, by name.
        outlier_scores: Means of `interpdisc_core.metrics.outlier_ranking`, by name; empty without novel classes.
        cpu_seconds: Mean processor time of the selection.
        near_ties: Picks that another image came near to up to rounding, in all draws.
        exhausted_draws: Draws that stopped before t picks, as nothing was new.
        problem: Why a draw could not be computed; empty if all could.
        draw_scores: nAUC_t of each draw, in order of the draws.
    """

    experiment: str
    representation: str
    treatment: str
    method: str
    trials: str
    draws: int
    t: int
    images: float
    classes: float
    nauc: Interval
    whi2018: Interval | None
    random_nauc: float
    class_interval: tuple[float, float]
    classes_found: dict[int, float]
    curve: FloatArray
    diversity: dict[str, float]
    outlier_scores: dict[str, float]
    cpu_seconds: float
    near_ties: int
    exhausted_draws: int
    problem: str
    draw_scores: tuple[float, ...]

    @property
    def name(self) -> str:
        """Representation, treatment and method."""
        return f"{self.representation}, {self.treatment}, {self.method}"


def rank_summaries(summaries: Sequence[MethodSummary]) -> list[MethodSummary]:
    """By falling mean nAUC_t; summaries without one come last, in their order."""
    return sorted(summaries, key=lambda summary: -summary.nauc.mean if np.isfinite(summary.nauc.mean) else np.inf)


def summarize_methods(cell_outcomes: Iterable[Outcome]) -> list[MethodSummary]:
    """Summarize the cells of discovery experiments over draws, in the order of the cells."""
    groups: dict[tuple[str, ...], list[Outcome]] = defaultdict(list)
    for outcome in cell_outcomes:
        groups[tuple(str(outcome[key]) for key in SUMMARY_KEYS)].append(outcome)
    return [_summarize_draws(names, draws) for names, draws in groups.items()]


def _summarize_draws(names: tuple[str, ...], cell_outcomes: Sequence[Outcome]) -> MethodSummary:
    draws = [outcome for outcome in cell_outcomes if not outcome["problem"]]
    scores, t = [float(draw["nauc"]) for draw in draws], max((int(draw["t"]) for draw in draws), default=0)
    whi2018 = [float(draw["nauc_whi2018"]) for draw in draws if draw["nauc_whi2018"] is not None]
    curves = [curve_from_first_picks(draw["firsts"], t) for draw in draws]
    experiment, representation, treatment, method, trials = names
    return MethodSummary(
        experiment=experiment,
        representation=representation,
        treatment=treatment,
        method=method,
        trials=trials,
        draws=len(draws),
        t=t,
        images=_mean(draw["images"] for draw in draws),
        classes=_mean(draw["classes"] for draw in draws),
        nauc=estimate_mean_interval(scores),
        whi2018=estimate_mean_interval(whi2018) if len(whi2018) == len(draws) and whi2018 else None,
        random_nauc=_mean(draw["nauc_random"] for draw in draws),
        class_interval=_class_interval(draws[0]) if draws else _NAN_INTERVAL,
        classes_found={
            picks: _mean(classes_found_at(draw["firsts"], [picks])[picks] for draw in draws)
            for picks in REPORTED_PICKS
            if picks <= t
        },
        curve=np.mean(curves, axis=0, dtype=np.float64) if curves else np.empty(0),
        diversity=_mean_by_key(draw["spread"] for draw in draws),
        outlier_scores=_mean_by_key(draw["outliers"] for draw in draws if draw["outliers"]),
        cpu_seconds=_mean(draw["selecting"] for draw in draws),
        near_ties=sum(draw["near_ties"] for draw in draws),
        exhausted_draws=sum(draw["exhausted"] for draw in draws),
        problem=next((outcome["problem"] for outcome in cell_outcomes if outcome["problem"]), ""),
        draw_scores=tuple(scores),
    )


def _class_interval(draw: Outcome) -> tuple[float, float]:
    return bootstrap_nauc_interval(draw["firsts"], draw["classes"], draw["t"], pick_count=len(draw["picks"]))


def round_oracle_curve(classes: float, t: int) -> FloatArray:
    """The most classes that can be found by i picks (t,); a mean number of classes is rounded."""
    return oracle_curve(round(classes), t).astype(np.float64)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else float("nan")


def _mean_by_key(dicts: Iterable[dict[str, Any]]) -> dict[str, float]:
    rows = list(dicts)
    names = [name for name, value in (rows[0] if rows else {}).items() if isinstance(value, int | float)]
    return {name: _mean(float(row[name]) for row in rows) for name in names}
