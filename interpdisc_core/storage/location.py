"""Where bytes are stored: a local folder or an `s3://` prefix, behind one small interface.

Writes are atomic: a reader sees the old bytes, the new ones, or no file. A process that is killed while it writes leaves
at most a `*.partial` file, which is never listed; nor are checksums (`interpdisc_core.storage.checksums`). Local writes survive a power cut in the order in which they were made,
see `interpdisc_core.storage.durable_files`.
"""

import asyncio
import errno
import json
import os
import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from interpdisc_core.digest import digest_bytes
from interpdisc_core.errors import AccessError, DamageError, DiskFullError, StoreError
from interpdisc_core.storage import durable_files
from interpdisc_core.storage.access_errors import classify_store_error, translate_access_errors
from interpdisc_core.storage.checksums import CHECKSUM_SUFFIX, format_checksum, parse_checksum, read_until_consistent
from interpdisc_core.storage.remote_files import OBJECT_SCHEMES, get_object_filesystem, get_s3_filesystem


def read_first_byte(url: str) -> None:
    """Read the first byte of an object, to hear why it cannot be read.

    Raises:
        Exception: What the store's client raises, with the store's own words.
    """
    get_object_filesystem(url).cat_file(url, start=0, end=1)


def is_remote_url(url: str) -> bool:
    """Whether `url` is an `s3://` address; a path or a `file://` address is not.

    Raises:
        StoreError: For any other scheme, or without the name of a bucket.

    Example:
        >>> is_remote_url("s3://bucket/archive"), is_remote_url("/data/archive")
        (True, False)
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme == "file":
        return False
    if scheme == "s3":
        if not re.match(r"s3://[^/*?\[\]{}\s]+(/|$)", url):
            raise StoreError(
                f"{url}: names no bucket; give s3://BUCKET/PREFIX, where only the prefix may have a pattern."
            )
        return True
    raise StoreError(
        f"{url}: only folders and s3:// addresses are supported here, and gs:// and az:// for images. Copy the data to a "
        "folder, or reach the store by its S3 interface: an s3:// address, with AWS_ENDPOINT_URL set."
    )


def is_object_url(url: str) -> bool:
    """Whether `url` is the address of an object or a prefix that images are read from, in whatever store.

    Raises:
        StoreError: As `is_remote_url`.
    """
    if url.partition("://")[0] in OBJECT_SCHEMES and "://" in url:
        check_bucket_name(url)
        return True
    return is_remote_url(url)


def check_bucket_name(url: str) -> None:
    """Raises StoreError if the address of a prefix names no bucket."""
    scheme = url.partition("://")[0]
    if not re.match(rf"{scheme}://[^/*?\[\]{{}}\s]+(/|$)", url):
        raise StoreError(
            f"{url}: names no bucket; give {scheme}://BUCKET/PREFIX, where only the prefix may have a pattern."
        )


@dataclass(frozen=True, slots=True)
class Location:
    """A folder of named files: `url` is an absolute path or `s3://bucket/prefix`.

    Example:
        >>> Location.parse("s3://bucket/archive/") / "runs"
        Location(url='s3://bucket/archive/runs')
    """

    url: str

    @classmethod
    def parse(cls, url: str | os.PathLike[str]) -> "Location":
        """The location at `url`. A local path is made absolute."""
        text = os.fspath(url)
        if is_remote_url(text):
            return cls(text.rstrip("/"))
        return cls(os.path.abspath(text.removeprefix("file://")))

    def __truediv__(self, name: str) -> "Location":
        return Location(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "Location":
        """The folder or prefix that this is in: `out.parent.write(out.name, data)`."""
        return Location(self.url.rpartition("/")[0] or "/")

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store."""
        return is_remote_url(self.url)

    def _translate_errors(self, name: str) -> AbstractContextManager[None]:
        return translate_access_errors(self.url, partial(read_first_byte, f"{self.url}/{name}"))

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: If there is no such file.
            AccessError: If the store cannot be reached or refuses.
        """
        if self.is_remote:
            with self._translate_errors(name):
                data: bytes = get_s3_filesystem().cat_file(f"{self.url}/{name}")
            return data
        return Path(self.url, name).read_bytes()

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Create or replace a file, atomically.

        Args:
            name: The file.
            data: Its content.
            durable: Whether it is on the disk when this returns, and so before anything that is written later. False is
                for what can be made again or is only shown: after a power cut it may be empty.

        Raises:
            StoreError: If the disk is full or writing is not permitted.
            AccessError: If the store cannot be reached or refuses.
        """
        if self.is_remote:
            with self._translate_errors(name):
                get_s3_filesystem().pipe_file(f"{self.url}/{name}", data)
            return
        try:
            durable_files.write_file(Path(self.url, name), data, root=Path(self.url), durable=durable)
        except OSError as error:
            raise make_storage_error(self.url, error) from error

    def read_modification_time(self, name: str) -> float:
        """When a file was written, in seconds since 1970 by the clock of the store.

        Raises:
            FileNotFoundError: If there is no such file.
        """
        if self.is_remote:
            with self._translate_errors(name):
                return float(get_s3_filesystem().info(f"{self.url}/{name}")["LastModified"].timestamp())
        return Path(self.url, name).stat().st_mtime

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`; False for a folder."""
        if self.is_remote:
            try:
                with self._translate_errors(name):
                    return bool(get_s3_filesystem().info(f"{self.url}/{name}")["type"] == "file")
            except FileNotFoundError:
                return False  # any other error, such as wrong keys, does not mean that there is no such file
        return Path(self.url, name).is_file()

    def list_names(self, folder: str = "") -> list[str]:
        """Names of the files and folders directly in `folder`, sorted; empty if there is no such folder."""
        return [name for name in self._list_all_names(folder) if not name.endswith(CHECKSUM_SUFFIX)]

    def list_folders(self, folder: str) -> list[str]:
        """As `list_names`, of a folder that holds only folders: without hidden files, as desktops leave them."""
        return [name for name in self.list_names(folder) if not name.startswith(".")]

    def list_checked_names(self, folder: str = "") -> list[str]:
        """As `list_names`, with the files of which only the checksum is left: reading one raises DamageError."""
        return sorted({name.removesuffix(CHECKSUM_SUFFIX) for name in self._list_all_names(folder)})

    def list_tree(self) -> list[str]:
        """The names of all files in the folder and below it, sorted; checksums too."""
        if self.is_remote:
            with self._translate_errors(""):
                keys = get_s3_filesystem().find(self.url)
            prefix = f"{self.url.removeprefix('s3://')}/"
            return sorted(str(key).removeprefix(prefix) for key in keys)
        return sorted(
            os.path.relpath(os.path.join(folder, name), self.url).replace(os.sep, "/")
            for folder, _, names in os.walk(self.url)
            for name in names
            if not name.endswith(".partial")
        )

    def list_numbers(self, folder: str, suffix: str, *, with_lost: bool = False) -> list[int]:
        """The numbers of the files in `folder` that are named by one, such as 000012.json, ascending.

        with_lost: Also files of which only the checksum is left.
        """
        all_names = self.list_checked_names(folder) if with_lost else self.list_names(folder)
        names = [name.removesuffix(suffix) for name in all_names if name.endswith(suffix)]
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def _list_all_names(self, folder: str) -> list[str]:
        path = f"{self.url}/{folder}".rstrip("/")
        if self.is_remote:
            try:
                with self._translate_errors(folder):
                    keys = get_s3_filesystem().ls(path, detail=False)
            except FileNotFoundError:
                return []
            return sorted({str(key).rstrip("/").rpartition("/")[2] for key in keys} - {""})
        try:
            return sorted(name for name in os.listdir(path) if not name.endswith(".partial"))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def find_objects(self, folder: str) -> dict[str, dict[str, Any]]:
        """The objects below `folder` of a remote location: size, stamp and time by key; empty if there are none."""
        try:
            with self._translate_errors(folder):
                infos: dict[str, dict[str, Any]] = get_s3_filesystem().find(f"{self.url}/{folder}", detail=True)
        except FileNotFoundError:
            return {}
        return infos

    def remove(self, name: str) -> None:
        """Remove a file and its checksum, or a folder and all that is in it. Nothing happens if there is none."""
        # The checksum first: a file without one is no damage, if this is interrupted.
        if self.is_remote:
            with self._translate_errors(name):
                for path in (f"{self.url}/{name}{CHECKSUM_SUFFIX}", f"{self.url}/{name}"):
                    if get_s3_filesystem().exists(path):
                        get_s3_filesystem().rm(path, recursive=True)
        elif Path(self.url, name).is_dir():
            shutil.rmtree(Path(self.url, name), ignore_errors=True)
            durable_files.forget_folder(Path(self.url, name))
        else:
            Path(self.url, f"{name}{CHECKSUM_SUFFIX}").unlink(missing_ok=True)
            Path(self.url, name).unlink(missing_ok=True)

    def read_checked(self, name: str) -> bytes:
        """As `read`, of a file that has a checksum if `write_checked` wrote it.

        Raises:
            FileNotFoundError: If there is no such file, and there never was one.
            DamageError: If its content is not what was written, or if it was lost.
        """
        return read_until_consistent(self.url, name, lambda: self._read_with_checksum(name))

    def write_checked(self, name: str, data: bytes) -> None:
        """As `write`, with a checksum: for what is read again. See `interpdisc_core.storage.checksums` for the order."""
        new_digest, before = digest_bytes(data), self._read_checksum(name)
        if before and new_digest not in before:
            self.write(f"{name}{CHECKSUM_SUFFIX}", format_checksum(name, before | {new_digest}))
        self.write(name, data)
        now = self._read_checksum(name)
        # Another worker may have written the same file meanwhile: its content is as right as this one.
        wanted = (now - before) | {new_digest}
        if now != wanted:
            self.write(f"{name}{CHECKSUM_SUFFIX}", format_checksum(name, wanted), durable=False)

    def _read_checksum(self, name: str) -> set[str]:
        """The digests in the checksum of a file; none if it has no checksum, or a damaged one."""
        try:
            return parse_checksum(name, self.read(f"{name}{CHECKSUM_SUFFIX}"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return set()

    def _read_with_checksum(self, name: str) -> tuple[bytes | None, bytes | None]:
        """The content of a file and of its checksum; None for one that does not exist."""
        names = (name, f"{name}{CHECKSUM_SUFFIX}")
        if not self.is_remote:
            pair = [_read_if_exists(Path(self.url, part)) for part in names]
            return pair[0], pair[1]
        from fsspec.asyn import sync

        filesystem = get_s3_filesystem()

        async def read_both() -> list[bytes | BaseException]:
            reads = (filesystem._cat_file(f"{self.url}/{part}") for part in names)
            answers: list[bytes | BaseException] = await asyncio.gather(*reads, return_exceptions=True)
            return answers

        with self._translate_errors(name):
            answers = sync(filesystem.loop, read_both)
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, FileNotFoundError):
                    raise answer
        contents = [answer if isinstance(answer, bytes) else None for answer in answers]
        return contents[0], contents[1]

    def read_json(self, name: str) -> Any:
        """The value of a JSON file.

        Raises:
            FileNotFoundError: If there is no such file.
            DamageError: If it is not JSON.
        """
        return self._parse_json(name, self.read(name))

    def read_checked_json(self, name: str) -> Any:
        """As `read_json`, of a file that has a checksum if `write_checked_json` wrote it; raises as `read_checked`."""
        return self._parse_json(name, self.read_checked(name))

    def _parse_json(self, name: str, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DamageError(f"{self.url}/{name} is damaged: it is not JSON ({error}).") from error

    def write_json(self, name: str, value: Any, *, durable: bool = True) -> None:
        """Write a value as indented JSON with sorted keys; see `write`."""
        self.write(name, encode_json(value), durable=durable)

    def write_checked_json(self, name: str, value: Any) -> None:
        """As `write_json`, with a checksum; see `write_checked`."""
        self.write_checked(name, encode_json(value))


def encode_json(value: Any) -> bytes:
    """A value as a file of indented JSON with sorted keys."""
    try:
        data = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a local path that is not UTF-8
        data = json.dumps(value, indent=1, sort_keys=True).encode()
    return data + b"\n"


def _read_if_exists(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def make_storage_error(context: str, error: OSError) -> StoreError:
    """The error for a write that failed. context: what could not be written, such as a URL."""
    if fault := classify_store_error(error):
        return AccessError(f"{context}: {fault.reason}.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{context}: the disk is full; free some space and run the same command again.")
    if isinstance(error, PermissionError):
        return StoreError(f"{context}: no permission to write there.")
    return StoreError(f"{context}: cannot be written: {error}.")


class translate_write_errors:
    """Turn an OSError, or what a store raised, into a StoreError that names what was written: `with translate_write_errors(url): …`."""

    def __init__(self, context: str) -> None:
        self.context = context

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise make_storage_error(self.context, error) from error
        if error is not None and (fault := classify_store_error(error)):
            raise AccessError(f"{self.context}: {fault.reason}.") from error
