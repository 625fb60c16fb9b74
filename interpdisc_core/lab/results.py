"""Results: the outcomes of a study's cells, summed up over draws."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core.evaluation import AT, found_at, oracle_curve
from interpdisc_core.intervals import Interval, of_classes, of_draws
from interpdisc_core.lab.cells import outcomes, place_of, problems
from interpdisc_core.storage import Place

Floats = npt.NDArray[np.float64]
Outcome = dict[str, Any]
NAMES = ("experiment", "representation", "treatment", "method", "trials", "number", "variant")
"""What a cell is called by."""
_NOTHING = (float("nan"), float("nan"))


def read(url: str, name: str) -> list[Outcome]:
    """What every cell of a study came to, in the study's order; `problem` says why one has no result."""
    cells = place_of(url, name).read_json("cells.json")["cells"]
    return [cell | _found(outcomes(url), problems(url), cell["digest"]) | _names(cell) for cell in cells]


def _found(done: Place, failed: Place, digest: str) -> Outcome:
    for place in (done, failed):
        try:
            found: Outcome = place.read_json(f"{digest}.json")
        except FileNotFoundError:
            continue
        return found
    return {"problem": "it was not measured; give the same command again"}


def _names(cell: Outcome) -> Outcome:
    """A cell may be another study's too, under other names."""
    return {key: cell[key] for key in NAMES}


@dataclass(frozen=True, slots=True)
class Line:
    """One method on one representation and treatment, over the draws of its trials.

    nauc, whi2018: nAUC_t, mean and spread over draws; higher is better, 100 is the oracle's in the exact form. random:
    the exact expectation for a random order, in the exact form. over_classes: 95 % bootstrap interval of nAUC over
    classes, of the first draw. found: mean classes found after so many picks. curve (t,): mean classes among the first
    i picks. redundancy, coverage: see `interpdisc_core.spread`. outliers: means of `interpdisc_core.outliers`, where
    classes are named as novel. cpu: mean seconds of selecting. problem: of draws that could not be computed.
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
    random: float
    over_classes: tuple[float, float]
    found: dict[int, float]
    curve: Floats
    spread: dict[str, float]
    outliers: dict[str, float]
    cpu: float
    near_ties: int
    exhausted: int
    problem: str
    values: tuple[float, ...]
    """nAUC of each draw, in order of the draws."""

    @property
    def name(self) -> str:
        """What a chart calls it."""
        return f"{self.representation}, {self.treatment}, {self.method}"


def lines(found: Iterable[Outcome]) -> list[Line]:
    """Sum up the cells of discovery experiments, in their order."""
    groups: dict[tuple[str, ...], list[Outcome]] = defaultdict(list)
    for outcome in found:
        key = ("experiment", "representation", "treatment", "method", "trials")
        groups[tuple(str(outcome[part]) for part in key)].append(outcome)
    return [_line(names, draws) for names, draws in groups.items()]


def _line(names: tuple[str, ...], every: Sequence[Outcome]) -> Line:
    draws = [outcome for outcome in every if not outcome["problem"]]
    problem = next((outcome["problem"] for outcome in every if outcome["problem"]), "")
    exact, t = [float(o["nauc"]) for o in draws], max((int(o["t"]) for o in draws), default=0)
    seed = [float(o["nauc_whi2018"]) for o in draws if o["nauc_whi2018"] is not None]
    curves = [_curve(o["firsts"], t) for o in draws]
    experiment, representation, treatment, method, trials = names
    return Line(
        experiment, representation, treatment, method, trials, len(draws), t, _mean(o["images"] for o in draws),
        _mean(o["classes"] for o in draws), of_draws(exact), of_draws(seed) if len(seed) == len(draws) and seed else None,
        _mean(o["nauc_random"] for o in draws),
        of_classes(draws[0]["firsts"], draws[0]["classes"], draws[0]["t"], made=len(draws[0]["picks"])) if draws else _NOTHING,
        {at: _mean(found_at(o["firsts"], [at])[at] for o in draws) for at in AT if at <= t},
        np.mean(curves, axis=0) if curves else np.empty(0), _means(o["spread"] for o in draws),
        _means(o["outliers"] for o in draws if o["outliers"]), _mean(o["selecting"] for o in draws),
        sum(o["near_ties"] for o in draws), sum(o["exhausted"] for o in draws), problem, tuple(exact),
    )  # fmt: skip


def oracle(classes: float, t: int) -> Floats:
    """The best that there can be (t,)."""
    return oracle_curve(round(classes), t).astype(np.float64)


def _curve(firsts: dict[str, int], t: int) -> Floats:
    ranks = np.bincount(np.array(list(firsts.values()), dtype=np.intp), minlength=t + 1)[1 : t + 1]
    return np.cumsum(ranks).astype(np.float64)


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return float(np.mean(every)) if every else float("nan")


def _means(found: Iterable[dict[str, Any]]) -> dict[str, float]:
    every = list(found)
    names = [name for name, value in (every[0] if every else {}).items() if isinstance(value, int | float)]
    return {name: _mean(float(each[name]) for each in every) for name in names}
