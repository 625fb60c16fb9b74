"""Samples of a shard: adjacent members that share a name up to the first dot (WebDataset's naming).

`a/7.jpg`, `a/7.json`, `a/7.cls`, `a/7.txt`: an image, its record, its class and its caption. Names with more dots, such as
times and versions, are told apart by the longest stem before a suffix: `12.30.01.json` is the record of `12.30.01.jpg` alone.
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from interpdisc_core.errors import Unreadable
from interpdisc_core.metadata.untrusted import load_untrusted_json
from interpdisc_core.sources.csv_list import parse_class
from interpdisc_core.sources.entry import (
    LABEL_COLUMNS,
    SourceEntry,
    find_hidden_reason,
    find_skip_reason,
)
from interpdisc_core.sources.shard_members import ShardMember
from interpdisc_core.sources.uris import display_name, uri_basename

_MAX_SIDECAR_BYTES = 1 << 20
_MAX_DEPTH = 64
_MAX_NAME_LENGTH = 4096
_MAX_SAMPLE_MEMBERS, MAX_SAMPLE_BYTES = 64, 256 << 20
"""A sample of more members or bytes is split, so that memory is bounded."""


_SIDECAR_SUFFIXES = ("json", "cls", "txt")


@dataclass(frozen=True, slots=True)
class _Sidecar:
    """A record, a class or a caption.

    Attributes:
        stem: The part of its name before its suffix: `a/7`, or `a/7.left`.
        suffix: `json`, `cls` or `txt`.
        data: Its content.
    """

    stem: str
    suffix: str
    data: bytes

    def belongs_to(self, name: str) -> bool:
        """Whether its stem is that of a member `name`, or is its whole name."""
        return name == self.stem or name.startswith(f"{self.stem}.")


@dataclass(slots=True)
class _Sample:
    key: str | None
    members: list[tuple[ShardMember, bytes]] = field(default_factory=list)
    sidecars: dict[str, _Sidecar] = field(default_factory=dict)
    """By the lower-case name."""

    def is_full(self, max_bytes: int) -> bool:
        sizes = (member.size for member, _ in self.members if not (member.skip_reason or find_skip_reason(member.name)))
        return len(self.members) >= _MAX_SAMPLE_MEMBERS or sum(sizes) > max_bytes

    def split_before(self, name: str) -> "_Sample":
        """Take off the last members that share their stem with the next one, `name`; the sidecars of both are in both."""
        start = len(self.members)
        while start and _share_stem(self.members[start - 1][0].name, name):
            start -= 1
        start = start or len(self.members)  # all share it: a huge sample
        rest = _Sample(self.key, self.members[start:])
        self.members = self.members[:start]
        names = [name, *(member.name for member, _ in rest.members)]
        rest.sidecars = {
            key: sidecar
            for key, sidecar in self.sidecars.items()
            if key in map(str.lower, names) or any(sidecar.belongs_to(other) for other in names)
        }
        return rest


def _share_stem(name: str, other: str) -> bool:
    """Whether two members have the same name before their last dot, or one has the other's with a suffix more."""
    stem, other_stem = name.rpartition(".")[0], other.rpartition(".")[0]
    return stem == other_stem or name == other_stem or other == stem


def group_samples(
    members: Iterable[ShardMember],
    shard: str,
    stamp: str,
    read_member: Callable[[ShardMember], bytes],
    with_contents: bool,
    max_sample_bytes: int = MAX_SAMPLE_BYTES,
) -> Iterator[tuple[SourceEntry, bytes]]:
    """The entry of every member in order, with the sample's record and label for its images.

    Args:
        members: Of one shard, in order.
        shard: Its URI.
        stamp: Its stamp, which is every member's.
        read_member: Returns a member's bytes. An `Unreadable` that is not `retryable` becomes the member's
            `skip_reason`.
        with_contents: Whether images come with their bytes; everything else comes with empty bytes.
        max_sample_bytes: A sample of more bytes is split.

    Raises:
        Unreadable: From `read_member`, if `retryable`.
    """
    sample = _Sample(None)
    for raw_member in members:
        member = raw_member if len(raw_member.name) <= _MAX_NAME_LENGTH else _shorten_name(raw_member)
        key = _sample_key(member.name)
        if key is None or key != sample.key:
            yield from _close_sample(sample, shard, stamp)
            sample = _Sample(key)
        elif sample.is_full(max_sample_bytes):
            rest = sample.split_before(member.name)
            yield from _close_sample(sample, shard, stamp)
            sample = rest
        reason = member.skip_reason or _find_name_fault(member.name)
        data, suffix, sidecar_key = b"", _find_sidecar_suffix(member), member.name.lower()
        try:
            if suffix and not reason and sidecar_key in sample.sidecars:
                reason = f"a second .{suffix} of its sample"
            elif suffix and not reason:
                stem = member.name[: -len(suffix) - 1]
                sample.sidecars[sidecar_key] = _Sidecar(stem, suffix, read_member(member))
            elif with_contents and not (reason or find_skip_reason(member.name)):
                data = read_member(member)
        except Unreadable as error:
            if error.retryable:
                raise
            reason = str(error)
        sample.members.append((replace(member, skip_reason=reason), data))
    yield from _close_sample(sample, shard, stamp)


def _shorten_name(member: ShardMember) -> ShardMember:
    reason = member.skip_reason or f"a name of {len(member.name):,} characters, more than {_MAX_NAME_LENGTH:,}"
    return replace(member, name=member.name[:200], skip_reason=reason)


