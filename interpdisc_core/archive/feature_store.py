"""How features are stored in an archive.

    batches/<batch>.parquet                    which image each row is (key, uri, sha256); never changed
    features/<name>/spec.json                  settings of the representation
    features/<name>/<batch>/values             Zarr (rows, d), one chunk per block, NaN in rows without a vector
    features/<name>/<batch>/records/<block>    written after a block's values: rows, hash, failures, what computed it

A block is the unit of work and of writing, so no two tasks share a chunk. A batch never grows: later images are another
batch. A block without its record does not count; writing it again writes the same bytes.

A store has one type. `<name>` is the representation's digest if values are float32, and the digest with `-float16` if
they are rounded to float16, as for large archives. So no model mixes the two.
"""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.errors import ContainsArrayError

from interpdisc_core import digest
from interpdisc_core._types import Float32Array
from interpdisc_core.archive.batches import Batch, BlockId
from interpdisc_core.errors import DamageError, StoreError
from interpdisc_core.selectors.rows import ChunkedRows
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location, translate_write_errors
from interpdisc_core.storage.zarr_store import get_zarr_store, translate_array_errors

StoredDtype = Literal["float32", "float16"]
"""The type in the store. Values are always read as float32."""
_RECORD_READERS = 8
_FLOAT16_SUFFIX = "-float16"


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """The record of a complete block.

    Attributes:
        rows: [start, stop) in the batch.
        sha256: Of its values as stored.
        failed: Reason by row, for images without a vector.
        runtime: What computed it.
        artefacts: Reason by row, for images that are artefacts of the camera or the transmission.
    """

    rows: tuple[int, int]
    sha256: str
    failed: dict[str, str]
    runtime: str
    artefacts: dict[str, str] = field(default_factory=dict)


def format_store_name(representation: str, dtype: StoredDtype) -> str:
    """The name of a feature store.

    Args:
        representation: Digest of the representation.
        dtype: Type of the stored values.

    Example:
        >>> format_store_name("79dd752098ae", "float16")
        '79dd752098ae-float16'
    """
    return representation + _FLOAT16_SUFFIX if dtype == "float16" else representation


