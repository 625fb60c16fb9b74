"""Local files that survive a power cut: content, name and folders are on the disk before a write returns.

So whatever is written later (a record that says that something is complete) is on the disk only if this is. The order is:
the content of a `*.partial` file is synced; it is renamed; its folder is synced, which has its name.
"""

import contextlib
import os
from pathlib import Path
from threading import Lock
from uuid import uuid4

PARTIAL_SUFFIX = ".partial"

_known_folders: set[str] = set()
"""Folders whose own names this process has synced, so that a folder's first write costs more than the next ones."""
_known_folders_lock = Lock()


def write_file(
    path: Path, data: bytes | memoryview, *, root: Path, durable: bool = True, exclusive: bool = False
) -> None:
    """Create or replace a file; a reader sees the old bytes, the new ones, or no file, also after a power cut.

    Args:
        path: The file; missing folders are made.
        data: Its content.
        root: A folder above it, such as the archive: names from here on are synced.
        durable: Whether to sync. False is for what nothing relies on: it is quick, and after a power cut the file may be
            empty.
        exclusive: Whether to fail if the file exists.

    Raises:
        OSError: If it cannot be written; the old file is still there.
        FileExistsError: If it exists and `exclusive` is set.
    """
    partial = path.with_name(f"{path.name}.{uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if exclusive:
            os.link(partial, path)
            partial.unlink()
        else:
            partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the same reason may forbid this too
            partial.unlink()
        raise
    if durable:
        sync_folder(path.parent)
        _sync_names_above(path.parent, root)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder. Does nothing in a file system that has no such call."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync_names_above(folder: Path, root: Path) -> None:
    """Sync the names of `folder` and of the folders above it, up to that of `root`."""
    while True:
        with _known_folders_lock:
            is_known = str(folder) in _known_folders
        if is_known and os.path.isdir(folder):
            return
        sync_folder(folder.parent)
        with _known_folders_lock:
            _known_folders.add(str(folder))
        if folder == root or folder == folder.parent or root not in folder.parents:
            return
        folder = folder.parent


def forget_folder(folder: Path) -> None:
    """Note that a folder was removed: if it is made again, its name is not on the disk."""
    prefix = f"{folder}{os.sep}"
    with _known_folders_lock:
        _known_folders.difference_update([name for name in _known_folders if f"{name}{os.sep}".startswith(prefix)])
