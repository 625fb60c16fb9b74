"""Add the images of a backfill to the archive's memory: one record for all shards that are new."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from interpdisc_core import digest
from interpdisc_core.archive import catalog
from interpdisc_core.archive.feature_store import FeatureStore, open_feature_rows
from interpdisc_core.archive.memory import Memory
from interpdisc_core.archive.memory_record import MemoryRecord
from interpdisc_core.operations.backfill import records
from interpdisc_core.representations import Normalization
from interpdisc_core.selectors.rows import NormalizedRows, Rows, iter_blocks
from interpdisc_core.storage.location import Location


@dataclass(frozen=True, slots=True)
class RememberResult:
    """The record that was added: its name, empty if nothing was new, and its number of rows."""

    batch: str
    rows: int


def remember_shards(url: str, name: str, stratum: str, normalise: Normalization) -> RememberResult:
    """Add the ready rows of the shards that a stratum does not hold yet to it, as one record.

    Repeating it changes nothing.

    Args:
        url: Address of the archive.
        name: Name of the backfill.
        stratum: Of the memory.
        normalise: How rows are normalised.

    Raises:
        StoreError: If a block is missing.
    """
    archive = Location.parse(url)
    path = f"backfills/{name}/remembered.json"
    try:
        batches_by_record = archive.read_checked_json(path)
    except FileNotFoundError:
        batches_by_record = {}
    remembered_batches = {
        number for record_batches in batches_by_record.get(stratum, {}).values() for number in record_batches
    }
    current_batches = {
        shard.batch for shard in records.select_current_versions(records.load_shard_plan(archive, name)).values()
    }
    new_batches = sorted(current_batches & records.load_done_batches(archive, name) - remembered_batches)
    latest = catalog.read_latest(archive, ["key", "status", "batch", "row"]) if new_batches else None
    ready = latest.filter(pc.equal(latest["status"], "ready")) if latest else None
    batch, row = (
        np.asarray(ready[column].combine_chunks()) if ready else np.empty(0, int) for column in ("batch", "row")
    )
    is_new = np.isin(batch, new_batches)
    batch, row = batch[is_new], row[is_new]
    order = np.lexsort((row, batch))
    if not len(order):
        return RememberResult("", 0)
    positions = list(zip(batch[order].tolist(), row[order].tolist(), strict=True))
    features, _ = open_feature_rows(FeatureStore(archive, name), positions)
    rows: Rows = NormalizedRows(features) if normalise == "l2" else features
    identity = digest.digest_json([name, positions])
    record = MemoryRecord.from_rows(
        f"backfill-{new_batches[0]:06d}-{new_batches[-1]:06d}",
        (values for _, values in iter_blocks(rows)),
        {"features": name, "normalise": normalise, "identity": identity},
    )
    Memory(archive, stratum).add(record)
    batches_by_record.setdefault(stratum, {})[record.name] = new_batches
    archive.write_checked_json(path, batches_by_record)
    return RememberResult(record.name, record.count)
