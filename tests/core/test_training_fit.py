"""The fit: it learns, a kill changes nothing, and when it slows down and ends."""

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

torch = pytest.importorskip("torch")

from interpdisc_core import digest
from interpdisc_core.errors import PlanError, StoreError, WeightsError
from interpdisc_core.inverters import UpConv
from interpdisc_core.inverters.checkpoint import Card, pack
from interpdisc_core.inverters.generators import LightGenerator
from interpdisc_core.progress import Watch
from interpdisc_core.representations import EfficientNetLite0, PixelValues
from interpdisc_core.runs import Member
from interpdisc_core.sources import file_uri
from interpdisc_core.storage import Place
from interpdisc_core.training import _fit as module
from interpdisc_core.training._codes import Examples
from interpdisc_core.training._fit import Fit
from interpdisc_core.training.epochs import Epoch, history
from interpdisc_core.training.examples import Training, enrol, prepare
from interpdisc_core.training.recipe import Recipe

RECIPE = Recipe(
    representation=PixelValues(side=8), generator=LightGenerator(cells=8, size=64), validation=0.25, epoch=16, batch=8,
    rate=3e-3, feature=0.0, precision="float32",
)  # fmt: skip
NOBODY = Watch("")


def smooth(folder: Path, count: int) -> list[Member]:
    """Images of two colours each, one running into the other."""
    folder.mkdir(parents=True)
    made, random = [], np.random.default_rng(8)
    for number in range(count):
        corners = random.integers(0, 256, (2, 2, 3)).astype(np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(corners).resize((40, 40), Image.Resampling.BILINEAR).save(path)
        uri, sha256 = file_uri(str(path)), digest.of_bytes(path.read_bytes())
        made.append(Member(path.name, uri, uri, sha256, 0, number, "candidate", None, "{}"))
    return made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: Any) -> tuple[Path, list[Member]]:
    """An archive with the examples that all trainings here share, and its images."""
    folder = tmp_path_factory.mktemp("fit")
    members = smooth(folder / "in", 16)
    enrolled = enrol(str(folder / "archive"), members, RECIPE, {})
    for part in enrolled.parts:
        prepare(str(folder / "archive"), enrolled.name, part, NOBODY)
    return folder / "archive", members


@pytest.fixture
def begin(prepared: tuple[Path, list[Member]], tmp_path: Path) -> Any:
    """A training of RECIPE with some changes, of which not one epoch is done; each time in an archive of its own."""
    made = 0

    def begun(**changes: Any) -> Training:
        nonlocal made
        made += 1
        archive, members = prepared
        shutil.copytree(archive, tmp_path / str(made))
        enrolled = enrol(str(tmp_path / str(made)), members, replace(RECIPE, **changes), {})
        assert enrolled.parts == ()
        return Training(Place.of(tmp_path / str(made)), enrolled.name)

    return begun


def state(training: Training) -> bytes:
    return training.place.read("state.safetensors")


def told(training: Training) -> list[Epoch]:
    """Its history, but for the time it took."""
    return [replace(epoch, seconds=0.0) for epoch in history(training.archive, training.name)]


def trained(training: Training, epochs: int, straight: bool = True) -> Fit:
    """So many more epochs, in one process or each in another's state."""
    fit = Fit(training)
    for _ in range(epochs):
        fit = fit if straight else Fit(training)
        fit.epoch(NOBODY)
    return fit


def weights(module: Any) -> Any:
    return torch.cat([value.detach().flatten().double() for value in module.state_dict().values()])


# ------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("changes", [{}, {"adversarial": 0.1, "feature": 0.2, "feature_from": 2}], ids=repr)
def test_going_on_is_as_if_nothing_had_happened(changes: dict[str, Any], begin: Any) -> None:
    """Epochs in one process and one at a time: the same state to the bit, the same weights, the same history."""
    one, other = begin(**changes), begin(**changes)
    trained(one, 3)
    trained(other, 3, straight=False)
    assert state(one) == state(other)
    assert one.place.read("best.safetensors") == other.place.read("best.safetensors")
    assert told(one) == told(other)
    assert [epoch.number for epoch in told(one)] == [1, 2, 3]


