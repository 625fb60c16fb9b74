"""Inputs to pixels, by address and digest: whole frames, and tiles of frames that are decoded once for all of them.

That the values are a mosaic of colours is not told by every file, but by what is known of the image. So it is a part of
the address by which its pixels are read: `…#mosaic=RGGB`, last.
"""

import re
from threading import Lock

from interpdisc_core import digest, sources
from interpdisc_core.errors import Unreadable
from interpdisc_core.images import Pixels, decode
from interpdisc_core.tiles import Box, content, cut, parted

KEPT = 256 << 20
"""Bytes of the one decoded frame that a process keeps for the tiles that follow; a larger one is decoded for each."""


_MOSAIC = re.compile(r"[#&]mosaic=([RGB]{4})$")


def as_mosaic(uri: str, pattern: str) -> str:
    """The address of an image whose values are a mosaic of this pattern, such as RGGB; empty: they are none."""
    return f"{uri}{'&' if '#' in uri else '#'}mosaic={pattern}" if pattern else uri


def _pattern(uri: str) -> tuple[str, str]:
    """An address without its mosaic, and that."""
    found = _MOSAIC.search(uri)
    return (uri[: found.start()], found[1]) if found else (uri, "")


def pixels(uri: str, sha256: str, at_least: int | None = None) -> Pixels:
    """Read and decode an input (h, w, 3) uint8: a frame, or a tile at its frame's own scale.

    Raises Unreadable, also where it is not the file that was listed.
    """
    plain, pattern = _pattern(uri)
    frame, box = parted(plain)
    if box is not None:
        return cut(_LAST.frame(frame, box, sha256, pattern), box)
    data = sources.read(plain)
    if digest.of_bytes(data) != sha256:
        raise _changed()
    return decode(data, at_least=at_least, mosaic=pattern)


def around(uri: str, sha256: str) -> tuple[Pixels, Box] | None:
    """The frame (h, w, 3) uint8 that a tile is cut from, and its place there; None for what is no tile.

    Raises Unreadable as `pixels` does.
    """
    plain, pattern = _pattern(uri)
    frame, box = parted(plain)
    return None if box is None else (_LAST.frame(frame, box, sha256, pattern), box)


class _Last:
    """The frame of which a tile was asked for last. Threads that want its other tiles wait for it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.kept: tuple[tuple[str, str], str, Pixels] | None = None

    def frame(self, uri: str, box: Box, tile: str, pattern: str = "") -> Pixels:
        """The frame at `uri`, whose tile `box` has the content `tile`, and whose values are a mosaic of `pattern`."""
        with self.lock:
            if self.kept and self.kept[0] == (uri, pattern) and content(self.kept[1], box) == tile:
                return self.kept[2]
            self.kept = None  # two frames at a time may be too many
            data = sources.read(uri)
            sha256 = digest.of_bytes(data)
            if content(sha256, box) != tile:
                raise _changed()
            frame = decode(data, mosaic=pattern)
            if frame.nbytes <= KEPT:
                self.kept = (uri, pattern), sha256, frame
            return frame


_LAST = _Last()


def _changed() -> Unreadable:
    error = Unreadable("changed since it was listed")
    error.access = True  # listing it again takes it as a new version
    return error
