"""Verification of an archive: every input is accounted for, no block is missing, every hash matches.

The catalog is read by columns and the rows one batch at a time, so memory grows with the number of keys only.
"""

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core._types import Int64Array
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import Batch, BlockId, list_batches
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.archive.layout import check_format
from interpdisc_core.errors import DamageError, StoreError
from interpdisc_core.operations.backfill.records import find_undeduplicated_batches
from interpdisc_core.operations.verify_files import find_array_faults, scan_files
from interpdisc_core.operations.verify_records import RecordCounts, check_records
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import read_parquet

_COLUMNS = ("key", "id", "status", "reason", "retryable", "sha256", "batch", "row")
_MAX_FAULTS = 100
"""Faults of one kind that are reported one by one."""
_READERS = 4


@dataclass(frozen=True, slots=True)
class FeatureCounts:
    """The features of one representation.

    Attributes:
        name: Of the feature store.
        kind: Of the representation.
        ready: Images with status `ready`, the sum of `extracted` and `to_do`.
        extracted: Images with a vector.
        to_do: Images without one.
        blocks: Complete blocks.
    """

    name: str
    kind: str
    ready: int
    extracted: int
    to_do: int
    blocks: int


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The result of `verify_archive`.

    Attributes:
        inputs: Number of inputs ever listed, the sum of `counts`.
        counts: Inputs by status.
        features: One item for each feature store.
        faults: A sentence for each fault.
        records: Records of days, inboxes and backfills.
        checked_files: Number of files that fit their checksum.
        unchecked_files: Number of files without one: those of an earlier version of this program.
    """

    inputs: int
    counts: dict[str, int]
    features: tuple[FeatureCounts, ...]
    faults: tuple[str, ...] = field(default=())
    records: RecordCounts = field(default_factory=RecordCounts)
    checked_files: int = 0
    unchecked_files: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether there are no faults. Work that is still to do is not a fault."""
        return not self.faults


def verify_archive(url: str) -> VerificationResult:
    """Check a whole archive. Every file and every block is read.

    Raises:
        StoreError: If there is no archive at `url`, or if it has another layout version.
    """
    archive = Location.parse(url)
    with contextlib.suppress(DamageError):  # of archive.json, which is among the files
        check_format(archive)
    scan = scan_files(archive)
    faults = [fault.sentence for fault in (*scan.faults, *find_array_faults(archive))]
    try:
        latest = catalog.read_latest(archive, _COLUMNS)
        unfinished_batches = find_undeduplicated_batches(archive)
    except StoreError as error:
        all_faults = _drop_repeated([*faults, str(error)])
        return VerificationResult(0, {}, (), all_faults, RecordCounts(), scan.checked, scan.unchecked)
    faults += _check_entries(latest, unfinished_batches)
    ready = latest.filter(pc.equal(latest["status"], "ready"))
    resolved = _KeySet(_resolved_keys(latest))
    stores = [FeatureStore(archive, name) for name in archive.list_folders("features")]
    totals = {store.name: _FeatureTotals() for store in stores}
    rows_by_batch: dict[int, int] = {}
    for batch, ready_rows in _iter_batches(archive, ready, faults):
        rows_by_batch[batch.number] = len(batch.table)
        faults += _check_row_owners(batch, ready_rows)
        is_computed = [_count_features(totals[store.name], store, batch, ready_rows, faults) for store in stores]
        if any(is_computed):
            # Features are computed only for inputs that were resolved: if one is not, a part of the catalog is missing.
            faults += _check_resolved(f"batch {batch.number}", batch.table["key"].to_pylist(), resolved)
    features = tuple(_summarize_features(store, len(ready), totals[store.name], faults) for store in stores)
    faults += _check_runs(archive, resolved)
    record_counts = check_records(archive, rows_by_batch, faults)
    return VerificationResult(
        len(latest),
        count_by_status(latest),
        features,
        _drop_repeated(faults),
        record_counts,
        scan.checked,
        scan.unchecked,
    )


def _drop_repeated(faults: Iterable[str]) -> tuple[str, ...]:
    """The sentences, each once: a damaged file is met by several checks."""
    return tuple(dict.fromkeys(faults))


def find_catalog_faults(archive: Location) -> list[str]:
    """The faults of an archive's catalog and batches, of any layout version. Features are not read."""
    try:
        latest = catalog.read_latest(archive, _COLUMNS)
        faults = _check_entries(latest, find_undeduplicated_batches(archive))
        for batch, ready_rows in _iter_batches(archive, latest.filter(pc.equal(latest["status"], "ready")), faults):
            faults += _check_row_owners(batch, ready_rows)
    except StoreError as error:
        return [str(error)]
    return faults


