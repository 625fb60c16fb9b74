"""A pick as a card: its photo, the map of where it is new, the pictures of its features, and how far to trust these.

Used by every page that shows picks: the report of a run and the page of a day. The macros of a card are in
`templates/parts.html.j2`, its style is in `templates/card.css.j2`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeGuard, TypeVar

import numpy as np
from markupsafe import Markup
from PIL import Image

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.metrics.definitions import METRIC_DEFINITIONS, TRUST_METRIC, MetricDefinition
from interpdisc_core.reporting import charts
from interpdisc_core.reporting.html import EmbeddedPhoto, format_number
from interpdisc_core.reporting.pick_sentence import describe_pick
from interpdisc_core.reporting.pick_view import ExpectedImage, NearView, PickView

_Pick = TypeVar("_Pick")

MAX_PHOTO_BYTES, MAX_OVERLAY_BYTES, MAX_PANEL_BYTES, MAX_THUMB_BYTES = 66_000, 52_000, 18_000, 5_500
MAX_EXPECTED_BYTES = 10_000
"""Most bytes of a JPEG by purpose: a page of 50 cards and 300 thumbnails stays below 20 MB for any pictures."""
_THUMB_BOX = (176, 112)
"""Most pixels of a thumbnail, width and height."""
PANEL_SIDE, _MIN_PANEL_SIDE = 256, 192
"""Pixels on the long side of a panel, and the side below which a rendering is enlarged to it."""

PANEL_TEXTS = {
    "image": (
        "Image",
        "The part of the photo that the network reads.",
        "Not the whole photo, and not decoded.",
    ),
    "control": (
        "Control",
        "x, this image’s own features, decoded: the most that the decoder can show of the image.",
        "Not the photo: what is lost here is lost in decoding, and says nothing about novelty.",
    ),
    "expected": (
        "Expected",
        "x̂ decoded: what the model of everything seen before predicts.",
        "Not an image that exists, nor the nearest one seen.",
    ),
    "new": (
        "New",
        "The residual x\u00a0−\u00a0x̂ decoded, with its mean shifted to that of x.",
        "Not a part cut out of the image: hints of form and color.",
    ),
    "difference": (
        "Difference",
        "Gray plus half of control minus expected; plain gray is no difference.",
        "Not an object: light is where the control is lighter than expected, dark where it is darker.",
    ),
}
"""By key, in the order in which they are shown: title, what it is, what it is not. The first is no rendering."""

ATTRIBUTION_MEANINGS = {
    "split": "the score split over the cells, which add up to it; a cell may also take away",
    "energy": "the energy of the residual in each cell; the cells add up to the score, and none is negative",
    "occlusion": "the share of the novelty that is lost when the cell is painted over; the cells do not add up to the score",
}
"""What the cells of a map of where a pick is new mean, by `attribution_kind`."""

MEASURE_GROUPS = (
    ("The control", ("image_error", "psnr", "feature_error", "second_error", "rank")),
    (
        "What is new",
        ("cosine_difference", "energy_difference", "cosine_new", "energy_new", "cosine_second", "left_strongest"),
    ),
    ("For comparison: chance", ("cosine_random", "cosine_shuffled", "left_random")),
)
"""Measures that are shown together. `among` is shown with `rank`."""


@dataclass(frozen=True, slots=True)
class SheetThumb(Generic[_Pick]):
    """A pick on a contact sheet; the photo is None if the image cannot be read."""

    pick: _Pick
    photo: EmbeddedPhoto | None


@dataclass(frozen=True, slots=True)
class MapLegend:
    """The legend of a map of where a pick is new.

    Attributes:
        low: Value at the left end of the color scale, at most 0.
        high: Value at the right end, at least 0.
        gradient: CSS of the color scale.
        zero: Position of 0 on the scale, in percent.
        cells: Rows and columns of the map.
        total: Sum of the cells.
        largest_cell: The largest value.
        uniform_cell: What each cell would have if all were equal.
        relative_gap: |total − score| over |score|.
    """

    low: float
    high: float
    gradient: str
    zero: float
    cells: tuple[int, int]
    total: float
    largest_cell: float
    uniform_cell: float
    relative_gap: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One of a pick's small pictures.

    Attributes:
        key: A key of `PANEL_TEXTS`.
        title: Its title.
        meaning: What it shows.
        caveat: What it does not show.
        photo: The picture, or None if there is none.
        missing_text: Why there is none.
    """

    key: str
    title: str
    meaning: str
    caveat: str
    photo: EmbeddedPhoto | None
    missing_text: str


