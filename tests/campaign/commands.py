"""The six commands that work for long: what each is given, and what must be the same after a kill."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.flows.conftest import CliRunner
from tests.helpers.daily_runs import make_file_name, make_scene_png
from tests.helpers.shard_files import make_members, write_tar

_PLAN = {
    "representation": {"kind": "pixels", "side": 8},
    "picks": 24,
    "explain": 6,
    "inverter": {"kind": "gradient", "size": 32, "steps": 6},
}
_RECIPE = {
    "representation": {"kind": "pixels", "side": 8},
    "generator": {"kind": "light", "size": 64},
    "validation": 0.2,
    "epoch": 128,
    "batch": 8,
    "feature": 0,
}
_UNSTEADY_FIELDS = {"seconds", "when", "begun", "ended", "timings", "report", "archive", "started", "finished"}


@dataclass(frozen=True)
class AttackedCommand:
    """A command that is killed and given again.

    Attributes:
        name: Of the command.
        archive: Its archive, below the folder of a try; what `verify` is asked about; empty: it has none.
        build_arguments: From the folder of a try to the arguments.
        read_outcome: From that folder and the printed result to what must be the same; JSON.
    """

    name: str
    archive: str
    build_arguments: Callable[[Path], list[str | Path]]
    read_outcome: Callable[[Path, dict[str, Any]], Any]


@dataclass(frozen=True)
class AttackInputs:
    """Inputs of all commands, made once: images, shards, features, settings, and a finished run to explain."""

    folder: Path
    tiles: Path

    def prepare(self, interpdisc: CliRunner) -> None:
        """Make what is not there yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, tile in enumerate(sorted(self.tiles.iterdir())[:120]):
            self._link(tile, f"images/{number:03d}-{tile.name}")
        for number, tile in enumerate(sorted(self.tiles.iterdir())[::17][:24]):
            self._link(tile, f"few/{number:03d}-{tile.name}")
        for sol in range(5, 9):
            for number in range(12):
                self._write(
                    f"downlink/{make_file_name(sol, number)}",
                    make_scene_png(100 * sol + number, sol if number == 0 else 0),
                )
        for number in range(8):
            write_tar(self.folder / "shards" / f"m-{number}.tar", make_members(20 * number, 20 * number + 21))
        rng = np.random.default_rng(7)
        rows = rng.normal(size=(60, 64))[rng.integers(0, 60, 20000)] * 2 + rng.normal(size=(20000, 64))
        np.save(self.folder / "features.npy", rows.astype(np.float32))
        self._write("plan.json", json.dumps(_PLAN).encode())
        self._write("recipe.json", json.dumps(_RECIPE).encode())
        daily = {"source": {"kind": "folder", "path": str(self.folder / "downlink")}, "plan": _PLAN | {"picks": 4}}
        self._write("daily.json", json.dumps(daily).encode())
        if not (self.folder / "explained").exists():
            interpdisc(
                "discover",
                self.folder / "few",
                "--archive",
                self.folder / "explained",
                "--plan",
                self.folder / "plan.json",
                "--explain",
                "0",
                "--workers",
                "1",
            )

    def _link(self, source: Path, name: str) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            os.link(source, target)

    def _write(self, name: str, data: bytes) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def list_commands(self) -> list[AttackedCommand]:
        """All six."""
        inputs = self.folder

        def on_archive(*arguments: str | Path) -> Callable[[Path], list[str | Path]]:
            return lambda folder: [*arguments, "--archive", folder / "archive", "--workers", "2"]

        plan: list[str | Path] = ["--plan", inputs / "plan.json"]
        return [
            AttackedCommand("discover", "archive", on_archive(inputs / "images", *plan, "--block", "8"), _read_run),
            AttackedCommand(
                "daily",
                "archive",
                on_archive("--settings", inputs / "daily.json"),
                lambda folder, _: _read_days(folder),
            ),
            AttackedCommand(
                "backfill", "archive", on_archive(inputs / "shards", *plan, "--block", "16"), _read_backfill
            ),
            AttackedCommand(
                "select",
                "",
                lambda folder: [inputs / "features.npy", "-n", "400", "-k", "40", "--out", folder / "picks"],
                lambda _, result: _drop_unsteady(result["picks"]),
            ),
            AttackedCommand("explain", "explained", self._build_explain, _read_run),
            AttackedCommand(
                "train-inverter",
                "archive",
                lambda folder: [
                    *on_archive(inputs / "few", "--recipe", inputs / "recipe.json", "--epochs", "4")(folder),
                    "--out",
                    folder / "made.safetensors",
                ],
                lambda folder, _: _digest_training(folder),
            ),
        ]

    def _build_explain(self, folder: Path) -> list[str | Path]:
        if not (folder / "explained").exists():
            shutil.copytree(self.folder / "explained", folder / "explained")
        [run] = (folder / "explained" / "runs").iterdir()
        return [run, "--inverter", "gradient", "--steps", "12", "--explain", "12", "--workers", "2"]


def _drop_unsteady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_unsteady(item) for key, item in value.items() if key not in _UNSTEADY_FIELDS}
    return [_drop_unsteady(item) for item in value] if isinstance(value, list) else value


def _read_run(folder: Path, result: dict[str, Any]) -> Any:
    return [[pick["id"], pick["score"], pick.get("numbers")] for pick in result["picks"]]


def _read_days(folder: Path) -> Any:
    """The picks of every day as the archive has them: the command that was given again prints only its own days."""
    days = {}
    for path in sorted((folder / "archive" / "days").glob("*/day.json")):
        day = json.loads(path.read_text())
        days[path.parent.name] = [[pick["id"], pick["score"]] for pick in day["picks"]]
    return days


def _read_backfill(folder: Path, result: dict[str, Any]) -> Any:
    digests = {
        path.relative_to(folder).parts[-1]: json.loads(path.read_text())
        for path in (folder / "archive").glob("features/*/*/records/*.json")
    }
    return {"proof": _drop_unsteady(result["proof"]), "blocks": sorted(_find_digests(digests))}


def _find_digests(value: Any) -> list[str]:
    """All digests (64 hexadecimal digits) in a JSON value."""
    if isinstance(value, str):
        return [value] if len(value) == 64 and all(digit in "0123456789abcdef" for digit in value) else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [digest for item in items for digest in _find_digests(item)]


def _digest_training(folder: Path) -> Any:
    [state] = (folder / "archive" / "training").glob("*/best.safetensors")
    return hashlib.sha256(state.read_bytes()).hexdigest()
