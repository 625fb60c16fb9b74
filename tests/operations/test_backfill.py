"""Laws of the backfill: every member has a status, rows are exact, and a kill at any write changes nothing."""

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import Batch, list_batches
from interpdisc_core.archive.feature_store import FeatureStore, format_store_name, gather_features, parse_store_name
from interpdisc_core.archive.memory import Memory
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.errors import DamageError, PlanError, StoreError, Unreadable
from interpdisc_core.images.load import load_input_image
from interpdisc_core.operations.backfill import member_count, process_shard, records
from interpdisc_core.operations.backfill.budget import TASK_SECONDS, WorkBudget
from interpdisc_core.operations.backfill.deduplicate import DeduplicationResult, deduplicate_shards
from interpdisc_core.operations.backfill.plan import BackfillPlan, count_remaining_work, plan_backfill
from interpdisc_core.operations.backfill.process_shard import ShardResult, process_shards
from interpdisc_core.operations.backfill.prove import CompletenessProof, prove_completeness
from interpdisc_core.operations.backfill.records import ShardVersion
from interpdisc_core.operations.backfill.remember import remember_shards
from interpdisc_core.operations.verify import verify_archive
from interpdisc_core.pipeline import extract, feature_readers, ingest, select_features, select_options
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import PixelValues, batching
from interpdisc_core.selectors import Demud
from interpdisc_core.sources.shards import iter_members
from interpdisc_core.storage.location import Location
from tests.helpers.shard_files import make_members, make_noise_png, write_tar, write_zip

PIXELS = Plan(representation=PixelValues(side=4))
BLOCK = 4
HARD_MEMBERS = [
    *make_members(0, 6),
    ("0006.json", b'{"sol": 7}'),
    ("0006.png", make_noise_png(6)),
    ("cut.png", make_noise_png(90)[:-60]),
    ("nothing.jpg", b""),
    ("text.jpg", b"no image"),
    ("notes.txt", b"hello"),
    ("../0007.png", make_noise_png(7)),
    ("again.png", make_noise_png(2)),
]


@pytest.fixture
def mission(tmp_path: Path) -> Path:
    """Three shards: one of difficult members, a zip, and one with contents of both."""
    folder = tmp_path / "mission"
    write_tar(folder / "m-0.tar", HARD_MEMBERS)
    write_zip(folder / "m-1.zip", make_members(10, 17))
    write_tar(folder / "m-2.tar", make_members(4, 12))
    return folder


def plan_shards(archive: Path, *sources: Path, settings: Plan = PIXELS, dtype: Any = "float16") -> BackfillPlan:
    """The plan of a call."""
    return plan_backfill(str(archive), [str(source) for source in sources], settings, dtype, BLOCK)


def run_backfill(
    archive: Path, *sources: Path, settings: Plan = PIXELS, dtype: Any = "float16"
) -> tuple[BackfillPlan, CompletenessProof]:
    """A whole call, in the order of the flow."""
    backfill_plan = plan_shards(archive, *sources, settings=settings, dtype=dtype)
    process_shards(
        str(archive),
        backfill_plan.name,
        settings,
        backfill_plan.pending_shards,
        backfill_plan.sequence,
        ProgressReporter(str(archive)),
    )
    deduplicate_shards(str(archive), backfill_plan.name)
    return backfill_plan, prove_completeness(str(archive), backfill_plan.name)


def load_entries(archive: Path) -> dict[str, catalog.CatalogEntry]:
    return catalog.load_entries(Location.parse(archive))


def read_files(archive: Path) -> dict[str, bytes]:
    """Every file of an archive except checksums and those with times or speeds in them: catalog parts and shard records."""
    files = {}
    for path in sorted(archive.rglob("*")):
        name = path.relative_to(archive).as_posix()
        if (
            path.is_file()
            and not name.startswith(("catalog", "progress"))
            and "/shards/" not in name
            and path.suffix != ".sha256"
        ):
            files[name] = path.read_bytes()
    return files


