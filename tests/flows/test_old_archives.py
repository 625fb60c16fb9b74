"""Archives made by version 0.1.0 at commit c3a4ab7: a later program opens, verifies, extends and reports them.

`tests/data/make_archives_v2.py` made them, and what that program reported is in `archives-v2-expected.json`. Archives
keep absolute addresses of their images, so all of it is unpacked where it was made, in one folder of `/tmp`. What is
stored, or read from what is stored, must be the same to the bit; what is computed again, to rounding.
"""

import fcntl
import hashlib
import json
import math
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from interpdisc_core.archive.disk_names import COMMIT_KEYS, PICK_KEYS, use_current_names
from tests.flows.conftest import CliRunner

DATA = Path(__file__).resolve().parents[1] / "data"
EXPECTED: dict[str, Any] = json.loads((DATA / "archives-v2-expected.json").read_text("utf-8"))
EXTENDED: dict[str, Any] = EXPECTED["extended"]
HOME = Path(EXPECTED["home"])
RUN = HOME / "discover" / "runs" / EXPECTED["discover"]["run"]
ROUNDING, NETWORK = 1e-9, 1e-3
"""Relative differences allowed: of double precision, and of what a network's single precision goes into."""


@pytest.fixture(autouse=True)
def _unpack() -> Iterator[None]:
    """All archives and their images as they were made, for one test at a time on this machine."""
    with HOME.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(HOME, ignore_errors=True)
        with tarfile.open(DATA / "archives-v2.tar.xz") as tar:
            tar.extractall(HOME, filter="data")
        yield
        shutil.rmtree(HOME, ignore_errors=True)


def run_json(interpdisc: CliRunner, *args: str | Path) -> Any:
    """What a command prints as JSON."""
    return json.loads(interpdisc(*args, "--json")[0])


def run_flow(interpdisc: CliRunner, *args: str | Path) -> Any:
    """What a flow prints as JSON, with one worker."""
    return run_json(interpdisc, *args, "--workers", "1")


def modification_times(*folders: Path) -> dict[Path, int]:
    """When each file in some folders was written, except checksums, and spec.json, which each run writes again."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".sha256")
    paths = (path for path in files if path.name != "spec.json")
    return {path: path.stat().st_mtime_ns for path in paths}


def hash_files(pattern: str) -> dict[str, str]:
    """The content of files but checksums, by their path."""
    paths = [path for path in sorted(HOME.glob(pattern)) if path.is_file() and path.suffix != ".sha256"]
    return {str(path.relative_to(HOME)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def check_picks(actual: list[dict[str, Any]], expected: list[dict[str, Any]], rounding: float = 0.0) -> None:
    """The same images in the same order. Scores to the last bit, or to a relative difference."""
    for name in set(expected[0]) - {"score"}:
        assert [pick[name] for pick in actual] == [pick[name] for pick in expected], name
    actual_scores, scores = ([_parse_score(pick["score"]) for pick in picks] for picks in (actual, expected))
    assert actual_scores == (pytest.approx(scores, rel=rounding, abs=0) if rounding else scores)


def _parse_score(score: float | str) -> float:
    return float.fromhex(score) if isinstance(score, str) else score


def check_equal(actual: Any, expected: Any, rounding: float) -> None:
    """The same JSON value; numbers to a relative difference. Objects may have more keys than before."""
    if isinstance(expected, dict):
        assert set(expected) <= set(actual)
        for name, value in expected.items():
            check_equal(actual[name], value, rounding)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for item, expected_item in zip(actual, expected, strict=True):
            check_equal(item, expected_item, rounding)
    elif isinstance(expected, float):
        assert math.isclose(actual, expected, rel_tol=rounding, abs_tol=rounding), (actual, expected)
    else:
        assert actual == expected


def check_days(actual: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same days with the same lists."""
    assert [day["day"] for day in actual] == [day["day"] for day in expected]
    for day, expected_day in zip(actual, expected, strict=True):
        for name in ("revision", "ledger", "spikes"):
            assert day[name] == expected_day[name]
        expected_picks = [use_current_names(pick, PICK_KEYS) for pick in expected_day["picks"]]
        check_picks(day["picks"], expected_picks, ROUNDING)


def _list_scores(days: list[dict[str, Any]]) -> list[float]:
    return [_parse_score(pick["score"]) for day in days for pick in day["picks"]]


def check_memory(days: dict[str, Any], memory: dict[str, str]) -> None:
    """The commits of days, except times, and the content of the memory's records."""
    for day, expected_files in days.items():
        folder = HOME / "daily" / "days" / day
        for name, expected in expected_files.items():
            actual = json.loads((folder / f"{name}.json").read_text())
            check_equal(_use_current_names(actual), _use_current_names(expected), 0)
        assert (folder / "undone.json").exists() == ("undone" in expected_files)
    assert hash_files("daily/memory/**/*") == memory


