"""The page of suspicious labels: images for a person to judge, each beside those that it is most like.

`render` is a function of its view alone: one file without script or address, names escaped (`interpdisc_core.pages`).
What is ticked is counted by the browser's style sheet, and kept nowhere: who judges prints the page, or fills the table
that goes with it.
"""

from dataclasses import dataclass

import numpy as np

from interpdisc_core.images import Pixels
from interpdisc_core.pages import Photo, environment

JUDGEMENTS = (
    ("right", "the label is right"),
    ("suggested", "wrong: the suggested one is right"),
    ("other", "wrong: another one is right"),
    ("unclear", "cannot be told"),
)
"""What a person can say of a label: as it is written in the table, and as it is asked."""

_THUMB, _NEAR = 16_000, 5_500
"""Most bytes of an image and of a neighbour's: 300 suspects with three neighbours each stay under 14 MB."""


@dataclass(frozen=True, kw_only=True)
class NeighbourView:
    """A near image with its label, which may be wrong too. picture (h, w, 3), or None where the file is gone."""

    id: str
    label: str
    picture: Pixels | None


@dataclass(frozen=True, kw_only=True)
class SuspectView:
    """An image whose label is suspicious. rank: from 1, the most suspicious first. score: higher is more suspicious.

    given: its label. suggested: that of most of its neighbours; None where they have the same, or none. near: its
    nearest others, the nearest first. picture (h, w, 3), or None where the file is gone.
    """

    rank: int
    id: str
    given: str
    suggested: str | None
    score: float
    picture: Pixels | None
    near: tuple[NeighbourView, ...]


@dataclass(frozen=True, kw_only=True)
class PlantedView:
    """How well a method finds wrong labels that were planted at a rate (0 to 1), means over draws.

    planted: wrong labels. precision: share of them among as many of the most suspicious; spread: its standard deviation
    over draws, None of one. average_precision: see sklearn. Both 0 to 1, higher is better; a random order comes to `rate`.
    """

    method: str
    rate: float
    planted: float
    precision: float
    spread: float | None
    average_precision: float


@dataclass(frozen=True, kw_only=True)
class LabelView:
    """Suspicious labels of a collection. about: sentences on what was looked at and how. judged: how many were ranked.

    suspects: by falling suspicion. table: the name of the file where judgements are written; empty where there is none.
    """

    title: str
    about: str
    method: str
    images: int
    classes: int
    judged: int
    suspects: tuple[SuspectView, ...]
    planted: tuple[PlantedView, ...] = ()
    table: str = ""


@dataclass(frozen=True, slots=True)
class _Card:
    """A suspect with its pictures encoded."""

    suspect: SuspectView
    photo: Photo | None
    near: tuple[tuple[NeighbourView, Photo | None], ...]


def render(view: LabelView) -> str:
    """The page. It needs nothing beside itself: no network, no other file, no script."""
    by_class: dict[str, list[int]] = {}
    for one in view.suspects:
        by_class.setdefault(one.given, []).append(one.rank)
    rates = sorted({one.rate for one in view.planted})
    best = {rate: max(_worth(one) for one in view.planted if one.rate == rate) for rate in rates}
    return environment().get_template("labels.html.j2").render(
        view=view, cards=[_card(one) for one in view.suspects], judgements=JUDGEMENTS, by_class=sorted(by_class.items()),
        planted=[(rate, [one for one in view.planted if one.rate == rate], best[rate]) for rate in rates],
        other=sum(one.suggested is not None and one.suggested != one.given for one in view.suspects),
    )  # fmt: skip


def _worth(one: PlantedView) -> float:
    return one.precision if np.isfinite(one.precision) else -1.0


def _card(one: SuspectView) -> _Card:
    return _Card(
        one, None if one.picture is None else Photo.of(one.picture, _THUMB, box=(288, 224)),
        tuple(
            (near, None if near.picture is None else Photo.of(near.picture, _NEAR, box=(160, 128))) for near in one.near
        ),
    )  # fmt: skip
