"""The last step of a study: its tables and pages."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interpdisc_core.evaluation import aggregate, tables
from interpdisc_core.evaluation import study as studies
from interpdisc_core.evaluation.aggregate import MethodSummary, Outcome
from interpdisc_core.evaluation.dataset import LabeledDataset, read_dataset
from interpdisc_core.evaluation.grid import draw_trials, locate_study
from interpdisc_core.evaluation.label_errors_results import build_label_error_outputs
from interpdisc_core.evaluation.outputs import Outputs
from interpdisc_core.evaluation.replay_results import build_replay_outputs
from interpdisc_core.evaluation.sampling import Trial
from interpdisc_core.evaluation.study import DiscoveryExperiment, LabelErrorExperiment, ReplayExperiment, Study
from interpdisc_core.evaluation.study_page import StudyView, TrialsView, render_study_page
from interpdisc_core.metrics.discovery import expected_random_curve, random_curve_sd
from interpdisc_core.provenance import collect_environment, utc_now
from interpdisc_core.storage.location import Location, encode_json
from interpdisc_core.storage.tables import rows_to_csv, rows_to_parquet


@dataclass(frozen=True, slots=True)
class PublishedStudy:
    """Where the results of a study are.

    Attributes:
        result_address: Address of result.json.
        report: Address of the page.
        link: The page as a URL.
        result: Content of result.json, NaN where it has null.
    """

    result_address: str
    report: str
    link: str
    result: dict[str, Any]


def publish_study(url: str, name: str, out: str, command: str, timings: dict[str, float]) -> PublishedStudy:
    """Write evaluation.html, the pages and tables of the experiments, study.json and result.json.

    Args:
        url: The archive; the files are written to the study's folder in it.
        name: The study's name in the archive.
        out: A folder that gets a copy; empty: none.
        command: What was typed, for the page.
        timings: Seconds by stage, of this process; stages that were done before took none.
    """
    study_location = locate_study(url, name)
    study = studies.parse_study(study_location.read_checked_json("study.json"), f"{study_location.url}/study.json")
    manifest = study_location.read_checked_json("cells.json")
    dataset = read_dataset(url, manifest["collection"])
    outcomes = aggregate.read_outcomes(url, name)
    eligible_rows = np.array(manifest["among"], dtype=np.intp)
    trials_by_experiment = {
        title: draw_trials(experiment, dataset, eligible_rows) for title, experiment in study.experiments.items()
    }
    discoveries = [
        outcome for outcome in outcomes if isinstance(study.experiments[outcome["experiment"]], DiscoveryExperiment)
    ]
    summaries = aggregate.summarize_methods(discoveries)
    outputs_by_title = _build_other_outputs(study, outcomes, dataset, trials_by_experiment)
    files = _build_tables(outcomes, discoveries, summaries) | {"study.json": study_location.read_checked("study.json")}
    for outputs in outputs_by_title.values():
        files |= outputs.files
        files["tables.md"] += outputs.markdown.encode()
    labels = [dataset.members[row].label for row in eligible_rows]
    result = {
        "study": name,
        "command": command,
        "title": study.title,
        "finished": utc_now(),
        "images": len(eligible_rows),
        "left_out": len(dataset.members) - len(eligible_rows),
        "labelled": sum(map(bool, labels)),
        "classes": len(set(labels) - {None, ""}),
        "cells": len(outcomes),
        "problems": [[_format_cell_name(outcome), outcome["problem"]] for outcome in outcomes if outcome["problem"]],
        "lines": tables.build_summary_rows(summaries),
        "timings": timings,
        "environment": collect_environment(),
        "settings": studies.study_to_json(study),
    }
    if outputs_by_title:
        result["others"] = {title: outputs.summary for title, outputs in outputs_by_title.items()}
    other_pages = [(title, outputs.main_file, outputs.headline) for title, outputs in outputs_by_title.items()]
    view = _build_view(study, command, result, summaries, dataset, trials_by_experiment, other_pages)
    files["evaluation.html"] = render_study_page(view).encode()
    return _write_files(files, result, [study_location, *([Location.parse(out)] if out else [])])


def _build_other_outputs(
    study: Study,
    outcomes: Sequence[Outcome],
    dataset: LabeledDataset,
    trials_by_experiment: dict[str, dict[str, list[Trial]]],
) -> dict[str, Outputs]:
    """The outputs of the experiments that have pages of their own, by title."""
    outputs_by_title: dict[str, Outputs] = {}
    for title, experiment in study.experiments.items():
        own_outcomes = [outcome for outcome in outcomes if outcome["experiment"] == title]
        if isinstance(experiment, LabelErrorExperiment):
            outputs_by_title[title] = build_label_error_outputs(title, experiment, own_outcomes, dataset)
        elif isinstance(experiment, ReplayExperiment):
            trials = trials_by_experiment[title]
            outputs_by_title[title] = build_replay_outputs(title, experiment, own_outcomes, dataset, trials)
    return outputs_by_title


def _build_tables(
    outcomes: Sequence[Outcome], discoveries: Sequence[Outcome], summaries: Sequence[MethodSummary]
) -> dict[str, bytes]:
    """The tables of all cells and of the discovery experiments, by file name."""
    rows_by_name = {"cells": tables.build_cell_rows(outcomes)}
    if summaries:
        rows_by_name |= {
            "summary": tables.build_summary_rows(summaries),
            "firsts": tables.build_first_pick_rows(discoveries),
        }
    files = {"tables.md": tables.format_markdown_report(summaries).encode()}
    for name, rows in rows_by_name.items():
        files |= {f"{name}.csv": rows_to_csv(rows), f"{name}.parquet": rows_to_parquet(rows)}
    return files


def _write_files(files: dict[str, bytes], result: dict[str, Any], locations: Sequence[Location]) -> PublishedStudy:
    """Write all files to each of the locations; the last one's addresses are returned."""
    for location in locations:
        is_archived = location == locations[0]  # the others are for people, without checksums
        write = location.write_checked if is_archived else location.write
        for file, data in files.items():
            write(file, data)
        result["report"] = f"{location.url}/evaluation.html"
        write("result.json", encode_json(_nan_to_null(result)))
    report = result["report"]
    link = report if locations[-1].is_remote else Path(report).as_uri()
    return PublishedStudy(f"{locations[-1].url}/result.json", report, link, result)


