"""Clients of object stores, in which a name is taken as it is: no character of it is a pattern or a version.

Endpoint and credentials come from the usual variables and files of each store (AWS_ENDPOINT_URL, AWS_PROFILE,
GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, …), so no plan contains them. Other settings of a client are
fsspec's, such as `FSSPEC_S3='{"anon": true}'` for a public bucket.
"""

import asyncio
import atexit
import contextlib
import os
from functools import lru_cache
from typing import Any

import fsspec

from interpdisc_core.errors import StoreError, one_line

OBJECT_SCHEMES = ("s3", "gs", "az")
"""Schemes of the addresses of objects that are read; archives are kept in `s3` alone, which can compare and swap."""
_EXTRAS = {"gs": "gcsfs", "az": "adlfs"}


@lru_cache(maxsize=16)
def _make_s3_filesystem(pid: int, asynchronous: bool = False) -> Any:
    import s3fs

    class LiteralS3FileSystem(s3fs.S3FileSystem):  # type: ignore[misc]
        """S3, for which fsspec would expand patterns in names that are removed, and cut `?versionId=` off a key."""

        def split_path(self, path: str) -> tuple[str, str, str | None]:
            """The bucket, the key, and no version."""
            trail = path[len(path.rstrip("/")) :]
            name = str(self._strip_protocol(path)).lstrip("/")
            if "/" not in name:
                return name, "", None
            bucket, key = self._find_bucket_key(name)
            return bucket, f"{key}{trail}", None

        async def set_session(self, refresh: bool = False, kwargs: dict[str, Any] = {}) -> Any:  # noqa: B006 - as s3fs
            """Connect; at the end of the process the connections are closed, which s3fs does for other clients only."""
            is_new = self._s3 is None or refresh
            session = await super().set_session(refresh, kwargs)
            if is_new and self.asynchronous:
                atexit.register(_close_connections, os.getpid(), asyncio.get_running_loop(), self._s3creator)
            return session

        async def _expand_path(
            self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None, **_: object
        ) -> list[str]:
            paths = [path] if isinstance(path, str) else path
            names: list[str] = await super()._expand_path(paths, recursive, maxdepth, assume_literal=True)
            return names

    # Listings are not cached, since other workers write at the same time.
    return LiteralS3FileSystem(use_listings_cache=False, skip_instance_cache=True, asynchronous=asynchronous)


def _close_connections(pid: int, loop: asyncio.AbstractEventLoop, client: Any) -> None:
    if os.getpid() == pid and loop.is_running():  # a fork has not its parent's loop
        with contextlib.suppress(Exception):  # the process ends, whatever becomes of its connections
            asyncio.run_coroutine_threadsafe(client.__aexit__(None, None, None), loop).result(timeout=1)


def get_s3_filesystem(*, asynchronous: bool = False) -> Any:
    """The s3fs file system of this process. A fork gets its own. asynchronous: the one that is called by coroutines."""
    return _make_s3_filesystem(os.getpid(), asynchronous)


def get_object_filesystem(url: str) -> Any:
    """The fsspec file system of this process for the store of an object's address.

    Raises:
        StoreError: If the package for it is not installed, or its settings do not fit.
    """
    scheme = url.partition("://")[0]
    return get_s3_filesystem() if scheme == "s3" else _make_object_filesystem(os.getpid(), scheme)


@lru_cache(maxsize=16)
def _make_object_filesystem(pid: int, scheme: str) -> Any:
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)
    except ImportError:
        raise StoreError(
            f"{scheme}:// needs the package {_EXTRAS[scheme]}: pip install 'interpdisc-core[{scheme}]'."
        ) from None
    except ValueError as error:
        raise StoreError(f"{scheme}://: its store cannot be opened: {one_line(error)}; check its variables.") from error
