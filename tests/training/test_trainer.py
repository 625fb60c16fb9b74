"""The trainer: it learns, a kill changes nothing, and when it lowers the rate and stops."""

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from interpdisc_core import digest
from interpdisc_core.archive.run import RunMember
from interpdisc_core.errors import PlanError, StoreError, WeightsError
from interpdisc_core.inverters import UpConv
from interpdisc_core.inverters.checkpoint import CheckpointMetadata, pack_checkpoint
from interpdisc_core.inverters.generators import LightGenerator
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import EfficientNetLite0, PixelValues
from interpdisc_core.sources import file_uri
from interpdisc_core.storage.location import Location
from interpdisc_core.training import _trainer as module
from interpdisc_core.training._feature_mixing import AugmentedBatch
from interpdisc_core.training._trainer import InverterTrainer
from interpdisc_core.training.assign_images import split_images
from interpdisc_core.training.dataset import TrainingRun, prepare_examples
from interpdisc_core.training.history import EpochRecord, read_history
from interpdisc_core.training.recipe import Recipe

torch = pytest.importorskip("torch")

RECIPE = Recipe(
    representation=PixelValues(side=8),
    generator=LightGenerator(cells=8, size=64),
    validation=0.25,
    epoch=16,
    batch=8,
    rate=3e-3,
    feature=0.0,
    precision="float32",
)
UNWATCHED = ProgressReporter("")


def make_gradient_images(folder: Path, count: int) -> list[RunMember]:
    """Images of two colors each, with a gradient between them."""
    folder.mkdir(parents=True)
    members, random = [], np.random.default_rng(8)
    for number in range(count):
        corners = random.integers(0, 256, (2, 2, 3)).astype(np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(corners).resize((40, 40), Image.Resampling.BILINEAR).save(path)
        uri, sha256 = file_uri(str(path)), digest.digest_bytes(path.read_bytes())
        members.append(RunMember(path.name, uri, uri, sha256, 0, number, "candidate", None, "{}"))
    return members


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: Any) -> tuple[Path, list[RunMember]]:
    """An archive with the examples that all trainings here share, and its images."""
    folder = tmp_path_factory.mktemp("fit")
    members = make_gradient_images(folder / "in", 16)
    splits = split_images(str(folder / "archive"), members, RECIPE, {})
    for part in splits.parts:
        prepare_examples(str(folder / "archive"), splits.name, part, UNWATCHED)
    return folder / "archive", members


@pytest.fixture
def begin(prepared: tuple[Path, list[RunMember]], tmp_path: Path) -> Any:
    """A function that begins a training of RECIPE with some changes, each time in an archive of its own."""
    count = 0

    def begin_training(**changes: Any) -> TrainingRun:
        nonlocal count
        count += 1
        archive, members = prepared
        shutil.copytree(archive, tmp_path / str(count))
        splits = split_images(str(tmp_path / str(count)), members, replace(RECIPE, **changes), {})
        assert splits.parts == ()
        return TrainingRun(Location.parse(tmp_path / str(count)), splits.name)

    return begin_training


def read_state(training: TrainingRun) -> bytes:
    return training.location.read("state.safetensors")


def timeless_history(training: TrainingRun) -> list[EpochRecord]:
    """Its history without the times."""
    return [replace(epoch, seconds=0.0) for epoch in read_history(training.archive, training.name)]


def train_epochs(training: TrainingRun, epochs: int, straight: bool = True, **options: Any) -> InverterTrainer:
    """Train more epochs, with one trainer or each with a new one."""
    trainer = InverterTrainer(training, **options)
    for _ in range(epochs):
        trainer = trainer if straight else InverterTrainer(training, **options)
        trainer.run_epoch(UNWATCHED)
    return trainer


def weights(module: Any) -> Any:
    return torch.cat([value.detach().flatten().double() for value in module.state_dict().values()])


