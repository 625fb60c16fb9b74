"""Tidy: remove what killed runs left behind, and caches, once they are old enough. Nothing that results rely on is touched.

| kind | what | made again by |
|---|---|---|
| unfinished files | `*.partial`: a write that was killed | — |
| unfinished downloads | `inbox/<feed>/partial/`: the beginning of an image | the next poll |
| unfinished uploads | of S3: parts of an object that was never completed | — |
| progress of runs | `progress/<token>/`: what a terminal showed | — |
| listings of dead runs | `listings/<name>/` that no run names | the same command |
| caches | `cache/`, `memory/<stratum>/cache/` | when they are needed |

The caller holds the archive's lock, so nothing of a living run is seen; what is younger than the age stays in any case.
"""

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from interpdisc_core.errors import StoreError
from interpdisc_core.storage.checksums import CHECKSUM_SUFFIX
from interpdisc_core.storage.durable_files import PARTIAL_SUFFIX
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.remote_files import get_s3_filesystem

UNFINISHED_FILES, UNFINISHED_DOWNLOADS, UNFINISHED_UPLOADS = (
    "unfinished files",
    "unfinished downloads",
    "unfinished uploads",
)
PROGRESS, LISTINGS, CACHES = "progress of runs", "listings of dead runs", "caches"

_PATTERNS = (
    (UNFINISHED_DOWNLOADS, re.compile(r"(inbox/[^/]+/partial/[^/]+)$")),
    (PROGRESS, re.compile(r"(progress/[^/]+)/")),
    (LISTINGS, re.compile(r"(listings/[^/]+)/")),
    (CACHES, re.compile(r"((?:memory/[^/]+/)?cache/.+)$")),
)
"""What a file belongs to: the group is what is removed, the file or a whole folder."""
_REMOTE_FOLDERS = ("inbox", "progress", "listings", "cache", "memory")
"""Folders that are listed in an object store, where there are no unfinished files."""


@dataclass(frozen=True, slots=True)
class TidyItem:
    """Something to remove.

    Attributes:
        kind: See the module's table.
        name: A file or a folder of the archive; of an upload its key.
        bytes: Its size, -1 if unknown.
        upload_id: Of an unfinished upload, else empty.
    """

    kind: str
    name: str
    bytes: int
    upload_id: str = ""


def find_untidy(url: str, older_than_s: float) -> list[TidyItem]:
    """What `tidy_archive` would remove, in order of kind and name. Nothing is changed.

    Args:
        url: Address of the archive.
        older_than_s: Only what was last changed longer ago than this many seconds.

    Raises:
        StoreError: If the archive cannot be read.
    """
    archive, latest_change = Location.parse(url), time.time() - older_than_s
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    changes: dict[tuple[str, str], float] = defaultdict(float)
    for name, size, changed in _iter_files(archive):
        if item := _classify(name):
            sizes[item] += size
            changes[item] = max(changes[item], changed)
    named_listings = _find_named_listings(archive) if any(kind == LISTINGS for kind, _ in sizes) else set()
    items = [
        TidyItem(kind, name, size)
        for (kind, name), size in sizes.items()
        if changes[kind, name] < latest_change
        and (kind != LISTINGS or (named_listings is not None and name not in named_listings))
    ]
    if archive.is_remote:
        items += _find_uploads(archive, latest_change)
    return sorted(items, key=lambda item: (item.kind, item.name))


def tidy_archive(url: str, older_than_s: float) -> list[TidyItem]:
    """Remove what `find_untidy` names, and return it. The caller holds the archive's lock."""
    archive, items = Location.parse(url), find_untidy(url, older_than_s)
    for item in items:
        if item.upload_id:
            get_s3_filesystem().abort_mpu(_bucket(archive), item.name, item.upload_id)
        else:
            archive.remove(f"{item.name}{CHECKSUM_SUFFIX}")  # first: a checksum without its file is damage
            archive.remove(item.name)
    return items


def _classify(name: str) -> tuple[str, str] | None:
    if name.endswith(PARTIAL_SUFFIX):
        return UNFINISHED_FILES, name
    for kind, pattern in _PATTERNS:
        if match := pattern.match(name.removesuffix(CHECKSUM_SUFFIX)):
            return kind, match[1]
    return None


def _iter_files(archive: Location) -> Iterator[tuple[str, int, float]]:
    """Name, size and time of the last change of the archive's files; remote ones only of the folders of interest."""
    if not archive.is_remote:
        for folder, _, files in os.walk(archive.url):
            for file in files:
                path = Path(folder, file)
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue
                yield path.relative_to(archive.url).as_posix(), status.st_size, status.st_mtime
        return
    prefix = archive.url.removeprefix("s3://")
    for folder in _REMOTE_FOLDERS:
        for key, info in archive.find_objects(folder).items():
            yield key[len(prefix) + 1 :], int(info.get("size") or 0), _to_seconds(info.get("LastModified"))


def _find_named_listings(archive: Location) -> set[str] | None:
    """The listings that runs name; None if a run cannot be read: then every listing may be needed."""
    names = set()
    for run in archive.list_names("runs"):
        try:
            names.add(f"listings/{archive.read_json(f'runs/{run}/ledger.json')['listing']}")
        except FileNotFoundError:  # runs of daily lists name none
            continue
        except (StoreError, KeyError, TypeError):
            return None
    return names


def _find_uploads(archive: Location, latest_change: float) -> list[TidyItem]:
    prefix = archive.url.removeprefix("s3://").partition("/")[2]
    return [
        TidyItem(UNFINISHED_UPLOADS, upload["Key"], -1, upload["UploadId"])
        for upload in get_s3_filesystem().list_multipart_uploads(_bucket(archive))
        if upload["Key"].startswith(f"{prefix}/" if prefix else "") and _to_seconds(upload["Initiated"]) < latest_change
    ]


def _bucket(archive: Location) -> str:
    return archive.url.removeprefix("s3://").partition("/")[0]


def _to_seconds(moment: Any) -> float:
    """A time of S3 in seconds since 1970; that of an object without one is now, so that it stays."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.timestamp() if isinstance(moment, datetime) else time.time()
