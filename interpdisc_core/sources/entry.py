"""One input as a source lists it, before it is read; and what its name alone says about it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from interpdisc_core.sources.fetch import UNKNOWN_STAT, FileStat
from interpdisc_core.sources.uris import display_name, file_uri
from interpdisc_core.storage.location import Location

ID_COLUMNS = ("id", "imageid", "image_id")
LABEL_COLUMNS = ("label", "class_name", "class", "category")
PATH_COLUMNS = ("path", "file", "uri", "url", "filename", "file_name", "filepath", "file_path", "image", "name")

_COMPRESSED_TAR = r"tgz|tbz2?|txz|tzst|tar\.\w{1,4}"
COMPRESSED_TAR_SUFFIX = re.compile(r"\.(?:tar\.(?P<long>gz|bz2|xz|zst)|(?P<short>tgz|tbz2?|txz|tzst))$", re.IGNORECASE)
"""Of the compressed tars that can be read."""
SHARD_SUFFIX = re.compile(rf"\.(tar|zip)$|{COMPRESSED_TAR_SUFFIX.pattern}", re.IGNORECASE)
ARCHIVE_SUFFIX = re.compile(rf"\.(zip|tar|{_COMPRESSED_TAR})$", re.IGNORECASE)
_NON_IMAGE_SUFFIX = re.compile(
    r"\.(csv|tsv|txt|md|rst|json|jsonl|geojson|xml|lbl|html?|pdf|ya?ml|toml|ini|log|py|ipynb|sh|t?gz|npy|npz|"
    r"parquet|db|sqlite|mat|h5|pth|safetensors|cls)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One input as a source lists it.

    Args:
        id: The name that people see, relative to the source.
        uri: Of a file lossless ASCII (`file://`, percent-encoded), of an object in S3 as stored.
        size: In bytes, -1 if unknown.
        stamp: Changes when the content may have changed (modification time or ETag).
        skip_reason: Why it will not be read, or empty.
        label: Its class, or None.
        record: The source's own record of it, verbatim; any JSON.
        has_several_labels: The sources list it with several classes, so that it has no label.
    """

    id: str
    uri: str
    size: int = -1
    stamp: str = ""
    skip_reason: str = ""
    label: str | None = None
    record: dict[str, Any] = field(default_factory=dict)
    has_several_labels: bool = False


class SourceLike(Protocol):
    """What every source does."""

    @property
    def kind(self) -> str:
        """The name by which settings choose this class."""

    def list(self, inbox: Location | None = None) -> Iterator[SourceEntry]:
        """Every input of the source.

        Args:
            inbox: The archive's inbox, where feeds keep what they fetched; other sources do not need it.

        Raises:
            PlanError: If the source does not exist.
        """


def find_skip_reason(name: str) -> str:
    """Why a file of this name is not tried as an image; empty if it is tried.

    Example:
        >>> find_skip_reason("notes.TXT")
        'not an image by its name (.txt)'
    """
    if match := ARCHIVE_SUFFIX.search(name):
        return f"an archive ({match.group(0).lower()}); name it as a source of its own"
    if match := _NON_IMAGE_SUFFIX.search(name):
        return f"not an image by its name ({match.group(0).lower()})"
    return ""


def find_hidden_reason(name: str) -> str:
    """Why a file of this name (the last part of its path) counts as hidden; empty if it does not."""
    return "a hidden file" if name.startswith(".") or name == "Thumbs.db" else ""


def make_file_entry(path: str, name: str) -> SourceEntry:
    """The entry of a local file, shown as `name`. A file without status is listed too: reading it gives the reason."""
    skip_reason = find_hidden_reason(os.path.basename(path)) or find_skip_reason(path)
    try:
        stat = FileStat.from_os(os.stat(path))
    except (OSError, ValueError):  # ValueError: a zero byte in a list's path
        stat = UNKNOWN_STAT
    return make_path_entry(path, name, stat, skip_reason)


def make_path_entry(path: str, name: str, stat: FileStat = UNKNOWN_STAT, skip_reason: str = "") -> SourceEntry:
    """The entry of a local path, shown as `name`; the file system is not asked."""
    return SourceEntry(Path(display_name(name)).as_posix(), file_uri(path), stat.size, stat.stamp, skip_reason)
