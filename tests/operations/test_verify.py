"""`verify` finds whatever is not as the archive says: in the catalog, its batches, features, days, inboxes and backfills."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from interpdisc_core.archive import catalog
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.memory import Memory
from interpdisc_core.archive.memory_record import MemoryRecord
from interpdisc_core.operations.verify import count_by_status, find_catalog_faults, verify_archive
from interpdisc_core.sources import file_uri
from interpdisc_core.storage.location import Location
from tests.helpers.inbox_records import make_inbox_record
from tests.pipeline.test_ingest import check_archive, read_entries, run_extract, run_ingest, write_file, write_photos


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Seven images in blocks of three, a copy, a broken one."""
    folder = write_photos(tmp_path / "in", 7)
    shutil.copy(folder / "03.png", folder / "copy.png")
    write_file(folder / "broken.png", b"no image")
    made = tmp_path / "archive"
    run_extract(made, run_ingest(made, folder, block=3))
    assert check_archive(made) == {"ready": 7, "duplicate-of": 1, "quarantined": 1}
    return made


def write_events(archive: Path, *events: CatalogEntry) -> None:
    place = Location.parse(archive)
    catalog.write_part(place, catalog.next_sequence(place), "settle", events)


def find_entry(archive: Path, name: str) -> CatalogEntry:
    return next(entry for entry in read_entries(archive) if entry.id == name)


