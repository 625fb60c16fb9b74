"""Every damage of an archive is found by `verify`, told by the commands or harmless to them, and dealt with by `repair`.

An archive of each kind is made once. Each case damages a copy; then the same command, without and with a repair, gives the
same picks as if nothing had happened, or says in one sentence what is lost.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from interpdisc_core.archive import feedback, layout
from interpdisc_core.archive.catalog_compaction import compact_catalog
from interpdisc_core.archive.day_result import read_day_result
from interpdisc_core.archive.run import Run, RunInputs
from interpdisc_core.errors import DamageError, InterpdiscError, StoreError
from interpdisc_core.explanations.npz_cache import load_or_compute
from interpdisc_core.images.load import load_input_image
from interpdisc_core.operations.daily import commit
from interpdisc_core.operations.repair import RepairResult, prepare_repair, repair_archive
from interpdisc_core.operations.verify import verify_archive
from interpdisc_core.pipeline import ingest
from interpdisc_core.pipeline.explain import explain_picks
from interpdisc_core.pipeline.extract import extract_block
from interpdisc_core.pipeline.publish import publish_run
from interpdisc_core.pipeline.select import select_picks
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.reporting import site
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors import Demud
from interpdisc_core.sources import file_uri
from interpdisc_core.sources.feeds.inbox import Inbox, PollCursor
from interpdisc_core.storage.location import Location
from tests.helpers.daily_runs import make_images, make_settings, run_daily
from tests.helpers.inbox_records import make_inbox_record
from tests.helpers.shard_files import make_members, write_tar
from tests.operations.test_backfill import run_backfill
from tests.pipeline.test_ingest import make_image_bytes, write_photos
from tests.training.test_dataset import members_of, prepared_training

DISCOVER = Plan(representation=PixelValues(side=6), selector=Demud(rank=3), picks=12, explain=0)
Damage = Literal["flip", "half", "empty", "remove", "swap", "stale"]


@dataclass(frozen=True)
class Made:
    """An archive, the inputs that it was made of, and what its command gave."""

    archive: Path
    inputs: Path
    outcome: Any


def run_discover(archive: Path, inputs: Path) -> Any:
    """A whole run by the core's own functions; its picks, vectors and maps."""
    url, watch = str(archive), ProgressReporter(str(archive))
    run_inputs = RunInputs(sources=(str(inputs / "photos"),))
    listing = ingest.list_inputs(url, run_inputs)
    if listing.unchecked:
        ingest.check_inputs(url, listing.name, (0, listing.unchecked), listing.sequence, watch)
    resolved = ingest.resolve_inputs(url, listing.name, DISCOVER, run_inputs, 5, 1)
    for block in resolved.blocks:
        extract_block(url, DISCOVER, block, resolved.sequence, watch)
    select_picks(url, resolved.run, watch)
    explain_picks(url, resolved.run, (1, 3), watch)
    published = publish_run(url, resolved.run, "", {})
    run = Run(Location.parse(archive), resolved.run)
    picks = [(pick["id"], pick["score"]) for pick in published.result["picks"]]
    vectors = hashlib.sha256(
        b"".join(part.tobytes() for rank in (1, 12) for part in run.read_vectors(rank))
    ).hexdigest()
    explanation = run.open_explanations().read(2)
    assert explanation is not None
    maps = None if explanation.attribution_map is None else explanation.attribution_map.tolist()
    return picks, vectors, maps


def run_days(archive: Path, inputs: Path) -> Any:
    """The daily run; the lists and the memory of all days."""
    run_daily(archive, make_settings(inputs / "images"))
    location = Location.parse(archive)
    lists = {}
    for day in location.list_folders("days"):
        result = read_day_result(location, day)
        if result is not None:
            lists[day] = [(pick.id, pick.score, pick.prior_score) for pick in result.picks]
    return lists, commit.load_record_digests(location), sorted(feedback.read_current_verdicts(location))


def run_shards(archive: Path, inputs: Path) -> Any:
    """The backfill; its proof and the hashes of its features."""
    plan, proof = run_backfill(archive, inputs / "shards")
    records = [
        (path.name, path.parent.parent.name, Location.parse(path.parent).read_checked_json(path.name)["sha256"])
        for path in sorted((archive / "features" / plan.name).glob("*/records/*.json"))
    ]
    return proof.is_complete, proof.rows, proof.vectors, records


