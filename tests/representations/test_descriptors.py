"""The representations other than the default: each compared with its definition, computed by other means."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interpdisc_core._types import PixelArray
from interpdisc_core.errors import PlanError, WeightsError
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
    digest_features,
    squeezenet,
    vgg19,
    visual_words,
)
from interpdisc_core.representations._descriptors import convert_to_gray
from interpdisc_core.representations.squeezenet import SQUEEZENET_WEIGHTS
from interpdisc_core.representations.vgg19 import VGG19_WEIGHTS
from interpdisc_core.storage.location import Location

Floats = npt.NDArray[np.float32]
small = arrays(np.uint8, (16, 16, 3), elements=st.integers(0, 255))


def photo(name: str) -> PixelArray:
    """One of scikit-image's photos, (h, w, 3) uint8."""
    data = pytest.importorskip("skimage.data")
    image: PixelArray = getattr(data, name)()
    return image


def as_batch(images: PixelArray) -> Any:
    import torch

    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float()


def patches(count: int, side: int, seed: int = 0) -> PixelArray:
    """Seeded images (count, side, side, 3) of bright patches on gray, which have key points."""
    rng = np.random.default_rng(seed)
    images = np.full((count, side, side, 3), 110, np.uint8)
    for image in images:
        for _ in range(25):
            (top, left), size = rng.integers(0, side, 2), rng.integers(3, 9)
            image[top : top + size, left : left + size] = rng.integers(0, 256)
    return images


# Layers of networks.


def test_inner_layers_of_lite0_are_its_stages() -> None:
    """`early` and `middle` are the means over the cells of the stages at 1/8 and 1/16 of `forward_with_stages`."""
    torch = pytest.importorskip("torch")
    spec = EfficientNetLite0()
    batch = as_batch(np.stack([spec.prepare(photo(name)) for name in ("chelsea", "coffee")]))
    with torch.no_grad():
        features, stages = spec.build_network().forward_with_stages(batch)
        torch.testing.assert_close(features, spec.build_network()(batch))
        for output, stage, side, channels in (("early", stages[1], 28, 40), ("middle", stages[2], 14, 112)):
            assert stage.shape == (2, channels, side, side)
            inner = EfficientNetLite0(output=output).build_network()  # type: ignore[arg-type]
            torch.testing.assert_close(inner(batch), stage.mean((2, 3)))
            torch.testing.assert_close(inner.forward_with_stages(batch)[0], stage.mean((2, 3)))


def test_inner_layers_of_mobilenet_are_inputs_of_its_later_ones() -> None:
    """The blocks after `middle` turn its cells into `pooled`; `early` comes before, on four times the cells."""
    torch = pytest.importorskip("torch")
    batch = as_batch(MobileNetV2().prepare(photo("chelsea"))[None])
    whole, middle, early = (
        spec.build_network() for spec in (MobileNetV2(), MobileNetV2(output="middle"), MobileNetV2(output="early"))
    )
    with torch.no_grad():
        cells = middle.layers(middle.preprocess(batch))
        assert cells.shape == (1, 96, 14, 14)
        torch.testing.assert_close(whole.layers[14:](cells).mean((2, 3)), whole(batch))
        before = early.layers(early.preprocess(batch))
        assert before.shape == (1, 32, 28, 28)
        torch.testing.assert_close(middle.layers[7:](before), cells)
        torch.testing.assert_close(middle(batch), cells.mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "classes"), [("chelsea", range(281, 286)), ("coffee", (504, 967, 968, 969)), ("rocket", (657, 744, 812))]
)
def test_squeezenet_recognizes_photos(name: str, classes: Any) -> None:
    """A cat is among the five best classes of a cat's picture, a cup among a cup's, a rocket among a rocket's."""
    pytest.importorskip("h5py")
    spec = SqueezeNet(output="logits")
    scores = spec.build_network()(as_batch(spec.prepare(photo(name))[None]))[0].detach().numpy()
    assert set(np.argsort(-scores)[:5].tolist()) & set(classes)
    assert (scores < 0).any()


