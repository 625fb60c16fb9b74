"""Rules of a repair for the catalog, batches, features, backfills and trainings: mostly they are computed again."""

import re
from dataclasses import asdict
from urllib.parse import unquote

import pyarrow as pa

from interpdisc_core import digest
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import encode_batch
from interpdisc_core.archive.catalog import CatalogEntry, pixel_uri
from interpdisc_core.archive.catalog_parts import CATALOG_FOLDER, HISTORY_FOLDER
from interpdisc_core.archive.feature_store import format_store_name
from interpdisc_core.archive.run import Run, list_runs
from interpdisc_core.errors import InterpdiscError, StoreError
from interpdisc_core.operations.backfill import records
from interpdisc_core.operations.repair_log import AGAIN, RepairLog
from interpdisc_core.storage.checksums import CHECKSUM_SUFFIX, parse_checksum
from interpdisc_core.storage.location import encode_json

_SOURCE_AGAIN = "the commands that listed its inputs read them again"


def restore_compact_part(log: RepairLog, path: str) -> None:
    """The events that a compact part replaced are in the history."""
    archive, history = log.archive, log.archive.list_names(HISTORY_FOLDER)
    if not history:
        return drop_part(log, path)
    for name in history:
        sequence = name.partition(".")[0]
        log.replace(
            f"{CATALOG_FOLDER}/{sequence}-restored.parquet",
            archive.read(f"{HISTORY_FOLDER}/{name}"),
            "was made from the history",
        )
    log.set_aside(path, "its events are in the history, from which the catalog was restored")
    return None


def drop_part(log: RepairLog, path: str) -> None:
    """Set a part of the catalog aside, and what says that its step is done."""
    step = path.removesuffix(".parquet").partition("-")[2]
    log.set_aside(path, f"the catalog lacks the events of its step {step!r}: {_SOURCE_AGAIN}")
    if match := re.fullmatch(r"(.+)-(\d{6,})", step):
        forget_shard(log, match[1], int(match[2]))
    if step.startswith("settle-"):
        name = step.removeprefix("settle-")
        log.drop(f"backfills/{name}/settled.json", "contents are compared again by the same `interpdisc backfill`")


def restore_batch(log: RepairLog, path: str) -> None:
    """A batch of a backfill is read again; another one is rebuilt from the catalog, or its images get new rows."""
    archive, number = log.archive, int(path.rpartition("/")[2].removesuffix(".parquet"))
    if shard_names := [
        name for name in records.list_backfills(archive) if number in records.load_read_batches(archive, name)
    ]:
        log.set_aside(path, "the same `interpdisc backfill` reads its shard again")
        for name in shard_names:
            forget_shard(log, name, number)
        return
    entries = [entry for entry in catalog.load_entries(archive).values() if entry.batch == number and entry.row >= 0]
    if (data := _rebuild_batch(log, path, number, entries)) is not None:
        log.replace(path, data, "was built again from the catalog, to the byte")
        return
    log.set_aside(
        path, f"{len(entries)} images get new rows, and their features are computed again, by the same commands"
    )
    for name in archive.list_names("features"):
        log.drop(f"features/{name}/{number:06d}", "belongs to the lost batch")
    events = [entry.with_status("pending", batch=-1, row=-1) for entry in entries if entry.status == "ready"]
    if events and not log.dry_run:
        catalog.write_part(archive, catalog.next_sequence(archive), "repair", events)


def _rebuild_batch(log: RepairLog, path: str, number: int, entries: list[CatalogEntry]) -> bytes | None:
    """The bytes of a batch by its rows in the catalog, if they fit its checksum."""
    try:
        digests = parse_checksum(path, log.archive.read(f"{path}{CHECKSUM_SUFFIX}"))
    except (FileNotFoundError, ValueError):
        return None
    by_row = {entry.row: entry for entry in entries}
    if sorted(by_row) != list(range(len(by_row))) or not by_row:
        return None
    sizes = {len(by_row)}
    for name in log.archive.list_names("features"):
        for block in log.archive.list_numbers(f"features/{name}/{number:06d}/records", ".json"):
            try:
                start, stop = log.archive.read_checked_json(f"features/{name}/{number:06d}/records/{block:06d}.json")[
                    "rows"
                ]
                sizes.add(stop - start)
            except (StoreError, KeyError, ValueError):
                continue
    rows = [by_row[row] for row in range(len(by_row))]
    columns = {
        "key": [entry.key for entry in rows],
        "uri": [pixel_uri(entry) for entry in rows],
        "sha256": [entry.sha256 for entry in rows],
    }
    for size in sorted(sizes):
        data = encode_batch(pa.table(columns), size)
        if digest.digest_bytes(data) in digests:
            return data
    return None


def forget_shard(log: RepairLog, name: str, batch: int) -> None:
    """Let a backfill read a shard again."""
    archive, path = log.archive, f"backfills/{name}/shards/{batch:06d}.json"
    if archive.exists(path) or archive.exists(f"{path}{CHECKSUM_SUFFIX}"):
        if not log.is_settled(path):
            log.drop(path, "the same `interpdisc backfill` reads the shard again")
        try:
            if not log.dry_run:
                records.remove_deduplicated_batches(archive, name, {batch})
        except StoreError:
            log.drop(f"backfills/{name}/settled.json", "contents are compared again by the same `interpdisc backfill`")