def _use_current_names(payload: dict[str, Any]) -> dict[str, Any]:
    """A commit, or an undone day with its commit, by today's keys."""
    names = {"why": "reason", **COMMIT_KEYS}
    values = {key: _use_current_names(value) if key == "commit" else value for key, value in payload.items()}
    values.pop("at", None)
    return use_current_names(values, names)


def migrate(interpdisc: CliRunner, name: str) -> None:
    """Bring an archive to today's layout version, so that it can be extended."""
    result = run_json(interpdisc, "migrate", HOME / name)
    assert (result["from_format"], result["format"], result["reread"]) == (2, 3, 0)


VERIFY_NAMES = {
    "promised": "records",
    "remembered": "memory_records",
    "arrived": "feed_records",
    "waiting": "pending_records",
    "shards": "shards_read",
}
"""Keys of `interpdisc verify --json` by those of version 0.1.0."""


def _rename(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): _rename(item, names) for key, item in value.items()}
    return value


@pytest.mark.parametrize("name", sorted(EXPECTED["verify"]))
def test_it_is_sound_before_and_after_migration(interpdisc: CliRunner, name: str) -> None:
    """`verify` finds the same inputs, features and records, and no fault; `show` finds the same counts."""
    expected = _rename(EXPECTED["verify"][name], VERIFY_NAMES)
    check_equal(run_json(interpdisc, "verify", HOME / name), expected, 0)
    # Statuses that version 0.1.0 did not have count 0.
    check_equal(run_json(interpdisc, "show", HOME / name)["counts"], EXPECTED["show"][name], 0)
    before = hash_files(f"{name}/**/*")
    migrate(interpdisc, name)
    after = hash_files(f"{name}/**/*")
    assert {path for path in before if after[path] != before[path]} == {f"{name}/archive.json"}
    assert {Path(path).name for path in set(after) - set(before)} <= {"lock.json", ".lock"}
    check_equal(run_json(interpdisc, "verify", HOME / name), expected, 0)


def test_it_is_not_written_to_before_migration(interpdisc: CliRunner) -> None:
    """The command that would write says what to do, and changes nothing."""
    before = hash_files("discover/**/*")
    _, error = interpdisc("discover", HOME / "photos", *_discover(4), expect=2)
    assert f"can be read but not written to: `interpdisc migrate {HOME / 'discover'}` brings it to version 3" in error
    _, error = interpdisc("forget", HOME / "memory", "mast", "sol-1", expect=2)
    assert f"`interpdisc migrate {HOME / 'memory'}`" in error
    assert hash_files("discover/**/*") == before


def test_a_run_is_shown_with_the_same_numbers(interpdisc: CliRunner) -> None:
    """The result of a run has the same picks and scores to the last bit, and its pictures' numbers."""
    result = run_json(interpdisc, "show", RUN)
    check_picks(result["picks"], EXPECTED["explain"]["picks"])
    check_equal(result["picks"][0]["numbers"], EXPECTED["explain"]["rendered"]["1"], 0)
    assert hash_files("discover/runs/*/explanations/*/*") == EXPECTED["explain"]["explanations"]


