"""What a pick's card says in a sentence, from its numbers alone: what it is like, what was expected, where it is new."""

import numpy as np

from interpdisc_core._types import FloatArray
from interpdisc_core.reporting.html import format_count, shorten_middle
from interpdisc_core.reporting.pick_view import ExpectedImage, NearView, PickView

_MIN_SHARE = 0.1
"""An image of less weight than this part of Σ |w| is not said to make up what was expected."""
_LEAST_SHARE = 0.01
"""Smaller shares are not given in percent."""
_MIN_BAND_SHARE = 0.5
"""Part of what is new that must lie in a third of the image for the third to be named."""
_BANDS = (("left", "middle", "right"), ("upper", "middle", "lower"))


def describe_pick(pick: PickView) -> str:
    """The sentence, as plain text; names in it are not escaped. Empty if there is nothing to say."""
    parts = [_describe_likeness(pick), _describe_place(pick)]
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)


def _describe_likeness(pick: PickView) -> str:
    expected = pick.expected
    if expected is not None and expected.is_of_all:
        return (
            f"nothing was seen before this pick: it is compared with a model of all {format_count(expected.count)} images"
            f"{_describe_strongest(pick)}"
        )
    if not pick.nearest:
        return "nothing was seen before this pick, so nothing was expected" if pick.rank == 1 else ""
    near = pick.nearest[0]
    text = f"of what was seen before, it is most like {_name_image(near)}"
    if expected is None:
        return text
    weight = next((image.weight for image in expected.images if image.id == near.id and image.weight is not None), None)
    if weight is not None and weight / expected.total >= _MIN_SHARE:
        return f"{text}, which makes up {_percent(weight / expected.total)} of what was expected"
    return f"{text}{_describe_strongest(pick)}"


def _describe_strongest(pick: PickView) -> str:
    """What the image of largest weight has of the expectation, as a clause."""
    expected = pick.expected
    weighted = [] if expected is None else [image for image in expected.images if image.weight is not None]
    if expected is None or not weighted:
        return ""
    strongest = max(weighted, key=lambda image: abs(image.weight or 0.0))
    weight = strongest.weight or 0.0
    if weight / expected.total >= _MIN_SHARE:
        return f"; {_percent(weight / expected.total)} of what was expected is {_name_image(strongest)}"
    share = abs(weight) / expected.total
    blend = f"; what was expected is a blend of {format_count(expected.count)} images"
    if share < _LEAST_SHARE:
        return f"{blend}, each with less than {_percent(_LEAST_SHARE)} of it"
    return f"{blend}, none with more than {_percent(share)} of it"


def _name_image(image: NearView | ExpectedImage) -> str:
    label = f" ({shorten_middle(image.label)})" if image.label else ""
    return f"{image.role}{label}" if image.role.startswith("pick ") else f"{shorten_middle(image.id)}{label}"


def _describe_place(pick: PickView) -> str:
    """Where most of what is new lies, if it lies in a third of what the network reads."""
    share = compute_band_shares(pick.attribution_map)
    if share is None:
        return ""
    best = max(
        ((float(values[index]), axis, index) for axis, values in enumerate(share) for index in range(3)),
        key=lambda candidate: candidate[0],
    )
    if best[0] < _MIN_BAND_SHARE:
        return "what is new is spread over the image"
    band = _BANDS[best[1]][best[2]]
    middle = (
        " from left to right"
        if band == "middle" and best[1] == 0
        else " from top to bottom"
        if band == "middle"
        else ""
    )
    return f"{_percent(best[0])} of what is new lies in its {band} third{middle}"


def compute_band_shares(attribution_map: FloatArray | None) -> tuple[FloatArray, FloatArray] | None:
    """Parts (3,) of what is new, i.e. of the map's positive cells, in the thirds from left to right and from top to bottom.

    A cell that lies in two thirds counts in both by its area. None if there is no map, or if no cell is new.
    """
    if attribution_map is None or attribution_map.ndim != 2 or not np.isfinite(attribution_map).all():
        return None
    positive = np.maximum(attribution_map, 0.0)
    total = float(positive.sum())
    if not total > 0:
        return None
    columns, rows = positive.sum(axis=0) / total, positive.sum(axis=1) / total
    return _split_in_thirds(columns), _split_in_thirds(rows)


def _split_in_thirds(values: FloatArray) -> FloatArray:
    cumulative = np.concatenate([[0.0], np.cumsum(values)])
    edges = np.interp(np.linspace(0, len(values), 4), np.arange(len(values) + 1), cumulative)
    return np.diff(edges)


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", "\u00a0%")
