"""The public API: every name resolves, loads nothing heavy before it is used, and does what the README shows."""

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import interpdisc_core
from interpdisc_core import Demud, PixelValues, Unreadable, embed_images, explain, load_image, select

ROOT = Path(__file__).resolve().parents[1]


def test_every_public_name_resolves() -> None:
    for name in interpdisc_core.__all__:
        assert getattr(interpdisc_core, name) is not None
    assert set(interpdisc_core._LOCATIONS) | {"__version__"} == set(interpdisc_core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Damud'"):
        _ = interpdisc_core.Damud


def test_selection_loads_no_neural_network() -> None:
    program = (
        "import sys, numpy as np; from interpdisc_core import Demud, select, verify, Plan; "
        "list(select(np.eye(5), 2, Demud(rank=2))); "
        "assert {'torch', 'torchvision', 'onnxruntime', 'matplotlib'}.isdisjoint(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-P", "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("module", ["api", "settings"])
def test_examples_in_docstrings_run(module: str) -> None:
    results = doctest.testmod(import_module(f"interpdisc_core.{module}"))
    assert results.attempted > 0
    assert results.failed == 0


def test_from_files_to_an_explained_pick(tmp_path: Path) -> None:
    """The odd image is picked first after the background, and its map points at what is odd."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(100, 140, (32, 32, 3), np.uint8)).save(tmp_path / f"{number:02d}.png")
    odd = rng.integers(100, 140, (32, 32, 3), np.uint8)
    odd[:16, :16] = 250
    Image.fromarray(odd).save(tmp_path / "odd.png")
    paths = sorted(tmp_path.glob("*.png"))
    representation = PixelValues(side=8)
    features = embed_images((load_image(path) for path in paths), representation)
    (choice,) = select(features, picks=1, selector=Demud(rank=3), prior=features[:11].astype(np.float64))
    assert paths[choice.row].name == "odd.png"
    explanation = explain(load_image(paths[choice.row]), choice, representation)
    assert explanation.attribution_map is not None
    rows, columns = explanation.attribution_map.shape
    corner = explanation.attribution_map[: rows // 2, : columns // 2].sum()
    assert corner > 0.8 * explanation.attribution_map.sum()
    assert explanation.attribution_map.sum() == pytest.approx(choice.score, rel=1e-4)


def test_what_is_not_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(Unreadable):
        load_image(tmp_path / "a.png")
    with pytest.raises(Unreadable, match="No such file"):
        load_image(tmp_path / "b.png")