def test_every_member_has_a_status_and_every_row_is_exact(tmp_path: Path, mission: Path) -> None:
    """Each ready row is, to the bit, the features of its member's bytes, rounded to float16."""
    backfill_plan, proof = run_backfill(tmp_path / "a", mission)
    assert proof.is_complete
    members = [item for shard in backfill_plan.pending_shards for item, _ in iter_members(shard.uri)]
    assert proof.headers == proof.members == len(members) == sum(proof.statuses.values()) == 29
    assert {k: v for k, v in proof.statuses.items() if v} == {
        "ready": 17,
        "duplicate-of": 6,
        "quarantined": 3,
        "skipped": 3,
    }
    assert proof.vectors == 17
    store, embed = FeatureStore(Location.parse(tmp_path / "a"), backfill_plan.name), PIXELS.representation.load()
    ready = [entry for entry in load_entries(tmp_path / "a").values() if entry.status == "ready"]
    rows = gather_features(store, [(entry.batch, entry.row) for entry in ready])
    for entry, row in zip(ready, rows, strict=True):
        # As a pick's picture is loaded: by its URI alone.
        image = PIXELS.representation.prepare(load_input_image(entry.uri, entry.sha256, at_least=4))
        assert np.array_equal(embed(image[None])[0].astype(np.float16).astype(np.float32), row)
    assert json.loads(next(entry for entry in ready if entry.id == "0006.png").record) == {"sol": 7}
    assert verify_archive(str(tmp_path / "a")).is_sound


def test_a_second_call_changes_nothing(tmp_path: Path, mission: Path) -> None:
    """It reads no shard and gives the same proof."""
    _, before = run_backfill(tmp_path / "a", mission)
    files = read_files(tmp_path / "a")
    backfill_plan, proof = run_backfill(tmp_path / "a", mission)
    assert backfill_plan.pending_shards == ()
    assert proof == before
    assert read_files(tmp_path / "a") == files


