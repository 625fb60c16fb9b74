"""Images whose novelty is the camera's, the link's or the calibration's: they are ranked apart, and shown.

Only what is certain from the pixels is said here. Rovers' frames are grey, dim and of low contrast, skies are nearly
uniform and the sun is a few bright pixels on black: none of these is an artefact, and the thresholds are such that
none of them is called one (of 6,712 Mars images none, of 5,946 photos four, each a drawing or within a frame).
"""

import ast
import io
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from interpdisc_core.errors import PlanError
from interpdisc_core.images import FORMATS, MAX_PIXELS, Pixels
from interpdisc_core.subset import Columns, identifier, matching

ALL_BUT = 0.001
"""Part of the pixels that may be otherwise in a black, saturated or flat image: hot pixels. The sun fills more."""
BLACK = 16
"""Of 255. Noise and an offset keep unlit frames below it; the dimmest real scenes have a hundredth of their pixels above 40."""
SATURATED = 250
"""Of 255, in every channel. JPEG's ringing takes some levels off a blown-out frame."""
WHITE = 0.98
"""Part of the pixels that is blown out; of a white ground with a drawing on it, 0.95."""
FLAT = 2
"""Levels from the median. A frame of clear sky varies by 10 and more, of JPEG's quantisation alone by 1."""
LOST = 0.1
"""Part of the rows (or columns) that is one value. Less is lost in resizing, and is no loss to the picture."""
EDGE = 0.9
"""Part of a row that must differ from the value beside it: lost data end at a straight line, a plain ground does not."""
_STEP = 8
_SAME = 2
_SMEAR = 8
_WEIGHTS = np.array([77, 150, 29], dtype=np.uint16)[:, None, None]

RULES: Mapping[str, str] = {
    "calibration target": "'alibration' in title or 'alibration' in caption or 'alibration' in description",
}
"""Rules for `by_rule` that hold for the raw-image feeds."""


def reasons(pixels: Pixels, whole: bool = True) -> tuple[str, ...]:
    """Why an image (h, w, 3) uint8 is an artefact by its pixels alone; nothing for nearly all images.

    `black`, `saturated`, `flat` (no content), `missing rows`, `missing columns` (a tenth or more is one value, up to a
    straight edge). whole: it is a frame; of a tile, plain rows are taken for the margin of its mosaic.
    """
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if (planes.max(axis=0) > BLACK).mean() <= ALL_BUT:
        return ("black",)
    if (planes.min(axis=0) >= SATURATED).mean() >= WHITE:
        return ("saturated",)
    if _flat(planes[:, ::8, ::8]) and _flat(planes):  # the first says no to nearly all, at once
        return ("flat",)
    if not whole:
        return ()
    # Brightness alone: JPEG smears colour twice as far across an edge.
    grey = (planes.astype(np.uint16) * _WEIGHTS).sum(axis=0, dtype=np.uint16) >> 8
    found = []
    if _lost(grey):
        found.append("missing rows")
    if _lost(grey.T):
        found.append("missing columns")
    return tuple(found)


def _flat(planes: Pixels) -> bool:
    middle = np.median(planes, axis=(1, 2), keepdims=True)
    return bool((np.abs(planes - middle).max(axis=0) > FLAT).mean() <= ALL_BUT)


def _lost(grey: npt.NDArray[np.uint16]) -> bool:
    """Whether a run of rows of (h, w) is one value, and what is next to it is not, along a straight edge."""
    low, high, rows = grey.min(axis=1).astype(np.int16), grey.max(axis=1).astype(np.int16), len(grey)
    plain = high - low <= _SAME
    if plain.mean() < LOST:
        return False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], plain, [False])).astype(np.int8))).reshape(-1, 2)
    for first, last in edges:
        # Of a smooth sky each row is plain, but not all are of one value.
        middle = (first + last) // 2
        fill = int(low[middle])
        other = np.flatnonzero(~plain | (np.abs(low - fill) > _SAME) | (np.abs(high - fill) > _SAME))
        start = max(other[other < middle], default=-1) + 1
        stop = min(other[other > middle], default=rows)
        if stop - start < LOST * rows or fill >= SATURATED:  # white borders are pages, not losses
            continue
        # Some rows further, where neither resizing nor JPEG's blocks mix the two.
        beside = [row for row in (start - _SMEAR, stop + _SMEAR - 1) if 0 <= row < rows]
        if any((np.abs(grey[row].astype(np.int16) - fill) > _STEP).mean() >= EDGE for row in beside):
            return True
    return False


def by_rule(columns: Columns, rules: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The names of the rules that hold, in order, for each row of `columns` (N,): expressions of `interpdisc_core.subset`.

    A comparison with a field that the images lack is false. Raises PlanError for an expression that cannot be read.
    """
    count = len(next(iter(columns.values()), ()))
    known: dict[str, Sequence[object]] = {}
    for field, values in columns.items():
        known.setdefault(identifier(field), values)
    held: dict[str, npt.NDArray[np.bool_]] = {}
    for name, expression in rules.items():
        table = {field: known.get(field, [None] * count) for field in _fields(expression)}
        # Also without a row, or a field: a rule that cannot be read is a mistake at any time.
        held[name] = matching(expression, table or {"": [None] * count})
    return [tuple(name for name in rules if held[name][row]) for row in range(count)]


def _fields(expression: str) -> set[str]:
    try:
        return {node.id for node in ast.walk(ast.parse(expression.strip(), mode="eval")) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # `matching` says what is wrong with it


def check_rules(rules: Mapping[str, str]) -> None:
    """Raises PlanError for a rule that cannot be read."""
    for name, expression in rules.items():
        if not name.strip():
            raise PlanError(f"artefact rule {expression!r}: it needs a name; write {{'calibration target': '…'}}.")
    by_rule({}, rules)


def partial(data: bytes) -> Pixels | None:
    """What is there of a file that ends too early, (h, w, 3) uint8, black where nothing is; None where there is nothing.

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
                # What was decoded stays. Without tiles left to load, Pillow hands it out; its switch for this is global.
                image.tile = []  # type: ignore[attr-defined]
            pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    except Exception:  # noqa: BLE001 - hostile input: whatever Pillow raises, there is nothing to show
        return None
    return pixels if pixels.ndim == 3 and pixels.any() else None
