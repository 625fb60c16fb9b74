"""An evaluation as one self-contained HTML page: what finds classes soonest, by how much, how sure that is, at what cost.

`render` is a function of its view alone; see `interpdisc_core.pages` on what the pages have in common.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from interpdisc_core.evaluation import AT
from interpdisc_core.lab import charts
from interpdisc_core.lab.charts import Count, Curves, Ranking
from interpdisc_core.lab.headline import Roles, headline
from interpdisc_core.lab.results import Line
from interpdisc_core.pages import environment

Floats = npt.NDArray[np.float64]

SPREAD = (
    ("redundancy", "alike", "Redundancy: the share of picks that are like an earlier pick. Lower is better."),
    ("covered", "covered", "Coverage: the share of images that are like a pick. Higher is better."),
    ("relative_radius", "farthest", "Distance from a pick of the image that picks represent least; 1: the collection’s own radius. Lower is better."),
)  # fmt: skip
"""Keys of `interpdisc_core.spread`, their columns, and what they say."""
OUTLIERS = (
    ("precision", "P@N", "The share of novel images among as many picks as there are novel images."),
    ("mdr", "MDR", "DORA’s mean detection rate; what can be attained depends on how many images are novel."),
    ("mdr_attainable", "MDR of attainable", "The area under novel images found, over that of an oracle: 1 is attainable."),
    ("roc_auc", "ROC AUC", "The area under the ROC curve of the ranking; 0.5 is chance."),
    ("average_precision", "AP", "Average precision of the ranking."),
)  # fmt: skip
"""Keys of `interpdisc_core.outliers`, their columns, and what they say. Higher is better for all."""


@dataclass(frozen=True, kw_only=True)
class TrialsView:
    """One experiment on one kind of trials. description: which images they look at.

    random, oracle (t,): classes among the first i picks, as a random order is expected to find and at best. band (t,):
    random's standard deviation, or None.
    """

    experiment: str
    name: str
    description: str
    lines: list[Line]
    random: Floats
    band: Floats | None
    oracle: Floats


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """An evaluation, as far as a reader needs it.

    images: looked at; labelled: those with a label; classes: of these. others: title, file beside the page, and a sentence
    of each page of label errors or a replay. settings: the study as a JSON value, by which methods are known as DEMUD,
    chance or an oracle. timings: seconds by stage. command: what was typed, empty where it is not known. problems: name
    of a cell, and why it has no result.
    """

    title: str
    images: int
    labelled: int
    classes: int
    trials: tuple[TrialsView, ...]
    others: tuple[tuple[str, str, str], ...]
    settings: dict[str, Any]
    environment: dict[str, Any]
    timings: dict[str, float]
    command: str
    problems: tuple[tuple[str, str], ...]


def render(view: StudyView) -> str:
    """The page. It needs nothing but the pages that it leads to: no network, no script."""
    roles = Roles(view.settings)
    return environment().get_template("evaluation.html.j2").render(
        view=view,
        trials=[_section(number, trials, roles) for number, trials in enumerate(view.trials, 1)],
        others=[(title, _beside(file), said) for title, file, said in view.others],
        spreads=SPREAD,
        outliers=[one for one in OUTLIERS if any(one[0] in line.outliers for of in view.trials for line in of.lines)],
        combinations=sum(len(trials.lines) for trials in view.trials),
        surroundings={
            str(name): value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            for name, value in view.environment.items()
        },
        settings=json.dumps(view.settings, indent=2, default=str, ensure_ascii=False),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table, its numbers as text. number: in the ranking, None without a score."""

    number: int | None
    line: Line
    marked: bool
    nauc: str
    sd: str
    whi2018: str
    interval: str
    ahead: str
    found: tuple[Count, ...]
    spread: tuple[str, ...]
    outliers: tuple[str, ...]
    cpu: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Baseline:
    """Chance or the oracle, at the foot of the table."""

    title: str
    nauc: str
    found: tuple[Count, ...]
    outliers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    """All that the page says of one kind of trials. outliers: the columns of those measures, empty where there are none."""

    id: str
    view: TrialsView
    t: int
    draws: int
    several: bool
    whi2018: bool
    said: tuple[Markup, ...]
    curves: Curves
    ranking: Ranking
    at: tuple[int, ...]
    outliers: tuple[tuple[str, str, str], ...]
    rows: list[_Row]
    baselines: list[_Baseline]

    @property
    def columns(self) -> int:
        """Columns of the table after the names."""
        return 5 + self.several + self.whi2018 + len(self.at) + len(SPREAD) + len(self.outliers)


