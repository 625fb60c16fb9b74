"""Shards: tars, compressed or not, and zips with many images each, read from front to back; the practical form of a large collection."""

import glob
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.settings import settings
from interpdisc_core.sources import fetch, tar_index, zip_index
from interpdisc_core.sources.compressed_tar import open_compressed_tar, read_tar_range
from interpdisc_core.sources.entry import (
    ARCHIVE_SUFFIX,
    COMPRESSED_TAR_SUFFIX,
    SHARD_SUFFIX,
    SourceEntry,
    find_skip_reason,
    make_file_entry,
)
from interpdisc_core.sources.local import Folder, Glob
from interpdisc_core.sources.s3 import list_objects
from interpdisc_core.sources.shard_members import (
    REST_REASON,
    RangeReader,
    ShardMember,
    make_range_reader,
    make_rest_member,
    parse_member_uri,
)
from interpdisc_core.sources.webdataset import group_samples
from interpdisc_core.storage.location import Location, is_object_url

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,12})\.\.(\d{1,12})")
_MAX_SHARDS = 1_000_000


@settings
class Shards:
    """Images in tars and zips.

    Adjacent members that share a name up to the first dot are one sample (WebDataset): `7.jpg`, its record `7.json`,
    its class `7.cls`, its caption `7.txt`. Names with more dots: see `webdataset`.

    Args:
        of: A tar or zip; a folder, a pattern or an s3:// prefix of them; `shard-{000000..000099}.tar`.
    """

    kind: Literal["shards"] = "shards"
    of: str

    def list(self, inbox: Location | None = None) -> Iterator[SourceEntry]:
        """See `SourceLike.list`. Every member is listed, in order; of a damaged shard those before the damage, and its rest."""
        for shard in list_shard_entries(self):
            if shard.skip_reason:
                yield shard
                continue
            try:
                for item, _ in _walk_shard(shard.uri, with_contents=False):
                    yield item
            except Unreadable as error:
                yield replace(shard, skip_reason=f"{REST_REASON}: {error}")


def list_shard_entries(source: Shards) -> list[SourceEntry]:
    """The shards themselves (URI, size, stamp), no member read; other files next to them have a `skip_reason`.

    Raises:
        PlanError: If there is no shard.
    """
    entries: dict[str, SourceEntry] = {}
    for name in _expand_braces(source.of):
        for item in _list_location(name):
            entries.setdefault(item.uri, item)
    if not any(SHARD_SUFFIX.search(item.uri) and item.size >= 0 for item in entries.values()):
        raise PlanError(
            f"{source.of}: no shards found; name a .tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst or .zip, or a folder, pattern "
            "or s3:// prefix of them."
        )
    return [_classify_shard(item) for item in sorted(entries.values(), key=lambda item: (item.id, item.uri))]


def iter_members(uri: str) -> Iterator[tuple[SourceEntry, bytes]]:
    """The members of the shard at `uri` in one pass, as `Shards.list` lists them, images with their bytes.

    Other members have empty bytes. Memory is bounded: one sample at a time. The last entry of a damaged shard is its
    rest (see `is_rest_entry`).

    Raises:
        Unreadable: If the shard cannot be read; `retryable`.
    """
    return _walk_shard(uri, with_contents=True)


def is_rest_entry(item: SourceEntry) -> bool:
    """Whether an entry stands for the unreadable rest of a shard that is damaged, truncated or missing."""
    return item.skip_reason.startswith(REST_REASON)


def read_member(uri: str) -> bytes:
    """The bytes of one member by its URI.

    Raises:
        Unreadable: If it is damaged; `retryable` if its shard cannot be read or has changed.
    """
    shard, member = parse_member_uri(uri)
    is_compressed = COMPRESSED_TAR_SUFFIX.search(shard)
    return _read_content(partial(read_tar_range if is_compressed else fetch.fetch_range, shard), member)


def _read_content(read_range: RangeReader, member: ShardMember) -> bytes:
    return (
        zip_index.read_zip_member(read_range, member)
        if member.packed_size >= 0
        else tar_index.read_tar_member(read_range, member)
    )


def _walk_shard(uri: str, with_contents: bool) -> Iterator[tuple[SourceEntry, bytes]]:
    if COMPRESSED_TAR_SUFFIX.search(uri):
        yield from _walk_compressed_tar(uri, with_contents)
        return
    walk = zip_index.walk_zip if uri.lower().endswith(".zip") else tar_index.walk_tar
    with fetch.open_stream(uri) as (stream, file_stat):
        read_one = partial(_read_content, make_range_reader(stream))
        yield from group_samples(walk(stream, file_stat.size), uri, file_stat.stamp, read_one, with_contents)


def _walk_compressed_tar(uri: str, with_contents: bool) -> Iterator[tuple[SourceEntry, bytes]]:
    with open_compressed_tar(uri) as (tar, file_stat, size, fault):

        def walk() -> Iterator[ShardMember]:
            has_rest = False
            for member in tar_index.walk_tar(tar, size) if size or not fault else ():
                has_rest = member.skip_reason.startswith(REST_REASON)
                yield replace(member, skip_reason=f"{member.skip_reason}; {fault}") if has_rest and fault else member
            if fault and not has_rest:
                yield make_rest_member(size, size, fault)

        read_one = partial(_read_content, make_range_reader(tar))
        yield from group_samples(walk(), uri, file_stat.stamp, read_one, with_contents)


def _list_location(name: str) -> Iterator[SourceEntry]:
    if is_object_url(name):
        entries = list(list_objects(name))
        return iter(entries or [SourceEntry(name.rstrip("/").rpartition("/")[2], name)])
    if os.path.isdir(name):
        return Folder(path=name).list()
    if glob.has_magic(name) and not os.path.exists(name):
        return Glob(pattern=name).list()
    return iter([make_file_entry(os.path.abspath(name), os.path.basename(name))])


def _classify_shard(item: SourceEntry) -> SourceEntry:
    if item.skip_reason and item.skip_reason != find_skip_reason(item.uri):
        return item  # hidden or a link
    if SHARD_SUFFIX.search(item.uri):
        return replace(item, skip_reason="" if item.size >= 0 else f"{REST_REASON}: no such file")
    if ARCHIVE_SUFFIX.search(item.uri):
        return replace(item, skip_reason="compressed in a way that is not read; decompress it to a .tar")
    return replace(item, skip_reason="not a shard by its name (neither a tar nor a zip)")


def _expand_braces(text: str) -> Iterator[str]:
    """`a{1..3}b{x,y}` in all combinations; a path that exists is taken literally."""
    if not _BRACES.search(text) or (not is_object_url(text) and os.path.exists(text)):
        return iter([text])
    pieces: list[list[str]] = []
    count = 1
    for number, piece in enumerate(_BRACES.split(text)):
        choices = _list_choices(piece) if number % 2 else [piece]
        count *= len(choices)
        pieces.append(choices)
        if count > _MAX_SHARDS:
            raise PlanError(f"{text}: names more than a million shards.")
    return ("".join(choice) for choice in itertools.product(*pieces))


def _list_choices(body: str) -> list[str]:
    if (bounds := _RANGE.fullmatch(body)) is None:
        return body.split(",") if "," in body else ["{" + body + "}"]
    first, last = int(bounds[1]), int(bounds[2])
    if abs(last - first) >= _MAX_SHARDS:
        raise PlanError(f"{{{body}}}: names more than a million shards.")
    step = 1 if last >= first else -1
    width = len(bounds[1]) if bounds[1].startswith("0") or bounds[2].startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]