def test_squeezenet_is_worse_with_red_and_blue_exchanged() -> None:
    """The right classes of photographs score less: channels are given as in training."""
    pytest.importorskip("h5py")
    spec = SqueezeNet(output="logits")
    batch = as_batch(np.stack([spec.prepare(photo(name)) for name in ("chelsea", "coffee", "rocket")]))
    network = spec.build_network()
    right, wrong = (network(images).softmax(1).detach().numpy() for images in (batch, batch.flip(1)))
    classes: tuple[list[int], ...] = (list(range(281, 286)), [504, 967, 968, 969], [657, 744, 812])
    scores = [
        (right[row, class_numbers].sum(), wrong[row, class_numbers].sum()) for row, class_numbers in enumerate(classes)
    ]
    assert sum(a for a, _ in scores) > sum(b for _, b in scores)


def test_squeezenets_kernels_are_transposed_from_keras() -> None:
    """The file has (row, column, in, out), torchvision (out, in, row, column): entry by entry, 1.2 million in all."""
    h5py = pytest.importorskip("h5py")
    state = squeezenet._read_state(SQUEEZENET_WEIGHTS.find())
    with h5py.File(SQUEEZENET_WEIGHTS.find()) as file:
        for layer, name, kind in (("conv1", "features.0", ""), ("fire6", "features.9.expand3x3", "/expand3x3")):
            kernel = file[f"{layer}{kind}/{layer}{kind}_W:0"][()]
            for row, column, before, after in ((0, 2, 1, 5), (2, 1, 0, 63), (1, 0, 2, 7)):
                assert state[f"{name}.weight"][after, before, row, column] == kernel[row, column, before, after]
            np.testing.assert_array_equal(state[f"{name}.bias"], file[f"{layer}{kind}/{layer}{kind}_b:0"][()])
    assert sum(value.numel() for value in state.values()) == 1_235_496


