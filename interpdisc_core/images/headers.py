"""The metadata in a file's header: EXIF, TIFF tags and text chunks, as JSON of bounded size."""

import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image, TiffTags

from interpdisc_core.images.orientation import read_orientation

MAX_HEADER_BYTES = 65536
"""Bytes of JSON that are kept of a header; further fields are left out."""
_DAMAGE_NOTE = "some of the metadata could not be read"
_MAX_TEXT_LENGTH = 2000
_BULKY_TAGS = frozenset(range(275, 281)) | {273, 324, 325, 347, 700, 34675, 37500, 37724, 50341}
"""Tags with offsets, tables, profiles and makers' private data: not metadata for a reader."""


def to_bounded_json(fields: Mapping[str, Any]) -> str:
    """JSON text of nested fields, in their order, of at most `MAX_HEADER_BYTES`; texts are cut at 2000 characters.

    Example:
        >>> to_bounded_json({"SOL": 7, "IMAGE": {"BANDS": 3}})
        '{"SOL": 7, "IMAGE": {"BANDS": 3}}'
    """
    bytes_left = MAX_HEADER_BYTES - 2

    def trim_value(value: object, depth: int) -> object:
        nonlocal bytes_left
        if isinstance(value, Mapping):
            trimmed_fields: dict[str, object] = {}
            bytes_left -= 2
            for name, item in value.items():
                key = str(name)[:200]
                cost = len(json.dumps(key)) + 4
                if depth > 20 or cost > bytes_left:
                    break
                bytes_left -= cost
                trimmed_fields[key] = trim_value(item, depth + 1)
                if trimmed_fields[key] is _OMITTED:
                    del trimmed_fields[key]
            return trimmed_fields
        json_value = _to_json_value(value)
        cost = len(json.dumps(json_value))
        if cost > bytes_left:
            return _OMITTED
        bytes_left -= cost
        return json_value

    return json.dumps(trim_value(fields, 0))


_OMITTED = object()


def _to_json_value(value: object) -> object:
    if isinstance(value, bool | int):
        return value if abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [_to_json_value(item) for item in value[:64] if not isinstance(item, Mapping)]
    return str(value)[:_MAX_TEXT_LENGTH]


def read_header(image: Image.Image, is_damaged: bool = False) -> str:
    """The header of an opened image as JSON text; no pixels are decoded, and fields that cannot be read are left out.

    EXIF and TIFF tags by name, text chunks and comments by their keyword. `icc_profile`, `srgb` and `gamma` say that
    the values are for a display (see `interpdisc_core.images.stretch.is_display_referred`). `damaged` says that some
    metadata could not be read; if `is_damaged`, such metadata were left out before the image was opened.
    """
    fields: dict[str, Any] = {}
    for name, value in image.info.items():
        if name == "icc_profile":
            fields[name] = len(value or b"")
        elif isinstance(value, str) or name in ("gamma", "srgb"):
            fields[str(name)] = value
        elif name == "comment" and isinstance(value, bytes):
            fields[name] = value.decode("utf-8", "replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _add_tags(image, fields)
    except Exception:  # noqa: BLE001 - damaged metadata of an intact picture may make Pillow raise anything
        is_damaged = True
    if is_damaged:
        fields |= {"damaged": _DAMAGE_NOTE, "Orientation": read_orientation(image)}
    return to_bounded_json(fields)


def get_exif(image: Image.Image) -> Image.Exif:
    """The EXIF tags of an opened image; no pixels are decoded.

    Pillow's own method decodes a PNG that has no EXIF, to look for it behind the pixels. See `add_late_exif`.
    """
    return Image.Image.getexif(image)


def add_late_exif(image: Image.Image, data: bytes) -> None:
    """Find the EXIF of an opened PNG where it follows the pixels; `data` is the file."""
    position = 8
    while "exif" not in image.info and position + 8 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind == b"eXIf":
            image.info["exif"] = b"Exif\0\0" + data[position + 8 : position + 8 + length]
        position += 12 + length


def add_picture_fields(header: str, orientation: int, is_damaged: bool) -> str:
    """A header as JSON text with the orientation of an image that another library reads, and the note on damage."""
    fields: dict[str, Any] = {"Orientation": orientation} if orientation != 1 else {}
    if is_damaged:
        fields["damaged"] = _DAMAGE_NOTE
    return to_bounded_json(fields | json.loads(header)) if fields else header


def _add_tags(image: Image.Image, fields: dict[str, Any]) -> None:
    for tag, value in dict(getattr(image, "tag_v2", None) or {}).items():
        if tag not in _BULKY_TAGS and (tag_name := TiffTags.lookup(tag).name) != "unknown":
            _add_field(fields, tag_name, value)
    exif = get_exif(image)
    for ifd in (exif, exif.get_ifd(ExifTags.IFD.Exif)):
        for tag, value in ifd.items():
            if tag not in _BULKY_TAGS and tag in ExifTags.TAGS:
                _add_field(fields, ExifTags.TAGS[tag], value)
    for tag, value in exif.get_ifd(ExifTags.IFD.GPSInfo).items():
        if tag in ExifTags.GPSTAGS:
            _add_field(fields, ExifTags.GPSTAGS[tag], value)


def _add_field(fields: dict[str, Any], name: str, value: object) -> None:
    if isinstance(value, bytes):
        if len(value) > 200 or not (text := value.rstrip(b"\0")).isascii() or not text.decode().isprintable():
            return
        value = text.decode()
    if isinstance(value, tuple):
        fields.setdefault(name, [_to_number(item) for item in value if not isinstance(item, bytes)])
    elif not isinstance(value, Mapping):
        fields.setdefault(name, _to_number(value))


def _to_number(value: object) -> object:
    if isinstance(value, str | int | float):
        return value
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return str(value)
