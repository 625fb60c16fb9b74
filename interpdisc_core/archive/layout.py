"""The version of an archive's layout: which archives this program reads, which it writes, and what it refuses.

New archives have version 3. Version 2 differs by names in files (`interpdisc_core.archive.disk_names`); it is read
directly. To write to it, `interpdisc migrate` is needed first, so that no older program meets names that it does not
know. Version 1 must be migrated before it is read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interpdisc_core.archive import disk_names
from interpdisc_core.errors import StoreError
from interpdisc_core.provenance import package_version
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.lock import LOCK_FILE, archive_lock, refuse_if_locked

ARCHIVE_FILE = "archive.json"
ARCHIVE_FORMAT = 3
"""Version of the layout that this program writes; `interpdisc_core.operations.migrate` brings older archives to it."""
OLDEST_READABLE_FORMAT = 2

_NAMES_BEFORE_ARCHIVE_FILE = {LOCK_FILE, "progress", "inbox", "lost+found"}
"""What may be in a new archive's folder before its archive.json, besides what systems leave in any folder."""
_SYSTEM_NAME = re.compile(
    r"\.(lock|DS_Store|localized|directory|snapshots?|fseventsd|Spotlight-V100|Trash.*|nfs[0-9a-f]+|_.*)"
)
"""Files of systems and desktops; `.lock` is this program's. Others, such as .git or .zgroup, say whose folder it is."""


@dataclass(frozen=True, slots=True)
class ArchiveVersion:
    """What an archive's archive.json says.

    Attributes:
        payload: The whole object, with today's keys.
        format: The layout version.
        origin: The version from which an interrupted migration started; else `format`.
    """

    payload: Mapping[str, Any]
    format: int
    origin: int


def open_or_create_archive(url: str) -> Location:
    """The archive at `url` for writing; a new one if there is nothing yet.

    Args:
        url: A local folder or an `s3://` prefix.

    Raises:
        StoreError: If the folder has files but is not an archive, or if the archive has another layout version.

    Example:
        >>> import tempfile
        >>> archive = open_or_create_archive(tempfile.mkdtemp())
        >>> archive.read_json("archive.json")["format"]
        3
    """
    archive = Location.parse(url)
    check_writable(archive)
    if not _has_archive_file(archive):
        made_by = f"interpdisc {package_version('interpdisc-core')}"
        archive.write_checked_json(ARCHIVE_FILE, {"format": ARCHIVE_FORMAT, "made_by": made_by})
    return archive


def lock_archive(url: str, owner: str = "") -> archive_lock:
    """The lock of the archive at `url`, to be entered by `with`. Nothing is written to a folder that is no archive.

    Args:
        url: A local folder or an `s3://` prefix.
        owner: What holds the lock, for people, such as the flow's name.

    Raises:
        StoreError: As `check_writable`.
    """
    check_writable(Location.parse(url))
    return archive_lock(url, owner=owner)


def refuse_if_not_writable(url: str) -> None:
    """Check what `lock_archive` and entering it would check, without taking the lock.

    Raises:
        StoreError: As `check_writable`.
        PlanError: If another process holds the lock.
    """
    check_writable(Location.parse(url))
    refuse_if_locked(url)


def check_format(archive: Location) -> None:
    """Check that this program can read an archive.

    Raises:
        StoreError: If there is no archive, or if its layout version is not one that this program reads.
    """
    version = read_version(archive)
    if version.origin < OLDEST_READABLE_FORMAT:
        raise StoreError(_describe_earlier(archive, version.origin))


def check_writable(archive: Location) -> None:
    """Check that this program can write to an archive, or create one: in a folder that is missing or empty.

    Raises:
        StoreError: If the folder has files but is not an archive, or if the archive has another layout version.
    """
    if not _has_archive_file(archive):
        names = archive.list_names()
        foreign = [
            name for name in names if name not in _NAMES_BEFORE_ARCHIVE_FILE and not _SYSTEM_NAME.fullmatch(name)
        ]
        if foreign:
            raise StoreError(
                f"{archive.url} is not an archive, and it is not empty (it has {foreign[0]!r}): "
                "name an empty folder, or one that does not exist yet, as the archive."
            )
        return
    version = read_version(archive)
    if version.origin < ARCHIVE_FORMAT:
        raise StoreError(_describe_earlier(archive, version.origin))


def read_version(archive: Location) -> ArchiveVersion:
    """The layout version of an archive.

    Raises:
        StoreError: If there is no archive, or if a later version of this program made it.
    """
    if not _has_archive_file(archive):
        raise StoreError(f"{archive.url} is not an archive: it has no {ARCHIVE_FILE}.")
    content = archive.read_checked_json(ARCHIVE_FILE)
    payload = disk_names.use_current_names(content, disk_names.ARCHIVE_KEYS) if isinstance(content, dict) else {}
    version = payload.get("format")
    if type(version) is not int or version < 1:
        raise StoreError(
            f"{archive.url} is not an archive of interpdisc: its {ARCHIVE_FILE} names no layout version "
            f"(format: {version!r}); name another folder as the archive."
        )
    if version > ARCHIVE_FORMAT:
        raise StoreError(
            f"{archive.url} has layout version {version}, of a later version of interpdisc; this one reads versions "
            f"{OLDEST_READABLE_FORMAT} to {ARCHIVE_FORMAT}: install the later version."
        )
    origin = payload.get("migrating_from", version)
    if type(origin) is not int or not 1 <= origin <= version:
        raise StoreError(
            f"{archive.url}/{ARCHIVE_FILE} is damaged: it says that a migration started from version {origin!r}."
        )
    return ArchiveVersion(payload, version, origin)


def _has_archive_file(archive: Location) -> bool:
    """Whether archive.json exists; if it was lost, reading it says so."""
    return ARCHIVE_FILE in archive.list_checked_names()


def _describe_earlier(archive: Location, version: int) -> str:
    limits = ", which can be read but not written to" if version >= OLDEST_READABLE_FORMAT else ""
    return (
        f"{archive.url} has layout version {version}, of an earlier version of interpdisc{limits}: "
        f"`interpdisc migrate {archive.url}` brings it to version {ARCHIVE_FORMAT}."
    )
