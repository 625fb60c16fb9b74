"""Inputs to pixels, by URI and digest: frames, and tiles of frames, which are decoded once for all of their tiles."""

import tempfile
from threading import Lock

import numpy as np

from interpdisc_core import digest, sources
from interpdisc_core._types import PixelArray
from interpdisc_core.errors import Unreadable
from interpdisc_core.images.decode import decode
from interpdisc_core.images.tiles import crop_tile, digest_tile
from interpdisc_core.images.uri_fragments import TileBox, split_bayer_pattern, split_tile_uri

MAX_CACHED_BYTES = 256 << 20
"""Bytes of the one decoded frame that a process keeps in memory for its next tiles; a larger one is kept in a file."""


def load_input_image(uri: str, sha256: str, at_least: int | None = None) -> PixelArray:
    """Read and decode an input.

    Args:
        uri: A frame's, or a tile's (see `interpdisc_core.images.uri_fragments`).
        sha256: Digest of the frame's bytes, or `digest_tile` of a tile.
        at_least: See `interpdisc_core.images.decode.decode`; a tile always has its frame's own scale.

    Returns:
        (h, w, 3) uint8.

    Raises:
        Unreadable: If it cannot be read or decoded; `retryable` if it is not the file that was listed.
    """
    plain_uri, bayer_pattern = split_bayer_pattern(uri)
    frame_uri, box = split_tile_uri(plain_uri)
    if box is not None:
        return crop_tile(_frame_cache.load(frame_uri, box, sha256, bayer_pattern), box)
    data = sources.read_input(plain_uri)
    if digest.digest_bytes(data) != sha256:
        raise _make_changed_error()
    return decode(data, at_least=at_least, bayer_pattern=bayer_pattern)


def frame_of_tile(uri: str, sha256: str) -> tuple[PixelArray, TileBox] | None:
    """The frame (h, w, 3) uint8 that a tile is cut from, and the tile's box in it; None if `uri` is not a tile's.

    Raises:
        Unreadable: As `load_input_image`.
    """
    plain_uri, bayer_pattern = split_bayer_pattern(uri)
    frame_uri, box = split_tile_uri(plain_uri)
    return None if box is None else (_frame_cache.load(frame_uri, box, sha256, bayer_pattern), box)


class FrameCache:
    """Keeps the last decoded frame for its next tiles. Threads that want tiles of it wait until it is decoded.

    Args:
        max_bytes: A larger frame is kept in a temporary file; if the disk is full, it is decoded for each tile.
    """

    def __init__(self, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self.lock, self.max_bytes = Lock(), max_bytes
        self.cached: tuple[tuple[str, str], str, PixelArray] | None = None

    def load(self, uri: str, box: TileBox, tile_sha256: str, bayer_pattern: str = "") -> PixelArray:
        """The frame at `uri`, whose tile `box` has the digest `tile_sha256`.

        Raises:
            Unreadable: As `load_input_image`.
        """
        with self.lock:
            if self.cached:
                key, frame_sha256, frame = self.cached
                if key == (uri, bayer_pattern) and digest_tile(frame_sha256, box) == tile_sha256:
                    return frame
            self.cached = None  # two frames in memory at a time may be too many
            data = sources.read_input(uri)
            sha256 = digest.digest_bytes(data)
            if digest_tile(sha256, box) != tile_sha256:
                raise _make_changed_error()
            frame = decode(data, bayer_pattern=bayer_pattern)
            kept_frame = frame if frame.nbytes <= self.max_bytes else _write_temporary_file(frame)
            if kept_frame is not None:
                self.cached = (uri, bayer_pattern), sha256, kept_frame
            return frame


def _write_temporary_file(frame: PixelArray) -> PixelArray | None:
    """The frame in a file that vanishes with the array; None if it cannot be written."""
    try:
        with tempfile.TemporaryFile(prefix="interpdisc-frame-") as file:
            frame.tofile(file)
            file.flush()
            return np.memmap(file, dtype=np.uint8, mode="r", shape=frame.shape)
    except OSError:
        return None


_frame_cache = FrameCache()


def _make_changed_error() -> Unreadable:
    return Unreadable("changed since it was listed", retryable=True)  # listing it again makes a new version of it
