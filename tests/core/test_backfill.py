"""Laws of the backfill: every member is accounted for, rows are exact, and a kill at any moment changes nothing."""

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core import bare, catalog, embedding, extraction, ingest, tables
from interpdisc_core.backfill import counting, records
from interpdisc_core.backfill.filling import Filled, fill
from interpdisc_core.backfill.pace import Pace, spoken
from interpdisc_core.backfill.planning import Planned, plan, to_do
from interpdisc_core.backfill.proving import Proof, prove
from interpdisc_core.backfill.records import Shard
from interpdisc_core.backfill.remembering import remember
from interpdisc_core.backfill.settling import Settled, settle
from interpdisc_core.errors import PlanError, StoreError, Unreadable
from interpdisc_core.features import Batch, FeatureStore, batches, gather, representation_of, store_name
from interpdisc_core.memory import Memory
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.representations import PixelValues
from interpdisc_core.runs import Inputs
from interpdisc_core.selectors import Demud
from interpdisc_core.sources.shards import members
from interpdisc_core.storage import Place
from interpdisc_core.verification import verify
from tests.core.shards import packed, picture, pictures, tar

PIXELS = Plan(representation=PixelValues(side=4))
BLOCK = 4
HARD = [
    *pictures(0, 6), ("0006.json", b'{"sol": 7}'), ("0006.png", picture(6)), ("cut.png", picture(90)[:-60]),
    ("nothing.jpg", b""), ("text.jpg", b"no image"), ("notes.txt", b"hello"), ("../0007.png", picture(7)),
    ("again.png", picture(2)),
]  # fmt: skip


@pytest.fixture
def mission(tmp_path: Path) -> Path:
    """Three shards: one of members that are hard, a zip, and one that has contents of both."""
    folder = tmp_path / "mission"
    tar(folder / "m-0.tar", HARD)
    packed(folder / "m-1.zip", pictures(10, 17))
    tar(folder / "m-2.tar", pictures(4, 12))
    return folder


def begun(archive: Path, *sources: Path, settings: Plan = PIXELS, dtype: Any = "float16") -> Planned:
    """What there is to do."""
    return plan(str(archive), [str(source) for source in sources], settings, dtype, BLOCK)


def taken(archive: Path, *sources: Path, settings: Plan = PIXELS, dtype: Any = "float16") -> tuple[Planned, Proof]:
    """A whole call, as the flow makes it."""
    planned = begun(archive, *sources, settings=settings, dtype=dtype)
    fill(str(archive), planned.name, settings, planned.todo, planned.turn, Watch(str(archive)))
    settle(str(archive), planned.name)
    return planned, prove(str(archive), planned.name)


def latest(archive: Path) -> dict[str, catalog.Entry]:
    return catalog.load(Place.of(archive))


def kept(archive: Path) -> dict[str, bytes]:
    """Every file of an archive but what tells of times: the catalog's parts, speeds."""
    told = {}
    for path in sorted(archive.rglob("*")):
        name = path.relative_to(archive).as_posix()
        if path.is_file() and not name.startswith(("catalog", "progress")) and "/shards/" not in name:
            told[name] = path.read_bytes()
    return told


def test_every_member_has_a_status_and_every_row_is_the_networks(tmp_path: Path, mission: Path) -> None:
    """In = out by the headers; each ready row is, to the bit, what its member's own bytes give, rounded to float16."""
    planned, proof = taken(tmp_path / "a", mission)
    assert proof.complete
    everything = [item for shard in planned.todo for item, _ in members(shard.uri)]
    assert proof.headers == proof.members == len(everything) == sum(proof.statuses.values()) == 29
    assert {k: v for k, v in proof.statuses.items() if v} == {
        "ready": 17, "duplicate-of": 6, "quarantined": 3, "skipped": 3
    }  # fmt: skip
    assert proof.vectors == 17
    store, embed = FeatureStore(Place.of(tmp_path / "a"), planned.name), PIXELS.representation.load()
    ready = [entry for entry in latest(tmp_path / "a").values() if entry.status == "ready"]
    rows = gather(store, [(entry.batch, entry.row) for entry in ready])
    for entry, row in zip(ready, rows, strict=True):
        # A pick's picture is found by its address alone.
        image = PIXELS.representation.prepare(extraction.pixels(entry.uri, entry.sha256, at_least=4))
        assert np.array_equal(embed(image[None])[0].astype(np.float16).astype(np.float32), row)
    assert json.loads(next(entry for entry in ready if entry.id == "0006.png").record) == {"sol": 7}
    assert verify(str(tmp_path / "a")).sound


