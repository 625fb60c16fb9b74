"""Objects in S3, by a prefix or a pattern."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from interpdisc_core.errors import PlanError
from interpdisc_core.sources import products
from interpdisc_core.sources.access import facts_of
from interpdisc_core.sources.listed import Listed, by_name
from interpdisc_core.sources.pattern import fixed
from interpdisc_core.storage import Place, s3_filesystem


@dataclass(frozen=True, kw_only=True)
class S3Prefix:
    """url: `s3://bucket/prefix`, with all that lies below it, or with a pattern in it. Ids are keys below its fixed part.

    Endpoint and keys come from the usual AWS variables and files.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["s3"] = "s3"
    url: str

    def __post_init__(self) -> None:
        if not self.url.startswith("s3://"):
            raise PlanError(f"{self.url}: not an s3:// address.")

    def list(self, inbox: Place | None = None) -> Iterator[Listed]:
        """See `Lists.list`."""
        yield from products.paired(list(objects(self.url)))


def objects(url: str) -> Iterator[Listed]:
    """The objects below a prefix or of a pattern, in order of their keys.

    Raises PlanError where there is no such bucket or prefix.
    """
    files, bare = s3_filesystem(), url.removeprefix("s3://")
    if glob.has_magic(bare):
        root = fixed(bare).rpartition("/")[0]
        found = files.glob(url, detail=True)
    else:
        root = bare.rstrip("/")
        try:
            found = files.find(url, detail=True)
        except FileNotFoundError:
            raise PlanError(f"{url}: no such bucket or prefix.") from None
    for key, told in sorted(found.items()):
        if told.get("type") == "directory" or key.endswith("/"):
            continue
        name = key[len(root) :].lstrip("/") or key.rpartition("/")[2]
        facts = facts_of(told)
        yield Listed(name, f"s3://{key}", facts.size, facts.stamp, by_name(key))
