"""The outcomes of a search for wrong labels: how many planted ones were found, and real labels for a person to judge."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interpdisc_core.evaluation.aggregate import METHOD_KEYS, Outcome, select_names
from interpdisc_core.evaluation.dataset import LabeledDataset
from interpdisc_core.evaluation.label_errors_page import (
    DetectionView,
    LabelErrorsView,
    NeighborView,
    SuspectView,
    render_label_errors_page,
)
from interpdisc_core.evaluation.outputs import (
    Outputs,
    RenderedPage,
    build_outputs,
    format_method_name,
    load_thumbnail,
    name_output,
)
from interpdisc_core.evaluation.study import LabelErrorExperiment as Experiment
from interpdisc_core.reporting.escaping import format_markdown_table
from interpdisc_core.storage.tables import TableRow

_SHOWN_NEIGHBORS = 3
"""Neighbors that the page shows of a suspect."""
_PLANTED, _SUSPECTS = "-planted.csv", "-suspects.csv"

MethodKey = tuple[str, ...]
"""A method's names, in the order of `METHOD_KEYS`."""
_Detection = tuple[MethodKey, DetectionView]


def build_label_error_outputs(
    title: str, experiment: Experiment, outcomes: Sequence[Outcome], dataset: LabeledDataset
) -> Outputs:
    """The page and tables: what methods find of planted labels, and real labels for a person to judge.

    The page shows the suspects of the method that finds most of the planted labels. The table has those of all methods,
    and an empty column for judgments.
    """
    completed = [outcome for outcome in outcomes if not outcome["problem"]]
    detections = _build_detections(experiment, [outcome for outcome in completed if outcome["setting"] is not None])
    real_outcomes = [outcome for outcome in completed if outcome["setting"] is None]
    planted_rows = [_detection_row(*detection) for detection in detections]
    suspect_rows = [row for outcome in real_outcomes for row in _suspect_rows(outcome, dataset)]
    page = _render_page(title, experiment, real_outcomes, dataset, detections, planted_rows) if real_outcomes else None
    return build_outputs(title, {_PLANTED: planted_rows, _SUSPECTS: suspect_rows}, page)


def _render_page(
    title: str,
    experiment: Experiment,
    real_outcomes: Sequence[Outcome],
    dataset: LabeledDataset,
    detections: Sequence[_Detection],
    planted_rows: Sequence[TableRow],
) -> RenderedPage:
    best_outcome = _select_best_outcome(real_outcomes, detections)
    best_key = _method_key(best_outcome)
    detections = sorted(detections, key=lambda detection: detection[0] != best_key)  # the page is about the first
    view = _build_view(title, experiment, best_outcome, dataset, [detection for _, detection in detections])
    head = ["features, treatment, method, trials", "rate", "planted", "precision at as many", "average precision"]
    table_rows = [
        [
            ", ".join(key),
            f"{100 * detection.rate:g} %",
            f"{detection.error_count:.4g}",
            f"{detection.precision:.3f}"
            + (f" ± {detection.precision_sd:.3f}" if detection.precision_sd is not None else ""),
            f"{detection.average_precision:.3f}",
        ]
        for key, detection in detections
    ]
    return RenderedPage(
        render_label_errors_page(view),
        _build_headline(view.detections, len(view.suspects)),
        {"planted": planted_rows},
        format_markdown_table(head, table_rows),
    )


