"""The representations beside the default: each against what it is said to be, by other means."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interpdisc_core.errors import PlanError, WeightsError
from interpdisc_core.images import Pixels
from interpdisc_core.representations import (
    VGG19,
    Crops,
    EfficientNetLite0,
    LocalBinaryPatterns,
    MobileNetV2,
    OrientedGradients,
    SiftWords,
    SqueezeNet,
    TorchvisionLayer,
    features_of,
    sift_words,
    squeezenet,
    vgg19,
)
from interpdisc_core.representations.handmade import grey
from interpdisc_core.storage import Place

Floats = npt.NDArray[np.float32]
small = arrays(np.uint8, (16, 16, 3), elements=st.integers(0, 255))


def photo(name: str) -> Pixels:
    """One of scikit-image's photos, (h, w, 3) uint8."""
    data = pytest.importorskip("skimage.data")
    found: Pixels = getattr(data, name)()
    return found


def as_batch(images: Pixels) -> Any:
    import torch

    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float()


def patches(count: int, side: int, seed: int = 0) -> Pixels:
    """Seeded images (count, side, side, 3) of bright patches on grey, which have key points."""
    rng = np.random.default_rng(seed)
    images = np.full((count, side, side, 3), 110, np.uint8)
    for image in images:
        for _ in range(25):
            (top, left), size = rng.integers(0, side, 2), rng.integers(3, 9)
            image[top : top + size, left : left + size] = rng.integers(0, 256)
    return images


# Layers of networks.


def test_inner_layers_of_lite0_are_its_stages() -> None:
    """`early` and `middle` are the means over the cells of what the default's `with_stages` has at 1/8 and 1/16."""
    torch = pytest.importorskip("torch")
    spec = EfficientNetLite0()
    batch = as_batch(np.stack([spec.prepare(photo(name)) for name in ("chelsea", "coffee")]))
    with torch.no_grad():
        features, stages = spec.network().with_stages(batch)
        torch.testing.assert_close(features, spec.network()(batch))
        for output, stage, side, channels in (("early", stages[1], 28, 40), ("middle", stages[2], 14, 112)):
            assert stage.shape == (2, channels, side, side)
            inner = EfficientNetLite0(output=output).network()  # type: ignore[arg-type]
            torch.testing.assert_close(inner(batch), stage.mean((2, 3)))
            torch.testing.assert_close(inner.with_stages(batch)[0], stage.mean((2, 3)))


def test_inner_layers_of_mobilenet_are_inputs_of_its_later_ones() -> None:
    """What the blocks after `middle` make of its cells is `pooled`; `early` comes before, on four times the cells."""
    torch = pytest.importorskip("torch")
    batch = as_batch(MobileNetV2().prepare(photo("chelsea"))[None])
    whole, middle, early = (
        spec.network() for spec in (MobileNetV2(), MobileNetV2(output="middle"), MobileNetV2(output="early"))
    )
    with torch.no_grad():
        cells = middle.layers(middle.given(batch))
        assert cells.shape == (1, 96, 14, 14)
        torch.testing.assert_close(whole.layers[14:](cells).mean((2, 3)), whole(batch))
        before = early.layers(early.given(batch))
        assert before.shape == (1, 32, 28, 28)
        torch.testing.assert_close(middle.layers[7:](before), cells)
        torch.testing.assert_close(middle(batch), cells.mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "classes"), [("chelsea", range(281, 286)), ("coffee", (504, 967, 968, 969)), ("rocket", (657, 744, 812))]
)
def test_squeezenet_recognises(name: str, classes: Any) -> None:
    """A cat is among the five best classes of a cat's picture, a cup among a cup's, a rocket among a rocket's."""
    pytest.importorskip("h5py")
    spec = SqueezeNet(output="logits")
    scores = spec.network()(as_batch(spec.prepare(photo(name))[None]))[0].detach().numpy()
    assert set(np.argsort(-scores)[:5].tolist()) & set(classes)
    assert (scores < 0).any()


