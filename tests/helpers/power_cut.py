"""A model of a disk that loses what was not synced: records what is durable while code runs, and makes the folder of a cut.

What is durable of a file is its content at its last fsync; of a folder, its names at its last fsync. At any moment a power
cut may leave one of two worlds: `lost` has nothing but what was synced. `named` has all names as they are, and empty or old
contents where these were not synced, as a file system that writes its own records first leaves it.
"""

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Node = tuple[int, int]
"""An inode's number, and how often the number was given out."""


@dataclass
class DiskModel:
    """What is durable below `root`, kept up to date by the calls that are wrapped; see `record_syncs`."""

    root: Path
    contents: dict[Node, bytes] = field(default_factory=dict)
    names: dict[Node, dict[str, Node]] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    cuts: list[Callable[[Path], None]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def find_node(self, inode: int) -> Node:
        return inode, self.generations.get(inode, 0)

    def note_removed(self, path: Any) -> None:
        """A file loses a name: if it was its last, the number of its inode may be given out again."""
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
                self.generations[status.st_ino] = self.generations.get(status.st_ino, 0) + 1

    def note_synced(self, descriptor: int) -> None:
        """The content of a file, or the names in a folder, are durable from now on."""
        status = os.fstat(descriptor)
        node = self.find_node(status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            self.names[node] = {entry.name: self.find_node(entry.inode()) for entry in os.scandir(descriptor)}
        else:
            self.contents[node] = Path(f"/proc/self/fd/{descriptor}").read_bytes()  # it may be open for writing only

    def add_cuts(self) -> None:
        """A cut may happen now."""
        names = {node: dict(entries) for node, entries in self.names.items()}
        contents = dict(self.contents)
        root_node = self.find_node(os.stat(self.root).st_ino)
        self.cuts.append(lambda target: _restore(root_node, names, contents, target))
        tree = _scan(self.root)
        current = {path: (self.find_node(inode), is_folder) for path, (inode, is_folder) in tree.items()}
        self.cuts.append(lambda target: _restore_named(current, contents, target))


def _restore(node: Node, names: dict[Node, dict[str, Node]], contents: dict[Node, bytes], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, child in names.get(node, {}).items():
        if child in contents:
            (target / name).write_bytes(contents[child])
        elif child in names:
            _restore(child, names, contents, target / name)
        # What is neither has a name and no content: an empty file or folder, which the other world shows.


def _scan(root: Path) -> dict[str, tuple[int, bool]]:
    tree = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                tree[os.path.relpath(path, root)] = status.st_ino, stat.S_ISDIR(status.st_mode)
    return tree


def _restore_named(current: dict[str, tuple[Node, bool]], contents: dict[Node, bytes], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, (node, is_folder) in sorted(current.items()):
        if is_folder:
            (target / name).mkdir(exist_ok=True)
        else:
            (target / name).write_bytes(contents.get(node, b""))


@contextlib.contextmanager
def record_syncs(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DiskModel]:
    """Record what is durable below `root` while the body runs; a cut may happen after every sync and every renaming."""
    model = DiskModel(root)
    with monkeypatch.context() as patch:

        def wrap(name: str, removed: int | None) -> None:
            call = getattr(os, name)

            def wrapped(*args: Any, **kwargs: Any) -> Any:
                with model.lock:
                    if removed is not None and "dir_fd" not in kwargs:
                        model.note_removed(args[removed])
                    result = call(*args, **kwargs)
                    if name == "fsync":
                        model.note_synced(args[0])
                    if name in ("fsync", "replace", "rename", "link"):
                        model.add_cuts()
                    return result

            patch.setattr(os, name, wrapped)

        for name, removed in (
            ("fsync", None),
            ("replace", 1),
            ("rename", 1),
            ("link", None),
            ("unlink", 0),
            ("remove", 0),
            ("rmdir", 0),
        ):
            wrap(name, removed)
        yield model
        with model.lock:
            model.add_cuts()


def list_cuts(model: DiskModel, folder: Path) -> Iterator[Path]:
    """The folders that power cuts leave, one after the other, each at the same place."""
    for cut in model.cuts:
        shutil.rmtree(folder, ignore_errors=True)
        cut(folder)
        yield folder
