"""The contract of every inverter: laws over every member of `Inverter`, with few steps each."""

import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from interpdisc_core import plan
from interpdisc_core._types import PixelArray
from interpdisc_core.errors import InterpdiscError, PlanError
from interpdisc_core.inverters import Gradient, Inverter, Refined, UpConv
from interpdisc_core.inverters.checkpoint import CheckpointMetadata, pack_checkpoint
from interpdisc_core.inverters.generators import LightGenerator
from interpdisc_core.representations import EfficientNetLite0, PixelValues, digest_features

MEMBERS: tuple[type, ...] = get_args(get_args(Inverter)[0])
MakeSettings = Callable[[str], Any]
"""MakeSettings, from the address of a checkpoint for SPEC."""
SETTINGS: dict[type, list[MakeSettings]] = {
    Gradient: [
        lambda path: Gradient(size=32, steps=12),
        lambda path: Gradient(size=16, steps=5),
        lambda path: Gradient(size=33, steps=7, variation=0.0),
    ],
    UpConv: [lambda path: UpConv(checkpoint=path)],
    Refined: [
        lambda path: Refined(start=UpConv(checkpoint=path), refine=Gradient(size=32, steps=2)),
        lambda path: Refined(start=UpConv(checkpoint=path), refine=Gradient(size=64, steps=4)),
    ],
}
THOROUGH_SETTINGS: dict[type, MakeSettings] = {
    Gradient: lambda path: Gradient(size=32, steps=60),
    Refined: lambda path: Refined(start=UpConv(checkpoint=path), refine=Gradient(size=32, steps=200)),
}
"""MakeSettings with which a picture resembles what was inverted, even from an untrained checkpoint."""
INVALID_SETTINGS: dict[type, list[dict[str, Any]]] = {
    Gradient: [
        {"size": 15},
        {"size": 513},
        {"size": 0},
        {"size": -1},
        {"steps": 0},
        {"steps": -3},
        {"variation": -0.1},
        {"variation": float("nan")},
        {"variation": float("inf")},
    ],
    UpConv: [],
    Refined: [],
}
EVERY = [settings for member in MEMBERS for settings in SETTINGS.get(member, [])]
over_all = pytest.mark.parametrize("inverter", EVERY, indirect=True, ids=lambda settings: repr(settings("a")))
over_thorough = pytest.mark.parametrize("member", THOROUGH_SETTINGS, ids=lambda member: member.__name__)
over_normalisations = pytest.mark.parametrize("normalise", ["none", "l2"])
SPEC = PixelValues(side=8)
CLOSE = 1.0
"""Largest effect of rounding on a picture in another minibatch, in levels of 255 in the mean."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Blind:
    """A representation without a gradient."""

    kind: ClassVar = "blind"
    side: ClassVar = 8

    def build_network(self) -> None:
        return None


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint for SPEC of an untrained network; its pictures have some contrast."""
    import torch

    torch.manual_seed(0)
    generator = LightGenerator(cells=8, size=64)
    weights = {f"generator.{name}": value.contiguous() for name, value in generator.build(192).state_dict().items()}
    last = [name for name in weights if name.endswith("weight")][-1]
    weights |= {last: 5 * weights[last], "mean": torch.full((192,), 0.5), "spread": torch.full((192,), 0.25)}
    lengths = np.linalg.norm(vectors_of(SPEC), axis=1)
    metadata = CheckpointMetadata(
        features=digest_features(SPEC),
        representation=asdict(SPEC),
        generator=generator,
        dimension=192,
        length=float(lengths.mean()),
    )
    path = tmp_path_factory.mktemp("checkpoint") / "a.safetensors"
    path.write_bytes(pack_checkpoint(weights, metadata))
    return str(path)


@pytest.fixture
def inverter(request: pytest.FixtureRequest, checkpoint: str) -> Any:
    return request.param(checkpoint)


def optimizer_of(inverter: Any) -> Any:
    """Its settings of the optimizer, if it has one."""
    return getattr(inverter, "refine", None if isinstance(inverter, UpConv) else inverter)


def size_of(inverter: Any) -> int:
    """Pixels a side of its pictures; those of the checkpoint have 64."""
    return getattr(optimizer_of(inverter), "size", 64)