def count_by_status(latest: pa.Table) -> dict[str, int]:
    """The number of inputs by status. latest: a table of the catalog with the column `status`."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(latest["status"]).to_pylist()}
    return {status: counts.get(status, 0) for status in catalog.ENTRY_STATUSES}


# ---------------------------------------------------------------------------------------------------- the catalog


def _check_entries(latest: pa.Table, unfinished_batches: set[int]) -> list[str]:
    """No content is ready twice, every reference is an input, every refusal has a reason.

    unfinished_batches: batches of backfills that are not complete; they are deduplicated at the end.
    """
    status = latest["status"]
    unknown_status = _select_rows(latest, pc.invert(pc.is_in(status, value_set=pa.array(catalog.ENTRY_STATUSES))))
    faults = [f"{row['id']!r}: its status {row['status']!r} is unknown" for row in unknown_status]
    is_reference = pc.is_in(status, value_set=pa.array(["duplicate-of", "superseded-by"]))
    has_target = pc.is_in(latest["reason"], value_set=latest["key"].combine_chunks())
    faults += [
        f"{row['id']!r}: is {row['status']} an input that is not in the catalog"
        for row in _select_rows(latest, pc.and_(is_reference, pc.invert(has_target)))
    ]
    is_refused = pc.is_in(status, value_set=pa.array(["quarantined", "outstanding", "skipped"]))
    faults += [
        f"{row['id']!r}: is {row['status']} without a reason"
        for row in _select_rows(latest, pc.and_(is_refused, pc.equal(latest["reason"], "")))
    ]
    is_finished = pc.invert(
        pc.is_in(latest["batch"], value_set=pa.array(sorted(unfinished_batches), latest["batch"].type))
    )
    ready = latest.filter(pc.and_(pc.equal(status, "ready"), is_finished))
    content_codes = ready["sha256"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first_rows, content_index = np.unique(content_codes, return_index=True, return_inverse=True)
    for row in np.flatnonzero(first_rows[content_index] != np.arange(len(content_codes)))[:_MAX_FAULTS].tolist():
        first_id, second_id = ready["id"][row].as_py(), ready["id"][int(first_rows[content_index[row]])].as_py()
        faults.append(f"{first_id!r} and {second_id!r} are the same content and both ready")
    return faults


def _select_rows(table: pa.Table, mask: pa.ChunkedArray) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = table.select(["id", "status"]).filter(mask).slice(0, _MAX_FAULTS).to_pylist()
    return rows


def _iter_batches(archive: Location, ready: pa.Table, faults: list[str]) -> Iterator[tuple[Batch, pa.Table]]:
    """Each batch with the ready inputs that refer to it. References to a missing batch are faults."""
    numbers = ready["batch"].to_numpy()
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    batch_numbers = list_batches(archive)
    for number in batch_numbers:
        positions = order[np.searchsorted(numbers, number) : np.searchsorted(numbers, number, "right")]
        try:
            batch = Batch.read(archive, number)
        except StoreError as error:
            faults.append(str(error))
            faults += _misplaced_faults(ready.take(pa.array(positions)))
            continue
        yield batch, ready.take(pa.array(positions))
    faults += _misplaced_faults(ready.take(pa.array(order[~np.isin(numbers, batch_numbers)])))


def _misplaced_faults(misplaced_rows: pa.Table) -> list[str]:
    rows = misplaced_rows.select(["id", "batch", "row"]).slice(0, _MAX_FAULTS).to_pylist()
    return [f"{row['id']!r}: row {row['row']} of batch {row['batch']} is not its own" for row in rows]


def _check_row_owners(batch: Batch, ready_rows: pa.Table) -> list[str]:
    """Every ready content has exactly one row, and the row has its hash."""
    rows = ready_rows["row"].to_numpy()
    within = (rows >= 0) & (rows < len(batch.table))
    hashes = batch.table["sha256"].take(pa.array(np.where(within, rows, 0))) if len(batch.table) else None
    is_own = (
        pc.equal(hashes, ready_rows["sha256"]).to_numpy() if hashes is not None else np.zeros(len(rows), dtype=bool)
    )
    return _misplaced_faults(ready_rows.filter(pa.array(~(within & is_own))))


# ------------------------------------------------------------------------------------------------- what is settled


class _KeySet:
    """A set of keys for looking up many at a time."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = np.sort(np.array([key.encode() for key in keys], dtype=np.bytes_))

    def count_missing(self, keys: list[str]) -> int:
        encoded_keys = np.array([key.encode() for key in keys], dtype=np.bytes_)
        return int((~np.isin(encoded_keys, self.keys)).sum()) if len(self.keys) else len(encoded_keys)