def _section(number: int, view: TrialsView, roles: Roles) -> _Section:
    lines = charts.ranked(view.lines)
    t = max([len(view.random), *(line.t for line in lines)], default=0)
    at = tuple(picks for picks in AT if picks <= t) or ((t,) if t else ())
    outliers = tuple(column for column in OUTLIERS if any(column[0] in line.outliers for line in lines))
    ranking = charts.ranking(lines, marked=roles.demud)
    curves = charts.curves(
        view.lines, view.random, view.band, view.oracle, marked=roles.demud, name=f"curves-{number}"
    )  # fmt: skip
    rows = [_row(place, line, at, outliers, roles.demud) for place, line in enumerate(lines, 1)]
    whi2018 = any(row.whi2018 for row in rows)
    return _Section(
        f"trials-{number}", view, t, max((line.draws for line in lines), default=0),
        any(line.draws > 1 for line in lines), whi2018, headline(view.lines, roles), curves, ranking, at,
        outliers, rows, _baselines(view, lines, at, outliers),
    )  # fmt: skip


def _row(
    place: int, line: Line, at: Sequence[int], outliers: Sequence[tuple[str, str, str]], demud: Callable[[Line], bool]
) -> _Row:
    mean = line.nauc.mean
    ahead = mean - line.random
    notes = []
    if line.exhausted:
        notes.append(
            "stopped early: nothing was new any more"
            + (f", in {line.exhausted} of {line.draws} draws" if line.draws > 1 else "")
        )
    if line.near_ties:
        notes.append(f"{line.near_ties:,} near {'tie' if line.near_ties == 1 else 'ties'}")
    if line.problem:
        notes.append(line.problem)
    return _Row(
        place if math.isfinite(mean) else None, line, demud(line), _number(mean, 2),
        f"± {line.nauc.sd:.2f}" if line.draws > 1 and math.isfinite(line.nauc.sd) else "",
        _number(line.whi2018.mean, 2) if line.whi2018 else "", charts.told(charts.interval(line)),
        f"{ahead:+.1f}".replace("-", "−") if math.isfinite(ahead) else "", charts.found(line, at),
        tuple(_number(line.spread.get(key, math.nan), 3) for key, _, _ in SPREAD),
        tuple(_number(line.outliers.get(key, math.nan), 3) for key, _, _ in outliers), _number(line.cpu, 2), tuple(notes),
    )  # fmt: skip


def _baselines(
    view: TrialsView, lines: Sequence[Line], at: Sequence[int], outliers: Sequence[tuple[str, str, str]]
) -> list[_Baseline]:
    classes = next(
        (line.classes for line in lines if math.isfinite(line.classes)),
        float(view.oracle[-1]) if len(view.oracle) else 0.0,
    )
    random = next((line.random for line in lines if math.isfinite(line.random)), math.nan)
    chance = next((line.outliers for line in lines if line.outliers), {})
    return [
        _Baseline(
            "A random order, exact expectation", _number(random, 2), charts.found_along(view.random, classes, at),
            tuple(
                "0.500" if key == "roc_auc" else _number(chance.get(f"{key}_random", math.nan), 3) for key, _, _ in outliers
            ),
        ),
        _Baseline(
            "The best that there can be", "100.00" if classes else "", charts.found_along(view.oracle, classes, at),
            tuple("" for _ in outliers),
        ),
    ]  # fmt: skip


def _number(value: float, decimals: int) -> str:
    """So many decimals; a dash for what is not defined."""
    return f"{value:,.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"


def _beside(file: str) -> str:
    """The address of a file beside the page: nothing in its name leads elsewhere."""
    return "./" + quote(file, safe="", errors="replace")
