"""Repair of a damaged archive: what is derived is made again, what can be computed again is dropped, the rest is named.

Each fault that `verify_files` and the features find is dealt with by the rule of its path (`repair_rules`). What cannot be
computed again, and might be of use to somebody, is moved to `set-aside/`.
"""

import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow.parquet as pq

from interpdisc_core.archive.batches import Batch, list_batches
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.archive.layout import ARCHIVE_FORMAT, read_version
from interpdisc_core.archive.memory import Memory
from interpdisc_core.errors import DamageError, InterpdiscError, StoreError, one_line
from interpdisc_core.operations.daily.commit import is_undone
from interpdisc_core.operations.repair_days import drop_memory_record
from interpdisc_core.operations.repair_features import drop_block
from interpdisc_core.operations.repair_log import RepairAction, RepairLog
from interpdisc_core.operations.repair_rules import find_rule
from interpdisc_core.operations.verify import VerificationResult, verify_archive
from interpdisc_core.operations.verify_files import FileFault, find_array_faults, scan_files
from interpdisc_core.reporting import site
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.lock import LOCK_FILE
from interpdisc_core.storage.lock_protocol import LockOwner

_LOCK_AGE_S = 180.0
"""Seconds after which nobody holds a lock file that was not renewed: it expires after 120, and clocks differ."""
_MAX_PASSES = 4
"""Repairs may uncover faults of what depended on the damaged file."""


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair did, or what a dry run would do.

    Attributes:
        actions: What was done, in order.
        verification: The archive afterwards; of a dry run, before.
    """

    actions: tuple[RepairAction, ...]
    verification: VerificationResult

    @property
    def losses(self) -> tuple[RepairAction, ...]:
        """What cannot be made again."""
        return tuple(action for action in self.actions if action.is_lost)


def repair_archive(
    url: str, *, dry_run: bool = False, report_progress: Callable[[str], None] = lambda _: None
) -> RepairResult:
    """Repair what can be repaired. The caller holds the archive's lock, unless for a dry run.

    Args:
        url: The archive.
        dry_run: Change nothing, and report what a repair would begin with.
        report_progress: Called with what is being done.

    Raises:
        StoreError: If there is no archive, or if it has an earlier layout version.
    """
    archive = Location.parse(url)
    log = RepairLog(archive, dry_run)
    try:
        version = read_version(archive)
    except DamageError:
        find_rule("archive.json")(log, "archive.json")
    else:
        if version.origin != ARCHIVE_FORMAT:
            raise StoreError(
                f"{archive.url} has layout version {version.origin}: `interpdisc migrate {archive.url}` first."
            )
    for number in range(1 if dry_run else _MAX_PASSES):
        report_progress(f"reading everything, pass {number + 1} …")
        before = len(log.actions)
        _repair_files(log)
        _repair_blocks(log)
        _repair_memory(log)
        _repair_site(log)
        if len(log.actions) == before:
            break
    report_progress("verifying …")
    return RepairResult(tuple(log.actions), verify_archive(url))


def prepare_repair(url: str) -> None:
    """Remove a lock file that is damaged, once no process can hold it any more; one that holds it renews it.

    Raises:
        StoreError: If there is no archive, or if the lock was written so lately that a process may still be at work.
    """
    archive = Location.parse(url)
    with contextlib.suppress(DamageError):
        read_version(archive)
    try:
        data = archive.read(LOCK_FILE)
    except FileNotFoundError:
        return
    if LockOwner.from_bytes(data) is not None:
        return
    age_s = time.time() - archive.read_modification_time(LOCK_FILE)
    if age_s < _LOCK_AGE_S:
        raise StoreError(
            f"{archive.url}/{LOCK_FILE} is damaged, and was written {max(age_s, 0):.0f} s ago, so a run may be at work: "
            f"end it, and repeat this in {_LOCK_AGE_S - age_s:.0f} s."
        )
    archive.remove(LOCK_FILE)


def _repair_files(log: RepairLog) -> None:
    for fault in (*scan_files(log.archive).faults, *find_array_faults(log.archive)):
        if log.is_settled(fault.path):
            continue
        if fault.kind == "stray":
            log.set_aside(fault.path, "it is not a file of an archive")
        elif fault.kind == "checksum" and _parses(log.archive, fault):
            log.drop(f"{fault.path}.sha256", "the checksum itself is damaged; the file reads well and stays, unchecked")
        else:
            find_rule(fault.path)(log, fault.path)


def _parses(archive: Location, fault: FileFault) -> bool:
    """Whether a file without a checksum has at least the form of its kind."""
    data = archive.read(fault.path)
    try:
        if fault.path.endswith(".json"):
            json.loads(data)
        elif fault.path.endswith(".parquet"):
            pq.ParquetFile(io.BytesIO(data)).read()
        else:
            return False
    except Exception:  # noqa: BLE001 - a parser that raises anything answers the question
        return False
    return True


def _repair_blocks(log: RepairLog) -> None:
    """Drop the records of blocks whose values are not theirs, so that they are computed again."""
    archive = log.archive
    for number in list_batches(archive):
        try:
            batch = Batch.read(archive, number)
        except StoreError:
            continue
        for name in archive.list_folders("features"):
            store = FeatureStore(archive, name)
            for block in sorted(store.list_complete_blocks(number)):
                path = f"features/{name}/{number:06d}/records/{block:06d}.json"
                if log.is_settled(path):
                    continue
                if block >= batch.block_count:
                    log.set_aside(path, "it is the record of a block that its batch does not have")
                elif (fault := _check_block(store, batch, block)) is not None:
                    drop_block(log, path, is_array_damaged=fault)


def _check_block(store: FeatureStore, batch: Batch, block: int) -> bool | None:
    """None if a block is intact; else whether its whole array cannot be opened, or does not fit its batch."""
    try:
        array_rows = store.open_shape(batch.number)[0]
    except StoreError:
        return True
    if array_rows < len(batch.table):
        return True
    return None if store.check_block(batch, block) is None else False


def _repair_memory(log: RepairLog) -> None:
    for stratum, path in list_damaged_memory_records(log.archive):
        if not log.is_settled(path):
            drop_memory_record(log, path, stratum)


def list_damaged_memory_records(archive: Location) -> list[tuple[str, str]]:
    """(stratum as its folder is called, path) of each damaged record."""
    damaged = []
    for quoted in archive.list_folders("memory"):
        if not quoted.startswith("~"):
            memory = Memory(archive, unquote(quoted, errors="surrogatepass"))
            damaged += [(quoted, f"memory/{quoted}/{path}") for path in memory.list_damaged_files()]
    return damaged


def _repair_site(log: RepairLog) -> None:
    """Publish days again of which a file is damaged or missing, and build the index again."""
    archive, days = log.archive, sorted(log.unpublished_days)
    log.unpublished_days.clear()
    for day in days:
        if not archive.exists(f"days/{day}/day.json") or log.dry_run:
            continue
        try:
            site.publish_day(archive, day)
            if is_undone(archive, day):
                record = archive.read_checked_json(f"days/{day}/undone.json")
                site.withdraw_day(archive, day, str(record["by"]), str(record["why"]), str(record["at"]))
        except (InterpdiscError, KeyError) as error:
            log.note(f"site/days/{day}", f"could not be published again: {one_line(error)}", is_lost=True)
    if days or log.is_index_damaged:
        log.is_index_damaged = False
        if not log.dry_run:
            site.rebuild_index(archive)