def _build_detections(experiment: Experiment, outcomes: Sequence[Outcome]) -> list[_Detection]:
    """How well each method finds planted labels at each rate, over draws."""
    groups: dict[tuple[MethodKey, float], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((_method_key(outcome), outcome["setting"][0]), []).append(outcome)
    detections = []
    for (key, rate), draws in groups.items():
        precision = [float(outcome["precision"]) for outcome in draws]
        name = format_method_name(
            draws[0],
            representation=experiment.representations,
            treatment=experiment.treatments,
            trials=experiment.trials,
        )
        detection = DetectionView(
            method=name,
            rate=rate,
            error_count=float(np.mean([outcome["planted"] for outcome in draws])),
            precision=float(np.mean(precision)),
            precision_sd=float(np.std(precision, ddof=1)) if len(precision) > 1 else None,
            average_precision=float(np.mean([outcome["average_precision"] for outcome in draws])),
        )
        detections.append((key, detection))
    return detections


def _select_best_outcome(real_outcomes: Sequence[Outcome], detections: Sequence[_Detection]) -> Outcome:
    """The outcome of the method with the greatest precision, mean over rates; the first if nothing was planted."""
    precisions: dict[MethodKey, list[float]] = {}
    for key, detection in detections:
        precisions.setdefault(key, []).append(detection.precision)
    return max(real_outcomes, key=lambda outcome: float(np.mean(precisions.get(_method_key(outcome), [0.0]))))


def _method_key(outcome: Outcome) -> MethodKey:
    return tuple(str(name) for name in select_names(outcome, METHOD_KEYS).values())


def _detection_row(key: MethodKey, detection: DetectionView) -> dict[str, Any]:
    return {
        **dict(zip(METHOD_KEYS, key, strict=True)),
        "rate": detection.rate,
        "planted": detection.error_count,
        "precision": detection.precision,
        "precision_sd": detection.precision_sd,
        "average_precision": detection.average_precision,
    }


def _suspect_rows(outcome: Outcome, dataset: LabeledDataset) -> list[TableRow]:
    return [
        {
            **select_names(outcome, METHOD_KEYS),
            "rank": rank,
            "id": dataset.members[row].id,
            "given": dataset.members[row].label,
            "suggested": suggested,
            "score": score,
            "judgement": "",
        }
        for rank, (row, score, suggested) in enumerate(
            zip(outcome["rows"], outcome["scores"], outcome["suggested"], strict=True), start=1
        )
    ]


def _build_view(
    title: str,
    experiment: Experiment,
    outcome: Outcome,
    dataset: LabeledDataset,
    detections: Sequence[DetectionView],
) -> LabelErrorsView:
    return LabelErrorsView(
        title=title,
        description=f"The suspects are those of “{outcome['method']}”, which finds most of the planted labels, among "
        f"{outcome['trials']}; features {outcome['representation']}, treatment {outcome['treatment']}.",
        method=outcome["method"],
        images=outcome["images"],
        classes=outcome["classes"],
        ranked_count=outcome["judged"],
        suspects=tuple(
            _build_suspect(outcome, dataset, index) for index in range(min(experiment.shown, len(outcome["rows"])))
        ),
        detections=tuple(detections),
        table_file=name_output(title, _SUSPECTS),
    )


def _build_suspect(outcome: Outcome, dataset: LabeledDataset, index: int) -> SuspectView:
    member = dataset.members[outcome["rows"][index]]
    neighbors = [dataset.members[row] for row in outcome["neighbours"][index][:_SHOWN_NEIGHBORS]]
    return SuspectView(
        rank=index + 1,
        id=member.id,
        current_label=member.label or "",
        suggested_label=outcome["suggested"][index],
        score=outcome["scores"][index],
        picture=load_thumbnail(member),
        neighbors=tuple(
            NeighborView(id=neighbor.id, label=neighbor.label or "", picture=load_thumbnail(neighbor, 96))
            for neighbor in neighbors
        ),
    )


def _build_headline(detections: Sequence[DetectionView], suspect_count: int) -> str:
    if not detections:
        return f"{suspect_count} suspicious labels to judge"
    best = max(detections, key=lambda detection: detection.precision)
    return (
        f"{best.method} finds {100 * best.precision:.0f} % of the labels that were made wrong at a rate of "
        f"{100 * best.rate:g} % among as many suspects; {suspect_count} real labels to judge"
    )
