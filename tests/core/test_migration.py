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

from interpdisc_core import catalog, ingest
from interpdisc_core.catalog import Entry
from interpdisc_core.digest import of_bytes
from interpdisc_core.errors import StoreError
from interpdisc_core.migration import UNKNOWN, migrate
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Inputs, Run
from interpdisc_core.selection import select
from interpdisc_core.storage import Place
from interpdisc_core.verification import catalog_faults, verify
from tests.core.test_catalog import Killed, killed_at

MADE_IN = "/tmp/interpdisc-v1"
DATA = Path(__file__).resolve().parents[1] / "data" / "archive-v1.tar.xz"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The archive and its images, as if they had been made in `tmp_path`."""
    with tarfile.open(DATA) as tar:
        tar.extractall(tmp_path, filter="data")
    archive = tmp_path / "archive"
    names = {MADE_IN: str(tmp_path)}
    for event in catalog.load(Place.of(archive)).values():
        moved = event.uri.replace(MADE_IN, str(tmp_path))
        named = f"{moved}\0{event.size}\0{event.stamp}\0{event.status == 'skipped'}"
        names[event.key] = of_bytes(named.encode())[:16]
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
    return catalog.parquet(pa.table(columns, schema=table.schema))


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): of_bytes(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def known(archive: Path) -> dict[str, Entry]:
    return {e.id if e.status != "superseded-by" else "old": e for e in catalog.load(Place.of(archive)).values()}


def test_version_1_is_refused_with_the_command_that_helps(home: Path) -> None:
    where = str(home / "archive")
    for act in (verify, ingest.ready_archive, ingest.catalogued):
        with pytest.raises(StoreError, match=rf"layout version 1, .*`interpdisc migrate {where}`"):
            act(where)


def test_a_dry_run_changes_nothing(home: Path) -> None:
    before = files(home)
    told = migrate(str(home / "archive"), dry_run=True)
    assert (told.found, told.format, told.inputs, told.looked_at, told.left) == (1, 2, 20, 0, 14)
    assert files(home) == before


def test_from_1_to_2(home: Path) -> None:
    """Sound before and after; what is new is known of each file; nothing that there was has changed."""
    archive = home / "archive"
    assert catalog_faults(Place.of(archive)) == []
    before, there = known(archive), files(archive)
    heard: list[tuple[int, int]] = []
    told = migrate(str(archive), tell=lambda done, of: heard.append((done, of)))
    assert (told.found, told.format, told.inputs, told.looked_at, told.left) == (1, 2, 20, 14, 0)
    assert (told.unknown, told.earlier) == (1, 1)
    assert heard == [(14, 14)]
    after = known(archive)
    assert {name: replace(e, header="{}", radiometry="") for name, e in after.items()} == before
    assert list(after) == list(before)
    radiometry = {name.removeprefix("images/"): e.radiometry for name, e in after.items()}
    assert radiometry["00.png"] == radiometry["copy.png"] == radiometry["colour.tif"] == "display8 colour"
    assert radiometry["grey.png"] == "display8 grey"
    assert radiometry["wide.png"] == "linear16 grey (version 1)"
    assert radiometry["old"] == UNKNOWN
    assert radiometry["broken.png"] == radiometry["notes.txt"] == radiometry["gone.png"] == ""
    assert "Mastcam Left" in after["images/photo.jpg"].header
    now = files(archive)
    assert {name: data for name, data in now.items() if name in there and name != "archive.json"} == {
        name: data for name, data in there.items() if name != "archive.json"
    }
    assert {name.partition("/")[0] for name in set(now) - set(there)} == {"catalog"}
    assert verify(str(archive)).sound
    again = files(archive)
    assert migrate(str(archive)).looked_at == 0
    assert files(archive) == again


def test_the_same_command_makes_the_same_picks(home: Path) -> None:
    """Listed anew after the migration: nothing is new, nothing is extracted, and the picks are those of version 1."""
    archive = str(home / "archive")
    migrate(archive)
    last = Run(Place.of(archive), "list-124a8fd8")
    inputs = Inputs(sources=(str(home / "list.csv"),))
    listing = ingest.enlist(archive, inputs)
    for rows in ingest.ranges(listing.unchecked, 100, 1):
        ingest.check(archive, listing.name, rows, listing.turn, Watch(archive))
    settled = ingest.settle(archive, listing.name, last.plan, inputs, 5, 1)
    assert settled.blocks == ()
    assert verify(archive).sound
    select(archive, settled.run, Watch(archive))
    mine = Run(Place.of(archive), settled.run).picks()
    assert [(pick.id, pick.score, pick.record) for pick in mine] == [
        (pick.id, pick.score, pick.record) for pick in last.picks()
    ]


def test_killed_anywhere_the_same_call_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = home / "archive"
    monkeypatch.setattr("interpdisc_core.migration._PART", 4)
    for step in (0, 1, 2, 1, 3, 2):
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, step)
            with suppress(Killed):
                migrate(str(archive))
        assert catalog_faults(Place.of(archive)) == []
        told = json.loads((archive / "archive.json").read_text())
        if told.get("format") == 1 or "migrating from" in told:
            with pytest.raises(StoreError, match="interpdisc migrate"):
                verify(str(archive))
    migrate(str(archive))
    assert verify(str(archive)).sound
    assert sum(e.radiometry != "" for e in known(archive).values()) == 14


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"format": 3}, "layout version 3, of a later program"), ({"format": "2"}, "names no layout version"),
        ({}, "names no layout version"), ([1], "names no layout version"), ({"format": 0}, "names no layout version"),
        ({"format": 2, "migrating from": 7}, "no version that a migration began with"),
    ],
)  # fmt: skip
def test_what_cannot_be_migrated_is_refused(home: Path, told: Any, says: str) -> None:
    (home / "archive" / "archive.json").write_text(json.dumps(told))
    before = files(home)
    with pytest.raises(StoreError, match=says):
        migrate(str(home / "archive"))
    assert files(home) == before


def test_a_damaged_archive_is_refused_and_left_as_it_is(home: Path) -> None:
    archive = home / "archive"
    with pytest.raises(StoreError, match=r"is not an archive"):
        migrate(str(home / "images"))
    (archive / "batches" / "000001.parquet").unlink()
    before = files(home)
    with pytest.raises(StoreError, match=r"is damaged, so it is not migrated: .*row 0 of batch 1 is not its own"):
        migrate(str(archive))
    assert files(home) == before