def test_chance_elsewhere_does_not_matter(begin: Any) -> None:
    """Neither PyTorch's random numbers nor NumPy's; another seed is another training."""
    one, other, third = begin(), begin(), begin()
    trained(one, 1)
    torch.manual_seed(77)
    fit = Fit(other)
    torch.manual_seed(78)
    np.random.seed(1)  # noqa: NPY002
    fit.epoch(NOBODY)
    assert state(one) == state(other)
    seeded = replace(third.recipe, seed=1)
    third.place.write_json("recipe.json", third.place.read_json("recipe.json") | {"recipe": asdict(seeded)})
    trained(third, 1)
    assert state(third) != state(one)


@pytest.mark.parametrize("lost", ["history and state", "state", "all"])
def test_a_kill_while_it_is_saved(lost: str, begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was written of an epoch by then: it is done again, and ends in the same state."""
    whole, killed = begin(), begin()
    trained(whole, 2)
    trained(killed, 1)
    write = Place.write

    def until(place: Place, name: str, data: bytes) -> None:
        stop = {"history and state": "history.json", "state": "state.safetensors", "all": "best.safetensors"}[lost]
        if name == stop:
            raise KeyboardInterrupt
        write(place, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", until)
        fit = Fit(killed)
        patch.setattr(Fit, "best", math.inf)  # so that the best weights are written
        with pytest.raises(KeyboardInterrupt):
            fit.epoch(NOBODY)
    assert len(Fit(killed).history) == 1
    trained(killed, 1)
    assert state(killed) == state(whole)
    assert told(killed) == told(whole)


def test_a_state_that_is_damaged(begin: Any) -> None:
    """One sentence with the file's name and what to do, whatever it is."""
    training = begin()
    trained(training, 1)
    data, kept = state(training), training.place.read("history.json")
    from safetensors.torch import load, save

    tensors = load(data)
    some = {name: value for name, value in tensors.items() if not name.startswith("average.")}
    other = tensors | {"network.mean": torch.zeros(3)}
    for damaged in (b"", b"\x80\x04.", data[:-1], data[:100], save(some), save(other), save({"a": torch.zeros(1)})):
        training.place.write("state.safetensors", damaged)
        with pytest.raises(
            StoreError, match=r"state\.safetensors is damaged .*remove it, and training starts anew"
        ) as e:
            Fit(training)
        assert "\n" not in str(e.value)
    training.place.write("state.safetensors", data)
    for damaged in (b"", b"{", b"[1]", b'[{"number": 1}]'):
        training.place.write("history.json", damaged)
        with pytest.raises(StoreError, match="damaged"):
            Fit(training)
    training.place.write("history.json", kept)
    assert len(Fit(training).history) == 1
    Path(training.place.url, "state.safetensors").unlink()
    assert Fit(training).history == []


# ------------------------------------------------------------------------------------------------- learning


def test_it_learns(begin: Any) -> None:
    """The loss falls, the pictures of images that it was not trained on come nearer, and it is told."""
    training = begin(epoch=64)
    fit = trained(training, 5)
    epochs = told(training)
    assert epochs[-1].loss < 0.6 * epochs[0].loss
    assert fit.best < 0.8 * epochs[0].score
    assert epochs[-1].psnr > epochs[0].psnr
    assert min(epoch.image_error for epoch in epochs) == fit.best  # feature counts nothing here
    assert all(epoch.rate == RECIPE.rate for epoch in epochs)
    assert history(training.archive, "none") == []


def test_the_best_weights_are_kept(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the epoch with the lowest score, as they were then."""
    training, scores = begin(), iter([0.9, 0.5, 0.7, 0.4, 0.6])
    monkeypatch.setattr(Fit, "validate", lambda self: {"psnr": 1.0, "image_error": next(scores), "feature_error": 0.0})
    fit, kept = Fit(training), []
    for _ in range(5):
        fit.epoch(NOBODY)
        kept.append(fit.weights())
    assert training.place.read("best.safetensors") == kept[3]
    assert fit.best == 0.4


def test_the_weights_make_a_checkpoint(begin: Any, tmp_path: Path) -> None:
    """Its pictures are those of the fit, but for half precision; of codes of length one too."""
    training = begin(epoch=64)
    fit = trained(training, 2)
    from safetensors.torch import load

    spec, held = RECIPE.representation, training.all("validation", 9)
    card = Card(
        features=RECIPE.features, representation=asdict(spec), generator=RECIPE.generator, dimension=192,
        length=float(np.linalg.norm(held.codes[0])),
    )  # fmt: skip
    (tmp_path / "a.safetensors").write_bytes(pack(load(fit.weights()), card))
    inverter = UpConv(checkpoint=str(tmp_path / "a.safetensors"))
    made, wanted = inverter.load(spec, "none")(held.codes), fit.pictures(held.codes)
    assert np.abs(made.astype(int) - wanted).max() <= 2
    unit = held.codes[:1] / np.linalg.norm(held.codes[0])
    assert np.abs(inverter.load(spec, "l2")(unit).astype(int) - wanted[:1]).max() <= 2
    assert wanted.shape == (4, 64, 64, 3)
    assert (
        np.abs(wanted.astype(float) - held.pictures).mean() < np.abs(wanted[::-1].astype(float) - held.pictures).mean()
    )


def test_scores_have_their_scale(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 for the pictures themselves, about 1 for the mean picture."""
    fit = Fit(begin())
    held = fit.validation()
    monkeypatch.setattr(fit, "pictures", lambda codes: held.pictures)
    found = fit.validate()
    assert found["image_error"] == 0
    assert found["psnr"] > 100
    assert found["feature_error"] < 0.01
    mean = (fit.mean_picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    monkeypatch.setattr(fit, "pictures", lambda codes: np.stack([mean] * len(codes)))
    found = fit.validate()
    assert 0.5 < found["image_error"] < 2
    assert 0.5 < found["feature_error"] < 2


def test_a_loss_that_is_no_number(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence that says what to do, and what was saved before is still there."""
    training = begin()
    fit = trained(training, 1)
    before = state(training)
    monkeypatch.setattr(fit, "_step", lambda *given: float("nan"))
    with pytest.raises(StoreError, match="the loss of epoch 2 is nan; lower the recipe's rate"):
        fit.epoch(NOBODY)
    assert state(training) == before
    assert len(told(training)) == 1


def test_images_that_are_all_alike(begin: Any) -> None:
    """Features that do not vary are no reason for anything but finite weights."""
    training = begin()
    sample = training.read("train-000000")
    training.write("train-000000", type(sample)(*(np.repeat(part[:1], 24, axis=0) for part in sample)))
    fit = trained(training, 1)
    assert weights(fit.average).isfinite().all()


# ------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("adversarial", [0.0, 0.2])
def test_a_critic_learns_along(adversarial: float, begin: Any) -> None:
    """It changes, and so does what the generator learns; without a weight there is none."""
    training, plain = begin(adversarial=adversarial), begin()
    fit = Fit(training)
    assert (fit.critic is None) == (adversarial == 0)
    before = None if fit.critic is None else weights(fit.critic)
    fit.epoch(NOBODY)
    other = trained(plain, 1)
    assert torch.equal(weights(fit.network), weights(other.network)) == (adversarial == 0)
    if fit.critic is not None:
        assert not torch.equal(weights(fit.critic), before)
        assert weights(fit.critic).isfinite().all()
        assert all(part.requires_grad for part in fit.critic.parameters())
        assert torch.equal(weights(Fit(training).critic), weights(fit.critic))


@pytest.mark.parametrize("changes", [{}, {"adversarial": 0.1, "feature": 0.5, "feature_from": 1}], ids=repr)
def test_half_precision(changes: dict[str, Any], begin: Any) -> None:
    """Finite, near to full precision, and kept in full."""
    one, other = trained(begin(precision="bfloat16", **changes), 1), trained(begin(**changes), 1)
    assert math.isfinite(one.history[0].loss)
    assert one.history[0].loss == pytest.approx(other.history[0].loss, rel=0.1)
    assert one.history[0].loss != other.history[0].loss
    assert {value.dtype for value in one.network.state_dict().values()} == {torch.float32, torch.int64}


def test_the_feature_loss_begins_in_its_epoch(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it nothing is encoded; a representation without a gradient is then refused with a sentence."""
    monkeypatch.setattr(PixelValues, "network", lambda self: None)
    fit = trained(begin(feature=0.5, feature_from=3), 2)
    with pytest.raises(StoreError, match="pixels has no gradient: set the recipe's feature to 0"):
        fit.epoch(NOBODY)
    trained(begin(feature=0.5, feature_from=1, share=0.0), 1)
    trained(begin(feature=0.0, feature_from=1), 1)


def test_the_feature_loss_is_that_of_the_features(begin: Any) -> None:
    """0 for pictures that have what was asked, 1 for the mean; where nothing was asked a picture costs nothing."""
    fit = Fit(begin())
    codes = torch.from_numpy(fit.training.read("train-000000").codes)
    own, mean = (some.view(-1, 8, 8, 3).permute(0, 3, 1, 2) for some in (codes, codes.mean(0).expand_as(codes)))
    rows, every = torch.arange(len(codes)), torch.ones(len(codes), dtype=torch.bool)
    told = Examples(codes, own, codes, every, every)
    assert float(fit._feature_loss(own, own, codes, told, rows)) == pytest.approx(0, abs=1e-9)
    assert float(fit._feature_loss(mean, own, codes, told, rows)) == pytest.approx(1, abs=0.1)
    half = told._replace(has_asked=rows < 5)
    mixed = torch.where(half.has_asked[:, None, None, None], own, mean)
    assert float(fit._feature_loss(mixed, own, codes, half, rows)) == pytest.approx(0, abs=1e-9)
    none = told._replace(has_asked=~every)
    assert float(fit._feature_loss(mean, own, codes, none, rows)) == 0


@pytest.mark.parametrize("output", ["pooled", "grid"])
def test_a_step_through_a_network(output: Any, tmp_path: Path) -> None:
    """EfficientNet-lite0's features and inner stages give finite gradients to the generator, and none to itself."""
    spec = EfficientNetLite0(output=output, grid=2)
    recipe = replace(
        RECIPE, representation=spec, generator=LightGenerator(cells=1 if output == "pooled" else 2, size=64), views=1,
        image=0.0, feature=1.0, feature_from=1, share=1.0, batch=2, epoch=2,
    )  # fmt: skip
    members = smooth(tmp_path / "in", 4)
    enrolled = enrol(str(tmp_path / "a"), members, recipe, {})
    for part in enrolled.parts:
        prepare(str(tmp_path / "a"), enrolled.name, part, NOBODY)
    fit = Fit(Training(Place.of(tmp_path / "a"), enrolled.name))
    stages = fit._looked(torch.rand(1, 3, 64, 64))[1]
    assert [stage.shape[-1] for stage in stages] == [56, 28, 14, 7]
    epoch = fit.epoch(NOBODY)
    assert math.isfinite(epoch.loss)
    assert epoch.loss > 0
    gradients = [part.grad for part in fit.network.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
    assert all(part.grad is None for part in spec.network().parameters())


def test_codes_are_modelled_by_a_few_hundred(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest ones, however large a batch is."""
    sizes, vary = [], module.vary

    def noted(codes: Any, pictures: Any, pool: Any, *more: Any) -> Any:
        sizes.append(len(pool))
        assert torch.equal(pool[: len(codes)], codes)
        return vary(codes, pictures, pool, *more)

    monkeypatch.setattr(module, "vary", noted)
    for most, wanted in ((512, [8, 16, 24, 32]), (20, [8, 16, 20, 20]), (3, [8, 8, 8, 8])):
        monkeypatch.setattr(module, "_POOL", most)
        sizes.clear()
        trained(begin(epoch=32), 1)
        assert sizes == wanted


# ------------------------------------------------------------------------------------------------- when it ends

scores = st.lists(st.floats(1e-3, 10) | st.sampled_from([1.0, 0.9995, 0.9]), max_size=60)


def after(found: list[float], patience: int = 4) -> Fit:
    """A fit whose epochs had these scores."""
    fit = object.__new__(Fit)
    fit.recipe = replace(RECIPE, patience=patience)
    fit.history = [Epoch(number, 1.0, score, 1.0, score, 0.0, 1.0, 0.0) for number, score in enumerate(found, 1)]
    return fit


@given(scores, st.integers(1, 6), st.floats(1e-3, 10))
def test_the_rate_only_falls(found: list[float], patience: int, more: float) -> None:
    """By halves, and not more often than patience allows; what is finished stays so."""
    now, then = after(found, patience), after([*found, more], patience)
    assert then.rate in (now.rate, now.rate / 2)
    assert now.rate >= RECIPE.rate * 0.5 ** (len(found) // patience)
    assert then.finished >= now.finished
    assert now.finished == (now.rate < RECIPE.rate / 8)
    assert now.best == min(found, default=math.inf)


@given(st.integers(0, 60), st.integers(1, 6))
def test_without_progress_the_rate_is_halved_by_patience(count: int, patience: int) -> None:
    """The first epoch is progress; each `patience` others that are no better halve it; the fourth time is the end."""
    fit = after([1.0] * count, patience)
    halvings = max(count - 1, 0) // patience
    assert fit.rate == RECIPE.rate * 0.5**halvings
    assert fit.finished == (halvings >= 4)


@given(st.integers(0, 60), st.floats(0.1, 0.998), st.integers(1, 6))
def test_with_progress_the_rate_stays(count: int, factor: float, patience: int) -> None:
    fit = after([factor**number for number in range(count)], patience)
    assert fit.rate == RECIPE.rate
    assert not fit.finished


@given(scores, st.integers(1, 6), st.floats(0.1, 100))
def test_the_scale_of_scores_does_not_matter(found: list[float], patience: int, factor: float) -> None:
    coarse = [round(score, 1) + 0.1 for score in found]  # no ratio of two is near to 0.999
    assert after(coarse, patience).rate == after([score * factor for score in coarse], patience).rate


@given(scores, st.integers(1, 6))
def test_the_rate_by_its_definition(found: list[float], patience: int) -> None:
    """Counted literally: epochs since the last that was better than all before by a thousandth, or since a halving."""
    halvings, mark = 0, 0
    for number in range(len(found)):
        better = [n for n in range(number + 1) if n == 0 or found[n] < 0.999 * _record(found[:n])]
        mark = max(mark, better[-1] + 1)
        if number + 1 - mark >= patience:
            halvings, mark = halvings + 1, number + 1
    assert after(found, patience).rate == RECIPE.rate * 0.5**halvings


def _record(found: list[float]) -> float:
    best = math.inf
    for score in found:
        best = score if score < 0.999 * best else best
    return best


def test_the_rate_is_used(begin: Any) -> None:
    """The optimiser's, and what the epoch says of it."""
    training = begin(patience=1)
    trained(training, 1)
    (epoch,) = training.place.read_json("history.json")
    training.place.write("history.json", json.dumps([epoch | {"score": 1e-9}]).encode())
    fit = trained(training, 3)
    assert [e.rate / RECIPE.rate for e in fit.history] == [1, 1, 0.5, 0.25]
    assert {group["lr"] for group in fit.optimiser.param_groups} == {RECIPE.rate / 4}


# ------------------------------------------------------------------------------------------- from a checkpoint


def as_checkpoint(training: Training, path: Path, **changes: Any) -> str:
    """The best weights of a training as a file."""
    from safetensors.torch import load

    recipe = training.recipe
    card = Card(
        features=recipe.features, representation=asdict(recipe.representation), generator=recipe.generator,
        dimension=192, length=1.0, **changes,
    )  # fmt: skip
    path.write_bytes(pack(load(training.place.read("best.safetensors")), card))
    return str(path)


def test_a_training_starts_from_a_checkpoint(begin: Any, tmp_path: Path) -> None:
    """From its weights, to the bit, and so from its score."""
    from safetensors.torch import load

    first = begin()
    trained(first, 2)
    start = as_checkpoint(first, tmp_path / "first.safetensors")
    second = begin(start=start)
    fit = Fit(second)
    best = load(first.place.read("best.safetensors"))
    assert all(torch.equal(value, best[name].to(value.dtype)) for name, value in fit.network.state_dict().items())
    assert weights(fit.network).equal(weights(fit.average))
    best_epoch = min(told(first), key=lambda epoch: epoch.score)
    assert fit.validate()["psnr"] == pytest.approx(best_epoch.psnr, abs=0.05)


def test_of_a_start_its_content_counts(begin: Any, tmp_path: Path) -> None:
    """Not its path; and another content is another training."""
    first = begin()
    trained(first, 1)
    one = as_checkpoint(first, tmp_path / "one.safetensors")
    same = shutil.copy(one, tmp_path / "copy.safetensors")
    other = as_checkpoint(first, tmp_path / "other.safetensors", command="another")
    digests = [replace(RECIPE, start=str(path)).digest for path in (one, same, other, "")]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert digests[3] == RECIPE.digest


def test_a_start_that_does_not_fit(begin: Any, tmp_path: Path) -> None:
    """Another generator, or other features: one sentence."""
    first = begin()
    trained(first, 1)
    start = as_checkpoint(first, tmp_path / "first.safetensors")
    with pytest.raises(PlanError, match=r"holds the generator .*, not"):
        Fit(begin(start=start, generator=LightGenerator(cells=4, size=64)))
    with pytest.raises(WeightsError, match="another representation"):
        module._started(replace(RECIPE, start=start, representation=PixelValues(side=9)))
