"""Batches: which image each row of the features is. `batches/<batch>.parquet`, written once."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from interpdisc_core.archive import catalog
from interpdisc_core.errors import StoreError
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet, read_parquet


class BlockId(NamedTuple):
    """One unit of extraction: block `number` (from 0) of a batch."""

    batch: int
    number: int


def list_batches(archive: Location) -> list[int]:
    """The numbers of the archive's batches, ascending."""
    return archive.list_numbers("batches", ".parquet", with_lost=True)


_ROWS_SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "uri", "sha256")])


def write_batch(archive: Location, number: int, entries: list[catalog.CatalogEntry], block_size: int) -> None:
    """Write a new batch. It is never changed later.

    Args:
        archive: The archive.
        number: The batch's number.
        entries: Its images, in row order.
        block_size: Rows of a block, the unit of work.
    """
    table = pa.table(
        {name: [getattr(entry, name) for entry in entries] for name in _ROWS_SCHEMA.names}, schema=_ROWS_SCHEMA
    )
    write_batch_table(archive, number, table, block_size)


def write_batch_table(archive: Location, number: int, table: pa.Table, block_size: int) -> None:
    """As `write_batch`, from a table with the columns `key`, `uri` and `sha256`."""
    archive.write_checked(f"batches/{number:06d}.parquet", encode_batch(table, block_size))


def encode_batch(table: pa.Table, block_size: int) -> bytes:
    """The file of a batch; equal rows give equal bytes. table: with the columns `key`, `uri` and `sha256`."""
    rows = table.select(_ROWS_SCHEMA.names).cast(_ROWS_SCHEMA).combine_chunks()
    return encode_parquet(rows.replace_schema_metadata({"block": str(block_size)}))


def reserve_batch(archive: Location, number: int) -> None:
    """Write a batch without rows, so that later batches get higher numbers; an existing batch is left."""
    if not archive.exists(f"batches/{number:06d}.parquet"):
        write_batch_table(archive, number, _ROWS_SCHEMA.empty_table(), 1)


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a batch.

    Attributes:
        number: The batch's number.
        block_size: Rows of a block; the last block may have fewer.
        table: `key`, `uri` and `sha256` of the image of each row.
    """

    number: int
    block_size: int
    table: pa.Table

    @classmethod
    def read(cls, archive: Location, number: int) -> "Batch":
        """Read a batch.

        Raises:
            StoreError: If it is missing or damaged.
        """
        try:
            table = read_parquet(archive, f"batches/{number:06d}.parquet")
        except FileNotFoundError:
            raise StoreError(f"{archive.url} has no batch {number}: its catalog and its batches disagree.") from None
        with name_damage(f"{archive.url}/batches/{number:06d}.parquet"):
            block_size = int((table.schema.metadata or {})[b"block"])
            if block_size < 1 or table.column_names != _ROWS_SCHEMA.names:
                raise ValueError("it is not a batch")
        return cls(number, block_size, table)

    @property
    def block_count(self) -> int:
        """The number of its blocks."""
        return math.ceil(len(self.table) / self.block_size)

    def row_range(self, number: int) -> tuple[int, int]:
        """The rows [start, stop) of a block."""
        return number * self.block_size, min((number + 1) * self.block_size, len(self.table))