# ------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("changes", [{}, {"adversarial": 0.1, "feature": 0.2, "feature_from": 2}], ids=repr)
def test_resuming_gives_the_same_state_as_a_straight_run(changes: dict[str, Any], begin: Any) -> None:
    """Equal to the bit, the weights and the history too."""
    straight, resumed = begin(**changes), begin(**changes)
    train_epochs(straight, 3)
    train_epochs(resumed, 3, straight=False)
    assert read_state(straight) == read_state(resumed)
    assert straight.location.read("best.safetensors") == resumed.location.read("best.safetensors")
    assert timeless_history(straight) == timeless_history(resumed)
    assert [epoch.number for epoch in timeless_history(straight)] == [1, 2, 3]


def test_only_the_recipes_seed_decides_what_is_random(begin: Any) -> None:
    """Not the global state of PyTorch or NumPy."""
    first, second, seeded = begin(), begin(), begin()
    train_epochs(first, 1)
    torch.manual_seed(77)
    trainer = InverterTrainer(second)
    torch.manual_seed(78)
    np.random.seed(1)  # noqa: NPY002
    trainer.run_epoch(UNWATCHED)
    assert read_state(first) == read_state(second)
    recipe = replace(seeded.recipe, seed=1)
    seeded.location.write_checked_json(
        "recipe.json", seeded.location.read_json("recipe.json") | {"recipe": asdict(recipe)}
    )
    train_epochs(seeded, 1)
    assert read_state(seeded) != read_state(first)