def parse_store_name(name: str) -> str:
    """The digest of the representation in the name of a feature store."""
    return name.removesuffix(_FLOAT16_SUFFIX)


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """The features of one representation in one archive; for `name` see `format_store_name`."""

    archive: Location
    name: str

    @property
    def dtype(self) -> StoredDtype:
        """The type of its stored values."""
        return "float16" if self.name.endswith(_FLOAT16_SUFFIX) else "float32"

    def _batch_location(self, batch: int) -> Location:
        return self.archive / f"features/{self.name}/{batch:06d}"

    def write_spec(self, settings: Any) -> None:
        """Write the representation's settings."""
        self.archive.write_checked_json(f"features/{self.name}/spec.json", asdict(settings))

    def create_array(self, batch: Batch, dimension: int) -> None:
        """Create the batch's array if it is missing. Many workers may call this at once."""
        self._create_array_if_missing(batch.number, len(batch.table), batch.block_size, dimension)

    def _create_array_if_missing(self, batch: int, rows: int, block_size: int, dimension: int) -> None:
        # Another worker may create it after our check: it is the same array.
        with translate_write_errors(self.archive.url), contextlib.suppress(ContainsArrayError):
            location = self._batch_location(batch)
            if location.exists("values/zarr.json"):
                return
            zarr.create_array(
                **get_zarr_store(location, "values"),
                shape=(rows, dimension),
                chunks=(block_size, dimension),
                dtype=self.dtype,
                fill_value=float("nan"),
                serializer=BytesCodec(endian="little"),
                compressors=[Crc32cCodec()],
                # A block without any vector is NaN only, and must be stored nevertheless.
                config={"write_empty_chunks": True},
                overwrite=False,
            )

    def write(
        self,
        batch: Batch,
        number: int,
        values: Float32Array,
        failures: dict[int, str],
        runtime: str,
        artefacts: dict[int, str] | None = None,
    ) -> BlockRecord:
        """Write a block's values, and then its record.

        Args:
            batch: The batch.
            number: The block.
            values: (rows, d) float32, NaN in rows without a vector.
            failures: Reason by row of the batch, for images without a vector.
            runtime: What computed them.
            artefacts: Reason by row of the batch, for artefacts.

        Raises:
            StoreError: If float16 cannot hold the values, or if they cannot be written.
        """
        start, stop = batch.row_range(number)
        if values.shape[0] != stop - start:
            raise ValueError(f"block {number} has {stop - start} rows, not {values.shape[0]}")
        stored_values = self._to_stored_dtype(values)
        with translate_write_errors(self.archive.url):
            self._open_array(batch.number)[start:stop] = stored_values
        record = BlockRecord(
            (start, stop),
            digest.digest_array(stored_values),
            {str(row): why for row, why in sorted(failures.items())},
            runtime,
            {str(row): why for row, why in sorted((artefacts or {}).items())},
        )
        self.mark_complete(batch.number, number, record)
        return record

    def append_block(self, batch: int, start: int, values: Float32Array, block_size: int) -> str:
        """Write values from row `start` on of a batch that is not written yet.

        The array is created or made longer as needed. The block counts only after `write_batch` and `mark_complete`.

        Args:
            batch: Number of the batch.
            start: First row.
            values: (rows, d) float32.
            block_size: Rows of a block.

        Returns:
            The hash of the values as stored.

        Raises:
            StoreError: If float16 cannot hold the values, or if they cannot be written.
        """
        stored_values, stop = self._to_stored_dtype(values), start + len(values)
        self._create_array_if_missing(batch, stop, block_size, values.shape[1])
        with translate_write_errors(self.archive.url):
            array = self._open_array(batch)
            if array.shape[0] < stop:
                array.resize((stop, array.shape[1]))
            array[start:stop] = stored_values
        return digest.digest_array(stored_values)

    def truncate(self, batch: int, rows: int, blocks: int) -> None:
        """Cut an appended batch to `rows` rows in `blocks` blocks: an earlier try may have left more."""
        with translate_write_errors(self.archive.url):
            if (
                self._batch_location(batch).exists("values/zarr.json")
                and (array := self._open_array(batch)).shape[0] != rows
            ):
                array.resize((rows, array.shape[1]))
            for number in self.list_complete_blocks(batch):
                if number >= blocks:
                    self._batch_location(batch).remove(f"records/{number:06d}.json")

    def mark_complete(self, batch: int, number: int, record: BlockRecord) -> None:
        """Write the record of a block, after its values."""
        self._batch_location(batch).write_checked_json(f"records/{number:06d}.json", asdict(record))

    def _to_stored_dtype(self, values: Float32Array) -> npt.NDArray[Any]:
        """The values in the store's type."""
        if self.dtype == "float32":
            return values
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if (overflows := np.isinf(halves) & np.isfinite(values)).any():
            raise StoreError(
                f"features/{self.name}: {values[overflows][0]:.6g} is beyond what float16 holds (65,504); "
                "store this representation's features as float32."
            )
        return halves

    def list_complete_blocks(self, batch: int) -> set[int]:
        """The blocks of a batch that are complete."""
        return set(self._batch_location(batch).list_numbers("records", ".json"))

    def read_record(self, block: BlockId) -> BlockRecord:
        """The record of a complete block.

        Raises:
            FileNotFoundError: If the block is not complete.
            DamageError: If its record is damaged.
        """
        name = f"records/{block.number:06d}.json"
        with name_damage(f"{self._batch_location(block.batch).url}/{name}"):
            payload = self._batch_location(block.batch).read_checked_json(name)
            start, stop = payload["rows"]
            failed, artefacts = payload["failed"], payload.get("artefacts", {})
            if not all(row.isdecimal() for row in (*failed, *artefacts)):
                raise ValueError("its rows are not numbers")
            return BlockRecord((start, stop), payload["sha256"], failed, payload["runtime"], artefacts)

    def read(self, batch: Batch, number: int) -> Float32Array:
        """The values of a block (rows, d) float32."""
        start, stop = batch.row_range(number)
        return np.asarray(self._open_array(batch.number)[start:stop], dtype=np.float32)

    def read_dimension(self, batch: int) -> int:
        """The dimension d of a batch for which features have been extracted."""
        return self.open_shape(batch)[1]

    def open_shape(self, batch: int) -> tuple[int, int]:
        """The shape (rows, d) of a batch's array.

        Raises:
            DamageError: If it cannot be opened.
        """
        rows, dimension = self._open_array(batch).shape
        return int(rows), int(dimension)

    def check_block(self, batch: Batch, number: int) -> str | None:
        """The fault of a complete block, or None: its chunk is missing or cannot be read, or its hash does not match."""
        context = f"features/{self.name}/{batch.number:06d}, block {number}"
        try:
            record = self.read_record(BlockId(batch.number, number))
        except StoreError as error:
            return str(error)
        if tuple(record.rows) != batch.row_range(number):
            return f"{context}: its record has other rows than the batch"
        if not self._batch_location(batch.number).exists(f"values/c/{number}/0"):
            return f"{context}: its chunk is missing"
        try:
            values = self.read(batch, number)
        except Exception as error:  # noqa: BLE001 - whatever a codec raises, the block is at fault
            return f"{context}: cannot be read ({error})"
        is_intact = digest.digest_array(values.astype(self.dtype, copy=False)) == record.sha256
        return None if is_intact else f"{context}: its hash does not match"

    def _open_array(self, batch: int) -> "zarr.Array[Any]":
        with translate_array_errors(f"{self.archive.url}: the array of batch {batch} of features/{self.name}"):
            array = zarr.open_array(**get_zarr_store(self._batch_location(batch), "values"), mode="r+")
        return array.with_config({"write_empty_chunks": True})  # to `open_array` it means nothing


