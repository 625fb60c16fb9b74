"""PDS3, VICAR and ISIS labels: the fields that GDAL's drivers report, as plain values; and labels made safe for GDAL.

A label is hostile input. It can name any file of this machine as its data (GDAL opens `../../etc/…` even for a label
in memory), nest without end, or hold entities that explode. No library is used (`pvl`, `pds4_tools`) because
this module, `pds4`, `sample_layout` and `special_values` are hardened against such labels.
"""

import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any

from interpdisc_core.errors import Unreadable
from interpdisc_core.metadata.pds_pointers import find_first_pointer, is_safe_name

MAX_DETACHED_LABEL_BYTES = 16_000_000
"""A larger detached label is refused; real ones have up to a few hundred thousand bytes."""
_MAX_MEMBERS = 64
_NOT_A_PRODUCT = "a zip archive that is not a product (a label and its data); list it as a source of images instead"


# ------------------------------------------------------------------------------------------- bundles


def unpack_bundle(data: bytes, max_bytes: int) -> dict[str, bytes]:
    """The files of a bundle, the label first.

    Args:
        data: A zip of stored (uncompressed) members, one of them named *.lbl or *.xml.
        max_bytes: Of all members together.

    Raises:
        Unreadable: If it is not such a zip or is too large.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            infos = archive.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos) or len(infos) > _MAX_MEMBERS:
                raise Unreadable(_NOT_A_PRODUCT)
            if sum(info.file_size for info in infos) > max_bytes:
                raise Unreadable(f"a product of more than {max_bytes // 10**6} MB")
            files = {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("a damaged zip archive") from None
    label_name = next((name for name in files if name.lower().endswith((".lbl", ".xml"))), None)
    if label_name is None:
        raise Unreadable(_NOT_A_PRODUCT)
    if any(not is_safe_name(name) for name in files):
        raise Unreadable("a product whose label and data are not in one folder")
    if len(files[label_name]) > MAX_DETACHED_LABEL_BYTES:
        raise Unreadable(f"a label of more than {MAX_DETACHED_LABEL_BYTES // 10**6} MB")
    return {label_name: files.pop(label_name), **files}


# ------------------------------------------------------------------------------------ PDS3 and ISIS text


def neutralize_label(data: bytes) -> bytes:
    """A product of the same length whose label cannot make GDAL leave its folder or call further drivers.

    Words for interleaving are made unreadable too: GDAL 3.10 knows some and crashes on others, so the caller orders the
    samples itself. Only the text up to END and 2 kB after it is changed.
    """
    end = re.search(rb"[\r\n](?:END|End)[ \t]*[\r\n]", data)
    stop = min(end.end() + 2048, len(data)) if end else len(data)
    text = data[:stop]
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    return text + data[stop:] if text != data[:stop] else data


def _blank_out(match: re.Match[bytes]) -> bytes:
    return b" " * len(match[0])


_REPLACEMENTS: list[tuple[re.Pattern[bytes], bytes | Callable[[re.Match[bytes]], bytes]]] = [
    (re.compile(rb"(?<=[\s\"'(=,./\\])\.\.(?=[/\\])"), b"__"),
    (re.compile(rb"(COMPRESSED_FIL)E", re.IGNORECASE), rb"\1_"),
    (re.compile(rb"(GEOTIF)F", re.IGNORECASE), rb"\1_"),
    (re.compile(rb"(INTERLEAVE)D", re.IGNORECASE), rb"\1_"),
    (re.compile(rb"(?<=[=(])([ \t\r\n]{0,9})'([^'\"\r\n]{1,255})'"), rb'\1"\2"'),  # GDAL knows double quotes alone
    # GDAL refuses a keyword without a value; the keyword becomes a comment of the same length.
    (
        re.compile(
            rb"^[ \t]*[A-Z][A-Z0-9_:]{3,60}[ \t]*=[ \t]*(?=\r?\n[ \t]*(?:[A-Z^][A-Z0-9_:]{1,60}[ \t]*=|END\b|END_))",
            re.MULTILINE,
        ),
        _blank_out,
    ),
]


def find_data_name(pds_label: bytes) -> str:
    """The file that a PDS3 or ISIS label names as its data; empty if it names none."""
    return find_first_pointer(pds_label[:MAX_DETACHED_LABEL_BYTES].decode("ascii", "replace"))


def parse_text_fields(pds_label: bytes) -> dict[str, Any]:
    """The NAME = value lines of an ISIS 2 label, which GDAL does not report; the first line of a name counts."""
    fields: dict[str, Any] = {}
    for name, value in re.findall(
        rb"^[ \t]*([A-Z_^:]{2,60})[ \t]*=[ \t]*([^\r\n]{1,300})", pds_label[:65536], re.MULTILINE
    ):
        if name == b"END":
            break
        fields.setdefault(name.decode(), value.decode("ascii", "replace").strip().strip('"'))
    return fields


def simplify_fields(fields: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """GDAL's JSON of a label without its markup: NAME of `{"value": 1, "unit": "ms"}` becomes NAME and NAME_UNIT."""
    simplified: dict[str, Any] = {}
    for name, value in fields.items():
        if name.startswith("_") or name.upper() in ("END_OBJECT", "END_GROUP", "END") or depth > 20:
            continue
        if isinstance(value, Mapping):
            if "value" in value and set(value) <= {"value", "unit"}:
                simplified[name] = value["value"]
                if value.get("unit"):
                    simplified[f"{name}_UNIT"] = value["unit"]
            else:
                simplified[name] = simplify_fields(value, depth + 1)
        else:
            simplified[name] = value
    return simplified


