"""A backfill's rows as something that was seen: one record of an archive's memory for all shards that are new in it."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from interpdisc_core import catalog, digest
from interpdisc_core.backfill import records
from interpdisc_core.features import FeatureStore, rows_of
from interpdisc_core.memory import Memory, Record
from interpdisc_core.representations import Normalisation
from interpdisc_core.selectors.rows import Rows, UnitRows, blocks
from interpdisc_core.storage import Place


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was remembered: the record's name, empty where there was nothing new, and its rows."""

    batch: str
    rows: int


def remember(url: str, name: str, stratum: str, normalise: Normalisation) -> Remembered:
    """Put the ready rows of the shards that this stratum does not hold yet into it, as one record.

    Doing it again changes nothing. Raises StoreError where a block is not there.
    """
    archive = Place.of(url)
    path = f"backfills/{name}/remembered.json"
    before = archive.read_json(path) if archive.exists(path) else {}
    known = {number for held in before.get(stratum, {}).values() for number in held}
    here = {shard.batch for shard in records.current(records.planned(archive, name)).values()}
    fresh = sorted(here & records.done(archive, name) - known)
    latest = catalog.latest(archive, ["key", "status", "batch", "row"]) if fresh else None
    ready = latest.filter(pc.equal(latest["status"], "ready")) if latest else None
    batch, row = (np.asarray(ready[what].combine_chunks()) if ready else np.empty(0, int) for what in ("batch", "row"))
    mine = np.isin(batch, fresh)
    batch, row = batch[mine], row[mine]
    order = np.lexsort((row, batch))
    if not len(order):
        return Remembered("", 0)
    places = list(zip(batch[order].tolist(), row[order].tolist(), strict=True))
    found, _ = rows_of(FeatureStore(archive, name), places)
    rows: Rows = UnitRows(found) if normalise == "l2" else found
    identity = digest.of_json([name, places])
    record = Record.of(
        f"backfill-{fresh[0]:06d}-{fresh[-1]:06d}", (values for _, values in blocks(rows)),
        {"features": name, "normalise": normalise, "identity": identity},
    )  # fmt: skip
    Memory(archive, stratum).add(record)
    before.setdefault(stratum, {})[record.name] = fresh
    archive.write_json(path, before)
    return Remembered(record.name, record.count)
