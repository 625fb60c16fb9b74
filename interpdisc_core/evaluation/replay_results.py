"""The outcomes of a replay: which classes a person would have seen on their first day."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from interpdisc_core.evaluation import replay as replays
from interpdisc_core.evaluation import replay_metrics
from interpdisc_core.evaluation.aggregate import SUMMARY_KEYS, Outcome, select_names
from interpdisc_core.evaluation.dataset import LabeledDataset
from interpdisc_core.evaluation.outputs import (
    Outputs,
    RenderedPage,
    build_outputs,
    format_method_name,
    load_thumbnail,
)
from interpdisc_core.evaluation.replay import ReplayResult
from interpdisc_core.evaluation.replay_page import (
    ChanceView,
    ClassView,
    MethodView,
    ReplayView,
    build_oracle_view,
    render_replay_page,
)
from interpdisc_core.evaluation.sampling import Trial
from interpdisc_core.evaluation.study import ReplayExperiment as Experiment
from interpdisc_core.reporting.escaping import MarkdownText, format_markdown_table


def extract_trial_days(experiment: Experiment, dataset: LabeledDataset, trial: Trial) -> list[replays.DayKey | None]:
    """The day of each of a trial's images; None if it has none."""
    column = dataset.table.columns[experiment.column]
    return replays.extract_days(
        [None if column[row] is None else str(column[row]) for row in trial.rows], experiment.day
    )


def encode_replay(replay: ReplayResult) -> dict[str, Any]:
    """A replay as JSON values, as an outcome has it."""
    return {
        "days": list(replay.days),
        "lists": [rows.tolist() for rows in replay.rankings],
        "most": replay.ranking_limit,
        "dayless": replay.undated_count,
        "scores": [scores.tolist() for scores in replay.scores],
    }


def _decode_replay(outcome: Outcome) -> ReplayResult:
    return ReplayResult(
        tuple(outcome["days"]),
        tuple(np.array(rows, dtype=np.intp) for rows in outcome["lists"]),
        tuple(np.array(scores) for scores in outcome["scores"]),
        outcome["most"],
        outcome["dayless"],
    )


def build_replay_outputs(
    title: str,
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    dataset: LabeledDataset,
    trials_by_name: dict[str, list[Trial]],
) -> Outputs:
    """The page and tables of a replay. The page shows the first of several trials; the tables have all."""
    budgets = tuple(sorted(experiment.budgets))
    rows: list[dict[str, Any]] = []
    class_rows: list[dict[str, Any]] = []
    methods_by_trials: dict[str, list[MethodView]] = {}
    for outcome in outcomes:
        if outcome["problem"]:
            continue
        trial = next(trial for trial in trials_by_name[outcome["trials"]] if trial.number == outcome["number"])
        method = _build_method(experiment, outcome, [dataset.members[row].label for row in trial.rows], budgets)
        methods_by_trials.setdefault(outcome["trials"], []).append(method)
        names = select_names(outcome, (*SUMMARY_KEYS, "variant"))
        whole_need = max(method.needed_budgets.values(), default=0)
        rows += [names | {"needed": whole_need} | asdict(metrics) for metrics in method.metrics]
        for label, rank in method.needed_budgets.items():
            delays = {f"delay_{b}": delay for b, delay in zip(budgets, method.delays[label], strict=True)}
            class_rows.append(names | {"class": label, "needed": rank} | delays)
    page = None
    if methods_by_trials:
        trials, methods = next(iter(methods_by_trials.items()))
        view = _build_view(title, experiment, dataset, trials_by_name[trials][0], budgets, methods)
        page = RenderedPage(render_replay_page(view), _build_headline(view), {"rows": rows}, _format_markdown(view))
    return build_outputs(title, {".csv": rows, "-classes.csv": class_rows}, page)


def _build_method(
    experiment: Experiment, outcome: Outcome, labels: list[str | None], budgets: tuple[int, ...]
) -> MethodView:
    name = format_method_name(
        outcome,
        representation=experiment.representations,
        treatment=experiment.treatments,
        variant=experiment.horizons,
    )
    return MethodView.from_replay(name, _decode_replay(outcome), labels, budgets)


def _build_view(
    title: str,
    experiment: Experiment,
    dataset: LabeledDataset,
    trial: Trial,
    budgets: tuple[int, ...],
    methods: list[MethodView],
) -> ReplayView:
    days = extract_trial_days(experiment, dataset, trial)
    members = [dataset.members[row] for row in trial.rows]
    labels = [member.label for member in members]
    best_possible, oracle_curves = build_oracle_view(days, labels, budgets)
    chronological = replays.replay_chronological(days)
    unique_days = sorted({day for day in days if day is not None})
    return ReplayView(
        title=title,
        description="Each day's images are ranked by the memory of the days before, which then learns all of them.",
        days=(unique_days[0], unique_days[-1]),
        images=len(days),
        undated_count=sum(day is None for day in days),
        budgets=budgets,
        methods=(*methods, MethodView.from_replay("as they come", chronological, labels, budgets)),
        chance=ChanceView.from_days(days, labels, budgets),
        best_possible=best_possible,
        oracle_curves=oracle_curves,
        classes=tuple(
            ClassView(
                label=debut.label,
                day=debut.day,
                images=len(debut.rows),
                day_images=debut.day_images,
                expected_needed_budget=replay_metrics.expected_needed_budget(debut),
                id=members[debut.rows[0]].id,
                picture=load_thumbnail(members[debut.rows[0]]),
            )
            for debut in replays.find_debuts(chronological, labels)
        ),
    )


def _build_headline(view: ReplayView) -> str:
    best = max(view.methods, key=lambda method: [metrics.first_day for metrics in method.metrics[::-1]])
    metrics, chance = best.metrics[-1], view.chance.metrics[-1]
    return (
        f"{best.name} shows {metrics.first_day:.0f} of {metrics.classes} classes on their first day to a person who looks at "
        f"{metrics.budget} pictures a day (random: {chance.first_day:.1f})"
    )


def _format_markdown(view: ReplayView) -> MarkdownText:
    head = [
        "method",
        *(f"first day, {budget} a day" for budget in view.budgets),
        *(f"nAUC of what is attainable, {budget} a day" for budget in view.budgets),
        "pictures a day that show all on their first day",
    ]
    method_rows = [
        (method.name, method.metrics, str(max(method.needed_budgets.values(), default=0))) for method in view.methods
    ]
    method_rows += [
        (MarkdownText("*random, expected*"), view.chance.metrics, ""),
        (MarkdownText("*the best that is possible*"), view.best_possible, ""),
    ]
    rows = [
        [
            name,
            *(f"{metric.first_day:.3g} of {metric.classes}" for metric in metrics),
            *(f"{metric.attainable:.1f}" for metric in metrics),
            needed_text,
        ]
        for name, metrics, needed_text in method_rows
    ]
    return format_markdown_table(head, rows)
