"""Shards: tars and zips with many images each, read from front to back; the practical form of a large archive."""

import glob
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.sources import access, tars, zips
from interpdisc_core.sources.folder import Folder
from interpdisc_core.sources.listed import Listed, by_name, file
from interpdisc_core.sources.members import REST, Bytes, Member, bytes_of, parsed
from interpdisc_core.sources.pattern import Glob
from interpdisc_core.sources.s3_prefix import objects
from interpdisc_core.sources.samples import grouped
from interpdisc_core.storage import Place, is_remote

_SHARD = re.compile(r"\.(tar|zip)$", re.IGNORECASE)
_PACKED = re.compile(r"\.(tgz|tbz2?|txz|tar\.\w{1,4})$", re.IGNORECASE)
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,12})\.\.(\d{1,12})")
_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Shards:
    """of: a tar or zip; a folder, a pattern or an s3:// prefix of them; `shard-{000000..000099}.tar`.

    Members that share a name up to the first dot are one sample: `7.jpg`, its record `7.json`, its class `7.cls`, its
    caption `7.txt`. A sample's members lie next to each other.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["shards"] = "shards"
    of: str

    def list(self, inbox: Place | None = None) -> Iterator[Listed]:
        """See `Lists.list`. Every member is listed, in order; a damaged shard up to where it is damaged."""
        for shard in addresses(self):
            if shard.skipped:
                yield shard
                continue
            try:
                for item, _ in _walked(shard.uri, contents=False):
                    yield item
            except Unreadable as error:
                yield replace(shard, skipped=f"{REST}: {error}")


def addresses(source: Shards) -> list[Listed]:
    """The shards themselves, no member read: address, size, stamp; and what lies beside them as skipped.

    Raises PlanError where there is not one shard.
    """
    found: dict[str, Listed] = {}
    for name in _expanded(source.of):
        for item in _found(name):
            found.setdefault(item.uri, item)
    if not any(_SHARD.search(item.uri) and item.size >= 0 for item in found.values()):
        if any(_PACKED.search(item.uri) and item.size >= 0 for item in found.values()):
            raise PlanError(
                f"{source.of}: a compressed tar cannot be read by parts; decompress it to a .tar (images hardly compress)."
            )
        raise PlanError(
            f"{source.of}: no shards there; name a .tar or .zip, or a folder, pattern or s3:// prefix of them."
        )
    return [_as_shard(item) for item in sorted(found.values(), key=lambda item: (item.id, item.uri))]


def members(uri: str) -> Iterator[tuple[Listed, bytes]]:
    """The members of the shard at `uri` in one pass: as `Shards.list` lists them, each image with its bytes.

    Other members come with empty bytes. Memory stays bounded: at most one sample is held. Where the shard is damaged
    the last one listed is its rest (see `is_rest`). Raises Unreadable, `access` set, where it cannot be got at.
    """
    return _walked(uri, contents=True)


def is_rest(item: Listed) -> bool:
    """Whether this stands for members that could not be told apart: the shard is damaged, cut off or out of reach."""
    return item.skipped.startswith(REST)


def read(uri: str) -> bytes:
    """The bytes of one member by its address. Raises Unreadable, `access` set, where its shard cannot be got at."""
    shard, member = parsed(uri)
    return _content(lambda start, stop: access.part(shard, start, stop), member)


def _content(between: Bytes, member: Member) -> bytes:
    return zips.content(between, member) if member.packed >= 0 else tars.content(between, member)


def _walked(uri: str, contents: bool) -> Iterator[tuple[Listed, bytes]]:
    walk = zips.walk if uri.lower().endswith(".zip") else tars.walk
    with access.walking(uri) as (opened, facts):
        read_one = partial(_content, bytes_of(opened))
        yield from grouped(walk(opened, facts.size), uri, facts.stamp, read_one, contents)


def _found(name: str) -> Iterator[Listed]:
    if is_remote(name):
        there = list(objects(name))
        return iter(there or [Listed(name.rstrip("/").rpartition("/")[2], name)])
    if os.path.isdir(name):
        return Folder(path=name).list()
    if glob.has_magic(name) and not os.path.exists(name):
        return Glob(pattern=name).list()
    return iter([file(os.path.abspath(name), os.path.basename(name))])


def _as_shard(item: Listed) -> Listed:
    if item.skipped and item.skipped != by_name(item.uri):
        return item  # hidden, a link, …
    if _SHARD.search(item.uri):
        return replace(item, skipped="" if item.size >= 0 else f"{REST}: vanished, or never there")
    if _PACKED.search(item.uri):
        return replace(item, skipped="a compressed tar cannot be read by parts; decompress it to a .tar")
    return replace(item, skipped="not a shard by its name (neither .tar nor .zip)")


def _expanded(text: str) -> Iterator[str]:
    """`a{1..3}b{x,y}` and the like, in all combinations; what exists is taken as it is."""
    if not _BRACES.search(text) or (not is_remote(text) and os.path.exists(text)):
        return iter([text])
    pieces: list[list[str]] = []
    count = 1
    for number, piece in enumerate(_BRACES.split(text)):
        choices = _choices(piece) if number % 2 else [piece]
        count *= len(choices)
        pieces.append(choices)
        if count > _MOST:
            raise PlanError(f"{text}: names more than a million shards.")
    return ("".join(chosen) for chosen in itertools.product(*pieces))


def _choices(body: str) -> list[str]:
    if (ends := _RANGE.fullmatch(body)) is None:
        return body.split(",") if "," in body else ["{" + body + "}"]
    first, last = int(ends[1]), int(ends[2])
    if abs(last - first) >= _MOST:
        raise PlanError(f"{{{body}}}: names more than a million shards.")
    step = 1 if last >= first else -1
    width = len(ends[1]) if ends[1].startswith("0") or ends[2].startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]
