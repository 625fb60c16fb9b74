"""Members of shards: one file in a tar or zip, and the URI by which it is read without the others."""

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes

from interpdisc_core.errors import Unreadable, one_line

_MEMBER_URI = re.compile(
    r"shard\+(?P<shard>(?:file|s3|gs|az)://.+)#offset=(?P<offset>\d{1,15})&size=(?P<size>\d{1,15})&name=(?P<name>[^&#]*)"
    r"(?:&packed=(?P<packed>\d{1,15})&crc=(?P<crc>[0-9a-f]{8}))?",
    re.DOTALL,
)
SHARD_SCHEME = "shard+"
REST_REASON = "the rest of the shard"
"""Begins the `skip_reason` of the entry that stands for the unreadable rest of a damaged shard."""

HOSTILE_ERRORS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, EOFError, struct.error)
"""What the standard library's readers raise for hostile headers, besides their own errors."""

RangeReader = Callable[[int, int], bytes]
"""Returns bytes [start, stop), fewer at the end of the file."""


@dataclass(frozen=True, slots=True)
class ShardMember:
    """A member of a shard.

    Args:
        name: As stored; bytes that are not UTF-8 are surrogate escapes.
        offset: Of its content in a tar, of its local header in a zip, in bytes.
        size: Of its content in bytes.
        packed_size: In a zip, in bytes; -1 in a tar.
        crc: In a zip; -1 in a tar.
        skip_reason: Why it will not be read, or empty.
    """

    name: str
    offset: int
    size: int
    packed_size: int = -1
    crc: int = -1
    skip_reason: str = ""

    def build_uri(self, shard: str) -> str:
        """Its URI, in the shard at the `file://` or object's URI `shard`."""
        text = f"{SHARD_SCHEME}{shard}#offset={self.offset}&size={self.size}&name={quote(os.fsencode(self.name))}"
        return f"{text}&packed={self.packed_size}&crc={self.crc:08x}" if self.packed_size >= 0 else text


def make_rest_member(offset: int, size: int, reason: str) -> ShardMember:
    """A member that stands for everything after `offset` in a shard of `size` bytes, which cannot be read."""
    return ShardMember(
        "", offset, max(size - offset, 0), skip_reason=f"{REST_REASON}, {max(size - offset, 0):,} bytes: {reason}"
    )


def parse_member_uri(uri: str) -> tuple[str, ShardMember]:
    """The shard's URI and the member of a member's URI.

    Raises:
        Unreadable: If it is not a member's URI.
    """
    match = _MEMBER_URI.fullmatch(uri)
    if match is None:
        raise Unreadable("an incomplete URI of a shard's member")
    name = os.fsdecode(unquote_to_bytes(match["name"]))
    packed_size, crc = match["packed"], match["crc"]
    return match["shard"], ShardMember(
        name,
        int(match["offset"]),
        int(match["size"]),
        int(packed_size) if packed_size else -1,
        int(crc, 16) if crc else -1,
    )


def make_range_reader(file: BinaryIO) -> RangeReader:
    """A `RangeReader` of an open file."""

    def read_range(start: int, stop: int) -> bytes:
        file.seek(start)
        return file.read(max(stop - start, 0))

    return read_range


def describe_format_error(error: Exception) -> str:
    """Why an archive file cannot be read, in one line."""
    if isinstance(error, RecursionError):  # its message depends on the depth of the stack
        return "headers without end"
    return one_line(error)
