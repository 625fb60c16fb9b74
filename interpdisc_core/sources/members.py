"""Members of shards: what a walk through a tar or zip finds, and the address by which one of them is read alone."""

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import MAX_BYTES

_ADDRESS = re.compile(
    r"shard\+(?P<shard>(?:file|s3)://.+)#offset=(?P<offset>\d{1,15})&size=(?P<size>\d{1,15})&name=(?P<name>[^&#]*)"
    r"(?:&packed=(?P<packed>\d{1,15})&crc=(?P<crc>[0-9a-f]{8}))?",
    re.DOTALL,
)
SCHEME = "shard+"
REST = "the rest of the shard"
"""How the reason begins for which what follows in a damaged shard is not listed member by member."""

HOSTILE = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, EOFError, struct.error)
"""What the standard library's readers let through, beside their own errors, for headers made to hurt."""

Bytes = Callable[[int, int], bytes]
"""Gives bytes [start, stop), fewer where there are no more."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member. name: as stored; bytes that are not UTF-8 as surrogate escapes. size: bytes of its content.

    offset: where its content begins in a tar, its local header in a zip. packed, crc: a zip's only, -1 in a tar.
    skipped: why it is not even tried, or empty.
    """

    name: str
    offset: int
    size: int
    packed: int = -1
    crc: int = -1
    skipped: str = ""

    def address(self, shard: str) -> str:
        """Its address in the shard at `shard`, a `file://` or `s3://` address."""
        text = f"{SCHEME}{shard}#offset={self.offset}&size={self.size}&name={quote(os.fsencode(self.name))}"
        return f"{text}&packed={self.packed}&crc={self.crc:08x}" if self.packed >= 0 else text


def rest(offset: int, size: int, why: str) -> Member:
    """Stands for all that lies beyond `offset` of a shard of `size` bytes, and cannot be told apart."""
    return Member("", offset, max(size - offset, 0), skipped=f"{REST}, {max(size - offset, 0):,} bytes: {why}")


def parsed(uri: str) -> tuple[str, Member]:
    """The shard and the member of an address. Raises Unreadable where it is not one."""
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise Unreadable("an address of a shard's member that is not complete")
    name = os.fsdecode(unquote_to_bytes(found["name"]))
    packed, crc = found["packed"], found["crc"]
    return found["shard"], Member(
        name, int(found["offset"]), int(found["size"]), int(packed) if packed else -1, int(crc, 16) if crc else -1
    )


def too_large(size: int) -> str:
    """Why a member of this size is not tried, or empty."""
    return f"larger than {MAX_BYTES // 10**9} GB" if size > MAX_BYTES else ""


def bytes_of(file: BinaryIO) -> Bytes:
    """An open file as `Bytes`."""

    def between(start: int, stop: int) -> bytes:
        file.seek(start)
        return file.read(max(stop - start, 0))

    return between


def said(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, RecursionError):  # its own words depend on where the stack ended
        return "headers without end"
    return " ".join(str(error).split())[:200] or type(error).__name__
