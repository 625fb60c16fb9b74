"""One input as a source found it, before it is read; and what its name alone says of it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote_to_bytes

from interpdisc_core.storage import Place

ID_COLUMNS = ("id", "imageid", "image_id")
LABEL_COLUMNS = ("label", "class_name", "class", "category")
PATH_COLUMNS = ("path", "file", "uri", "url", "filename", "image", "name")
_ARCHIVE = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.\w{1,4})$", re.IGNORECASE)
_NO_IMAGE = re.compile(
    r"\.(csv|tsv|txt|md|rst|json|jsonl|geojson|xml|lbl|html?|pdf|ya?ml|toml|ini|log|py|ipynb|sh|t?gz|npy|npz|"
    r"parquet|db|sqlite|mat|h5|pth|safetensors|cls)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One input as it was found. `uri` is lossless ASCII for files (`file://`, percent-encoded) and as stored for S3.

    id: the name that people see, relative to the source. size: bytes, -1 unknown. stamp: changes when the content
    may have (modification time or ETag). skipped: why it is not even tried, or empty. label: a class, or None.
    record: the source's own record of it, verbatim; any JSON.
    """

    id: str
    uri: str
    size: int = -1
    stamp: str = ""
    skipped: str = ""
    label: str | None = None
    record: dict[str, Any] = field(default_factory=dict)


class Lists(Protocol):
    """What every source does."""

    @property
    def kind(self) -> str:
        """The name by which a plan or a deployment chooses it."""

    def list(self, inbox: Place | None = None) -> Iterator[Listed]:
        """Every input that it names. inbox: where what feeds brought is kept; other sources need none.

        Raises PlanError for a source that does not exist.
        """


def by_name(name: str) -> str:
    """Why a file of this name is not tried as an image, or empty."""
    if match := _ARCHIVE.search(name):
        return f"an archive ({match.group(0).lower()}); name it as a source of its own"
    if match := _NO_IMAGE.search(name):
        return f"not an image by its name ({match.group(0).lower()})"
    return ""


def hidden(name: str) -> str:
    """Why a file of this name (its last part) is taken for hidden, or empty."""
    return "a hidden file" if name.startswith(".") or name == "Thumbs.db" else ""


def file(path: str, name: str) -> Listed:
    """A local file, shown as `name`. One that cannot be looked at is listed all the same: reading it will say why."""
    skipped = hidden(os.path.basename(path)) or by_name(path)
    try:
        facts = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in a list's path
        return entry(path, name, skipped=skipped)
    return entry(path, name, facts.st_size, str(facts.st_mtime_ns), skipped)


def entry(path: str, name: str, size: int = -1, stamp: str = "", skipped: str = "") -> Listed:
    """A local path as it is given, without looking at it."""
    return Listed(Path(shown(name)).as_posix(), file_uri(path), size, stamp, skipped)


def file_uri(path: str) -> str:
    """A local path as a `file://` address; any name, in any encoding, survives."""
    return "file://" + quote(os.fsencode(os.path.abspath(path)))


def shown(name: str) -> str:
    """A name as text: bytes that are not UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def last_part(uri: str) -> str:
    """The name of what lies at an address, as text."""
    name = uri.rpartition("/")[2]
    return name if uri.startswith("s3://") else shown(os.fsdecode(unquote_to_bytes(name)))
