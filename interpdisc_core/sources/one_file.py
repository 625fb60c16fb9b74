"""A single local file."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from interpdisc_core.sources import products
from interpdisc_core.sources.listed import Listed, file
from interpdisc_core.storage import Place


@dataclass(frozen=True, kw_only=True)
class OneFile:
    """path: a local file, also where its name looks like a pattern."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["file"] = "file"
    path: str

    def list(self, inbox: Place | None = None) -> Iterator[Listed]:
        """See `Lists.list`."""
        yield from products.paired([file(os.path.abspath(self.path), os.path.basename(self.path))])
