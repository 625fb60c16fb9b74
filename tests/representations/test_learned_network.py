"""A network that is trained on the collection: it learns, it resumes, and its file is checked."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from interpdisc_core._types import PixelArray
from interpdisc_core.errors import PlanError, StoreError, WeightsError
from interpdisc_core.representations import LearnedNetwork, Trainable, _augmentations, digest_features
from interpdisc_core.representations._encoders import PooledEncoder, build_encoder, compute_vicreg_loss, load_encoder
from interpdisc_core.storage.location import Location

torch = pytest.importorskip("torch")

CONTRAST = LearnedNetwork(side=32, dimensions=16, epochs=3, batch=8)
RECONSTRUCT = replace(CONTRAST, objective="reconstruct")
both_objectives = pytest.mark.parametrize("spec", [CONTRAST, RECONSTRUCT], ids=lambda spec: spec.objective)


@pytest.fixture(autouse=True)
def _single_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blobs(count: int, side: int = 32, seed: int = 3) -> PixelArray:
    """Images of one colored disc each on a ground of another color, (count, side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    images = []
    for _ in range(count):
        ground, color = rng.integers(0, 256, (2, 3))
        cy, cx, radius = *rng.uniform(side / 4, 3 * side / 4, 2), rng.uniform(side / 8, side / 3)
        inside = ((y - cy) ** 2 + (x - cx) ** 2 < radius**2)[:, :, None]
        images.append(np.where(inside, color, ground) + rng.normal(0, 5, (side, side, 3)))
    return np.stack(images).clip(0, 255).astype(np.uint8)


def ignore_progress(share: float) -> None:
    """Do nothing."""


def stopping(after: float) -> Callable[[float], None]:
    """A listener that fails once more than `after` is done, like a kill."""

    def report(share: float) -> None:
        if share > after:
            raise KeyboardInterrupt

    return report


def read_metadata(content: bytes) -> dict[str, Any]:
    """The metadata of a file of weights."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["interpdisc"])
    return metadata


# Losses


def test_the_loss_equals_its_definition_by_loops() -> None:
    """VICReg."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0, 0.8, (2, 5, 3))
    expected = 25 * ((ours - theirs) ** 2).mean()
    for view in (ours, theirs):
        covariance = np.cov(view.T)
        for i in range(3):
            expected += 25 / 2 * max(0, 1 - np.sqrt(covariance[i, i] + 1e-4)) / 3
            expected += sum(covariance[i, j] ** 2 for j in range(3) if j != i) / 3
    assert float(compute_vicreg_loss(torch.from_numpy(ours), torch.from_numpy(theirs))) == pytest.approx(
        expected, rel=1e-12
    )


def test_the_loss_of_a_collapse_and_of_perfect_features() -> None:
    """All the same: 25 (1 − 0.01). Equal views of deviation 1 without correlation: 0."""
    same = torch.ones((6, 4), dtype=torch.float64)
    assert float(compute_vicreg_loss(same, same)) == pytest.approx(25 * 0.99, rel=1e-12)
    good = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert float(compute_vicreg_loss(good, good)) == 0.0


# Views


@given(seed=st.integers(0, 2**32), side=st.sampled_from([16, 32, 48]))
def test_views_have_the_shape_and_range_of_pictures(seed: int, side: int) -> None:
    """Whatever is drawn; the same draw gives the same views, and the pictures are not changed."""
    pictures = torch.rand((6, 3, side, side), generator=torch.Generator().manual_seed(seed))
    before = pictures.clone()
    first, second = (_augmentations.augment_images(pictures, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first.shape == pictures.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert torch.equal(first, second)
    assert torch.equal(pictures, before)


@given(seed=st.integers(0, 2**32))
def test_a_crop_shows_a_part_of_its_image(seed: int) -> None:
    """Of a ramp from left to right (red) and from top to bottom (green): ramps again, as steep as the crop is narrow."""
    side, n, least = 32, 16, 0.25
    ramp = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    red, green = ramp.expand(side, side), ramp[:, None].expand(side, side)
    images = torch.stack([red, green, torch.zeros(side, side)]).expand(n, 3, side, side)
    crops = _augmentations.crop_randomly(images, least, torch.Generator().manual_seed(seed))
    middle = slice(2, -2)  # at the rim the ramp is reflected
    across = (crops[:, 0, 16, 20] - crops[:, 0, 16, 12]) / 8 * side
    down = (crops[:, 1, 20, 16] - crops[:, 1, 12, 16]) / 8 * side
    assert torch.all(down > 0)  # never upside down
    area = across.abs() * down
    assert torch.all(area > least * 0.97)
    assert torch.all(area < 1.001)
    ratio = across.abs() / down
    assert torch.all(ratio > 3 / 4 - 1e-3)
    assert torch.all(ratio < 4 / 3 + 1e-3)
    # All rows of red are equal, and all columns of green: nothing is rotated.
    assert float(crops[:, 0, middle].std(1).max()) < 1e-4
    assert float(crops[:, 1, :, middle].std(2).max()) < 1e-4


def test_half_of_many_images_are_mirrored_and_a_fifth_is_gray() -> None:
    """And each image has its own draw."""
    n = 2000
    ramp = torch.linspace(0, 1, 8).expand(n, 3, 8, 8)
    crops = _augmentations.crop_randomly(ramp, 0.5, torch.Generator().manual_seed(5))
    mirrored = crops[:, 0, 4, 6] < crops[:, 0, 4, 1]
    assert 0.45 < float(mirrored.float().mean()) < 0.55
    colors = torch.tensor([0.6, 0.4, 0.3]).view(1, 3, 1, 1).expand(n, 3, 4, 4)
    light = _augmentations.jitter_colors(colors, torch.Generator().manual_seed(6))
    gray = (light.amax(1) - light.amin(1)).amax((1, 2)) < 1e-6
    assert 0.16 < float(gray.float().mean()) < 0.24
    # One in five is left as it is, of which one in five is gray; all others differ.
    assert len(torch.unique(light[:, :, 0, 0], dim=0)) == pytest.approx(0.8 * n, abs=0.05 * n)


# Learning


@both_objectives
def test_an_interrupted_training_resumes_to_the_same_bytes(spec: LearnedNetwork, tmp_path: Path) -> None:
    """Killed after the first epoch, and again during the third: the same file as from a straight run."""
    images = blobs(20)
    straight = spec.learn(images, Location.parse(tmp_path / "straight"), ignore_progress)
    place = Location.parse(tmp_path / "halting")
    for after in (0.34, 0.7):
        with pytest.raises(KeyboardInterrupt):
            spec.learn(images, place, stopping(after))
    shares: list[float] = []
    assert spec.learn(images, place, shares.append) == straight
    assert shares[0] == pytest.approx(2 / 3)  # what was learned is not learned again
    again: list[float] = []
    assert spec.learn(images, place, again.append) == straight
    assert again == [1.0]


@both_objectives
def test_other_settings_or_images_start_from_the_beginning(spec: LearnedNetwork, tmp_path: Path) -> None:
    """States of another seed or of other images in the same location are not resumed."""
    spec, place, images = replace(spec, epochs=1), Location.parse(tmp_path), blobs(9)
    contents = [spec.learn(images, place, ignore_progress), replace(spec, seed=1).learn(images, place, ignore_progress)]
    shares: list[float] = []
    contents.append(spec.learn(255 - images, place, shares.append))
    assert shares[0] == 0
    tensors = [load(content)["layers.0.0.weight"] for content in contents]
    assert not torch.equal(tensors[0], tensors[1])
    assert not torch.equal(tensors[0], tensors[2])


@pytest.mark.parametrize(
    "spec", [replace(CONTRAST, epochs=5), replace(RECONSTRUCT, epochs=5)], ids=["contrast", "reconstruct"]
)
def test_the_loss_falls_and_features_do_not_collapse(spec: LearnedNetwork, tmp_path: Path) -> None:
    """And the history on disk is that of the file."""
    images = blobs(64)
    content = spec.learn(images, Location.parse(tmp_path), ignore_progress)
    (folder,) = Location.parse(tmp_path).list_names()
    epochs = (Location.parse(tmp_path) / folder).read_json("epochs.json")
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5]
    assert all(epoch["seconds"] >= 0 for epoch in epochs)
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    assert min(epoch["spread"] for epoch in epochs) > 0.1
    assert [epoch["loss"] for epoch in epochs] == [epoch["loss"] for epoch in read_metadata(content)["epochs"]]
    assert read_metadata(content)["images"] == 64
    spec = with_file(spec, content, tmp_path / "weights.safetensors")
    network = spec.build_network()
    batch = torch.from_numpy(blobs(32, seed=9)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        features = network(batch)
    assert float((features.std(0) > 1e-3).float().mean()) > 0.5


def with_file(spec: LearnedNetwork, content: bytes, path: Path) -> LearnedNetwork:
    """The representation with its weights written to a file."""
    path.write_bytes(content)
    return spec.with_weights(str(path))


def test_views_of_an_image_come_nearer_to_each_other_than_to_other_images(tmp_path: Path) -> None:
    """On images that were not trained on: the other view is share_found among 64, more often than before."""
    spec = replace(CONTRAST, dimensions=32, epochs=5, batch=32)
    content = spec.learn(blobs(160), Location.parse(tmp_path), ignore_progress)
    torch.manual_seed(0)
    before, after = (
        PooledEncoder(build_encoder("scratch", 32)).eval(),
        PooledEncoder(load_encoder(content, spec)).eval(),
    )
    pictures = torch.from_numpy(blobs(64, seed=8)).permute(0, 3, 1, 2).float() / 255
    random = torch.Generator().manual_seed(1)
    ours, theirs = (255 * _augmentations.crop_randomly(pictures, 0.4, random) for _ in range(2))

    def share_found(network: Any) -> float:
        with torch.no_grad():
            a, b = (x - x.mean(0) for x in (network(ours), network(theirs)))
        near = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T
        return float((near.argmax(1) == torch.arange(64)).float().mean())

    assert share_found(after) > max(share_found(before), 1 / 64)


@both_objectives
def test_progress_rises_from_0_to_1(spec: LearnedNetwork, tmp_path: Path) -> None:
    """In order; the global random state of PyTorch is not changed."""
    before, shares = torch.get_rng_state(), list[float]()
    spec.learn(blobs(17), Location.parse(tmp_path), shares.append)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_at_most_sample_images_are_learned_from(tmp_path: Path) -> None:
    """They are drawn by the seed, always the same ones."""
    spec, images = replace(CONTRAST, epochs=1, sample=8), blobs(12)
    first, second = (spec.learn(images, Location.parse(tmp_path / name), ignore_progress) for name in "ab")
    assert first == second
    assert read_metadata(first)["images"] == 8


def test_a_start_from_lite0_changes_its_weights_a_little(tmp_path: Path) -> None:
    """1280 features; the weights of `EfficientNetLite0` itself are never changed."""
    from interpdisc_core.representations import EfficientNetLite0

    original = EfficientNetLite0().build_network().state_dict()["blocks.1.0.block.0.0.weight"].clone()
    spec = LearnedNetwork(start="lite0", side=32, epochs=1, batch=8)
    spec = with_file(
        spec, spec.learn(blobs(8), Location.parse(tmp_path), ignore_progress), tmp_path / "weights.safetensors"
    )
    network = spec.build_network()
    with torch.no_grad():
        assert network(torch.zeros((2, 3, 32, 32))).shape == (2, 1280)
    learned = network.state_dict()["encoder.layers.1.0.block.0.0.weight"]
    change = float((learned - original).norm() / original.norm())
    assert 0 < change < 0.1
    assert torch.equal(EfficientNetLite0().build_network().state_dict()["blocks.1.0.block.0.0.weight"], original)


def test_stages_are_those_of_the_same_network() -> None:
    """`forward_with_stages` gives the features of `forward`, and ever coarser activations."""
    network = PooledEncoder(build_encoder("scratch", 24)).eval()
    batch = 255 * torch.rand((2, 3, 48, 48))
    with torch.no_grad():
        features, stages = network.forward_with_stages(batch)
        assert torch.equal(features, network(batch))
    assert [stage.shape[-1] for stage in stages] == [12, 6, 3, 3]


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    """The error names the file to remove."""
    spec, place = replace(CONTRAST, epochs=2), Location.parse(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        spec.learn(blobs(8), place, stopping(0.49))
    (folder,) = place.list_names()
    state = (place / folder).read("state.safetensors")
    (place / folder).write("state.safetensors", state[: len(state) // 2])
    with pytest.raises(StoreError, match=r"state\.safetensors is damaged: its content is not that of its checksum"):
        spec.learn(blobs(8), place, ignore_progress)
    (place / folder).write_checked("state.safetensors", state[: len(state) // 2])
    with pytest.raises(StoreError, match=r"state\.safetensors is damaged.*remove it"):
        spec.learn(blobs(8), place, ignore_progress)
    (place / folder).remove("state.safetensors")
    spec.learn(blobs(8), place, ignore_progress)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    """And the state is not kept."""
    from interpdisc_core.representations._encoder_training import _EncoderTrainer

    trainer = _EncoderTrainer(RECONSTRUCT, blobs(8), Location.parse(tmp_path))
    with torch.no_grad():
        trainer.encoder.layers[0][0].weight.fill_(float("nan"))
    with pytest.raises(PlanError, match=r"loss of epoch 1 is nan; lower the rate"):
        trainer.run_epoch(ignore_progress)
    assert not Location.parse(tmp_path).list_names()


# Settings and files


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"side": 40}, "side must be a multiple of 16"),
        ({"side": 16}, "side must be"),
        ({"side": 240}, "side must be"),
        ({"dimensions": 0}, "dimensions must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch": 7}, "batch must be"),
        ({"sample": 7}, "sample must be"),
        ({"rate": 0.0}, "rate must be"),
        ({"rate": 1.0}, "rate must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_settings_outside_their_range_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        LearnedNetwork(**changes)


def test_too_few_or_unprepared_images_are_refused(tmp_path: Path) -> None:
    """Before anything is computed."""
    with pytest.raises(PlanError, match="there are 7 images, and at least 8"):
        CONTRAST.learn(blobs(7), Location.parse(tmp_path), ignore_progress)
    with pytest.raises(PlanError, match="must be prepared to 32 pixels"):
        CONTRAST.learn(blobs(8, side=48), Location.parse(tmp_path), ignore_progress)
    assert not Location.parse(tmp_path).list_names()


def test_without_learned_weights_there_are_no_features() -> None:
    """The error names the command that learns them."""
    assert isinstance(CONTRAST, Trainable)
    assert CONTRAST.learned_weights == ""
    for use in (CONTRAST.load, CONTRAST.build_network):
        with pytest.raises(WeightsError, match="learned from a collection first"):
            use()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of CONTRAST after one epoch."""
    torch.set_num_threads(1)
    return replace(CONTRAST, epochs=1).learn(
        blobs(8), Location.parse(tmp_path_factory.mktemp("learned")), ignore_progress
    )


def test_features_are_named_by_the_content_of_the_weights(content: bytes, tmp_path: Path) -> None:
    """The same file at two addresses names the same features, another file others."""
    first, second = (with_file(CONTRAST, content, tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    assert first.learned_weights != second.learned_weights
    assert first.with_weights("") == CONTRAST
    assert digest_features(first) == digest_features(second)
    assert digest_features(first) != digest_features(CONTRAST)
    tensors = load(content)
    tensors["layers.0.0.weight"] += 1
    other = with_file(CONTRAST, save(tensors), tmp_path / "c.safetensors")
    assert digest_features(other) != digest_features(first)


def test_a_rewritten_file_gives_a_new_network(content: bytes, tmp_path: Path) -> None:
    """The network follows the content of its address."""
    spec = with_file(CONTRAST, content, tmp_path / "weights.safetensors")
    before = spec.build_network().state_dict()["encoder.layers.0.0.weight"]
    changed = replace(CONTRAST, seed=4, epochs=2).learn(blobs(8), Location.parse(tmp_path / "other"), ignore_progress)
    with_file(CONTRAST, changed, tmp_path / "weights.safetensors")
    assert not torch.equal(spec.build_network().state_dict()["encoder.layers.0.0.weight"], before)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"side": 48}, "side 32, not 48"),
        ({"dimensions": 17}, "dimensions 16, not 17"),
        ({"objective": "reconstruct"}, "objective contrast, not reconstruct"),
        ({"start": "lite0"}, "start scratch, not lite0"),
    ],
)
def test_weights_of_other_settings_are_refused(
    changes: dict[str, Any], sentence: str, content: bytes, tmp_path: Path
) -> None:
    """The error names the file and both values."""
    spec = replace(with_file(CONTRAST, content, tmp_path / "weights.safetensors"), **changes)
    with pytest.raises(WeightsError, match=rf"weights\.safetensors was learned with {sentence}"):
        spec.build_network()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"no such file",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: save({"x": torch.zeros(3)}),
        lambda content: save({"x": torch.zeros(3)}, metadata={"interpdisc": "[" * 100_000}),
        lambda content: save({"x": torch.zeros(3)}, metadata={"interpdisc": "7"}),
        lambda content: save({"x": torch.zeros(3)}, metadata={"interpdisc": json.dumps(read_metadata(content))}),
        lambda content: save(
            load(content) | {"layers.0.0.weight": torch.zeros(32, 3, 5, 5)},
            metadata={"interpdisc": json.dumps(read_metadata(content))},
        ),
    ],
)
def test_a_file_without_a_learned_network_is_named(spoil: Any, content: bytes, tmp_path: Path) -> None:
    """Whatever is wrong with it."""
    spec = with_file(CONTRAST, spoil(content), tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"weights\.safetensors does not hold a learned network"):
        spec.build_network()


def test_a_file_of_a_later_version_is_refused(content: bytes, tmp_path: Path) -> None:
    """With both numbers."""
    later = save(load(content), metadata={"interpdisc": json.dumps(read_metadata(content) | {"format": 2})})
    spec = with_file(CONTRAST, later, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="of version 2; this program reads version 1"):
        spec.build_network()
