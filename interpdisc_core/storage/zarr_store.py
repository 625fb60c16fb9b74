"""Where a Zarr array is kept: in a local folder every chunk is durable before its write returns."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.common import AccessModeLiteral
from zarr.storage import FsspecStore, LocalStore

from interpdisc_core.errors import AccessError, DamageError, InterpdiscError, one_line
from interpdisc_core.storage import durable_files
from interpdisc_core.storage.access_errors import classify_store_error
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.remote_files import get_s3_filesystem


class DurableLocalStore(LocalStore):
    """Zarr's store of a local folder, whose files survive a power cut as those of `Location.write` do."""

    async def _open(self, *, mode: AccessModeLiteral | None = None) -> None:
        await Store._open(self)  # without making the folder: the first write does

    def _ensure_open_sync(self) -> None:
        self._is_open = True

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        await asyncio.to_thread(self._write, key, value, exclusive)

    def set_sync(self, key: str, value: Buffer) -> None:
        """See `zarr.storage.LocalStore.set_sync`."""
        self._write(key, value)

    def _write(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        self._check_writable()
        data = memoryview(value.as_buffer_like()).cast("B")
        durable_files.write_file(self.root / key, data, root=self.root.parent, exclusive=exclusive)

    async def delete_dir(self, prefix: str) -> None:
        """See `zarr.abc.store.Store.delete_dir`."""
        await super().delete_dir(prefix)
        durable_files.forget_folder(self.root / prefix)

    async def delete(self, key: str) -> None:
        """See `zarr.abc.store.Store.delete`."""
        await super().delete(key)
        durable_files.forget_folder(self.root / key)


def get_zarr_store(location: Location, name: str = "") -> dict[str, Any]:
    """The argument `store` of Zarr's functions for the array `name` in a folder, or the folder itself.

    Listings are not cached, since other workers write at the same time.
    """
    url = f"{location.url}/{name}" if name else location.url
    if location.is_remote:  # not by its address: then a name with `::`, `#` or a pattern would mean something else
        return {"store": FsspecStore(get_s3_filesystem(asynchronous=True), path=url.removeprefix("s3://"))}
    return {"store": DurableLocalStore(Path(url))}


@contextlib.contextmanager
def translate_array_errors(address: str) -> Iterator[None]:
    """Turn whatever Zarr and its codecs raise when they read an array into an error that names it.

    Raises:
        AccessError: If the store cannot be reached or refuses.
        DamageError: Else.
    """
    try:
        yield
    except InterpdiscError:
        raise
    except Exception as error:
        if fault := classify_store_error(error):
            raise AccessError(f"{address}: {fault.reason}.") from error
        raise DamageError(
            f"{address} is damaged or missing: {one_line(error)}; `interpdisc repair` of its archive says what can be done."
        ) from error
