"""The outcomes of a search for wrong labels, for its readers: what was found of planted ones, and images to judge."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interpdisc_core.lab import tables
from interpdisc_core.lab.collection import Collection
from interpdisc_core.lab.label_page import LabelView, NeighbourView, PlantedView, SuspectView, render
from interpdisc_core.lab.products import Made, called, markdown_table, slug, thumbnail
from interpdisc_core.lab.results import Outcome
from interpdisc_core.lab.study import LabelErrors as Experiment
from interpdisc_core.lab.trials import Trial

_NEAR = 3
"""Neighbours that a page shows beside a suspect."""


def products(
    title: str, experiment: Experiment, found: Sequence[Outcome], images: Collection, drawn: dict[str, list[Trial]]
) -> Made:
    """The page and tables: what methods find of planted labels, and real labels for a person to judge.

    The page shows the suspects of the method that finds most of what was planted; the table has all, and a column for
    judgements.
    """
    done = [outcome for outcome in found if not outcome["problem"]]
    planted = [(name, view) for name, view in _planted(experiment, [o for o in done if o["setting"] is not None])]
    real = [outcome for outcome in done if outcome["setting"] is None]
    name = slug(title)
    rows = [_row(names, view) for names, view in planted]
    files = {f"{name}-planted.csv": tables.comma_separated(rows)}
    files[f"{name}-suspects.csv"] = tables.comma_separated(
        [row for outcome in real for row in _suspect_rows(outcome, images)]
    )
    if not real:
        return Made(
            files, f"{name}-planted.csv", "no method gave a result", {"headline": "no method gave a result"}, ""
        )
    shown = _best(real, planted)
    planted.sort(key=lambda one: one[0] != _names(shown))  # the page is about the first
    view = _view(title, experiment, shown, images, [view for _, view in planted], f"{name}-suspects.csv")
    files[f"{name}.html"] = render(view).encode()
    headline = _headline([view for _, view in planted], len(view.suspects))
    head = ["features, treatment, method, trials", "rate", "planted", "precision at as many", "average precision"]
    lines = [
        [", ".join(names), f"{100 * v.rate:g} %", f"{v.planted:.4g}",
         f"{v.precision:.3f}" + (f" ± {v.spread:.3f}" if v.spread is not None else ""), f"{v.average_precision:.3f}"]
        for names, v in planted
    ]  # fmt: skip
    summary = {"headline": headline, "page": f"{name}.html", "planted": rows}
    return Made(files, f"{name}.html", headline, summary, f"## {title}\n\n{markdown_table(head, lines)}\n")


def _planted(experiment: Experiment, found: Sequence[Outcome]) -> list[tuple[tuple[str, ...], PlantedView]]:
    groups: dict[tuple[Any, ...], list[Outcome]] = {}
    for outcome in found:
        groups.setdefault((_names(outcome), outcome["setting"][0]), []).append(outcome)
    made = []
    for (names, rate), draws in groups.items():
        precision = [float(outcome["precision"]) for outcome in draws]
        made.append((names, PlantedView(
            method=called(
                draws[0], representation=experiment.representations, treatment=experiment.treatments, trials=experiment.trials
            ), rate=rate, planted=float(np.mean([outcome["planted"] for outcome in draws])),
            precision=float(np.mean(precision)), spread=float(np.std(precision, ddof=1)) if len(precision) > 1 else None,
            average_precision=float(np.mean([outcome["average_precision"] for outcome in draws])),
        )))  # fmt: skip
    return made


def _best(real: Sequence[Outcome], planted: Sequence[tuple[tuple[str, ...], PlantedView]]) -> Outcome:
    """The suspects by the method of the greatest precision, mean over rates; the first where nothing was planted."""
    found: dict[tuple[str, ...], list[float]] = {}
    for names, view in planted:
        found.setdefault(names, []).append(view.precision)
    return max(real, key=lambda outcome: float(np.mean(found.get(_names(outcome), [0.0]))))


def _names(outcome: Outcome) -> tuple[str, ...]:
    return tuple(str(outcome[key]) for key in ("representation", "treatment", "method", "trials"))


def _row(names: tuple[str, ...], view: PlantedView) -> tables.Row:
    representation, treatment, method, trials = names
    return {
        "representation": representation, "treatment": treatment, "method": method, "trials": trials, "rate": view.rate,
        "planted": view.planted, "precision": view.precision, "precision_sd": view.spread,
        "average_precision": view.average_precision,
    }  # fmt: skip


def _suspect_rows(outcome: Outcome, images: Collection) -> list[tables.Row]:
    names = {key: outcome[key] for key in ("representation", "treatment", "method", "trials")}
    return [
        names | {"rank": rank, "id": images.members[row].id, "given": images.members[row].label, "suggested": suggested,
                 "score": score, "judgement": ""}
        for rank, (row, score, suggested) in enumerate(
            zip(outcome["rows"], outcome["scores"], outcome["suggested"], strict=True), start=1
        )
    ]  # fmt: skip


def _view(
    title: str, experiment: Experiment, outcome: Outcome, images: Collection, planted: Sequence[PlantedView], table: str
) -> LabelView:
    suspects = []
    for place in range(min(experiment.shown, len(outcome["rows"]))):
        member = images.members[outcome["rows"][place]]
        near = [images.members[row] for row in outcome["neighbours"][place][:_NEAR]]
        suspects.append(SuspectView(
            rank=place + 1, id=member.id, given=member.label or "", suggested=outcome["suggested"][place],
            score=outcome["scores"][place], picture=thumbnail(member),
            near=tuple(NeighbourView(id=other.id, label=other.label or "", picture=thumbnail(other, 96)) for other in near),
        ))  # fmt: skip
    return LabelView(
        title=title,
        about=f"The suspects are those of “{outcome['method']}”, which finds most of what was planted, among {outcome['trials']}; "
        f"features {outcome['representation']}, treated {outcome['treatment']}.",
        method=outcome["method"], images=outcome["images"], classes=outcome["classes"], judged=outcome["judged"],
        suspects=tuple(suspects), planted=tuple(planted), table=table,
    )  # fmt: skip


def _headline(planted: Sequence[PlantedView], shown: int) -> str:
    if not planted:
        return f"{shown} suspicious labels to judge"
    best = max(planted, key=lambda view: view.precision)
    return (
        f"{best.method} finds {100 * best.precision:.0f} % of the labels that were made wrong at a rate of "
        f"{100 * best.rate:g} % among as many suspects; {shown} real labels to judge"
    )
