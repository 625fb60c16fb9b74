"""The steps of a training as the flow calls them, without the flow."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interpdisc_core import ingest
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.ingest import catalogued
from interpdisc_core.inverters.generators import LightGenerator
from interpdisc_core.plan import json_at
from interpdisc_core.progress import Watch
from interpdisc_core.representations import EfficientNetLite0, PixelValues
from interpdisc_core.runs import Inputs
from interpdisc_core.training import recipe as recipes
from interpdisc_core.training.curves import loss_chart
from interpdisc_core.training.enrolling import enrol, parted
from interpdisc_core.training.epochs import Epoch, Trained, train_epoch
from interpdisc_core.training.examples import Enrolled, prepare
from interpdisc_core.training.recipe import Recipe
from interpdisc_core.training.samples import IMAGES, ROWS, expectations, sheet, small_jpeg

NOBODY = Watch("")
RECIPE = Recipe(
    representation=PixelValues(side=8),
    generator=LightGenerator(size=64),
    validation=0.2,
    epoch=16,
    batch=8,
    feature=0.0,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive that has a dozen small images, two of the same content."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(12):
        picture = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(picture).resize((40, 40)).save(folder / f"{number:02d}.png")
    (folder / "twin.png").write_bytes((folder / "03.png").read_bytes())
    url = str(tmp_path_factory.mktemp("archive"))
    listing = ingest.enlist(url, Inputs(sources=(str(folder),)))
    ingest.check(url, listing.name, (0, listing.unchecked), listing.turn, NOBODY)
    ingest.admitted(url, listing.name, 1024, 1)
    return url


def _ready(archive: str, url: Path, recipe: Recipe = RECIPE) -> Enrolled:
    enrolled = enrol(str(url), "", (archive,), recipe, {}, 1)
    for part in enrolled.parts:
        prepare(str(url), enrolled.name, part, NOBODY)
    return enrolled


def test_whole_archives_are_told_from_other_sources(archive: str, tmp_path: Path) -> None:
    """By what is in them; each content of theirs counts once."""
    assert parted((archive, str(tmp_path), "photos/*.jpg")) == ((archive,), (str(tmp_path), "photos/*.jpg"))
    members = catalogued(archive)
    assert [member.id for member in members] == [f"{number:02d}.png" for number in range(12)]
    enrolled = enrol(str(tmp_path / "a"), "", (archive, archive), RECIPE, {}, 1)
    assert enrolled.trained + enrolled.validated == enrolled.unprepared == 12
    with pytest.raises(StoreError, match="is not an archive"):
        catalogued(str(tmp_path))


def test_what_does_not_fit_is_said_before_hours_are_spent(archive: str, tmp_path: Path) -> None:
    """A generator for a grid and a representation that is none: refused when the images are drawn."""
    grid = Recipe(representation=PixelValues(side=7), generator=LightGenerator(cells=4), feature=0.0)
    with pytest.raises(PlanError, match="no grid of 4 x 4 cells"):
        enrol(str(tmp_path), "", (archive,), grid, {}, 1)


def test_an_epoch_that_is_done_is_not_trained_again(archive: str, tmp_path: Path) -> None:
    """The number says which epoch is wanted; the pictures that are missing are made."""
    name, url = _ready(archive, tmp_path).name, str(tmp_path)
    one = train_epoch(url, name, 1, 1, NOBODY)
    state = tmp_path / "training" / name / "state.safetensors"
    stamp = state.stat().st_mtime_ns
    sheet_file = tmp_path / one.sheet
    sheet_file.unlink()
    assert train_epoch(url, name, 1, 1, NOBODY) == one
    assert state.stat().st_mtime_ns == stamp
    with Image.open(sheet_file) as made:
        assert made.size[1] == len(ROWS) * (64 + 4)
    two = train_epoch(url, name, 2, 1, NOBODY)
    assert two.history[:1] == one.history
    assert two.over(2, None)
    assert not two.over(3, 1.0)
    assert two.over(3, 0.0)


def test_a_history_that_is_ahead_of_its_state(archive: str, tmp_path: Path) -> None:
    """A kill between the two writes: the epoch is trained again, and ends in the same bytes."""
    url = str(tmp_path)
    name = _ready(archive, tmp_path).name
    folder = tmp_path / "training" / name
    train_epoch(url, name, 1, 1, NOBODY)
    early = (folder / "state.safetensors").read_bytes()
    two = train_epoch(url, name, 2, 1, NOBODY)
    late = (folder / "state.safetensors").read_bytes()
    (folder / "state.safetensors").write_bytes(early)
    again = train_epoch(url, name, 2, 1, NOBODY)
    assert (folder / "state.safetensors").read_bytes() == late
    assert [epoch.score for epoch in again.history] == [epoch.score for epoch in two.history]


def test_expectations_are_projections() -> None:
    """x̂ of codes that lie in the span of those seen is the code itself; of others it is nearer to the mean."""
    random = np.random.default_rng(0)
    seen = (random.normal(size=(40, 5)) @ random.normal(size=(5, 60))).astype(np.float32)
    np.testing.assert_allclose(expectations(seen[:3], seen[3:]), seen[:3], atol=1e-4)
    other = random.normal(size=(3, 60)).astype(np.float32)
    expected = expectations(other, seen)
    mean = seen.mean(0)
    assert (np.linalg.norm(expected - mean, axis=1) < np.linalg.norm(other - mean, axis=1)).all()


def test_pictures_for_the_ui_are_small() -> None:
    """A sheet of noise, which no JPEG makes small, comes down to the bytes asked for; the curves are small as they are."""
    random = np.random.default_rng(0)
    noise = sheet(tuple(random.integers(0, 256, (IMAGES, 128, 128, 3), dtype=np.uint8) for _ in ROWS))
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, "PNG")
    small = small_jpeg(sink.getvalue())
    assert len(small) <= 110_000
    assert Image.open(io.BytesIO(small)).format == "JPEG"
    history = [Epoch(n, 1 / n, 1 / n, 10 + n, 0.5, 0.5, 1e-3, 60.0) for n in range(1, 101)]
    for some in (history[:1], history):
        assert len(loss_chart(some)) < 100_000
    assert Trained(tuple(history), False, "").told.startswith("epoch 100: loss 0.010, validation 0.0100 (best)")


def test_recipes_are_read_with_sentences(tmp_path: Path) -> None:
    """Any part of a recipe may stand in the file; what is wrong is named."""
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"batch": 4, "generator": {"kind": "paper"}}))
    assert (recipes.read(str(path)).batch, recipes.read(str(path)).generator.kind) == (4, "paper")
    path.write_text(json.dumps({"views": 3}))
    with pytest.raises(PlanError, match=r"recipe.json: views: Input should be 1 or 2"):
        recipes.read(str(path))
    path.write_text("{")
    with pytest.raises(PlanError, match="not JSON"):
        json_at(str(path))
    assert recipes.cells_of(EfficientNetLite0(output="grid", grid=3)) == 3
    assert recipes.cells_of(EfficientNetLite0()) == recipes.cells_of(PixelValues()) == 1


def test_what_is_said_is_heard_in_order(tmp_path: Path) -> None:
    """Sentences beside the stages, which they do not disturb; without a token nobody listens."""
    watch = Watch(str(tmp_path), "token")
    watch.begin("train", 10, "examples")
    watch.say("one")
    watch.begin("score", 3, "images")
    watch.say("two")
    assert watch.heard() == ["one", "two"]
    assert watch.heard(1) == ["two"]
    assert [stage["stage"] for stage in watch.read()] == ["train", "score"]
    Watch(str(tmp_path)).say("nothing")
