"""Objects in S3, Google's and Azure's stores, by prefix or pattern."""

import contextlib
import glob
from collections.abc import Iterator
from typing import Literal

from interpdisc_core.errors import AccessError, PlanError
from interpdisc_core.settings import settings
from interpdisc_core.sources import detached_labels
from interpdisc_core.sources.entry import SourceEntry, find_skip_reason
from interpdisc_core.sources.fetch import FileStat
from interpdisc_core.sources.local import fixed_prefix
from interpdisc_core.sources.uris import object_uri
from interpdisc_core.storage.access_errors import classify_access_error
from interpdisc_core.storage.location import Location, is_object_url
from interpdisc_core.storage.remote_files import OBJECT_SCHEMES, get_object_filesystem


@settings
class S3Prefix:
    """The objects below a prefix or of a pattern, in S3 or, as `gs://` and `az://`, in another store. Ids are keys relative to the prefix or the pattern's fixed part.

    Endpoint and credentials come from the usual variables and files of the store, see `storage.remote_files`.

    Args:
        url: `s3://bucket/prefix`, or the same with a pattern in it. A prefix that exists is taken literally.
    """

    kind: Literal["s3"] = "s3"
    url: str

    def __post_init__(self) -> None:
        if not is_object_url(self.url):
            raise PlanError(f"{self.url}: not an address of a store; use {', '.join(OBJECT_SCHEMES)}.")

    def list(self, inbox: Location | None = None) -> Iterator[SourceEntry]:
        """See `SourceLike.list`."""
        yield from detached_labels.pair_labels(list(list_objects(self.url)))


@contextlib.contextmanager
def translate_listing_errors(url: str, missing: str) -> Iterator[None]:
    """Turn what a store raises for a listing of `url` into a sentence; `missing` says what is not there.

    Raises:
        PlanError: If it does not exist.
        AccessError: If the store cannot be reached or refuses.
    """
    try:
        yield
    except FileNotFoundError:
        raise PlanError(f"{url}: {missing}.") from None
    except Exception as error:
        if fault := classify_access_error(error):
            raise AccessError(f"{url}: cannot be listed: {fault.reason}.") from error
        raise


def list_objects(url: str) -> Iterator[SourceEntry]:
    """The objects below a prefix or of a pattern, sorted by key.

    Raises:
        PlanError: If the bucket does not exist.
        AccessError: If the store cannot be reached or refuses.
    """
    filesystem = get_object_filesystem(url)
    scheme, _, root = url.rstrip("/").partition("://")
    bucket = root.partition("/")[0]
    with translate_listing_errors(url, f"there is no bucket {bucket!r}"):
        # What exists is taken as it is, whatever its name looks like.
        infos = filesystem.find(root, detail=True)
        if not infos and scheme == "s3":
            # Not by the bucket's status: a store that refuses that does not say why.
            filesystem.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1)
        if not infos and glob.has_magic(root):
            infos = filesystem.glob(url, detail=True)
            root = fixed_prefix(root).rpartition("/")[0]
    for key, info in sorted((name.lstrip("/"), info) for name, info in infos.items()):
        if info.get("type") == "directory" or key.endswith("/"):
            continue
        name = key[len(root) :].lstrip("/") or key.rpartition("/")[2]
        file_stat = FileStat.from_object(info)
        yield SourceEntry(name, object_uri(key, scheme), file_stat.size, file_stat.stamp, find_skip_reason(key))