def run_polls(archive: Path, inputs: Path) -> Any:
    """As a poll: fetch the images that have no record, unless they are before the cursor; what the inbox then has."""
    location = layout.open_or_create_archive(str(archive))
    inbox = Inbox(location / "inbox", "feed")
    cursor = inbox.read_cursor()
    records = {day: inbox.list_record_names(day) for day in inbox.list_days()}
    for number in range(4):
        day, image = f"2026-01-0{1 + number // 2}", f"feed/images/00001/{number}.png"
        if cursor is not None or f"{number}.json" in records.get(day, ()):
            continue
        data = make_image_bytes(number)
        inbox.location.write(image, data)
        inbox._write_json(f"records/{day}/{number}.json", make_inbox_record(number, image, data))
    for day in inbox.list_days():
        inbox.seal(day, 2 if day.endswith("2") else 9)
    inbox.write_cursor(PollCursor("settings", "", "", ""))
    return [
        (
            record.id,
            load_input_image(file_uri(f"{inbox.location.url}/{record.image.name}"), record.image.sha256).tolist(),
        )
        for record in inbox.iter_records()
    ]


def run_training(archive: Path, inputs: Path) -> Any:
    """The preparation of a training; its examples."""
    layout.open_or_create_archive(str(archive))
    training = prepared_training(archive, members_of(inputs / "images", 6), part_images=4, chunk_rows=2)
    return [(part, training.read(part).codes.tolist()) for part in training.list_parts("")]


COMMANDS: dict[str, Callable[[Path, Path], Any]] = {
    "discover": run_discover,
    "compact": run_discover,
    "days": run_days,
    "shards": run_shards,
    "training": run_training,
    "polls": run_polls,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """The archive of a kind; each is made once."""
    known: dict[str, Made] = {}

    def make(kind: str) -> Made:
        if kind not in known:
            base = tmp_path_factory.mktemp(kind)
            if kind in ("discover", "compact"):
                write_photos(base / "photos", 14)
            elif kind == "days":
                images = make_images(base / "images", range(1, 4))
                for sol in (1, 2, 3):
                    for name, data in images.items():
                        if int(name[:4]) == sol:
                            (base / "images" / name).write_bytes(data)
                    run_daily(base / "archive", make_settings(base / "images"))
                location = Location.parse(base / "archive")
                result = read_day_result(location, "sol-00003")
                assert result is not None
                feedback.record_verdict(location, result.picks[0].key, "interesting", "ada")
            elif kind == "shards":
                for number in range(3):
                    write_tar(base / "shards" / f"m-{number}.tar", make_members(6 * number, 6 * number + 6))
            outcome = COMMANDS[kind](base / "archive", base)
            if kind == "compact":
                assert compact_catalog(Location.parse(base / "archive"), 1)
            assert COMMANDS[kind](base / "archive", base) == outcome
            assert verify_archive(str(base / "archive")).faults == ()
            known[kind] = Made(base / "archive", base, outcome)
        return known[kind]

    return make


def damage_file(archive: Path, pattern: str, damage: Damage) -> Path:
    """Damage the last file that matches; returns its path."""
    matches = sorted(path for path in archive.glob(pattern) if path.is_file() and path.suffix != ".sha256")
    assert matches, f"no {pattern} among {sorted(str(p.relative_to(archive)) for p in archive.rglob('*'))}"
    path = matches[-1]
    data = path.read_bytes()
    if damage == "flip":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif damage == "half":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "remove":
        path.unlink()
    elif damage == "swap":
        other = next(match for match in matches if match.read_bytes() != data)
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    else:  # an older version, as a backup has it: reads well, but is not what was written last
        older = re.sub(rb"[0-8](?=\D*$)", lambda digit: bytes([digit[0][0] + 1]), data, count=1)
        path.write_bytes(older if path.suffix == ".json" and older != data else data + b" ")
    return path


@dataclass(frozen=True)
class Case:
    """A damage. `lost`: repair says that something is lost for good; then the outcome may differ."""

    kind: str
    pattern: str
    damage: Damage
    lost: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.damage} {self.pattern}"


def cases(kind: str, pattern: str, *damages: Damage, lost: bool = False) -> list[Case]:
    return [Case(kind, pattern, damage, lost) for damage in damages]


