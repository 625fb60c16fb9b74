"""The structure of a JPEG file: its segments, and where its first picture ends.

Cameras and servers pad files, or put a second picture after the first: what is after the end is not part of it.
"""

import re
from collections.abc import Iterator

START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
_MARKER_IN_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)


def iter_jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments before the first scan's: (marker, start, stop), with start at the marker; ends where damage begins."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        while position + 4 < len(data) and data[position + 1] == 0xFF:
            position += 1  # fill bytes
        marker = data[position + 1]
        stop = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in (START_OF_SCAN, END_OF_IMAGE) or stop > len(data) or stop < position + 4:
            return
        yield marker, position, stop
        position = stop


def find_jpeg_end(data: bytes) -> int | None:
    """The offset after a JPEG's first picture; None if its end is missing."""
    if not data.startswith(b"\xff\xd8"):
        return None
    position = 2
    for _, _, stop in iter_jpeg_segments(data):
        position = stop
    # From the first scan on: markers between the entropy-coded data, each with its segment but for the end.
    while match := _MARKER_IN_SCAN.search(data, position):
        marker = data[match.end() - 1]
        if marker == END_OF_IMAGE:
            return match.end()
        if marker == 0xD8:  # another picture begins
            return None
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + max(length, 2)
    return None