@dataclass(frozen=True, slots=True)
class MeasureValue:
    """One number with its meaning; the arrow points to where better is."""

    title: str
    text: str
    meaning: str
    arrow: str


@dataclass(frozen=True, slots=True)
class TrustBadge:
    """How far to trust a pick's renderings. kind: `bad`, `good` or `open` (no threshold)."""

    kind: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class PickCard:
    """A pick with its pictures encoded.

    Attributes:
        pick: The pick.
        photo: The image, or None if it cannot be read.
        outline: CSS position of the part that the network reads.
        overlay: The image under the map of where it is new.
        legend: The legend of the map, or None if there is no map.
        panels: All panels in order, or none if there are no renderings.
        is_comparable: Whether both control and expected are there.
        badge: How far to trust the renderings.
        groups: Measures by group.
        deletion: The deletion chart.
        nearest: Images seen before, with their thumbnails, and their ranks if they are picks.
        expected: Images of what was expected, likewise.
        point: What the card says, in a sentence or two; plain text.
    """

    pick: PickView
    photo: EmbeddedPhoto | None
    outline: str
    overlay: EmbeddedPhoto | None
    legend: MapLegend | None
    panels: tuple[Panel, ...]
    is_comparable: bool
    badge: TrustBadge | None
    groups: list[tuple[str, list[MeasureValue]]]
    deletion: Markup | None
    nearest: tuple[tuple[NearView, EmbeddedPhoto | None, int | None], ...]
    expected: tuple[tuple[ExpectedImage, EmbeddedPhoto | None, int | None], ...]
    point: str


def build_pick_card(pick: PickView) -> PickCard:
    """Encode the pictures of a pick, each at most as large as its purpose allows."""
    attribution_map = _valid_map(pick.attribution_map)
    panel_photos = {
        name: EmbeddedPhoto.encode(enlarge_coarse(pick.renderings[name]), MAX_PANEL_BYTES)
        for name in PANEL_TEXTS
        if name in pick.renderings
    }
    panel_photos.pop("image", None)
    comparable = {"control", "expected"} <= panel_photos.keys()
    photo = overlay = None
    if pick.picture is not None:
        photo = EmbeddedPhoto.encode(pick.picture, MAX_PHOTO_BYTES)
        overlay = (
            None
            if attribution_map is None
            else EmbeddedPhoto.encode(charts.overlay_map(pick.picture, attribution_map, pick.window), MAX_OVERLAY_BYTES)
        )
        if panel_photos:
            panel_photos["image"] = EmbeddedPhoto.encode(
                charts.crop_window(pick.picture, pick.window), MAX_PANEL_BYTES, box=(PANEL_SIDE, PANEL_SIDE)
            )
    panels: tuple[Panel, ...] = ()
    if panel_photos:
        not_rendered = "not made for this pick" + (f": {pick.novelty_note}" if pick.novelty_note else "")
        panels = tuple(
            Panel(key, *texts, panel_photos.get(key), "image not readable" if key == "image" else not_rendered)
            for key, texts in PANEL_TEXTS.items()
        )
    nearest = tuple(
        (
            near,
            None if near.picture is None else encode_thumb(near.picture),
            _parse_rank(near.role),
        )
        for near in pick.nearest
    )
    legend = None if attribution_map is None else _build_legend(attribution_map, pick.score)
    deletion = (
        charts.draw_deletion_chart(pick.deletion, name=f"deletion-{pick.rank}") if _is_drawable(pick.deletion) else None
    )
    return PickCard(
        pick,
        photo,
        charts.window_to_css(pick.window),
        overlay,
        legend,
        panels,
        comparable,
        _build_badge(pick),
        _group_values(pick.measures),
        deletion,
        nearest,
        tuple(
            (
                image,
                None
                if image.picture is None
                else EmbeddedPhoto.encode(image.picture, MAX_EXPECTED_BYTES, box=(PANEL_SIDE, PANEL_SIDE)),
                _parse_rank(image.role),
            )
            for image in (pick.expected.images if pick.expected else ())
        ),
        describe_pick(pick),
    )


def encode_thumb(pixels: PixelArray) -> EmbeddedPhoto:
    """A picture as a thumbnail of a contact sheet or a list."""
    return EmbeddedPhoto.encode(pixels, MAX_THUMB_BYTES, box=_THUMB_BOX)