def _sample_key(name: str) -> str | None:
    folder, last = posixpath.split(name)
    return posixpath.join(folder, last.partition(".")[0]) if "." in last[1:] and not last.startswith(".") else None


def _find_sidecar_suffix(member: ShardMember) -> str:
    """The suffix of a sidecar in lower case; empty for other members."""
    _, dot, suffix = posixpath.basename(member.name).rpartition(".")
    fits = dot and suffix.lower() in _SIDECAR_SUFFIXES and member.size <= _MAX_SIDECAR_BYTES
    return suffix.lower() if fits else ""


def _find_name_fault(name: str) -> str:
    if not name.strip("/"):
        return "a member without a name"
    if ".." in re.split(r"[/\\]", name):
        return "a name that leads out of the shard (..)"
    return find_hidden_reason(posixpath.basename(name))


def display_member_name(name: str) -> str:
    """A member's name for people: as text, without a leading `./` or `/`."""
    return display_name(re.sub(r"^(?:\.?/+)+", "", name)) or display_name(name)


def _close_sample(sample: _Sample, shard: str, stamp: str) -> Iterator[tuple[SourceEntry, bytes]]:
    images = [member.name for member, _ in sample.members if not (member.skip_reason or find_skip_reason(member.name))]
    owners = _find_owners(sample, images)
    values, faults = _parse_sidecars({key: sidecar for key, sidecar in sample.sidecars.items() if owners[key]})
    for member, data in sample.members:
        address, name = member.build_uri(shard), display_member_name(member.name) or uri_basename(shard)
        sidecar_key = member.name.lower()
        if member.skip_reason:
            yield SourceEntry(name, address, member.size, stamp, member.skip_reason), b""
        elif reason := find_skip_reason(member.name):
            if images and sidecar_key in sample.sidecars:
                reason = faults.get(sidecar_key) or (
                    f"the record of {display_member_name(owners[sidecar_key][0])}"
                    if owners[sidecar_key]
                    else "a record of none of the images beside it, by its name"
                )
            yield SourceEntry(name, address, member.size, stamp, reason), b""
        else:
            own = {key: value for key, value in values.items() if member.name in owners[key]}
            label, record = _merge_record(sample, member.name, own)
            yield SourceEntry(name, address, member.size, stamp, "", label, record), data


def _find_owners(sample: _Sample, images: list[str]) -> dict[str, list[str]]:
    """The images that each sidecar belongs to, by its key.

    A sidecar whose name fits no image, such as `7.meta.json` beside `7.left.jpg`, is a field of all, as WebDataset has it;
    unless names in the sample have dots of their own.
    """
    owners = {key: [image for image in images if sidecar.belongs_to(image)] for key, sidecar in sample.sidecars.items()}
    is_dotted = any(owners[key] and sidecar.stem != sample.key for key, sidecar in sample.sidecars.items())
    for key, sidecar in sample.sidecars.items():
        if not owners[key] and not is_dotted and _find_field_name(sample, sidecar)[:1].isalpha():
            owners[key] = images
    return owners


def _find_field_name(sample: _Sample, sidecar: _Sidecar) -> str:
    """The name of a sidecar in the record of an image: its suffix, or `meta.json` of one that fits no image's name."""
    return f"{sidecar.stem}.{sidecar.suffix}".removeprefix(f"{sample.key}.").lower()


def _parse_sidecars(sidecars: dict[str, _Sidecar]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of sidecars, and why one could not be read, by key."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for key, sidecar in sidecars.items():
        values[key] = sidecar.data.decode("utf-8", "backslashreplace")
        if sidecar.suffix == "json":
            try:
                values[key] = parse_sidecar_json(sidecar.data)
            except ValueError as error:
                faults[key] = f"a record that is not JSON ({error})"
                del values[key]
    return values, faults


def _merge_record(sample: _Sample, name: str, values: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The label and the record of an image by its sidecars: what has a longer stem goes before what all share.

    Args:
        sample: The sample.
        name: Of the image.
        values: The values of its sidecars, by key.
    """
    record: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key in sorted(values, key=lambda key: len(sample.sidecars[key].stem)):
        sidecar, value = sample.sidecars[key], values[key]
        field_name = sidecar.suffix if sidecar.belongs_to(name) else _find_field_name(sample, sidecar)
        if field_name == "json" and isinstance(value, dict):
            record |= value
        else:
            others[field_name] = value
    record = {**others, **record}
    if "cls" in others:
        return parse_class(others["cls"]), record
    by_lower_name = {key.strip().lower(): value for key, value in record.items() if isinstance(value, str | int)}
    labels = (parse_class(str(by_lower_name.get(name, ""))) for name in LABEL_COLUMNS)
    return next(filter(None, labels), None), record


def parse_sidecar_json(data: bytes) -> Any:
    """A JSON value that can be written as JSON again: `NaN` becomes text, half a surrogate pair a question mark.

    Raises:
        ValueError: With a short reason, if it is not JSON or is nested more than 64 levels deep.
    """
    try:
        value = load_untrusted_json(data)
        dumped_text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(str(error)[:80]) from None
    if _is_deeper(value, _MAX_DEPTH):
        raise ValueError("nested too deeply")
    if not _is_encodable(dumped_text):
        value = json.loads(dumped_text.encode("utf-8", "replace"))
    return value


def _is_encodable(text: str) -> bool:
    try:
        return bool(text.encode("utf-8") or True)
    except UnicodeEncodeError:
        return False


def _is_deeper(value: Any, levels_left: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels_left <= 0 or any(
        _is_deeper(child, levels_left - 1) for child in children if isinstance(child, dict | list)
    )
