"""The one module that knows how features lie in an archive.

    batches/<batch>.parquet                    which image each row is (key, uri, sha256), fixed for ever
    features/<name>/spec.json                  the representation
    features/<name>/<batch>/values             Zarr (rows, d) float32, one chunk a block, NaN where there is no vector
    features/<name>/<batch>/records/<block>    written after a block's values: rows, hash, failures, what computed it

A block is the unit of work and of writing, so no two tasks share a chunk. A batch never grows: later images are
another batch. A block without its record does not count as there; writing it again writes the same bytes.
"""

import contextlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.errors import ContainsArrayError

from interpdisc_core import catalog, digest
from interpdisc_core.errors import StoreError
from interpdisc_core.selectors.rows import ChunkedRows
from interpdisc_core.storage import Place, storage_failure

Values = npt.NDArray[np.float32]
_READERS = 8


class Block(NamedTuple):
    """One unit of extraction: the `number`-th block of a batch."""

    batch: int
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """That a block is there. rows: [start, stop) in the batch. sha256: of its values. failed: row -> reason."""

    rows: tuple[int, int]
    sha256: str
    failed: dict[str, str]
    runtime: str


def batches(archive: Place) -> list[int]:
    """The numbers of the archive's batches, rising."""
    return [int(name.removesuffix(".parquet")) for name in archive.names("batches")]


