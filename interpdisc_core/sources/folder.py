"""A folder, with all that lies below it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from interpdisc_core.errors import PlanError
from interpdisc_core.sources import products
from interpdisc_core.sources.listed import Listed, entry, file
from interpdisc_core.storage import Place


@dataclass(frozen=True, kw_only=True)
class Folder:
    """path: a local folder. Links to folders are not followed; ids are paths below it."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["folder"] = "folder"
    path: str

    def list(self, inbox: Place | None = None) -> Iterator[Listed]:
        """See `Lists.list`."""
        root = os.path.abspath(self.path)
        if not os.path.isdir(root):
            raise PlanError(f"{self.path}: no such folder.")
        blind: list[OSError] = []
        for folder, folders, files in os.walk(root, onerror=blind.append):
            folders.sort()
            for name in list(folders):
                path = os.path.join(folder, name)
                shown = os.path.relpath(path, root)
                if os.path.islink(path):
                    yield entry(path, shown, skipped="a link to a folder (links are not followed)")
                elif name.startswith("."):
                    folders.remove(name)
                    yield entry(path, shown, skipped="a hidden folder")
            paths = [os.path.join(folder, name) for name in sorted(files)]
            yield from products.paired([file(path, os.path.relpath(path, root)) for path in paths])
        for error in blind:
            path = os.fspath(error.filename)
            yield entry(path, os.path.relpath(path, root), skipped=f"a folder that cannot be read ({error.strerror})")