def test_squeezenet_outputs_are_means_of_its_layers() -> None:
    """`early`, `middle` and `pooled` are the means cells_shape cells on the way to `logits`."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("h5py")
    batch = as_batch(SqueezeNet().prepare(photo("chelsea"))[None])
    logits = SqueezeNet(output="logits").build_network()
    with torch.no_grad():
        cells, means = logits.preprocess(batch), {}
        for number, layer in enumerate(logits.layers):
            cells = layer(cells)
            means[number] = cells.mean((2, 3)), tuple(cells.shape[1:])
        for output, number, shape in (
            ("early", 7, (256, 28, 28)),
            ("middle", 10, (384, 14, 14)),
            ("pooled", 12, (512, 14, 14)),
            ("logits", 13, (1000, 14, 14)),
        ):
            mean, cells_shape = means[number]
            assert cells_shape == shape
            torch.testing.assert_close(SqueezeNet(output=output).build_network()(batch), mean)  # type: ignore[arg-type]


def test_a_file_without_a_squeezenet_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file without one of the tensors, with one of another shape, with one more, or no HDF5 is refused by name."""
    h5py = pytest.importorskip("h5py")
    datasets: dict[str, Any] = {}
    with h5py.File(SQUEEZENET_WEIGHTS.find()) as file:
        file.visititems(
            lambda name, item: datasets.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    bias = "conv1/conv1_b:0"
    for name, tensors in {
        "fewer.h5": {key: value for key, value in datasets.items() if key != bias},
        "other.h5": datasets | {bias: datasets[bias][:5]},
        "more.h5": datasets | {"fire10/squeeze1x1/fire10/squeeze1x1_b:0": datasets[bias]},
    }.items():
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in tensors.items():
                file[key] = value
    (tmp_path / "text.h5").write_text("no HDF5")
    monkeypatch.syspath_prepend(tmp_path.parent)
    for path in sorted(tmp_path.iterdir()):
        weights = replace(SQUEEZENET_WEIGHTS, package=tmp_path.name, file=path.name)
        with pytest.raises(WeightsError, match=rf"{path.name} does not hold a SqueezeNet.*--force-reinstall"):
            squeezenet._load_network("pooled", cells=False, weights=weights)


def test_vgg19_is_dequantized_by_its_tables() -> None:
    """Each weight is the entry of its layer's table at its byte; shapes are those of VGG19; 20 million weights."""
    torch = pytest.importorskip("torch")
    tensors = torch.load(VGG19_WEIGHTS.find(), weights_only=True)
    state = vgg19._read_state(VGG19_WEIGHTS.find())
    widths = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    for number, (layer, index) in enumerate(vgg19._LAYER_INDEX.items()):
        weight = state[f"{index}.weight"]
        assert weight.shape == (widths[number + 1], widths[number], 3, 3)
        block, _, convolution = layer.removeprefix("conv").partition("_")
        name = f"block{block}_conv{convolution}"
        for index_in_kernel in ((0, 0, 0, 0), (1, 2, 2, 1), (-1, -1, 1, 2)):
            assert weight[index_in_kernel] == tensors[f"{name}_W_table"][int(tensors[f"{name}_W_q"][index_in_kernel])]
    assert sum(value.numel() for value in state.values()) == 20_024_384


def test_vgg19_finds_the_other_half_of_a_photo() -> None:
    """Of the halves of four photographs each is nearest to its other half, and few features are always zero."""
    torch = pytest.importorskip("torch")
    spec = VGG19(layer="conv4_1", resize=96, crop=96)
    halves = []
    for name in ("chelsea", "coffee", "rocket", "astronaut"):
        whole = photo(name)
        middle = whole.shape[1] // 2
        halves += [spec.prepare(whole[:, :middle]), spec.prepare(whole[:, middle:])]
    with torch.no_grad():
        features = spec.build_network()(as_batch(np.stack(halves))).numpy()
    assert features.shape == (8, 512)
    assert (features >= 0).all()
    assert (features.max(axis=0) == 0).mean() < 0.05
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T - 2 * np.eye(8)
    assert similarity.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def test_a_file_without_a_vgg19_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file without a tensor, with one of another shape, or that holds none is refused with its name."""
    torch = pytest.importorskip("torch")
    weights_by_name = torch.load(VGG19_WEIGHTS.find(), weights_only=True)
    bias = "block5_conv4_b"
    torch.save({key: value for key, value in weights_by_name.items() if key != bias}, tmp_path / "fewer.bin")
    torch.save(weights_by_name | {bias: weights_by_name[bias][:7]}, tmp_path / "other.bin")
    (tmp_path / "text.bin").write_text("no weights")
    (tmp_path / "void.bin").touch()
    monkeypatch.syspath_prepend(tmp_path.parent)
    for path in sorted(tmp_path.iterdir()):
        weights = replace(VGG19_WEIGHTS, package=tmp_path.name, file=path.name)
        with pytest.raises(WeightsError, match=rf"{path.name} does not hold .* VGG19.*--force-reinstall"):
            vgg19._load_network("conv5_1", cells=False, weights=weights)


# Crops.

TINY = TorchvisionLayer(architecture="squeezenet1_1", layer="features.4", weights="random", resize=32, crop=28)


@pytest.mark.parametrize("mirrored", [False, True])
def test_features_of_crops_are_the_mean_over_five(mirrored: bool) -> None:
    """The features are the mean of those of the corners and the center of a square of 32 pixels, each of 28."""
    pytest.importorskip("torch")
    spec = Crops(of=TINY, mirrored=mirrored)
    assert spec.side == 32
    images = np.stack([spec.prepare(photo(name)) for name in ("chelsea", "coffee")])
    cut = [images[:, top : top + 28, left : left + 28] for top, left in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]
    if mirrored:
        cut += [np.flip(crop, axis=2) for crop in cut]
    embed = TINY.load("cpu")
    expected = np.mean([embed(np.ascontiguousarray(crop)) for crop in cut], axis=0)
    np.testing.assert_allclose(spec.load("cpu")(images), expected, rtol=1e-5, atol=1e-6)


def test_only_mirrored_crops_are_invariant_to_mirroring() -> None:
    """An image and its mirror image have the same features if the crops are mirrored, and only then."""
    pytest.importorskip("torch")
    image = Crops(of=TINY).prepare(photo("coffee"))
    pair = np.stack([image, image[:, ::-1]])
    features, of_mirror_image = Crops(of=TINY, mirrored=True).load("cpu")(pair)
    np.testing.assert_allclose(features, of_mirror_image, rtol=1e-4, atol=1e-5)
    features, of_mirror_image = Crops(of=TINY).load("cpu")(pair)
    assert np.abs(features - of_mirror_image).max() > 1e-2 * np.abs(features).max()


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


def test_the_weights_of_the_inner_network_name_the_features_of_crops(tmp_path: Path) -> None:
    """Another content of its file is another representation."""
    path = tmp_path / "weights.pth"
    spec = Crops(of=TorchvisionLayer(weights=str(path)))
    names = [digest_features(spec)]
    for content in (b"a", b"b", b"a"):
        path.write_bytes(content)
        names.append(digest_features(spec))
    assert len(set(names)) == 3
    assert names[1] == names[3]


# Local binary patterns.


def patterns(pixels: PixelArray, points: int, radius: int) -> list[int]:
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
                value = (1 - down) * ((1 - right) * padded[top, left] + right * padded[top, left + 1]) + down * (
                    (1 - right) * padded[top + 1, left] + right * padded[top + 1, left + 1]
                )
                bits.append(value >= padded[y, x])
            changes = sum(bits[point] != bits[point - 1] for point in range(points))
            counts[sum(bits) if changes <= 2 else points + 1] += 1
    return counts


@pytest.mark.parametrize("seed", range(3))
def test_patterns_equal_a_literal_count(seed: int) -> None:
    """Each cell's histograms are those of a literal count over its pixels; bins of one radius come together."""
    pytest.importorskip("skimage")
    image = np.repeat(np.random.default_rng(seed).integers(0, 256, (16, 16, 1), dtype=np.uint8), 3, axis=2)
    whole = LocalBinaryPatterns(side=16, grid=1).describe(image)
    expected = [patterns(convert_to_gray(image), points, radius) for points, radius in ((8, 1), (16, 2), (24, 3))]
    assert whole.shape == (54,)
    assert np.abs(whole * 256 - np.concatenate(expected)).max() <= 1 + 1e-4  # a pixel at a tie may fall either way
    assert np.abs(whole * 256 - np.concatenate(expected)).sum() <= 4


def test_the_mean_of_cells_is_the_histogram_of_the_image() -> None:
    """If the cells are equally large; each is a relative frequency."""
    pytest.importorskip("skimage")
    spec = LocalBinaryPatterns(side=48, grid=3)
    image = spec.prepare(photo("chelsea"))
    cells = spec.describe(image).reshape(9, 54)
    np.testing.assert_allclose(cells.mean(axis=0), LocalBinaryPatterns(side=48, grid=1).describe(image), atol=1e-6)
    bounds = [(0, 10), (10, 28), (28, 54)]
    for first, last in bounds:
        np.testing.assert_allclose(cells[:, first:last].sum(axis=1), 1, rtol=1e-6)


def test_a_cell_depends_on_its_own_pixels_only() -> None:
    """A change in one corner changes the histograms of that cell only, and the map shows it."""
    pytest.importorskip("skimage")
    spec = LocalBinaryPatterns(side=64, grid=2)
    image = spec.prepare(photo("chelsea"))
    other = image.copy()
    other[40:60, 4:24] = np.random.default_rng(0).integers(0, 256, (20, 20, 3))
    residual = spec.describe(other).astype(float) - spec.describe(image)
    attribution = spec.attribution_map(other, residual, np.zeros_like(residual), 1.0)
    assert attribution[1, 0] > 0
    assert attribution.sum() == attribution[1, 0]


@given(small, st.integers(0, 60))
def test_patterns_are_invariant_to_brightness(image: PixelArray, more: int) -> None:
    """Gray values between 0 and 190, all raised by the same: the same histograms, except for ties."""
    pytest.importorskip("skimage")
    gray = np.repeat(image[:, :, :1] % 190, 3, axis=2).astype(np.uint8)
    spec = LocalBinaryPatterns(side=16, grid=1)
    before, after = spec.describe(gray), spec.describe((gray + more).astype(np.uint8))
    assert np.abs(before[:10] - after[:10]).sum() <= 0.05
    for histogram in (before, after):
        assert histogram[:10].sum() == pytest.approx(1, rel=1e-6)
        assert histogram[10:28].sum() == pytest.approx(1, rel=1e-6)
        assert histogram[28:].sum() == pytest.approx(1, rel=1e-6)


def test_patterns_are_invariant_to_a_quarter_turn() -> None:
    """A rotated image has the same histograms, except for ties."""
    pytest.importorskip("skimage")
    spec = LocalBinaryPatterns(side=64, grid=1)
    image = spec.prepare(photo("chelsea"))
    rotated = spec.describe(np.ascontiguousarray(np.rot90(image)))
    assert np.abs(rotated - spec.describe(image)).sum() < 0.02


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_plain_image_has_one_pattern(value: int) -> None:
    """If nothing differs every point is as bright as the center: patterns 8, 16 and 24, also at the border."""
    pytest.importorskip("skimage")
    histogram = LocalBinaryPatterns(side=16, grid=1).describe(np.full((16, 16, 3), value, np.uint8))
    assert np.flatnonzero(histogram).tolist() == [8, 10 + 16, 28 + 24]
    assert histogram[[8, 26, 52]].tolist() == [1, 1, 1]


# Histograms of oriented gradients.


def test_the_gradients_of_an_upright_edge() -> None:
    """An edge within the right two of four cells: a horizontal gradient, so two bins of 36, equal, of length 1."""
    pytest.importorskip("skimage")
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 24:] = 200
    features = OrientedGradients(side=32).describe(image).reshape(2, 2, 9)
    expected = np.zeros((2, 2, 9))
    expected[:, 1, 0] = math.sqrt(0.5)
    np.testing.assert_allclose(features, expected, atol=1e-6)
    transposed = OrientedGradients(side=32).describe(image.transpose(1, 0, 2)).reshape(2, 2, 9)
    expected = np.zeros((2, 2, 9))
    expected[1, :, 4] = math.sqrt(0.5)  # 90°, of nine bins of 20°
    np.testing.assert_allclose(transposed, expected, atol=1e-6)


