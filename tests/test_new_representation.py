"""The first change of docs/architecture.md, "Which file to open", made in a copy of the package as a developer makes it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE = '''"""The mean color of each cell of a grid."""

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from interpdisc_core._types import PixelArray
from interpdisc_core.images.resize import compute_crop_window, crop_center_square
from interpdisc_core.settings import settings


@settings
class MeanColors:
    """Mean red, green and blue of each of `cells` x `cells` cells: 3 cells² features."""

    kind: Literal["mean-colors"] = "mean-colors"
    cells: Annotated[int, Field(ge=1, le=16)] = 4

    @property
    def side(self) -> int:
        return 8 * self.cells

    def prepare(self, image: PixelArray) -> PixelArray:
        return crop_center_square(image, crop=self.side, short_side=self.side)

    def compute_window(self, width: int, height: int) -> tuple[float, float, float, float]:
        return compute_crop_window(width, height, crop=self.side, short_side=self.side)

    def load(self, device: str = "auto") -> Any:
        def embed(images: PixelArray) -> npt.NDArray[np.float32]:
            cells = images.reshape(len(images), self.cells, 8, self.cells, 8, 3).astype(np.float64)
            return cells.mean(axis=(2, 4)).reshape(len(images), -1).astype(np.float32)

        return embed

    def build_network(self) -> Any | None:
        return None

    @property
    def attribution_kind(self) -> Literal["energy"]:
        return "energy"

    def attribution_map(
        self, image: PixelArray, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64]:
        return (residual.reshape(self.cells, self.cells, 3) ** 2).sum(axis=2)
'''
PROGRAM = """
import numpy as np
from interpdisc_core import Demud, embed_images, explain, select
from interpdisc_core.plan import parse_plan

representation = parse_plan({"representation": {"kind": "mean-colors", "cells": 2}}).representation
images = [np.full((30, 50, 3), 100 + n, np.uint8) for n in range(9)]
images[4] = images[4].copy()
images[4][:15, 10:25] = (250, 0, 0)
features = embed_images(images, representation)
(choice,) = select(features, 1, Demud(rank=2), prior=features[:3].astype(float))
assert choice.row == 4, choice.row
attribution_map = explain(images[4], choice, representation).attribution_map
assert attribution_map.argmax() == 0, attribution_map
"""


def test_a_representation_needs_one_module_and_one_name(tmp_path: Path) -> None:
    """With these two, a plan chooses it, the contract tests find it, and images are selected and explained by it."""
    for folder in ("interpdisc_core", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    package = tmp_path / "interpdisc_core" / "representations"
    (package / "mean_colors.py").write_text(MODULE)
    init = (package / "__init__.py").read_text()
    line = "from interpdisc_core.representations.mobilenet_v2 import"
    assert init.count(line) == 1
    init = init.replace(
        line, f"from interpdisc_core.representations.mean_colors import MeanColors as MeanColors\n{line}"
    )
    assert init.count("    | PixelValues\n") == 1
    (package / "__init__.py").write_text(init.replace("    | PixelValues\n", "    | PixelValues\n    | MeanColors\n"))

    contracts = tmp_path / "tests" / "contracts" / "test_representations.py"
    laws = contracts.read_text()
    assert laws.count("    PixelValues: [") == laws.count("    PixelValues,\n") == 1
    laws = laws.replace("    PixelValues,\n", "    PixelValues,\n    MeanColors,\n")
    laws = laws.replace(
        "    PixelValues: [", "    MeanColors: [MeanColors(), MeanColors(cells=2)],\n    PixelValues: ["
    )
    contracts.write_text(laws)

    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env |= {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=env, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", contracts, "-k", "MeanColors"]
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
