"""Walking through a tar, header by header, in memory that does not grow with it.

The standard library parses the headers. What it does in silence is said here: a damaged header, a cut end and what
lies beyond the end mark are each told of, so that no member is missing without a word.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from interpdisc_core.sources.access import no_access
from interpdisc_core.sources.members import HOSTILE, Bytes, Member, rest, said, too_large

_BLOCK = tarfile.BLOCKSIZE
_HEADER_BYTES = 1 << 20
"""More than this is not read for one member's extended header."""
_GLOBALS = 1000
"""More values than these are not kept for all members that follow."""
_ZEROS = 64 << 20
"""Beyond the end mark so many zero bytes are looked through for another archive that was appended."""
_NAMED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_LONG_NUMBER = re.compile(rb"[0-9]{1000}")


class _Header(tarfile.TarInfo):
    """A header that may be hostile: sizes below zero and endless extensions are refused before they are followed."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0:
            raise tarfile.ReadError("a negative size")
        if self.type in _NAMED:
            if len(archive.pax_headers) > _GLOBALS:
                raise tarfile.ReadError("global headers without end")
            if self.size > _HEADER_BYTES:
                raise tarfile.ReadError(f"an extended header of {self.size:,} bytes")
            assert archive.fileobj is not None
            here = archive.fileobj.tell()
            if _LONG_NUMBER.search(archive.fileobj.read(self.size)):  # the library looks for numbers in quadratic time
                raise tarfile.ReadError("an extended header with an endless number")
            archive.fileobj.seek(here)
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


def walk(file: BinaryIO, size: int) -> Iterator[Member]:
    """The members of a tar of `size` bytes in their order, folders left out; content is jumped over.

    Between two members the file may be read elsewhere. Nothing in it raises; OSError of reading it does.
    """
    try:
        opened = tarfile.TarFile(fileobj=file, tarinfo=_Header, encoding="utf-8", errors="surrogateescape")
    except (tarfile.TarError, *HOSTILE) as error:
        yield rest(0, size, f"not a tar ({said(error)})")
        return
    with opened as archive:
        yield from _members(archive, file, size)


def _members(archive: tarfile.TarFile, file: BinaryIO, size: int) -> Iterator[Member]:
    position, tried = 0, -1
    while True:
        try:
            info = archive.next()
        except (tarfile.TarError, *HOSTILE) as error:
            yield rest(position, size, f"damaged: {said(error)}")
            return
        archive.members.clear()  # type: ignore[attr-defined]
        if info is None:
            follows, why = _beyond(file, archive.offset, size)
            if follows == tried:
                follows, why = None, "damaged: a header that is none"
            if why:
                yield rest(archive.offset, size, why)
            if follows is None:
                return
            position = tried = archive.offset = follows
            continue
        stop = min(archive.offset, info.offset_data + info.size)  # links may tell of a size, but have no content
        if info.size < 0 or archive.offset < info.offset_data or info.offset_data <= position:
            yield rest(position, size, "damaged: a header that leads back")
            return
        if stop > size:
            yield rest(info.offset, size, f"the shard ends within {info.name[:200]!a}; what followed is lost")
            return
        if not info.isdir():
            yield Member(info.name, info.offset_data, info.size, skipped=_reason(info))
        position = archive.offset
        if position > size:
            yield rest(size, size, "the shard is cut off; what followed is lost")
            return


def content(between: Bytes, member: Member) -> bytes:
    """The bytes of a member. Raises Unreadable, `access` set, where the shard ends before they do."""
    data = between(member.offset, member.offset + member.size)
    if len(data) != member.size:
        raise no_access("the shard has become shorter since it was listed")
    return data


def _reason(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"a link (to {info.linkname[:80]!a}); links are not followed"
    if info.issparse():
        return "a sparse file; it cannot be read by its place"
    if not info.isreg():
        return "not a regular file"
    return too_large(info.size)


def _beyond(file: BinaryIO, start: int, size: int) -> tuple[int | None, str]:
    """What comes where no header was found: where another archive may begin, or None; and what is wrong."""
    if start == size:
        return None, "it ends without an end mark: it may have been cut off between two members"
    file.seek(start)
    at = start
    while at < min(size, start + _ZEROS):
        chunk = file.read(min(1 << 20, size - at))
        if not chunk:
            break
        if beyond := len(chunk.lstrip(b"\0")):
            found = at + len(chunk) - beyond
            follows = start + (found - start) // _BLOCK * _BLOCK
            if size - follows < _BLOCK:
                return None, "cut off within a header" if follows == start else ""
            return follows, ""
        at += len(chunk)
    return None, "" if at >= size else "not looked at, since it begins with an endless row of zeros"
