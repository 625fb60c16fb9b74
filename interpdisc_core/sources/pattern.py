"""A pattern of local paths."""

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from interpdisc_core.sources import products
from interpdisc_core.sources.listed import Listed, file
from interpdisc_core.storage import Place


@dataclass(frozen=True, kw_only=True)
class Glob:
    """pattern: with *, ?, [abc] and ** for any depth. Ids are paths below its fixed part; folders are no inputs."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["glob"] = "glob"
    pattern: str

    def list(self, inbox: Place | None = None) -> Iterator[Listed]:
        """See `Lists.list`."""
        root = os.path.abspath(os.path.dirname(fixed(self.pattern)) or ".")
        paths = (path for path in sorted(glob.glob(self.pattern, recursive=True)) if not os.path.isdir(path))
        yield from products.paired([file(os.path.abspath(path), os.path.relpath(path, root)) for path in paths])


def fixed(pattern: str) -> str:
    """The part of a pattern before its first special character."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]