def _build_view(
    study: Study,
    command: str,
    result: dict[str, Any],
    summaries: Sequence[MethodSummary],
    dataset: LabeledDataset,
    trials_by_experiment: dict[str, dict[str, list[Trial]]],
    other_pages: Sequence[tuple[str, str, str]],
) -> StudyView:
    return StudyView(
        title=study.title,
        images=result["images"],
        labeled=result["labelled"],
        classes=result["classes"],
        trials=tuple(
            _build_trials_view(
                experiment,
                title,
                name,
                [summary for summary in summaries if (summary.experiment, summary.trials) == (title, name)],
                dataset,
                trials,
            )
            for title, experiment in study.experiments.items()
            if isinstance(experiment, DiscoveryExperiment)
            for name, trials in trials_by_experiment[title].items()
        ),
        other_pages=tuple(other_pages),
        settings=result["settings"],
        environment=result["environment"],
        timings=result["timings"],
        command=command,
        problems=tuple((name, reason) for name, reason in result["problems"]),
    )


def _build_trials_view(
    experiment: DiscoveryExperiment,
    title: str,
    name: str,
    summaries: list[MethodSummary],
    dataset: LabeledDataset,
    trials: list[Trial],
) -> TrialsView:
    labels = [[dataset.members[row].label for row in trial.rows] for trial in trials]
    t = min(experiment.t, min(map(len, labels)))
    classes = float(np.mean([len({label for label in trial_labels if label}) for trial_labels in labels]))
    sampling = experiment.trials[name]
    return TrialsView(
        experiment=title,
        name=name,
        description=_describe_trials(sampling, labels),
        summaries=summaries,
        random_curve=np.mean([expected_random_curve(trial_labels, t) for trial_labels in labels], axis=0),
        random_sd=random_curve_sd(labels[0], t) if len(labels) == 1 else None,
        oracle_curve=aggregate.round_oracle_curve(classes, t),
    )


def _describe_trials(sampling: Any, labels: list[list[str | None]]) -> str:
    size = float(np.mean([len(trial_labels) for trial_labels in labels]))
    classes = float(np.mean([len({label for label in trial_labels if label}) for trial_labels in labels]))
    condition = f" where {sampling.where}" if sampling.where else ""
    description = {
        "whole": "all images" + condition,
        "one-each": f"the first image of each product{condition}",
        "drawn": " and ".join(f"{group.classes} classes of {group.images}" for group in getattr(sampling, "groups", ()))
        + f", drawn again each time{condition}",
        "resampled": f"images drawn with replacement{condition}",
        "reordered": f"all images in other orders{condition}",
    }[sampling.kind]
    draws = f", {len(labels)} draws" if len(labels) > 1 else ""
    return f"{description}: {size:,.0f} images of {classes:.3g} classes{draws}"


def _format_cell_name(outcome: Outcome) -> str:
    parts = ("representation", "treatment", "method", "trials", "variant")
    return ", ".join(str(outcome[part]) for part in parts if outcome[part]) + f", draw {outcome['number'] + 1}"


def _nan_to_null(value: Any) -> Any:
    """The value with null for NaN, which JSON does not have."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)
