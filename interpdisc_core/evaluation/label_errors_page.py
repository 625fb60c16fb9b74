"""The page of suspicious labels: images for a person to judge, each next to its nearest neighbors.

The page is a function of its view alone: one file without script or links to others, names escaped (see
`interpdisc_core.reporting.html`). Answers on it are counted by the style sheet and not stored: print the page, or fill in
the table of suspects.
"""

from dataclasses import dataclass

import numpy as np

from interpdisc_core._types import PixelArray
from interpdisc_core.reporting.html import EmbeddedPhoto, get_template_environment

JUDGMENT_OPTIONS = (
    ("right", "the label is right"),
    ("suggested", "wrong: the suggested one is right"),
    ("other", "wrong: another one is right"),
    ("unclear", "not sure"),
)
"""Judgments of a label: as the table has them, and as the page asks for them."""

_MAX_SUSPECT_BYTES, _MAX_NEIGHBOR_BYTES = 16_000, 5_500
"""Most bytes of the pictures of a suspect and of a neighbor: 300 suspects with 3 neighbors each stay below 14 MB."""


@dataclass(frozen=True, kw_only=True)
class NeighborView:
    """A near image with its label, which may be wrong too. picture (h, w, 3), None if the file is gone."""

    id: str
    label: str
    picture: PixelArray | None


@dataclass(frozen=True, kw_only=True)
class SuspectView:
    """An image whose label is suspicious.

    Attributes:
        rank: From 1, the most suspicious first.
        id: Of the image.
        current_label: Its label.
        suggested_label: The most frequent label of its neighbors; None if there is none.
        score: Higher is more suspicious.
        picture: (h, w, 3) uint8; None if the file is gone.
        neighbors: Its nearest images, nearest first.
    """

    rank: int
    id: str
    current_label: str
    suggested_label: str | None
    score: float
    picture: PixelArray | None
    neighbors: tuple[NeighborView, ...]


@dataclass(frozen=True, kw_only=True)
class DetectionView:
    """How well a method finds planted wrong labels, means over draws.

    Attributes:
        method: Its name.
        rate: Share of the labels that were made wrong; also the expected precision of a random order.
        error_count: Planted labels.
        precision: Share of them among as many of the most suspicious images, 0 to 1; higher is better.
        precision_sd: Its standard deviation over draws; None for one draw.
        average_precision: Of the ranking, 0 to 1; higher is better.
    """

    method: str
    rate: float
    error_count: float
    precision: float
    precision_sd: float | None
    average_precision: float


@dataclass(frozen=True, kw_only=True)
class LabelErrorsView:
    """Suspicious labels of a collection.

    Attributes:
        title: Of the page.
        description: Sentences on what was ranked, and how.
        method: Whose suspects are shown.
        images: Images of the collection.
        classes: Classes of the collection.
        ranked_count: Labels that were ranked.
        suspects: By falling suspicion.
        detections: How well methods find planted labels.
        table_file: Name of the table for judgments; empty: none.
    """

    title: str
    description: str
    method: str
    images: int
    classes: int
    ranked_count: int
    suspects: tuple[SuspectView, ...]
    detections: tuple[DetectionView, ...] = ()
    table_file: str = ""


@dataclass(frozen=True, slots=True)
class _SuspectCard:
    """A suspect with encoded pictures."""

    suspect: SuspectView
    photo: EmbeddedPhoto | None
    neighbors: tuple[tuple[NeighborView, EmbeddedPhoto | None], ...]


def render_label_errors_page(view: LabelErrorsView) -> str:
    """The page as one HTML file, which needs no network, no other file and no script."""
    by_class: dict[str, list[int]] = {}
    for item in view.suspects:
        by_class.setdefault(item.current_label, []).append(item.rank)
    rates = sorted({item.rate for item in view.detections})
    best_precision = {
        rate: max(_finite_precision(item) for item in view.detections if item.rate == rate) for rate in rates
    }
    return (
        get_template_environment()
        .get_template("labels.html.j2")
        .render(
            view=view,
            cards=[_build_card(item) for item in view.suspects],
            judgements=JUDGMENT_OPTIONS,
            by_class=sorted(by_class.items()),
            planted=[
                (rate, [item for item in view.detections if item.rate == rate], best_precision[rate]) for rate in rates
            ],
            other=sum(
                item.suggested_label is not None and item.suggested_label != item.current_label
                for item in view.suspects
            ),
        )
    )


def _finite_precision(detection: DetectionView) -> float:
    return detection.precision if np.isfinite(detection.precision) else -1.0


def _build_card(suspect: SuspectView) -> _SuspectCard:
    return _SuspectCard(
        suspect,
        None if suspect.picture is None else EmbeddedPhoto.encode(suspect.picture, _MAX_SUSPECT_BYTES, box=(288, 224)),
        tuple(
            (
                neighbor,
                None
                if neighbor.picture is None
                else EmbeddedPhoto.encode(neighbor.picture, _MAX_NEIGHBOR_BYTES, box=(160, 128)),
            )
            for neighbor in suspect.neighbors
        ),
    )
