"""JPEG files whose end marker is missing: taken if all of their pixels are there, refused if some are not.

libjpeg fills pixels that are missing with gray, and says nothing through Pillow.
"""

import hashlib
import io

from PIL import Image

from interpdisc_core.errors import Unreadable
from interpdisc_core.metadata.jpeg_markers import find_jpeg_end

_END = b"\xff\xd9"
_FILLS = (b"\x00" * 4096, b"\x55\xaa" * 2048)
"""Entropy-coded data to put after a scan without an end: where pixels are missing, the two give different ones."""
_MAX_PIXELS = 16_000_000
"""A larger picture is compared at a reduced scale."""


def complete_jpeg(data: bytes) -> bytes:
    """A JPEG with its end marker: the same object if it has one.

    Raises:
        Unreadable: If pixels are missing.
    """
    if data.endswith(_END) or find_jpeg_end(data) is not None:
        return data
    body = data.rstrip(b"\0\xff")
    if len({_digest_pixels(body + fill + _END) for fill in _FILLS}) > 1:
        raise Unreadable("truncated: a JPEG without its end, and pixels are missing")
    return body + _END


def _digest_pixels(data: bytes) -> bytes:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    if image.width * image.height > _MAX_PIXELS:
        image.draft(None, (1, 1))  # an eighth of the scale, for its memory
    return hashlib.sha256(image.tobytes()).digest()
