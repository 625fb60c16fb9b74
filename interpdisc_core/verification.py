"""Proof that an archive is whole: nothing unaccounted for, no block missing, every hash holds.

The catalog is looked through by columns and one batch of rows at a time, so memory grows with the inputs' keys and little else.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core import catalog
from interpdisc_core.backfill.records import unsettled
from interpdisc_core.errors import StoreError
from interpdisc_core.features import Batch, Block, FeatureStore, batches
from interpdisc_core.ingest import check_format
from interpdisc_core.promises import Promised, promised
from interpdisc_core.storage import Place

_COLUMNS = ("key", "id", "status", "why", "access", "sha256", "batch", "row")
_MOST = 100
"""Faults of one kind that are told one by one."""
_READERS = 4

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Extracted:
    """One representation's features. ready = extracted + still to do, in images; blocks: complete ones."""

    name: str
    kind: str
    ready: int
    extracted: int
    to_do: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found. counts: inputs by status; inputs: their sum, which is every input ever seen.

    promised: what days, inboxes and backfills hold, and is there.
    """

    inputs: int
    counts: dict[str, int]
    features: tuple[Extracted, ...]
    faults: tuple[str, ...] = field(default=())
    promised: Promised = field(default_factory=Promised)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong. Work that is not done yet is not a fault."""
        return not self.faults


def verify(url: str) -> Verified:
    """Check a whole archive, reading every block. Raises StoreError where there is no archive at `url`."""
    archive = Place.of(url)
    check_format(archive)
    try:
        latest = catalog.latest(archive, _COLUMNS)
    except StoreError as error:
        return Verified(0, {}, (), (str(error),))
    faults = _statements(latest, unsettled(archive))
    ready = latest.filter(pc.equal(latest["status"], "ready"))
    settled = _Keys(_settled(latest))
    stores = [FeatureStore(archive, name) for name in archive.names("features")]
    totals = {store.name: _Total() for store in stores}
    sizes: dict[int, int] = {}
    for batch, mine in _by_batch(archive, ready, faults):
        sizes[batch.number] = len(batch.table)
        faults += _rows_of_others(batch, mine)
        computed = [_count(totals[store.name], store, batch, mine, faults) for store in stores]
        if any(computed):
            # Features are only ever computed of inputs that were settled: if one is not, a part of the log is gone.
            faults += _lost(f"batch {batch.number}", batch.table["key"].to_pylist(), settled)
    features = tuple(_extracted(store, len(ready), totals[store.name], faults) for store in stores)
    faults += _run_faults(archive, settled)
    kept = promised(archive, sizes, faults)
    return Verified(len(latest), counts_of(latest), features, tuple(faults), kept)


def catalog_faults(archive: Place) -> list[str]:
    """What is wrong with an archive by its catalog and batches alone, of any layout version; features are not read."""
    try:
        latest = catalog.latest(archive, _COLUMNS)
        faults = _statements(latest, unsettled(archive))
        for batch, mine in _by_batch(archive, latest.filter(pc.equal(latest["status"], "ready")), faults):
            faults += _rows_of_others(batch, mine)
    except StoreError as error:
        return [str(error)]
    return faults


def counts_of(latest: pa.Table) -> dict[str, int]:
    """How many inputs have each status, of a catalog's table with that column."""
    counted = {row["values"]: row["counts"] for row in pc.value_counts(latest["status"]).to_pylist()}
    return {status: counted.get(status, 0) for status in catalog.STATUSES}


# ---------------------------------------------------------------------------------------------------- the catalog