@given(arrays(np.uint8, (16, 16, 3), elements=st.integers(0, 63)), st.integers(2, 4), st.integers(0, 3))
def test_gradients_are_invariant_to_contrast_and_brightness(image: PixelArray, times: int, more: int) -> None:
    """Values in 0…63, multiplied by 2 to 4 and raised: the same features, each block at most 1 long."""
    pytest.importorskip("skimage")
    spec = OrientedGradients(side=16, cell=4)
    before, after = spec.describe(image), spec.describe((image * times + more).astype(np.uint8))
    np.testing.assert_allclose(before, after, atol=1e-4)
    assert (np.linalg.norm(before.reshape(9, 36), axis=1) <= 1 + 1e-5).all()


def test_the_color_with_the_strongest_gradient_counts() -> None:
    """An edge in blue alone is an edge, and weaker ones in other colors do not count."""
    pytest.importorskip("skimage")
    spec = OrientedGradients(side=32)
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 24:, 2] = 200
    alone = spec.describe(image)
    assert alone.any()
    image[:, 24:, 0] = 90
    np.testing.assert_array_equal(spec.describe(image), alone)


def test_the_map_sums_the_energy_of_the_blocks_of_a_cell() -> None:
    """A residual in the lower right cell of the first of nine blocks is at cell (1, 1); all of them sum to it."""
    spec = OrientedGradients(side=64)
    residual = np.zeros((3, 3, 2, 2, 9))
    residual[0, 0, 1, 1] = 1
    attribution = spec.attribution_map(np.zeros((64, 64, 3), np.uint8), residual.ravel(), np.zeros(324), 1.0)
    expected = np.zeros((4, 4))
    expected[1, 1] = 9
    np.testing.assert_array_equal(attribution, expected)
    residual[0, 0, 0, 1] = 2
    attribution = spec.attribution_map(np.zeros((64, 64, 3), np.uint8), residual.ravel(), np.zeros(324), 1.0)
    expected[0, 1] = 36
    np.testing.assert_array_equal(attribution, expected)
    attribution = spec.attribution_map(np.zeros((64, 64, 3), np.uint8), np.ones(324), np.zeros(324), 1.0)
    np.testing.assert_array_equal(attribution, 9.0 * np.outer([1, 2, 2, 1], [1, 2, 2, 1]))  # blocks that a cell is in