def test_the_same_again_does_nothing(tmp_path: Path, mission: Path) -> None:
    """A second call writes nothing at all, and comes to the same proof."""
    _, before = taken(tmp_path / "a", mission)
    files = kept(tmp_path / "a")
    planned, proof = taken(tmp_path / "a", mission)
    assert planned.todo == ()
    assert proof == before
    assert kept(tmp_path / "a") == files


def test_a_kill_after_any_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was written when it died is sound, and the same call ends with the same bytes as one nobody disturbed."""
    mission = tmp_path / "mission"
    tar(mission / "m-0.tar", [*pictures(0, 5), ("cut.png", picture(90)[:-60])])
    tar(mission / "m-1.tar", [*pictures(4, 6), ("notes.txt", b"hello")])
    taken(tmp_path / "straight", mission)
    straight = kept(tmp_path / "straight")
    write, left = Place.write, [0]

    class Killed(BaseException):
        pass

    def counted(place: Place, name: str, data: bytes) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        write(place, name, data)

    writes = 0
    while True:
        archive = tmp_path / f"killed-{writes}"
        left[0] = writes
        with monkeypatch.context() as patch:
            patch.setattr(Place, "write", counted)
            try:
                taken(archive, mission)
                break
            except Killed:
                pass
        if (archive / "archive.json").exists():
            assert verify(str(archive)).faults == ()
        _, proof = taken(archive, mission)
        assert proof.complete
        assert verify(str(archive)).sound
        assert kept(archive) == straight
        writes += 1
    assert writes > 15


def test_the_order_of_shards_does_not_matter(tmp_path: Path, mission: Path) -> None:
    """Backwards, with what is there twice compared in between: the same inputs are ready, in the same rows."""
    taken(tmp_path / "forwards", mission)
    planned = begun(tmp_path / "backwards", mission)
    for shard in reversed(planned.todo):
        fill(str(tmp_path / "backwards"), planned.name, PIXELS, [shard], planned.turn, Watch(""))
        settle(str(tmp_path / "backwards"), planned.name)
        assert verify(str(tmp_path / "backwards")).sound
    assert prove(str(tmp_path / "backwards"), planned.name).complete
    one, other = latest(tmp_path / "forwards"), latest(tmp_path / "backwards")
    assert one == other


def test_what_a_shard_has_twice_is_no_fault_while_it_goes_on(tmp_path: Path, mission: Path) -> None:
    """Before contents were compared two inputs of one are ready; that is work to do, not a fault."""
    planned = begun(tmp_path / "a", mission)
    fill(str(tmp_path / "a"), planned.name, PIXELS, planned.todo, planned.turn, Watch(""))
    contents = [entry.sha256 for entry in latest(tmp_path / "a").values() if entry.status == "ready"]
    assert len(set(contents)) < len(contents)
    assert verify(str(tmp_path / "a")).faults == ()
    assert settle(str(tmp_path / "a"), planned.name).duplicates == 6
    assert settle(str(tmp_path / "a"), planned.name) == Settled()


def test_a_bad_shard_stops_no_other(tmp_path: Path, mission: Path) -> None:
    """One that is not there and one that is cut off are told of and tried again; the others are taken in."""
    whole = (mission / "m-2.tar").read_bytes()
    (mission / "m-2.tar").write_bytes(whole[:4000])
    names = (str(mission / "m-{0,2,3}.tar"), str(mission / "m-1.zip"))
    planned = plan(str(tmp_path / "a"), names, PIXELS, "float16", BLOCK)
    fill(str(tmp_path / "a"), planned.name, PIXELS, planned.todo, planned.turn, Watch(""))
    settle(str(tmp_path / "a"), planned.name)
    proof = prove(str(tmp_path / "a"), planned.name)
    assert not proof.complete
    assert set(proof.faults) == {"m-2.tar", "m-3.tar"}
    assert "ends within" in proof.faults["m-2.tar"]
    assert proof.gaps == ()
    assert verify(str(tmp_path / "a")).sound
    held = {entry.id for entry in latest(tmp_path / "a").values() if entry.status in ("ready", "duplicate-of")}
    assert {"0000.png", "0010.png", "0004.png"} <= held, "what could be read of them is there"

    assert [shard.id for shard in plan(str(tmp_path / "a"), names, PIXELS, "float16", BLOCK).todo] == [
        "m-2.tar",
        "m-3.tar",
    ]
    (mission / "m-2.tar").write_bytes(whole)
    tar(mission / "m-3.tar", pictures(30, 33))
    planned = plan(str(tmp_path / "a"), names, PIXELS, "float16", BLOCK)
    fill(str(tmp_path / "a"), planned.name, PIXELS, planned.todo, planned.turn, Watch(""))
    settle(str(tmp_path / "a"), planned.name)
    assert prove(str(tmp_path / "a"), planned.name).complete
    assert verify(str(tmp_path / "a")).sound


def test_a_shard_that_never_was_may_be_given_up(tmp_path: Path, mission: Path) -> None:
    """Named by mistake, it is a fault as long as it is named; numbers of the others stay."""
    for tars, complete in (
        ("m-{0,2,4}.tar", False),
        ("m-{0,2,4}.tar", False),
        ("m-{0,2}.tar", True),
        ("m-{0,2}.tar", True),
    ):
        planned = plan(str(tmp_path / "a"), [str(mission / tars), str(mission / "m-1.zip")], PIXELS, "float16", BLOCK)
        fill(str(tmp_path / "a"), planned.name, PIXELS, planned.todo, planned.turn, Watch(""))
        settle(str(tmp_path / "a"), planned.name)
        proof = prove(str(tmp_path / "a"), planned.name)
        assert proof.complete is complete
        assert proof.vectors == 17
        assert verify(str(tmp_path / "a")).sound


def test_a_shard_that_fails_halfway_leaves_no_rows(
    tmp_path: Path, mission: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the store behind it is not the end of the shard: nothing of it counts, and the next try is whole."""
    from interpdisc_core.backfill import filling

    def broken(uri: str) -> Iterator[Any]:
        for number, pair in enumerate(members(uri)):
            if number == 5 and "m-0" in uri:
                raise OSError("connection reset")
            yield pair

    with monkeypatch.context() as patch:
        patch.setattr(filling.shards, "members", broken)
        _, proof = taken(tmp_path / "a", mission)
    assert proof.faults == {"m-0.tar": "connection reset"}
    assert not [entry for entry in latest(tmp_path / "a").values() if "m-0" in entry.uri]
    assert verify(str(tmp_path / "a")).sound
    taken(tmp_path / "a", mission)
    taken(tmp_path / "straight", mission)
    assert latest(tmp_path / "a") == latest(tmp_path / "straight")


