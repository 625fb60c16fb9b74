"""How many members a shard has by its headers alone: what the proof of completeness is held against.

Deliberately another reader than the one that takes the images in, and one that knows nothing but headers.
"""

import re
import zipfile
from typing import BinaryIO

from interpdisc_core.sources import access

_BLOCK = 512
_FOLDER, _EXTENDED, _WITHOUT = b"5", b"xgXLK", b"12346"
"""Types of header: a folder; one that says more of the next; those after which no content comes."""
_SIZE = re.compile(rb"(?:^|\n)\d{1,3} size=(\d{1,15})\n")
_LONGEST = 1 << 20


def headers(uri: str) -> int:
    """The number of members of a tar or zip, folders left out. Raises Unreadable where it cannot be got at.

    Of a damaged one, those before the damage.
    """
    with access.walking(uri) as (file, facts):
        return _of_zip(file) if uri.lower().endswith(".zip") else _of_tar(file, facts.size)


def _of_zip(file: BinaryIO) -> int:
    try:
        with zipfile.ZipFile(file) as opened:
            return sum(not name.endswith("/") for name in opened.namelist())
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - a hostile directory may raise anything; then nothing can be counted
        return 0


def _of_tar(file: BinaryIO, size: int) -> int:
    count, at, told = 0, 0, -1
    while at + _BLOCK <= size:
        file.seek(at)
        header = file.read(_BLOCK)
        if not header.strip(b"\0"):  # the end mark, or what lies between two archives
            at += _BLOCK
            continue
        kind, content = header[156:157], _number(header[124:136])
        if _number(header[148:156]) != 256 + sum(header) - sum(header[148:156]) or content < 0:
            break
        at += _BLOCK
        if kind in _EXTENDED:
            # A size that a header has no room for stands in the one before it.
            found = _SIZE.search(file.read(min(content, _LONGEST))) if kind == b"x" else None
            told = int(found[1]) if found else told
        else:
            content, told = content if told < 0 else told, -1
            content = 0 if kind in _WITHOUT or kind == _FOLDER else content
            more = header[482:483] if kind == b"S" else b"\0"
            while more != b"\0" and at + _BLOCK <= size:  # an old sparse file's list of holes goes on
                file.seek(at)
                more, at = file.read(_BLOCK)[504:505], at + _BLOCK
            count += kind != _FOLDER
        at += -(-content // _BLOCK) * _BLOCK
    return count


def _number(field: bytes) -> int:
    """A number of a header, octal or binary; -1 for none."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else (0 if not digits else -1)
