"""The steps of a training as the flow calls them, without the flow."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interpdisc_core.archive.run import RunInputs
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.inverters.generators import LightGenerator
from interpdisc_core.pipeline import assign_rows, ingest
from interpdisc_core.pipeline.assign_rows import members_of_archive
from interpdisc_core.plan import read_json_file
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import EfficientNetLite0, PixelValues
from interpdisc_core.storage.location import Location
from interpdisc_core.training import recipe as recipes
from interpdisc_core.training.assign_images import TrainingSplits, assign_images, split_archives
from interpdisc_core.training.dataset import prepare_examples
from interpdisc_core.training.epochs import TrainingProgress, train_epoch
from interpdisc_core.training.history import EpochRecord
from interpdisc_core.training.loss_chart import draw_loss_chart
from interpdisc_core.training.recipe import Recipe
from interpdisc_core.training.sample_sheet import SHEET_IMAGES, SHEET_ROWS, compose_sheet, compress_sheet
from interpdisc_core.training.validation import reconstruct_codes

UNWATCHED = ProgressReporter("")
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
    """An archive of a dozen small images, and a copy of one of them."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(12):
        picture = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(picture).resize((40, 40)).save(folder / f"{number:02d}.png")
    (folder / "twin.png").write_bytes((folder / "03.png").read_bytes())
    url = str(tmp_path_factory.mktemp("archive"))
    listing = ingest.list_inputs(url, RunInputs(sources=(str(folder),)))
    ingest.check_inputs(url, listing.name, (0, listing.unchecked), listing.sequence, UNWATCHED)
    assign_rows.members_of_listing(url, listing.name, 1024, 1)
    return url


def _prepare_training(archive: str, url: Path, recipe: Recipe = RECIPE) -> TrainingSplits:
    splits = assign_images(str(url), "", (archive,), recipe, {}, 1)
    for part in splits.parts:
        prepare_examples(str(url), splits.name, part, UNWATCHED)
    return splits


def test_archives_are_recognized_and_each_of_their_contents_counts_once(archive: str, tmp_path: Path) -> None:
    assert split_archives((archive, str(tmp_path), "photos/*.jpg")) == ((archive,), (str(tmp_path), "photos/*.jpg"))
    members = members_of_archive(archive)
    assert [member.id for member in members] == [f"{number:02d}.png" for number in range(12)]
    splits = assign_images(str(tmp_path / "a"), "", (archive, archive), RECIPE, {}, 1)
    assert splits.training_images + splits.validation_images == splits.unprepared_images == 12
    with pytest.raises(StoreError, match="is not an archive"):
        members_of_archive(str(tmp_path))


def test_a_generator_that_does_not_fit_the_representation_is_refused_at_once(archive: str, tmp_path: Path) -> None:
    grid = Recipe(representation=PixelValues(side=7), generator=LightGenerator(cells=4), feature=0.0)
    with pytest.raises(PlanError, match="are not a grid of 4 x 4 cells"):
        assign_images(str(tmp_path), "", (archive,), grid, {}, 1)


def test_an_epoch_that_is_done_is_not_trained_again(archive: str, tmp_path: Path) -> None:
    """But a missing sheet of pictures is written."""
    name, url = _prepare_training(archive, tmp_path).name, str(tmp_path)
    first = train_epoch(url, name, 1, 1, UNWATCHED)
    state = tmp_path / "training" / name / "state.safetensors"
    stamp = state.stat().st_mtime_ns
    sheet_file = tmp_path / first.sample_sheet
    sheet_file.unlink()
    assert train_epoch(url, name, 1, 1, UNWATCHED) == first
    assert state.stat().st_mtime_ns == stamp
    with Image.open(sheet_file) as sheet:
        assert sheet.size[1] == len(SHEET_ROWS) * (64 + 4)
    second = train_epoch(url, name, 2, 1, UNWATCHED)
    assert second.history[:1] == first.history
    assert second.should_stop(2, None)
    assert not second.should_stop(3, 1.0)
    assert second.should_stop(3, 0.0)