def test_squeezenet_needs_its_colours_in_order() -> None:
    """Red and blue exchanged, the photographs' right classes score less: the channels are given as in training."""
    pytest.importorskip("h5py")
    spec = SqueezeNet(output="logits")
    batch = as_batch(np.stack([spec.prepare(photo(name)) for name in ("chelsea", "coffee", "rocket")]))
    network = spec.network()
    right, wrong = (network(images).softmax(1).detach().numpy() for images in (batch, batch.flip(1)))
    classes: tuple[list[int], ...] = (list(range(281, 286)), [504, 967, 968, 969], [657, 744, 812])
    said = [(right[row, one].sum(), wrong[row, one].sum()) for row, one in enumerate(classes)]
    assert sum(a for a, _ in said) > sum(b for _, b in said)


def test_squeezenets_kernels_stand_upright() -> None:
    """The file has (row, column, in, out), torchvision (out, in, row, column): entry by entry, 1.2 million in all."""
    h5py = pytest.importorskip("h5py")
    state = squeezenet._state(squeezenet.weights_path())
    with h5py.File(squeezenet.weights_path()) as file:
        for layer, name, kind in (("conv1", "features.0", ""), ("fire6", "features.9.expand3x3", "/expand3x3")):
            given = file[f"{layer}{kind}/{layer}{kind}_W:0"][()]
            for row, column, before, after in ((0, 2, 1, 5), (2, 1, 0, 63), (1, 0, 2, 7)):
                assert state[f"{name}.weight"][after, before, row, column] == given[row, column, before, after]
            np.testing.assert_array_equal(state[f"{name}.bias"], file[f"{layer}{kind}/{layer}{kind}_b:0"][()])
    assert sum(value.numel() for value in state.values()) == 1_235_496


