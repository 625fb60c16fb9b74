"""The images of a study, and the assignment of its cells to tasks."""

from dataclasses import asdict, dataclass

import numpy as np

from interpdisc_core import digest
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation import study as studies
from interpdisc_core.evaluation.dataset import DatasetSummary, collect_images, read_dataset, rows_with_all_features
from interpdisc_core.evaluation.grid import GridCell, draw_trials, iter_cells, locate_outcomes, locate_study
from interpdisc_core.evaluation.study import Study
from interpdisc_core.pipeline.partition import part_size

_MAX_CELLS_PER_TASK = 60
"""Most cells of a task: a kill loses one cell, but the next run must read the features again."""


@dataclass(frozen=True)
class Schedule:
    """A study in an archive.

    Attributes:
        name: Of its folder.
        part_numbers: One a task; a part has cells of one representation.
        cell_count: All cells.
        remaining_cells: Cells that are not computed yet.
    """

    name: str
    part_numbers: tuple[int, ...]
    cell_count: int
    remaining_cells: int


def collect_dataset(
    url: str, listing: str, inputs: RunInputs, study: Study, block: int, workers: int
) -> DatasetSummary:
    """Collect the images of a listing, and check that the study can be made of them.

    Args:
        url: The archive.
        listing: Name of the listing in it.
        inputs: What was listed, and its labels.
        study: The study.
        block: Images of a block of features.
        workers: How many workers the images are spread over.

    Raises:
        PlanError: If no image has a label, trials cannot be drawn, or the collection lacks a novel class.
    """
    summary = collect_images(url, listing, inputs, block, workers)
    if not summary.classes:
        raise PlanError(
            "no image has a class: give a CSV with --labels, or `--labels folder` for the names of their folders."
        )
    dataset = read_dataset(url, summary.name)
    for experiment in study.experiments.values():
        draw_trials(experiment, dataset, np.arange(len(dataset.members)))
        class_names = {member.label for member in dataset.members}
        missing_names = [name for name in getattr(experiment, "novel", ()) if name not in class_names]
        if missing_names:
            raise PlanError(
                f"study: no image has the novel class {missing_names[0]!r}; the classes are {_join_names(class_names)}."
            )
    return summary


def schedule_cells(url: str, dataset_name: str, study: Study, workers: int) -> Schedule:
    """Write the study, and divide the cells that are not computed yet into parts, at least two a worker if there are enough.

    A part has cells of one representation, whose features it reads once; cells of one trial follow each other.

    Args:
        url: The archive.
        dataset_name: Name of the collection in it.
        study: The study.
        workers: How many workers the parts are for.
    """
    dataset = read_dataset(url, dataset_name)
    eligible_rows = rows_with_all_features(url, dataset, study.representations)
    cell_trials = list(iter_cells(study, dataset, eligible_rows))
    outcome_files = set(locate_outcomes(url).list_names())
    name = digest.digest_json(
        [dataset_name, studies.study_to_json(study), sorted(cell.digest for cell, _ in cell_trials)]
    )
    location = locate_study(url, name)
    by_representation: dict[str, list[GridCell]] = {}
    digests: set[str] = set()
    for cell, _ in cell_trials:
        if f"{cell.digest}.json" not in outcome_files and cell.digest not in digests:
            by_representation.setdefault(cell.representation, []).append(cell)
            digests.add(cell.digest)
    remaining = sum(map(len, by_representation.values()))
    cells_per_task = part_size(remaining, _MAX_CELLS_PER_TASK, 2 * workers)
    parts = [
        group[start : start + cells_per_task]
        for group in by_representation.values()
        for start in range(0, len(group), cells_per_task)
    ]
    location.write_checked("study.json", studies.encode_study(study))
    location.write_checked_json(
        "cells.json",
        {
            "collection": dataset_name,
            "among": [int(row) for row in eligible_rows],
            "cells": [asdict(cell) for cell, _ in cell_trials],
        },
    )
    for number, part in enumerate(parts):
        location.write_checked_json(f"parts/{number:05d}.json", [cell.digest for cell in part])
    return Schedule(name, tuple(range(len(parts))), len(cell_trials), remaining)


def _join_names(names: set[str | None]) -> str:
    sorted_names = sorted(filter(None, names))
    return ", ".join(sorted_names[:20]) + (f" and {len(sorted_names) - 20} more" if len(sorted_names) > 20 else "")
