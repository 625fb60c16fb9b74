"""The one module that knows how features lie in an archive.

    batches/<batch>.parquet                    which image each row is (key, uri, sha256), fixed for ever
    features/<name>/spec.json                  the representation
    features/<name>/<batch>/values             Zarr (rows, d), one chunk a block, NaN where there is no vector
    features/<name>/<batch>/records/<block>    written after a block's values: rows, hash, failures, what computed it

A block is the unit of work and of writing, so no two tasks share a chunk. A batch never grows: later images are
another batch. A block without its record does not count as there; writing it again writes the same bytes.

A store is of one type. `<name>` is the representation's digest where values are float32; where they are rounded to
float16, as a large archive's are, `-float16` follows it. So no model ever holds both without being told to.
"""

import contextlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

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
Stored = Literal["float32", "float16"]
"""What values are kept as; they are read as float32 in any case."""
_READERS = 8
_HALF = "-float16"


class Block(NamedTuple):
    """One unit of extraction: the `number`-th block of a batch."""

    batch: int
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """That a block is there. rows: [start, stop) in the batch. sha256: of its values. failed, artefacts: row -> reason."""

    rows: tuple[int, int]
    sha256: str
    failed: dict[str, str]
    runtime: str
    artefacts: dict[str, str] = field(default_factory=dict)


def batches(archive: Place) -> list[int]:
    """The numbers of the archive's batches, rising."""
    return [int(name.removesuffix(".parquet")) for name in archive.names("batches")]


_ROWS = pa.schema([(name, pa.string()) for name in ("key", "uri", "sha256")])


def write_batch(archive: Place, number: int, entries: list[catalog.Entry], block: int) -> None:
    """Fix the rows of a new batch: `entries` in row order, `block` rows a unit of work."""
    table = pa.table({name: [getattr(entry, name) for entry in entries] for name in _ROWS.names}, schema=_ROWS)
    write_rows(archive, number, table, block)


def write_rows(archive: Place, number: int, table: pa.Table, block: int) -> None:
    """As `write_batch`, of a table that has the columns key, uri and sha256."""
    told = table.select(_ROWS.names).cast(_ROWS).combine_chunks().replace_schema_metadata({"block": str(block)})
    archive.write(f"batches/{number:06d}.parquet", catalog.parquet(told))


def reserve(archive: Place, number: int) -> None:
    """See to it that no other batch is given `number` or one before it: a batch without rows holds its place."""
    if not archive.exists(f"batches/{number:06d}.parquet"):
        write_rows(archive, number, _ROWS.empty_table(), 1)


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


def store_name(representation: str, dtype: Stored) -> str:
    """What the features of a representation, named by its digest, are called in an archive."""
    return representation + _HALF if dtype == "float16" else representation


def representation_of(name: str) -> str:
    """The digest of the representation whose features are called `name`, whatever they are kept as."""
    return name.removesuffix(_HALF)


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """The features of one representation in one archive; for `name` see `store_name`."""

    archive: Place
    name: str

    @property
    def dtype(self) -> Stored:
        """What its values are kept as."""
        return "float16" if self.name.endswith(_HALF) else "float32"

    def _place(self, batch: int) -> Place:
        return self.archive / f"features/{self.name}/{batch:06d}"

    def describe(self, settings: Any) -> None:
        """Keep the representation's settings beside its features."""
        self.archive.write_json(f"features/{self.name}/spec.json", asdict(settings))

    def create(self, batch: Batch, dimension: int) -> None:
        """Make the batch's array where there is none. Safe to call from many workers at once."""
        self._make(batch.number, len(batch.table), batch.block, dimension)

    def _make(self, batch: int, rows: int, block: int, dimension: int) -> None:
        # Another worker may make it between our look and our writing: it is the same array.
        with storing(self.archive.url), contextlib.suppress(ContainsArrayError):
            place = self._place(batch)
            if place.exists("values/zarr.json"):
                return
            zarr.create_array(
                store=f"{place.url}/values",
                shape=(rows, dimension),
                chunks=(block, dimension),
                dtype=self.dtype,
                fill_value=float("nan"),
                serializer=BytesCodec(endian="little"),
                compressors=[Crc32cCodec()],
                # A block in which nothing could be read is NaN all over and must still be there.
                config={"write_empty_chunks": True},
                overwrite=False,
                storage_options=zarr_options(self.archive),
            )

    def write(
        self, batch: Batch, number: int, values: Values, failed: dict[int, str], runtime: str,
        artefacts: dict[int, str] | None = None,
    ) -> Record:  # fmt: skip
        """Put a block's values (rows, d) and then its record. Raises StoreError for values that float16 cannot hold."""
        start, stop = batch.rows(number)
        if values.shape[0] != stop - start:
            raise ValueError(f"block {number} has {stop - start} rows, not {values.shape[0]}")
        stored = self._stored(values)
        with storing(self.archive.url):
            self._open(batch.number)[start:stop] = stored
        record = Record(
            (start, stop), digest.of_array(stored), {str(row): why for row, why in sorted(failed.items())}, runtime,
            {str(row): why for row, why in sorted((artefacts or {}).items())},
        )  # fmt: skip
        self.complete(batch.number, number, record)
        return record

    def put(self, batch: int, start: int, values: Values, block: int) -> str:
        """Put a block's values (rows, d) from row `start` of a batch whose rows are not fixed yet; returns their hash.

        The array is made, or made longer, as that needs; `fix` and `complete` make it count. Raises StoreError for
        values that float16 cannot hold.
        """
        stored, stop = self._stored(values), start + len(values)
        self._make(batch, stop, block, values.shape[1])
        with storing(self.archive.url):
            array = self._open(batch)
            if array.shape[0] < stop:
                array.resize((stop, array.shape[1]))
            array[start:stop] = stored
        return digest.of_array(stored)

    def fix(self, batch: int, rows: int, blocks: int) -> None:
        """A batch that was `put` has `rows` rows in `blocks` blocks: what an earlier try left behind them goes."""
        with storing(self.archive.url):
            if self._place(batch).exists("values/zarr.json") and (array := self._open(batch)).shape[0] != rows:
                array.resize((rows, array.shape[1]))
            for number in self.done(batch):
                if number >= blocks:
                    self._place(batch).remove(f"records/{number:06d}.json")

    def complete(self, batch: int, number: int, record: Record) -> None:
        """Say that a block is there, after its values."""
        self._place(batch).write_json(f"records/{number:06d}.json", asdict(record))

    def _stored(self, values: Values) -> npt.NDArray[Any]:
        """Values as they are kept."""
        if self.dtype == "float32":
            return values
        with np.errstate(over="ignore"):
            stored = values.astype(np.float16)
        if (lost := np.isinf(stored) & np.isfinite(values)).any():
            raise StoreError(
                f"features/{self.name}: {values[lost][0]:.6g} is beyond what float16 holds (65,504); "
                "keep this representation's features as float32."
            )
        return stored

    def done(self, batch: int) -> set[int]:
        """The blocks of a batch that are complete."""
        return {int(name.removesuffix(".json")) for name in self._place(batch).names("records")}

    def record(self, block: Block) -> Record:
        """The record of a complete block."""
        name = f"records/{block.number:06d}.json"
        value = self._place(block.batch).read_json(name)
        try:
            return Record(
                tuple(value["rows"]), value["sha256"], value["failed"], value["runtime"], value.get("artefacts", {})
            )
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
        held = digest.of_array(values.astype(self.dtype, copy=False)) == record.sha256
        return None if held else f"{where}: its hash does not hold"

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