def _statements(latest: pa.Table, going_on: set[int]) -> list[str]:
    """No content is ready twice, every reference leads to an input, every refusal has a reason.

    going_on: batches of backfills that are not over, whose contents are compared with all others at their end.
    """
    status = latest["status"]
    strange = _some(latest, pc.invert(pc.is_in(status, value_set=pa.array(catalog.STATUSES))))
    faults = [f"{row['id']!r}: its status {row['status']!r} is not one that there is" for row in strange]
    refers = pc.is_in(status, value_set=pa.array(["duplicate-of", "superseded-by"]))
    leads = pc.is_in(latest["why"], value_set=latest["key"].combine_chunks())
    faults += [
        f"{row['id']!r}: is {row['status']} an input that is not in the catalog"
        for row in _some(latest, pc.and_(refers, pc.invert(leads)))
    ]
    refused = pc.is_in(status, value_set=pa.array(["quarantined", "skipped"]))
    faults += [
        f"{row['id']!r}: is {row['status']} without a reason"
        for row in _some(latest, pc.and_(refused, pc.equal(latest["why"], "")))
    ]
    over = pc.invert(pc.is_in(latest["batch"], value_set=pa.array(sorted(going_on), latest["batch"].type)))
    ready = latest.filter(pc.and_(pc.equal(status, "ready"), over))
    encoded = ready["sha256"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, of = np.unique(encoded, return_index=True, return_inverse=True)
    for row in np.flatnonzero(first[of] != np.arange(len(encoded)))[:_MOST].tolist():
        one, other = ready["id"][row].as_py(), ready["id"][int(first[of[row]])].as_py()
        faults.append(f"{one!r} and {other!r} are the same content and both ready")
    return faults


def _some(table: pa.Table, wrong: pa.ChunkedArray) -> list[dict[str, str]]:
    found: list[dict[str, str]] = table.select(["id", "status"]).filter(wrong).slice(0, _MOST).to_pylist()
    return found


def _by_batch(archive: Place, ready: pa.Table, faults: list[str]) -> Iterator[tuple[Batch, pa.Table]]:
    """Each batch with the ready inputs that say they are in it; inputs of batches that are not there are faults."""
    numbers = ready["batch"].to_numpy()
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    there = batches(archive)
    for number in there:
        mine = order[np.searchsorted(numbers, number) : np.searchsorted(numbers, number, "right")]
        try:
            batch = Batch.read(archive, number)
        except StoreError as error:
            faults.append(str(error))
            faults += _astray(ready.take(pa.array(mine)))
            continue
        yield batch, ready.take(pa.array(mine))
    faults += _astray(ready.take(pa.array(order[~np.isin(numbers, there)])))


def _astray(wrong: pa.Table) -> list[str]:
    rows = wrong.select(["id", "batch", "row"]).slice(0, _MOST).to_pylist()
    return [f"{row['id']!r}: row {row['row']} of batch {row['batch']} is not its own" for row in rows]


def _rows_of_others(batch: Batch, mine: pa.Table) -> list[str]:
    """Every ready content has exactly one row, and that row is its own."""
    rows = mine["row"].to_numpy()
    within = (rows >= 0) & (rows < len(batch.table))
    there = batch.table["sha256"].take(pa.array(np.where(within, rows, 0))) if len(batch.table) else None
    same = pc.equal(there, mine["sha256"]).to_numpy() if there is not None else np.zeros(len(rows), dtype=bool)
    return _astray(mine.filter(pa.array(~(within & same))))


# ------------------------------------------------------------------------------------------------- what is settled


class _Keys:
    """A set of keys, looked up many at a time."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = np.sort(np.array([key.encode() for key in keys], dtype=np.bytes_))

    def missing(self, keys: list[str]) -> int:
        wanted = np.array([key.encode() for key in keys], dtype=np.bytes_)
        return int((~np.isin(wanted, self.keys)).sum()) if len(self.keys) else len(wanted)


def _settled(latest: pa.Table) -> list[str]:
    """The inputs that are no longer pending, or are being tried again."""
    over = pc.or_(pc.not_equal(latest["status"], "pending"), latest["access"])
    keys: list[str] = latest["key"].filter(over).to_pylist()
    return keys


def _lost(what: str, keys: list[str], settled: _Keys) -> list[str]:
    """A fault where inputs that were once settled are unknown or pending, unless they are being tried again."""
    lost = settled.missing(keys)
    return [f"{what}: the catalog has lost what became of {lost} of its {len(keys)} inputs"] if lost else []


def _run_faults(archive: Place, settled: _Keys) -> list[str]:
    """Every input that a finished run listed is in the catalog."""
    faults = []
    for run in archive.names("runs"):
        place = archive / f"runs/{run}"
        if not place.exists("result.json"):
            continue
        try:
            listing = place.read_json("ledger.json")["listing"]
            keys = catalog.table_of(archive, f"listings/{listing}/listing.parquet", ["key"])["key"].to_pylist()
        except FileNotFoundError:
            faults.append(f"run {run}: its listing is missing")
            continue
        faults += _lost(f"run {run}", keys, settled)
    return faults


# ---------------------------------------------------------------------------------------------------- the features


@dataclass(slots=True)
class _Total:
    extracted: int = 0
    to_do: int = 0
    blocks: int = 0


def _count(total: _Total, store: FeatureStore, batch: Batch, mine: pa.Table, faults: list[str]) -> bool:
    """Read a batch's blocks and add up what is there of the ready inputs; whether anything was computed."""
    done = sorted(store.done(batch.number))
    faults += [
        f"features/{store.name}: a record of block {number}, of which batch {batch.number} has {batch.blocks}"
        for number in done if number >= batch.blocks
    ]  # fmt: skip
    blocks = [number for number in done if number < batch.blocks]
    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(blocks, pool.map(lambda number: _block(store, batch, number), blocks), strict=True))
    faults += [why for why in found.values() if isinstance(why, str)]
    failed = {number: rows for number, rows in found.items() if not isinstance(rows, str)}
    total.blocks += len(failed)
    rows = mine["row"].to_numpy()
    complete = np.isin(rows // batch.block, np.array(sorted(failed), dtype=np.int64))
    without = complete & np.isin(rows, np.concatenate([np.empty(0, dtype=np.int64), *failed.values()]))
    total.to_do += int((~complete).sum())
    total.extracted += int((complete & ~without).sum())
    faults += [
        f"{row['id']!r}: is ready, but features/{store.name} has no vector of it"
        for row in _some(mine, pa.array(without))
    ]
    return bool(done)


def _block(store: FeatureStore, batch: Batch, number: int) -> str | Ints:
    """What is wrong with a block, or the rows of it that have no vector."""
    if fault := store.fault(batch, number):
        return fault
    return np.array([int(row) for row in store.record(Block(batch.number, number)).failed], dtype=np.int64)


def _extracted(store: FeatureStore, ready: int, total: _Total, faults: list[str]) -> Extracted:
    try:
        kind = str(store.archive.read_json(f"features/{store.name}/spec.json").get("kind", "?"))
    except (FileNotFoundError, StoreError):
        kind = "?"
        faults.append(f"features/{store.name}: its spec.json is missing or damaged")
    return Extracted(store.name, kind, ready, total.extracted, total.to_do, total.blocks)
