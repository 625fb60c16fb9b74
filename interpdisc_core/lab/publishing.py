"""The last step of a study: its tables and pages, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from interpdisc_core.evaluation import expected_random_curve, random_band
from interpdisc_core.ingest import environment
from interpdisc_core.lab import collection as collections
from interpdisc_core.lab import label_results, replay_results, results, tables
from interpdisc_core.lab import study as studies
from interpdisc_core.lab.cells import place_of, trials_of
from interpdisc_core.lab.collection import Collection
from interpdisc_core.lab.page import StudyView, TrialsView, render
from interpdisc_core.lab.results import Line, Outcome
from interpdisc_core.lab.study import Discovery, LabelErrors, Study
from interpdisc_core.lab.trials import Trial
from interpdisc_core.storage import Place


@dataclass(frozen=True, slots=True)
class Published:
    """Where a study's products are. address: of result.json; report: of the page; link: the page as a URL."""

    address: str
    report: str
    link: str
    result: dict[str, Any]


def publish(url: str, name: str, out: str, command: str, timings: dict[str, float]) -> Published:
    """Write evaluation.html, the pages and tables of its experiments, study.json and result.json.

    They go into the study's folder, and beside that into the local folder `out` where one is given.
    command: what was typed, for the page. timings: seconds by stage, of this process; stages that were done before took none.
    """
    place = place_of(url, name)
    study = studies.parse(place.read_json("study.json"), f"{place.url}/study.json")
    about = place.read_json("cells.json")
    images = collections.read(url, about["collection"])
    found = results.read(url, name)
    of = {title: [o for o in found if o["experiment"] == title] for title in study.experiments}
    among = np.array(about["among"], dtype=np.intp)
    drawn = {title: trials_of(experiment, images, among) for title, experiment in study.experiments.items()}

    discoveries = [o for title, e in study.experiments.items() if isinstance(e, Discovery) for o in of[title]]
    lines = results.lines(discoveries)
    products: dict[str, bytes] = {
        "cells.csv": tables.comma_separated(tables.cell_rows(found)),
        "cells.parquet": tables.parquet(tables.cell_rows(found)),
        "tables.md": tables.markdown(lines).encode(),
        "study.json": place.read("study.json"),
    }
    if lines:
        products |= {
            "summary.csv": tables.comma_separated(tables.line_rows(lines)),
            "summary.parquet": tables.parquet(tables.line_rows(lines)),
            "firsts.csv": tables.comma_separated(tables.first_rows(discoveries)),
            "firsts.parquet": tables.parquet(tables.first_rows(discoveries)),
        }
    others: list[tuple[str, str, str]] = []
    summaries: dict[str, Any] = {}
    for title, experiment in study.experiments.items():
        if isinstance(experiment, Discovery):
            continue
        module: Any = label_results if isinstance(experiment, LabelErrors) else replay_results
        made = module.products(title, experiment, of[title], images, drawn[title])
        products |= made.files
        others.append((title, made.page, made.headline))
        summaries[title] = made.summary
        products["tables.md"] += made.markdown.encode()

    result = {
        "study": name, "command": command, "title": study.title, "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "images": len(about["among"]), "left_out": len(images.members) - len(about["among"]),
        "labelled": sum(bool(images.members[row].label) for row in about["among"]),
        "classes": len({images.members[row].label for row in about["among"]} - {None, ""}),
        "cells": len(found), "problems": [[_called(o), o["problem"]] for o in found if o["problem"]],
        "lines": tables.line_rows(lines), **({"others": summaries} if summaries else {}),
        "timings": timings, "environment": environment(), "settings": studies.to_json(study),
    }  # fmt: skip
    products["evaluation.html"] = render(_view(study, command, result, lines, images, drawn, others)).encode()
    places = [place, *([Place.of(out)] if out else [])]
    for where in places:
        for file, data in products.items():
            where.write(file, data)
        result["report"] = f"{where.url}/evaluation.html"
        where.write_json("result.json", _finite(result))
    report = f"{places[-1].url}/evaluation.html"
    link = report if places[-1].remote else Path(report).as_uri()
    return Published(f"{places[-1].url}/result.json", report, link, result)


def _view(
    study: Study, command: str, result: dict[str, Any], lines: Sequence[Line], images: Collection,
    drawn: dict[str, dict[str, list[Trial]]], others: list[tuple[str, str, str]],
) -> StudyView:  # fmt: skip
    return StudyView(
        title=study.title, images=result["images"], labelled=result["labelled"], classes=result["classes"],
        trials=tuple(
            _trials_view(experiment, title, name, [x for x in lines if (x.experiment, x.trials) == (title, name)], images, trials)
            for title, experiment in study.experiments.items()
            if isinstance(experiment, Discovery)
            for name, trials in drawn[title].items()
        ),
        others=tuple(others), settings=result["settings"], environment=result["environment"], timings=result["timings"],
        command=command,
        problems=tuple((name, why) for name, why in result["problems"]),
    )  # fmt: skip


def _trials_view(
    experiment: Discovery, title: str, name: str, lines: list[Line], images: Collection, trials: list[Trial]
) -> TrialsView:
    labels = [[images.members[row].label for row in trial.rows] for trial in trials]
    t = min(experiment.t, min(map(len, labels)))
    classes = float(np.mean([len({label for label in of if label}) for of in labels]))
    described = experiment.trials[name]
    return TrialsView(
        experiment=title, name=name, description=_described(described, labels), lines=lines,
        random=np.mean([expected_random_curve(of, t) for of in labels], axis=0),
        band=random_band(labels[0], t) if len(labels) == 1 else None, oracle=results.oracle(classes, t),
    )  # fmt: skip


def _described(trials: Any, labels: list[list[str | None]]) -> str:
    size = float(np.mean([len(of) for of in labels]))
    classes = float(np.mean([len({label for label in of if label}) for of in labels]))
    where = f" where {trials.where}" if trials.where else ""
    how = {
        "whole": "all images" + where,
        "one-each": f"the first image of each product{where}",
        "drawn": " and ".join(f"{group.classes} classes of {group.images}" for group in getattr(trials, "groups", ()))
        + f", drawn anew each time{where}",
        "resampled": f"images drawn with replacement{where}",
        "reordered": f"all images in other orders{where}",
    }[trials.kind]
    draws = f", {len(labels)} draws" if len(labels) > 1 else ""
    return f"{how}: {size:,.0f} images of {classes:.3g} classes{draws}"


def _called(outcome: Outcome) -> str:
    parts = ("representation", "treatment", "method", "trials", "variant")
    return ", ".join(str(outcome[part]) for part in parts if outcome[part]) + f", draw {outcome['number'] + 1}"


def _finite(value: Any) -> Any:
    """The same value for JSON, which knows no NaN: null."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)
