"""Picture files without their metadata, for a library that refuses the file because of them.

Damaged or huge text, profiles and other ancillary parts never cost the pixels: what decides how these look is kept.
"""

import struct
import zlib

from interpdisc_core.metadata.jpeg_markers import iter_jpeg_segments

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ESSENTIAL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_SRGB_CHUNK = struct.pack(">I", 1) + b"sRGB\0" + struct.pack(">I", zlib.crc32(b"sRGB\0"))


def strip_metadata(data: bytes) -> bytes:
    """A PNG or JPEG without metadata except its EXIF data; other files, and those without metadata, as they are.

    Of a PNG, transparency and gamma are kept if they are intact, and a color profile becomes sRGB's, which says as well
    that the values are for a display.
    """
    if data.startswith(_PNG_SIGNATURE):
        return _strip_png(data)
    return _strip_jpeg(data) if data.startswith(b"\xff\xd8") else data


def _strip_png(data: bytes) -> bytes:
    view = memoryview(data)
    parts: list[bytes | memoryview] = [_PNG_SIGNATURE]
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        stop = position + 12 + length
        chunk = view[position:stop]
        if name in _ESSENTIAL_CHUNKS:
            parts.append(chunk)
        elif name == b"iCCP":
            parts.append(_SRGB_CHUNK)
        elif name == b"eXIf" and stop <= len(data):  # with a right checksum: what can be read of it is read
            parts += [chunk[:-4], struct.pack(">I", zlib.crc32(chunk[4:-4]))]
        elif name in (b"tRNS", b"gAMA", b"sRGB") and zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]:
            parts.append(chunk)
        position = stop
        if name == b"IEND":
            break
    return b"".join(parts)


def _strip_jpeg(data: bytes) -> bytes:
    parts = [b"\xff\xd8"]
    position = 2
    for marker, start, stop in iter_jpeg_segments(data):
        is_application_data = 0xE0 <= marker <= 0xEF or marker == 0xFE
        is_exif = marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0"
        if not is_application_data or marker in (0xE0, 0xEE) or is_exif:
            parts.append(data[start:stop])
        position = stop
    return b"".join((*parts, data[position:]))
