"""Panoramas, mosaics and very large frames are looked at by tiles: a network's input shows but little of them.

A tile is a box of a frame's pixels as decoded (turned as its EXIF orientation says), addressed by the frame's URI with
a media fragment, `…#xywh=x,y,width,height` (W3C Media Fragments), and a content of its own.
"""

import re
from collections.abc import Mapping
from math import ceil
from typing import Any

from interpdisc_core import digest
from interpdisc_core.errors import Unreadable
from interpdisc_core.images import Pixels

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels; x to the right, y down, from the top left corner."""

ELONGATED = 2.5
"""Frames longer than this are tiled: the central square, all that a network is shown, is less than two fifths of them."""
LARGE = 4_000_000
"""Frames of more pixels are tiled. A rover's full frame (1600 x 1200, 1344 x 1200, 1648 x 1200) has half as many."""
NORMAL = 1200
"""Side of a tile: the short side of such a full frame, so that things keep the scale at which other images show them."""
OVERLAP = 1 / 8
"""Part of a tile's side that the next one shows again, so that what lies on an edge is whole in one of them."""
MOST = 64
"""Tiles of one frame."""
_LEAST = 1 / 4
_FRAGMENT = re.compile(r"(?s)(.*)[#&]xywh=([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})")


def boxes(width: int, height: int, side: int) -> list[Box]:
    """The tiles of a frame of `width` x `height` pixels, as decoded, for a network that takes `side` x `side`.

    None for most frames.

    Overlapping squares in reading order that cover the frame and lie within it. Of a strip longer than MOST : 1 they
    are rectangles. A strip of less than a quarter of `side` in height is not tiled: nothing could be seen in it.
    """
    short, long = min(width, height), max(width, height)
    if short < max(side * _LEAST, 1) or not (long > ELONGATED * short or width * height > LARGE):
        return []
    size = min(short, max(NORMAL, 2 * side))
    while (across := _count(width, size)) * (down := _count(height, size)) > MOST and size < short:
        size = min(short, ceil(size * 1.05))
    across, down = min(across, MOST // min(down, MOST)), min(down, MOST)
    return [
        (x, y, wide, high)
        for y, high in _steps(height, size, down)
        for x, wide in _steps(width, size, across)
    ]  # fmt: skip


def upright(width: int, height: int, format: str, header: Mapping[str, Any]) -> tuple[int, int]:
    """The size of a frame as decoded, from what `images.identify` says of it; its header tells the EXIF orientation."""
    # Of a TIFF, Pillow gives the size upright already.
    lying = format != "TIFF" and header.get("Orientation") in (5, 6, 7, 8)
    return (height, width) if lying else (width, height)


def _count(length: int, size: int) -> int:
    return 1 if length <= size else 1 + ceil((length - size) / (size * (1 - OVERLAP)))


def _steps(length: int, size: int, count: int) -> list[tuple[int, int]]:
    """Starts and sizes of `count` intervals, evenly spaced, that cover [0, length)."""
    size = min(length, max(size, ceil(length / count)))
    return [(round((length - size) * step / max(count - 1, 1)), size) for step in range(count)]


def address(uri: str, box: Box) -> str:
    """The address of a tile of the frame at `uri`."""
    return f"{uri}{'&' if '#' in uri else '#'}xywh={','.join(map(str, box))}"


def parted(uri: str) -> tuple[str, Box | None]:
    """The frame's address and the box of a tile's; an address that is no tile's is a frame's, and its box None."""
    if match := _FRAGMENT.fullmatch(uri):
        x, y, width, height = map(int, match.groups()[1:])
        return match[1], (x, y, width, height)
    return uri, None


def content(sha256: str, box: Box) -> str:
    """What names a tile's content, 64 hexadecimal digits: the digest of its frame's digest and its box."""
    return digest.of_bytes(f"{sha256}#xywh={','.join(map(str, box))}".encode())


def cut(pixels: Pixels, box: Box) -> Pixels:
    """The tile of a frame (h, w, 3): a copy. Raises Unreadable where the box does not lie within the frame."""
    x, y, width, height = box
    if not (width > 0 and height > 0 and x + width <= pixels.shape[1] and y + height <= pixels.shape[0]):
        raise Unreadable(
            f"no such tile: {width} x {height} at {x}, {y} of {pixels.shape[1]} x {pixels.shape[0]} pixels"
        )
    return pixels[y : y + height, x : x + width].copy()
