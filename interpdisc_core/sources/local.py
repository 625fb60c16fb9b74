"""Local files: a folder, one file, a pattern."""

import glob
import os
import re
from collections.abc import Iterator
from typing import Literal

from interpdisc_core.errors import PlanError
from interpdisc_core.settings import settings
from interpdisc_core.sources import detached_labels
from interpdisc_core.sources.entry import SourceEntry, make_file_entry, make_path_entry
from interpdisc_core.storage.location import Location


@settings
class Folder:
    """A folder with everything below it. Ids are paths relative to it; links to folders are not followed.

    Args:
        path: A local folder.
    """

    kind: Literal["folder"] = "folder"
    path: str

    def list(self, inbox: Location | None = None) -> Iterator[SourceEntry]:
        """See `SourceLike.list`."""
        root = os.path.abspath(self.path)
        if not os.path.isdir(root):
            raise PlanError(f"{self.path}: no such folder.")
        walk_errors: list[OSError] = []
        for folder, folders, files in os.walk(root, onerror=walk_errors.append):
            folders.sort()
            for name in list(folders):
                path = os.path.join(folder, name)
                relative_path = os.path.relpath(path, root)
                if os.path.islink(path):
                    yield make_path_entry(
                        path, relative_path, skip_reason="a link to a folder (links are not followed)"
                    )
                elif name.startswith("."):
                    folders.remove(name)
                    yield make_path_entry(path, relative_path, skip_reason="a hidden folder")
            paths = [os.path.join(folder, name) for name in sorted(files)]
            yield from detached_labels.pair_labels(
                [make_file_entry(path, os.path.relpath(path, root)) for path in paths]
            )
        for error in walk_errors:
            path = os.fspath(error.filename)
            yield make_path_entry(
                path, os.path.relpath(path, root), skip_reason=f"a folder that cannot be read ({error.strerror})"
            )


@settings
class OneFile:
    """One file.

    Args:
        path: A local file; its name is taken literally, also if it looks like a pattern.
    """

    kind: Literal["file"] = "file"
    path: str

    def list(self, inbox: Location | None = None) -> Iterator[SourceEntry]:
        """See `SourceLike.list`."""
        yield from detached_labels.pair_labels(
            [make_file_entry(os.path.abspath(self.path), os.path.basename(self.path))]
        )


@settings
class Glob:
    """The files that match a pattern. Ids are paths relative to the pattern's fixed part; folders are not inputs.

    Args:
        pattern: With *, ?, [abc], and ** for any depth.
    """

    kind: Literal["glob"] = "glob"
    pattern: str

    def list(self, inbox: Location | None = None) -> Iterator[SourceEntry]:
        """See `SourceLike.list`."""
        root = os.path.abspath(os.path.dirname(fixed_prefix(self.pattern)) or ".")
        paths = (path for path in sorted(glob.glob(self.pattern, recursive=True)) if not os.path.isdir(path))
        yield from detached_labels.pair_labels(
            [make_file_entry(os.path.abspath(path), os.path.relpath(path, root)) for path in paths]
        )


def fixed_prefix(pattern: str) -> str:
    """The part of a pattern before its first special character.

    Example:
        >>> fixed_prefix("photos/sol-*/a.jpg")
        'photos/sol-'
    """
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]