CASES = [
    *cases("discover", "archive.json", "half", "remove", "stale"),
    *cases("discover", "catalog/*-list.parquet", "flip", "remove"),
    *cases("discover", "catalog/*-check-*.parquet", "flip", "half"),
    *cases("discover", "catalog/*-settle.parquet", "empty", "remove"),
    *cases("discover", "catalog/*.parquet", "swap"),
    *cases("compact", "catalog/*-compact.parquet", "flip", "remove"),
    *cases("compact", "catalog-history/*.parquet", "half", lost=True),
    *cases("discover", "batches/*.parquet", "flip", "remove"),
    *cases("discover", "features/*/spec.json", "half", "stale"),
    *cases("discover", "features/*/*/values/zarr.json", "half", "remove", "flip"),
    *cases("discover", "features/*/*/values/c/*/0", "flip", "remove", "swap"),
    *cases("discover", "features/*/*/records/*.json", "stale", "empty", "remove", "swap"),
    *cases("discover", "listings/*/listing.parquet", "flip", "remove"),
    *cases("discover", "runs/*/plan.json", "stale", "half"),
    *cases("discover", "runs/*/members.parquet", "half"),
    *cases("discover", "runs/*/inputs.json", "empty"),
    *cases("discover", "runs/*/selection.json", "stale", "empty", "remove"),
    *cases("discover", "runs/*/vectors/c/*/0/0", "flip", "remove", "swap"),
    *cases("discover", "runs/*/vectors/zarr.json", "half"),
    *cases("discover", "runs/*/picks.json", "stale", "half", "remove"),
    *cases("discover", "runs/*/explanations/*/*.npz", "flip", "swap", "half"),
    *cases("discover", "runs/*/result.json", "stale", "empty"),
    *cases("discover", "runs/*/report.html", "flip"),
    *cases("discover", "runs/*/ledger.json", "remove"),
    *cases("days", "days/sol-00002/commit.json", "stale", "half", "remove"),
    *cases("days", "days/sol-00002/day.json", "stale", "remove"),
    *cases("days", "days/sol-00002/scores.parquet", "flip", "remove"),
    *cases("days", "days/sol-00002/opened.json", "half"),
    *cases("days", "runs/sol-00002-all-*/constraints.json", "stale", "remove"),
    *cases("days", "memory/*/records/sol-00002.*.bin", "flip", "remove"),
    *cases("days", "feedback/*.json", "flip", "remove", lost=True),
    *cases("days", "site/days.json", "half", "remove"),
    *cases("days", "site/index/*.json", "flip"),
    *cases("days", "site/days/sol-00002/index.html", "flip"),
    *cases("days", "site/days/sol-00002/day.json", "stale"),
    *cases("days", "site/days/*/feed.json", "empty"),
    *cases("shards", "backfills/*/plan.json", "half", "remove", "stale"),
    *cases("shards", "backfills/*/shards/*.json", "stale", "remove", "swap"),
    *cases("shards", "backfills/*/settled.json", "flip"),
    *cases("shards", "batches/000001.parquet", "flip"),
    *cases("shards", "catalog/*-000001.parquet", "remove"),
    *cases("shards", "features/*/000001/values/c/0/0", "flip"),
    *cases("training", "examples/*/train-*/codes/c/*/0", "flip", "remove"),
    *cases("training", "examples/*/records/train-*.json", "stale"),
    *cases("training", "examples/*/roll.parquet", "half"),
    *cases("training", "training/*/recipe.json", "empty"),
    *cases("polls", "inbox/feed/images/00001/1.png", "flip", "remove"),
    *cases("polls", "inbox/feed/images/00001/3.png", "half"),
    *cases("polls", "inbox/feed/images/00001/*.png", "swap"),
    *cases("polls", "inbox/feed/records/2026-01-01/0.json", "stale", "remove"),
    *cases("polls", "inbox/feed/records/2026-01-02/sealed-*.gz", "flip", "remove"),
    *cases("polls", "inbox/feed/cursor.json", "stale", "empty"),
]


def try_command(case: Case, archive: Path, original: Made) -> str:
    """The sentence with which the command stops; empty if it gives the same outcome."""
    sentence, outcome = "", None
    try:
        outcome = COMMANDS[case.kind](archive, original.inputs)
    except InterpdiscError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert sentence or case.lost or outcome == original.outcome
    return sentence


def mark_slow(all_cases: list[Case]) -> list[Any]:
    """The cases as parameters: of each file the first damage is tried at every test run, the others in slow ones."""
    seen: set[tuple[str, str]] = set()
    parameters = []
    for case in all_cases:
        is_first = (case.kind, case.pattern) not in seen
        seen.add((case.kind, case.pattern))
        parameters.append(pytest.param(case, id=str(case), marks=[] if is_first else [pytest.mark.slow]))
    return parameters


