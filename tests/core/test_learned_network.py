"""A network that is trained on the collection: it learns, it goes on where it stopped, and its file is checked."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from interpdisc_core.errors import PlanError, StoreError, WeightsError
from interpdisc_core.images import Pixels
from interpdisc_core.representations import LearnedNetwork, Learns, _views, features_of
from interpdisc_core.representations._learned_network import Pooled, fresh, unpacked, vicreg
from interpdisc_core.storage import Place

CONTRAST = LearnedNetwork(side=32, dimensions=16, epochs=3, batch=8)
RECONSTRUCT = replace(CONTRAST, objective="reconstruct")
BOTH = pytest.mark.parametrize("spec", [CONTRAST, RECONSTRUCT], ids=lambda spec: spec.objective)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blobs(count: int, side: int = 32, seed: int = 3) -> Pixels:
    """Images of one coloured disc each on a ground of another colour, (count, side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    made = []
    for _ in range(count):
        ground, colour = rng.integers(0, 256, (2, 3))
        cy, cx, radius = *rng.uniform(side / 4, 3 * side / 4, 2), rng.uniform(side / 8, side / 3)
        inside = ((y - cy) ** 2 + (x - cx) ** 2 < radius**2)[:, :, None]
        made.append(np.where(inside, colour, ground) + rng.normal(0, 5, (side, side, 3)))
    return np.stack(made).clip(0, 255).astype(np.uint8)


def quiet(share: float) -> None:
    """Listen to no progress."""


def stopping(after: float) -> Callable[[float], None]:
    """A listener that fails once more than `after` is done, as a kill does."""

    def report(share: float) -> None:
        if share > after:
            raise KeyboardInterrupt

    return report


def card(content: bytes) -> dict[str, Any]:
    """What a file of weights says of itself."""
    length = int.from_bytes(content[:8], "little")
    told: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["interpdisc"])
    return told


# Losses


