"""Compare and swap: a small file is replaced only if it is still the version that the writer has read.

S3 does it in one request (`If-None-Match`, `If-Match`); a store that ignores these headers always replaces the file. In
a local folder it is a read and an atomic rename, so the caller must hold a lock of the operating system as well.
"""

import errno
from typing import Any, NamedTuple, Protocol

from interpdisc_core import digest
from interpdisc_core.errors import AccessError, StoreError
from interpdisc_core.storage.access_errors import classify_store_error, read_error_code
from interpdisc_core.storage.location import Location, make_storage_error
from interpdisc_core.storage.remote_files import get_s3_filesystem


class Versioned(NamedTuple):
    """The content of a file, and an identifier of this version of it."""

    data: bytes
    version: str


class VersionedFile(Protocol):
    """A file that can be compared and swapped."""

    def read(self) -> Versioned | None:
        """The file's content, or None if there is no file.

        Raises:
            StoreError: If it cannot be read.
        """
        ...

    def swap(self, data: bytes, version: str | None) -> str | None:
        """Replace the file by `data` if its version is still `version`.

        Args:
            data: The new content.
            version: The version that is to be replaced; None: the file must not exist.

        Returns:
            The new version, or None if the file has another version and was not replaced.

        Raises:
            StoreError: If it cannot be written. The file may have been replaced nevertheless.
        """
        ...


class LocalVersionedFile:
    """A file of a local folder."""

    def __init__(self, location: Location, name: str) -> None:
        self.location, self.name = location, name

    def read(self) -> Versioned | None:
        """See `VersionedFile`."""
        try:
            data = self.location.read(self.name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.location.url}/{self.name}: cannot be read: {error}.") from error
        return Versioned(data, digest.digest_bytes(data))

    def swap(self, data: bytes, version: str | None) -> str | None:
        """See `VersionedFile`."""
        current = self.read()
        if (current.version if current else None) != version:
            return None
        self.location.write(self.name, data)
        return digest.digest_bytes(data)


class S3VersionedFile:
    """An object of an S3 store."""

    def __init__(self, location: Location, name: str) -> None:
        self.location = location
        self.bucket, self.key, _ = get_s3_filesystem().split_path(f"{location.url}/{name}")

    def read(self) -> Versioned | None:
        """See `VersionedFile`."""
        from fsspec.asyn import sync

        async def fetch_object(filesystem: Any) -> Versioned:
            response = await filesystem._call_s3("get_object", Bucket=self.bucket, Key=self.key)
            async with response["Body"] as body:
                return Versioned(await body.read(), response["ETag"])

        try:
            filesystem = get_s3_filesystem()
            current: Versioned = sync(filesystem.loop, fetch_object, filesystem)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._make_error(error) from error
        return current

    def swap(self, data: bytes, version: str | None) -> str | None:
        """See `VersionedFile`."""
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            return self._put(data, condition)
        except Exception as error:
            if error.__cause__ and read_error_code(error.__cause__) in (
                "PreconditionFailed",
                "412",
                "ConditionalRequestConflict",
                "409",
            ):
                return None
            if version is not None and isinstance(error, FileNotFoundError):
                return None  # the file was removed
            if isinstance(error, OSError) and error.errno == errno.ENOSYS:
                return self._put(data, {})
            raise self._make_error(error) from error

    def _put(self, data: bytes, condition: dict[str, str]) -> str:
        response = get_s3_filesystem().call_s3("put_object", Bucket=self.bucket, Key=self.key, Body=data, **condition)
        return str(response["ETag"])

    def _make_error(self, error: Exception) -> StoreError:
        if fault := classify_store_error(error):
            return AccessError(f"{self.location.url}: {fault.reason}.")
        if isinstance(error, OSError):
            return make_storage_error(self.location.url, error)
        return StoreError(f"{self.location.url}: cannot be reached: {error}.")


def open_versioned_file(location: Location, name: str) -> VersionedFile:
    """The file `name` of a location."""
    return S3VersionedFile(location, name) if location.is_remote else LocalVersionedFile(location, name)