@pytest.mark.parametrize("case", mark_slow(CASES))
def test_a_damage_is_found_told_and_repaired(case: Case, made: Callable[[str], Made], tmp_path: Path) -> None:
    original = made(case.kind)
    archive, untouched = tmp_path / "archive", tmp_path / "unrepaired"
    shutil.copytree(original.archive, archive)
    path = damage_file(archive, case.pattern, case.damage)
    shutil.copytree(archive, untouched)

    name = path.relative_to(archive).as_posix()
    faults = verify_archive(str(archive)).faults
    assert faults, "verify says sound"
    assert all("\n" not in fault for fault in faults)

    # Without a repair: a sentence, or the same outcome; never other picks.
    sentence = try_command(case, untouched, original)

    planned = repair_archive(str(archive), dry_run=True)
    assert planned.actions
    assert verify_archive(str(archive)).faults == faults, "a dry run changes nothing"
    repaired = repair_archive(str(archive))
    assert bool(repaired.losses) == case.lost, repaired.actions
    assert any(
        name.startswith(action.path) or action.path.split("/")[0] == name.split("/")[0] for action in repaired.actions
    )
    assert try_command(case, archive, original) == "", (sentence, repaired.actions)
    assert verify_archive(str(archive)).faults == ()
    assert_again_nothing_to_repair(archive)


def assert_again_nothing_to_repair(archive: Path) -> None:
    result: RepairResult = repair_archive(str(archive))
    assert result.actions == ()
    assert result.verification.is_sound


