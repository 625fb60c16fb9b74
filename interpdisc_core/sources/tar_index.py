"""The members of a tar, header by header, in memory that does not grow with it.

The standard library parses the headers. It ignores damaged headers, truncation and data after the end mark; here each
is reported, so that no member is missing silently.
"""

import re
import tarfile
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

_BLOCK = tarfile.BLOCKSIZE
_MAX_HEADER_BYTES = 1 << 20
"""A larger extended header of a member is refused."""
_MAX_GLOBAL_HEADERS = 1000
"""A tar with more global header values is refused."""
_MAX_ZERO_BYTES = 64 << 20
"""Zero bytes after the end mark that are searched for an appended archive."""
_EXTENDED_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LONG_NUMBER = re.compile(rb"[0-9]{1000}")


class _BoundedTarInfo(tarfile.TarInfo):
    """A header that may be hostile: negative sizes and endless extensions are refused before they are followed."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0:
            raise tarfile.ReadError("a negative size")
        if self.type in _EXTENDED_TYPES:
            if len(archive.pax_headers) > _MAX_GLOBAL_HEADERS:
                raise tarfile.ReadError("global headers without end")
            if self.size > _MAX_HEADER_BYTES:
                raise tarfile.ReadError(f"an extended header of {self.size:,} bytes")
            assert archive.fileobj is not None
            position = archive.fileobj.tell()
            if _LONG_NUMBER.search(archive.fileobj.read(self.size)):  # the library parses numbers in quadratic time
                raise tarfile.ReadError("an extended header with an endless number")
            archive.fileobj.seek(position)
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


def walk_tar(file: BinaryIO, size: int) -> Iterator[ShardMember]:
    """The members of a tar of `size` bytes in order, without folders; contents are skipped over.

    The caller may move the file's position between two members. No content raises, only reading the file (OSError).
    """
    try:
        tar = tarfile.TarFile(fileobj=file, tarinfo=_BoundedTarInfo, encoding="utf-8", errors="surrogateescape")
    except (tarfile.TarError, *HOSTILE_ERRORS) as error:
        yield make_rest_member(0, size, f"not a tar ({describe_format_error(error)})")
        return
    with tar as archive:
        yield from _iter_members(archive, file, size)


def _iter_members(archive: tarfile.TarFile, file: BinaryIO, size: int) -> Iterator[ShardMember]:
    position, last_attempt = 0, -1
    while True:
        try:
            info = archive.next()
        except (tarfile.TarError, *HOSTILE_ERRORS) as error:
            yield make_rest_member(position, size, f"damaged: {describe_format_error(error)}")
            return
        archive.members.clear()  # type: ignore[attr-defined]
        if info is None:
            next_offset, reason = _find_next_archive(file, archive.offset, size)
            if next_offset == last_attempt:
                next_offset, reason = None, "damaged: not a header"
            if reason:
                yield make_rest_member(archive.offset, size, reason)
            if next_offset is None:
                return
            position = last_attempt = archive.offset = next_offset
            continue
        stop = min(archive.offset, info.offset_data + info.size)  # links may have a size, but have no content
        if info.size < 0 or archive.offset < info.offset_data or info.offset_data <= position:
            yield make_rest_member(position, size, "damaged: a header that points back")
            return
        if stop > size:
            yield make_rest_member(
                info.offset, size, f"the shard ends within {info.name[:200]!a}; what followed is lost"
            )
            return
        if not info.isdir():
            yield ShardMember(info.name, info.offset_data, info.size, skip_reason=_find_entry_fault(info))
        position = archive.offset
        if position > size:
            yield make_rest_member(size, size, "the shard is truncated")
            return


def read_tar_member(read_range: RangeReader, member: ShardMember) -> bytes:
    """The bytes of a member.

    Raises:
        Unreadable: If the shard ends before the member; `retryable`.
    """
    data = read_range(member.offset, member.offset + member.size)
    if len(data) != member.size:
        raise Unreadable("the shard has become shorter since it was listed", retryable=True)
    return data


def _find_entry_fault(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"a link (to {info.linkname[:80]!a}); links are not followed"
    if info.issparse():
        return "a sparse file; it cannot be read by its offset"
    if not info.isreg():
        return "not a regular file"
    return find_size_reason(info.size)


def _find_next_archive(file: BinaryIO, start: int, size: int) -> tuple[int | None, str]:
    """The offset where an appended archive may begin, or None; and what is wrong, or empty."""
    if start == size:
        return None, "it ends without an end mark: it may be truncated between two members"
    file.seek(start)
    position = start
    while position < min(size, start + _MAX_ZERO_BYTES):
        chunk = file.read(min(1 << 20, size - position))
        if not chunk:
            break
        if tail_length := len(chunk.lstrip(b"\0")):
            data_start = position + len(chunk) - tail_length
            next_offset = start + (data_start - start) // _BLOCK * _BLOCK
            if size - next_offset < _BLOCK:
                return None, "truncated within a header" if next_offset == start else ""
            return next_offset, ""
        position += len(chunk)
    return None, "" if position >= size else "not read, since it begins with too many zero bytes"
