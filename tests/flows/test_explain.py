"""`interpdisc explain`: the picks of a run rendered in another way, and nothing selected again."""

import csv
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from interpdisc_core.archive.run import Run
from interpdisc_core.inverters._layers import StandardizedGenerator
from interpdisc_core.inverters.checkpoint import CheckpointMetadata, pack_checkpoint
from interpdisc_core.inverters.generators import LightGenerator
from interpdisc_core.representations import PixelValues, digest_features
from interpdisc_core.storage.location import Location
from tests.flows.conftest import CliRunner, list_picks

PLAN = {
    "representation": {"kind": "pixels", "side": 8},
    "picks": 6,
    "explain": 2,
    "inverter": {"kind": "gradient", "size": 32, "steps": 2},
}


def _checkpoint(path: Path, side: int) -> Path:
    """An untrained network, whose card says otherwise, for pixels of `side` x `side`."""
    representation, dimension = PixelValues(side=side), 3 * side**2
    torch.manual_seed(0)
    generator = LightGenerator(size=64)
    network = StandardizedGenerator(generator.build(dimension), torch.zeros(dimension), torch.ones(dimension))
    card = CheckpointMetadata(
        features=digest_features(representation),
        representation=asdict(representation),
        generator=generator,
        dimension=dimension,
        length=5.0,
        threshold=0.31,
        data={"what": "tiles of photos", "images": 1234},
        training={"epochs": 7},
        date="2026-11-24",
    )
    path.write_bytes(pack_checkpoint({name: value.contiguous() for name, value in network.state_dict().items()}, card))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.safetensors", 8)


@pytest.fixture(scope="module")
def first(interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run over two dozen tiles, two of its picks rendered by two steps of the optimiser."""
    folder = tmp_path_factory.mktemp("explained")
    (folder / "tiles").mkdir()
    for tile in sorted(tiles[0].iterdir())[::17]:
        os.link(tile, folder / "tiles" / tile.name)
    (folder / "plan.json").write_text(json.dumps(PLAN))
    return interpdisc.run_discover(
        folder / "tiles", "--archive", folder / "archive", "--plan", folder / "plan.json", "--workers", "1"
    )


def _explain(interpdisc: CliRunner, result: dict[str, Any], *args: str | Path) -> dict[str, Any]:
    run = Path(result["archive"], "runs", result["run"])
    out, _ = interpdisc("explain", run, *args, "--workers", "1", "--json")
    told: dict[str, Any] = json.loads(out)
    return told


def _rendered(result: dict[str, Any]) -> list[int]:
    return [pick["rank"] for pick in result["picks"] if "feature_error" in pick["numbers"]]


def test_the_run_says_how_it_was_rendered(first: dict[str, Any]) -> None:
    """The plan's own inverter; numbers where a pick was rendered; no trust without a network's threshold."""
    assert first["rendering"]["inverter"]["steps"] == 2
    assert _rendered(first) == [1, 2]
    assert {pick["trusted"] for pick in first["picks"]} == {None}


def test_other_renderings_of_the_same_picks(
    interpdisc: CliRunner, first: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    """More steps, then a network: the picks stay, each rendering has its own folder, the last one is published."""
    archive = Path(first["archive"])
    vectors = {path: path.stat().st_mtime_ns for path in archive.glob("runs/*/vectors/**/*") if path.is_file()}
    more = _explain(interpdisc, first, "--steps", "3", "--explain", "3")
    assert list_picks(more) == list_picks(first)
    assert more["rendering"]["inverter"] == first["rendering"]["inverter"] | {"steps": 3}
    assert _rendered(more) == [1, 2, 3]

    network = _explain(interpdisc, first, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    assert list_picks(network) == list_picks(first)
    assert network["rendering"]["inverter"] == {"kind": "upconv", "checkpoint": str(checkpoint)}
    assert _rendered(network) == [1, 2, 3], "how many are rendered is as before"
    assert all(isinstance(pick["trusted"], bool) for pick in network["picks"][1:3])
    run = Run(Location.parse(archive), first["run"])
    made = run.open_explanations().read(2)
    assert made is not None
    assert made.renderings["control"].shape == (64, 64, 3)
    assert made.threshold == 0.31
    assert len(list(archive.glob("runs/*/explanations/*"))) == 3, "what was rendered before is kept"
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "1,234 images (tiles of photos) in 7 epochs" in page
    with (tmp_path / "out" / "picks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trusted"] in ("yes", "no") for row in rows] == [bool(row["cosine"]) for row in rows]
    assert rows[1]["trusted"] == ("yes" if network["picks"][1]["trusted"] else "no")
    assert float(rows[1]["cosine"]) == network["picks"][1]["numbers"]["cosine_difference"]

    back = _explain(interpdisc, first, "--inverter", "gradient", "--steps", "3")
    assert [pick["numbers"] for pick in back["picks"]] == [pick["numbers"] for pick in more["picks"]], (
        "kept, so the same"
    )
    assert {path: path.stat().st_mtime_ns for path in vectors} == vectors, "nothing was selected again"


def test_what_cannot_be_right_is_one_sentence(
    interpdisc: CliRunner, first: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    """One sentence and no traceback, before anything is started or changed."""
    run = Path(first["archive"], "runs", first["run"])
    other = _checkpoint(tmp_path / "other.safetensors", 4)
    (tmp_path / "text.safetensors").write_text("no tensors")
    before = _settings(run)
    for args, code, sentence in (
        ([first["archive"]], 2, "is not a run: give its folder, ARCHIVE/runs/RUN"),
        ([run, "--inverter", "magic"], 2, "'magic' is not one of 'upconv', 'gradient', 'refined'"),
        (
            [run, "--inverter", "upconv", "--steps", "3"],
            2,
            "--steps is an option of the inverters gradient and refined",
        ),
        (
            [run, "--inverter", "gradient", "--checkpoint", checkpoint],
            2,
            "--checkpoint is an option of the inverters upconv",
        ),
        ([run, "--inverter", "upconv", "--checkpoint", tmp_path / "none"], 1, "no checkpoint can be read there"),
        ([run, "--checkpoint", tmp_path / "text.safetensors"], 1, "is not an inverter's checkpoint"),
        ([run, "--checkpoint", other], 1, "inverts another representation"),
    ):
        out, err = interpdisc("explain", *args, expect=code)
        assert sentence in err
        assert "Traceback" not in out + err
    assert _settings(run) == before


def _settings(run: Path) -> str:
    path = run / "rendering.json"
    return path.read_text() if path.exists() else ""
