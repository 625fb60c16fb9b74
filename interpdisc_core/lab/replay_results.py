"""A replay's outcomes, for its readers: which classes a person would have seen on their first day."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from interpdisc_core.lab import replay as replays
from interpdisc_core.lab import tables
from interpdisc_core.lab.collection import Collection
from interpdisc_core.lab.products import Made, called, markdown_table, slug, thumbnail
from interpdisc_core.lab.replay import Replay
from interpdisc_core.lab.replay_page import ChanceView, ClassView, MethodView, ReplayView, oracle_view, render
from interpdisc_core.lab.results import Outcome
from interpdisc_core.lab.study import Replay as Experiment
from interpdisc_core.lab.trials import Trial


def days_of(experiment: Experiment, images: Collection, trial: Trial) -> list[replays.Day | None]:
    """The day of each of a trial's images, None where it has none."""
    column = images.about.columns[experiment.column]
    return replays.days_of(
        [None if column[row] is None else str(column[row]) for row in trial.rows], experiment.day
    )  # fmt: skip


def kept(replay: Replay) -> dict[str, Any]:
    """A replay as an outcome keeps it."""
    return {
        "days": list(replay.days), "lists": [rows.tolist() for rows in replay.lists], "most": replay.most,
        "dayless": replay.dayless, "scores": [scores.tolist() for scores in replay.scores],
    }  # fmt: skip


def _replay(outcome: Outcome) -> Replay:
    return Replay(
        tuple(outcome["days"]), tuple(np.array(rows, dtype=np.intp) for rows in outcome["lists"]),
        tuple(np.array(scores) for scores in outcome["scores"]), outcome["most"], outcome["dayless"],
    )  # fmt: skip


def products(
    title: str, experiment: Experiment, found: Sequence[Outcome], images: Collection, drawn: dict[str, list[Trial]]
) -> Made:
    """The page and tables of a replay. Of several trials the page shows the first; the tables hold all."""
    budgets = tuple(sorted(experiment.budgets))
    rows: list[tables.Row] = []
    classes: list[tables.Row] = []
    views: dict[str, list[MethodView]] = {}
    for outcome in found:
        if outcome["problem"]:
            continue
        trial = next(trial for trial in drawn[outcome["trials"]] if trial.number == outcome["number"])
        labels = [images.members[row].label for row in trial.rows]
        name = called(
            outcome,
            representation=experiment.representations,
            treatment=experiment.treatments,
            variant=experiment.horizons,
        )
        view = MethodView.of(name, _replay(outcome), labels, budgets)
        views.setdefault(outcome["trials"], []).append(view)
        names = {
            key: outcome[key] for key in ("experiment", "representation", "treatment", "method", "trials", "variant")
        }
        rows += [names | {"needed": max(view.needed.values(), default=0)} | asdict(tally) for tally in view.tallies]
        classes += [
            names | {"class": label, "needed": rank} | {f"delay_{b}": wait for b, wait in zip(budgets, view.delays[label], strict=True)}
            for label, rank in view.needed.items()
        ]  # fmt: skip
    name = slug(title)
    files = {f"{name}.csv": tables.comma_separated(rows), f"{name}-classes.csv": tables.comma_separated(classes)}
    if not views:
        return Made(files, f"{name}.csv", "no method gave a result", {"headline": "no method gave a result"}, "")
    trials, methods = next(iter(views.items()))
    page = _view(title, experiment, images, drawn[trials][0], budgets, methods)
    files[f"{name}.html"] = render(page).encode()
    headline = _headline(page)
    summary = {"headline": headline, "page": f"{name}.html", "rows": json.loads(json.dumps(rows))}
    return Made(files, f"{name}.html", headline, summary, f"## {title}\n\n{_markdown(page)}\n")


def _view(
    title: str, experiment: Experiment, images: Collection, trial: Trial, budgets: tuple[int, ...], methods: list[MethodView]
) -> ReplayView:  # fmt: skip
    days, labels = days_of(experiment, images, trial), [images.members[row].label for row in trial.rows]
    best, oracles = oracle_view(days, labels, budgets)
    chronological = replays.chronological(days)
    members = [images.members[row] for row in trial.rows]
    there = sorted({day for day in days if day is not None})
    return ReplayView(
        title=title,
        about="Each day's images are ranked against the memory of the days before, which then takes in all of them.",
        days=(there[0], there[-1]), images=len(days), dayless=sum(day is None for day in days), budgets=budgets,
        methods=(*methods, MethodView.of("as they come", chronological, labels, budgets)),
        chance=ChanceView.of(days, labels, budgets), best=best, oracles=oracles,
        classes=tuple(
            ClassView(
                label=one.label, day=one.day, images=len(one.rows), of=one.images, by_chance=replays.needed_by_chance(one),
                id=members[one.rows[0]].id, picture=thumbnail(members[one.rows[0]]),
            )
            for one in replays.debuts(chronological, labels)
        ),
    )  # fmt: skip


def _headline(view: ReplayView) -> str:
    best = max(view.methods, key=lambda method: [tally.first_day for tally in method.tallies[::-1]])
    tally, chance = best.tallies[-1], view.chance.tallies[-1]
    return (
        f"{best.name} shows {tally.first_day:.0f} of {tally.classes} classes on their first day to a person who looks at "
        f"{tally.budget} pictures a day (random: {chance.first_day:.1f})"
    )


def _markdown(view: ReplayView) -> str:
    head = ["method", *(f"first day, {b} a day" for b in view.budgets), *(f"nAUC of what is attainable, {b} a day" for b in view.budgets),
            "pictures a day that show all on their first day"]  # fmt: skip
    every = [(m.name, m.tallies, str(max(m.needed.values(), default=0))) for m in view.methods]
    every += [("*random, expected*", view.chance.tallies, ""), ("*the best that is possible*", view.best, "")]
    rows = [
        [name, *(f"{t.first_day:.3g} of {t.classes}" for t in tallies), *(f"{t.attainable:.1f}" for t in tallies), needed]
        for name, tallies, needed in every
    ]  # fmt: skip
    return markdown_table(head, rows)
