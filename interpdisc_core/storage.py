"""Where bytes are kept: a local folder or an `s3://` prefix, behind one small interface.

Writes are whole and atomic: a reader sees the old bytes, the new ones, or none. A process that is killed while
writing leaves at most a stray `*.partial` file.
"""

import contextlib
import errno
import json
import os
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from interpdisc_core.errors import StoreError


@lru_cache(maxsize=8)
def _s3(process: int) -> Any:
    import s3fs

    # Listings are not cached: other workers write while we look. Endpoint and keys come from the usual
    # AWS variables and files (AWS_ENDPOINT_URL, AWS_PROFILE, …), so that no address stands in a plan.
    return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)


def s3_filesystem() -> Any:
    """The process's s3fs file system; one a process, made anew after a fork."""
    return _s3(os.getpid())


def is_remote(url: str) -> bool:
    """Whether `url` is an s3:// address. Raises StoreError for any other scheme than s3 and file."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme == "file":
        return False
    if scheme == "s3":
        return True
    raise StoreError(f"{url}: only folders and s3:// addresses are supported.")


@dataclass(frozen=True, slots=True)
class Place:
    """An address under which named bytes are kept. `url` is an absolute folder or `s3://bucket/prefix`."""

    url: str

    @classmethod
    def of(cls, url: str | os.PathLike[str]) -> "Place":
        """The place at `url`; a local path is made absolute."""
        text = os.fspath(url)
        if is_remote(text):
            return cls(text.rstrip("/"))
        return cls(os.path.abspath(text.removeprefix("file://")))

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self.url}/{name}")

    @property
    def remote(self) -> bool:
        """Whether this is in an object store."""
        return is_remote(self.url)

    def read(self, name: str) -> bytes:
        """The bytes of `name`. Raises FileNotFoundError where there are none."""
        if self.remote:
            data: bytes = s3_filesystem().cat_file(f"{self.url}/{name}")
            return data
        return Path(self.url, name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Put `data` at `name`, whole or not at all. Raises StoreError where there is no room or no right."""
        if self.remote:
            s3_filesystem().pipe_file(f"{self.url}/{name}", data)
            return
        path = Path(self.url, name)
        partial = path.with_name(f"{path.name}.{uuid4().hex[:8]}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):  # the same reason may forbid this too
                partial.unlink()
            raise storage_failure(self.url, error) from error

    def exists(self, name: str) -> bool:
        """Whether there are bytes at `name`."""
        if self.remote:
            return bool(s3_filesystem().isfile(f"{self.url}/{name}"))
        return Path(self.url, name).is_file()

    def names(self, folder: str = "") -> list[str]:
        """Names directly under `folder`, sorted; files and folders alike; empty where there is no such folder."""
        here = f"{self.url}/{folder}".rstrip("/")
        if self.remote:
            try:
                found = s3_filesystem().ls(here, detail=False)
            except FileNotFoundError:
                return []
            return sorted({str(key).rstrip("/").rpartition("/")[2] for key in found} - {""})
        try:
            return sorted(name for name in os.listdir(here) if not name.endswith(".partial"))
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        """Remove a name, or a folder and what is in it; nothing happens where there is none."""
        if self.remote:
            if s3_filesystem().exists(f"{self.url}/{name}"):
                s3_filesystem().rm(f"{self.url}/{name}", recursive=True)
        elif Path(self.url, name).is_dir():
            shutil.rmtree(Path(self.url, name), ignore_errors=True)
        else:
            Path(self.url, name).unlink(missing_ok=True)

    def read_json(self, name: str) -> Any:
        """The value at `name`. Raises StoreError where it is not JSON."""
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise StoreError(f"{self.url}/{name} is damaged: it is not JSON ({error}).") from error

    def write_json(self, name: str, value: Any) -> None:
        """Put `value` at `name` as readable JSON, keys in order."""
        try:
            data = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # a local path that is not UTF-8
            data = json.dumps(value, indent=1, sort_keys=True).encode()
        self.write(name, data + b"\n")


def storage_failure(where: str, error: OSError) -> StoreError:
    """A sentence for a write that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"{where}: the disk is full; free some space and give the same command again.")
    if isinstance(error, PermissionError):
        return StoreError(f"{where}: no permission to write there.")
    return StoreError(f"{where}: cannot be written: {error}.")
