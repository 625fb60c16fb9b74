"""Archives of earlier layout versions: `tests/data/archive-v1.tar.xz` was made by the program of that version.

It has images in a list with records, a copy, broken ones, one that vanished, one that changed, two runs, and a memory.
"""

import io
import json
import tarfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interpdisc_core.archive import catalog, layout
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.run import Run, RunInputs
from interpdisc_core.digest import digest_bytes
from interpdisc_core.errors import StoreError
from interpdisc_core.operations.migrate import UNKNOWN_RADIOMETRY, migrate_archive
from interpdisc_core.operations.verify import find_catalog_faults, verify_archive
from interpdisc_core.pipeline import assign_rows, ingest
from interpdisc_core.pipeline.partition import split_range
from interpdisc_core.pipeline.select import select_picks
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet
from tests.archive.test_catalog import Killed, kill_at

MADE_IN = "/tmp/interpdisc-v1"
DATA = Path(__file__).resolve().parents[1] / "data" / "archive-v1.tar.xz"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The archive and its images, as if they had been made in `tmp_path`."""
    with tarfile.open(DATA) as tar:
        tar.extractall(tmp_path, filter="data")
    archive = tmp_path / "archive"
    names = {MADE_IN: str(tmp_path)}
    for event in catalog.load_entries(Location.parse(archive)).values():
        moved = event.uri.replace(MADE_IN, str(tmp_path))
        named = f"{moved}\0{event.size}\0{event.stamp}\0{event.status == 'skipped'}"
        names[event.key] = digest_bytes(named.encode())[:16]
    for path in archive.rglob("*"):
        if path.suffix == ".parquet":
            path.write_bytes(_renamed(path.read_bytes(), names))
        elif path.suffix in (".json", ".csv", ".html") and "values" not in path.parts:
            path.write_text(_in(path.read_text(), names))
    return tmp_path


def _in(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _renamed(data: bytes, names: dict[str, str]) -> bytes:
    table = pq.read_table(io.BytesIO(data))
    columns = [
        pa.array([None if text is None else _in(text, names) for text in column.to_pylist()], column.type)
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return encode_parquet(pa.table(columns, schema=table.schema))


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): digest_bytes(path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }


def load_entries_by_id(archive: Path) -> dict[str, CatalogEntry]:
    return {
        e.id if e.status != "superseded-by" else "old": e
        for e in catalog.load_entries(Location.parse(archive)).values()
    }


def test_version_1_is_refused_with_the_command_that_helps(home: Path) -> None:
    where = str(home / "archive")
    for act in (verify_archive, layout.open_or_create_archive, assign_rows.members_of_archive):
        with pytest.raises(StoreError, match=rf"layout version 1, .*`interpdisc migrate {where}`"):
            act(where)


def test_a_dry_run_changes_nothing(home: Path) -> None:
    before = files(home)
    result = migrate_archive(str(home / "archive"), dry_run=True)
    assert (result.from_format, result.format, result.inputs, result.reread, result.remaining) == (1, 3, 20, 0, 14)
    assert files(home) == before


def test_migrating_version_1_adds_what_files_say_and_changes_nothing_else(home: Path) -> None:
    """Sound before and after; what is new is known of each file; nothing that there was has changed."""
    archive = home / "archive"
    assert find_catalog_faults(Location.parse(archive)) == []
    before, files_before = load_entries_by_id(archive), files(archive)
    reported: list[tuple[int, int]] = []
    result = migrate_archive(str(archive), report_progress=lambda done, of: reported.append((done, of)))
    assert (result.from_format, result.format, result.inputs, result.reread, result.remaining) == (1, 3, 20, 14, 0)
    assert (result.unknown_radiometry, result.version_1_radiometry) == (1, 1)
    assert reported == [(14, 14)]
    after = load_entries_by_id(archive)
    assert {name: replace(e, header="{}", radiometry="") for name, e in after.items()} == before
    assert list(after) == list(before)
    radiometry = {name.removeprefix("images/"): e.radiometry for name, e in after.items()}
    assert radiometry["00.png"] == radiometry["copy.png"] == radiometry["colour.tif"] == "display8 colour"
    assert radiometry["grey.png"] == "display8 grey"
    assert radiometry["wide.png"] == "linear16 grey (version 1)"
    assert radiometry["old"] == UNKNOWN_RADIOMETRY
    assert radiometry["broken.png"] == radiometry["notes.txt"] == radiometry["gone.png"] == ""
    assert "Mastcam Left" in after["images/photo.jpg"].header
    now = files(archive)
    assert {name: data for name, data in now.items() if name in files_before and name != "archive.json"} == {
        name: data for name, data in files_before.items() if name != "archive.json"
    }
    assert {name.partition("/")[0] for name in set(now) - set(files_before)} == {"archive.json.sha256", "catalog"}
    assert verify_archive(str(archive)).is_sound
    again = files(archive)
    assert migrate_archive(str(archive)).reread == 0
    assert files(archive) == again


def test_after_migration_the_same_command_makes_the_same_picks(home: Path) -> None:
    """Listed anew after the migration: nothing is new, nothing is extracted, and the picks are those of version 1."""
    archive = str(home / "archive")
    migrate_archive(archive)
    last = Run(Location.parse(archive), "list-124a8fd8")
    inputs = RunInputs(sources=(str(home / "list.csv"),))
    listing = ingest.list_inputs(archive, inputs)
    for rows in split_range(listing.unchecked, 100, 1):
        ingest.check_inputs(archive, listing.name, rows, listing.sequence, ProgressReporter(archive))
    settled = ingest.resolve_inputs(archive, listing.name, last.plan, inputs, 5, 1)
    assert settled.blocks == ()
    assert verify_archive(archive).is_sound
    select_picks(archive, settled.run, ProgressReporter(archive))
    mine = Run(Location.parse(archive), settled.run).read_picks()
    assert [(pick.id, pick.score, pick.record) for pick in mine] == [
        (pick.id, pick.score, pick.record) for pick in last.read_picks()
    ]


def test_a_migration_killed_anywhere_is_resumed_by_the_same_call(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = home / "archive"
    monkeypatch.setattr("interpdisc_core.operations.migrate._PART_ENTRIES", 4)
    for step in (0, 1, 2, 1, 3, 2):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step)
            with suppress(Killed):
                migrate_archive(str(archive))
        assert find_catalog_faults(Location.parse(archive)) == []
        result = json.loads((archive / "archive.json").read_text())
        if result.get("format") == 1 or "migrating_from" in result:
            with pytest.raises(StoreError, match="interpdisc migrate"):
                verify_archive(str(archive))
    migrate_archive(str(archive))
    assert verify_archive(str(archive)).is_sound
    assert sum(e.radiometry != "" for e in load_entries_by_id(archive).values()) == 14


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"format": 4}, "layout version 4, of a later version"),
        ({"format": "2"}, "names no layout version"),
        ({}, "names no layout version"),
        ([1], "names no layout version"),
        ({"format": 0}, "names no layout version"),
        ({"format": 2, "migrating from": 7}, "a migration started from version 7"),
    ],
)
def test_other_folders_and_later_versions_are_refused(home: Path, result: Any, message: str) -> None:
    (home / "archive" / "archive.json").write_text(json.dumps(result))
    before = files(home)
    with pytest.raises(StoreError, match=message):
        migrate_archive(str(home / "archive"))
    assert files(home) == before


def test_a_damaged_archive_is_refused_and_not_changed(home: Path) -> None:
    archive = home / "archive"
    with pytest.raises(StoreError, match=r"is not an archive"):
        migrate_archive(str(home / "images"))
    (archive / "batches" / "000001.parquet").unlink()
    before = files(home)
    with pytest.raises(StoreError, match=r"is damaged, so it is not migrated: .*row 0 of batch 1 is not its own"):
        migrate_archive(str(archive))
    assert files(home) == before
