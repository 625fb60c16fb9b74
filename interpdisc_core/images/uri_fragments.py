"""Fragments of an input's URI that say which pixels of the file are meant: a tile, and a Bayer pattern.

    file:///data/pan.png#xywh=0,0,1200,1200     a tile: x, y, width, height in pixels (W3C Media Fragments)
    file:///data/raw.img#mosaic=RGGB            the values are a Bayer mosaic of this pattern; always last

A URI with a fragment already, such as that of a shard's member, gets `&` in place of `#`. Both fragments are on disk
(tiles in the catalog), so their spelling stays.
"""

import re

TileBox = tuple[int, int, int, int]
"""x, y, width, height in pixels; x to the right, y down, from the top left corner."""

_TILE_FRAGMENT = re.compile(r"(?s)(.*)[#&]xywh=([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})")
_BAYER_FRAGMENT = re.compile(r"[#&]mosaic=([RGB]{4})$")


def tile_uri(uri: str, box: TileBox) -> str:
    """The URI of a tile of the frame at `uri`.

    Example:
        >>> tile_uri("file:///a.png", (0, 0, 600, 600))
        'file:///a.png#xywh=0,0,600,600'
    """
    return _add_fragment(uri, f"xywh={','.join(map(str, box))}")


def split_tile_uri(uri: str) -> tuple[str, TileBox | None]:
    """The frame's URI and the tile's box; the URI itself and None if it is not a tile's.

    Example:
        >>> split_tile_uri("file:///a.png#xywh=0,0,600,600")
        ('file:///a.png', (0, 0, 600, 600))
    """
    if match := _TILE_FRAGMENT.fullmatch(uri):
        x, y, width, height = map(int, match.groups()[1:])
        return match[1], (x, y, width, height)
    return uri, None


def add_bayer_pattern(uri: str, bayer_pattern: str) -> str:
    """The URI of an image whose values are a Bayer mosaic of this pattern, such as RGGB; unchanged if it is empty."""
    return _add_fragment(uri, f"mosaic={bayer_pattern}") if bayer_pattern else uri


def split_bayer_pattern(uri: str) -> tuple[str, str]:
    """The URI without its Bayer pattern, and the pattern, empty if it has none."""
    match = _BAYER_FRAGMENT.search(uri)
    return (uri[: match.start()], match[1]) if match else (uri, "")


def _add_fragment(uri: str, fragment: str) -> str:
    return f"{uri}{'&' if '#' in uri else '#'}{fragment}"
