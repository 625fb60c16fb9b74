"""Damaged metadata never costs good pixels; a JPEG without its end is taken if no pixel is missing."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from interpdisc_core.errors import Unreadable
from interpdisc_core.images.decode import decode, identify
from interpdisc_core.images.other_formats import describe_file
from interpdisc_core.metadata.jpeg_markers import find_jpeg_end
from tests.helpers.science_files import make_png_chunk

NOISE = np.random.default_rng(0).integers(0, 255, (40, 64, 3)).astype(np.uint8)


def encode(kind: str, **options: object) -> bytes:
    """A file of the noise."""
    sink = io.BytesIO()
    Image.fromarray(NOISE).save(sink, kind, **options)
    return sink.getvalue()


PNG_CHUNKS = {
    "text": make_png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1_100_000)),
    "profile": make_png_chunk(b"iCCP", b"prof\0\0" + zlib.compress(bytes(1_200_000))),
    "short": make_png_chunk(b"pHYs", b"abcd"),
    "checksum": make_png_chunk(b"tEXt", b"A\0b")[:-1] + b"?",
    "exif": make_png_chunk(b"eXIf", b"garbage!"),
}


@pytest.mark.parametrize("name", PNG_CHUNKS)
def test_damaged_chunks_of_a_png_cost_nothing(name: str) -> None:
    """Before the pixels and after them; the header says that metadata are damaged."""
    data = encode("PNG")
    for damaged in (data[:33] + PNG_CHUNKS[name] + data[33:], data[:-12] + PNG_CHUNKS[name] + data[-12:]):
        np.testing.assert_array_equal(decode(damaged), NOISE)
    assert "damaged" in json.loads(identify(data[:33] + PNG_CHUNKS[name] + data[33:]).header)


def test_a_picture_with_damaged_exif_is_turned() -> None:
    """The orientation is read where another tag cannot be written."""
    tags = struct.pack("<H", 2) + struct.pack("<HHIi", 0x100, 9, 1, -5) + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + tags + bytes(4)
    jpeg = encode("JPEG", quality=95)
    turned = decode(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    np.testing.assert_array_equal(turned, np.rot90(decode(jpeg), -1))


def test_padded_and_doubled_jpegs_are_the_first_picture() -> None:
    """Zeros behind it, another picture behind it, no end marker."""
    jpeg = encode("JPEG", quality=90)
    for data in (jpeg + bytes(9000), jpeg + jpeg, jpeg + jpeg[:90], jpeg[:-2], jpeg[:-2] + bytes(9000)):
        np.testing.assert_array_equal(decode(data), decode(jpeg))
    assert find_jpeg_end(jpeg + bytes(9)) == len(jpeg)


@pytest.mark.parametrize("padding", [b"", bytes(3000)])
def test_a_jpeg_with_missing_pixels_is_refused(padding: bytes) -> None:
    """It is never shown half gray."""
    jpeg = encode("JPEG", quality=90)
    with pytest.raises(Unreadable, match="truncated"):
        decode(jpeg[: len(jpeg) // 2] + padding)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"<!DOCTYPE html><title>404</title>", "web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "AccessDenied"),
        (b'{"error": "rate limit"}', "rate limit"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8b\x08rest", "gunzip"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video"),
        (bytes(99), "zeros"),
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
    ],
)
def test_the_reason_says_what_an_unreadable_file_is(data: bytes, word: str) -> None:
    """And what to do."""
    assert word in describe_file(data)
    with pytest.raises(Unreadable, match=word):
        decode(data)
