"""The members of a zip in the order of their contents, and reading one member by its offset.

The standard library reads the directory, which is kept in memory: about half a kilobyte for each member.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from interpdisc_core.errors import Unreadable
from interpdisc_core.sources.fetch import find_size_reason
from interpdisc_core.sources.shard_members import (
    HOSTILE_ERRORS,
    RangeReader,
    ShardMember,
    describe_format_error,
    make_rest_member,
)

_LOCAL_HEADER = struct.Struct("<4s5HIIIHH")
_NAME_BYTES = 1024
"""Bytes read with a local header for its names; longer names cost a second read."""
_BOMB_LIMITS = (64 << 20, 200)
"""A member of more bytes than the first, and more than the second times its packed size, is refused."""
MAX_DIRECTORY_BYTES = 64 << 20
"""A zip with a larger directory (about a million members) is refused: it would need half a gigabyte of memory."""
_METHODS = {0: "stored", 8: "deflate", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstandard", 95: "xz", 98: "PPMd"}


def walk_zip(file: BinaryIO, size: int, max_directory_bytes: int = MAX_DIRECTORY_BYTES) -> Iterator[ShardMember]:
    """The members of a zip of `size` bytes in order of their offsets, without folders.

    The caller may move the file's position between two members. No content raises, only reading the file (OSError).
    """
    try:
        with zipfile.ZipFile(_BoundedFile(file, max_directory_bytes)) as archive:
            infos = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda i: i.header_offset)
    except (zipfile.BadZipFile, *HOSTILE_ERRORS) as error:
        yield make_rest_member(0, size, f"not a zip, or a truncated one ({describe_format_error(error)})")
        return
    for info, next_offset in zip(infos, [*(info.header_offset for info in infos[1:]), size], strict=False):
        stop = info.header_offset + _LOCAL_HEADER.size + info.compress_size
        truncation = "its content is truncated" if stop > size or info.header_offset < 0 else ""
        overlap = "it overlaps another member" if stop > next_offset else ""
        yield ShardMember(
            info.filename,
            max(info.header_offset, 0),
            info.file_size,
            info.compress_size,
            info.CRC,
            skip_reason=truncation or overlap or _find_entry_fault(info),
        )


class _BoundedFile:
    """A file that refuses to read more than a directory's size at once."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.seek, self.tell, self._file, self._max_bytes = file.seek, file.tell, file, max_bytes

    def read(self, size: int = -1) -> bytes:
        if size > self._max_bytes:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes; split it into several zips, or use a tar")
        return self._file.read(size)


def _find_entry_fault(info: zipfile.ZipInfo) -> str:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link; links are not followed"
    if info.flag_bits & 0x1:
        return "encrypted; extract it with its password first"
    if info.compress_type not in (0, 8):
        method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
        return f"compressed by {method}; only stored and deflated members can be read"
    if info.file_size > _BOMB_LIMITS[0] and info.file_size > _BOMB_LIMITS[1] * max(info.compress_size, 1):
        return f"a decompression bomb: {info.file_size:,} bytes out of {info.compress_size:,}"
    return find_size_reason(max(info.file_size, info.compress_size))


def read_zip_member(read_range: RangeReader, member: ShardMember) -> bytes:
    """The bytes of a member, never more than its size.

    Raises:
        Unreadable: If they are damaged; `retryable` if the shard changed since it was listed.
    """
    start = member.offset
    data = read_range(start, start + _LOCAL_HEADER.size + _NAME_BYTES + member.packed_size)
    if len(data) < _LOCAL_HEADER.size:
        raise Unreadable("the shard has become shorter since it was listed", retryable=True)
    signature, _, _, method, *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(data)
    if signature != b"PK\x03\x04":
        raise Unreadable("the shard has changed since it was listed", retryable=True)
    header_length = _LOCAL_HEADER.size + name_length + extra_length
    compressed = data[header_length : header_length + member.packed_size]
    if len(compressed) < member.packed_size:
        compressed = read_range(start + header_length, start + header_length + member.packed_size)
    if len(compressed) < member.packed_size:
        raise Unreadable("the shard has become shorter since it was listed", retryable=True)
    member_bytes = compressed if method == 0 else _inflate(compressed, member.size)
    if len(member_bytes) != member.size or zlib.crc32(member_bytes) != member.crc:
        raise Unreadable("damaged in its shard: size or checksum is wrong")
    return member_bytes


def _inflate(compressed: bytes, size: int) -> bytes:
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return decompressor.decompress(compressed, size + 1)
    except zlib.error as error:
        raise Unreadable(f"damaged in its shard: {error}") from None
