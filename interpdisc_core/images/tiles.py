"""Panoramas, mosaics and very large frames are processed by tiles: scaled to a network's input they would lose detail.

A tile is a box of a frame's pixels as decoded (after its EXIF orientation). It has a URI of its own (see
`interpdisc_core.images.uri_fragments`) and a digest of its own.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

from interpdisc_core import digest
from interpdisc_core._types import PixelArray
from interpdisc_core.errors import Unreadable
from interpdisc_core.images.uri_fragments import TileBox

ELONGATED_ASPECT = 2.5
"""Frames longer than this many times their short side are tiled: their central square, which is all that a network
gets, is less than two fifths of them."""
LARGE_PIXELS = 4_000_000
"""Frames of more pixels are tiled. A rover's full frame (1600 x 1200, 1344 x 1200, 1648 x 1200) has half as many."""
MIN_TILE_SIDE = 1200
"""Side of a tile in pixels: the short side of such a full frame, so that objects have the scale of other images."""
TILE_OVERLAP = 1 / 8
"""Fraction of a tile's side that the next tile repeats, so that an object on an edge is whole in one of them."""
MAX_TILES = 64
"""Tiles of one frame."""
_MIN_HEIGHT_FRACTION = 1 / 4


def tile_grid(width: int, height: int, side: int) -> list[TileBox]:
    """The tiles of a frame; none for most frames.

    Overlapping squares in reading order that cover the frame and lie within it; rectangles if the frame is too long
    for `MAX_TILES` squares. A strip lower than a quarter of `side` is not tiled: nothing could be seen in it.

    Args:
        width: Of the frame as decoded, in pixels.
        height: Of the frame as decoded, in pixels.
        side: Input side of the network, in pixels.

    Example:
        >>> tile_grid(1648, 1200, 224)
        []
        >>> tile_grid(1024, 384, 224)
        [(0, 0, 384, 384), (320, 0, 384, 384), (640, 0, 384, 384)]
    """
    short, long = min(width, height), max(width, height)
    if short < max(side * _MIN_HEIGHT_FRACTION, 1) or not (
        long > ELONGATED_ASPECT * short or width * height > LARGE_PIXELS
    ):
        return []
    size = min(short, max(MIN_TILE_SIDE, 2 * side))
    while (columns := _count_steps(width, size)) * (rows := _count_steps(height, size)) > MAX_TILES and size < short:
        size = min(short, ceil(size * 1.05))
    columns, rows = min(columns, MAX_TILES // min(rows, MAX_TILES)), min(rows, MAX_TILES)
    return [
        (x, y, tile_width, tile_height)
        for y, tile_height in _space_intervals(height, size, rows)
        for x, tile_width in _space_intervals(width, size, columns)
    ]


def compute_upright_size(width: int, height: int, format: str, header: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of a frame as decoded, in pixels.

    Args:
        width: As stored; see `ImageInfo`.
        height: As stored.
        format: Of the `ImageInfo`.
        header: Of the `ImageInfo`, parsed; its `Orientation` is the EXIF orientation.
    """
    # Of a TIFF, Pillow gives the size upright already.
    is_rotated = format != "TIFF" and header.get("Orientation") in (5, 6, 7, 8)
    return (height, width) if is_rotated else (width, height)


def _count_steps(length: int, size: int) -> int:
    return 1 if length <= size else 1 + ceil((length - size) / (size * (1 - TILE_OVERLAP)))


def _space_intervals(length: int, size: int, count: int) -> list[tuple[int, int]]:
    """Starts and sizes of `count` intervals, evenly spaced, that cover [0, length)."""
    size = min(length, max(size, ceil(length / count)))
    return [(round((length - size) * step / max(count - 1, 1)), size) for step in range(count)]


def digest_tile(sha256: str, box: TileBox) -> str:
    """The digest of a tile's content, 64 hexadecimal digits: of its frame's digest and its box."""
    return digest.digest_bytes(f"{sha256}#xywh={','.join(map(str, box))}".encode())


def crop_tile(pixels: PixelArray, box: TileBox) -> PixelArray:
    """A copy of the tile `box` of a frame (h, w, 3).

    Raises:
        Unreadable: If the box does not lie within the frame.
    """
    x, y, width, height = box
    if not (width > 0 and height > 0 and x + width <= pixels.shape[1] and y + height <= pixels.shape[0]):
        raise Unreadable(
            f"no such tile: {width} x {height} at {x}, {y} of {pixels.shape[1]} x {pixels.shape[0]} pixels"
        )
    return pixels[y : y + height, x : x + width].copy()
