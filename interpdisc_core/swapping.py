"""Compare and swap: a small file that only those replace who know what is in it, in a folder or in S3.

S3 does it in one request (`If-None-Match`, `If-Match`); a store that does not know these replaces it unasked. In a folder
it is a look and an atomic rename, so who swaps there holds a lock of the system besides.
"""

import errno
from typing import Any, NamedTuple, Protocol

from interpdisc_core import digest
from interpdisc_core.errors import StoreError
from interpdisc_core.storage import Place, s3_filesystem, storage_failure


class Found(NamedTuple):
    """The bytes that are there and what names this version of them."""

    data: bytes
    version: str


class Slot(Protocol):
    """Where the file is."""

    def read(self) -> Found | None:
        """What is there, or None. Raises StoreError where that cannot be told."""
        ...

    def swap(self, data: bytes, version: str | None) -> str | None:
        """Put `data` where `version` still is (None: nothing at all); its own version, or None where something else is.

        Raises StoreError where it cannot be written; then it may or may not be there.
        """
        ...


class FileSlot:
    """A file of a local folder."""

    def __init__(self, place: Place, name: str) -> None:
        self.place, self.name = place, name

    def read(self) -> Found | None:
        """See `Slot`."""
        try:
            data = self.place.read(self.name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.place.url}/{self.name}: cannot be read: {error}.") from error
        return Found(data, digest.of_bytes(data))

    def swap(self, data: bytes, version: str | None) -> str | None:
        """See `Slot`."""
        found = self.read()
        if (found.version if found else None) != version:
            return None
        self.place.write(self.name, data)
        return digest.of_bytes(data)


class ObjectSlot:
    """An object of an S3 store."""

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.bucket, self.key, _ = s3_filesystem().split_path(f"{place.url}/{name}")

    def read(self) -> Found | None:
        """See `Slot`."""
        from fsspec.asyn import sync

        async def got(files: Any) -> Found:
            answer = await files._call_s3("get_object", Bucket=self.bucket, Key=self.key)
            async with answer["Body"] as body:
                return Found(await body.read(), answer["ETag"])

        try:
            files = s3_filesystem()
            found: Found = sync(files.loop, got, files)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(error) from error
        return found

    def swap(self, data: bytes, version: str | None) -> str | None:
        """See `Slot`."""
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            return self._put(data, condition)
        except Exception as error:
            if _code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409"):
                return None
            if version is not None and isinstance(error, FileNotFoundError):
                return None  # what was there is gone
            if isinstance(error, OSError) and error.errno == errno.ENOSYS:
                return self._put(data, {})
            raise self._failure(error) from error

    def _put(self, data: bytes, condition: dict[str, str]) -> str:
        answer = s3_filesystem().call_s3("put_object", Bucket=self.bucket, Key=self.key, Body=data, **condition)
        return str(answer["ETag"])

    def _failure(self, error: Exception) -> StoreError:
        if isinstance(error, OSError):
            return storage_failure(self.place.url, error)
        return StoreError(f"{self.place.url}: cannot be reached: {error}.")


def slot(place: Place, name: str) -> Slot:
    """The file `name` of a place."""
    return ObjectSlot(place, name) if place.remote else FileSlot(place, name)


def _code(error: BaseException) -> str:
    """What S3 called an error, or nothing."""
    told = getattr(error.__cause__, "response", None) or {}
    return str(told.get("Error", {}).get("Code", ""))
