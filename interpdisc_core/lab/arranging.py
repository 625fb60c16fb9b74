"""Arranging: which images a study looks at, and how its cells are parted among tasks."""

from dataclasses import asdict, dataclass

import numpy as np

from interpdisc_core import digest
from interpdisc_core.errors import PlanError
from interpdisc_core.lab import collection as collections
from interpdisc_core.lab import study as studies
from interpdisc_core.lab.cells import Cell, cells, outcomes, place_of, trials_of
from interpdisc_core.lab.collection import Collected
from interpdisc_core.lab.study import Study
from interpdisc_core.runs import Inputs

_TOGETHER = 60
"""Most cells of a task: a kill loses the one in progress, but the next run reads the features again."""


@dataclass(frozen=True)
class Arranged:
    """A study in an archive. name: its folder. parts: what tasks do, cells of one representation each."""

    name: str
    parts: tuple[int, ...]
    cells: int
    left: int


def collect(url: str, listing: str, inputs: Inputs, study: Study, block: int, workers: int) -> Collected:
    """Settle a listing, keep who is in it, and see to it that the study can be made of it.

    Raises PlanError where no image has a label, where trials cannot be drawn, and for novel classes that there are not.
    """
    collected = collections.collect(url, listing, inputs, block, workers)
    if not collected.classes:
        raise PlanError("no image has a class: name a CSV with --labels, or `folder` for the names of their folders.")
    images = collections.read(url, collected.name)
    for experiment in study.experiments.values():
        trials_of(experiment, images, np.arange(len(images.members)))
        known = {member.label for member in images.members}
        absent = [name for name in getattr(experiment, "novel", ()) if name not in known]
        if absent:
            raise PlanError(f"study: no image is of the novel class {absent[0]!r}; there are {_listed(known)}.")
    return collected


def arrange(url: str, collection: str, study: Study, workers: int) -> Arranged:
    """Keep the study and part its cells that are not done yet: at least twice as many parts as workers, if there are cells.

    Parts of one representation, so that each reads its features once; those of a trial stay together.
    """
    images = collections.read(url, collection)
    among = collections.everyone(url, images, study.representations)
    every = list(cells(study, images, among))
    done = set(outcomes(url).names())
    name = digest.of_json([collection, studies.to_json(study), sorted(cell.digest for cell, _ in every)])
    place = place_of(url, name)
    by_representation: dict[str, list[Cell]] = {}
    seen: set[str] = set()
    for cell, _ in every:
        if f"{cell.digest}.json" not in done and cell.digest not in seen:
            by_representation.setdefault(cell.representation, []).append(cell)
            seen.add(cell.digest)
    todo = sum(map(len, by_representation.values()))
    most = max(1, min(_TOGETHER, -(-todo // max(2 * workers, 1))))
    parts = [
        some[start : start + most] for some in by_representation.values() for start in range(0, len(some), most)
    ]  # fmt: skip
    place.write("study.json", studies.text(study))
    place.write_json("cells.json", {
        "collection": collection, "among": [int(row) for row in among], "cells": [asdict(cell) for cell, _ in every],
    })  # fmt: skip
    for number, part in enumerate(parts):
        place.write_json(f"parts/{number:05d}.json", [cell.digest for cell in part])
    return Arranged(name, tuple(range(len(parts))), len(every), todo)


def _listed(names: set[str | None]) -> str:
    every = sorted(filter(None, names))
    return ", ".join(every[:20]) + (f" and {len(every) - 20} more" if len(every) > 20 else "")
