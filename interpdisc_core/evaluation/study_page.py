"""The page of an evaluation: what finds classes soonest, by how much, how certain that is, and at what cost.

The page is a function of its view alone; see `interpdisc_core.reporting.html` on what all pages have in common.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from interpdisc_core._types import FloatArray
from interpdisc_core.evaluation import charts
from interpdisc_core.evaluation.aggregate import MethodSummary, rank_summaries
from interpdisc_core.evaluation.charts import ClassCount, CurveChart, RankingChart
from interpdisc_core.evaluation.headline import MethodRoles, build_headline
from interpdisc_core.metrics.discovery import REPORTED_PICKS
from interpdisc_core.reporting.html import format_fixed, get_template_environment

DIVERSITY_COLUMNS = (
    ("redundancy", "alike", "Redundancy: the share of picks that are like an earlier pick. Lower is better."),
    ("covered", "covered", "Coverage: the share of images that are like a pick. Higher is better."),
    (
        "relative_radius",
        "farthest",
        "The greatest distance of an image from its nearest pick, relative to the collection’s radius about its mean. Lower is better.",
    ),
)
"""Fields of `interpdisc_core.metrics.diversity.DiversityScores`, their columns, and their meaning."""
OUTLIER_COLUMNS = (
    ("precision", "P@N", "The share of novel images among as many picks as there are novel images."),
    ("mdr", "MDR", "DORA’s mean detection rate; the attainable value depends on how many images are novel."),
    (
        "mdr_attainable",
        "MDR of attainable",
        "The area under novel images found, over that of an oracle: 1 is attainable.",
    ),
    ("roc_auc", "ROC AUC", "The area under the ROC curve of the ranking; 0.5 is chance."),
    ("average_precision", "AP", "Average precision of the ranking."),
)
"""Fields of `interpdisc_core.metrics.outlier_ranking.OutlierScores`, their columns, and their meaning. Higher is better."""


@dataclass(frozen=True, kw_only=True)
class TrialsView:
    """One experiment on one kind of trials.

    Attributes:
        experiment: Its title.
        name: Of the trials.
        description: Which images they are of.
        summaries: Of the methods.
        random_curve: Expected classes (t,) among the first i picks of a random order.
        random_sd: Standard deviation (t,) of that; None if it is not known.
        oracle_curve: The most classes (t,) that can be found.
    """

    experiment: str
    name: str
    description: str
    summaries: list[MethodSummary]
    random_curve: FloatArray
    random_sd: FloatArray | None
    oracle_curve: FloatArray


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """The results of a study.

    Attributes:
        title: Of the page.
        images: Images of the study.
        labeled: Those with a label.
        classes: Different labels.
        trials: The discovery experiments.
        other_pages: Title, file name and headline of each page of label errors or of a replay.
        settings: The study as a JSON value; decides which methods are DEMUD, random or an oracle.
        environment: Versions and machine.
        timings: Seconds by stage.
        command: What was typed; empty if it is not known.
        problems: Name of a cell, and why it has no result.
    """

    title: str
    images: int
    labeled: int
    classes: int
    trials: tuple[TrialsView, ...]
    other_pages: tuple[tuple[str, str, str], ...]
    settings: dict[str, Any]
    environment: dict[str, Any]
    timings: dict[str, float]
    command: str
    problems: tuple[tuple[str, str], ...]


def render_study_page(view: StudyView) -> str:
    """The page as one HTML file, which needs no network and no script; it links to the other pages of the study."""
    roles = MethodRoles(view.settings)
    return (
        get_template_environment()
        .get_template("evaluation.html.j2")
        .render(
            view=view,
            trials=[_build_section(number, trials, roles) for number, trials in enumerate(view.trials, 1)],
            others=[(title, _sibling_url(file), headline_text) for title, file, headline_text in view.other_pages],
            diversity_columns=DIVERSITY_COLUMNS,
            outlier_columns=[
                column
                for column in OUTLIER_COLUMNS
                if any(
                    column[0] in summary.outlier_scores
                    for trials_view in view.trials
                    for summary in trials_view.summaries
                )
            ],
            combinations=sum(len(trials.summaries) for trials in view.trials),
            surroundings={
                str(name): value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
                for name, value in view.environment.items()
            },
            settings=json.dumps(view.settings, indent=2, default=str, ensure_ascii=False),
        )
    )


@dataclass(frozen=True, slots=True)
class _StudyTableRow:
    """A row of the table, its numbers as text. number: in the ranking, None without a score."""

    number: int | None
    summary: MethodSummary
    is_highlighted: bool
    nauc: str
    sd: str
    whi2018: str
    interval: str
    above_random: str
    class_counts: tuple[ClassCount, ...]
    diversity: tuple[str, ...]
    outliers: tuple[str, ...]
    cpu: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _BaselineRow:
    """A random order or the oracle, in the foot of the table."""

    title: str
    nauc: str
    class_counts: tuple[ClassCount, ...]
    outliers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _TrialsSection:
    """What the page has of one kind of trials. outliers: the columns of outlier ranking; empty without novel classes."""

    id: str
    view: TrialsView
    t: int
    draws: int
    has_several_draws: bool
    has_whi2018: bool
    sentences: tuple[Markup, ...]
    curves: CurveChart
    ranking: RankingChart
    pick_counts: tuple[int, ...]
    outliers: tuple[tuple[str, str, str], ...]
    rows: list[_StudyTableRow]
    baselines: list[_BaselineRow]

    @property
    def column_count(self) -> int:
        """Columns of the table after the names."""
        return (
            5
            + self.has_several_draws
            + self.has_whi2018
            + len(self.pick_counts)
            + len(DIVERSITY_COLUMNS)
            + len(self.outliers)
        )


def _build_section(number: int, view: TrialsView, roles: MethodRoles) -> _TrialsSection:
    summaries = rank_summaries(view.summaries)
    t = max([len(view.random_curve), *(summary.t for summary in summaries)], default=0)
    pick_counts = tuple(picks for picks in REPORTED_PICKS if picks <= t) or ((t,) if t else ())
    outliers = tuple(
        column for column in OUTLIER_COLUMNS if any(column[0] in summary.outlier_scores for summary in summaries)
    )
    ranking = charts.build_ranking(summaries, is_highlighted=roles.is_demud)
    curves = charts.draw_curves(
        view.summaries,
        view.random_curve,
        view.random_sd,
        view.oracle_curve,
        is_highlighted=roles.is_demud,
        name=f"curves-{number}",
    )
    rows = [
        _build_row(rank, summary, pick_counts, outliers, roles.is_demud) for rank, summary in enumerate(summaries, 1)
    ]
    has_whi2018 = any(row.whi2018 for row in rows)
    return _TrialsSection(
        f"trials-{number}",
        view,
        t,
        max((summary.draws for summary in summaries), default=0),
        any(summary.draws > 1 for summary in summaries),
        has_whi2018,
        build_headline(view.summaries, roles),
        curves,
        ranking,
        pick_counts,
        outliers,
        rows,
        _build_baselines(view, summaries, pick_counts, outliers),
    )


def _build_row(
    rank: int,
    summary: MethodSummary,
    pick_counts: Sequence[int],
    outliers: Sequence[tuple[str, str, str]],
    is_demud: Callable[[MethodSummary], bool],
) -> _StudyTableRow:
    mean = summary.nauc.mean
    above_random = mean - summary.random_nauc
    notes = []
    if summary.exhausted_draws:
        notes.append(
            "stopped early: nothing was new any more"
            + (f", in {summary.exhausted_draws} of {summary.draws} draws" if summary.draws > 1 else "")
        )
    if summary.near_ties:
        notes.append(f"{summary.near_ties:,} near {'tie' if summary.near_ties == 1 else 'ties'}")
    if summary.problem:
        notes.append(summary.problem)
    return _StudyTableRow(
        rank if math.isfinite(mean) else None,
        summary,
        is_demud(summary),
        format_fixed(mean, 2),
        f"± {summary.nauc.sd:.2f}" if summary.draws > 1 and math.isfinite(summary.nauc.sd) else "",
        format_fixed(summary.whi2018.mean, 2) if summary.whi2018 else "",
        charts.format_interval(charts.score_interval(summary)),
        format_fixed(above_random, 1, signed=True) if math.isfinite(above_random) else "",
        charts.class_counts(summary, pick_counts),
        tuple(format_fixed(summary.diversity.get(key, math.nan), 3) for key, _, _ in DIVERSITY_COLUMNS),
        tuple(format_fixed(summary.outlier_scores.get(key, math.nan), 3) for key, _, _ in outliers),
        format_fixed(summary.cpu_seconds, 2),
        tuple(notes),
    )


def _build_baselines(
    view: TrialsView,
    summaries: Sequence[MethodSummary],
    pick_counts: Sequence[int],
    outliers: Sequence[tuple[str, str, str]],
) -> list[_BaselineRow]:
    classes = next(
        (summary.classes for summary in summaries if math.isfinite(summary.classes)),
        float(view.oracle_curve[-1]) if len(view.oracle_curve) else 0.0,
    )
    random_nauc = next((summary.random_nauc for summary in summaries if math.isfinite(summary.random_nauc)), math.nan)
    chance_scores = next((summary.outlier_scores for summary in summaries if summary.outlier_scores), {})
    return [
        _BaselineRow(
            "A random order, exact expectation",
            format_fixed(random_nauc, 2),
            charts.class_counts_along(view.random_curve, classes, pick_counts),
            tuple(
                "0.500" if key == "roc_auc" else format_fixed(chance_scores.get(f"{key}_random", math.nan), 3)
                for key, _, _ in outliers
            ),
        ),
        _BaselineRow(
            "The best possible",
            "100.00" if classes else "",
            charts.class_counts_along(view.oracle_curve, classes, pick_counts),
            tuple("" for _ in outliers),
        ),
    ]


def _sibling_url(file: str) -> str:
    """The relative URL of a file in the page's folder; no name can lead elsewhere."""
    return "./" + quote(file, safe="", errors="replace")
