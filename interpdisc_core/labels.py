"""Labels of science products: what GDAL's drivers report of them, as plain fields; and labels made harmless for GDAL.

A label is hostile input. It can name any file of this machine as its data (GDAL opens `../../etc/…` even for a label
that lies in memory), nest without end, or hold entities that explode.
"""

import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from interpdisc_core.errors import Unreadable

MAX_LABEL = 16_000_000
"""Bytes of a detached label; real ones have up to a few hundred thousand."""
_MEMBERS = 64


# ------------------------------------------------------------------------------------------- bundles


def members(data: bytes, most: int) -> dict[str, bytes]:
    """The files of a bundle, the label first: a zip of stored (uncompressed) members, with one named *.lbl or *.xml.

    Raises Unreadable where it is no such thing, or holds more than `most` bytes.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            infos = archive.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos) or len(infos) > _MEMBERS:
                raise Unreadable(
                    "a zip archive that is no product of a label and its data; give it as a source of images"
                )
            if sum(info.file_size for info in infos) > most:
                raise Unreadable(f"a product of more than {most // 10**6} MB")
            files = {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("a damaged zip archive") from None
    label = next((name for name in files if name.lower().endswith((".lbl", ".xml"))), None)
    if label is None:
        raise Unreadable("a zip archive that is no product of a label and its data; give it as a source of images")
    if any(not plain(name) for name in files):
        raise Unreadable("a product whose label and data are not in one folder")
    if len(files[label]) > MAX_LABEL:
        raise Unreadable(f"a label of more than {MAX_LABEL // 10**6} MB")
    return {label: files.pop(label), **files}


def plain(name: str) -> bool:
    """Whether a name is that of a file beside its label: no folder, no control characters, no markup."""
    return bool(re.fullmatch(r"[^/\\\x00-\x1f<>:|\"]{1,255}", name)) and name.strip(". ") != ""


# ------------------------------------------------------------------------------------ PDS3 and ISIS text


def harmless(data: bytes) -> bytes:
    """The same number of bytes, whose label can make GDAL neither leave its folder nor call further drivers.

    Interleaving words are spoiled too: of these, GDAL 3.10 knows some and crashes on others, so samples are put into
    order by the reader. Only the text up to END and little after it is touched.
    """
    end = re.search(rb"[\r\n](?:END|End)[ \t]*[\r\n]", data)
    stop = min(end.end() + 2048, len(data)) if end else len(data)
    text = data[:stop]
    for pattern, instead in _SPOILED:
        text = pattern.sub(instead, text)
    return text + data[stop:] if text != data[:stop] else data


_SPOILED = [
    (re.compile(rb"(?<=[\s\"'(=,./\\])\.\.(?=[/\\])"), b"__"),
    (re.compile(rb"(COMPRESSED_FIL)E", re.IGNORECASE), rb"\1_"),
    (re.compile(rb"(GEOTIF)F", re.IGNORECASE), rb"\1_"),
    (re.compile(rb"(INTERLEAVE)D", re.IGNORECASE), rb"\1_"),
]


def named_file(label: bytes) -> str:
    """The file that a PDS3 or ISIS label names as its data, "" where it names none."""
    found = re.search(
        rb"\^(?:IMAGE|QUBE|SPECTRAL_QUBE|CORE)\s*=\s*\(?\s*\"([^\"\r\n]{1,200})\"", label[:MAX_LABEL], re.IGNORECASE
    )
    return found[1].decode("ascii", "replace").strip() if found else ""


def text_fields(label: bytes) -> dict[str, Any]:
    """NAME = value lines of an ISIS 2 label, of which GDAL reports nothing. The first of a name counts."""
    fields: dict[str, Any] = {}
    for name, value in re.findall(
        rb"^[ \t]*([A-Z_^:]{2,60})[ \t]*=[ \t]*([^\r\n]{1,300})", label[:65536], re.MULTILINE
    ):
        if name == b"END":
            break
        fields.setdefault(name.decode(), value.decode("ascii", "replace").strip().strip('"'))
    return fields


def tidy(fields: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """GDAL's JSON of a label without its marks: `{"value": 1, "unit": "ms"}` of NAME to NAME and NAME_UNIT."""
    out: dict[str, Any] = {}
    for name, value in fields.items():
        if name.startswith("_") or name.upper() in ("END_OBJECT", "END_GROUP", "END") or depth > 20:
            continue
        if isinstance(value, Mapping):
            if "value" in value and set(value) <= {"value", "unit"}:
                out[name] = value["value"]
                if value.get("unit"):
                    out[f"{name}_UNIT"] = value["unit"]
            else:
                out[name] = tidy(value, depth + 1)
        else:
            out[name] = value
    return out


def leaves(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names in capitals, without a namespace, and values of nested fields; what is nearer the root comes first."""
    level: list[Mapping[str, Any]] = [fields]
    while level:
        deeper = []
        for part in level:
            for name, value in part.items():
                if isinstance(value, Mapping):
                    deeper.append(value)
                else:
                    yield str(name).rpartition(":")[2].upper(), value
        level = deeper


# ------------------------------------------------------------------------------------------ numbers in labels


def numbers(value: object, dtype: str) -> Iterator[float]:
    """The numbers of a label's value, one or a list; `16#FF7FFFFB#` of `float32` is the real of these bits."""
    for item in value if isinstance(value, list) else [value]:
        text = str(item).strip().strip('"')
        if radix := re.fullmatch(r"(2|8|10|16)#([+-]?[0-9A-Fa-f]{1,64})#", text):
            try:
                whole = int(radix[2], int(radix[1]))
            except ValueError:
                continue
            if radix[1] == "16" and dtype == "float32" and 0 <= whole < 2**32:
                yield struct.unpack(">f", whole.to_bytes(4, "big"))[0]
            elif abs(whole) < 2**64:
                yield float(whole)
            continue
        try:
            yield float(text)
        except ValueError:
            continue


def full_scale(fields: Mapping[str, Any]) -> int | None:
    """The greatest value by SAMPLE_BIT_MASK, 255..32767; None where the label does not give it or it is all 16 bits."""
    for name, value in leaves(fields):
        if name == "SAMPLE_BIT_MASK":
            mask = next((int(number) for number in numbers(value, "uint16")), 0)
            return mask if 255 <= mask < 65535 and not mask & (mask + 1) else None
    return None


def whole(fields: Mapping[str, Any], name: str, default: int = 0) -> int:
    """A whole number of the label, found anywhere in it."""
    for found, value in leaves(fields):
        if found == name:
            number = next(numbers(value, ""), None)
            return int(number) if number is not None and 0 <= number < 2**53 else default
    return default


def word(fields: Mapping[str, Any], *names: str) -> str:
    """A text of the label in capitals, words joined by `_`; of the first name that it has. "" where it has none."""
    for wanted in names:
        for found, value in leaves(fields):
            if found == wanted and not isinstance(value, list):
                return re.sub(r"[\s_]+", "_", str(value).strip().strip('"').upper())
    return ""