def test_compressed_tars_give_the_same_rows(tmp_path: Path, mission: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the tars themselves, also after a kill in the middle; a decompression bomb is a fault and stops no other."""
    _, expected = run_backfill(tmp_path / "plain", mission)
    for name, suffix, codec in (("m-0.tar", ".gz", "gzip"), ("m-2.tar", ".zst", "zstd")):
        (mission / f"{name}{suffix}").write_bytes(pa.compress((mission / name).read_bytes(), codec=codec, asbytes=True))
        (mission / name).unlink()
    write = records.write_shard_record

    def write_or_die(archive: Location, name: str, batch: int, record: dict[str, Any]) -> None:
        if batch:
            raise KeyboardInterrupt
        write(archive, name, batch, record)

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_shard_record", write_or_die)
        with pytest.raises(KeyboardInterrupt):
            run_backfill(tmp_path / "a", mission)
    (mission / "z-bomb.tgz").write_bytes(pa.compress(bytes(80 << 20), codec="gzip", asbytes=True))
    _, proof = run_backfill(tmp_path / "a", mission)
    assert (proof.statuses, proof.headers, proof.vectors) == (expected.statuses, expected.headers, expected.vectors)
    assert (list(proof.faults), proof.left) == (["z-bomb.tgz"], 0)
    assert "decompression bomb" in proof.faults["z-bomb.tgz"]
    rows = [
        {entry.id: (entry.status, entry.batch, entry.row) for entry in load_entries(tmp_path / name).values()}
        for name in ("plain", "a")
    ]
    assert rows[0] == rows[1]
    assert {name: data for name, data in read_files(tmp_path / "a").items() if "/values/c/" in name} == {
        name: data for name, data in read_files(tmp_path / "plain").items() if "/values/c/" in name
    }


def test_a_kill_after_any_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is sound after the kill, and the same call ends with the same bytes as one without a kill."""
    mission = tmp_path / "mission"
    write_tar(mission / "m-0.tar", [*make_members(0, 5), ("cut.png", make_noise_png(90)[:-60])])
    write_tar(mission / "m-1.tar", [*make_members(4, 6), ("notes.txt", b"hello")])
    run_backfill(tmp_path / "undisturbed", mission)
    undisturbed = read_files(tmp_path / "undisturbed")
    write, writes_left = Location.write, [0]

    class Killed(BaseException):
        pass

    def write_or_die(location: Location, name: str, data: bytes, **options: bool) -> None:
        if writes_left[0] == 0:
            raise Killed
        writes_left[0] -= 1
        write(location, name, data, **options)

    writes = 0
    while True:
        archive = tmp_path / f"killed-{writes}"
        writes_left[0] = writes
        with monkeypatch.context() as patch:
            patch.setattr(Location, "write", write_or_die)
            try:
                run_backfill(archive, mission)
                break
            except Killed:
                pass
        if (archive / "archive.json").exists():
            assert verify_archive(str(archive)).faults == ()
        _, proof = run_backfill(archive, mission)
        assert proof.is_complete
        assert verify_archive(str(archive)).is_sound
        assert read_files(archive) == undisturbed
        writes += 1
    assert writes > 15


def test_the_order_of_shards_does_not_matter(tmp_path: Path, mission: Path) -> None:
    """Read backwards, deduplicated after each shard: the same inputs are ready, in the same rows."""
    run_backfill(tmp_path / "forwards", mission)
    backfill_plan = plan_shards(tmp_path / "backwards", mission)
    for shard in reversed(backfill_plan.pending_shards):
        process_shards(
            str(tmp_path / "backwards"),
            backfill_plan.name,
            PIXELS,
            [shard],
            backfill_plan.sequence,
            ProgressReporter(""),
        )
        deduplicate_shards(str(tmp_path / "backwards"), backfill_plan.name)
        assert verify_archive(str(tmp_path / "backwards")).is_sound
    assert prove_completeness(str(tmp_path / "backwards"), backfill_plan.name).is_complete
    assert load_entries(tmp_path / "forwards") == load_entries(tmp_path / "backwards")


def test_duplicates_are_no_fault_before_they_are_deduplicated(tmp_path: Path, mission: Path) -> None:
    """Two inputs of one content may be ready until the contents are compared."""
    backfill_plan = plan_shards(tmp_path / "a", mission)
    process_shards(
        str(tmp_path / "a"),
        backfill_plan.name,
        PIXELS,
        backfill_plan.pending_shards,
        backfill_plan.sequence,
        ProgressReporter(""),
    )
    contents = [entry.sha256 for entry in load_entries(tmp_path / "a").values() if entry.status == "ready"]
    assert len(set(contents)) < len(contents)
    assert verify_archive(str(tmp_path / "a")).faults == ()
    assert deduplicate_shards(str(tmp_path / "a"), backfill_plan.name).duplicates == 6
    assert deduplicate_shards(str(tmp_path / "a"), backfill_plan.name) == DeduplicationResult()


def test_a_bad_shard_stops_no_other(tmp_path: Path, mission: Path) -> None:
    """A missing and a truncated shard are reported and tried again; the others are read."""
    whole = (mission / "m-2.tar").read_bytes()
    (mission / "m-2.tar").write_bytes(whole[:4000])
    names = (str(mission / "m-{0,2,3}.tar"), str(mission / "m-1.zip"))
    backfill_plan = plan_backfill(str(tmp_path / "a"), names, PIXELS, "float16", BLOCK)
    process_shards(
        str(tmp_path / "a"),
        backfill_plan.name,
        PIXELS,
        backfill_plan.pending_shards,
        backfill_plan.sequence,
        ProgressReporter(""),
    )
    deduplicate_shards(str(tmp_path / "a"), backfill_plan.name)
    proof = prove_completeness(str(tmp_path / "a"), backfill_plan.name)
    assert not proof.is_complete
    assert set(proof.faults) == {"m-2.tar", "m-3.tar"}
    assert "ends within" in proof.faults["m-2.tar"]
    assert proof.gaps == ()
    assert verify_archive(str(tmp_path / "a")).is_sound
    read_ids = {
        entry.id for entry in load_entries(tmp_path / "a").values() if entry.status in ("ready", "duplicate-of")
    }
    assert {"0000.png", "0010.png", "0004.png"} <= read_ids, "members before the damage are read"

    assert [
        shard.id for shard in plan_backfill(str(tmp_path / "a"), names, PIXELS, "float16", BLOCK).pending_shards
    ] == [
        "m-2.tar",
        "m-3.tar",
    ]
    (mission / "m-2.tar").write_bytes(whole)
    write_tar(mission / "m-3.tar", make_members(30, 33))
    backfill_plan = plan_backfill(str(tmp_path / "a"), names, PIXELS, "float16", BLOCK)
    process_shards(
        str(tmp_path / "a"),
        backfill_plan.name,
        PIXELS,
        backfill_plan.pending_shards,
        backfill_plan.sequence,
        ProgressReporter(""),
    )
    deduplicate_shards(str(tmp_path / "a"), backfill_plan.name)
    assert prove_completeness(str(tmp_path / "a"), backfill_plan.name).is_complete
    assert verify_archive(str(tmp_path / "a")).is_sound


def test_a_shard_that_never_existed_is_forgotten_when_no_longer_named(tmp_path: Path, mission: Path) -> None:
    """It is a fault as long as it is named; the batches of the others stay."""
    for tars, complete in (
        ("m-{0,2,4}.tar", False),
        ("m-{0,2,4}.tar", False),
        ("m-{0,2}.tar", True),
        ("m-{0,2}.tar", True),
    ):
        backfill_plan = plan_backfill(
            str(tmp_path / "a"), [str(mission / tars), str(mission / "m-1.zip")], PIXELS, "float16", BLOCK
        )
        process_shards(
            str(tmp_path / "a"),
            backfill_plan.name,
            PIXELS,
            backfill_plan.pending_shards,
            backfill_plan.sequence,
            ProgressReporter(""),
        )
        deduplicate_shards(str(tmp_path / "a"), backfill_plan.name)
        proof = prove_completeness(str(tmp_path / "a"), backfill_plan.name)
        assert proof.is_complete is complete
        assert proof.vectors == 17
        assert verify_archive(str(tmp_path / "a")).is_sound


def test_a_shard_that_fails_halfway_leaves_no_rows(
    tmp_path: Path, mission: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while reading: nothing of the shard counts, and the next call reads it."""

    def fail_halfway(uri: str) -> Iterator[Any]:
        for number, pair in enumerate(iter_members(uri)):
            if number == 5 and "m-0" in uri:
                raise OSError("connection reset")
            yield pair

    with monkeypatch.context() as patch:
        patch.setattr(process_shard.shards, "iter_members", fail_halfway)
        _, proof = run_backfill(tmp_path / "a", mission)
    assert proof.faults == {"m-0.tar": "connection reset"}
    assert not [entry for entry in load_entries(tmp_path / "a").values() if "m-0" in entry.uri]
    assert verify_archive(str(tmp_path / "a")).is_sound
    run_backfill(tmp_path / "a", mission)
    run_backfill(tmp_path / "undisturbed", mission)
    assert load_entries(tmp_path / "a") == load_entries(tmp_path / "undisturbed")


def test_a_shard_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, mission: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of two versions are never mixed."""

    def change_while_read(uri: str) -> Iterator[Any]:
        yield from iter_members(uri)
        if "m-0" in uri:
            write_tar(mission / "m-0.tar", make_members(50, 53))

    with monkeypatch.context() as patch:
        patch.setattr(process_shard.shards, "iter_members", change_while_read)
        _, proof = run_backfill(tmp_path / "a", mission)
    assert "changed since it was listed" in proof.faults["m-0.tar"]
    _, proof = run_backfill(tmp_path / "a", mission)
    assert proof.is_complete
    ready = {entry.id for entry in load_entries(tmp_path / "a").values() if "m-0" in entry.uri}
    assert ready == {"0050.png", "0051.png", "0052.png"}


def test_new_shards_are_added_and_a_changed_one_supersedes_its_old_version(tmp_path: Path, mission: Path) -> None:
    """Batches stay; members of the old version are superseded by those of the same name, or quarantined."""
    before, _ = run_backfill(tmp_path / "a", mission)
    numbers = {shard.uri: shard.batch for shard in before.pending_shards}
    write_tar(mission / "m-3.tar", make_members(20, 24))
    write_tar(mission / "m-2.tar", [*make_members(4, 9), ("0009.png", make_noise_png(77))])
    backfill_plan, proof = run_backfill(tmp_path / "a", mission)
    assert {shard.id: shard.batch for shard in backfill_plan.pending_shards} == {"m-2.tar": 3, "m-3.tar": 4}
    batches = {
        shard.uri: shard.batch
        for shard in records.load_shard_plan(Location.parse(tmp_path / "a"), backfill_plan.name)[:3]
    }
    assert batches == numbers
    assert proof.is_complete
    assert proof.shards == 4
    old = [
        e
        for e in load_entries(tmp_path / "a").values()
        if "m-2" in e.uri and e.batch != 3 and e.status != "duplicate-of"
    ]
    statuses = {entry.id: (entry.status, entry.retryable) for entry in old}
    assert statuses["0008.png"] == statuses["0009.png"] == ("superseded-by", False)
    assert statuses["0010.png"] == statuses["0011.png"] == ("quarantined", True)
    ready = {entry.sha256 for entry in load_entries(tmp_path / "a").values() if entry.status == "ready"}
    assert len(ready) == 17 - 1 + 1 + 4, "contents of the old version that other shards have stay ready"
    assert verify_archive(str(tmp_path / "a")).is_sound
    assert prove_completeness(str(tmp_path / "a"), backfill_plan.name) == proof


def test_a_shard_that_changes_back_restores_its_inputs(tmp_path: Path, mission: Path) -> None:
    """A → B → A: the shard is read again, and the same inputs are ready as at first."""
    path = mission / "m-2.tar"
    first, times = path.read_bytes(), path.stat().st_mtime_ns
    run_backfill(tmp_path / "a", mission)
    before = {(entry.id, entry.status) for entry in load_entries(tmp_path / "a").values()}
    write_tar(path, make_members(40, 42))
    run_backfill(tmp_path / "a", mission)
    path.write_bytes(first)
    os.utime(path, ns=(times, times))
    backfill_plan, proof = run_backfill(tmp_path / "a", mission)
    assert proof.is_complete
    assert [shard.batch for shard in backfill_plan.pending_shards] == [4]
    now = {
        (entry.id, entry.status)
        for entry in load_entries(tmp_path / "a").values()
        if entry.id not in ("0040.png", "0041.png")
    }
    assert now == before
    assert verify_archive(str(tmp_path / "a")).is_sound


def test_other_runs_do_not_use_the_batches_of_a_backfill(tmp_path: Path, mission: Path) -> None:
    """Images cataloged in between have a batch of their own, and stay ready."""
    backfill_plan = plan_shards(tmp_path / "a", mission)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in make_members(5, 8):
        (folder / name).write_bytes(data)
    inputs = RunInputs(sources=(str(folder),))
    listing = ingest.list_inputs(str(tmp_path / "a"), inputs)
    ingest.check_inputs(
        str(tmp_path / "a"), listing.name, (0, listing.unchecked), listing.sequence, ProgressReporter("")
    )
    result = ingest.resolve_inputs(str(tmp_path / "a"), listing.name, PIXELS, inputs, 100, 1)
    extract.extract_block(str(tmp_path / "a"), PIXELS, result.blocks[0], result.sequence, ProgressReporter(""))
    assert list_batches(Location.parse(tmp_path / "a")) == [2, 3]
    before = {entry.key: entry for entry in load_entries(tmp_path / "a").values()}
    _, proof = run_backfill(tmp_path / "a", mission)
    assert proof.is_complete
    assert [shard.batch for shard in backfill_plan.pending_shards] == [0, 1, 2]
    now = load_entries(tmp_path / "a")
    assert {key: now[key] for key in before} == before
    assert proof.statuses["ready"] == 17 - 3
    assert verify_archive(str(tmp_path / "a")).is_sound


def test_another_representation_has_the_same_rows(tmp_path: Path, mission: Path) -> None:
    """It is a backfill of its own with the same batches; inputs stay; float32 and float16 are separate stores."""
    run_backfill(tmp_path / "a", mission)
    before, rows = (
        load_entries(tmp_path / "a"),
        {n: Batch.read(Location.parse(tmp_path / "a"), n).table for n in range(3)},
    )
    other = Plan(representation=PixelValues(side=6))
    backfill_plan, proof = run_backfill(tmp_path / "a", mission, settings=other)
    assert proof.is_complete
    assert [shard.batch for shard in backfill_plan.pending_shards] == [0, 1, 2]
    full_plan, proof = run_backfill(tmp_path / "a", mission, dtype="float32")
    assert proof.is_complete
    assert load_entries(tmp_path / "a") == before
    assert {n: Batch.read(Location.parse(tmp_path / "a"), n).table for n in range(3)} == rows
    assert verify_archive(str(tmp_path / "a")).is_sound
    assert (
        full_plan.name
        == PIXELS.features_digest
        == parse_store_name(format_store_name(PIXELS.features_digest, "float16"))
    )
    position = next((entry.batch, entry.row) for entry in before.values() if entry.status == "ready")
    (half,) = gather_features(
        FeatureStore(Location.parse(tmp_path / "a"), format_store_name(PIXELS.features_digest, "float16")), [position]
    )
    (full,) = gather_features(FeatureStore(Location.parse(tmp_path / "a"), full_plan.name), [position])
    assert np.array_equal(full.astype(np.float16).astype(np.float32), half)
    assert not np.array_equal(full, half)


def test_select_reads_the_rows_of_a_backfill(tmp_path: Path, mission: Path) -> None:
    """Also by expressions; if there are two stores, one must be named."""
    backfill_plan, _ = run_backfill(tmp_path / "a", mission)
    run_backfill(tmp_path / "a", mission, dtype="float32")
    with pytest.raises(PlanError, match="choose with --features"):
        feature_readers.read_feature_table(str(tmp_path / "a"))
    table = feature_readers.read_feature_table(str(tmp_path / "a"), backfill_plan.name)
    assert table.rows.shape == (17, 48)
    whole = feature_readers.read_feature_table(str(tmp_path / "a"), parse_store_name(backfill_plan.name))
    assert whole.features == PIXELS.features_digest
    options = select_options.SelectOptions(
        source=str(tmp_path / "a"), features=backfill_plan.name, selector=Demud(rank=3), picks=5
    )
    assert len(select_features.select_rows(options, str(tmp_path / "out"))["picks"]) == 5
    assert table.filter_rows("sol == 7").ids == ["0006.png"]


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    """Instead of infinities among the features; missing values are stored."""
    store = FeatureStore(Location.parse(tmp_path), "spec-float16")
    store.append_block(0, 0, np.array([[1.0, np.nan]], np.float32), 4)
    with pytest.raises(StoreError, match="70000 is beyond what float16 holds"):
        store.append_block(0, 0, np.array([[1.0, 7e4]], np.float32), 4)


def test_images_are_remembered_once(tmp_path: Path, mission: Path) -> None:
    """One record for all new rows; nothing the second time; one more record for one more shard."""
    backfill_plan, _ = run_backfill(tmp_path / "a", mission)
    url, archive = str(tmp_path / "a"), Location.parse(tmp_path / "a")
    first = remember_shards(url, backfill_plan.name, "all", "none")
    assert (first.batch, first.rows) == ("backfill-000000-000002", 17)
    assert remember_shards(url, backfill_plan.name, "all", "none").batch == ""
    write_tar(mission / "m-3.tar", make_members(10, 24))
    run_backfill(tmp_path / "a", mission)
    second = remember_shards(url, backfill_plan.name, "all", "none")
    assert (second.batch, second.rows) == ("backfill-000003-000003", 7)
    prior = Memory(archive, "all").load_horizon()
    assert prior is not None
    assert prior.count == 24
    ready = [(e.batch, e.row) for e in load_entries(tmp_path / "a").values() if e.status == "ready"]
    rows = gather_features(FeatureStore(archive, backfill_plan.name), ready).astype(np.float64)
    np.testing.assert_allclose(prior.mean, rows.mean(axis=0), atol=1e-12)
    # Killed after the record was written and before it was noted: the same record again changes nothing.
    archive.remove(f"backfills/{backfill_plan.name}/remembered.json")
    Memory(archive, "all").remove(second.batch)
    assert remember_shards(url, backfill_plan.name, "all", "none").rows == 24


def test_a_float16_horizon_serves_float32_rows(tmp_path: Path, mission: Path) -> None:
    """Rows of other features are refused."""
    backfill_plan, _ = run_backfill(tmp_path / "a", mission)
    run_backfill(tmp_path / "a", mission, dtype="float32")
    run_backfill(tmp_path / "a", mission, settings=Plan(representation=PixelValues(side=6)))
    remember_shards(str(tmp_path / "a"), backfill_plan.name, "all", "none")
    options = select_options.SelectOptions(
        source=str(tmp_path / "a"), features=PIXELS.features_digest, selector=Demud(rank=40), picks=3, horizon="all"
    )
    scores = [pick["score"] for pick in select_features.select_rows(options, str(tmp_path / "out"))["picks"]]
    assert max(scores) < 1e-4, "only the rounding is new"
    other = replace(
        options, features=format_store_name(Plan(representation=PixelValues(side=6)).features_digest, "float16")
    )
    with pytest.raises(PlanError, match="batch 'backfill-000000-000002' of 'all' is of features"):
        select_features.select_rows(other, str(tmp_path / "other"))


def test_files_that_are_no_shards(tmp_path: Path, mission: Path) -> None:
    """A source without shards is refused; files next to shards are cataloged as skipped."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(PlanError, match="no shards found"):
        plan_shards(tmp_path / "a", tmp_path / "empty")
    assert not (tmp_path / "a").exists()
    (mission / "readme.txt").write_text("hello")
    assert count_remaining_work(str(tmp_path / "a"), [str(mission)], PIXELS, "float16")[:2] == (3, 3)
    assert not (tmp_path / "a").exists()
    run_backfill(tmp_path / "a", mission)
    run_backfill(tmp_path / "a", mission)
    others = [entry for entry in load_entries(tmp_path / "a").values() if entry.id == "readme.txt"]
    assert [entry.status for entry in others] == ["skipped"]
    assert count_remaining_work(str(tmp_path / "a"), [str(mission)], PIXELS, "float16")[:2] == (3, 0)


def test_a_damaged_archive_is_a_gap_in_the_proof(tmp_path: Path, mission: Path) -> None:
    """A missing part of the catalog and a missing block are each reported."""
    backfill_plan, proof = run_backfill(tmp_path / "a", mission)
    assert proof.is_complete
    (tmp_path / f"a/features/{backfill_plan.name}/000001/records/000000.json").unlink()
    (gap,) = prove_completeness(str(tmp_path / "a"), backfill_plan.name).gaps
    assert "m-1.zip: 4 of its 7 ready images have no vector" in gap
    part = next((tmp_path / "a/catalog").glob(f"*-{backfill_plan.name}-000002.parquet"))
    part.unlink()
    with pytest.raises(DamageError, match="it is missing"):
        prove_completeness(str(tmp_path / "a"), backfill_plan.name)
    part.with_name(f"{part.name}.sha256").unlink()  # as in an archive of an earlier version
    assert any(
        "m-2.tar: 8 members were read" in gap
        for gap in prove_completeness(str(tmp_path / "a"), backfill_plan.name).gaps
    )


@given(
    st.lists(st.tuples(st.text("abc/é.", min_size=1, max_size=120), st.binary(max_size=1500)), max_size=8),
    st.sampled_from((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, -1)),
    st.integers(0, 2),
)
def test_members_are_counted_by_their_headers(
    tmp_path_factory: pytest.TempPathFactory, given_members: list[tuple[str, bytes]], kind: int, folders: int
) -> None:
    """For all names and sizes, in every tar format and in zips, without folders."""
    folder = tmp_path_factory.mktemp("count")
    named = [
        (f"{number}{name.strip('/').replace('//', '_')}", data) for number, (name, data) in enumerate(given_members)
    ]
    if kind < 0:
        path = write_zip(folder / "x.zip", [*named, *((f"folder{n}/", b"") for n in range(folders))])
    else:
        if kind == tarfile.USTAR_FORMAT:
            named = [(name[:40].rstrip("/") or "x", data) for name, data in named]
        path = write_tar(folder / "x.tar", named, kind)
        with tarfile.open(path, "a", format=kind) as opened:
            for number in range(folders):
                info = tarfile.TarInfo(f"folder{number}")
                info.type = tarfile.DIRTYPE
                opened.addfile(info)
    assert member_count.count_members(f"file://{path}") == len(named)
    assert len(
        [item for item, _ in iter_members(f"file://{path}") if not item.skip_reason.startswith("the rest")]
    ) == len(named)


def test_damaged_shards_are_counted_without_errors(tmp_path: Path) -> None:
    """Damage ends the count; only a missing file raises."""
    for name, data in (
        ("a.tar", b"\xff" * 2000),
        ("b.zip", b"PK\3\4nonsense"),
        ("c.tar", b""),
        ("d.tar", b"\0" * 10240),
    ):
        (tmp_path / name).write_bytes(data)
        assert member_count.count_members(f"file://{tmp_path}/{name}") == 0
    with pytest.raises(Unreadable):
        member_count.count_members(f"file://{tmp_path}/nowhere.tar")


@given(st.lists(st.integers(0, 400 << 20), max_size=120))
def test_prefetching_keeps_the_order_and_holds_few_items(sizes: list[int]) -> None:
    """Never more items in memory than three batches, however large they are and however slowly they are used."""
    in_memory: list[int] = []
    peak = 0

    def iter_items() -> Iterator[int]:
        nonlocal peak
        for size in sizes:
            in_memory.append(size)
            peak = max(peak, len(in_memory))
            yield size

    results = []
    for size in batching.prefetch_map(lambda size: size, iter_items(), count_bytes=lambda size: size):
        in_memory.remove(size)
        results.append(size)
    assert results == sizes
    assert peak <= 3 * batching.EMBED_MINIBATCH + 1


def make_shard(number: int, size: int) -> ShardVersion:
    return ShardVersion(f"file:///{number}.tar", f"{number}.tar", size, "", number, BLOCK)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.floats(0.01, 1e4), st.integers(1, 8))
def test_a_group_of_shards_takes_the_time_of_a_task(sizes: list[int], rate: float, workers: int) -> None:
    """All shards are handed out, in order; a group of several takes no longer than a task should, by the cost so far."""
    budget = WorkBudget(workers).with_results([ShardResult(0, 10, 10, 10**6, rate, "")], rate)
    pending = [make_shard(number, size) for number, size in enumerate(sizes)]
    groups, rest = list[tuple[ShardVersion, ...]](), pending
    while rest:
        groups.append(budget.next_group(rest, []))
        rest = rest[len(groups[-1]) :]
    assert [shard for group in groups for shard in group] == pending
    for group in groups:
        assert len(group) == 1 or sum(shard.size for shard in group) * rate / 10**6 <= TASK_SECONDS
    assert len(WorkBudget(workers).next_group(pending, [])) == 1, "the cost is not known yet"


def test_a_budget_stops_new_shards_and_each_call_reads_at_least_one() -> None:
    """By time and by images; the first shard of a call is handed out in any case."""
    small, large = make_shard(0, 10**6), make_shard(1, 19 * 10**6)
    assert WorkBudget(2, budget_s=0.0, max_images=1).next_group([small, small], []) == (small,)
    by_time = WorkBudget(2, budget_s=100.0).with_results([ShardResult(0, 100, 100, 10**6, 1.0, "")], 90.0)
    assert by_time.next_group([small, small, large], []) == (small, small)
    assert by_time.next_group([small], [[large]]) == (small,)
    assert by_time.next_group([small], [[large, small]]) == ()
    by_images = WorkBudget(2, max_images=250).with_results([ShardResult(0, 100, 100, 10**6, 1.0, "")], 10.0)
    assert by_images.next_group([small] * 4, []) == (small, small)
    assert by_images.next_group([small] * 4, [[small]]) == (small,)
    assert by_images.next_group([small] * 4, [[small], [small]]) == ()
    assert by_time.estimate_seconds_left(3 * 10**6) == 270.0


def test_budgets_of_the_command_line() -> None:
    """Durations as people write them; anything else is refused in one sentence."""
    from deploy.commands.checks import parse_duration

    texts = ("", "2h", "90min", "1h30m", "45 s", "0.5d")
    assert [parse_duration(text, "--max-time") for text in texts] == [None, 7200.0, 5400.0, 5400.0, 45.0, 43200.0]
    for text in ("2", "soon", "2h later", "0h", "-3h"):
        with pytest.raises(PlanError, match="is a time such as 2h"):
            parse_duration(text, "--max-time")