@dataclass(frozen=True, slots=True)
class RowBlocks:
    """The blocks of some rows of an archive.

    Attributes:
        block_of_row: The block of each row, in the order of the rows.
        batches: The batches by number.
    """

    block_of_row: list[BlockId]
    batches: dict[int, Batch]

    @property
    def blocks(self) -> list[BlockId]:
        """The blocks that hold any of the rows, in order."""
        return sorted(set(self.block_of_row))

    def find_complete(self, store: FeatureStore) -> set[BlockId]:
        """The blocks that are complete in a store."""
        numbers = {batch: store.list_complete_blocks(batch) for batch in self.batches}
        return {block for block in self.block_of_row if block.number in numbers[block.batch]}


def find_row_blocks(archive: Location, batch_rows: Sequence[tuple[int, int]]) -> RowBlocks:
    """The blocks of rows that are given as (batch, row)."""
    batches = {batch: Batch.read(archive, batch) for batch in sorted({batch for batch, _ in batch_rows})}
    return RowBlocks([BlockId(batch, row // batches[batch].block_size) for batch, row in batch_rows], batches)


def gather_features(store: FeatureStore, batch_rows: Sequence[tuple[int, int]]) -> Float32Array:
    """Rows given as (batch, row), in this order: (n, d) float32, NaN where an image has no vector.

    Raises:
        StoreError: If a block is not complete.
    """
    row_blocks = _find_complete_row_blocks(store, batch_rows)
    positions_by_block: dict[BlockId, list[int]] = {}
    for position, block in enumerate(row_blocks.block_of_row):
        positions_by_block.setdefault(block, []).append(position)
    result: Float32Array | None = None
    for block, positions in sorted(positions_by_block.items()):
        batch = row_blocks.batches[block.batch]
        values = read_block(store, batch, block.number, store.read_record(block))
        if result is None:
            result = np.full((len(batch_rows), values.shape[1]), np.nan, dtype=np.float32)
        start = batch.row_range(block.number)[0]
        result[positions] = values[[batch_rows[position][1] - start for position in positions]]
    return np.empty((0, 0), dtype=np.float32) if result is None else result


def open_feature_rows(
    store: FeatureStore, batch_rows: Sequence[tuple[int, int]]
) -> tuple[ChunkedRows, npt.NDArray[np.bool_]]:
    """Rows given as (batch, row), in this order, read when needed; and which of them have a vector (n,).

    The rows hold only those that have a vector.

    Raises:
        StoreError: If a block is not complete.
    """
    row_blocks = _find_complete_row_blocks(store, batch_rows)
    blocks = row_blocks.blocks
    with ThreadPoolExecutor(_RECORD_READERS) as pool:
        records = dict(zip(blocks, pool.map(store.read_record, blocks), strict=True))
    located_rows = [(block, row) for (_, row), block in zip(batch_rows, row_blocks.block_of_row, strict=True)]
    has_vector = np.array([str(row) not in records[block].failed for block, row in located_rows], dtype=bool)
    present_rows = [located for located, has in zip(located_rows, has_vector, strict=True) if has]
    chunk_of_block = {block: chunk for chunk, block in enumerate(blocks)}
    checked_chunks: set[int] = set()

    def read_chunk(chunk: int) -> Float32Array:
        block = blocks[chunk]
        # Every block is compared with its hash when it is first read: a selection reads some of them hundreds of times.
        record = None if chunk in checked_chunks else records[block]
        values = read_block(store, row_blocks.batches[block.batch], block.number, record)
        if record is None and not np.nan_to_num(values).any():  # as a chunk that was lost meanwhile is read
            values = read_block(store, row_blocks.batches[block.batch], block.number, records[block])
        checked_chunks.add(chunk)
        return values

    rows = ChunkedRows(
        store.read_dimension(blocks[0].batch) if blocks else 0,
        np.dtype(np.float32),
        np.array([chunk_of_block[block] for block, _ in present_rows], dtype=np.intp),
        np.array([row - records[block].rows[0] for block, row in present_rows], dtype=np.intp),
        read_chunk,
    )
    return rows, has_vector


def _find_complete_row_blocks(store: FeatureStore, batch_rows: Sequence[tuple[int, int]]) -> RowBlocks:
    row_blocks = find_row_blocks(store.archive, batch_rows)
    if missing_blocks := sorted(set(row_blocks.block_of_row) - row_blocks.find_complete(store)):
        batch, number = missing_blocks[0]
        raise StoreError(f"{store.archive.url}: block {number} of batch {batch} is not extracted yet.")
    return row_blocks


def read_block(store: FeatureStore, batch: Batch, number: int, record: BlockRecord | None = None) -> Float32Array:
    """A block's values (rows, d), NaN in rows without a vector.

    Args:
        store: The store.
        batch: The batch.
        number: The block.
        record: Its record, with which the values are compared; None if they were compared before.

    Raises:
        DamageError: If it cannot be read, or its values are not those of the record.
    """
    address = f"{store.archive.url}: block {number} of batch {batch.number} of features/{store.name}"
    with translate_array_errors(address):
        values = store.read(batch, number)
    if record is not None and digest.digest_array(values.astype(store.dtype, copy=False)) != record.sha256:
        raise DamageError(
            f"{address} is damaged: its hash does not match its record; `interpdisc repair {store.archive.url}` makes the "
            "next run compute it again."
        )
    return values