def write_batch(archive: Place, number: int, entries: list[catalog.Entry], block: int) -> None:
    """Fix the rows of a new batch: `entries` in row order, `block` rows a unit of work."""
    table = pa.table({name: [getattr(entry, name) for entry in entries] for name in ("key", "uri", "sha256")})
    archive.write(
        f"batches/{number:06d}.parquet", catalog.parquet(table.replace_schema_metadata({"block": str(block)}))
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Which image each row of a batch is."""

    number: int
    block: int
    table: pa.Table

    @classmethod
    def read(cls, archive: Place, number: int) -> "Batch":
        """Raises StoreError where the batch is missing or damaged."""
        try:
            table = catalog.table_of(archive, f"batches/{number:06d}.parquet")
        except FileNotFoundError:
            raise StoreError(f"{archive.url} has no batch {number}: its catalog and its batches disagree.") from None
        return cls(number, int((table.schema.metadata or {})[b"block"]), table)

    @property
    def blocks(self) -> int:
        """How many blocks it has."""
        return math.ceil(len(self.table) / self.block)

    def rows(self, number: int) -> tuple[int, int]:
        """[start, stop) of a block."""
        return number * self.block, min((number + 1) * self.block, len(self.table))


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """The features of one representation in one archive; `name` is the representation's digest."""

    archive: Place
    name: str

    def _place(self, batch: int) -> Place:
        return self.archive / f"features/{self.name}/{batch:06d}"

    def describe(self, settings: Any) -> None:
        """Keep the representation's settings beside its features."""
        self.archive.write_json(f"features/{self.name}/spec.json", asdict(settings))

    def create(self, batch: Batch, dimension: int) -> None:
        """Make the batch's array where there is none. Safe to call from many workers at once."""
        # Another worker may make it between our look and our writing: it is the same array.
        with storing(self.archive.url), contextlib.suppress(ContainsArrayError):
            place = self._place(batch.number)
            if place.exists("values/zarr.json"):
                return
            zarr.create_array(
                store=f"{place.url}/values",
                shape=(len(batch.table), dimension),
                chunks=(batch.block, dimension),
                dtype="float32",
                fill_value=float("nan"),
                serializer=BytesCodec(endian="little"),
                compressors=[Crc32cCodec()],
                # A block in which nothing could be read is NaN all over and must still be there.
                config={"write_empty_chunks": True},
                overwrite=False,
                storage_options=zarr_options(self.archive),
            )

    def write(self, batch: Batch, number: int, values: Values, failed: dict[int, str], runtime: str) -> Record:
        """Put a block's values (rows, d) and then its record."""
        start, stop = batch.rows(number)
        if values.shape[0] != stop - start:
            raise ValueError(f"block {number} has {stop - start} rows, not {values.shape[0]}")
        with storing(self.archive.url):
            self._open(batch.number)[start:stop] = values
        record = Record(
            (start, stop), digest.of_array(values), {str(row): why for row, why in sorted(failed.items())}, runtime
        )
        self._place(batch.number).write_json(f"records/{number:06d}.json", asdict(record))
        return record

    def done(self, batch: int) -> set[int]:
        """The blocks of a batch that are complete."""
        return {int(name.removesuffix(".json")) for name in self._place(batch).names("records")}

    def record(self, block: Block) -> Record:
        """The record of a complete block."""
        name = f"records/{block.number:06d}.json"
        value = self._place(block.batch).read_json(name)
        try:
            return Record(tuple(value["rows"]), value["sha256"], value["failed"], value["runtime"])
        except (KeyError, TypeError) as error:
            raise StoreError(f"{self._place(block.batch).url}/{name} is damaged: it is not a record.") from error

    def read(self, batch: Batch, number: int) -> Values:
        """A block's values (rows, d) float32."""
        start, stop = batch.rows(number)
        return np.asarray(self._open(batch.number)[start:stop], dtype=np.float32)

    def dimension(self, batch: int) -> int:
        """d, of a batch of which something is extracted."""
        return int(self._open(batch).shape[1])

    def fault(self, batch: Batch, number: int) -> str | None:
        """What is wrong with a complete block, or None: its chunk is missing, or its hash does not hold."""
        where = f"features/{self.name}/{batch.number:06d}, block {number}"
        try:
            record = self.record(Block(batch.number, number))
        except StoreError as error:
            return str(error)
        if tuple(record.rows) != batch.rows(number):
            return f"{where}: its record speaks of other rows than the batch"
        if not self._place(batch.number).exists(f"values/c/{number}/0"):
            return f"{where}: its chunk is missing"
        try:
            values = self.read(batch, number)
        except Exception as error:  # noqa: BLE001 - whatever a codec raises, the block is at fault
            return f"{where}: cannot be read ({error})"
        return None if digest.of_array(values) == record.sha256 else f"{where}: its hash does not hold"

    def _open(self, batch: int) -> "zarr.Array[Any]":
        return zarr.open_array(
            store=f"{self._place(batch).url}/values",
            mode="r+",
            storage_options=zarr_options(self.archive),
        ).with_config({"write_empty_chunks": True})  # to `open_array` it means nothing


def gather(store: FeatureStore, places: list[tuple[int, int]]) -> Values:
    """Rows by (batch, row), in the order asked for: (n, d) float32, NaN where there is no vector.

    Raises StoreError where a block is not complete.
    """
    wanted: dict[Block, list[tuple[int, int]]] = {}
    known: dict[int, Batch] = {}
    for position, (batch, row) in enumerate(places):
        known.setdefault(batch, Batch.read(store.archive, batch)) if batch not in known else None
        wanted.setdefault(Block(batch, row // known[batch].block), []).append((position, row))
    done = {batch: store.done(batch) for batch in known}
    result: Values | None = None
    for block, rows in sorted(wanted.items()):
        if block.number not in done[block.batch]:
            raise StoreError(f"{store.archive.url}: block {block.number} of batch {block.batch} is not extracted yet.")
        values = whole(store, known[block.batch], block.number)
        if result is None:
            result = np.full((len(places), values.shape[1]), np.nan, dtype=np.float32)
        start = known[block.batch].rows(block.number)[0]
        positions, numbers = zip(*rows, strict=True)
        result[list(positions)] = values[np.array(numbers) - start]
    return np.empty((0, 0), dtype=np.float32) if result is None else result


def rows_of(store: FeatureStore, places: Sequence[tuple[int, int]]) -> tuple[ChunkedRows, npt.NDArray[np.bool_]]:
    """Rows by (batch, row), in the order asked for, read when they are needed; and which of them have a vector (n,).

    Only those that have are among the rows. Raises StoreError where a block is not complete.
    """
    known = {batch: Batch.read(store.archive, batch) for batch in sorted({batch for batch, _ in places})}
    block_of = [Block(batch, row // known[batch].block) for batch, row in places]
    wanted = sorted(set(block_of))
    done = {batch: store.done(batch) for batch in known}
    for block in wanted:
        if block.number not in done[block.batch]:
            raise StoreError(f"{store.archive.url}: block {block.number} of batch {block.batch} is not extracted yet.")
    with ThreadPoolExecutor(_READERS) as pool:
        records = dict(zip(wanted, pool.map(store.record, wanted), strict=True))
    there = np.array(
        [str(row) not in records[block].failed for (_, row), block in zip(places, block_of, strict=True)], dtype=bool
    )
    number = {block: place for place, block in enumerate(wanted)}
    kept = [(block, row - records[block].rows[0]) for (_, row), block in zip(places, block_of, strict=True)]
    kept = [place for place, is_there in zip(kept, there, strict=True) if is_there]
    dimension = store.dimension(wanted[0].batch) if wanted else 0
    rows = ChunkedRows(
        dimension,
        np.dtype(np.float32),
        np.array([number[block] for block, _ in kept], dtype=np.intp),
        np.array([row for _, row in kept], dtype=np.intp),
        lambda place: whole(store, known[wanted[place].batch], wanted[place].number),
    )
    return rows, there


def whole(store: FeatureStore, batch: Batch, number: int) -> Values:
    """A block's values (rows, d), NaN where the record says that there is no vector.

    Raises StoreError where it cannot be read, or has lost a vector.
    """
    where = f"{store.archive.url}: block {number} of batch {batch.number} of features/{store.name}"
    try:
        values = store.read(batch, number)
    except Exception as error:
        raise StoreError(f"{where} cannot be read: {error}.") from error
    absent = set((np.flatnonzero(np.isnan(values).any(axis=1)) + batch.rows(number)[0]).tolist())
    if absent and absent != {int(row) for row in store.record(Block(batch.number, number)).failed}:
        raise StoreError(f"{where} is damaged: it has lost vectors; `interpdisc verify` says more.")
    return values


def zarr_options(place: Place) -> dict[str, Any] | None:
    """How Zarr opens a store at `place`: listings are not cached, since other workers write while we look."""
    return {"use_listings_cache": False} if place.remote else None


class storing:
    """Turns a failure to write into a sentence: `with storing(url): …`."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise storage_failure(self.where, error) from error
