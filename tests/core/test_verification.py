"""`verify` finds whatever is not as the archive says: in the catalog, its batches, features, days, inboxes and backfills."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from interpdisc_core import catalog
from interpdisc_core.catalog import Entry
from interpdisc_core.memory import Memory, Record
from interpdisc_core.sources import file_uri
from interpdisc_core.storage import Place
from interpdisc_core.verification import catalog_faults, counts_of, verify
from tests.core.test_ingest import entries, extracted, ingested, photos, put, sound


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Seven images in blocks of three, a copy, a broken one."""
    folder = photos(tmp_path / "in", 7)
    shutil.copy(folder / "03.png", folder / "copy.png")
    put(folder / "broken.png", b"no image")
    made = tmp_path / "archive"
    extracted(made, ingested(made, folder, block=3))
    assert sound(made) == {"ready": 7, "duplicate-of": 1, "quarantined": 1}
    return made


def log(archive: Path, *events: Entry) -> None:
    place = Place.of(archive)
    catalog.write_part(place, catalog.next_turn(place), "settle", events)


def named(archive: Path, name: str) -> Entry:
    return next(entry for entry in entries(archive) if entry.id == name)


WRONG: dict[str, tuple[Callable[[Path], Entry], str]] = {
    "status": (lambda a: replace(named(a, "00.png"), status="lost"), "'00.png': its status 'lost' is not one that there is"),
    "twice": (
        lambda a: replace(named(a, "01.png"), sha256=named(a, "00.png").sha256, row=0),
        "'01.png' and '00.png' are the same content and both ready",
    ),
    "another's row": (lambda a: replace(named(a, "02.png"), row=4), "'02.png': row 4 of batch 0 is not its own"),
    "beyond": (lambda a: replace(named(a, "02.png"), row=99), "'02.png': row 99 of batch 0 is not its own"),
    "before": (lambda a: replace(named(a, "02.png"), row=-1), "'02.png': row -1 of batch 0 is not its own"),
    "no batch": (lambda a: replace(named(a, "02.png"), batch=5), "'02.png': row 2 of batch 5 is not its own"),
    "astray": (
        lambda a: replace(named(a, "copy.png"), why="nobody"),
        "'copy.png': is duplicate-of an input that is not in the catalog",
    ),
    "no reason": (lambda a: replace(named(a, "broken.png"), why=""), "'broken.png': is quarantined without a reason"),
    "pending": (
        lambda a: replace(named(a, "00.png"), status="pending"),
        "batch 0: the catalog has lost what became of 1 of its 7 inputs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_event_is_found(archive: Path, what: str) -> None:
    event, says = WRONG[what]
    log(archive, event(archive))
    found = verify(str(archive))
    assert says in found.faults
    assert not found.sound
    if what != "pending":
        assert says in catalog_faults(Place.of(archive))


def test_a_lost_batch_and_a_foreign_record(archive: Path) -> None:
    place = Place.of(archive)
    store = place.names("features")[0]
    shutil.copy(
        archive / "features" / store / "000000" / "records" / "000000.json",
        archive / "features" / store / "000000" / "records" / "000009.json",
    )
    assert verify(str(archive)).faults == (f"features/{store}: a record of block 9, of which batch 0 has 3",)
    (archive / "batches" / "000000.parquet").unlink()
    assert len([why for why in verify(str(archive)).faults if "of batch 0 is not its own" in why]) == 7


def test_a_vector_that_is_not_there(archive: Path) -> None:
    place = Place.of(archive)
    store = place.names("features")[0]
    record = archive / "features" / store / "000000" / "records" / "000001.json"
    told = json.loads(record.read_text())
    record.write_text(json.dumps(told | {"failed": {"4": "no image"}}))
    assert verify(str(archive)).faults == (f"'04.png': is ready, but features/{store} has no vector of it",)
    (features,) = verify(str(archive)).features
    assert (features.ready, features.extracted, features.to_do, features.blocks) == (7, 6, 0, 3)
    record.unlink()
    (features,) = verify(str(archive)).features
    assert (features.ready, features.extracted, features.to_do, features.blocks) == (7, 4, 3, 2)


def test_the_counts_are_those_of_the_entries(archive: Path) -> None:
    table = catalog.latest(Place.of(archive), ("status",))
    assert counts_of(table) == catalog.counts(entries(archive))


def remembered(archive: Path, day: str, stratum: str = "mast @0123456789ab") -> str:
    record = Record.of(day, np.eye(3, 8), {"x": day})
    Memory(Place.of(archive), stratum).add(record)
    return record.digest


def commit(archive: Path, day: str, digest: str, **more: object) -> None:
    told = {"day": day, "remembers": "0123456789ab", "records": {"mast": {"digest": digest, "count": 3}}, **more}
    Place.of(archive).write_json(f"days/{day}/commit.json", told)


def test_a_day_is_in_the_memory_as_its_commit_names_it(archive: Path) -> None:
    commit(archive, "sol-00001", remembered(archive, "sol-00001"))
    commit(archive, "sol-00002", remembered(archive, "sol-00002"), records={})
    Place.of(archive).write_json("days/sol-00003/opened.json", {})
    found = verify(str(archive))
    assert found.sound
    assert (found.promised.days, found.promised.remembered) == (2, 2)
    commit(archive, "sol-00002", "another")
    commit(archive, "sol-00004", "anything")
    assert verify(str(archive)).faults == (
        "days/sol-00002/commit.json: the memory of 'mast @0123456789ab' has another record of the day than it names",
        (
            "days/sol-00004/commit.json: the memory of 'mast @0123456789ab' has no record of the day; `interpdisc rebuild` "
            "makes it anew"
        ),
    )


def test_every_record_of_the_memory_is_read(archive: Path) -> None:
    remembered(archive, "sol-1", "a/b")
    (path,) = (archive / "memory").rglob("*.bin")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    (fault,) = verify(str(archive)).faults
    assert "is damaged: its bytes do not match its digest" in fault
    path.rename(path.with_name("strange"))
    (fault,) = verify(str(archive)).faults
    assert "strange is not a record" in fault


def test_what_a_feed_brought_is_there_and_accounted_for(archive: Path) -> None:
    """An image that is missing is a fault; one that no run has taken in yet is work to do."""
    place = Place.of(archive)
    for number in range(3):
        image = f"feed/images/sol-00001/{number}.png"
        place.write(f"inbox/{image}", b"image")
        fetched = {"name": image, "sha256": "s", "size": 5, "etag": "", "url": "", "at": ""}
        place.write_json(f"inbox/feed/records/2026-01-01/{number}.json", {
            "format": 1, "file": f"{number}.json", "id": f"{number}", "received": "", "record": {}, "image": fetched,
        })  # fmt: skip
    taken = file_uri(str(archive / "inbox/feed/images/sol-00001/0.png"))
    log(archive, Entry("0" * 16, "0", taken, 5, "s", "quarantined", "broken"))
    found = verify(str(archive))
    assert found.sound
    assert (found.promised.arrived, found.promised.waiting) == (3, 2)
    (archive / "inbox/feed/images/sol-00001/2.png").unlink()
    assert verify(str(archive)).faults == (
        "inbox/feed: the image of '2' is missing (feed/images/sol-00001/2.png)",
    )  # fmt: skip


def test_a_shard_has_its_batch(archive: Path) -> None:
    from interpdisc_core.backfill.records import Shard, complete, settle, write_plan

    place = Place.of(archive)
    shards = [Shard(f"file:///{number}.tar", f"{number}.tar", 1, "s", number, 3) for number in range(2)]
    write_plan(place, "pixels", shards)
    settle(place, "pixels", [0, 1])
    complete(place, "pixels", 0, {"id": "0.tar", "batch": 0, "rows": 7, "fault": ""})
    found = verify(str(archive))
    assert found.sound
    assert (found.promised.shards, found.promised.shards_left) == (1, 1)
    complete(place, "pixels", 1, {"id": "1.tar", "batch": 1, "rows": 5, "fault": ""})
    complete(place, "pixels", 0, {"id": "0.tar", "batch": 0, "rows": 8, "fault": ""})
    assert verify(str(archive)).faults == (
        "backfills/pixels: '0.tar' gave 8 rows, and its batch has 7",
        "backfills/pixels: '1.tar' gave 5 rows, and its batch has 0",
    )
    assert asdict(found.promised)["shards"] == 1