def make_shapes(side: int, count: int = 5) -> PixelArray:
    """Prepared images (count ≤ 5, side, side, 3) of large shapes, each of two colors near gray."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    disc = np.where(np.hypot(x - 0.5, y - 0.5) < 0.3, 1.0, 0.0)
    shades = [x, y, 1 - x, np.where(y > x, 1.0, 0.0), disc]
    tints = np.random.default_rng(40).uniform(-20, 20, (5, 2, 3)) + np.array([45.0, 210.0])[:, None]
    images = [shade[:, :, None] * (b - a) + a for shade, (a, b) in zip(shades, tints, strict=True)]
    return np.stack(images[:count]).clip(0, 255).astype(np.uint8)


def encoded(spec: Any, normalise: str, images: PixelArray) -> Floats:
    """Features of prepared images."""
    features: Floats = spec.load("cpu")(images).astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True) if normalise == "l2" else features


def vectors_of(spec: Any, normalise: str = "none", count: int = 5) -> Floats:
    """Features (count, d) of `make_shapes`."""
    return encoded(spec, normalise, make_shapes(spec.side, count))


def gap(picture: PixelArray, reference: PixelArray) -> float:
    """Mean difference, in levels of 255."""
    return float(np.abs(picture.astype(float) - reference.astype(float)).mean())


def small(picture: PixelArray, side: int) -> PixelArray:
    """A picture at another size."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))


def test_every_inverter_has_settings_here() -> None:
    assert set(SETTINGS) == set(INVALID_SETTINGS) == set(MEMBERS)
    assert set(MEMBERS) - set(THOROUGH_SETTINGS) == {UpConv}  # what a network learns is tested with its training


# Pictures


@over_all
@over_normalisations
def test_vectors_become_pictures(inverter: Any, normalise: str) -> None:
    """(n, d) -> (n, size, size, 3) uint8, also for no vector; different vectors give different pictures."""
    invert = inverter.load(SPEC, normalise)
    for count in (0, 1, 5):
        pictures = invert(vectors_of(SPEC, normalise)[:count])
        assert pictures.shape == (count, size_of(inverter), size_of(inverter), 3)
        assert pictures.dtype == np.uint8
        assert len({picture.tobytes() for picture in pictures}) == count