def _resolved_keys(latest: pa.Table) -> list[str]:
    """The inputs that are not pending, or are pending for another try."""
    is_resolved = pc.or_(pc.not_equal(latest["status"], "pending"), latest["retryable"])
    keys: list[str] = latest["key"].filter(is_resolved).to_pylist()
    return keys


def _check_resolved(owner: str, keys: list[str], resolved: _KeySet) -> list[str]:
    """A fault if inputs that were resolved once are unknown or pending, except for another try."""
    missing = resolved.count_missing(keys)
    return [f"{owner}: the catalog has lost what became of {missing} of its {len(keys)} inputs"] if missing else []


def _check_runs(archive: Location, resolved: _KeySet) -> list[str]:
    """Every input that a finished run listed is in the catalog."""
    faults = []
    for run in archive.list_folders("runs"):
        run_folder = archive / f"runs/{run}"
        if not run_folder.exists("result.json"):
            continue
        try:
            with name_damage(f"{run_folder.url}/ledger.json"):
                listing = run_folder.read_checked_json("ledger.json")["listing"]
            keys = read_parquet(archive, f"listings/{listing}/listing.parquet", ["key"])["key"].to_pylist()
        except FileNotFoundError:
            faults.append(f"run {run}: its listing is missing")
            continue
        except DamageError as error:
            faults.append(str(error))
            continue
        faults += _check_resolved(f"run {run}", keys, resolved)
    return faults


# ---------------------------------------------------------------------------------------------------- the features


@dataclass(slots=True)
class _FeatureTotals:
    extracted: int = 0
    to_do: int = 0
    blocks: int = 0


def _count_features(
    total: _FeatureTotals, store: FeatureStore, batch: Batch, ready_rows: pa.Table, faults: list[str]
) -> bool:
    """Read a batch's blocks and count the vectors of the ready inputs. Returns whether any block was computed."""
    done_blocks = sorted(store.list_complete_blocks(batch.number))
    faults += [
        f"features/{store.name}: a record of block {number}, of which batch {batch.number} has {batch.block_count}"
        for number in done_blocks
        if number >= batch.block_count
    ]
    blocks = [number for number in done_blocks if number < batch.block_count]
    with ThreadPoolExecutor(_READERS) as pool:
        outcomes = dict(zip(blocks, pool.map(lambda number: _check_block(store, batch, number), blocks), strict=True))
    faults += [outcome for outcome in outcomes.values() if isinstance(outcome, str)]
    failed_rows = {number: rows for number, rows in outcomes.items() if not isinstance(rows, str)}
    total.blocks += len(failed_rows)
    rows = ready_rows["row"].to_numpy()
    is_complete = np.isin(rows // batch.block_size, np.array(sorted(failed_rows), dtype=np.int64))
    is_missing = is_complete & np.isin(rows, np.concatenate([np.empty(0, dtype=np.int64), *failed_rows.values()]))
    total.to_do += int((~is_complete).sum())
    total.extracted += int((is_complete & ~is_missing).sum())
    faults += [
        f"{row['id']!r}: is ready, but features/{store.name} has no vector of it"
        for row in _select_rows(ready_rows, pa.array(is_missing))
    ]
    return bool(done_blocks)


def _check_block(store: FeatureStore, batch: Batch, number: int) -> str | Int64Array:
    """The fault of a block, or its rows that have no vector."""
    if fault := store.check_block(batch, number):
        return fault
    return np.array([int(row) for row in store.read_record(BlockId(batch.number, number)).failed], dtype=np.int64)


def _summarize_features(store: FeatureStore, ready: int, total: _FeatureTotals, faults: list[str]) -> FeatureCounts:
    try:
        with name_damage(f"features/{store.name}/spec.json"):
            kind = str(store.archive.read_checked_json(f"features/{store.name}/spec.json").get("kind", "?"))
    except (FileNotFoundError, StoreError) as error:
        kind = "?"
        if isinstance(error, FileNotFoundError) and not total.blocks:
            return FeatureCounts(store.name, kind, ready, 0, total.to_do, 0)  # killed before its first file
        faults.append(f"features/{store.name}: its spec.json is missing or damaged")
    return FeatureCounts(store.name, kind, ready, total.extracted, total.to_do, total.blocks)