def test_squeezenet_layers_lead_to_one_another() -> None:
    """`early`, `middle` and `pooled` are the means of cells through which an image goes on its way to `logits`."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("h5py")
    batch = as_batch(SqueezeNet().prepare(photo("chelsea"))[None])
    whole = SqueezeNet(output="logits").network()
    with torch.no_grad():
        at, means = whole.given(batch), {}
        for number, layer in enumerate(whole.layers):
            at = layer(at)
            means[number] = at.mean((2, 3)), tuple(at.shape[1:])
        for output, number, shape in (
            ("early", 7, (256, 28, 28)), ("middle", 10, (384, 14, 14)), ("pooled", 12, (512, 14, 14)),
            ("logits", 13, (1000, 14, 14)),
        ):  # fmt: skip
            mean, of = means[number]
            assert of == shape
            torch.testing.assert_close(SqueezeNet(output=output).network()(batch), mean)  # type: ignore[arg-type]


def test_another_squeezenet_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file without one of the tensors, with one of another shape, with one more, or no HDF5 is refused by name."""
    h5py = pytest.importorskip("h5py")
    given: dict[str, Any] = {}
    with h5py.File(squeezenet.weights_path()) as file:
        file.visititems(lambda name, item: given.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    first = "conv1/conv1_b:0"
    for name, tensors in {
        "fewer.h5": {key: value for key, value in given.items() if key != first},
        "other.h5": given | {first: given[first][:5]},
        "more.h5": given | {"fire10/squeeze1x1/fire10/squeeze1x1_b:0": given[first]},
    }.items():
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in tensors.items():
                file[key] = value
    (tmp_path / "text.h5").write_text("no HDF5")
    for path in sorted(tmp_path.iterdir()):
        monkeypatch.setattr(squeezenet, "weights_path", lambda path=path: path)
        with pytest.raises(WeightsError, match=rf"{path.name} does not hold a SqueezeNet.*--force-reinstall"):
            squeezenet._network.__wrapped__("pooled")


def test_vgg19_is_decoded_by_its_tables() -> None:
    """Each weight is the entry of its layer's table that its byte names; shapes are VGG19's; 20 million weights."""
    torch = pytest.importorskip("torch")
    given = torch.load(vgg19.weights_path(), weights_only=True)
    state = vgg19._state(vgg19.weights_path())
    widths = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    for number, (layer, index) in enumerate(vgg19._INDEX.items()):
        weight = state[f"{index}.weight"]
        assert weight.shape == (widths[number + 1], widths[number], 3, 3)
        block, _, convolution = layer.removeprefix("conv").partition("_")
        name = f"block{block}_conv{convolution}"
        for at in ((0, 0, 0, 0), (1, 2, 2, 1), (-1, -1, 1, 2)):
            assert weight[at] == given[f"{name}_W_table"][int(given[f"{name}_W_q"][at])]
    assert sum(value.numel() for value in state.values()) == 20_024_384


def test_vgg19_sees() -> None:
    """Of the halves of four photographs each is nearest to its other half, and few of the features are always zero."""
    torch = pytest.importorskip("torch")
    spec = VGG19(layer="conv4_1", resize=96, crop=96)
    halves = []
    for name in ("chelsea", "coffee", "rocket", "astronaut"):
        whole = photo(name)
        middle = whole.shape[1] // 2
        halves += [spec.prepare(whole[:, :middle]), spec.prepare(whole[:, middle:])]
    with torch.no_grad():
        features = spec.network()(as_batch(np.stack(halves))).numpy()
    assert features.shape == (8, 512)
    assert (features >= 0).all()
    assert (features.max(axis=0) == 0).mean() < 0.05
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = unit @ unit.T - 2 * np.eye(8)
    assert likeness.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def test_another_vgg19_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file without a tensor, with one of another shape, or that holds none is refused with its name."""
    torch = pytest.importorskip("torch")
    given = torch.load(vgg19.weights_path(), weights_only=True)
    bias = "block5_conv4_b"
    torch.save({key: value for key, value in given.items() if key != bias}, tmp_path / "fewer.bin")
    torch.save(given | {bias: given[bias][:7]}, tmp_path / "other.bin")
    (tmp_path / "text.bin").write_text("no weights")
    (tmp_path / "void.bin").touch()
    for path in sorted(tmp_path.iterdir()):
        monkeypatch.setattr(vgg19, "weights_path", lambda path=path: path)
        with pytest.raises(WeightsError, match=rf"{path.name} does not hold .* VGG19.*--force-reinstall"):
            vgg19._network.__wrapped__("conv5_1")


# Crops.

TINY = TorchvisionLayer(architecture="squeezenet1_1", layer="features.4", weights="random", resize=32, crop=28)


@pytest.mark.parametrize("mirrored", [False, True])
def test_crops_are_the_mean_of_five(mirrored: bool) -> None:
    """The features are the mean of those of the corners and the centre of a square of 32 pixels, each of 28."""
    pytest.importorskip("torch")
    spec = Crops(of=TINY, mirrored=mirrored)
    assert spec.side == 32
    images = np.stack([spec.prepare(photo(name)) for name in ("chelsea", "coffee")])
    cut = [images[:, top : top + 28, left : left + 28] for top, left in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]
    if mirrored:
        cut += [np.flip(crop, axis=2) for crop in cut]
    embed = TINY.load("cpu")
    by_hand = np.mean([embed(np.ascontiguousarray(crop)) for crop in cut], axis=0)
    np.testing.assert_allclose(spec.load("cpu")(images), by_hand, rtol=1e-5, atol=1e-6)


def test_mirrored_crops_do_not_know_left_from_right() -> None:
    """An image and its mirror image have the same features where the crops are mirrored, and only there."""
    pytest.importorskip("torch")
    image = Crops(of=TINY).prepare(photo("coffee"))
    pair = np.stack([image, image[:, ::-1]])
    one, other = Crops(of=TINY, mirrored=True).load("cpu")(pair)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    one, other = Crops(of=TINY).load("cpu")(pair)
    assert np.abs(one - other).max() > 1e-2 * np.abs(one).max()


@pytest.mark.parametrize("name", ["chelsea", "rocket"])
def test_the_central_crop_alone_is_the_network_itself(name: str) -> None:
    """`crops=1` of a network whose square is 224 of 256 has the same features as the network, to the bit."""
    pytest.importorskip("torch")
    inner = EfficientNetLite0(output="early")
    outer = Crops(of=inner, crops=1)
    raw = photo(name)
    np.testing.assert_array_equal(
        outer.load("cpu")(outer.prepare(raw)[None]), inner.load("cpu")(inner.prepare(raw)[None])
    )


def test_crops_count_the_weights_that_they_rest_on(tmp_path: Path) -> None:
    """Another content of the inner network's file is another representation."""
    path = tmp_path / "weights.pth"
    spec = Crops(of=TorchvisionLayer(weights=str(path)))
    names = [features_of(spec)]
    for content in (b"a", b"b", b"a"):
        path.write_bytes(content)
        names.append(features_of(spec))
    assert len(set(names)) == 3
    assert names[1] == names[3]


# Local binary patterns.


def patterns(pixels: Pixels, points: int, radius: int) -> list[int]:
    """How often each uniform rotation-invariant pattern occurs (Ojala et al. 2002, equation 10), literally."""
    padded = np.pad(pixels, radius + 1, mode="reflect").astype(float)
    counts = [0] * (points + 2)
    for y in range(radius + 1, radius + 1 + len(pixels)):
        for x in range(radius + 1, radius + 1 + pixels.shape[1]):
            bits = []
            for point in range(points):
                angle = 2 * math.pi * point / points
                row, column = y - round(radius * math.sin(angle), 5), x + round(radius * math.cos(angle), 5)
                top, left = math.floor(row), math.floor(column)
                down, right = row - top, column - left
                value = (
                    (1 - down) * ((1 - right) * padded[top, left] + right * padded[top, left + 1])
                    + down * ((1 - right) * padded[top + 1, left] + right * padded[top + 1, left + 1])
                )  # fmt: skip
                bits.append(value >= padded[y, x])
            changes = sum(bits[point] != bits[point - 1] for point in range(points))
            counts[sum(bits) if changes <= 2 else points + 1] += 1
    return counts


@pytest.mark.parametrize("seed", range(3))
def test_patterns_are_counted_as_defined(seed: int) -> None:
    """Each cell's histograms are those of a literal count over its pixels; bins of one radius come together."""
    pytest.importorskip("skimage")
    image = np.repeat(np.random.default_rng(seed).integers(0, 256, (16, 16, 1), dtype=np.uint8), 3, axis=2)
    whole = LocalBinaryPatterns(side=16, grid=1).describe(image)
    expected = [patterns(grey(image), points, radius) for points, radius in ((8, 1), (16, 2), (24, 3))]
    assert whole.shape == (54,)
    assert np.abs(whole * 256 - np.concatenate(expected)).max() <= 1 + 1e-4  # a pixel at a tie may fall either way
    assert np.abs(whole * 256 - np.concatenate(expected)).sum() <= 4


def test_cells_make_up_the_image() -> None:
    """The mean of the cells' histograms is the whole image's where the cells are equally large; each is a share."""
    pytest.importorskip("skimage")
    spec = LocalBinaryPatterns(side=48, grid=3)
    image = spec.prepare(photo("chelsea"))
    cells = spec.describe(image).reshape(9, 54)
    np.testing.assert_allclose(cells.mean(axis=0), LocalBinaryPatterns(side=48, grid=1).describe(image), atol=1e-6)
    bounds = [(0, 10), (10, 28), (28, 54)]
    for first, last in bounds:
        np.testing.assert_allclose(cells[:, first:last].sum(axis=1), 1, rtol=1e-6)


def test_a_cell_says_what_is_in_it() -> None:
    """What changes in one corner changes the histograms of that corner's cell only, and `where` says which."""
    pytest.importorskip("skimage")
    spec = LocalBinaryPatterns(side=64, grid=2)
    image = spec.prepare(photo("chelsea"))
    other = image.copy()
    other[40:60, 4:24] = np.random.default_rng(0).integers(0, 256, (20, 20, 3))
    residual = spec.describe(other).astype(float) - spec.describe(image)
    where = spec.where(other, residual, np.zeros_like(residual), 1.0)
    assert where[1, 0] > 0
    assert where.sum() == where[1, 0]


@given(small, st.integers(0, 60))
def test_patterns_do_not_see_brightness(image: Pixels, more: int) -> None:
    """Grey values between 0 and 190, and all of them brighter by the same: but for ties, the same histograms."""
    pytest.importorskip("skimage")
    level = np.repeat(image[:, :, :1] % 190, 3, axis=2).astype(np.uint8)
    spec = LocalBinaryPatterns(side=16, grid=1)
    before, after = spec.describe(level), spec.describe((level + more).astype(np.uint8))
    assert np.abs(before[:10] - after[:10]).sum() <= 0.05
    for found in (before, after):
        assert found[:10].sum() == pytest.approx(1, rel=1e-6)
        assert found[10:28].sum() == pytest.approx(1, rel=1e-6)
        assert found[28:].sum() == pytest.approx(1, rel=1e-6)


def test_patterns_do_not_see_a_quarter_turn() -> None:
    """They are rotation-invariant: a turned image has the same histograms, but for ties."""
    pytest.importorskip("skimage")
    spec = LocalBinaryPatterns(side=64, grid=1)
    image = spec.prepare(photo("chelsea"))
    turned = spec.describe(np.ascontiguousarray(np.rot90(image)))
    assert np.abs(turned - spec.describe(image)).sum() < 0.02


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_plain_image_is_one_pattern(value: int) -> None:
    """Where nothing differs every point is as bright as the centre: patterns 8, 16 and 24, at the border too."""
    pytest.importorskip("skimage")
    found = LocalBinaryPatterns(side=16, grid=1).describe(np.full((16, 16, 3), value, np.uint8))
    assert np.flatnonzero(found).tolist() == [8, 10 + 16, 28 + 24]
    assert found[[8, 26, 52]].tolist() == [1, 1, 1]


# Histograms of oriented gradients.


def test_an_upright_edge_by_hand() -> None:
    """An edge within the right two of four cells: a horizontal gradient, so two bins of 36, equal, of length 1."""
    pytest.importorskip("skimage")
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 24:] = 200
    found = OrientedGradients(side=32).describe(image).reshape(2, 2, 9)
    expected = np.zeros((2, 2, 9))
    expected[:, 1, 0] = math.sqrt(0.5)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    level = OrientedGradients(side=32).describe(image.transpose(1, 0, 2)).reshape(2, 2, 9)
    expected = np.zeros((2, 2, 9))
    expected[1, :, 4] = math.sqrt(0.5)  # 90°, of nine bins of 20°
    np.testing.assert_allclose(level, expected, atol=1e-6)