SELECTIONS = {
    "select bare": ("select", HOME / "features.npy", "-k", "4", "--out", HOME / "picks-bare"),
    "select shards": ("select", HOME / "backfill", "-k", "4", "--out", HOME / "picks-shards"),
    "select horizon": (
        "select",
        HOME / "features.npy",
        "-k",
        "4",
        "--where",
        "row >= 80",
        "--stratum",
        "mast",
        "--last",
        "2",
        "--memory",
        HOME / "memory",
        "--out",
        HOME / "picks-horizon",
    ),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_is_extended(interpdisc: CliRunner, name: str) -> None:
    """A larger -n begins with the stored picks to the last bit and continues as the old program did."""
    before, after = EXPECTED[name], EXTENDED[name]
    result = run_json(interpdisc, *SELECTIONS[name], "-n", str(len(after["picks"])))
    count = len(before["picks"])
    assert result["resumed_at"] == count
    check_picks(result["picks"][:count], before["picks"])
    check_picks(result["picks"], after["picks"], ROUNDING)
    assert result["horizon"] == before.get("horizon")


def test_discover_makes_the_same_run_again(interpdisc: CliRunner) -> None:
    """The same command extracts and selects nothing, makes the same picks and writes the report again."""
    migrate(interpdisc, "discover")
    before = modification_times(HOME / "discover" / "features", RUN / "vectors")
    (RUN / "report.html").unlink()
    result = run_flow(interpdisc, "discover", HOME / "photos", *_discover(4))
    assert result["run"] == EXPECTED["discover"]["run"]
    check_picks(result["picks"], EXPECTED["explain"]["picks"])
    assert result["nauc"] == EXPECTED["discover"]["nauc"]
    assert result["classes"] == EXPECTED["discover"]["classes"]
    assert modification_times(HOME / "discover" / "features", RUN / "vectors") == before
    assert "chelsea-0.jpg" in (RUN / "report.html").read_text("utf-8")


def test_discover_with_one_more_image(interpdisc: CliRunner) -> None:
    """Only the new image is extracted; the picks are those that the old program made."""
    migrate(interpdisc, "discover")
    before = modification_times(HOME / "discover" / "features", RUN)
    expected = EXTENDED["discover"]
    result = run_flow(interpdisc, "discover", HOME / "photos", HOME / "more", *_discover(len(expected["picks"])))
    assert result["run"] == expected["run"]
    check_equal(result["counts"], expected["counts"], 0)
    check_picks(result["picks"], expected["picks"], NETWORK)
    now = modification_times(HOME / "discover" / "features", RUN)
    assert {path: now[path] for path in before} == before
    (store,) = run_json(interpdisc, "verify", HOME / "discover")["features"]
    assert (store["name"], store["extracted"], store["to_do"]) == (EXPECTED["discover"]["features"], 20, 0)
    records = sorted((HOME / "discover" / "features" / store["name"]).glob("*/records/*.json"))
    assert [json.loads(path.read_text())["rows"] for path in records] == [[0, 19], [0, 1]]


def _discover(picks: int) -> tuple[str | Path, ...]:
    return (
        "--labels",
        HOME / "photos.csv",
        "--background",
        HOME / "known",
        "--archive",
        HOME / "discover",
        "--plan",
        HOME / "discover.json",
        "-n",
        str(picks),
    )


def test_an_old_run_is_explained(interpdisc: CliRunner) -> None:
    """Another inverter renders the same picks with the same numbers; what was rendered before is kept."""
    migrate(interpdisc, "discover")
    before = modification_times(RUN / "explanations", RUN / "vectors")
    result = run_flow(interpdisc, "explain", RUN, "--inverter", "upconv", "--explain", "2")
    check_picks(
        result["picks"], [{n: v for n, v in p.items() if n != "trusted"} for p in EXPECTED["discover"]["picks"]]
    )
    assert result["rendering"] == EXTENDED["explain"]["rendering"]
    for rank, numbers in EXTENDED["explain"]["rendered"].items():
        check_equal(result["picks"][int(rank) - 1]["numbers"], numbers, NETWORK)
    now = modification_times(RUN / "explanations", RUN / "vectors")
    assert {path: now[path] for path in before} == before


@pytest.mark.slow
def test_old_explanations_are_used_again(interpdisc: CliRunner) -> None:
    """The settings by which a run was rendered first give those explanations again; nothing is rendered."""
    migrate(interpdisc, "discover")
    before = modification_times(RUN / "explanations", RUN / "vectors")
    result = run_flow(interpdisc, "explain", RUN, "--steps", "3")
    check_picks(result["picks"], EXPECTED["discover"]["picks"])
    check_equal(result["picks"][0]["numbers"], EXPECTED["discover"]["rendered"]["1"], 0)
    assert modification_times(RUN / "explanations", RUN / "vectors") == before


def test_days_are_continued(interpdisc: CliRunner) -> None:
    """Verdicts and memory are read; a fourth day gets its list; the undone day is done again."""
    daily = ("daily", "--settings", HOME / "daily.json", "--archive", HOME / "daily")
    marks = EXPECTED["daily"]["marks"]
    assert [{name: mark[name] for name in marks[0]} for mark in run_json(interpdisc, "marks", HOME / "daily")] == marks
    check_memory(EXPECTED["daily"]["held"], EXPECTED["daily"]["memory"])
    for day in EXPECTED["daily"]["days"]:
        page = json.loads((HOME / "daily" / "days" / day["day"] / "day.json").read_text())
        check_picks(page["picks"], day["picks"])

    migrate(interpdisc, "daily")
    shutil.copy(HOME / "list-4.csv", HOME / "list.csv")
    fourth = run_flow(interpdisc, *daily)["days"]
    check_days(fourth, EXTENDED["fourth day"])
    interpdisc("redo", HOME / "daily", "sol-00802")
    redone = run_flow(interpdisc, *daily)["days"]
    check_days(redone, EXTENDED["redone"])
    if _list_scores(fourth + redone) == _list_scores(EXTENDED["fourth day"] + EXTENDED["redone"]):
        check_memory(EXTENDED["held"], EXTENDED["memory"])
    now = hash_files("daily/memory/**/*")  # another processor may round new records otherwise, and their names say so
    assert [path.rsplit(".", 2)[0] for path in now] == [path.rsplit(".", 2)[0] for path in EXTENDED["memory"]]
    assert {path: now[path] for path in EXPECTED["daily"]["memory"]} == EXPECTED["daily"]["memory"]
    for sol in ("sol-00802", "sol-00804"):
        assert f"{sol[-3:]}-0.png" in (HOME / "daily" / "site" / "days" / sol / "index.html").read_text("utf-8")
    assert run_json(interpdisc, "verify", HOME / "daily")["sound"]


def test_a_backfill_has_nothing_to_do(interpdisc: CliRunner) -> None:
    """The same command reads no shard, and proves the same members."""
    migrate(interpdisc, "backfill")
    expected = EXPECTED["backfill"]
    before = modification_times(HOME / "backfill" / "features")
    result = run_flow(
        interpdisc,
        "backfill",
        HOME / "shards",
        "--archive",
        HOME / "backfill",
        "--plan",
        HOME / "pixels.json",
        "--block",
        "16",
    )
    assert (result["name"], result["complete"], result["call"]["shards"]) == (expected["name"], True, 0)
    check_equal(result["proof"], expected["proof"], 0)
    assert modification_times(HOME / "backfill" / "features") == before
    assert hash_files("backfill/backfills/*/shards/*") == expected["shards"]


def test_a_study_is_reported_again(interpdisc: CliRunner) -> None:
    """No cell is computed again; the lines are the same and the page is written again."""
    migrate(interpdisc, "lab")
    expected = EXPECTED["study"]
    (study,) = (HOME / "lab" / "lab" / "studies").iterdir()
    assert [study.name] == expected["names"]
    before = modification_times(HOME / "lab" / "lab" / "cells", HOME / "lab" / "features")
    (study / "evaluation.html").unlink()
    result = run_flow(
        interpdisc,
        "evaluate",
        HOME / "photos",
        "--labels",
        HOME / "photos.csv",
        "--study",
        HOME / "study.json",
        "--archive",
        HOME / "lab",
    )
    assert (result["images"], result["cells"]) == (expected["images"], expected["cells"])
    check_equal(result["lines"], expected["lines"], ROUNDING)
    check_equal(result["others"], expected["others"], ROUNDING)
    assert modification_times(HOME / "lab" / "lab" / "cells", HOME / "lab" / "features") == before
    assert sorted(hash_files("lab/lab/cells/*")) == expected["outcomes"]
    assert "Small photos" in (study / "evaluation.html").read_text("utf-8")


@pytest.mark.slow
def test_a_training_uses_the_old_examples(interpdisc: CliRunner) -> None:
    """The recipe has the same name and its examples are kept; the epochs are those of the old program.

    Weights are too large to be kept as test data. Where the epochs are the same to the last bit, so are the weights.
    """
    migrate(interpdisc, "training")
    expected = EXPECTED["training"]
    before = {
        path: stamp
        for path, stamp in modification_times(HOME / "training" / "examples").items()
        if path.suffix != ".parquet"
    }
    options = (
        "train-inverter",
        HOME / "photos",
        "--archive",
        HOME / "training",
        "--out",
        HOME / "small.safetensors",
        "--recipe",
        HOME / "recipe.json",
        "--held-out",
        "cups='coffee' in id",
        "--data-description",
        "small photos",
        "--license",
        "CC0-1.0",
    )
    result = run_flow(interpdisc, *options, "--epochs", "2")
    assert {name: result[name] for name in ("training", "images", "examples", "best")} == {
        "training": expected["name"],
        "images": expected["images"],
        "examples": expected["examples"],
        "best": expected["best"],
    }
    check_equal(result["epochs"], expected["epochs"], NETWORK)
    for name, expected_scores in expected["scores"].items():
        # The model of ten codes has one direction that is only rounding, which is another one on each processor, and
        # residuals are what lies outside of the model, random ones too.
        rounded = {key for key in expected_scores if key.startswith("cosine")}
        # Pictures after two epochs differ by what rounding grew to; that is 0.3 % of an error between two processors.
        check_equal(result["scores"][name], {k: v for k, v in expected_scores.items() if k not in rounded}, 0.02)
        assert all(-1 <= result["scores"][name][key] <= 1 for key in rounded)
    now = modification_times(HOME / "training" / "examples")
    assert {path: now[path] for path in before} == before
    if [epoch["score"] for epoch in result["epochs"]] == [epoch["score"] for epoch in expected["epochs"]]:
        weights = hash_files("training/training/*/*.safetensors")
        actual = {Path(path).name: content for path, content in weights.items()}
        assert {name: actual[name] for name in ("best.safetensors", "state.safetensors")} == {
            name: expected["weights"][name] for name in ("best.safetensors", "state.safetensors")
        }
    check_equal(run_flow(interpdisc, *options, "--epochs", "3")["epochs"], EXTENDED["training"]["epochs"], NETWORK)
