"""An evaluation through the command line: real server, real workers."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import CliRunner, wait_until

STUDY = {
    "title": "Tiles <b>of</b> photos",
    "experiments": {
        "discovery": {
            "kind": "discovery",
            "t": 30,
            "novel": ["rocket"],
            "representations": {
                "pixels": {"kind": "pixels", "side": 8},
                "words": {"kind": "sift-words", "words": 16, "side": 96},
            },
            "treatments": {"raw": {}, "L2": {"normalise": "l2"}},
            "selectors": {
                "DEMUD": {"kind": "demud", "rank": 10},
                "farthest": {"kind": "farthest-first"},
                "random": {"kind": "random"},
            },
            "trials": {
                "all": {"kind": "whole"},
                "drawn": {"kind": "drawn", "groups": [{"classes": 5, "images": 6}], "draws": 3},
            },
        },
        "labels": {
            "kind": "label-errors",
            "representations": {"pixels": {"kind": "pixels", "side": 8}},
            "rates": [0.1],
            "draws": 1,
            "shown": 6,
        },
        "days": {
            "kind": "replay",
            "representations": {"pixels": {"kind": "pixels", "side": 8}},
            "day": r"-(\d)",
            "budgets": [1, 4],
        },
    },
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The study as a file."""
    path = tmp_path / "study.json"
    path.write_text(json.dumps(STUDY))
    return path


def evaluated(interpdisc: CliRunner, *args: str | Path, expect: int = 0) -> dict[str, Any]:
    """The result of an evaluation."""
    out, _ = interpdisc("evaluate", *args, "--json", expect=expect)
    result: dict[str, Any] = json.loads(out)
    return result


def kept(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What must be the same in two runs: all lines but their times."""
    return [{k: v for k, v in line.items() if k != "cpu_seconds"} for line in result["lines"]]


def test_the_whole_study(interpdisc: CliRunner, tiles: tuple[Path, Path], study: Path, tmp_path: Path) -> None:
    """Every combination has a line, tables and three pages are there, and doing it again measures nothing anew."""
    folder, labels = tiles
    asked = [folder, "--labels", labels, "--study", study, "--archive", tmp_path / "archive", "--out", tmp_path / "out"]
    first = evaluated(interpdisc, *asked)
    assert len(first["lines"]) == 2 * 2 * 3 * 2
    assert first["problems"] == []
    assert {"DEMUD", "farthest", "random"} == {line["method"] for line in first["lines"]}
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "Tiles &lt;b&gt;of&lt;/b&gt; photos" in page
    assert "<script" not in page
    with (tmp_path / "out" / "labels-suspects.csv").open() as file:
        suspects = list(csv.DictReader(file))
    assert [row["rank"] for row in suspects[:3]] == ["1", "2", "3"]
    assert all(row["judgement"] == "" for row in suspects)
    assert "replay.html" not in first["report"]
    assert (tmp_path / "out" / "days.html").exists()
    cells = tmp_path / "archive" / "lab" / "cells"
    before = {path: path.stat().st_mtime_ns for path in cells.iterdir()}
    again = evaluated(interpdisc, *asked)
    assert kept(again) == kept(first)
    assert {path: path.stat().st_mtime_ns for path in cells.iterdir()} == before
    part = evaluated(interpdisc, *asked, "--novel", "coffee", "-n", "10", "--where", "label != 'rocket'")
    wholes = [line for line in part["lines"] if line["trials"] == "all"]
    assert {(line["t"], line["classes"]) for line in wholes} == {(10, first["classes"] - 1.0)}
    assert all(0 <= line["precision"] <= 1 for line in wholes)


@pytest.mark.slow
def test_a_kill_loses_one_cell_at_most(
    interpdisc: CliRunner, tiles: tuple[Path, Path], study: Path, tmp_path: Path
) -> None:
    """kill −9 while cells are measured; the same command goes on, keeps what is there, and ends as a straight run."""
    folder, labels = tiles
    asked = [folder, "--labels", labels, "--study", study, "--workers", "2"]
    straight = evaluated(interpdisc, *asked, "--archive", tmp_path / "straight")
    cells = tmp_path / "killed" / "lab" / "cells"
    job = interpdisc.start("evaluate", *asked, "--archive", tmp_path / "killed", "--json")
    wait_until(lambda: cells.is_dir() and len(list(cells.glob("*.json"))) >= 3)
    job.kill_tree()
    before = {path: path.read_bytes() for path in cells.glob("*.json")}
    again = evaluated(interpdisc, *asked, "--archive", tmp_path / "killed")
    assert kept(again) == kept(straight)
    assert all(path.read_bytes() == data for path, data in before.items())


def test_what_was_learned_serves_other_runs(interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path) -> None:
    """`learn` writes a plan that names its weights, and `discover` picks by it."""
    plan = tmp_path / "plan.json"
    words = {"kind": "sift-words", "words": 12, "side": 96}
    plan.write_text(json.dumps({"representation": words, "picks": 5, "explain": 0}))
    some = f"{tiles[0]}/c*.png"
    out, _ = interpdisc(
        "learn", some, "--plan", plan, "--out", tmp_path / "words.json", "--archive", tmp_path / "a", "--json"
    )
    learned = json.loads(out)
    assert Path(learned["weights"]) == tmp_path / "words.safetensors"
    result = interpdisc.run_discover(some, "--plan", learned["plan"], "--archive", tmp_path / "a")
    assert len(result["picks"]) == 5
    _, error = interpdisc("learn", some, "--plan", learned["plan"], "--out", tmp_path / "x.json", expect=2)
    assert "the plan has weights already" in error


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--study", "no-such-study"], "no study of this name"),
        (["--labels", ""], "no image has a class"),
        (["--novel", "unicorn"], "'unicorn'"),
        (["--where", "sol >"], "expression 'sol >'"),
    ],
)
def test_mistakes_are_sentences(
    interpdisc: CliRunner, tiles: tuple[Path, Path], study: Path, tmp_path: Path, extra: list[str], said: str
) -> None:
    """Exit code 2 and one sentence."""
    asked = [tiles[0], "--labels", tiles[1], "--study", study, "--archive", tmp_path / "archive"]
    _, error = interpdisc("evaluate", *asked, *extra, expect=2)
    assert said in error
    assert "Traceback" not in error


def test_the_help_names_the_studies() -> None:
    """A user sees what there is."""
    import sys

    out = subprocess.run(
        [str(Path(sys.executable).with_name("interpdisc")), "evaluate", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "table2" in out.stdout