def test_a_shard_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, mission: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are never those of two versions."""
    from interpdisc_core.backfill import filling

    def changing(uri: str) -> Iterator[Any]:
        yield from members(uri)
        if "m-0" in uri:
            tar(mission / "m-0.tar", pictures(50, 53))

    with monkeypatch.context() as patch:
        patch.setattr(filling.shards, "members", changing)
        _, proof = taken(tmp_path / "a", mission)
    assert "changed since it was listed" in proof.faults["m-0.tar"]
    _, proof = taken(tmp_path / "a", mission)
    assert proof.complete
    ready = {entry.id for entry in latest(tmp_path / "a").values() if "m-0" in entry.uri}
    assert ready == {"0050.png", "0051.png", "0052.png"}


def test_more_shards_are_added_and_a_changed_one_supersedes(tmp_path: Path, mission: Path) -> None:
    """Numbers stay; members of the old version are superseded by those of their name, or gone with it; sums hold."""
    before, _ = taken(tmp_path / "a", mission)
    numbers = {shard.uri: shard.batch for shard in before.todo}
    tar(mission / "m-3.tar", pictures(20, 24))
    tar(mission / "m-2.tar", [*pictures(4, 9), ("0009.png", picture(77))])
    planned, proof = taken(tmp_path / "a", mission)
    assert {shard.id: shard.batch for shard in planned.todo} == {"m-2.tar": 3, "m-3.tar": 4}
    there = {shard.uri: shard.batch for shard in records.planned(Place.of(tmp_path / "a"), planned.name)[:3]}
    assert there == numbers
    assert proof.complete
    assert proof.shards == 4
    old = [e for e in latest(tmp_path / "a").values() if "m-2" in e.uri and e.batch != 3 and e.status != "duplicate-of"]
    told = {entry.id: (entry.status, entry.access) for entry in old}
    assert told["0008.png"] == told["0009.png"] == ("superseded-by", False)
    assert told["0010.png"] == told["0011.png"] == ("quarantined", True)
    ready = {entry.sha256 for entry in latest(tmp_path / "a").values() if entry.status == "ready"}
    assert len(ready) == 17 - 1 + 1 + 4, "contents of the old version that others have stay"
    assert verify(str(tmp_path / "a")).sound
    assert prove(str(tmp_path / "a"), planned.name) == proof


def test_a_version_that_comes_back(tmp_path: Path, mission: Path) -> None:
    """A → B → A: the shard is read once more, and what is ready is as at first."""
    path = mission / "m-2.tar"
    first, times = path.read_bytes(), path.stat().st_mtime_ns
    taken(tmp_path / "a", mission)
    before = {(entry.id, entry.status) for entry in latest(tmp_path / "a").values()}
    tar(path, pictures(40, 42))
    taken(tmp_path / "a", mission)
    path.write_bytes(first)
    os.utime(path, ns=(times, times))
    planned, proof = taken(tmp_path / "a", mission)
    assert proof.complete
    assert [shard.batch for shard in planned.todo] == [4]
    now = {
        (entry.id, entry.status)
        for entry in latest(tmp_path / "a").values()
        if entry.id not in ("0040.png", "0041.png")
    }
    assert now == before
    assert verify(str(tmp_path / "a")).sound


def test_other_runs_take_no_number_of_a_backfill(tmp_path: Path, mission: Path) -> None:
    """Images that come in between have a batch of their own, and what is ready already stays so."""
    planned = begun(tmp_path / "a", mission)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in pictures(5, 8):
        (folder / name).write_bytes(data)
    inputs = Inputs(sources=(str(folder),))
    listing = ingest.enlist(str(tmp_path / "a"), inputs)
    ingest.check(str(tmp_path / "a"), listing.name, (0, listing.unchecked), listing.turn, Watch(""))
    settled = ingest.settle(str(tmp_path / "a"), listing.name, PIXELS, inputs, 100, 1)
    extraction.extract(str(tmp_path / "a"), PIXELS, settled.blocks[0], settled.turn, Watch(""))
    assert batches(Place.of(tmp_path / "a")) == [2, 3]
    before = {entry.key: entry for entry in latest(tmp_path / "a").values()}
    _, proof = taken(tmp_path / "a", mission)
    assert proof.complete
    assert [shard.batch for shard in planned.todo] == [0, 1, 2]
    now = latest(tmp_path / "a")
    assert {key: now[key] for key in before} == before
    assert proof.statuses["ready"] == 17 - 3
    assert verify(str(tmp_path / "a")).sound


def test_another_representation_has_the_same_rows(tmp_path: Path, mission: Path) -> None:
    """Its own backfill, the same batches, nothing about the inputs changes; float32 and float16 are kept apart."""
    taken(tmp_path / "a", mission)
    before, rows = latest(tmp_path / "a"), {n: Batch.read(Place.of(tmp_path / "a"), n).table for n in range(3)}
    other = Plan(representation=PixelValues(side=6))
    planned, proof = taken(tmp_path / "a", mission, settings=other)
    assert proof.complete
    assert [shard.batch for shard in planned.todo] == [0, 1, 2]
    whole, proof = taken(tmp_path / "a", mission, dtype="float32")
    assert proof.complete
    assert latest(tmp_path / "a") == before
    assert {n: Batch.read(Place.of(tmp_path / "a"), n).table for n in range(3)} == rows
    assert verify(str(tmp_path / "a")).sound
    assert whole.name == PIXELS.features == representation_of(store_name(PIXELS.features, "float16"))
    place = next((entry.batch, entry.row) for entry in before.values() if entry.status == "ready")
    (half,) = gather(FeatureStore(Place.of(tmp_path / "a"), store_name(PIXELS.features, "float16")), [place])
    (full,) = gather(FeatureStore(Place.of(tmp_path / "a"), whole.name), [place])
    assert np.array_equal(full.astype(np.float16).astype(np.float32), half)
    assert not np.array_equal(full, half)


def test_a_selection_sees_the_rows(tmp_path: Path, mission: Path) -> None:
    """`select` on the archive, by expressions too; of two stores one must be named."""
    planned, _ = taken(tmp_path / "a", mission)
    taken(tmp_path / "a", mission, dtype="float32")
    with pytest.raises(PlanError, match="choose with --features"):
        tables.read(str(tmp_path / "a"))
    table = tables.read(str(tmp_path / "a"), planned.name)
    assert table.rows.shape == (17, 48)
    whole = tables.read(str(tmp_path / "a"), representation_of(planned.name))
    assert whole.features == PIXELS.features
    asked = bare.Asked(source=str(tmp_path / "a"), features=planned.name, selector=Demud(rank=3), picks=5)
    assert len(bare.select(asked, str(tmp_path / "out"))["picks"]) == 5
    assert table.where("sol == 7").ids == ["0006.png"]


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    """A sentence, no infinity among the features; a value that was missing stays missing."""
    store = FeatureStore(Place.of(tmp_path), "spec-float16")
    store.put(0, 0, np.array([[1.0, np.nan]], np.float32), 4)
    with pytest.raises(StoreError, match="70000 is beyond what float16 holds"):
        store.put(0, 0, np.array([[1.0, 7e4]], np.float32), 4)


def test_remembered_once(tmp_path: Path, mission: Path) -> None:
    """One record for all that is new; again, nothing; with one more shard, one more record, of its rows alone."""
    planned, _ = taken(tmp_path / "a", mission)
    url, archive = str(tmp_path / "a"), Place.of(tmp_path / "a")
    first = remember(url, planned.name, "all", "none")
    assert (first.batch, first.rows) == ("backfill-000000-000002", 17)
    assert remember(url, planned.name, "all", "none").batch == ""
    tar(mission / "m-3.tar", pictures(10, 24))
    taken(tmp_path / "a", mission)
    second = remember(url, planned.name, "all", "none")
    assert (second.batch, second.rows) == ("backfill-000003-000003", 7)
    seen = Memory(archive, "all").horizon()
    assert seen is not None
    assert seen.count == 24
    ready = [(e.batch, e.row) for e in latest(tmp_path / "a").values() if e.status == "ready"]
    rows = gather(FeatureStore(archive, planned.name), ready).astype(np.float64)
    np.testing.assert_allclose(seen.mean, rows.mean(axis=0), atol=1e-12)
    # Killed between the record and the note of it: the same record again is no change.
    (tmp_path / "a" / f"backfills/{planned.name}/remembered.json").unlink()
    Memory(archive, "all").remove(second.batch)
    assert remember(url, planned.name, "all", "none").rows == 24


def test_a_rounded_horizon_serves_rows_that_are_not(tmp_path: Path, mission: Path) -> None:
    """What was backfilled in float16 is seen, for a selection of float32 rows too; other features are refused."""
    planned, _ = taken(tmp_path / "a", mission)
    taken(tmp_path / "a", mission, dtype="float32")
    taken(tmp_path / "a", mission, settings=Plan(representation=PixelValues(side=6)))
    remember(str(tmp_path / "a"), planned.name, "all", "none")
    asked = bare.Asked(
        source=str(tmp_path / "a"), features=PIXELS.features, selector=Demud(rank=40), picks=3, horizon="all"
    )  # fmt: skip
    scores = [pick["score"] for pick in bare.select(asked, str(tmp_path / "out"))["picks"]]
    assert max(scores) < 1e-4, "only rounding is new"
    other = replace(asked, features=store_name(Plan(representation=PixelValues(side=6)).features, "float16"))
    with pytest.raises(PlanError, match="batch 'backfill-000000-000002' of 'all' is of features"):
        bare.select(other, str(tmp_path / "other"))


def test_sources_without_shards(tmp_path: Path, mission: Path) -> None:
    """One sentence; what lies beside shards and is none is accounted for as skipped."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(PlanError, match="no shards there"):
        begun(tmp_path / "a", tmp_path / "empty")
    assert not (tmp_path / "a").exists()
    (mission / "readme.txt").write_text("hello")
    assert to_do(str(tmp_path / "a"), [str(mission)], PIXELS, "float16")[:2] == (3, 3)
    assert not (tmp_path / "a").exists()
    taken(tmp_path / "a", mission)
    taken(tmp_path / "a", mission)
    beside = [entry for entry in latest(tmp_path / "a").values() if entry.id == "readme.txt"]
    assert [entry.status for entry in beside] == ["skipped"]
    assert to_do(str(tmp_path / "a"), [str(mission)], PIXELS, "float16")[:2] == (3, 0)


