"""Training an inverter through the command line: real server, real workers, a network of 64 x 64 pixels."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from interpdisc_core.inverters import UpConv
from interpdisc_core.inverters.checkpoint import CheckpointMetadata, parse_checkpoint_metadata
from interpdisc_core.representations import PixelValues
from interpdisc_core.storage.location import Location
from interpdisc_core.training.sample_sheet import SHEET_ROWS
from tests.flows.conftest import CHECKOUT, CliRunner, post_to_server, wait_until

KINDS = ("astronaut", "brick", "chelsea", "coffee", "hubble_deep_field", "rocket")
RECIPE = {
    "representation": {"kind": "pixels", "side": 8},
    "generator": {"kind": "light", "size": 64},
    "validation": 0.2,
    "epoch": 32,
    "batch": 8,
    "feature": 0,
}


@pytest.fixture(scope="module")
def few(tiles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen tiles of six photos, and one file that is no image."""
    folder = tmp_path_factory.mktemp("few") / "tiles"
    folder.mkdir()
    for kind in KINDS:
        for tile in sorted(tiles[0].glob(f"{kind}-*.png"))[:4]:
            shutil.copy(tile, folder)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose representation needs no network."""
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    path.write_text(json.dumps(RECIPE))
    return path


def _train(interpdisc: CliRunner, *args: str | Path) -> dict[str, Any]:
    out, _ = interpdisc("train-inverter", *args, "--workers", "1", "--json")
    result: dict[str, Any] = json.loads(out)
    return result


@pytest.fixture(scope="module")
def asked(few: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """A command without its number of epochs; where the checkpoint goes is told from the checkout."""
    folder = tmp_path_factory.mktemp("trained")
    out = os.path.relpath(folder / "out" / "small.safetensors", CHECKOUT)
    return [
        few,
        "--archive",
        folder / "archive",
        "--out",
        out,
        "--recipe",
        recipe,
        "--held-out",
        "cups='coffee' in id",
        "--held-out",
        "walls='brick' in id",
        "--data-description",
        "tiles of photos",
        "--license",
        "CC0-1.0",
    ]


@pytest.fixture(scope="module")
def trained(interpdisc: CliRunner, asked: list[str | Path]) -> dict[str, Any]:
    """The result of two epochs."""
    return _train(interpdisc, *asked, "--epochs", "2")


def _card(result: dict[str, Any]) -> CheckpointMetadata:
    return parse_checkpoint_metadata(Path(result["checkpoint"]).read_bytes(), result["checkpoint"])


def test_the_checkpoint_inverts_and_says_where_it_comes_from(
    trained: dict[str, Any], asked: list[str | Path], few: Path
) -> None:
    """It loads as everybody will load it; its card has the command as it was given, the data, the scores."""
    invert = UpConv(checkpoint=trained["checkpoint"]).load(PixelValues(side=8), "none")
    pictures = invert(np.random.default_rng(0).random((3, 192)))
    assert pictures.shape == (3, 64, 64, 3)
    card = _card(trained)
    assert card.command.startswith("interpdisc train-inverter ")
    for word in (str(few), str(asked[4]), "--epochs 2", "--license CC0-1.0"):
        assert word in card.command, "paths stand there as they were given"
    assert (card.licence, card.data["what"]) == ("CC0-1.0", "tiles of photos")
    assert card.data["images"] == trained["images"] == 16 - round(0.2 * 16)
    assert trained["examples"] == 2 * trained["images"], "each also mirrored"
    assert set(card.scores) == {"cups", "walls"}
    assert all(scores["images"] == 4 and np.isfinite(scores["psnr"]) for scores in card.scores.values())
    assert card.scores == trained["scores"]
    assert [epoch["number"] for epoch in trained["epochs"]] == [1, 2]


def test_it_goes_on_and_does_nothing_twice(
    interpdisc: CliRunner, trained: dict[str, Any], asked: list[str | Path]
) -> None:
    """One epoch more trains one epoch more; the same command again trains and scores nothing."""
    archive = Path(trained["archive"])
    examples = {path: path.stat().st_mtime_ns for path in archive.glob("examples/**/*") if path.is_file()}
    more = _train(interpdisc, *asked, "--epochs", "3")
    assert more["training"] == trained["training"]
    assert more["epochs"][:2] == trained["epochs"], "their seconds too, so they were not trained again"
    assert [epoch["number"] for epoch in more["epochs"]] == [1, 2, 3]
    assert "--epochs 3" in _card(more).command
    roll = {path for path in examples if path.name == "roll.parquet"}
    assert {path: path.stat().st_mtime_ns for path in examples.keys() - roll} == {
        path: stamp for path, stamp in examples.items() if path not in roll
    }
    kept = [archive / "training" / more["training"] / name for name in ("state.safetensors", "checkpoint.safetensors")]
    before = [path.stat().st_mtime_ns for path in kept]
    again = _train(interpdisc, *asked, "--epochs", "3")
    assert again == more
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert "sound" in interpdisc("verify", archive)[0]


def test_the_prefect_ui_has_what_people_watch(trained: dict[str, Any], server: str) -> None:
    """Pictures, curves and a table after each epoch, the scores and a link at the end; each epoch is a task."""
    ask = {"flows": {"name": {"any_": ["train-inverter"]}}, "sort": "START_TIME_ASC"}
    ours = next(
        run
        for run in post_to_server(server, "flow_runs/filter", ask)
        if run["parameters"]["archive"] == trained["archive"]
    )
    assert ours["state_name"] == "Completed"
    assert {"train-inverter", "pixels", "light"} <= set(ours["tags"])
    where = {"flow_runs": {"id": {"any_": [ours["id"]]}}}
    artifacts = post_to_server(server, "artifacts/filter", where | {"sort": "CREATED_DESC"})
    newest = {artifact["key"]: artifact for artifact in reversed(artifacts)}
    assert {"ingest-progress", "prepare-progress", "samples", "curves", "epochs", "scores", "checkpoint"} <= set(newest)
    assert sum(artifact["key"] == "samples" for artifact in artifacts) == 2
    for key, kind in (("samples", "jpeg"), ("curves", "png")):
        assert f"](data:image/{kind};base64," in newest[key]["data"]
        assert len(newest[key]["data"]) < 150_000
    assert [row["epoch"] for row in json.loads(newest["epochs"]["data"])] == [1, 2]
    assert "cups" in newest["scores"]["data"]
    tasks = {task["name"] for task in post_to_server(server, "task_runs/filter", where)}
    assert {"train epoch 1", "train epoch 2", "prepare examples validation", "prepare examples held-out-cups"} <= tasks
    sheet = Image.open(Path(trained["archive"], "training", trained["training"], "samples", "0002.png"))
    assert sheet.height > len(SHEET_ROWS) * 64


def test_a_whole_archive_is_a_source(
    interpdisc: CliRunner, trained: dict[str, Any], asked: list[str | Path], tmp_path: Path
) -> None:
    """The ready images of another archive: the same images, so the same training, and nothing is listed anew."""
    args = [trained["archive"], "--archive", tmp_path / "archive", "--out", tmp_path / "other.safetensors", *asked[5:]]
    other = _train(interpdisc, *args, "--epochs", "1")
    assert other["training"] == trained["training"]
    assert not (tmp_path / "archive" / "listings").exists()
    score, expected = other["epochs"][0], trained["epochs"][0]
    assert {**score, "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--out", "{tmp}/x.pth"], "--out must be a file NAME.safetensors"),
        (["--held-out", "sol > 3"], "write NAME=EXPR"),
        (["--held-out", "a==3"], "write NAME=EXPR"),
        (["--held-out", "cups='brick' in id"], "two sets 'cups'"),
        (["--representation", "fc8"], "fc8: cannot be read"),
        (["--generator", "heavy"], "'heavy' is not one of 'light'"),
        (["--batch-size", "0"], "Invalid value for '--batch-size'"),
        (["--recipe", "{bad}"], "bad.json: there is no field 'epock'; did you mean 'epoch'"),
        (["--held-out", "none='nowhere' in id"], "matches none of the 24 images"),
        (["--where", "sol > 3"], "there is no field 'sol'"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(
    interpdisc: CliRunner, asked: list[str | Path], tmp_path: Path, args: list[str], sentence: str
) -> None:
    """Exit code 2, one sentence that says what and where, no traceback; whoever finds it, the command or a worker."""
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"epock": 3}))
    given = [arg.format(tmp=tmp_path, bad=bad) for arg in args]
    archive = ["--archive", tmp_path / "archive"]
    out, err = interpdisc("train-inverter", *asked, *archive, *given, "--workers", "1", expect=2)
    assert sentence in err
    assert "Traceback" not in out + err


@pytest.mark.slow
def test_kill_9_and_the_same_command(interpdisc: CliRunner, few: Path, recipe: Path, tmp_path: Path) -> None:
    """Killed while it prepares, in its first epoch and later, it ends in the very bytes of an undisturbed training."""
    longer = tmp_path / "longer.json"
    longer.write_text(json.dumps(RECIPE | {"epoch": 256}))

    def args(name: str) -> list[str | Path]:
        out = tmp_path / f"{name}.safetensors"
        return [few, "--archive", tmp_path / name, "--out", out, "--recipe", longer, "--epochs", "3"]

    straight = _train(interpdisc, *args("straight"))
    folder = tmp_path / "killed"

    def marks(stage: str) -> float:
        found = [json.loads(path.read_text() or "0") for path in folder.glob(f"progress/*/*-{stage}/0*.json")]
        return max(found, default=0.0)

    def epochs() -> int:
        state = folder / "training" / straight["training"] / "history.json"
        return len(json.loads(state.read_text())) if state.exists() else 0

    moments: tuple[Callable[[], object], ...] = (
        lambda: list(folder.glob("examples/*/roll.parquet")),
        lambda: marks("train") > 0,
        lambda: epochs() >= 1,
        lambda: epochs() >= 2,
    )
    for moment in moments:
        job = interpdisc.start("train-inverter", *args("killed"), "--workers", "1", "--json")
        wait_until(lambda moment=moment, job=job: moment() or job.process.poll() is not None, 300)  # type: ignore[misc]
        if (
            job.process.poll() is not None
        ):  # a fast machine was done before it could be killed: that must have gone well
            assert job.process.returncode == 0, job.wait()
            continue
        job.kill_tree()
        shutil.rmtree(folder / "progress", ignore_errors=True)
    ended = _train(interpdisc, *args("killed"))
    for name in ("state.safetensors", "best.safetensors"):
        one, two = (tmp_path / where / "training" / straight["training"] / name for where in ("straight", "killed"))
        assert one.read_bytes() == two.read_bytes()
    assert ended["scores"] == straight["scores"]
    assert [epoch["score"] for epoch in ended["epochs"]] == [epoch["score"] for epoch in straight["epochs"]]
    assert Location.parse(ended["archive"]).exists("training/" + ended["training"] + "/samples/0003.png")
