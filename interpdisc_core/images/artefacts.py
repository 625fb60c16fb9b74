"""Images whose novelty comes from the camera, the downlink or a calibration: they are ranked and shown separately.

Only what is certain from the pixels counts. Rovers' frames are gray, dim and of low contrast, skies are nearly uniform,
and the sun is a few bright pixels on black; none of these is an artefact. With these thresholds none of 6,712 Mars
images is one, and four of 5,946 photos are, each a drawing or a picture with a border.
"""

import io
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from interpdisc_core._types import PixelArray
from interpdisc_core.errors import PlanError
from interpdisc_core.images.decode import FORMATS, MAX_PIXELS
from interpdisc_core.metadata.expressions import Columns, find_fields, match_expression, to_identifier

HOT_PIXEL_FRACTION = 0.001
"""Fraction of the pixels of a black or flat image that may differ (hot pixels). The sun fills more."""
BLACK_LEVEL = 16
"""Of 255. Unlit frames with noise and an offset stay below it; in the dimmest scenes 1 % of the pixels are above 40."""
SATURATED_LEVEL = 250
"""Of 255, in every channel. JPEG's ringing lowers a blown-out frame by some levels."""
SATURATED_FRACTION = 0.98
"""Fraction of blown-out pixels of a saturated image; a drawing on a white ground has 0.95."""
FLAT_TOLERANCE = 2
"""Levels from the median. A frame of clear sky varies by 10 or more; JPEG's quantization alone causes 1."""
MISSING_FRACTION = 0.1
"""Least fraction of rows (or columns) of one value. Fewer are lost in resizing, and do not matter."""
EDGE_FRACTION = 0.9
"""Fraction of the adjacent row that must differ: missing data end at a straight edge, a plain ground does not."""
_EDGE_LEVELS = 8
_SAME_LEVELS = 2
_EDGE_OFFSET_ROWS = 8
_LUMA_WEIGHTS = np.array([77, 150, 29], dtype=np.uint16)[:, None, None]

ARTEFACT_RULES: Mapping[str, str] = {
    "calibration target": "'alibration' in title or 'alibration' in caption or 'alibration' in description",
}
"""Rules for `match_rules` that hold for the raw-image feeds."""


def find_artefacts(pixels: PixelArray, is_frame: bool = True) -> tuple[str, ...]:
    """Why an image is an artefact, by its pixels alone; empty for nearly all images.

    Args:
        pixels: (h, w, 3) uint8.
        is_frame: False for a tile, whose plain rows count as the margin of its mosaic.

    Returns:
        Of `black`, `saturated`, `flat` (no content), `missing rows`, `missing columns` (a tenth or more has one value,
        up to a straight edge).

    Example:
        >>> find_artefacts(np.zeros((90, 120, 3), np.uint8))
        ('black',)
    """
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if (planes.max(axis=0) > BLACK_LEVEL).mean() <= HOT_PIXEL_FRACTION:
        return ("black",)
    if (planes.min(axis=0) >= SATURATED_LEVEL).mean() >= SATURATED_FRACTION:
        return ("saturated",)
    if _is_flat(planes[:, ::8, ::8]) and _is_flat(planes):  # the subsample rules out nearly all, quickly
        return ("flat",)
    if not is_frame:
        return ()
    # Brightness alone: JPEG blurs color twice as far across an edge.
    gray = (planes.astype(np.uint16) * _LUMA_WEIGHTS).sum(axis=0, dtype=np.uint16) >> 8
    artefacts = []
    if _has_missing_rows(gray):
        artefacts.append("missing rows")
    if _has_missing_rows(gray.T):
        artefacts.append("missing columns")
    return tuple(artefacts)


def _is_flat(planes: PixelArray) -> bool:
    median = np.median(planes, axis=(1, 2), keepdims=True)
    return bool((np.abs(planes - median).max(axis=0) > FLAT_TOLERANCE).mean() <= HOT_PIXEL_FRACTION)


def _has_missing_rows(gray: npt.NDArray[np.uint16]) -> bool:
    """Whether a run of rows of (h, w) has one value and ends at a straight edge."""
    low, high, rows = gray.min(axis=1).astype(np.int16), gray.max(axis=1).astype(np.int16), len(gray)
    is_plain = high - low <= _SAME_LEVELS
    if is_plain.mean() < MISSING_FRACTION:
        return False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_plain, [False])).astype(np.int8))).reshape(-1, 2)
    for first, last in edges:
        # In a smooth sky each row is plain, but not all have the same value.
        middle = (first + last) // 2
        fill = int(low[middle])
        other_rows = np.flatnonzero(
            ~is_plain | (np.abs(low - fill) > _SAME_LEVELS) | (np.abs(high - fill) > _SAME_LEVELS)
        )
        start = max(other_rows[other_rows < middle], default=-1) + 1
        stop = min(other_rows[other_rows > middle], default=rows)
        if stop - start < MISSING_FRACTION * rows or fill >= SATURATED_LEVEL:  # white borders are those of pages
            continue
        # Compare some rows further, where neither resizing nor JPEG's blocks mix the two.
        neighbor_rows = [row for row in (start - _EDGE_OFFSET_ROWS, stop + _EDGE_OFFSET_ROWS - 1) if 0 <= row < rows]
        if any(
            (np.abs(gray[row].astype(np.int16) - fill) > _EDGE_LEVELS).mean() >= EDGE_FRACTION for row in neighbor_rows
        ):
            return True
    return False


def match_rules(columns: Columns, rules: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The names of the rules that hold for each image, in the order of `rules`.

    Args:
        columns: Values (N,) by field.
        rules: Expressions (see `interpdisc_core.metadata.expressions`) by name. A comparison with a field that the images
            do not have is false.

    Raises:
        PlanError: If an expression is invalid.

    Example:
        >>> match_rules({"sol": [1, 9]}, {"late": "sol > 5"})
        [(), ('late',)]
    """
    count = len(next(iter(columns.values()), ()))
    by_identifier: dict[str, Sequence[object]] = {}
    for field, values in columns.items():
        by_identifier.setdefault(to_identifier(field), values)
    matches: dict[str, npt.NDArray[np.bool_]] = {}
    for name, expression in rules.items():
        table = {field: by_identifier.get(field, [None] * count) for field in find_fields(expression)}
        # Also without rows or fields, so that an invalid rule is always reported.
        matches[name] = match_expression(expression, table or {"": [None] * count})
    return [tuple(name for name in rules if matches[name][row]) for row in range(count)]


def check_rules(rules: Mapping[str, str]) -> None:
    """Check artefact rules.

    Raises:
        PlanError: If a rule has no name or its expression is invalid.
    """
    for name, expression in rules.items():
        if not name.strip():
            raise PlanError(
                f"artefact rule {expression!r} needs a name, for example {{'calibration target': {expression!r}}}."
            )
    match_rules({}, rules)


def decode_partial(data: bytes) -> PixelArray | None:
    """The pixels of a truncated file, (h, w, 3) uint8, missing ones black; None if nothing can be decoded.

    JPEG (not progressive), PNG, uncompressed TIFF, BMP. Never raises; thread-safe.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS // 2:
                return None
            try:
                image.load()
            except (OSError, SyntaxError, ValueError):
                # Without tiles left to load, Pillow returns what it has decoded; its own option for this is global.
                image.tile = []  # type: ignore[attr-defined]
            pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    except Exception:  # noqa: BLE001 - hostile input: Pillow may raise anything
        return None
    return pixels if pixels.ndim == 3 and pixels.any() else None