# Visual words.

WORDS = SiftWords(words=20, side=96, keypoints=40, descriptors=600)


def ignore_progress(share: float) -> None:
    """Do nothing."""


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> SiftWords:
    """`WORDS` with a vocabulary learned from twelve images of patches."""
    pytest.importorskip("cv2")
    pytest.importorskip("sklearn")
    return learn_words(WORDS, tmp_path_factory.mktemp("words"))


def learn_words(spec: SiftWords, folder: Path) -> SiftWords:
    place = Location.parse(folder)
    place.write("words.safetensors", spec.learn(patches(12, spec.side), place, ignore_progress))
    return spec.with_weights(f"{place.url}/words.safetensors")


def test_histograms_count_the_nearest_words(vocabulary: SiftWords) -> None:
    """Each descriptor counts for the word that a full search finds; the counts are divided by their sum."""
    images, words, describe = (
        patches(4, 96, seed=1),
        visual_words.load_vocabulary(vocabulary),
        vocabulary.build_describer(),
    )
    features = vocabulary.load()(images)
    for image, row in zip(images, features, strict=True):
        counts = [0] * 20
        for descriptor in describe(image):
            gaps = [sum((float(a) - float(b)) ** 2 for a, b in zip(descriptor, word, strict=True)) for word in words]
            counts[gaps.index(min(gaps))] += 1
        np.testing.assert_allclose(row, np.array(counts) / sum(counts), rtol=1e-6)
        assert sum(counts) > 5