@pytest.mark.parametrize("lost", ["history and state", "state", "all"])
def test_an_epoch_that_was_killed_while_saving_is_repeated_and_ends_in_the_same_state(
    lost: str, begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = begin(), begin()
    train_epochs(whole, 2)
    train_epochs(killed, 1)
    write = Location.write

    def write_until_killed(location: Location, name: str, data: bytes, **options: bool) -> None:
        stop = {"history and state": "history.json", "state": "state.safetensors", "all": "best.safetensors"}[lost]
        if name == stop:
            raise KeyboardInterrupt
        write(location, name, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Location, "write", write_until_killed)
        trainer = InverterTrainer(killed)
        patch.setattr(InverterTrainer, "best_score", math.inf)  # so that the best weights are written
        with pytest.raises(KeyboardInterrupt):
            trainer.run_epoch(UNWATCHED)
    assert len(InverterTrainer(killed).history) == 1
    train_epochs(killed, 1)
    assert read_state(killed) == read_state(whole)
    assert timeless_history(killed) == timeless_history(whole)


def test_a_damaged_state_is_an_error_with_the_files_name_and_what_to_do(begin: Any) -> None:
    training = begin()
    train_epochs(training, 1)
    data, history = read_state(training), training.location.read("history.json")
    from safetensors.torch import load, save

    tensors = load(data)
    incomplete = {name: value for name, value in tensors.items() if not name.startswith("average.")}
    misshapen = tensors | {"network.mean": torch.zeros(3)}
    for damaged in (
        b"",
        b"\x80\x04.",
        data[:-1],
        data[:100],
        save(incomplete),
        save(misshapen),
        save({"a": torch.zeros(1)}),
    ):
        training.location.write_checked("state.safetensors", damaged)
        with pytest.raises(
            StoreError, match=r"state\.safetensors is damaged .*remove it to start the training again"
        ) as error:
            InverterTrainer(training)
        assert "\n" not in str(error.value)
    training.location.write_checked("state.safetensors", data)
    for damaged in (b"", b"{", b"[1]", b'[{"number": 1}]'):
        training.location.write_checked("history.json", damaged)
        with pytest.raises(StoreError, match="damaged"):
            InverterTrainer(training)
    training.location.write_checked("history.json", history)
    assert len(InverterTrainer(training).history) == 1
    Path(training.location.url, "state.safetensors").unlink()
    assert InverterTrainer(training).history == []


# ------------------------------------------------------------------------------------------------- learning


def test_loss_and_validation_score_fall(begin: Any) -> None:
    training = begin(epoch=64)
    trainer = train_epochs(training, 5)
    epochs = timeless_history(training)
    assert epochs[-1].loss < 0.6 * epochs[0].loss
    assert trainer.best_score < 0.8 * epochs[0].score
    assert epochs[-1].psnr > epochs[0].psnr
    assert min(epoch.image_error for epoch in epochs) == trainer.best_score  # feature counts nothing here
    assert all(epoch.rate == RECIPE.rate for epoch in epochs)
    assert read_history(training.archive, "none") == []


def test_the_weights_of_the_epoch_with_the_lowest_score_are_kept(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    training, scores = begin(), iter([0.9, 0.5, 0.7, 0.4, 0.6])
    monkeypatch.setattr(
        InverterTrainer, "validate", lambda self: {"psnr": 1.0, "image_error": next(scores), "feature_error": 0.0}
    )
    trainer, weights_by_epoch = InverterTrainer(training), []
    for _ in range(5):
        trainer.run_epoch(UNWATCHED)
        weights_by_epoch.append(trainer.encode_weights())
    assert training.location.read("best.safetensors") == weights_by_epoch[3]
    assert trainer.best_score == 0.4


def test_a_checkpoint_of_the_weights_renders_the_same_pictures(begin: Any, tmp_path: Path) -> None:
    """Up to half precision; also of codes of length one."""
    training = begin(epoch=64)
    trainer = train_epochs(training, 2)
    from safetensors.torch import load

    spec, held_out = RECIPE.representation, training.read_first("validation", 9)
    card = CheckpointMetadata(
        features=RECIPE.features_digest,
        representation=asdict(spec),
        generator=RECIPE.generator,
        dimension=192,
        length=float(np.linalg.norm(held_out.codes[0])),
    )
    (tmp_path / "a.safetensors").write_bytes(pack_checkpoint(load(trainer.encode_weights()), card))
    inverter = UpConv(checkpoint=str(tmp_path / "a.safetensors"))
    pictures, expected = inverter.load(spec, "none")(held_out.codes), trainer.render_codes(held_out.codes)
    assert np.abs(pictures.astype(int) - expected).max() <= 2
    unit = held_out.codes[:1] / np.linalg.norm(held_out.codes[0])
    assert np.abs(inverter.load(spec, "l2")(unit).astype(int) - expected[:1]).max() <= 2
    assert expected.shape == (4, 64, 64, 3)
    assert (
        np.abs(expected.astype(float) - held_out.pictures).mean()
        < np.abs(expected[::-1].astype(float) - held_out.pictures).mean()
    )


def test_errors_are_0_for_the_images_themselves_and_about_1_for_the_mean_picture(
    begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = InverterTrainer(begin())
    validation = trainer.load_validation()
    monkeypatch.setattr(trainer, "render_codes", lambda codes: validation.pictures)
    scores = trainer.validate()
    assert scores["image_error"] == 0
    assert scores["psnr"] > 100
    assert scores["feature_error"] < 0.01
    mean = (trainer.mean_picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    monkeypatch.setattr(trainer, "render_codes", lambda codes: np.stack([mean] * len(codes)))
    scores = trainer.validate()
    assert 0.5 < scores["image_error"] < 2
    assert 0.5 < scores["feature_error"] < 2


def test_a_loss_that_is_not_finite_is_an_error_and_the_saved_state_stays(
    begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin()
    trainer = train_epochs(training, 1)
    before = read_state(training)
    monkeypatch.setattr(trainer, "_train_step", lambda *_: float("nan"))
    with pytest.raises(StoreError, match="the loss of epoch 2 is nan; lower the recipe's rate"):
        trainer.run_epoch(UNWATCHED)
    assert read_state(training) == before
    assert len(timeless_history(training)) == 1


def test_weights_stay_finite_if_all_images_are_equal(begin: Any) -> None:
    training = begin()
    sample = training.read("train-000000")
    digests = training.write("train-000000", type(sample)(*(np.repeat(part[:1], 24, axis=0) for part in sample)))
    record = (training.read_record("train-000000") or {}) | {"sha256": digests}
    training.examples_location.write_checked_json("records/train-000000.json", record)
    trainer = train_epochs(training, 1)
    assert weights(trainer.average_network).isfinite().all()


# ------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("adversarial", [0.0, 0.2])
def test_a_critic_is_trained_and_changes_the_generator_if_it_has_a_weight(adversarial: float, begin: Any) -> None:
    training, plain = begin(adversarial=adversarial), begin()
    trainer = InverterTrainer(training)
    assert (trainer.critic is None) == (adversarial == 0)
    before = None if trainer.critic is None else weights(trainer.critic)
    trainer.run_epoch(UNWATCHED)
    other = train_epochs(plain, 1)
    assert torch.equal(weights(trainer.network), weights(other.network)) == (adversarial == 0)
    if trainer.critic is not None:
        assert not torch.equal(weights(trainer.critic), before)
        assert weights(trainer.critic).isfinite().all()
        assert all(part.requires_grad for part in trainer.critic.parameters())
        assert torch.equal(weights(InverterTrainer(training).critic), weights(trainer.critic))


@pytest.mark.parametrize("changes", [{}, {"adversarial": 0.1, "feature": 0.5, "feature_from": 1}], ids=repr)
def test_bfloat16_is_near_to_float32_and_weights_stay_float32(changes: dict[str, Any], begin: Any) -> None:
    half, full = train_epochs(begin(precision="bfloat16", **changes), 1), train_epochs(begin(**changes), 1)
    assert math.isfinite(half.history[0].loss)
    assert half.history[0].loss == pytest.approx(full.history[0].loss, rel=0.1)
    assert half.history[0].loss != full.history[0].loss
    assert {value.dtype for value in half.network.state_dict().values()} == {torch.float32, torch.int64}


def test_the_feature_loss_starts_in_its_epoch_and_needs_a_gradient(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PixelValues, "build_network", lambda self: None)
    trainer = train_epochs(begin(feature=0.5, feature_from=3), 2)
    with pytest.raises(StoreError, match="pixels has no gradient: set the recipe's feature to 0"):
        trainer.run_epoch(UNWATCHED)
    train_epochs(begin(feature=0.5, feature_from=1, share=0.0), 1)
    train_epochs(begin(feature=0.0, feature_from=1), 1)


def test_the_feature_loss_is_0_for_pictures_with_the_target_features_and_1_for_the_mean(begin: Any) -> None:
    """Pictures without target features do not count."""
    trainer = InverterTrainer(begin())
    codes = torch.from_numpy(trainer.training.read("train-000000").codes)
    own, mean = (pixels.view(-1, 8, 8, 3).permute(0, 3, 1, 2) for pixels in (codes, codes.mean(0).expand_as(codes)))
    rows, all_true = torch.arange(len(codes)), torch.ones(len(codes), dtype=torch.bool)
    batch = AugmentedBatch(codes, own, codes, all_true, all_true)
    assert float(trainer._feature_loss(own, own, codes, batch, rows)) == pytest.approx(0, abs=1e-9)
    assert float(trainer._feature_loss(mean, own, codes, batch, rows)) == pytest.approx(1, abs=0.1)
    half = batch._replace(has_target_features=rows < 5)
    mixed = torch.where(half.has_target_features[:, None, None, None], own, mean)
    assert float(trainer._feature_loss(mixed, own, codes, half, rows)) == pytest.approx(0, abs=1e-9)
    none = batch._replace(has_target_features=~all_true)
    assert float(trainer._feature_loss(mean, own, codes, none, rows)) == 0


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_a_network_gives_finite_gradients_to_the_generator_and_none_to_itself(output: Any, tmp_path: Path) -> None:
    """Through EfficientNet-lite0's features and inner stages."""
    spec = EfficientNetLite0(output=output, grid=2)
    recipe = replace(
        RECIPE,
        representation=spec,
        generator=LightGenerator(cells=1 if output == "pooled" else 2, size=64),
        views=1,
        image=0.0,
        feature=1.0,
        feature_from=1,
        share=1.0,
        batch=2,
        epoch=2,
    )
    members = make_gradient_images(tmp_path / "in", 4)
    splits = split_images(str(tmp_path / "a"), members, recipe, {})
    for part in splits.parts:
        prepare_examples(str(tmp_path / "a"), splits.name, part, UNWATCHED)
    trainer = InverterTrainer(TrainingRun(Location.parse(tmp_path / "a"), splits.name))
    stages = trainer._encode_with_stages(torch.rand(1, 3, 64, 64))[1]
    assert [stage.shape[-1] for stage in stages] == [56, 28, 14, 7]
    epoch = trainer.run_epoch(UNWATCHED)
    assert math.isfinite(epoch.loss)
    assert epoch.loss > 0
    gradients = [part.grad for part in trainer.network.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
    assert all(part.grad is None for part in spec.build_network().parameters())


def test_models_are_fitted_to_the_latest_codes(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To at most `pool_codes` of them, but always to the whole batch."""
    sizes, augment_codes = [], module.augment_codes

    def note_pool(codes: Any, pictures: Any, pool: Any, *others: Any) -> Any:
        sizes.append(len(pool))
        assert torch.equal(pool[: len(codes)], codes)
        return augment_codes(codes, pictures, pool, *others)

    monkeypatch.setattr(module, "augment_codes", note_pool)
    for pool_codes, expected in ((512, [8, 16, 24, 32]), (20, [8, 16, 20, 20]), (3, [8, 8, 8, 8])):
        sizes.clear()
        train_epochs(begin(epoch=32), 1, pool_codes=pool_codes)
        assert sizes == expected


# ------------------------------------------------------------------------------------------------- when it ends

SCORES = st.lists(st.floats(1e-3, 10) | st.sampled_from([1.0, 0.9995, 0.9]), max_size=60)


def make_trainer(scores: list[float], patience: int = 4) -> InverterTrainer:
    """A trainer whose epochs had these scores."""
    trainer = object.__new__(InverterTrainer)
    trainer.recipe = replace(RECIPE, patience=patience)
    trainer.history = [
        EpochRecord(number, 1.0, score, 1.0, score, 0.0, 1.0, 0.0) for number, score in enumerate(scores, 1)
    ]
    return trainer


@given(SCORES, st.integers(1, 6), st.floats(1e-3, 10))
def test_the_rate_only_falls_by_halves_and_a_finished_training_stays_finished(
    scores: list[float], patience: int, more: float
) -> None:
    now, then = make_trainer(scores, patience), make_trainer([*scores, more], patience)
    assert then.learning_rate in (now.learning_rate, now.learning_rate / 2)
    assert now.learning_rate >= RECIPE.rate * 0.5 ** (len(scores) // patience)
    assert then.is_finished >= now.is_finished
    assert now.is_finished == (now.learning_rate < RECIPE.rate / 8)
    assert now.best_score == min(scores, default=math.inf)


@given(st.integers(0, 60), st.integers(1, 6))
def test_without_progress_the_rate_is_halved_by_patience(count: int, patience: int) -> None:
    """The first epoch is progress; each `patience` others that are not better halve it; the fourth halving is the end."""
    trainer = make_trainer([1.0] * count, patience)
    halvings = max(count - 1, 0) // patience
    assert trainer.learning_rate == RECIPE.rate * 0.5**halvings
    assert trainer.is_finished == (halvings >= 4)


@given(st.integers(0, 60), st.floats(0.1, 0.998), st.integers(1, 6))
def test_with_progress_the_rate_is_kept(count: int, factor: float, patience: int) -> None:
    trainer = make_trainer([factor**number for number in range(count)], patience)
    assert trainer.learning_rate == RECIPE.rate
    assert not trainer.is_finished


@given(SCORES, st.integers(1, 6), st.floats(0.1, 100))
def test_the_scale_of_scores_does_not_matter(scores: list[float], patience: int, factor: float) -> None:
    coarse = [round(score, 1) + 0.1 for score in scores]  # no ratio of two is near to 0.999
    assert (
        make_trainer(coarse, patience).learning_rate
        == make_trainer([score * factor for score in coarse], patience).learning_rate
    )


@given(SCORES, st.integers(1, 6))
def test_the_rate_follows_its_definition(scores: list[float], patience: int) -> None:
    """Counted literally: epochs since the last that was better than all before by a thousandth, or since a halving."""
    halvings, mark = 0, 0
    for number in range(len(scores)):
        better = [n for n in range(number + 1) if n == 0 or scores[n] < 0.999 * _best_score(scores[:n])]
        mark = max(mark, better[-1] + 1)
        if number + 1 - mark >= patience:
            halvings, mark = halvings + 1, number + 1
    assert make_trainer(scores, patience).learning_rate == RECIPE.rate * 0.5**halvings


def _best_score(scores: list[float]) -> float:
    best = math.inf
    for score in scores:
        best = score if score < 0.999 * best else best
    return best


def test_the_optimizer_and_the_epochs_record_have_the_rate(begin: Any) -> None:
    training = begin(patience=1)
    train_epochs(training, 1)
    (epoch,) = training.location.read_json("history.json")
    training.location.write_checked("history.json", json.dumps([epoch | {"score": 1e-9}]).encode())
    trainer = train_epochs(training, 3)
    assert [epoch.rate / RECIPE.rate for epoch in trainer.history] == [1, 1, 0.5, 0.25]
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {RECIPE.rate / 4}


# ------------------------------------------------------------------------------------------- from a checkpoint


def write_checkpoint(training: TrainingRun, path: Path, **changes: Any) -> str:
    """The best weights of a training as a file."""
    from safetensors.torch import load

    recipe = training.recipe
    card = CheckpointMetadata(
        features=recipe.features_digest,
        representation=asdict(recipe.representation),
        generator=recipe.generator,
        dimension=192,
        length=1.0,
        **changes,
    )
    path.write_bytes(pack_checkpoint(load(training.location.read("best.safetensors")), card))
    return str(path)


def test_a_training_starts_from_the_weights_of_a_checkpoint(begin: Any, tmp_path: Path) -> None:
    """Equal to the bit, and so its score is the same."""
    from safetensors.torch import load

    first = begin()
    train_epochs(first, 2)
    start = write_checkpoint(first, tmp_path / "first.safetensors")
    second = begin(start=start)
    trainer = InverterTrainer(second)
    best = load(first.location.read("best.safetensors"))
    assert all(torch.equal(value, best[name].to(value.dtype)) for name, value in trainer.network.state_dict().items())
    assert weights(trainer.network).equal(weights(trainer.average_network))
    best_epoch = min(timeless_history(first), key=lambda epoch: epoch.score)
    assert trainer.validate()["psnr"] == pytest.approx(best_epoch.psnr, abs=0.05)


def test_the_digest_of_a_recipe_has_the_content_of_its_start_not_the_path(begin: Any, tmp_path: Path) -> None:
    first = begin()
    train_epochs(first, 1)
    original = write_checkpoint(first, tmp_path / "one.safetensors")
    copy = shutil.copy(original, tmp_path / "copy.safetensors")
    other = write_checkpoint(first, tmp_path / "other.safetensors", command="another")
    digests = [replace(RECIPE, start=str(path)).digest for path in (original, copy, other, "")]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert digests[3] == RECIPE.digest


def test_a_start_with_another_generator_or_other_features_is_refused(begin: Any, tmp_path: Path) -> None:
    first = begin()
    train_epochs(first, 1)
    start = write_checkpoint(first, tmp_path / "first.safetensors")
    with pytest.raises(PlanError, match=r"holds the generator .*, not"):
        InverterTrainer(begin(start=start, generator=LightGenerator(cells=4, size=64)))
    with pytest.raises(WeightsError, match="another representation"):
        module._load_start_weights(replace(RECIPE, start=start, representation=PixelValues(side=9)))