def test_a_damaged_archive_is_a_gap_in_the_proof(tmp_path: Path, mission: Path) -> None:
    """A lost part of the catalog and a lost block are each found."""
    planned, proof = taken(tmp_path / "a", mission)
    assert proof.complete
    (tmp_path / f"a/features/{planned.name}/000001/records/000000.json").unlink()
    (gap,) = prove(str(tmp_path / "a"), planned.name).gaps
    assert "m-1.zip: 4 of its 7 ready images have no vector" in gap
    part = next((tmp_path / "a/catalog").glob(f"*-{planned.name}-000002.parquet"))
    part.unlink()
    assert any("m-2.tar: 8 members were read" in gap for gap in prove(str(tmp_path / "a"), planned.name).gaps)


@given(
    st.lists(st.tuples(st.text("abc/é.", min_size=1, max_size=120), st.binary(max_size=1500)), max_size=8),
    st.sampled_from((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, -1)),
    st.integers(0, 2),
)
def test_headers_are_counted_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, given_members: list[tuple[str, bytes]], kind: int, folders: int
) -> None:
    """Whatever names and sizes, in every form of tar and in zips, folders left out."""
    folder = tmp_path_factory.mktemp("count")
    named = [
        (f"{number}{name.strip('/').replace('//', '_')}", data) for number, (name, data) in enumerate(given_members)
    ]
    if kind < 0:
        path = packed(folder / "x.zip", [*named, *((f"folder{n}/", b"") for n in range(folders))])
    else:
        if kind == tarfile.USTAR_FORMAT:
            named = [(name[:40].rstrip("/") or "x", data) for name, data in named]
        path = tar(folder / "x.tar", named, kind)
        with tarfile.open(path, "a", format=kind) as opened:
            for number in range(folders):
                info = tarfile.TarInfo(f"folder{number}")
                info.type = tarfile.DIRTYPE
                opened.addfile(info)
    assert counting.headers(f"file://{path}") == len(named)
    assert len([item for item, _ in members(f"file://{path}") if not item.skipped.startswith("the rest")]) == len(named)