@given(arrays(np.uint8, (16, 16, 3), elements=st.integers(0, 63)), st.integers(2, 4), st.integers(0, 3))
def test_gradients_do_not_see_contrast_or_brightness(image: Pixels, times: int, more: int) -> None:
    """Values in 0…63, multiplied by 2 to 4 and raised: the same features, each block at most 1 long."""
    pytest.importorskip("skimage")
    spec = OrientedGradients(side=16, cell=4)
    before, after = spec.describe(image), spec.describe((image * times + more).astype(np.uint8))
    np.testing.assert_allclose(before, after, atol=1e-4)
    assert (np.linalg.norm(before.reshape(9, 36), axis=1) <= 1 + 1e-5).all()


def test_the_strongest_colour_counts() -> None:
    """An edge in blue alone is an edge, and weak ones in the other colours beside it do not count."""
    pytest.importorskip("skimage")
    spec = OrientedGradients(side=32)
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 24:, 2] = 200
    alone = spec.describe(image)
    assert alone.any()
    image[:, 24:, 0] = 90
    np.testing.assert_array_equal(spec.describe(image), alone)


def test_the_energy_of_a_block_lies_in_its_cells() -> None:
    """A residual in the lower right cell of the first of nine blocks is at cell (1, 1); all of them sum to it."""
    spec = OrientedGradients(side=64)
    residual = np.zeros((3, 3, 2, 2, 9))
    residual[0, 0, 1, 1] = 1
    where = spec.where(np.zeros((64, 64, 3), np.uint8), residual.ravel(), np.zeros(324), 1.0)
    expected = np.zeros((4, 4))
    expected[1, 1] = 9
    np.testing.assert_array_equal(where, expected)
    residual[0, 0, 0, 1] = 2
    where = spec.where(np.zeros((64, 64, 3), np.uint8), residual.ravel(), np.zeros(324), 1.0)
    expected[0, 1] = 36
    np.testing.assert_array_equal(where, expected)
    where = spec.where(np.zeros((64, 64, 3), np.uint8), np.ones(324), np.zeros(324), 1.0)
    np.testing.assert_array_equal(where, 9.0 * np.outer([1, 2, 2, 1], [1, 2, 2, 1]))  # blocks that a cell is in