def enlarge_coarse(pixels: PixelArray) -> PixelArray:
    """A coarse rendering enlarged smoothly to the size of a panel, so that a browser does not show its pixels as squares."""
    height, width = pixels.shape[:2]
    if max(height, width) >= _MIN_PANEL_SIDE:
        return pixels
    factor = PANEL_SIDE / max(height, width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BICUBIC))


def _is_drawable(deletion: FloatArray | None) -> TypeGuard[FloatArray]:
    """Whether it is a deletion curve (3, m) with at least two finite points."""
    return (
        deletion is not None
        and deletion.ndim == 2
        and deletion.shape[0] == 3
        and int(np.isfinite(deletion).all(axis=0).sum()) >= 2
    )


def _build_badge(pick: PickView) -> TrustBadge | None:
    """The badge of a pick; None if it has no renderings."""
    value, threshold = pick.measures.get(TRUST_METRIC, math.nan), pick.threshold
    reason = f"Faithfulness ({METRIC_DEFINITIONS[TRUST_METRIC].title}) is {format_number(value, 3)}"
    if pick.is_trusted is False:
        reason += (
            f", below the threshold of {format_number(threshold, 3)}"
            if threshold is not None and value < threshold
            else ""
        )
        return TrustBadge("bad", "Do not read much into these pictures", reason)
    if not pick.renderings:
        return None
    if pick.is_trusted is None:
        return TrustBadge(
            "open",
            "not calibrated",
            "There is no threshold for these renderings, so their faithfulness cannot be judged.",
        )
    reason += f"; the threshold is {format_number(threshold, 3)}" if threshold is not None else ""
    return TrustBadge("good", "renderings pass the faithfulness check", reason)


def _group_values(numbers: Mapping[str, float]) -> list[tuple[str, list[MeasureValue]]]:
    """A pick's measures by group."""
    return [
        (group, [build_measure_value(key, format_measure(key, numbers[key], numbers.get("among"))) for key in keys])
        for group, keys in group_measures(numbers)
    ]


def group_measures(numbers: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The keys by group, in the order in which they are shown; keys of no group come last."""
    present_keys = [key for key in numbers if key != "among"]
    groups = [(group, [key for key in keys if key in present_keys]) for group, keys in MEASURE_GROUPS]
    grouped_keys = {key for _, keys in MEASURE_GROUPS for key in keys}
    return [
        (group, keys)
        for group, keys in [*groups, ("Other", [k for k in present_keys if k not in grouped_keys])]
        if keys
    ]


def build_measure_value(key: str, text: str) -> MeasureValue:
    """A measure with its title and meaning; an unknown key is its own title."""
    measure = METRIC_DEFINITIONS.get(key, MetricDefinition(key, "", "neither"))
    return MeasureValue(
        measure.title, text, measure.meaning, {"high": "↑", "low": "↓", "neither": ""}[measure.better_direction]
    )


def format_measure(key: str, value: float, total: float | None = None) -> str:
    """A measure's value as text, with its unit."""
    if key == "rank" and math.isfinite(value):
        return f"{value:,.6g}" + (f" of {total:,.6g}" if total is not None and math.isfinite(total) else "")
    return format_number(value, 3) + (" dB" if key == "psnr" and math.isfinite(value) else "")


def _valid_map(attribution_map: FloatArray | None) -> FloatArray | None:
    """The map (gy, gx), or None if it has no cells or a cell that is not finite."""
    return (
        attribution_map
        if attribution_map is not None
        and attribution_map.ndim == 2
        and attribution_map.size
        and np.isfinite(attribution_map).all()
        else None
    )


def _build_legend(attribution_map: FloatArray, score: float) -> MapLegend:
    low, high = min(float(attribution_map.min()), 0.0), max(float(attribution_map.max()), 0.0)
    total, span = float(attribution_map.sum()), high - low
    return MapLegend(
        low=low,
        high=high,
        gradient=charts.build_legend_gradient(low, high),
        zero=100.0 * -low / span if span else 0.0,
        cells=(attribution_map.shape[0], attribution_map.shape[1]),
        total=total,
        largest_cell=float(attribution_map.max()),
        uniform_cell=total / attribution_map.size,
        relative_gap=abs(total - score) / abs(score) if score else 0.0,
    )


def _parse_rank(role: str) -> int | None:
    """The rank in `pick 7`, or None."""
    match = re.fullmatch(r"pick ([0-9]{1,9})", role)
    return int(match[1]) if match else None