def test_counting_what_is_no_shard(tmp_path: Path) -> None:
    """Damage ends the count; nothing raises but what is not there."""
    for name, data in (
        ("a.tar", b"\xff" * 2000),
        ("b.zip", b"PK\3\4nonsense"),
        ("c.tar", b""),
        ("d.tar", b"\0" * 10240),
    ):
        (tmp_path / name).write_bytes(data)
        assert counting.headers(f"file://{tmp_path}/{name}") == 0
    with pytest.raises(Unreadable):
        counting.headers(f"file://{tmp_path}/nowhere.tar")


@given(st.lists(st.integers(0, 400 << 20), max_size=120))
def test_little_waits(sizes: list[int]) -> None:
    """Results in order; never more in memory than was promised, however large items are and however slow they are used."""
    held: list[int] = []
    most = 0

    def items() -> Iterator[int]:
        nonlocal most
        for size in sizes:
            held.append(size)
            most = max(most, len(held))
            yield size

    found = []
    for size in embedding.ahead(lambda size: size, items(), weight=lambda size: size):
        held.remove(size)
        found.append(size)
    assert found == sizes
    assert most <= 3 * embedding.BATCH + 1


def shard(number: int, size: int) -> Shard:
    return Shard(f"file:///{number}.tar", f"{number}.tar", size, "", number, BLOCK)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.floats(0.01, 1e4), st.integers(1, 8))