# Visual words.

WORDS = SiftWords(words=20, side=96, keypoints=40, descriptors=600)


def silent(share: float) -> None:
    """A report to nobody."""


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> SiftWords:
    """`WORDS` with a vocabulary learned from twelve images of patches."""
    pytest.importorskip("cv2")
    pytest.importorskip("sklearn")
    return kept(WORDS, tmp_path_factory.mktemp("words"))


def kept(spec: SiftWords, folder: Path) -> SiftWords:
    place = Place.of(folder)
    place.write("words.safetensors", spec.learn(patches(12, spec.side), place, silent))
    return spec.having(f"{place.url}/words.safetensors")


def test_histograms_count_the_nearest_words(vocabulary: SiftWords) -> None:
    """Each descriptor counts for the word that a search through all finds; the counts are divided by their sum."""
    images, words, describe = patches(4, 96, seed=1), sift_words.vocabulary_of(vocabulary), vocabulary.describer()
    features = vocabulary.load()(images)
    for image, row in zip(images, features, strict=True):
        counts = [0] * 20
        for descriptor in describe(image):
            gaps = [sum((float(a) - float(b)) ** 2 for a, b in zip(descriptor, word, strict=True)) for word in words]
            counts[gaps.index(min(gaps))] += 1
        np.testing.assert_allclose(row, np.array(counts) / sum(counts), rtol=1e-6)
        assert sum(counts) > 5