def test_an_image_without_key_points_is_zero(vocabulary: SiftWords) -> None:
    """A plain image has no words: a row of zeros, also among others."""
    images = patches(3, 96, seed=2)
    images[1] = 77
    features = vocabulary.load()(images)
    assert not features[1].any()
    np.testing.assert_allclose(features[[0, 2]].sum(axis=1), 1, rtol=1e-6)


def test_words_are_invariant_to_translation(vocabulary: SiftWords) -> None:
    """The same patches, moved by some pixels within a plain image, have the same words."""
    image = np.full((96, 96, 3), 110, np.uint8)
    image[30:60, 30:60] = patches(1, 30, seed=3)[0]
    moved = np.roll(image, (8, -12), axis=(0, 1))
    words, of_moved = vocabulary.load()(np.stack([image, moved]))
    assert words.sum() == pytest.approx(1)
    np.testing.assert_allclose(words, of_moved, atol=1e-6)


def test_the_strongest_key_points_are_kept() -> None:
    """Never more than `keypoints`; and fewer of them are a subset of more."""
    pytest.importorskip("cv2")
    image = patches(1, 128, seed=4)[0]
    many, few = (SiftWords(side=128, keypoints=count).build_describer()(image) for count in (500, 7))
    assert len(few) == 7 < len(many)
    assert many.dtype == np.uint8
    assert {bytes(row) for row in few} <= {bytes(row) for row in many}
    again = SiftWords(side=128, keypoints=len(many)).build_describer()(image)
    assert sorted(map(bytes, many)) == sorted(map(bytes, again))


def test_no_more_key_points_are_kept_if_some_are_equally_strong() -> None:
    """OpenCV keeps all that are as strong as the last one; here the number is exact."""
    cv2 = pytest.importorskip("cv2")
    image = np.full((160, 160, 3), 110, np.uint8)
    for top in range(20, 160, 40):
        for left in range(20, 160, 40):
            image[top : top + 6, left : left + 6] = 150
    image[60:66, 60:66] = 230
    points = cv2.SIFT.create(nfeatures=5).detect(convert_to_gray(image), None)
    assert len(points) == 64  # four directions of the bright patch, and four of each of fifteen others, all alike
    descriptors = SiftWords(side=160, keypoints=5).build_describer()(image)
    assert len(descriptors) == 5
    strongest = SiftWords(side=160, keypoints=4).build_describer()(image)
    assert sorted(map(bytes, strongest)) == sorted(map(bytes, descriptors[:4]))


def test_descriptors_are_integers_up_to_255() -> None:
    """OpenCV returns SIFT's descriptors as floats that are bytes, so storing bytes loses nothing."""
    cv2 = pytest.importorskip("cv2")
    _, descriptors = cv2.SIFT.create().detectAndCompute(convert_to_gray(patches(1, 128, seed=4)[0]), None)
    np.testing.assert_array_equal(descriptors, descriptors.astype(np.uint8))


@given(arrays(np.uint8, (2, 128), elements=st.integers(0, 255)))
def test_root_sift_gives_hellingers_distance(pair: npt.NDArray[np.uint8]) -> None:
    """The squared distance of two roots is 2 − 2 Σ √(p q) of the shares p and q."""
    pair[:, 0] = np.maximum(pair[:, 0], 1)
    p, q = (row / row.sum() for row in pair.astype(float))
    root, other_root = SiftWords(root=True).transform_descriptors(pair).astype(float)
    assert np.square(root - other_root).sum() == pytest.approx(2 - 2 * np.sqrt(p * q).sum(), abs=1e-5)
    np.testing.assert_array_equal(SiftWords().transform_descriptors(pair), pair)