def test_groups_take_the_time_of_a_task(sizes: list[int], rate: float, workers: int) -> None:
    """All shards are handed out, in order; a group of several takes no longer than a task should, at the pace so far."""
    pace = Pace(workers).after([Filled(0, 10, 10, 10**6, rate, "")], rate)
    waiting, groups = [shard(number, size) for number, size in enumerate(sizes)], list[tuple[Shard, ...]]()
    rest = waiting
    while rest:
        groups.append(pace.group(rest, []))
        rest = rest[len(groups[-1]) :]
    assert [one for group in groups for one in group] == waiting
    for group in groups:
        assert len(group) == 1 or sum(one.size for one in group) * rate / 10**6 <= 45.0
    assert len(Pace(workers).group(waiting, [])) == 1, "nothing is known yet"


def test_a_budget_ends_it_and_something_is_always_done() -> None:
    """By time and by images; the first shard of a call is handed out whatever the budget, so each call gets further."""
    one, large = shard(0, 10**6), shard(1, 19 * 10**6)
    assert Pace(2, budget_s=0.0, most_images=1).group([one, one], []) == (one,)
    known = Pace(2, budget_s=100.0).after([Filled(0, 100, 100, 10**6, 1.0, "")], 90.0)
    assert known.group([one, one, large], []) == (one, one)
    assert known.group([one], [[large]]) == (one,)
    assert known.group([one], [[large, one]]) == ()
    few = Pace(2, most_images=250).after([Filled(0, 100, 100, 10**6, 1.0, "")], 10.0)
    assert few.group([one] * 4, []) == (one, one)
    assert few.group([one] * 4, [[one]]) == (one,)
    assert few.group([one] * 4, [[one], [one]]) == ()
    assert known.left_s(3 * 10**6) == 270.0
    assert [spoken(seconds) for seconds in (None, 3, 200, 3700, 5e5)] == [
        "an unknown time", "3 s", "3 min", "1 h 02 min", "5.8 days"
    ]  # fmt: skip


def test_budgets_of_the_command_line() -> None:
    """Times as people write them; anything else is a sentence."""
    from deploy.commands.backfilling import budget_of

    assert [budget_of(text) for text in ("", "2h", "90min", "1h30m", "45 s", "0.5d")] == [
        None, 7200.0, 5400.0, 5400.0, 45.0, 43200.0
    ]  # fmt: skip
    for wrong in ("2", "soon", "2h later", "0h", "-3h"):
        with pytest.raises(PlanError, match="--budget is a time"):
            budget_of(wrong)