@over_all
def test_a_picture_does_not_depend_on_other_vectors(inverter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, among others, and beyond the size of a minibatch: the same picture, except for rounding."""
    from interpdisc_core.inverters import upconv

    monkeypatch.setattr(upconv, "UPCONV_MINIBATCH", 16)
    vectors = np.concatenate([vectors_of(SPEC), np.random.default_rng(41).uniform(0, 1, (14, 192))])
    invert = inverter.load(SPEC, "none")
    together = invert(vectors)
    for row in (0, 4, 15, 16, 18):
        assert gap(invert(vectors[row : row + 1])[0], together[row]) <= CLOSE
    assert gap(invert(vectors[2:5]), together[2:5]) <= CLOSE


@over_all
def test_the_order_of_vectors_does_not_matter(inverter: Any) -> None:
    """Permuted vectors have the permuted pictures, also next to copies of themselves."""
    vectors, order = vectors_of(SPEC), np.array([3, 0, 4, 2, 1])
    invert = inverter.load(SPEC, "none")
    straight = invert(vectors)
    for picture, row in zip(invert(vectors[order]), order, strict=True):
        assert gap(picture, straight[row]) <= CLOSE
    for picture in invert(vectors[[2, 2, 2]]):
        assert gap(picture, straight[2]) <= CLOSE


@over_all
@over_normalisations
def test_the_same_vector_has_the_same_picture(inverter: Any, normalise: str) -> None:
    """Again, and with a function that is loaded again: to the bit."""
    vectors = vectors_of(SPEC, normalise, 2)
    invert = inverter.load(SPEC, normalise)
    first = invert(vectors)
    np.testing.assert_array_equal(invert(vectors), first)
    np.testing.assert_array_equal(inverter.load(SPEC, normalise)(vectors), first)


@over_all
def test_global_random_states_are_neither_read_nor_changed(inverter: Any) -> None:
    """Those of NumPy and PyTorch."""
    import torch

    vectors = vectors_of(SPEC, count=1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    first, after = inverter.load(SPEC, "none")(vectors), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(inverter.load(SPEC, "none")(vectors), first)


@over_all
def test_the_vectors_are_not_changed(inverter: Any) -> None:
    """They may be read-only, and are the same afterwards; strides and float32 do not matter."""
    vectors = vectors_of(SPEC, count=2)
    vectors.flags.writeable = False
    before = vectors.tobytes()
    invert = inverter.load(SPEC, "none")
    pictures = invert(vectors)
    assert vectors.tobytes() == before
    assert gap(invert(np.asfortranarray(vectors)), pictures) <= CLOSE
    assert gap(invert(vectors.astype(np.float32).astype(np.float64)), pictures) <= CLOSE


@over_all
@over_normalisations
def test_vectors_that_belong_to_no_image_give_pictures(inverter: Any, normalise: str) -> None:
    """0, near 0, and far from every image: a picture, without a warning; other pictures are not affected."""
    invert, vector = inverter.load(SPEC, normalise), vectors_of(SPEC, normalise)[0]
    alone = invert(vector[None])
    for value in (0.0, 1e-30, -1.0, 1e6):
        with np.errstate(all="raise"):
            pictures = invert(np.stack([np.full(192, value), vector]))
        assert pictures.shape == (2, size_of(inverter), size_of(inverter), 3)
        assert gap(pictures[1], alone[0]) <= CLOSE
        assert gap(pictures[0], pictures[1]) > CLOSE


# Resemblance


def resemble(inverter: Any, spec: Any, normalise: str, images: PixelArray) -> tuple[Floats, Floats]:
    """Pictures of the images' features: how far each (row) is from each image (column), in pixels and in features."""
    vectors = encoded(spec, normalise, images)
    pictures = inverter.load(spec, normalise)(vectors)
    codes = encoded(spec, normalise, np.stack([spec.prepare(picture) for picture in pictures]))
    away = np.array([[gap_of(small(p, 8), small(i, 8), normalise) for i in images] for p in pictures])
    return away, np.linalg.norm(codes[:, None] - vectors[None], axis=2)


def nearest(distances: Floats) -> list[int]:
    """The image that each picture is nearest to."""
    return [int(image) for image in distances.argmin(axis=1)]


def gap_of(picture: PixelArray, image: PixelArray, normalise: str) -> float:
    """Distance of two small pictures; of their directions for `l2`, since lengths are not in the vectors then."""
    vector, reference = picture.astype(float).ravel(), image.astype(float).ravel()
    if normalise == "l2":
        vector, reference = vector / np.linalg.norm(vector), reference / np.linalg.norm(reference)
    return float(np.linalg.norm(vector - reference))


@over_thorough
@over_normalisations
def test_a_picture_resembles_its_image(member: type, normalise: str, checkpoint: str) -> None:
    """Pixel values leave nothing open, so the image itself comes back, approximately."""
    for distances in resemble(THOROUGH_SETTINGS[member](checkpoint), SPEC, normalise, make_shapes(8)):
        assert nearest(distances) == [0, 1, 2, 3, 4], distances
        others = np.where(np.eye(5, dtype=bool), np.inf, distances).min(axis=1)
        assert (np.diag(distances) < 0.7 * others).all(), distances


@over_thorough
def test_more_steps_are_nearer_to_the_features(member: type, checkpoint: str) -> None:
    """The thorough settings come nearer to the features than few steps do."""
    vectors = vectors_of(SPEC)
    away = []
    for settings in (SETTINGS[member][0], THOROUGH_SETTINGS[member]):
        pictures = settings(checkpoint).load(SPEC, "none")(vectors)
        codes = SPEC.load()(np.stack([SPEC.prepare(picture) for picture in pictures]))
        away.append(float(np.linalg.norm(codes - vectors)))
    assert away[1] < 0.8 * away[0]


@pytest.mark.slow
@over_normalisations
def test_pictures_of_a_network_are_nearest_to_their_own_photos(normalise: str) -> None:
    """EfficientNet-lite0: a picture's features are nearer to those of its photo than to any other's."""
    data, spec = pytest.importorskip("skimage.data"), EfficientNetLite0()
    photos = np.stack([spec.prepare(photo()) for photo in (data.astronaut, data.coffee, data.chelsea)])
    _, apart = resemble(replace(THOROUGH_SETTINGS[Gradient](""), size=64), spec, normalise, photos)
    assert nearest(apart) == [0, 1, 2], apart


@pytest.mark.slow
def test_pictures_of_a_network_are_repeatable() -> None:
    """The same vectors give the same pictures to the bit, also from a function that is loaded again."""
    inverter, spec = SETTINGS[Gradient][0](""), EfficientNetLite0()
    vectors = vectors_of(spec)[:3]
    pictures = inverter.load(spec, "none")(vectors)
    assert np.array_equal(inverter.load(spec, "none")(vectors), pictures)


# Progress


@over_all
@pytest.mark.parametrize("count", [0, 1, 18])
def test_progress_rises_to_1(inverter: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares between 0 and 1 that never fall, the last of them 1; reporting changes nothing in the pictures."""
    from interpdisc_core.inverters import gradient

    monkeypatch.setattr(gradient, "REPORT_SECONDS", 0.0)
    vectors = np.random.default_rng(42).uniform(0, 1, (count, 192))
    shares: list[float] = []
    pictures = inverter.load(SPEC, "none", shares.append)(vectors)
    assert shares == sorted(shares)
    assert all(0 < share <= 1 for share in shares)
    assert shares[-1] == 1.0
    assert shares.count(1.0) == 1
    assert len(shares) >= min(count, 1) * getattr(optimizer_of(inverter), "steps", 1)
    np.testing.assert_array_equal(inverter.load(SPEC, "none")(vectors), pictures)


@over_all
def test_progress_of_a_second_call_starts_again(inverter: Any) -> None:
    """One function may be used for several batches of vectors."""
    shares: list[float] = []
    invert = inverter.load(SPEC, "none", shares.append)
    for _ in range(2):
        shares.clear()
        invert(vectors_of(SPEC, count=1))
        assert shares[-1] == 1.0


# Settings


@over_all
def test_settings_go_through_a_plan_and_a_pickle_unchanged(inverter: Any) -> None:
    """MakeSettings are frozen, hashable and picklable, and go through a plan's JSON with the same digest."""
    assert pickle.loads(pickle.dumps(inverter)) == inverter
    assert hash(inverter) == hash(pickle.loads(pickle.dumps(inverter)))
    with pytest.raises(AttributeError):
        inverter.kind = "other"
    whole = plan.Plan(inverter=inverter)
    again = plan.parse_plan(plan.plan_to_json(whole))
    assert again == whole
    assert again.digest == whole.digest
    assert type(again.inverter) is type(inverter)


def test_different_settings_have_different_digests(checkpoint: str) -> None:
    """No two of the settings above share a digest or a name; features do not depend on them."""
    plans = [plan.Plan(representation=SPEC, inverter=settings(checkpoint)) for settings in EVERY]
    assert (
        len({plan_.digest for plan_ in plans})
        == len({plan_.rendering.compute_digest(SPEC) for plan_ in plans})
        == len(EVERY)
    )
    assert len({plan_.features_digest for plan_ in plans}) == 1


@over_all
def test_the_digest_of_weights_is_that_of_their_content(inverter: Any, checkpoint: str, tmp_path: Path) -> None:
    """Wherever they are; empty for an inverter without weights, and if they cannot be read."""
    digest = inverter.digest_weights(SPEC)
    assert (digest == "") == isinstance(inverter, Gradient)
    if isinstance(inverter, Gradient):
        return
    vectors, data = vectors_of(SPEC, count=2), Path(checkpoint).read_bytes()
    path = tmp_path / "b.safetensors"
    start = UpConv(checkpoint=str(path))
    moved = replace(inverter, start=start) if isinstance(inverter, Refined) else start
    path.write_bytes(data)
    assert moved.digest_weights(SPEC) == digest
    first = moved.load(SPEC, "none")(vectors)
    np.testing.assert_array_equal(first, inverter.load(SPEC, "none")(vectors))
    path.write_bytes(data[:-400] + np.full(100, 3, dtype="<f4").tobytes())
    assert moved.digest_weights(SPEC) != digest
    assert not np.array_equal(moved.load(SPEC, "none")(vectors), first)  # the old network is not used
    (tmp_path / "b.safetensors").unlink()
    assert moved.digest_weights(SPEC) == ""


@over_all
def test_l2_normalized_vectors_are_rendered_at_the_mean_length(inverter: Any, checkpoint: str) -> None:
    """`l2`: the picture of a vector of the mean length is that of the vector itself."""
    vectors = vectors_of(SPEC, count=1)
    unit = vectors / np.linalg.norm(vectors)
    length = np.linalg.norm(vectors_of(SPEC), axis=1).mean()
    pictures = inverter.load(SPEC, "l2")(unit)
    np.testing.assert_array_equal(inverter.load(SPEC, "l2")(unit), pictures)
    if isinstance(inverter, UpConv):
        assert gap(pictures, inverter.load(SPEC, "none")(unit * length)) <= CLOSE


@over_all
def test_a_misspelt_setting_is_refused(inverter: Any) -> None:
    """A setting that does not exist is an error that names it, never ignored."""
    value = plan.plan_to_json(plan.Plan(inverter=inverter))
    value["inverter"]["stesp"] = 3
    with pytest.raises(PlanError, match="stesp"):
        plan.parse_plan(value)


@pytest.mark.parametrize(
    ("member", "changes"),
    [(member, changes) for member in MEMBERS for changes in INVALID_SETTINGS.get(member, [])],
    ids=repr,
)
def test_settings_outside_their_range_are_refused(member: type, changes: dict[str, Any]) -> None:
    """Directly and as part of a plan."""
    with pytest.raises(PlanError, match="must be"):
        member(**changes)
    value = plan.plan_to_json(plan.Plan(inverter=SETTINGS[member][0]("")))
    value["inverter"] |= changes
    with pytest.raises(PlanError):
        plan.parse_plan(value)


@over_all
def test_a_representation_without_a_gradient_is_refused_by_name(inverter: Any) -> None:
    """When the inverter is loaded."""
    with pytest.raises(InterpdiscError, match="blind"):
        inverter.load(Blind(), "none")