def restore_spec(log: RepairLog, path: str) -> None:
    """Write the settings of a representation again, from the plan of a run that used it."""
    name = path.split("/")[1]
    for run_id in list_runs(log.archive):
        try:
            plan = Run(log.archive, run_id).plan
        except InterpdiscError:
            continue
        if name in (format_store_name(plan.features_digest, dtype) for dtype in ("float32", "float16")):
            log.replace(path, encode_json(asdict(plan.representation)), f"was made from the plan of {run_id}")
            return
    log.drop(path, AGAIN)


def drop_block(log: RepairLog, path: str, *, is_array_damaged: bool = False) -> None:
    """Drop the record of a block, or of all blocks of an array that cannot be opened, so that they are computed again.

    Args:
        log: The repair.
        path: Of the block's record.
        is_array_damaged: Whether the whole array is at fault.
    """
    _, name, batch, _, _ = path.split("/")
    folder = f"features/{name}/{batch}"
    if is_array_damaged:
        for record in log.archive.list_names(f"{folder}/records"):
            log.drop(f"{folder}/records/{record}", "its block is computed again by the same command")
        log.drop(f"{folder}/values", "the array cannot be used: it is made again by the same command")
    else:
        log.drop(path, "its block is computed again by the same command")
    for backfill in {name} & set(records.list_backfills(log.archive)):
        forget_shard(log, backfill, int(batch))


def drop_block_record(log: RepairLog, path: str) -> None:
    """Drop a damaged record of a block."""
    drop_block(log, path)


def drop_listing(log: RepairLog, path: str) -> None:
    """Drop a file of a listing, and the results of runs over it."""
    name = path.split("/")[1]
    log.drop(path, AGAIN)
    for run_id in list_runs(log.archive):
        try:
            if log.archive.read_checked_json(f"runs/{run_id}/ledger.json")["listing"] != name:
                continue
        except (FileNotFoundError, StoreError, KeyError, TypeError):
            continue
        log.drop(f"runs/{run_id}/result.json", "the run has lost its listing: repeat its `interpdisc discover`")


def restore_shard_plan(log: RepairLog, path: str) -> None:
    """Make the plan of a backfill again from the records of its shards."""
    archive, name = log.archive, path.split("/")[1]
    shards = []
    for batch in sorted(records.load_read_batches(archive, name)):
        try:
            (record,) = records.read_shard_records(archive, name, [batch])
            shards.append({key: record[key] for key in ("uri", "id", "size", "stamp", "batch", "block")})
        except (StoreError, KeyError, TypeError):
            continue
    log.replace(
        path,
        encode_json({"shards": shards}),
        f"was made from the records of {len(shards)} shards; others are planned again",
    )


def drop_shard_record(log: RepairLog, path: str) -> None:
    """Let a backfill read a shard again."""
    _, name, _, file = path.split("/")
    batch = int(file.removesuffix(".json"))
    for folder in ("faults", "shards"):
        log.drop(f"backfills/{name}/{folder}/{batch:06d}.json", "the same `interpdisc backfill` reads the shard again")


def restore_remembered(log: RepairLog, path: str) -> None:
    """Which shards the memory holds, by the names of its records."""
    archive, name = log.archive, path.split("/")[1]
    batches = {shard.batch for shard in records.load_shard_plan(archive, name)}
    remembered: dict[str, dict[str, list[int]]] = {}
    for quoted in archive.list_names("memory"):
        for file in archive.list_names(f"memory/{quoted}/records"):
            if match := re.match(r"backfill-(\d+)-(\d+)\.", file):
                first, last = int(match[1]), int(match[2])
                remembered.setdefault(unquote(quoted), {})[f"backfill-{first:06d}-{last:06d}"] = sorted(
                    batch for batch in batches if first <= batch <= last
                )
    log.replace(path, encode_json(remembered), "was made from the records of the memory")


def drop_training_state(log: RepairLog, path: str) -> None:
    """Let a training begin again."""
    folder = path.rpartition("/")[0]
    for name in ("state.safetensors", "history.json", "best.safetensors", "result.json"):
        if log.archive.exists(f"{folder}/{name}") or f"{folder}/{name}" == path:
            log.drop(
                f"{folder}/{name}",
                "the same `interpdisc train-inverter` trains from the beginning, to the same weights",
            )


def drop_examples(log: RepairLog, path: str) -> None:
    """Let a training prepare a part of its examples again."""
    parts = path.split("/")
    folder, part = f"examples/{parts[1]}", parts[-1].removesuffix(".json")
    log.drop(f"{folder}/records/{part}.json", "the same `interpdisc train-inverter` prepares the part again")
    log.drop(f"{folder}/{part}", "the same `interpdisc train-inverter` prepares the part again")