def test_an_image_without_key_points_is_zero(vocabulary: SiftWords) -> None:
    """A plain image has no words: a row of zeros, also beside others."""
    images = patches(3, 96, seed=2)
    images[1] = 77
    features = vocabulary.load()(images)
    assert not features[1].any()
    np.testing.assert_allclose(features[[0, 2]].sum(axis=1), 1, rtol=1e-6)


def test_words_do_not_see_where(vocabulary: SiftWords) -> None:
    """The same patches moved by some pixels within a plain image have the same words."""
    image = np.full((96, 96, 3), 110, np.uint8)
    image[30:60, 30:60] = patches(1, 30, seed=3)[0]
    moved = np.roll(image, (8, -12), axis=(0, 1))
    one, other = vocabulary.load()(np.stack([image, moved]))
    assert one.sum() == pytest.approx(1)
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_strongest_key_points_are_kept() -> None:
    """Never more than `keypoints`, and fewer of them are among those of more."""
    pytest.importorskip("cv2")
    image = patches(1, 128, seed=4)[0]
    many, few = (SiftWords(side=128, keypoints=count).describer()(image) for count in (500, 7))
    assert len(few) == 7 < len(many)
    assert many.dtype == np.uint8
    assert {bytes(row) for row in few} <= {bytes(row) for row in many}
    again = SiftWords(side=128, keypoints=len(many)).describer()(image)
    assert sorted(map(bytes, many)) == sorted(map(bytes, again))


def test_of_equally_strong_key_points_no_more_are_kept() -> None:
    """OpenCV keeps all that are as strong as the last one; here the strongest are kept, and of equal ones one."""
    cv2 = pytest.importorskip("cv2")
    image = np.full((160, 160, 3), 110, np.uint8)
    for top in range(20, 160, 40):
        for left in range(20, 160, 40):
            image[top : top + 6, left : left + 6] = 150
    image[60:66, 60:66] = 230
    points = cv2.SIFT.create(nfeatures=5).detect(grey(image), None)
    assert len(points) == 64  # four directions of the bright patch, and four of each of fifteen others, all alike
    found = SiftWords(side=160, keypoints=5).describer()(image)
    assert len(found) == 5
    strongest = SiftWords(side=160, keypoints=4).describer()(image)
    assert sorted(map(bytes, strongest)) == sorted(map(bytes, found[:4]))


def test_descriptors_are_whole_numbers_to_255() -> None:
    """OpenCV gives SIFT's descriptors as floats that are bytes, so nothing is lost by keeping them as bytes."""
    cv2 = pytest.importorskip("cv2")
    _, found = cv2.SIFT.create().detectAndCompute(grey(patches(1, 128, seed=4)[0]), None)
    np.testing.assert_array_equal(found, found.astype(np.uint8))


@given(arrays(np.uint8, (2, 128), elements=st.integers(0, 255)))
def test_root_sift_is_hellingers_distance(pair: npt.NDArray[np.uint8]) -> None:
    """The squared distance of two roots is 2 − 2 Σ √(p q) of the shares p and q."""
    pair[:, 0] = np.maximum(pair[:, 0], 1)
    p, q = (row / row.sum() for row in pair.astype(float))
    one, other = SiftWords(root=True).compared(pair).astype(float)
    assert np.square(one - other).sum() == pytest.approx(2 - 2 * np.sqrt(p * q).sum(), abs=1e-5)
    np.testing.assert_array_equal(SiftWords().compared(pair), pair)