def test_if_the_history_is_ahead_of_the_state_the_epoch_is_trained_again_to_the_same_bytes(
    archive: str, tmp_path: Path
) -> None:
    """As after a kill between the two writes."""
    url = str(tmp_path)
    name = _prepare_training(archive, tmp_path).name
    folder = tmp_path / "training" / name
    train_epoch(url, name, 1, 1, UNWATCHED)
    first_state = (folder / "state.safetensors").read_bytes()
    second = train_epoch(url, name, 2, 1, UNWATCHED)
    second_state = (folder / "state.safetensors").read_bytes()
    Location.parse(folder).write_checked("state.safetensors", first_state)
    again = train_epoch(url, name, 2, 1, UNWATCHED)
    assert (folder / "state.safetensors").read_bytes() == second_state
    assert [epoch.score for epoch in again.history] == [epoch.score for epoch in second.history]


def test_codes_are_reconstructed_by_projection() -> None:
    """x̂ of a code in the span of the seen codes is the code itself; of others it is nearer to the mean."""
    random = np.random.default_rng(0)
    seen = (random.normal(size=(40, 5)) @ random.normal(size=(5, 60))).astype(np.float32)
    np.testing.assert_allclose(reconstruct_codes(seen[:3], seen[3:]), seen[:3], atol=1e-4)
    other = random.normal(size=(3, 60)).astype(np.float32)
    expected = reconstruct_codes(other, seen)
    mean = seen.mean(0)
    assert (np.linalg.norm(expected - mean, axis=1) < np.linalg.norm(other - mean, axis=1)).all()


def test_pictures_for_the_ui_are_small() -> None:
    """Even a sheet of noise, which JPEG compresses badly."""
    random = np.random.default_rng(0)
    noise = compose_sheet(
        tuple(random.integers(0, 256, (SHEET_IMAGES, 128, 128, 3), dtype=np.uint8) for _ in SHEET_ROWS)
    )
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, "PNG")
    small = compress_sheet(sink.getvalue())
    assert len(small) <= 110_000
    assert Image.open(io.BytesIO(small)).format == "JPEG"
    history = [EpochRecord(n, 1 / n, 1 / n, 10 + n, 0.5, 0.5, 1e-3, 60.0) for n in range(1, 101)]
    for epochs in (history[:1], history):
        assert len(draw_loss_chart(epochs)) < 100_000
    assert TrainingProgress(tuple(history), False, "").status_line.startswith(
        "epoch 100: loss 0.010, validation 0.0100 (best)"
    )


def test_errors_in_a_recipe_file_name_the_field(tmp_path: Path) -> None:
    """The file may have any part of a recipe."""
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"batch": 4, "generator": {"kind": "paper"}}))
    assert (recipes.read_recipe(str(path)).batch, recipes.read_recipe(str(path)).generator.kind) == (4, "paper")
    path.write_text(json.dumps({"views": 3}))
    with pytest.raises(PlanError, match=r"recipe.json: views: Input should be 1 or 2"):
        recipes.read_recipe(str(path))
    path.write_text("{")
    with pytest.raises(PlanError, match="not JSON"):
        read_json_file(str(path))
    assert recipes.grid_cells_per_side(EfficientNetLite0(output="grid", grid=3)) == 3
    assert recipes.grid_cells_per_side(EfficientNetLite0()) == recipes.grid_cells_per_side(PixelValues()) == 1


def test_messages_are_read_in_order_and_are_no_stages(tmp_path: Path) -> None:
    """Without a token nothing is written."""
    watch = ProgressReporter(str(tmp_path), "token")
    watch.begin_stage("train", 10, "examples")
    watch.send_message("one")
    watch.begin_stage("score", 3, "images")
    watch.send_message("two")
    assert watch.read_messages() == ["one", "two"]
    assert watch.read_messages(1) == ["two"]
    assert [stage["stage"] for stage in watch.read_stages()] == ["train", "score"]
    ProgressReporter(str(tmp_path)).send_message("nothing")
