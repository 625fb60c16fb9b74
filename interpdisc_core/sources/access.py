"""Getting at bytes by their address, a local file's or an object's in S3: whole, a part, or as a file to walk through.

What cannot be got at raises `Unreadable` with `access` set: it may be all right another time.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, unquote_to_bytes

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import MAX_BYTES
from interpdisc_core.storage import s3_filesystem

_AHEAD = 4 << 20
"""Bytes that are read ahead of a walk through an object: small members come along, large ones are jumped over."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an address holds: size in bytes; stamp changes when the content may have."""

    size: int
    stamp: str


def fetch(uri: str) -> bytes:
    """All bytes at an address. Raises Unreadable for what is not there, larger than MAX_BYTES, or of another scheme."""
    with _reasons(uri):
        if uri.startswith("s3://"):
            _not_too_large(s3_filesystem().info(uri)["size"])
            data: bytes = s3_filesystem().cat_file(uri)
            return data
        path, facts = _regular(uri)
        _not_too_large(facts.st_size)
        with open(path, "rb") as file:
            return file.read()


def part(uri: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop) at an address, fewer where it ends before. Raises Unreadable as `fetch` does."""
    _not_too_large(stop - start)
    with _reasons(uri):
        if stop <= start:
            return b""
        if uri.startswith("s3://"):
            data: bytes = s3_filesystem().cat_file(uri, start=start, end=stop)
            return data
        path, _ = _regular(uri)
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(stop - start)


def look(uri: str) -> Facts:
    """Size and stamp of what is at an address, not read. Raises Unreadable as `fetch` does."""
    with _reasons(uri):
        if uri.startswith("s3://"):
            return facts_of(s3_filesystem().info(uri))
        _, facts = _regular(uri)
        return Facts(facts.st_size, str(facts.st_mtime_ns))


@contextlib.contextmanager
def walking(uri: str) -> Iterator[tuple[BinaryIO, Facts]]:
    """A seekable file over an address, to be read once from front to back in bounded memory; and its facts.

    Raises Unreadable as `fetch` does, also from reading that file in the body; there is no limit of size.
    """
    with _reasons(uri):
        if uri.startswith("s3://"):
            facts = facts_of(s3_filesystem().info(uri))
            with s3_filesystem().open(uri, "rb", block_size=_AHEAD, cache_type="readahead") as file:
                yield file, facts
            return
        path, found = _regular(uri)
        with open(path, "rb") as file:
            yield file, Facts(found.st_size, str(found.st_mtime_ns))


def facts_of(told: dict[str, Any]) -> Facts:
    """What an S3 listing says of one object."""
    stamp = str(told.get("ETag") or told.get("LastModified") or "").strip('"')
    return Facts(int(told.get("size") or 0), stamp)


def beside(uri: str, name: str) -> str:
    """The address of what lies beside `uri` under `name`, one part of a path."""
    folder = uri.rpartition("/")[0]
    return f"{folder}/{name}" if uri.startswith("s3://") else f"{folder}/{quote(os.fsencode(name))}"


def no_access(reason: str) -> Unreadable:
    """The error for what cannot be got at now."""
    error = Unreadable(reason)
    error.access = True
    return error


def _regular(uri: str) -> tuple[bytes, os.stat_result]:
    if not uri.startswith("file://"):
        raise no_access(f"an address of a kind that is not supported ({uri.partition(':')[0][:20]})")
    path = unquote_to_bytes(uri.removeprefix("file://"))
    try:
        facts = os.stat(path)
    except ValueError as error:  # a zero byte in a path
        raise no_access(f"cannot be read: {error}") from error
    if not stat.S_ISREG(facts.st_mode):  # opening a pipe would hang
        raise no_access("not a regular file")
    return path, facts


def _not_too_large(size: int) -> None:
    if size > MAX_BYTES:
        raise no_access(f"larger than {MAX_BYTES // 10**9} GB")


@contextlib.contextmanager
def _reasons(uri: str) -> Iterator[None]:
    try:
        yield
    except Unreadable:
        raise
    except FileNotFoundError:
        raise no_access(f"vanished: no such {'object' if uri.startswith('s3://') else 'file'} any more") from None
    except PermissionError:
        raise no_access("no permission to read it") from None
    except OSError as error:
        raise no_access(f"cannot be read: {error.strerror or error}") from error