class Killed(Exception):
    """What ends a call from outside."""


def test_learning_that_is_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the descriptors and called again: the same bytes as at once, and nothing is described anew."""
    pytest.importorskip("sklearn")
    images, shares = patches(12, 96), list[float]()
    straight = WORDS.learn(images, Place.of(tmp_path / "straight"), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1

    def kill(share: float) -> None:
        if share >= 0.7:
            raise Killed

    place = Place.of(tmp_path / "interrupted")
    with pytest.raises(Killed):
        WORDS.learn(images, place, kill)
    monkeypatch.setattr(SiftWords, "describer", lambda _: pytest.fail("described anew"))
    assert WORDS.having("of an earlier vocabulary").learn(images, place, silent) == straight
    monkeypatch.undo()
    other = SiftWords(**(vars(WORDS) | {"keypoints": 9}))  # beside what is kept of the first
    assert other.learn(images, place, silent) == other.learn(images, Place.of(tmp_path / "other"), silent) != straight
    assert WORDS.learn(patches(12, 96, seed=9), place, silent) != straight


def test_the_seed_and_the_images_decide(tmp_path: Path) -> None:
    """Other images or another seed make other words; the same make the same, wherever they were kept."""
    pytest.importorskip("sklearn")
    images = patches(12, 96)

    def learned(spec: SiftWords, given: Pixels, name: str) -> bytes:
        return spec.learn(given, Place.of(tmp_path / name), silent)

    first = learned(WORDS, images, "a")
    assert learned(WORDS.having("elsewhere"), images, "b") == first
    assert learned(SiftWords(**(vars(WORDS) | {"seed": 1})), images, "c") != first
    assert learned(WORDS, images[:9], "d") != first


def test_a_sample_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more images than `sample` so many are described, and never more descriptors kept than `descriptors`."""
    pytest.importorskip("sklearn")
    spec = SiftWords(words=5, side=96, sample=6, descriptors=37)
    described: list[Pixels] = []
    real: Callable[[SiftWords], Callable[[Pixels], Pixels]] = SiftWords.describer

    def counting(self: SiftWords) -> Callable[[Pixels], Pixels]:
        describe = real(self)
        return lambda image: described.append(image) or describe(image)  # type: ignore[func-returns-value]

    monkeypatch.setattr(SiftWords, "describer", counting)
    place = Place.of(tmp_path)
    spec.learn(patches(15, 96), place, silent)
    assert len(described) == 6
    from safetensors.numpy import load

    (name,) = place.names()
    found = load(place.read(name))["descriptors"]
    assert found.shape == (36, 128)  # six of each


@pytest.mark.parametrize("images", [np.full((3, 96, 96, 3), 50, np.uint8), patches(1, 96)[:, :40, :40]])
def test_images_that_say_too_little(tmp_path: Path, images: Pixels) -> None:
    """Fewer descriptors than words, or images of another size, are refused with a sentence."""
    pytest.importorskip("cv2")
    with pytest.raises(PlanError, match=r"descriptors, fewer than|must be prepared"):
        WORDS.learn(images, Place.of(tmp_path), silent)


def test_a_vocabulary_of_other_settings_is_refused(vocabulary: SiftWords, tmp_path: Path) -> None:
    """Words by another number, or roots, or no words at all: refused with the address and what to do."""
    whole = Path(vocabulary.vocabulary).read_bytes()
    for changes in ({"words": 21}, {"root": True}):
        with pytest.raises(WeightsError, match=r"words\.safetensors is a vocabulary of other settings.*learn it anew"):
            SiftWords(**(vars(vocabulary) | changes)).load()
    for name, content in {
        "cut": whole[:-40],
        "void": b"",
        "text": b"no words at all, but long enough",
        "head": whole[:90],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} is not a vocabulary"):
            vocabulary.having(str(tmp_path / name)).load()


def test_words_that_were_not_learned() -> None:
    """Without a vocabulary there are no features, and the sentence says what makes one."""
    with pytest.raises(WeightsError, match="sift-words is learned from a collection first"):
        SiftWords().load()
