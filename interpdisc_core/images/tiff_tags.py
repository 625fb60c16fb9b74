"""The tags of a TIFF that decide how its samples are shown, and which of its pages is the picture.

A TIFF may begin with a thumbnail and keep the picture in a later page or in a sub-page. Libraries open the first page,
so `select_picture_page` makes the picture the first page. Nothing here raises: of what is damaged, less is found.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from interpdisc_core._types import AnyArray, BoolArray

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, PALETTE, SEPARATED, YCBCR = 0, 3, 5, 6
PHOTOMETRIC_NAMES = {8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32844: "LogL", 32845: "LogLuv"}
"""Kinds of color that are not gray, RGB, palette, CMYK or YCbCr."""
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _ORIENTATION = 254, 255, 258, 262, 274
_SUB_PAGES, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _NODATA = 330, 332, 338, 339, 42113
_TAGS = frozenset(
    (
        *(_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _ORIENTATION),
        *(_SUB_PAGES, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _NODATA),
    )
)
_FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MAX_PAGES, _MAX_ENTRIES, _MAX_VALUES = 256, 4096, 256


@dataclass(frozen=True, slots=True)
class TiffPage:
    """A page: where its directory is in the file, and its tags with their numbers or text, those of interest only."""

    offset: int = 0
    tags: Mapping[int, tuple[int, ...] | bytes] = field(default_factory=dict)

    def get_number(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        values = self.tags.get(tag, ())
        return values[0] if isinstance(values, tuple) and values else default

    @property
    def photometric(self) -> int:
        """What the samples mean: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 inks, 6 YCbCr …; -1 unknown."""
        return self.get_number(_PHOTOMETRIC, -1)

    @property
    def bits(self) -> int:
        """Of the first band's samples, at most 64: a hostile number must not become a power of two."""
        return min(max(self.get_number(_BITS, 1), 1), 64)

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 to 8."""
        turn = self.get_number(_ORIENTATION, 1)
        return turn if 1 <= turn <= 8 else 1

    @property
    def is_premultiplied(self) -> bool:
        """Whether colors are multiplied by the opacity already."""
        return self.get_number(_EXTRA_SAMPLES, 0) == 1

    @property
    def is_signed(self) -> bool:
        """Whether its samples are signed integers."""
        return self.get_number(_SAMPLE_FORMAT, 1) == 2

    @property
    def has_other_inks(self) -> bool:
        """Whether its inks are others than cyan, magenta, yellow and black."""
        return self.photometric == SEPARATED and self.get_number(_INK_SET, 1) != 1

    @property
    def nodata(self) -> float | None:
        """The value of missing samples, as GDAL writes it; None if none is given."""
        text = self.tags.get(_NODATA, b"")
        try:
            return float(text.split(b"\0")[0]) if isinstance(text, bytes) and text else None
        except ValueError:
            return None

    def find_missing(self, values: AnyArray) -> BoolArray | None:
        """Where unsigned samples, as stored, are missing by `nodata`; None if no sample can be."""
        nodata = self.nodata
        if nodata is None or not nodata.is_integer() or not 0 <= nodata < 2**self.bits:
            return None
        missing: BoolArray = values == int(nodata)
        return missing

    def find_missing_levels(self, levels: AnyArray) -> BoolArray | None:
        """As `find_missing`, of gray of 1 to 8 bits that was brought to 0 … 255 with black as 0."""
        nodata, greatest = self.nodata, 2**self.bits - 1
        if nodata is None or not nodata.is_integer() or not 0 <= nodata <= greatest or self.bits not in (1, 2, 4, 8):
            return None
        level = int(nodata) * 255 // greatest
        missing: BoolArray = levels == (255 - level if self.photometric == WHITE_IS_ZERO else level)
        return missing

    @property
    def is_picture(self) -> bool:
        """Whether it is neither a reduced image nor a transparency mask."""
        return not self.get_number(_NEW_SUBFILE_TYPE, 0) & 0b101 and self.get_number(_SUBFILE_TYPE, 1) != 2


def read_first_page(data: bytes) -> TiffPage:
    """The first page of a TIFF or BigTIFF, or of EXIF data (without `Exif` and two zero bytes); empty if it is neither."""
    return next(_iter_pages(data), TiffPage())


def select_picture_page(data: bytes) -> bytes:
    """A TIFF whose first page is the picture: the same bytes, or with another offset of the first directory.

    The picture is the first page, or sub-page of it, that is not marked as reduced or as a mask; the first page if all
    of them are.
    """
    if not data.startswith(TIFF_MAGIC) or (first := read_first_page(data)).is_picture:
        return data
    page = next((page for page in _iter_pages(data) if page.is_picture and _PHOTOMETRIC in page.tags), first)
    if page.offset == first.offset:
        return data
    order, is_big = _read_byte_order(data)
    position, code = (8, "Q") if is_big else (4, "I")
    offset = struct.pack(order + code, page.offset)
    return data[:position] + offset + data[position + len(offset) :]


def _read_byte_order(data: bytes) -> tuple[str, bool]:
    return "<" if data[:1] == b"I" else ">", data[2:4] in (b"+\0", b"\0+")


def _iter_pages(data: bytes) -> Iterator[TiffPage]:
    """The pages in the file's order, each followed by its sub-pages."""
    if not data.startswith(TIFF_MAGIC):
        return
    order, is_big = _read_byte_order(data)
    try:
        (offset,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    except struct.error:
        return
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < _MAX_PAGES:
        seen.add(offset)
        page, next_offset = _read_page(data, offset, order, is_big)
        yield page
        sub_offsets = page.tags.get(_SUB_PAGES, ())
        for sub_offset in sub_offsets if isinstance(sub_offsets, tuple) else ():
            if sub_offset in seen or len(seen) >= _MAX_PAGES:
                continue
            seen.add(sub_offset)
            yield _read_page(data, sub_offset, order, is_big)[0]
        offset = next_offset


def _read_page(data: bytes, offset: int, order: str, is_big: bool) -> tuple[TiffPage, int]:
    word, inline_bytes, entry_bytes = ("Q", 8, 20) if is_big else ("I", 4, 12)
    tags: dict[int, tuple[int, ...] | bytes] = {}
    next_offset = 0
    try:
        (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, offset)
        start = offset + (8 if is_big else 2)
        for number in range(min(count, _MAX_ENTRIES)):
            position = start + number * entry_bytes
            tag, kind, value_count = struct.unpack_from(order + "HH" + word, data, position)
            if tag not in _TAGS or kind not in _FORMATS:
                continue
            value_count = min(value_count, _MAX_VALUES)
            code = f"{order}{value_count}{_FORMATS[kind]}"
            value_position = position + entry_bytes - inline_bytes
            if struct.calcsize(code) > inline_bytes:
                (value_position,) = struct.unpack_from(order + word, data, value_position)
            if value_position + struct.calcsize(code) <= len(data):
                values = struct.unpack_from(code, data, value_position)
                tags[tag] = values[0] if kind == 2 else values
        (next_offset,) = struct.unpack_from(order + word, data, start + count * entry_bytes)
    except (struct.error, OverflowError):
        pass
    return TiffPage(offset, tags), next_offset