WRONG: dict[str, tuple[Callable[[Path], CatalogEntry], str]] = {
    "status": (
        lambda a: replace(find_entry(a, "00.png"), status="lost"),
        "'00.png': its status 'lost' is unknown",
    ),
    "twice": (
        lambda a: replace(find_entry(a, "01.png"), sha256=find_entry(a, "00.png").sha256, row=0),
        "'01.png' and '00.png' are the same content and both ready",
    ),
    "another's row": (lambda a: replace(find_entry(a, "02.png"), row=4), "'02.png': row 4 of batch 0 is not its own"),
    "beyond": (lambda a: replace(find_entry(a, "02.png"), row=99), "'02.png': row 99 of batch 0 is not its own"),
    "before": (lambda a: replace(find_entry(a, "02.png"), row=-1), "'02.png': row -1 of batch 0 is not its own"),
    "no batch": (lambda a: replace(find_entry(a, "02.png"), batch=5), "'02.png': row 2 of batch 5 is not its own"),
    "astray": (
        lambda a: replace(find_entry(a, "copy.png"), reason="nobody"),
        "'copy.png': is duplicate-of an input that is not in the catalog",
    ),
    "no reason": (
        lambda a: replace(find_entry(a, "broken.png"), reason=""),
        "'broken.png': is quarantined without a reason",
    ),
    "pending": (
        lambda a: replace(find_entry(a, "00.png"), status="pending"),
        "batch 0: the catalog has lost what became of 1 of its 7 inputs",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_event_is_found(archive: Path, what: str) -> None:
    event, message = WRONG[what]
    write_events(archive, event(archive))
    result = verify_archive(str(archive))
    assert message in result.faults
    assert not result.is_sound
    if what != "pending":
        assert message in find_catalog_faults(Location.parse(archive))


def test_a_lost_batch_and_an_unknown_record_are_found(archive: Path) -> None:
    place = Location.parse(archive)
    store = place.list_names("features")[0]
    shutil.copy(
        archive / "features" / store / "000000" / "records" / "000000.json",
        archive / "features" / store / "000000" / "records" / "000009.json",
    )
    assert verify_archive(str(archive)).faults == (f"features/{store}: a record of block 9, of which batch 0 has 3",)
    (archive / "batches" / "000000.parquet").unlink()
    assert len([why for why in verify_archive(str(archive)).faults if "of batch 0 is not its own" in why]) == 7


def test_a_missing_vector_is_found(archive: Path) -> None:
    place = Location.parse(archive)
    store = place.list_names("features")[0]
    record = archive / "features" / store / "000000" / "records" / "000001.json"
    payload = json.loads(record.read_text())
    record.write_text(json.dumps(payload | {"failed": {"4": "no image"}}))
    record.with_name(f"{record.name}.sha256").unlink()  # as in an archive of an earlier version
    assert verify_archive(str(archive)).faults == (f"'04.png': is ready, but features/{store} has no vector of it",)
    (features,) = verify_archive(str(archive)).features
    assert (features.ready, features.extracted, features.to_do, features.blocks) == (7, 6, 0, 3)
    record.unlink()
    (features,) = verify_archive(str(archive)).features
    assert (features.ready, features.extracted, features.to_do, features.blocks) == (7, 4, 3, 2)


def test_counts_by_status_are_those_of_the_entries(archive: Path) -> None:
    table = catalog.read_latest(Location.parse(archive), ("status",))
    assert count_by_status(table) == catalog.count_entries_by_status(read_entries(archive))


def add_memory_record(archive: Path, day: str, stratum: str = "mast @0123456789ab") -> str:
    record = MemoryRecord.from_rows(day, np.eye(3, 8), {"x": day})
    Memory(Location.parse(archive), stratum).add(record)
    return record.digest


def commit(archive: Path, day: str, digest: str, **more: object) -> None:
    payload = {"day": day, "remembers": "0123456789ab", "records": {"mast": {"digest": digest, "count": 3}}, **more}
    Location.parse(archive).write_json(f"days/{day}/commit.json", payload)


def test_a_day_has_the_memory_records_of_its_commit(archive: Path) -> None:
    commit(archive, "sol-00001", add_memory_record(archive, "sol-00001"))
    commit(archive, "sol-00002", add_memory_record(archive, "sol-00002"), records={})
    Location.parse(archive).write_json("days/sol-00003/opened.json", {})
    result = verify_archive(str(archive))
    assert result.is_sound
    assert (result.records.days, result.records.memory_records) == (2, 2)
    commit(archive, "sol-00002", "another")
    commit(archive, "sol-00004", "anything")
    assert verify_archive(str(archive)).faults == (
        "days/sol-00002/commit.json: the memory of 'mast @0123456789ab' has another record of the day than the commit",
        (
            "days/sol-00004/commit.json: the memory of 'mast @0123456789ab' has no record of the day; run `interpdisc rebuild`"
        ),
    )


def test_every_record_of_the_memory_is_read(archive: Path) -> None:
    add_memory_record(archive, "sol-1", "a/b")
    (path,) = (archive / "memory").rglob("*.bin")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    (fault,) = verify_archive(str(archive)).faults
    assert "is damaged: its content is not that of its checksum" in fault
    path.with_name(f"{path.name}.sha256").unlink()  # as in an archive of an earlier version
    (fault,) = verify_archive(str(archive)).faults
    assert "is damaged: its bytes do not match its digest" in fault
    path.rename(path.with_name("strange"))
    fault = verify_archive(str(archive)).faults[-1]
    assert "strange is not a" in fault


def test_every_record_of_a_feed_has_its_image(archive: Path) -> None:
    """An image that is missing is a fault; one that no run has taken in yet is work to do."""
    place = Location.parse(archive)
    for number in range(3):
        image = f"feed/images/sol-00001/{number}.png"
        place.write(f"inbox/{image}", b"image")
        place.write_json(f"inbox/feed/records/2026-01-01/{number}.json", make_inbox_record(number, image, b"image"))
    taken = file_uri(str(archive / "inbox/feed/images/sol-00001/0.png"))
    write_events(archive, CatalogEntry("0" * 16, "0", taken, 5, "s", "quarantined", "broken"))
    result = verify_archive(str(archive))
    assert result.is_sound
    assert (result.records.feed_records, result.records.pending_records) == (3, 2)
    (archive / "inbox/feed/images/sol-00001/2.png").unlink()
    assert verify_archive(str(archive)).faults == (
        "inbox/feed: the image of '2' is missing (feed/images/sol-00001/2.png)",
    )


def test_every_shard_has_its_batch(archive: Path) -> None:
    from interpdisc_core.operations.backfill.records import (
        ShardVersion,
        write_deduplicated_batches,
        write_shard_plan,
        write_shard_record,
    )

    place = Location.parse(archive)
    shards = [ShardVersion(f"file:///{number}.tar", f"{number}.tar", 1, "s", number, 3) for number in range(2)]
    write_shard_plan(place, "pixels", shards)
    write_deduplicated_batches(place, "pixels", [0, 1])
    write_shard_record(place, "pixels", 0, {"id": "0.tar", "batch": 0, "rows": 7, "fault": ""})
    result = verify_archive(str(archive))
    assert result.is_sound
    assert (result.records.shards_read, result.records.shards_left) == (1, 1)
    write_shard_record(place, "pixels", 1, {"id": "1.tar", "batch": 1, "rows": 5, "fault": ""})
    write_shard_record(place, "pixels", 0, {"id": "0.tar", "batch": 0, "rows": 8, "fault": ""})
    assert verify_archive(str(archive)).faults == (
        "backfills/pixels: '0.tar' gave 8 rows, and its batch has 7",
        "backfills/pixels: '1.tar' gave 5 rows, and its batch has 0",
    )
    assert asdict(result.records)["shards_read"] == 1
