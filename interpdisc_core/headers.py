"""What a file says of itself, besides its pixels: EXIF, TIFF tags, text chunks, as bounded JSON."""

import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image, TiffTags

LIMIT = 65536
"""Bytes of JSON that are kept of a header; what comes after is left out, whole fields at a time."""
_TEXT = 2000
_BULKY = frozenset(range(275, 281)) | {273, 324, 325, 347, 700, 34675, 37500, 37724, 50341}
"""Tags that hold where the pixels lie, tables, profiles and makers' own data: no metadata to read."""


def bounded(fields: Mapping[str, Any]) -> str:
    """JSON text of nested fields, in their order, at most LIMIT bytes. Text is cut at 2000 characters."""
    left = LIMIT - 2

    def kept(value: object, depth: int) -> object:
        nonlocal left
        if isinstance(value, Mapping):
            inner: dict[str, object] = {}
            left -= 2
            for name, item in value.items():
                key = str(name)[:200]
                cost = len(json.dumps(key)) + 4
                if depth > 20 or cost > left:
                    break
                left -= cost
                inner[key] = kept(item, depth + 1)
                if inner[key] is _LEFT_OUT:
                    del inner[key]
            return inner
        plain = _plain(value)
        cost = len(json.dumps(plain))
        if cost > left:
            return _LEFT_OUT
        left -= cost
        return plain

    return json.dumps(kept(fields, 0))


_LEFT_OUT = object()


def _plain(value: object) -> object:
    if isinstance(value, bool | int):
        return value if abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value[:64] if not isinstance(item, Mapping)]
    return str(value)[:_TEXT]


def of_image(image: Image.Image) -> str:
    """The header of an opened image, as JSON; nothing is decoded. What cannot be read of it is left out.

    EXIF and TIFF tags by their names; text chunks and comments under their own. `icc_profile`, `srgb`, `gamma` say
    that the values are for a display.
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
            _tags(image, fields)
    except Exception:  # noqa: BLE001 - damaged metadata of a good picture may make Pillow raise anything
        fields["damaged"] = "some of the metadata could not be read"
    return bounded(fields)


def _tags(image: Image.Image, fields: dict[str, Any]) -> None:
    for tag, value in dict(getattr(image, "tag_v2", None) or {}).items():
        if tag not in _BULKY and (known := TiffTags.lookup(tag).name) != "unknown":
            _put(fields, known, value)
    exif = image.getexif()
    for part in (exif, exif.get_ifd(ExifTags.IFD.Exif)):
        for tag, value in part.items():
            if tag not in _BULKY and tag in ExifTags.TAGS:
                _put(fields, ExifTags.TAGS[tag], value)
    for tag, value in exif.get_ifd(ExifTags.IFD.GPSInfo).items():
        if tag in ExifTags.GPSTAGS:
            _put(fields, ExifTags.GPSTAGS[tag], value)


def _put(fields: dict[str, Any], name: str, value: object) -> None:
    if isinstance(value, bytes):
        if len(value) > 200 or not (text := value.rstrip(b"\0")).isascii() or not text.decode().isprintable():
            return
        value = text.decode()
    if isinstance(value, tuple):
        fields.setdefault(name, [_number(item) for item in value if not isinstance(item, bytes)])
    elif not isinstance(value, Mapping):
        fields.setdefault(name, _number(value))


def _number(value: object) -> object:
    if isinstance(value, str | int | float):
        return value
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return str(value)
