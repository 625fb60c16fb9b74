"""Reads bytes by URI, of a local file or an object in a store: whole, a range, or as a stream.

What cannot be read raises `Unreadable` with `retryable` set, since it may be readable another time. If a whole store
cannot be got at (expired keys, no answer), `AccessError` is raised instead: reading on would fail for every input.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from interpdisc_core.errors import AccessError, Unreadable
from interpdisc_core.sources.uris import FILE_SCHEME, file_path, is_object_uri, object_path
from interpdisc_core.storage.access_errors import ask_for_reason, classify_access_error
from interpdisc_core.storage.location import read_first_byte
from interpdisc_core.storage.remote_files import get_object_filesystem

MAX_FILE_BYTES = 2_000_000_000
"""A larger file is refused unread."""
_STAMP_FIELDS = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
_READ_AHEAD_BYTES = 4 << 20
"""Bytes read ahead in a stream of an object: small members are included, large ones are skipped."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """Size in bytes, -1 if unknown; and a stamp that changes when the content may have changed."""

    size: int
    stamp: str

    @classmethod
    def from_os(cls, status: os.stat_result) -> "FileStat":
        """Of a local file: its stamp is the modification time in nanoseconds."""
        return cls(status.st_size, str(status.st_mtime_ns))

    @classmethod
    def from_object(cls, info: dict[str, Any]) -> "FileStat":
        """Of an entry in the listing of a store: its stamp is the ETag, or the time of its last change."""
        stamp = str(next(filter(None, map(info.get, _STAMP_FIELDS)), "")).strip('"')
        return cls(int(info.get("size") or 0), stamp)


UNKNOWN_STAT = FileStat(-1, "")


def fetch_bytes(uri: str) -> bytes:
    """All bytes at a URI.

    Raises:
        Unreadable: If it is missing, larger than `MAX_FILE_BYTES`, not a regular file, or of another scheme than
            `file`, `s3`, `gs` and `az`.
        AccessError: If nothing else of its store can be read either.
    """
    with _translate_errors(uri):
        if is_object_uri(uri):
            check_size(get_object_filesystem(uri).info(object_path(uri))["size"])
            data: bytes = get_object_filesystem(uri).cat_file(object_path(uri))
            return data
        path, status = _stat_regular_file(uri)
        check_size(status.st_size)
        with open(path, "rb") as file:
            return file.read()


def fetch_range(uri: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop) at a URI, fewer if it ends before.

    Raises:
        Unreadable: As `fetch_bytes`.
    """
    check_size(stop - start)
    with _translate_errors(uri):
        if stop <= start:
            return b""
        if is_object_uri(uri):
            data: bytes = get_object_filesystem(uri).cat_file(object_path(uri), start=start, end=stop)
            return data
        path, _ = _stat_regular_file(uri)
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(stop - start)


def stat_uri(uri: str) -> FileStat:
    """Size and stamp of the file at a URI, without reading it.

    Raises:
        Unreadable: As `fetch_bytes`.
    """
    with _translate_errors(uri):
        if is_object_uri(uri):
            return FileStat.from_object(get_object_filesystem(uri).info(object_path(uri)))
        return FileStat.from_os(_stat_regular_file(uri)[1])


@contextlib.contextmanager
def open_stream(uri: str) -> Iterator[tuple[BinaryIO, FileStat]]:
    """A seekable file, to be read once from front to back in bounded memory, and its status. There is no limit of size.

    Raises:
        Unreadable: As `fetch_bytes`, also for errors of reading in the body.
    """
    with _translate_errors(uri):
        if is_object_uri(uri):
            file_stat = FileStat.from_object(get_object_filesystem(uri).info(object_path(uri)))
            with get_object_filesystem(uri).open(
                object_path(uri), "rb", block_size=_READ_AHEAD_BYTES, cache_type="readahead"
            ) as file:
                yield file, file_stat
            return
        path, status = _stat_regular_file(uri)
        with open(path, "rb") as file:
            yield file, FileStat.from_os(status)


def find_size_reason(size: int) -> str:
    """Why a file of `size` bytes is refused; empty if it is not."""
    return f"larger than {MAX_FILE_BYTES // 10**9} GB" if size > MAX_FILE_BYTES else ""


def check_size(size: int) -> None:
    """Check that a file may be read into memory.

    Raises:
        Unreadable: If it has more than `MAX_FILE_BYTES`.
    """
    if reason := find_size_reason(size):
        raise Unreadable(reason, retryable=True)


def _stat_regular_file(uri: str) -> tuple[bytes, os.stat_result]:
    if not uri.startswith(FILE_SCHEME):
        raise Unreadable(
            f"a URI with an unsupported scheme ({uri.partition(':')[0][:20]}); use file, s3, gs or az", retryable=True
        )
    path = file_path(uri)
    try:
        status = os.stat(path)
    except ValueError as error:  # a zero byte in a path
        raise Unreadable(f"cannot be read: {error}", retryable=True) from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would hang
        raise Unreadable("not a regular file", retryable=True)
    return path, status


@contextlib.contextmanager
def _translate_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except (Unreadable, AccessError):
        raise
    except Exception as error:
        reasoned = ask_for_reason(error, partial(read_first_byte, object_path(uri))) if is_object_uri(uri) else error
        fault = classify_access_error(reasoned)
        if fault and fault.is_store_wide:
            raise AccessError(f"{'/'.join(uri.split('/')[:3])}: {fault.reason}.") from error
        if fault:
            raise Unreadable(fault.reason, retryable=True) from error
        if isinstance(error, FileNotFoundError):
            kind = "object" if is_object_uri(uri) else "file"
            raise Unreadable(f"vanished: no such {kind} any more", retryable=True) from None
        raise
