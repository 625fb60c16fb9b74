"""Samples of a shard: neighbouring members that share a name up to the first dot (WebDataset's naming).

`a/7.jpg`, `a/7.json`, `a/7.cls`, `a/7.txt`: an image, its record, its class and its caption.
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from interpdisc_core.errors import Unreadable
from interpdisc_core.sources.listed import LABEL_COLUMNS, Listed, by_name, hidden, last_part, shown
from interpdisc_core.sources.members import Member

_SIDE_BYTES = 1 << 20
_DEEPEST = 64
_LONGEST = 4096
_MOST, _MOST_BYTES = 64, 256 << 20
"""A sample of more members or bytes is taken in parts, so that memory stays bounded."""


@dataclass(slots=True)
class _Sample:
    key: str | None
    held: list[tuple[Member, bytes]] = field(default_factory=list)
    sides: dict[str, bytes] = field(default_factory=dict)

    def full(self) -> bool:
        return len(self.held) >= _MOST or sum(len(data) for _, data in self.held) > _MOST_BYTES


def grouped(
    members: Iterable[Member], shard: str, stamp: str, read: Callable[[Member], bytes], contents: bool
) -> Iterator[tuple[Listed, bytes]]:
    """Every member as it is listed, in order, with the bytes of images if `contents`, else with none.

    shard, stamp: the shard's address and stamp. read: gives a member's bytes; what it raises of `Unreadable` without
    `access` is that member's reason.
    """
    sample = _Sample(None)
    for each in members:
        member = each if len(each.name) <= _LONGEST else _shortened(each)
        key = _key(member.name)
        if key is None or key != sample.key or sample.full():
            yield from _closed(sample, shard, stamp)
            # What is known of a sample goes on into its next part.
            sample = _Sample(key, sides=sample.sides if key is not None and key == sample.key else {})
        why = member.skipped or _unfit(member.name)
        data, side = b"", _side(member)
        try:
            if side and not why and side in sample.sides:
                why = f"a second .{side} of its sample"
            elif side and not why:
                sample.sides[side] = read(member)
            elif contents and not (why or by_name(member.name)):
                data = read(member)
        except Unreadable as error:
            if error.access:
                raise
            why = str(error)
        sample.held.append((replace(member, skipped=why), data))
    yield from _closed(sample, shard, stamp)


def _shortened(member: Member) -> Member:
    why = member.skipped or f"a name of {len(member.name):,} characters, more than {_LONGEST:,}"
    return replace(member, name=member.name[:200], skipped=why)


def _key(name: str) -> str | None:
    folder, last = posixpath.split(name)
    return posixpath.join(folder, last.partition(".")[0]) if "." in last[1:] and not last.startswith(".") else None


def _side(member: Member) -> str:
    """The part of its sample that a member is: `json`, `cls`, `txt`, `left.json`, …; empty for an image."""
    kind = posixpath.basename(member.name).partition(".")[2].lower()
    fits = kind.rpartition(".")[2] in ("json", "cls", "txt") and member.size <= _SIDE_BYTES
    return kind if fits else ""


def _unfit(name: str) -> str:
    if not name.strip("/"):
        return "a member without a name"
    if ".." in re.split(r"[/\\]", name):
        return "a name that leads out of the shard"
    return hidden(posixpath.basename(name))


def identifier(name: str) -> str:
    """A member's name as people see it: as text, and without a beginning that only says where it was packed."""
    return shown(re.sub(r"^(?:\.?/+)+", "", name)) or shown(name)


def _closed(sample: _Sample, shard: str, stamp: str) -> Iterator[tuple[Listed, bytes]]:
    images = [member for member, _ in sample.held if not (member.skipped or by_name(member.name))]
    record, unread = _record(sample.sides) if images else ({}, {})
    label = _label(sample.sides, record)
    for member, data in sample.held:
        address, name = member.address(shard), identifier(member.name) or last_part(shard)
        if member.skipped:
            yield Listed(name, address, member.size, stamp, member.skipped), b""
        elif why := by_name(member.name):
            side = _side(member)
            if images and side in sample.sides:
                why = unread.get(side) or f"the record of {identifier(images[0].name)}"
            yield Listed(name, address, member.size, stamp, why), b""
        else:
            yield Listed(name, address, member.size, stamp, "", label, record), data


def _record(sides: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, str]]:
    """The record of a sample, and which of its parts could not be taken, with the reason."""
    record: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for kind in sorted(sides, key=lambda kind: kind != "json"):
        value: Any = sides[kind].decode("utf-8", "backslashreplace")
        if kind.rpartition(".")[2] == "json":
            try:
                value = as_json(sides[kind])
            except ValueError as error:
                unread[kind] = f"a record that is not JSON ({error})"
                continue
        if kind == "json" and isinstance(value, dict):
            record |= value
        else:
            record.setdefault(kind, value)
    return record, unread


def _label(sides: dict[str, bytes], record: dict[str, Any]) -> str | None:
    if "cls" in sides:
        return sides["cls"].decode("utf-8", "backslashreplace").strip() or None
    have = {key.strip().lower(): value for key, value in record.items() if isinstance(value, str | int)}
    return next((str(have[name]) for name in LABEL_COLUMNS if name in have and str(have[name])), None)


def as_json(data: bytes) -> Any:
    """A JSON value that can be written down again: `NaN` becomes text, and half a surrogate pair a question mark.

    Raises ValueError, in a few words, for what is not JSON or is nested deeper than 64.
    """
    try:
        value = json.loads(data, parse_constant=str)
        written = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(str(error)[:80]) from None
    if _deeper(value, _DEEPEST):
        raise ValueError("nested too deeply")
    if not _encodable(written):
        value = json.loads(written.encode("utf-8", "replace"))
    return value


def _encodable(text: str) -> bool:
    try:
        return bool(text.encode("utf-8") or True)
    except UnicodeEncodeError:
        return False


def _deeper(value: Any, left: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left <= 0 or any(_deeper(each, left - 1) for each in inner if isinstance(each, dict | list))