class Killed(Exception):
    """Interrupts a call."""


def test_interrupted_learning_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the descriptors and called again: nothing is described again."""
    pytest.importorskip("sklearn")
    images, shares = patches(12, 96), list[float]()
    straight = WORDS.learn(images, Location.parse(tmp_path / "straight"), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1

    def kill(share: float) -> None:
        if share >= 0.7:
            raise Killed

    place = Location.parse(tmp_path / "interrupted")
    with pytest.raises(Killed):
        WORDS.learn(images, place, kill)
    monkeypatch.setattr(SiftWords, "build_describer", lambda _: pytest.fail("described again"))
    assert WORDS.with_weights("of an earlier vocabulary").learn(images, place, ignore_progress) == straight
    monkeypatch.undo()
    other = SiftWords(**(vars(WORDS) | {"keypoints": 9}))  # its descriptors are stored next to the first ones
    assert (
        other.learn(images, place, ignore_progress)
        == other.learn(images, Location.parse(tmp_path / "other"), ignore_progress)
        != straight
    )
    assert WORDS.learn(patches(12, 96, seed=9), place, ignore_progress) != straight


def test_words_depend_on_the_seed_and_the_images_only(tmp_path: Path) -> None:
    """The same make the same words, in whatever location."""
    pytest.importorskip("sklearn")
    images = patches(12, 96)

    def learned(spec: SiftWords, used_images: PixelArray, name: str) -> bytes:
        return spec.learn(used_images, Location.parse(tmp_path / name), ignore_progress)

    first = learned(WORDS, images, "a")
    assert learned(WORDS.with_weights("elsewhere"), images, "b") == first
    assert learned(SiftWords(**(vars(WORDS) | {"seed": 1})), images, "c") != first
    assert learned(WORDS, images[:9], "d") != first


def test_at_most_sample_images_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And at most `descriptors` descriptors are kept."""
    pytest.importorskip("sklearn")
    spec = SiftWords(words=5, side=96, sample=6, descriptors=37)
    described: list[PixelArray] = []
    build_describer: Callable[[SiftWords], Callable[[PixelArray], PixelArray]] = SiftWords.build_describer

    def counting(self: SiftWords) -> Callable[[PixelArray], PixelArray]:
        describe = build_describer(self)
        return lambda image: described.append(image) or describe(image)  # type: ignore[func-returns-value]

    monkeypatch.setattr(SiftWords, "build_describer", counting)
    place = Location.parse(tmp_path)
    spec.learn(patches(15, 96), place, ignore_progress)
    assert len(described) == 6
    from safetensors.numpy import load

    (name,) = place.list_names()
    descriptors = load(place.read(name))["descriptors"]
    assert descriptors.shape == (36, 128)  # six of each


@pytest.mark.parametrize("images", [np.full((3, 96, 96, 3), 50, np.uint8), patches(1, 96)[:, :40, :40]])
def test_images_with_too_few_descriptors_are_refused(tmp_path: Path, images: PixelArray) -> None:
    """So are images of another size."""
    pytest.importorskip("cv2")
    with pytest.raises(PlanError, match=r"descriptors, fewer than|must be prepared"):
        WORDS.learn(images, Location.parse(tmp_path), ignore_progress)


def test_a_vocabulary_of_other_settings_is_refused(vocabulary: SiftWords, tmp_path: Path) -> None:
    """Another number of words, roots, or no words at all: with the address and what to do."""
    whole = Path(vocabulary.vocabulary).read_bytes()
    for changes in ({"words": 21}, {"root": True}):
        with pytest.raises(WeightsError, match=r"words\.safetensors is a vocabulary of other settings.*learn it again"):
            SiftWords(**(vars(vocabulary) | changes)).load()
    for name, content in {
        "cut": whole[:-40],
        "void": b"",
        "text": b"no words at all, but long enough",
        "head": whole[:90],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} is not a vocabulary"):
            vocabulary.with_weights(str(tmp_path / name)).load()


def test_without_a_vocabulary_there_are_no_features() -> None:
    """The error names the command that learns one."""
    with pytest.raises(WeightsError, match="sift-words must be learned from a collection first"):
        SiftWords().load()
