"""Walking through a zip in the order of its content, and reading one member by its place.

The standard library reads the directory; it is held in memory, about half a kilobyte a member.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from interpdisc_core.errors import Unreadable
from interpdisc_core.sources.access import no_access
from interpdisc_core.sources.members import HOSTILE, Bytes, Member, rest, said, too_large

_LOCAL = struct.Struct("<4s5HIIIHH")
_ROOM = 1024
"""Bytes that are read along for the names in a local header; a second look is needed where they are longer."""
_BOMB = (64 << 20, 200)
"""Content larger than so many bytes, and than so many times what it is packed into, is refused."""
_DIRECTORY = 64 << 20
"""A zip with a larger directory (about a million members) is refused: half a gigabyte of memory would go for it."""
_METHODS = {0: "stored", 8: "deflate", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstandard", 95: "xz", 98: "PPMd"}


def walk(file: BinaryIO, size: int) -> Iterator[Member]:
    """The members of a zip of `size` bytes in order of their places, folders left out.

    Between two members the file may be read elsewhere. Nothing in it raises; OSError of reading it does.
    """
    try:
        with zipfile.ZipFile(_Bounded(file)) as archive:
            infos = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda i: i.header_offset)
    except (zipfile.BadZipFile, *HOSTILE) as error:
        yield rest(0, size, f"not a zip, or one that is cut off ({said(error)})")
        return
    for info, follows in zip(infos, [*(info.header_offset for info in infos[1:]), size], strict=False):
        stop = info.header_offset + _LOCAL.size + info.compress_size
        beyond = "its content is not all there" if stop > size or info.header_offset < 0 else ""
        overlaps = "it overlaps another member" if stop > follows else ""
        yield Member(
            info.filename, max(info.header_offset, 0), info.file_size, info.compress_size, info.CRC,
            skipped=beyond or overlaps or _reason(info),
        )  # fmt: skip


class _Bounded:
    """A file of which no more than a directory's due is read at once."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int = -1) -> bytes:
        if size > _DIRECTORY:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes; make several zips of it, or a tar")
        return self._file.read(size)


def _reason(info: zipfile.ZipInfo) -> str:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link; links are not followed"
    if info.flag_bits & 0x1:
        return "encrypted; it cannot be read without its password"
    if info.compress_type not in (0, 8):
        method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
        return f"packed by {method}; only stored and deflated members can be read, so pack it again"
    if info.file_size > _BOMB[0] and info.file_size > _BOMB[1] * max(info.compress_size, 1):
        return f"a decompression bomb: {info.file_size:,} bytes out of {info.compress_size:,}"
    return too_large(max(info.file_size, info.compress_size))


def content(between: Bytes, member: Member) -> bytes:
    """The bytes of a member, never more than its size. Raises Unreadable where they are damaged.

    Its `access` is set where the shard ends before they do.
    """
    start = member.offset
    data = between(start, start + _LOCAL.size + _ROOM + member.packed)
    if len(data) < _LOCAL.size:
        raise no_access("the shard has become shorter since it was listed")
    mark, _, _, method, *_, names, extra = _LOCAL.unpack_from(data)
    if mark != b"PK\x03\x04":
        raise no_access("the shard has changed since it was listed")
    head = _LOCAL.size + names + extra
    packed = data[head : head + member.packed]
    if len(packed) < member.packed:
        packed = between(start + head, start + head + member.packed)
    if len(packed) < member.packed:
        raise no_access("the shard has become shorter since it was listed")
    content = packed if method == 0 else _inflated(packed, member.size)
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise Unreadable("damaged in its shard: size or checksum do not fit")
    return content


def _inflated(packed: bytes, size: int) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return engine.decompress(packed, size + 1)
    except zlib.error as error:
        raise Unreadable(f"damaged in its shard: {error}") from None