@pytest.fixture
def copy(made: Callable[[str], Made], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an archive."""

    def make(kind: str) -> Path:
        shutil.copytree(made(kind).archive, tmp_path / kind)
        return tmp_path / kind

    return make


def test_a_day_that_was_undone_stays_undone(copy: Callable[[str], Path], made: Callable[[str], Made]) -> None:
    """Else the next daily run would put it into the memory again, in silence."""
    archive = copy("days")
    commit.undo_day(str(archive), "sol-00002", "ada", "dust")
    site.withdraw_day(Location.parse(archive), "sol-00002", "ada", "dust", "2026-01-01T00:00:00+00:00")
    expected = run_days(archive, made("days").inputs)
    for kind in ("half", "remove"):
        damage_file(archive, "days/sol-00002/undone.json", kind)  # type: ignore[arg-type]
        with pytest.raises(DamageError, match=r"undone\.json is damaged"):
            run_days(archive, made("days").inputs)
        assert not repair_archive(str(archive)).losses
        assert Location.parse(archive).read_json("days/sol-00002/undone.json")["by"] == "ada"
        assert run_days(archive, made("days").inputs) == expected
    damage_file(archive, "days/sol-00002/undone.json", "half")
    damage_file(archive, "site/days/sol-00002/withdrawn.json", "empty")
    (loss,) = repair_archive(str(archive)).losses
    assert "by whom and why" in loss.sentence
    assert run_days(archive, made("days").inputs) == expected
    assert verify_archive(str(archive)).is_sound


def test_an_earlier_revision_and_logs_are_named_as_lost(copy: Callable[[str], Path]) -> None:
    """What nothing can make again is kept aside for people."""
    archive = copy("days")
    location = Location.parse(archive)
    for name in ("days/sol-00001/day-001.json", "accounts/20260101.json"):
        location.write_checked_json(name, {"day": "sol-00001"})
        damage_file(archive, name, "half")
        (loss,) = repair_archive(str(archive)).losses
        assert loss.path == name
        assert (archive / "set-aside" / name).is_file()
    assert verify_archive(str(archive)).is_sound


def test_files_of_other_programs_harm_nothing(copy: Callable[[str], Path], made: Callable[[str], Made]) -> None:
    """They are named and moved away; hidden ones, as desktops leave them, are ignored."""
    for kind, names in {
        "discover": (
            "notes.txt",
            "batches/notes.txt",
            "catalog/copy of 1.parquet",
            "features/{}/000000/records/x.json",
        ),
        "days": ("feedback/x.json", "memory/{}/records/notes.bin"),
        "shards": ("backfills/{}/shards/copy.json",),
    }.items():
        archive = copy(kind)
        for folder in ("", "batches", "catalog", "features", "runs", "days", "memory", "backfills"):
            if (archive / folder).is_dir():
                (archive / folder / ".DS_Store").write_bytes(b"\0\1")
        outcome = COMMANDS[kind](archive, made(kind).inputs)
        assert outcome == made(kind).outcome
        assert verify_archive(str(archive)).is_sound
        for name in names:
            middle = (
                sorted(path.name for path in (archive / name.partition("/")[0]).glob("[!.]*")) if "{}" in name else [""]
            )
            path = archive / name.format(middle[0])
            path.write_bytes(b"hello")
            assert any(path.name in fault for fault in verify_archive(str(archive)).faults), name
            if "memory" not in name:  # which says that it must be moved away
                assert COMMANDS[kind](archive, made(kind).inputs) == outcome
            (action,) = repair_archive(str(archive)).actions
            assert "is not a file of an archive" in action.sentence
            assert verify_archive(str(archive)).is_sound


def test_a_damaged_checksum_costs_no_file(copy: Callable[[str], Path], made: Callable[[str], Made]) -> None:
    """It is removed if its file reads well; then `verify` counts the file as unchecked."""
    archive = copy("discover")
    before = verify_archive(str(archive)).unchecked_files
    (checksum,) = archive.glob("runs/*/picks.json.sha256")
    for content in (b"no checksum", b"", checksum.read_bytes().replace(b"picks", b"other")):
        checksum.write_bytes(content)
        is_told = bool(verify_archive(str(archive)).faults)
        assert is_told == bool(content)
        actions = repair_archive(str(archive)).actions
        assert [action.path for action in actions] == ([checksum.relative_to(archive).as_posix()] if content else [])
        assert run_discover(archive, made("discover").inputs) == made("discover").outcome
    assert verify_archive(str(archive)).unchecked_files == before + 1
    damage_file(archive, "runs/*/picks.json", "half")
    checksum.write_bytes(b"no checksum")
    assert repair_archive(str(archive)).actions
    assert run_discover(archive, made("discover").inputs) == made("discover").outcome


def test_an_archive_without_checksums_is_read_and_extended(
    copy: Callable[[str], Path], made: Callable[[str], Made]
) -> None:
    """As those of earlier versions: `verify` counts what it cannot compare, and what is written again is covered."""
    archive = copy("discover")
    covered = verify_archive(str(archive)).checked_files
    for checksum in archive.rglob("*.sha256"):
        checksum.unlink()
    result = verify_archive(str(archive))
    assert result.is_sound
    assert (result.checked_files, result.unchecked_files) == (0, covered)
    assert run_discover(archive, made("discover").inputs) == made("discover").outcome
    assert verify_archive(str(archive)).checked_files > 0


def test_a_damaged_lock_is_removed_once_nobody_can_hold_it(copy: Callable[[str], Path]) -> None:
    """A process that is at work renews its lock all the time."""
    archive = copy("discover")
    lock = archive / "lock.json"
    lock.write_bytes(b"{")
    assert len(verify_archive(str(archive)).faults) == 1
    with pytest.raises(StoreError, match="a run may be at work"):
        prepare_repair(str(archive))
    os.utime(lock, (1e9, 1e9))
    prepare_repair(str(archive))
    assert not lock.exists()
    with pytest.raises(StoreError, match="is not an archive"):
        prepare_repair(str(archive.parent))


def test_a_damaged_state_of_a_training_is_dropped_whole(copy: Callable[[str], Path]) -> None:
    """State, history and best weights belong together."""
    archive = copy("training")
    (folder,) = (archive / "training").iterdir()
    names = ("state.safetensors", "history.json", "best.safetensors")
    for name in names:
        for written in names:
            Location.parse(folder).write_checked(written, b"[1, 2, 3]")
        damage_file(archive, f"training/*/{name}", "flip")
        assert len(verify_archive(str(archive)).faults) == 1
        repair_archive(str(archive))
        assert not [path for path in folder.iterdir() if path.name in names]
        assert verify_archive(str(archive)).is_sound


def test_a_cached_picture_that_is_damaged_is_made_again(tmp_path: Path) -> None:
    """Also if it is a whole picture, of another vector."""
    location = Location.parse(tmp_path)
    for number in (1, 2):
        load_or_compute(location, f"{number}.npz", ("a",), lambda number=number: {"a": np.array([number])})
    (tmp_path / "1.npz").write_bytes((tmp_path / "2.npz").read_bytes())
    arrays = load_or_compute(location, "1.npz", ("a",), lambda: {"a": np.array([3])})
    assert arrays is not None
    assert arrays["a"].tolist() == [3]