def iter_leaves(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The names (upper case, without namespace) and values of nested fields, breadth first."""
    level: list[Mapping[str, Any]] = [fields]
    while level:
        deeper = []
        for mapping in level:
            for name, value in mapping.items():
                if isinstance(value, Mapping):
                    deeper.append(value)
                else:
                    yield str(name).rpartition(":")[2].upper(), value
        level = deeper


# ------------------------------------------------------------------------------------------ numbers in labels


def iter_numbers(value: object, dtype: str) -> Iterator[float]:
    """The numbers in a label's value, which may be a list; `16#FF7FFFFB#` of a `float32` image is the real of these bits.

    Example:
        >>> list(iter_numbers(["2#1111#", "7.5", "NULL"], "uint16"))
        [15.0, 7.5]
    """
    for item in value if isinstance(value, list) else [value]:
        text = str(item).strip().strip('"')
        if radix := re.fullmatch(r"(2|8|10|16)#([+-]?[0-9A-Fa-f]{1,64})#", text):
            try:
                bits = int(radix[2], int(radix[1]))
            except ValueError:
                continue
            if radix[1] == "16" and dtype == "float32" and 0 <= bits < 2**32:
                yield struct.unpack(">f", bits.to_bytes(4, "big"))[0]
            elif abs(bits) < 2**64:
                yield float(bits)
            continue
        try:
            yield float(text)
        except ValueError:
            continue


def find_full_scale(fields: Mapping[str, Any]) -> int | None:
    """The greatest value by SAMPLE_BIT_MASK, 255..32767; None if it is missing or means all 16 bits."""
    for name, value in iter_leaves(fields):
        if name == "SAMPLE_BIT_MASK":
            mask = next((int(number) for number in iter_numbers(value, "uint16")), 0)
            return mask if 255 <= mask < 65535 and not mask & (mask + 1) else None
    return None


def find_integer(fields: Mapping[str, Any], name: str, default: int = 0) -> int:
    """A non-negative integer of the label, at any depth; `default` if it is missing."""
    for leaf_name, value in iter_leaves(fields):
        if leaf_name == name:
            number = next(iter_numbers(value, ""), None)
            return int(number) if number is not None and 0 <= number < 2**53 else default
    return default


def find_word(fields: Mapping[str, Any], *names: str) -> str:
    """A text of the label in upper case, words joined by `_`, of the first of `names` that it has; empty if it has none."""
    for name in names:
        for leaf_name, value in iter_leaves(fields):
            if leaf_name == name and not isinstance(value, list):
                return re.sub(r"[\s_]+", "_", str(value).strip().strip('"').upper())
    return ""
