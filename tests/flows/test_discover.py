"""The whole job through the command line: Prefect, Dask processes, Zarr, a real network."""

import csv
import html
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.flows.conftest import CliRunner, list_picks, post_to_server


@pytest.fixture(scope="module")
def first(interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run on two workers, with labels and one rendered pick."""
    folder = tmp_path_factory.mktemp("first")
    return interpdisc.run_discover(
        tiles[0],
        "--labels",
        tiles[1],
        "--archive",
        folder / "archive",
        "--out",
        folder / "out",
        "-n",
        "40",
        "--explain",
        "1",
        "--workers",
        "2",
    )


def test_the_result_says_what_was_found(first: dict[str, Any]) -> None:
    """Picks with ids and scores, counts that add up, and discovery that beats chance."""
    assert len(first["picks"]) == 40
    assert sum(first["counts"].values()) == first["counts"]["ready"] + first["counts"]["duplicate-of"]
    assert first["nauc"]["t"] == 40
    assert first["nauc"]["exact"] > first["nauc"]["random"]
    assert len(first["classes"]["found"]) + len(first["classes"]["missed"]) == first["classes"]["total"]
    assert set(first["timings"]) == {"ingest", "extract", "select", "explain", "publish"}
    scores = [pick["score"] for pick in first["picks"]]
    assert scores[1:] == sorted(scores[1:], reverse=True), "until truncation a score never rises"


def test_the_products_are_there_and_agree(first: dict[str, Any]) -> None:
    """Page, CSV and Parquet hold the same picks; the archive keeps a copy of each."""
    out = Path(first["report"]).parent
    kept = Path(first["archive"], "runs", first["run"])
    for name in ("report.html", "picks.csv", "picks.parquet", "result.json", "plan.json", "environment.json"):
        assert (out / name).is_file()
        assert (kept / name).is_file()
    ids = [pick["id"] for pick in first["picks"]]
    with (out / "picks.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ids
    assert pq.read_table(out / "picks.parquet")["id"].to_pylist() == ids


def test_where_maps_sum_to_the_scores(first: dict[str, Any]) -> None:
    """The map of each pick adds up to the score that the run reports for it."""
    from interpdisc_core.archive.run import Run
    from interpdisc_core.storage.location import Location

    run = Run(Location.parse(first["archive"]), first["run"])
    kept = run.open_explanations()
    for pick in run.read_picks()[1:]:
        explanation = kept.read(pick.rank)
        assert explanation is not None
        assert explanation.attribution_map is not None
        assert explanation.attribution_map.sum() == pytest.approx(pick.score, rel=1e-4)
    rendered = kept.read(1)
    assert rendered is not None
    assert set(rendered.renderings) == {"control", "expected", "new", "difference"}
    assert {picture.shape for picture in rendered.renderings.values()} == {(128, 128, 3)}
    assert first["picks"][0]["numbers"] == rendered.numbers
    assert first["rendering"]["picks"] == 1


def test_a_second_time_nothing_is_computed_again(
    first: dict[str, Any], interpdisc: CliRunner, tiles: tuple[Path, Path]
) -> None:
    """The same command is the same run; features, picks and explanations are left untouched."""
    archive = Path(first["archive"])
    kept = [
        *archive.glob("features/**/c/**/*"),
        *archive.glob("runs/*/vectors/**/*"),
        *archive.glob("runs/*/explanations/*/*"),
    ]
    before = {path: path.stat().st_mtime_ns for path in kept if path.is_file()}
    parts = len(list(archive.glob("catalog/*")))
    again = interpdisc.run_discover(
        tiles[0],
        "--labels",
        tiles[1],
        "--archive",
        archive,
        "--out",
        Path(first["report"]).parent,
        "-n",
        "40",
        "--explain",
        "1",
    )
    assert again["run"] == first["run"]
    assert list_picks(again) == list_picks(first)
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(archive.glob("catalog/*"))) == parts


def test_one_worker_and_other_blocks_pick_the_same(
    first: dict[str, Any], interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path
) -> None:
    """Law 1: neither the number of workers nor the size of blocks changes a bit of the picks."""
    other = interpdisc.run_discover(
        tiles[0], "--archive", tmp_path / "archive", "-n", "40", "--explain", "0", "--workers", "1", "--block", "37"
    )
    assert list_picks(other) == list_picks(first)


def test_the_archive_is_sound_and_damage_is_found(first: dict[str, Any], interpdisc: CliRunner, tmp_path: Path) -> None:
    """`verify` reads every block: a flipped bit, a missing chunk and a lost catalog part are all found."""
    import shutil

    out, _ = interpdisc("verify", first["archive"])
    assert "sound" in out
    chunk = min(Path(first["archive"]).glob("features/*/*/values/c/*/0"))
    for number, damage in enumerate((_flip_a_bit, os.unlink)):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(first["archive"], copy)
        damage(copy / chunk.relative_to(first["archive"]))
        out, _ = interpdisc("verify", copy, expect=3)
        assert "FAULT" in out
    shutil.copytree(first["archive"], tmp_path / "lost")
    min((tmp_path / "lost" / "catalog").iterdir()).unlink()
    max((tmp_path / "lost" / "catalog").iterdir()).unlink()
    out, _ = interpdisc("verify", tmp_path / "lost", expect=3)
    assert "FAULT" in out


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_show_lists_runs_and_picks(first: dict[str, Any], interpdisc: CliRunner) -> None:
    """`show` reads an archive and a run; with --json for programs."""
    out, _ = interpdisc("show", first["archive"], "--json")
    assert [run["run"] for run in json.loads(out)["runs"]] == [first["run"]]
    out, _ = interpdisc("show", Path(first["archive"], "runs", first["run"]))
    assert first["picks"][0]["id"] in out


def test_the_prefect_ui_has_what_people_watch(first: dict[str, Any], server: str) -> None:
    """Named runs with tags, the workers' own log lines, progress, the table of picks, the ledger, the link."""
    # The archive's first run: later ones found its work done. (Unsorted, the order is that of random ids.)
    ask = {"flows": {"name": {"any_": ["discover"]}}, "sort": "START_TIME_ASC"}
    runs = post_to_server(server, "flow_runs/filter", ask)
    ours = next(run for run in runs if run["parameters"]["archive"] == first["archive"])
    assert ours["state_name"] == "Completed"
    assert {"discover", "efficientnet-lite0", "demud"} <= set(ours["tags"])
    where = {"flow_runs": {"id": {"any_": [ours["id"]]}}}
    artifacts = {artifact["key"]: artifact for artifact in post_to_server(server, "artifacts/filter", where)}
    assert {"ingest-progress", "extract-progress", "explain-progress", "picks", "ledger", "report"} <= set(artifacts)
    assert artifacts["extract-progress"]["data"] == 100.0
    assert len(json.loads(artifacts["picks"]["data"])) == 40
    assert "report.html" in artifacts["report"]["data"]
    logs = post_to_server(server, "logs/filter", {"logs": {"flow_run_id": {"any_": [ours["id"]]}}, "limit": 200})
    assert any("images/s" in log["message"] for log in logs), "the workers' own lines are in the UI"


def test_background_counts_as_known(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, pixel_plan: Path
) -> None:
    """Figure 1 of the paper: what is in the background is not picked, and what is like it comes late."""
    photos = tiles[0]
    background = tmp_path / "known"
    background.mkdir()
    for tile in photos.glob("brick-*.png"):
        os.link(tile, background / tile.name)
    result = interpdisc.run_discover(
        photos,
        "--background",
        background,
        "--archive",
        tmp_path / "archive",
        "--plan",
        pixel_plan,
        "--labels",
        tiles[1],
    )
    assert result["known"] == len(list(background.iterdir()))
    assert result["candidates"] == len(list(photos.iterdir())) - result["known"]
    assert "brick" not in result["classes"]["found"]
    assert all(pick["nearest"] for pick in result["picks"]), "even the first pick has a nearest image already seen"


def test_nothing_new_is_said_and_is_no_error(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, pixel_plan: Path
) -> None:
    """Two contents under four names: byte-identical files are scored once, and the picks end when nothing is new."""
    import shutil

    folder = tmp_path / "few"
    folder.mkdir()
    one, two, *_ = sorted(tiles[0].glob("coffee-*.png"))
    for number, tile in enumerate((one, one, two, two)):
        shutil.copy(tile, folder / f"{number}.png")
    result = interpdisc.run_discover(folder, "--archive", tmp_path / "archive", "--plan", pixel_plan)
    assert result["counts"]["duplicate-of"] == 2
    assert [pick["id"] for pick in result["picks"]] in (["0.png", "2.png"], ["2.png", "0.png"])


def test_labels_that_do_not_fit_are_counted_in_the_terminal_and_the_report(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, pixel_plan: Path
) -> None:
    """Contradictions, unknown and unclear names, lines with missing values, images without a label, the column taken."""
    for number, tile in enumerate(sorted(tiles[0].glob("*.png"))[::40][:5]):
        (tmp_path / "in" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(tile, tmp_path / "in" / "ab"[number % 2] / f"{number // 2}.png")
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "id;file_name;label\nx;a/0.png;rock\ny;a\\0.png;sand\nz;a/1.png;rock\nu;no.png;rock\nv;1;sand\nw;2.png\n"
    )
    out, err = interpdisc(
        *("discover", tmp_path / "in", "--labels", labels, "--archive", tmp_path / "archive"),
        *("--out", tmp_path / "out", "--plan", pixel_plan),
    )
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    terminal = " ".join((out + err).split())
    for sentence in (
        "its column 'file_name' is taken as the images' names, for it fits most: 3 of 5 images.",
        "1 line has more or fewer values than the header: 7.",
        "1 name is not that of an image: 'no.png'.",
        "1 name fits several images, and none of these is labelled by it; write the folder too: '1'.",
        "1 image has several classes, so taken as unlabelled: 'a/0.png'.",
        "4 of the 5 images to pick from have no label; they count as no class.",
    ):
        assert sentence in page
        assert sentence in terminal


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["/nowhere/at/all"], "no such file or folder"),
        (["{tiles}", "-n", "0"], "greater than or equal to 1"),
        (["{tiles}", "--workers", "-1"], "greater than or equal to 0"),
        (["{tiles}", "--plan", "{bad}"], "did you mean 'side'"),
        (["{tiles}", "--labels", "/nowhere.csv"], "the labels /nowhere.csv: there is no such file"),
        (["{tiles}", "--archive", "ftp://host/x"], "only folders and s3:// addresses"),
        (["{tiles}", "--archive", "{tiles}/archive"], "lies in the source"),
        (["{tiles}", "--archive", "{others}"], "is not an archive, and it is not empty"),
        (["{tiles}", "--out", "{bad}"], "is a file; name a folder"),
        (["{tiles}", "--out", "{bad}/out"], "is a file; name a folder"),
        (["{tiles}", "--scheduler", "nonsense"], "give an address with a port"),
        (["{tiles}", "--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_an_invalid_argument_is_one_sentence_before_anything_is_started(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, args: list[str], sentence: str
) -> None:
    """Exit code 2, one sentence that names the value, no traceback, no server, nothing written."""
    bad = tmp_path / "plan.json"
    bad.write_text(json.dumps({"representation": {"kind": "pixels", "sied": 3}}))
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "holiday.jpg").touch()
    filled = [arg.format(tiles=tiles[0], bad=bad, others=tmp_path / "others") for arg in args]
    if "--archive" not in filled:
        filled += ["--archive", str(tmp_path / "archive")]
    out, err = interpdisc("discover", *filled, expect=2)
    assert sentence in err
    assert "Traceback" not in out + err
    assert "Prefect" not in err
    assert not (tmp_path / "archive").exists()
    assert len(os.listdir(tmp_path / "others")) == 1