def test_the_loss_of_two_views_written_out() -> None:
    """VICReg against loops over its definition."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0, 0.8, (2, 5, 3))
    expected = 25 * ((ours - theirs) ** 2).mean()
    for view in (ours, theirs):
        covariance = np.cov(view.T)
        for i in range(3):
            expected += 25 / 2 * max(0, 1 - np.sqrt(covariance[i, i] + 1e-4)) / 3
            expected += sum(covariance[i, j] ** 2 for j in range(3) if j != i) / 3
    assert float(vicreg(torch.from_numpy(ours), torch.from_numpy(theirs))) == pytest.approx(expected, rel=1e-12)


def test_a_collapse_is_punished_and_a_good_answer_is_not() -> None:
    """All the same: 25 (1 − 0.01), by hand. Equal views of unit spread without correlation: nothing."""
    same = torch.ones((6, 4), dtype=torch.float64)
    assert float(vicreg(same, same)) == pytest.approx(25 * 0.99, rel=1e-12)
    good = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert float(vicreg(good, good)) == 0.0


# Views


@given(seed=st.integers(0, 2**32), side=st.sampled_from([16, 32, 48]))
def test_views_are_pictures(seed: int, side: int) -> None:
    """Views stay in 0…1 and keep the shape, whatever is drawn; the same draw gives the same views."""
    pictures = torch.rand((6, 3, side, side), generator=torch.Generator().manual_seed(seed))
    kept = pictures.clone()
    first, second = (_views.view(pictures, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first.shape == pictures.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert torch.equal(first, second)
    assert torch.equal(pictures, kept)


@given(seed=st.integers(0, 2**32))
def test_a_crop_shows_a_part_of_its_image(seed: int) -> None:
    """Of a ramp from left to right (red) and from top to bottom (green): ramps again, as steep as the crop is narrow."""
    side, n, least = 32, 16, 0.25
    ramp = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    red, green = ramp.expand(side, side), ramp[:, None].expand(side, side)
    images = torch.stack([red, green, torch.zeros(side, side)]).expand(n, 3, side, side)
    made = _views.cropped(images, least, torch.Generator().manual_seed(seed))
    middle = slice(2, -2)  # at the rim the ramp is reflected
    across = (made[:, 0, 16, 20] - made[:, 0, 16, 12]) / 8 * side
    down = (made[:, 1, 20, 16] - made[:, 1, 12, 16]) / 8 * side
    assert torch.all(down > 0)  # never upside down
    area = across.abs() * down
    assert torch.all(area > least * 0.97)
    assert torch.all(area < 1.001)
    ratio = across.abs() / down
    assert torch.all(ratio > 3 / 4 - 1e-3)
    assert torch.all(ratio < 4 / 3 + 1e-3)
    # Rows of red are alike, columns of green are alike: nothing is turned.
    assert float(made[:, 0, middle].std(1).max()) < 1e-4
    assert float(made[:, 1, :, middle].std(2).max()) < 1e-4


def test_draws_over_many_images() -> None:
    """Half are mirrored, a fifth is grey, and each has a draw of its own."""
    n = 2000
    ramp = torch.linspace(0, 1, 8).expand(n, 3, 8, 8)
    made = _views.cropped(ramp, 0.5, torch.Generator().manual_seed(5))
    mirrored = made[:, 0, 4, 6] < made[:, 0, 4, 1]
    assert 0.45 < float(mirrored.float().mean()) < 0.55
    colours = torch.tensor([0.6, 0.4, 0.3]).view(1, 3, 1, 1).expand(n, 3, 4, 4)
    light = _views.recoloured(colours, torch.Generator().manual_seed(6))
    grey = (light.amax(1) - light.amin(1)).amax((1, 2)) < 1e-6
    assert 0.16 < float(grey.float().mean()) < 0.24
    # One in five is left as it is, of which one in five is grey; all others differ.
    assert len(torch.unique(light[:, :, 0, 0], dim=0)) == pytest.approx(0.8 * n, abs=0.05 * n)


# Learning


@BOTH
def test_an_interrupted_training_goes_on_to_the_same_bytes(spec: LearnedNetwork, tmp_path: Path) -> None:
    """Killed after the first epoch, and once more amid the third: the same file as of a straight run."""
    images = blobs(20)
    straight = spec.learn(images, Place.of(tmp_path / "straight"), quiet)
    place = Place.of(tmp_path / "halting")
    for after in (0.34, 0.7):
        with pytest.raises(KeyboardInterrupt):
            spec.learn(images, place, stopping(after))
    shares: list[float] = []
    assert spec.learn(images, place, shares.append) == straight
    assert shares[0] == pytest.approx(2 / 3)  # what was learned is not learned again
    again: list[float] = []
    assert spec.learn(images, place, again.append) == straight
    assert again == [1.0]


@BOTH
def test_other_settings_or_images_begin_anew(spec: LearnedNetwork, tmp_path: Path) -> None:
    """States of another seed or of other images in the same place are not gone on from."""
    spec, place, images = replace(spec, epochs=1), Place.of(tmp_path), blobs(9)
    made = [spec.learn(images, place, quiet), replace(spec, seed=1).learn(images, place, quiet)]
    shares: list[float] = []
    made.append(spec.learn(255 - images, place, shares.append))
    assert shares[0] == 0
    tensors = [load(content)["layers.0.0.weight"] for content in made]
    assert not torch.equal(tensors[0], tensors[1])
    assert not torch.equal(tensors[0], tensors[2])


@pytest.mark.parametrize(
    "spec", [replace(CONTRAST, epochs=5), replace(RECONSTRUCT, epochs=5)], ids=["contrast", "reconstruct"]
)
def test_it_learns(spec: LearnedNetwork, tmp_path: Path) -> None:
    """The loss falls, the features do not collapse, and the history says so as the file does."""
    images = blobs(64)
    content = spec.learn(images, Place.of(tmp_path), quiet)
    (folder,) = Place.of(tmp_path).names()
    epochs = (Place.of(tmp_path) / folder).read_json("epochs.json")
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5]
    assert all(epoch["seconds"] >= 0 for epoch in epochs)
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    assert min(epoch["spread"] for epoch in epochs) > 0.1
    assert [epoch["loss"] for epoch in epochs] == [epoch["loss"] for epoch in card(content)["epochs"]]
    assert card(content)["images"] == 64
    spec = kept(spec, content, tmp_path / "weights.safetensors")
    network = spec.network()
    batch = torch.from_numpy(blobs(32, seed=9)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        features = network(batch)
    assert float((features.std(0) > 1e-3).float().mean()) > 0.5


def kept(spec: LearnedNetwork, content: bytes, path: Path) -> LearnedNetwork:
    """The representation with its weights written to a file."""
    path.write_bytes(content)
    return spec.having(str(path))


def test_views_of_an_image_come_nearer_to_each_other_than_to_other_images(tmp_path: Path) -> None:
    """What contrast is for, on images that it never saw: the other view is found among 64, more often than before."""
    spec = replace(CONTRAST, dimensions=32, epochs=5, batch=32)
    content = spec.learn(blobs(160), Place.of(tmp_path), quiet)
    torch.manual_seed(0)
    before, after = Pooled(fresh("scratch", 32)).eval(), Pooled(unpacked(content, spec)).eval()
    pictures = torch.from_numpy(blobs(64, seed=8)).permute(0, 3, 1, 2).float() / 255
    random = torch.Generator().manual_seed(1)
    ours, theirs = (255 * _views.cropped(pictures, 0.4, random) for _ in range(2))

    def found(network: Any) -> float:
        with torch.no_grad():
            a, b = (x - x.mean(0) for x in (network(ours), network(theirs)))
        near = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T
        return float((near.argmax(1) == torch.arange(64)).float().mean())

    assert found(after) > max(found(before), 1 / 64)


@BOTH
def test_progress_never_goes_back(spec: LearnedNetwork, tmp_path: Path) -> None:
    """Shares from 0 to 1, in order; a state of PyTorch's random numbers that others use is left alone."""
    before, shares = torch.get_rng_state(), list[float]()
    spec.learn(blobs(17), Place.of(tmp_path), shares.append)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_at_most_a_sample_is_learned_from(tmp_path: Path) -> None:
    """Of more images so many are drawn by the seed, the same ones each time."""
    spec, images = replace(CONTRAST, epochs=1, sample=8), blobs(12)
    first, second = (spec.learn(images, Place.of(tmp_path / name), quiet) for name in "ab")
    assert first == second
    assert card(first)["images"] == 8


