"""Compressed tars, decompressed in sequence: a file-like view of the tar in memory that does not grow with it.

There is no random access: reading forwards decompresses what lies between, reading backwards beyond a small window begins
again at the start. So members are read in order.
"""

import bz2
import gzip
import io
import lzma
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any, BinaryIO, cast

from interpdisc_core.errors import Unreadable, one_line
from interpdisc_core.sources import fetch
from interpdisc_core.sources.entry import COMPRESSED_TAR_SUFFIX
from interpdisc_core.sources.fetch import FileStat
from interpdisc_core.sources.shard_members import HOSTILE_ERRORS

_METHODS = {"tgz": "gz", "tbz": "bz2", "tbz2": "bz2", "txz": "xz", "tzst": "zst"}
_PIECE_BYTES = 1 << 20
_WINDOW_BYTES = 4 << 20
"""Decompressed bytes that are kept for steps back: headers are read twice."""
_BOMB_LIMITS = (64 << 20, 200)
"""A tar of more bytes than the first, and more than the second times those it was made of, is refused."""
_MAX_XZ_MEMORY = 256 << 20
_OPEN_TARS = 2
"""Tars that are kept open between members, by each process."""
_DECOMPRESSION_ERRORS = (OSError, lzma.LZMAError, *HOSTILE_ERRORS)


class _RawFile(io.RawIOBase):
    """The compressed file, which remembers how far it was read, and whether reading it failed."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.position, self.error = file, 0, cast(Exception | None, None)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            data = self.file.read(size if size >= 0 else _PIECE_BYTES)
        except Exception as error:
            self.error = error
            raise
        self.position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _XzFile:
    """An xz stream whose dictionary is bounded."""

    def __init__(self, file: _RawFile) -> None:
        self._file, self._decompressor = file, self._open()

    @staticmethod
    def _open() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=_MAX_XZ_MEMORY)

    def read(self, size: int) -> bytes:
        while True:
            if self._decompressor.eof:
                rest = self._decompressor.unused_data.lstrip(b"\0") or self._file.read(1 << 16).lstrip(b"\0")
                if not rest:
                    return b""
                self._decompressor = self._open()
            elif self._decompressor.needs_input:
                rest = self._file.read(1 << 16)
                if not rest:
                    raise EOFError("the compressed data end before their end mark")
            else:
                rest = b""
            if data := self._decompressor.decompress(rest, size):
                return data


def _open_decompressor(method: str, file: _RawFile) -> Any:
    if method == "gz":
        return gzip.GzipFile(fileobj=file, mode="rb")
    if method == "bz2":
        return bz2.BZ2File(cast(BinaryIO, file))
    if method == "xz":
        return _XzFile(file)
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


class SequentialTar(io.RawIOBase):
    """A seekable view of the decompressed tar at a URI.

    Attributes:
        file_stat: Of the compressed file.
        fault: Why the decompressed data end where they do, if that is not their end; known once it was reached.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self.fault, self.method = uri, "", _find_method(uri)
        self._closing, self._position = ExitStack(), 0
        self._restart()

    def _restart(self) -> None:
        self._closing.close()
        file, self.file_stat = self._closing.enter_context(fetch.open_stream(self.uri))
        self._raw = _RawFile(file)
        self._stream = _open_decompressor(self.method, self._raw)
        self._window, self._window_start, self._is_at_end = bytearray(), 0, False

    def close(self) -> None:
        """Close the file."""
        self._closing.close()
        super().close()

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether the position can be set: yes."""
        return True

    def tell(self) -> int:
        """The position in the decompressed tar."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; nothing is read yet."""
        self._position = offset + (self._position if whence == os.SEEK_CUR else 0)
        return self._position

    def measure(self) -> int:
        """Bytes of the decompressed tar, up to its end or its fault."""
        while self._fill():
            pass
        return self._window_start + len(self._window)

    def read(self, size: int = -1) -> bytes:
        """Bytes from the position on, fewer at the end.

        Raises:
            Unreadable: For a decompression bomb.
        """
        if self._position < self._window_start:
            self._restart()
        pieces, remaining = [], size
        while remaining:
            start = self._position - self._window_start
            piece = bytes(self._window[start : start + remaining]) if start < len(self._window) else b""
            if not piece:
                if not self._fill():
                    break
                continue
            pieces.append(piece)
            self._position += len(piece)
            remaining -= len(piece)
        return b"".join(pieces)

    def _fill(self) -> bool:
        """Decompress a piece more; whether there was one."""
        if self._is_at_end:
            return False
        try:
            piece = self._stream.read(_PIECE_BYTES)
        except _DECOMPRESSION_ERRORS as error:
            if self._raw.error is not None:  # the store or the disk failed, not the data: `open_stream` says why
                self._closing.__exit__(type(self._raw.error), self._raw.error, self._raw.error.__traceback__)
                raise
            piece, self.fault = b"", f"the compressed data are damaged or cut off ({one_line(error)})"
        if not piece:
            self._is_at_end = True
            return False
        self._window += piece
        if (surplus := len(self._window) - _WINDOW_BYTES) > 0:
            del self._window[:surplus]
            self._window_start += surplus
        total = self._window_start + len(self._window)
        if total > _BOMB_LIMITS[0] and total > _BOMB_LIMITS[1] * max(self._raw.position, 1):
            raise Unreadable(f"a decompression bomb: {total:,} bytes out of {self._raw.position:,}, and more")
        return True


def _find_method(uri: str) -> str:
    match = COMPRESSED_TAR_SUFFIX.search(uri)
    assert match is not None
    return (match["long"] or _METHODS[match["short"].lower()]).lower()


@lru_cache(maxsize=64)
def _measure_tar(uri: str, file_stat: FileStat) -> tuple[int, str]:
    with SequentialTar(uri) as tar:
        return tar.measure(), tar.fault


@contextmanager
def open_compressed_tar(uri: str) -> Iterator[tuple[BinaryIO, FileStat, int, str]]:
    """The decompressed tar, the status of the file, the size of the tar, and why it ends there if it is damaged.

    Raises:
        Unreadable: If the file cannot be read, or is a decompression bomb.
    """
    size, fault = _measure_tar(uri, fetch.stat_uri(uri))
    with SequentialTar(uri) as tar:
        yield cast(BinaryIO, tar), tar.file_stat, size, fault


_open_tars: "OrderedDict[tuple[int, str, FileStat], SequentialTar]" = OrderedDict()
_lock = threading.Lock()


def read_tar_range(uri: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of the decompressed tar; cheap if they follow those that this process read before.

    Raises:
        Unreadable: As `open_compressed_tar`.
    """
    key = (os.getpid(), uri, fetch.stat_uri(uri))
    with _lock:
        tar = _open_tars.pop(key, None) or SequentialTar(uri)
        try:
            tar.seek(start)
            data = tar.read(stop - start)
        except Exception:
            tar.close()
            raise
        _open_tars[key] = tar
        while len(_open_tars) > _OPEN_TARS:
            _open_tars.popitem(last=False)[1].close()
        return data
