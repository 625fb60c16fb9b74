"""What every inverter promises, over every member of `Inverter`, with few steps each."""

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
from interpdisc_core.errors import InterpdiscError, PlanError
from interpdisc_core.images import Pixels
from interpdisc_core.inverters import Gradient, Inverter, Refined, UpConv
from interpdisc_core.inverters.checkpoint import Card, pack
from interpdisc_core.inverters.generators import LightGenerator
from interpdisc_core.representations import EfficientNetLite0, PixelValues, features_of

MEMBERS: tuple[type, ...] = get_args(get_args(Inverter)[0])
Settings = Callable[[str], Any]
"""Settings, from the address of a checkpoint for SPEC."""
SETTINGS: dict[type, list[Settings]] = {
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
THOROUGH: dict[type, Settings] = {
    Gradient: lambda path: Gradient(size=32, steps=60),
    Refined: lambda path: Refined(start=UpConv(checkpoint=path), refine=Gradient(size=32, steps=200)),
}
"""Settings with which a picture is to resemble what was inverted, be the checkpoint as bad as it may."""
MEANINGLESS: dict[type, list[dict[str, Any]]] = {
    Gradient: [
        {"size": 15}, {"size": 513}, {"size": 0}, {"size": -1}, {"steps": 0}, {"steps": -3}, {"variation": -0.1},
        {"variation": float("nan")}, {"variation": float("inf")},
    ],
    UpConv: [],
    Refined: [],
}  # fmt: skip
EVERY = [settings for member in MEMBERS for settings in SETTINGS.get(member, [])]
over_all = pytest.mark.parametrize("inverter", EVERY, indirect=True, ids=lambda settings: repr(settings("a")))
over_thorough = pytest.mark.parametrize("member", THOROUGH, ids=lambda member: member.__name__)
over_normalisations = pytest.mark.parametrize("normalise", ["none", "l2"])
SPEC = PixelValues(side=8)
CLOSE = 1.0
"""Levels of 255 in the mean: what rounding may make of a picture in another batch."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Blind:
    """A representation that has no gradient."""

    kind: ClassVar = "blind"
    side: ClassVar = 8

    def network(self) -> None:
        return None


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint for SPEC of a network that nobody trained; its pictures have some contrast."""
    import torch

    torch.manual_seed(0)
    generator = LightGenerator(cells=8, size=64)
    weights = {f"generator.{name}": value.contiguous() for name, value in generator.build(192).state_dict().items()}
    last = [name for name in weights if name.endswith("weight")][-1]
    weights |= {last: 5 * weights[last], "mean": torch.full((192,), 0.5), "spread": torch.full((192,), 0.25)}
    lengths = np.linalg.norm(vectors_of(SPEC), axis=1)
    card = Card(
        features=features_of(SPEC), representation=asdict(SPEC), generator=generator, dimension=192,
        length=float(lengths.mean()),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("checkpoint") / "a.safetensors"
    path.write_bytes(pack(weights, card))
    return str(path)


@pytest.fixture
def inverter(request: pytest.FixtureRequest, checkpoint: str) -> Any:
    return request.param(checkpoint)


def optimiser_of(inverter: Any) -> Any:
    """Its settings of the optimiser; None where it has none."""
    return getattr(inverter, "refine", None if isinstance(inverter, UpConv) else inverter)


def size_of(inverter: Any) -> int:
    """Pixels a side of its pictures; 64 is that of the checkpoint."""
    return getattr(optimiser_of(inverter), "size", 64)


def forms(side: int, count: int = 5) -> Pixels:
    """Prepared images (count ≤ 5, side, side, 3) of large forms, of two colours each that are next to grey."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    disc = np.where(np.hypot(x - 0.5, y - 0.5) < 0.3, 1.0, 0.0)
    shades = [x, y, 1 - x, np.where(y > x, 1.0, 0.0), disc]
    tints = np.random.default_rng(40).uniform(-20, 20, (5, 2, 3)) + np.array([45.0, 210.0])[:, None]
    made = [shade[:, :, None] * (b - a) + a for shade, (a, b) in zip(shades, tints, strict=True)]
    return np.stack(made[:count]).clip(0, 255).astype(np.uint8)


def encoded(spec: Any, normalise: str, images: Pixels) -> Floats:
    """Features of prepared images."""
    made: Floats = spec.load("cpu")(images).astype(np.float64)
    return made / np.linalg.norm(made, axis=1, keepdims=True) if normalise == "l2" else made


def vectors_of(spec: Any, normalise: str = "none", count: int = 5) -> Floats:
    """Features (count, d) of `forms`."""
    return encoded(spec, normalise, forms(spec.side, count))


def gap(one: Pixels, other: Pixels) -> float:
    """Mean difference, in levels of 255."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def small(picture: Pixels, side: int) -> Pixels:
    """A picture at another size."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))


def test_every_inverter_is_here() -> None:
    """A new member of the union is tested: give it settings above."""
    assert set(SETTINGS) == set(MEANINGLESS) == set(MEMBERS)
    assert set(MEMBERS) - set(THOROUGH) == {UpConv}  # what a network learns is tested where it is trained


# ------------------------------------------------------------------------------------------------------ pictures


@over_all
@over_normalisations
@pytest.mark.parametrize("count", [0, 1, 5])
def test_vectors_become_pictures(inverter: Any, normalise: str, count: int) -> None:
    """(n, d) -> (n, size, size, 3) uint8, for no vector too; different vectors, different pictures."""
    pictures = inverter.load(SPEC, normalise)(vectors_of(SPEC, normalise)[:count])
    assert pictures.shape == (count, size_of(inverter), size_of(inverter), 3)
    assert pictures.dtype == np.uint8
    assert len({picture.tobytes() for picture in pictures}) == count


@over_all
def test_a_picture_does_not_depend_on_its_neighbours(inverter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, among others, and beyond the size of an inner batch: the same picture, but for rounding."""
    from interpdisc_core.inverters import upconv

    monkeypatch.setattr(upconv, "BATCH", 16)
    vectors = np.concatenate([vectors_of(SPEC), np.random.default_rng(41).uniform(0, 1, (14, 192))])
    invert = inverter.load(SPEC, "none")
    together = invert(vectors)
    for row in (0, 4, 15, 16, 18):
        assert gap(invert(vectors[row : row + 1])[0], together[row]) <= CLOSE
    assert gap(invert(vectors[2:5]), together[2:5]) <= CLOSE


@over_all
def test_the_order_does_not_matter(inverter: Any) -> None:
    """Permuted vectors have the permuted pictures, also beside copies of themselves."""
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
    """Again, and with a function that is loaded anew: to the last bit."""
    vectors = vectors_of(SPEC, normalise, 2)
    invert = inverter.load(SPEC, normalise)
    first = invert(vectors)
    np.testing.assert_array_equal(invert(vectors), first)
    np.testing.assert_array_equal(inverter.load(SPEC, normalise)(vectors), first)


@over_all
def test_chance_elsewhere_does_not_matter(inverter: Any) -> None:
    """Neither the state of NumPy's and PyTorch's random numbers is read, nor is it changed."""
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
@pytest.mark.parametrize("value", [0.0, 1e-30, -1.0, 1e6])
def test_vectors_of_no_image(inverter: Any, normalise: str, value: float) -> None:
    """Zero, next to zero, and far from every image: a picture, without a warning; its neighbours are not hurt."""
    vectors = np.stack([np.full(192, value), vectors_of(SPEC, normalise)[0]])
    with np.errstate(all="raise"):
        pictures = inverter.load(SPEC, normalise)(vectors)
    alone = inverter.load(SPEC, normalise)(vectors[1:])
    assert pictures.shape == (2, size_of(inverter), size_of(inverter), 3)
    assert gap(pictures[1], alone[0]) <= CLOSE
    assert gap(pictures[0], pictures[1]) > CLOSE


# -------------------------------------------------------------------------------------------------- resemblance


def resemble(inverter: Any, spec: Any, normalise: str, images: Pixels) -> tuple[Floats, Floats]:
    """Pictures of the images' features: how far each (row) is from each image (column), in pixels and in features."""
    vectors = encoded(spec, normalise, images)
    pictures = inverter.load(spec, normalise)(vectors)
    codes = encoded(spec, normalise, np.stack([spec.prepare(picture) for picture in pictures]))
    away = np.array([[gap_of(small(p, 8), small(i, 8), normalise) for i in images] for p in pictures])
    return away, np.linalg.norm(codes[:, None] - vectors[None], axis=2)


def nearest(distances: Floats) -> list[int]:
    """The image that each picture is nearest to."""
    return [int(image) for image in distances.argmin(axis=1)]


def gap_of(picture: Pixels, image: Pixels, normalise: str) -> float:
    """Distance of two small pictures; of their directions for `l2`, since lengths are not in the vectors then."""
    one, other = picture.astype(float).ravel(), image.astype(float).ravel()
    if normalise == "l2":
        one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    return float(np.linalg.norm(one - other))


@over_thorough
@over_normalisations
def test_a_picture_resembles_its_image(member: type, normalise: str, checkpoint: str) -> None:
    """Of pixel values, which leave nothing open, the image itself comes back, more or less."""
    for distances in resemble(THOROUGH[member](checkpoint), SPEC, normalise, forms(8)):
        assert nearest(distances) == [0, 1, 2, 3, 4], distances
        others = np.where(np.eye(5, dtype=bool), np.inf, distances).min(axis=1)
        assert (np.diag(distances) < 0.7 * others).all(), distances


@over_thorough
def test_more_work_is_nearer(member: type, checkpoint: str) -> None:
    """The thorough settings come nearer to the features than few steps do."""
    vectors = vectors_of(SPEC)
    away = []
    for settings in (SETTINGS[member][0], THOROUGH[member]):
        pictures = settings(checkpoint).load(SPEC, "none")(vectors)
        codes = SPEC.load()(np.stack([SPEC.prepare(picture) for picture in pictures]))
        away.append(float(np.linalg.norm(codes - vectors)))
    assert away[1] < 0.8 * away[0]


@pytest.mark.slow
@over_normalisations
def test_a_network_is_inverted(normalise: str) -> None:
    """EfficientNet-lite0: a picture's features are nearer to those of its photo than to any other's."""
    data, spec = pytest.importorskip("skimage.data"), EfficientNetLite0()
    photos = np.stack([spec.prepare(photo()) for photo in (data.astronaut, data.coffee, data.chelsea)])
    _, apart = resemble(replace(THOROUGH[Gradient](""), size=64), spec, normalise, photos)
    assert nearest(apart) == [0, 1, 2], apart


@pytest.mark.slow
def test_a_network_s_pictures_are_the_same_again() -> None:
    """The same batch of vectors gives the same pictures to the bit, also from a function loaded anew."""
    inverter, spec = SETTINGS[Gradient][0](""), EfficientNetLite0()
    vectors = vectors_of(spec)[:3]
    pictures = inverter.load(spec, "none")(vectors)
    assert np.array_equal(inverter.load(spec, "none")(vectors), pictures)


# ------------------------------------------------------------------------------------------------------- progress


@over_all
@pytest.mark.parametrize("count", [0, 1, 5, 18])
def test_progress_rises_to_one(inverter: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares between 0 and 1 that never fall, the last of them 1; they change nothing in the pictures."""
    from interpdisc_core.inverters import gradient

    monkeypatch.setattr(gradient, "SECONDS", 0.0)
    vectors = np.random.default_rng(42).uniform(0, 1, (count, 192))
    told: list[float] = []
    pictures = inverter.load(SPEC, "none", told.append)(vectors)
    assert told == sorted(told)
    assert all(0 < share <= 1 for share in told)
    assert told[-1] == 1.0
    assert told.count(1.0) == 1
    assert len(told) >= min(count, 1) * getattr(optimiser_of(inverter), "steps", 1)
    np.testing.assert_array_equal(inverter.load(SPEC, "none")(vectors), pictures)


@over_all
def test_progress_of_a_second_call_starts_anew(inverter: Any) -> None:
    """One function may be used for several batches of vectors."""
    told: list[float] = []
    invert = inverter.load(SPEC, "none", told.append)
    for _ in range(2):
        told.clear()
        invert(vectors_of(SPEC, count=1))
        assert told[-1] == 1.0


# ------------------------------------------------------------------------------------------------------- settings


@over_all
def test_settings_travel(inverter: Any) -> None:
    """Settings are frozen, hashable and picklable, and go through a plan's JSON with the same digest."""
    assert pickle.loads(pickle.dumps(inverter)) == inverter
    assert hash(inverter) == hash(pickle.loads(pickle.dumps(inverter)))
    with pytest.raises(AttributeError):
        inverter.kind = "other"
    whole = plan.Plan(inverter=inverter)
    again = plan.parse(plan.to_json(whole))
    assert again == whole
    assert again.digest == whole.digest
    assert type(again.inverter) is type(inverter)


def test_digests_tell_settings_apart(checkpoint: str) -> None:
    """No two of the settings above share a digest or a name; features do not depend on them."""
    plans = [plan.Plan(representation=SPEC, inverter=settings(checkpoint)) for settings in EVERY]
    assert len({one.digest for one in plans}) == len({one.rendering.name(SPEC) for one in plans}) == len(EVERY)
    assert len({one.features for one in plans}) == 1


@over_all
def test_weights_are_part_of_the_name(inverter: Any, checkpoint: str, tmp_path: Path) -> None:
    """By their content, wherever they lie; what has none has no identity, and what cannot be read neither."""
    identity = inverter.identity(SPEC)
    assert (identity == "") == isinstance(inverter, Gradient)
    if isinstance(inverter, Gradient):
        return
    vectors, data = vectors_of(SPEC, count=2), Path(checkpoint).read_bytes()
    path = tmp_path / "b.safetensors"
    start = UpConv(checkpoint=str(path))
    moved = replace(inverter, start=start) if isinstance(inverter, Refined) else start
    path.write_bytes(data)
    assert moved.identity(SPEC) == identity
    first = moved.load(SPEC, "none")(vectors)
    np.testing.assert_array_equal(first, inverter.load(SPEC, "none")(vectors))
    path.write_bytes(data[:-400] + np.full(100, 3, dtype="<f4").tobytes())
    assert moved.identity(SPEC) != identity
    assert not np.array_equal(moved.load(SPEC, "none")(vectors), first)  # nothing stale is used
    (tmp_path / "b.safetensors").unlink()
    assert moved.identity(SPEC) == ""


@over_all
def test_a_length_that_is_divided_by_is_given_back(inverter: Any, checkpoint: str) -> None:
    """`l2`: of a vector as long as most the picture is that of the vector itself, where a picture knows its length."""
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
    value = plan.to_json(plan.Plan(inverter=inverter))
    value["inverter"]["stesp"] = 3
    with pytest.raises(PlanError, match="stesp"):
        plan.parse(value)


@pytest.mark.parametrize(
    ("member", "changes"),
    [(member, changes) for member in MEMBERS for changes in MEANINGLESS.get(member, [])],
    ids=repr,
)
def test_settings_that_mean_nothing(member: type, changes: dict[str, Any]) -> None:
    """Refused with a sentence, directly and as part of a plan."""
    with pytest.raises(PlanError, match="must be"):
        member(**changes)
    value = plan.to_json(plan.Plan(inverter=SETTINGS[member][0]("")))
    value["inverter"] |= changes
    with pytest.raises(PlanError):
        plan.parse(value)


@over_all
def test_a_representation_that_cannot_be_inverted(inverter: Any) -> None:
    """A sentence with its name, when the inverter is loaded."""
    with pytest.raises(InterpdiscError, match="blind"):
        inverter.load(Blind(), "none")