def test_a_start_from_a_network_that_sees(tmp_path: Path) -> None:
    """lite0: 1280 features, its weights changed a little, and never those that all others use."""
    from interpdisc_core.representations import EfficientNetLite0

    original = EfficientNetLite0().network().state_dict()["blocks.1.0.block.0.0.weight"].clone()
    spec = LearnedNetwork(start="lite0", side=32, epochs=1, batch=8)
    spec = kept(spec, spec.learn(blobs(8), Place.of(tmp_path), quiet), tmp_path / "weights.safetensors")
    network = spec.network()
    with torch.no_grad():
        assert network(torch.zeros((2, 3, 32, 32))).shape == (2, 1280)
    learned = network.state_dict()["encoder.layers.1.0.block.0.0.weight"]
    change = float((learned - original).norm() / original.norm())
    assert 0 < change < 0.1
    assert torch.equal(EfficientNetLite0().network().state_dict()["blocks.1.0.block.0.0.weight"], original)


def test_stages_are_those_of_the_same_network() -> None:
    """`with_stages` gives the features of `forward`, and activations that grow coarser."""
    network = Pooled(fresh("scratch", 24)).eval()
    batch = 255 * torch.rand((2, 3, 48, 48))
    with torch.no_grad():
        features, stages = network.with_stages(batch)
        assert torch.equal(features, network(batch))
    assert [stage.shape[-1] for stage in stages] == [12, 6, 3, 3]


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    """What cannot be gone on from says which file is to be removed."""
    spec, place = replace(CONTRAST, epochs=2), Place.of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        spec.learn(blobs(8), place, stopping(0.49))
    (folder,) = place.names()
    state = (place / folder).read("state.safetensors")
    (place / folder).write("state.safetensors", state[: len(state) // 2])
    with pytest.raises(StoreError, match=r"state\.safetensors is damaged.*remove it"):
        spec.learn(blobs(8), place, quiet)
    (place / folder).remove("state.safetensors")
    spec.learn(blobs(8), place, quiet)


def test_a_rate_that_is_too_high_is_said(tmp_path: Path) -> None:
    """A loss that is no number ends the training with a sentence, and is not kept."""
    from interpdisc_core.representations._learning import _Learning

    learning = _Learning(RECONSTRUCT, blobs(8), Place.of(tmp_path))
    with torch.no_grad():
        learning.encoder.layers[0][0].weight.fill_(float("nan"))
    with pytest.raises(PlanError, match=r"loss of epoch 1 is nan; lower the rate"):
        learning.epoch(quiet)
    assert not Place.of(tmp_path).names()


# Settings and files


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"side": 40}, "side must be a multiple of 16"), ({"side": 16}, "side must be"), ({"side": 240}, "side must be"),
        ({"dimensions": 0}, "dimensions must be"), ({"epochs": 0}, "epochs must be"), ({"batch": 7}, "batch must be"),
        ({"sample": 7}, "sample must be"), ({"rate": 0.0}, "rate must be"), ({"rate": 1.0}, "rate must be"),
        ({"seed": -1}, "seed must be"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing(changes: dict[str, Any], sentence: str) -> None:
    """A setting outside its range is refused with a sentence."""
    with pytest.raises(PlanError, match=sentence):
        LearnedNetwork(**changes)


def test_images_that_nothing_can_be_learned_from(tmp_path: Path) -> None:
    """Too few, or not prepared to the side: refused before anything is computed."""
    with pytest.raises(PlanError, match="there are 7 images, and at least 8"):
        CONTRAST.learn(blobs(7), Place.of(tmp_path), quiet)
    with pytest.raises(PlanError, match="must be prepared to 32 pixels"):
        CONTRAST.learn(blobs(8, side=48), Place.of(tmp_path), quiet)
    assert not Place.of(tmp_path).names()


def test_one_that_has_not_learned_says_so() -> None:
    """No features without weights, and the sentence names what makes them."""
    assert isinstance(CONTRAST, Learns)
    assert CONTRAST.learned == ""
    for use in (CONTRAST.load, CONTRAST.network):
        with pytest.raises(WeightsError, match="learned from a collection first"):
            use()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of CONTRAST after one epoch."""
    torch.set_num_threads(1)
    return replace(CONTRAST, epochs=1).learn(blobs(8), Place.of(tmp_path_factory.mktemp("learned")), quiet)


def test_features_are_named_by_what_was_learned(content: bytes, tmp_path: Path) -> None:
    """The same file at two addresses names the same features, another file others."""
    first, second = (kept(CONTRAST, content, tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    assert first.learned != second.learned
    assert first.having("") == CONTRAST
    assert features_of(first) == features_of(second)
    assert features_of(first) != features_of(CONTRAST)
    tensors = load(content)
    tensors["layers.0.0.weight"] += 1
    other = kept(CONTRAST, save(tensors), tmp_path / "c.safetensors")
    assert features_of(other) != features_of(first)


def test_a_file_written_anew_is_read_anew(content: bytes, tmp_path: Path) -> None:
    """The network follows the content of its address."""
    spec = kept(CONTRAST, content, tmp_path / "weights.safetensors")
    before = spec.network().state_dict()["encoder.layers.0.0.weight"]
    changed = replace(CONTRAST, seed=4, epochs=2).learn(blobs(8), Place.of(tmp_path / "other"), quiet)
    kept(CONTRAST, changed, tmp_path / "weights.safetensors")
    assert not torch.equal(spec.network().state_dict()["encoder.layers.0.0.weight"], before)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"side": 48}, "side 32, not 48"), ({"dimensions": 17}, "dimensions 16, not 17"),
        ({"objective": "reconstruct"}, "objective contrast, not reconstruct"), ({"start": "lite0"}, "start scratch, not lite0"),
    ],
)  # fmt: skip
def test_weights_of_other_settings_are_refused(
    changes: dict[str, Any], sentence: str, content: bytes, tmp_path: Path
) -> None:
    """By a sentence that names the file and both values."""
    spec = replace(kept(CONTRAST, content, tmp_path / "weights.safetensors"), **changes)
    with pytest.raises(WeightsError, match=rf"weights\.safetensors was learned with {sentence}"):
        spec.network()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"", lambda content: b"no such file", lambda content: content[:-1],
        lambda content: content[: len(content) // 2], lambda content: save({"x": torch.zeros(3)}),
        lambda content: save({"x": torch.zeros(3)}, metadata={"interpdisc": "[" * 100_000}),
        lambda content: save({"x": torch.zeros(3)}, metadata={"interpdisc": "7"}),
        lambda content: save({"x": torch.zeros(3)}, metadata={"interpdisc": json.dumps(card(content))}),
        lambda content: save(
            load(content) | {"layers.0.0.weight": torch.zeros(32, 3, 5, 5)},
            metadata={"interpdisc": json.dumps(card(content))},
        ),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_learned_network(spoil: Any, content: bytes, tmp_path: Path) -> None:
    """Whatever is wrong with it: one sentence with its address."""
    spec = kept(CONTRAST, spoil(content), tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"weights\.safetensors does not hold a learned network"):
        spec.network()


def test_a_file_of_a_later_version(content: bytes, tmp_path: Path) -> None:
    """Refused with both numbers."""
    later = save(load(content), metadata={"interpdisc": json.dumps(card(content) | {"format": 2})})
    spec = kept(CONTRAST, later, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="of version 2; this program reads version 1"):
        spec.network()
