"""Count the members of a shard by its headers alone, for the proof of completeness.

Deliberately independent of the reader that processes the images, and reads nothing but headers.
"""

import re
import zipfile
from typing import BinaryIO

from interpdisc_core.sources import fetch
from interpdisc_core.sources.compressed_tar import open_compressed_tar
from interpdisc_core.sources.entry import COMPRESSED_TAR_SUFFIX

_BLOCK = 512
_FOLDER, _EXTENDED, _CONTENTLESS = b"5", b"xgXLK", b"12346"
"""Types of header: a folder; headers that extend the next one; headers without content."""
_SIZE = re.compile(rb"(?:^|\n)\d{1,3} size=(\d{1,15})\n")
_MAX_EXTENDED_SIZE = 1 << 20


def count_members(uri: str) -> int:
    """Number of members of a tar or zip, without folders; of a damaged one, those before the damage.

    Raises:
        Unreadable: If it cannot be opened.
    """
    if COMPRESSED_TAR_SUFFIX.search(uri):
        with open_compressed_tar(uri) as (tar, _, size, _):
            return _count_tar_members(tar, size)
    with fetch.open_stream(uri) as (file, facts):
        return _count_zip_members(file) if uri.lower().endswith(".zip") else _count_tar_members(file, facts.size)


def _count_zip_members(file: BinaryIO) -> int:
    try:
        with zipfile.ZipFile(file) as archive:
            return sum(not name.endswith("/") for name in archive.namelist())
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - a hostile directory may raise anything; then there is nothing to count
        return 0


def _count_tar_members(file: BinaryIO, size: int) -> int:
    count, at, extended_size = 0, 0, -1
    while at + _BLOCK <= size:
        file.seek(at)
        header = file.read(_BLOCK)
        if not header.strip(b"\0"):  # the end mark, or the space between two archives
            at += _BLOCK
            continue
        kind, content = header[156:157], _parse_tar_number(header[124:136])
        if _parse_tar_number(header[148:156]) != 256 + sum(header) - sum(header[148:156]) or content < 0:
            break
        at += _BLOCK
        if kind in _EXTENDED:
            # A size that does not fit into a header is in the extension before it.
            match = _SIZE.search(file.read(min(content, _MAX_EXTENDED_SIZE))) if kind == b"x" else None
            extended_size = int(match[1]) if match else extended_size
        else:
            content, extended_size = content if extended_size < 0 else extended_size, -1
            content = 0 if kind in _CONTENTLESS or kind == _FOLDER else content
            continuation = header[482:483] if kind == b"S" else b"\0"
            while continuation != b"\0" and at + _BLOCK <= size:  # more of an old sparse file's list of holes
                file.seek(at)
                continuation, at = file.read(_BLOCK)[504:505], at + _BLOCK
            count += kind != _FOLDER
        at += -(-content // _BLOCK) * _BLOCK
    return count


def _parse_tar_number(field: bytes) -> int:
    """A number in a header, octal or binary; -1 if it is not one."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else (0 if not digits else -1)
