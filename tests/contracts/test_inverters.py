"""What every inverter promises, over every member of `Inverter`, with few steps each."""

import pickle
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from interpdisc_core import plan
from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels
from interpdisc_core.inverters import Gradient, Inverter
from interpdisc_core.representations import EfficientNetLite0, PixelValues

MEMBERS = [get_args(Inverter)[0]] if not get_args(get_args(Inverter)[0]) else list(get_args(get_args(Inverter)[0]))
SETTINGS: dict[type, list[Any]] = {
    Gradient: [Gradient(size=32, steps=12), Gradient(size=16, steps=5), Gradient(size=33, steps=7, variation=0.0)],
}
THOROUGH: dict[type, Any] = {Gradient: Gradient(size=32, steps=60)}
"""Settings with which a picture is to resemble what was inverted."""
MEANINGLESS: dict[type, list[dict[str, Any]]] = {
    Gradient: [
        {"size": 15}, {"size": 513}, {"size": 0}, {"size": -1}, {"steps": 0}, {"steps": -3}, {"variation": -0.1},
        {"variation": float("nan")}, {"variation": float("inf")},
    ]
}  # fmt: skip
EVERY = [settings for member in MEMBERS for settings in SETTINGS.get(member, [])]
over_all = pytest.mark.parametrize("inverter", EVERY, ids=repr)
over_members = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
over_normalisations = pytest.mark.parametrize("normalise", ["none", "l2"])
SPEC = PixelValues(side=8)
CLOSE = 1.0
"""Levels of 255 in the mean: what rounding may make of a picture in another batch."""

Floats = npt.NDArray[np.float64]


class Blind:
    """A representation that has no gradient."""

    kind, side = "blind", 8

    def network(self) -> None:
        return None


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
    assert set(SETTINGS) == set(THOROUGH) == set(MEANINGLESS) == set(MEMBERS)


# ------------------------------------------------------------------------------------------------------ pictures


@over_all
@over_normalisations
@pytest.mark.parametrize("count", [0, 1, 5])
def test_vectors_become_pictures(inverter: Any, normalise: str, count: int) -> None:
    """(n, d) -> (n, size, size, 3) uint8, for no vector too; different vectors, different pictures."""
    pictures = inverter.load(SPEC, normalise)(vectors_of(SPEC, normalise)[:count])
    assert pictures.shape == (count, inverter.size, inverter.size, 3)
    assert pictures.dtype == np.uint8
    assert len({picture.tobytes() for picture in pictures}) == count


@over_all
def test_a_picture_does_not_depend_on_its_neighbours(inverter: Any) -> None:
    """Alone, among others, and beyond the size of an inner batch: the same picture, but for rounding."""
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
    assert pictures.shape == (2, inverter.size, inverter.size, 3)
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


@over_members
@over_normalisations
def test_a_picture_resembles_its_image(member: type, normalise: str) -> None:
    """Of pixel values, which leave nothing open, the image itself comes back, more or less."""
    for distances in resemble(THOROUGH[member], SPEC, normalise, forms(8)):
        assert nearest(distances) == [0, 1, 2, 3, 4], distances
        others = np.where(np.eye(5, dtype=bool), np.inf, distances).min(axis=1)
        assert (np.diag(distances) < 0.7 * others).all(), distances


@over_members
def test_more_work_is_nearer(member: type) -> None:
    """The thorough settings come nearer to the features than few steps do."""
    vectors = vectors_of(SPEC)
    away = []
    for inverter in (SETTINGS[member][0], THOROUGH[member]):
        pictures = inverter.load(SPEC, "none")(vectors)
        codes = SPEC.load()(np.stack([SPEC.prepare(picture) for picture in pictures]))
        away.append(float(np.linalg.norm(codes - vectors)))
    assert away[1] < 0.8 * away[0]


@pytest.mark.slow
@over_members
@over_normalisations
def test_a_network_is_inverted(member: type, normalise: str) -> None:
    """EfficientNet-lite0: a picture's features are nearer to those of its photo than to any other's."""
    data, spec = pytest.importorskip("skimage.data"), EfficientNetLite0()
    photos = np.stack([spec.prepare(photo()) for photo in (data.astronaut, data.coffee, data.chelsea)])
    _, apart = resemble(replace(THOROUGH[member], size=64), spec, normalise, photos)
    assert nearest(apart) == [0, 1, 2], apart


@pytest.mark.slow
@over_members
def test_a_network_s_pictures_are_the_same_again(member: type) -> None:
    """The same batch of vectors gives the same pictures to the bit, also from a function loaded anew."""
    inverter, spec = SETTINGS[member][0], EfficientNetLite0()
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
    assert len(told) >= min(count, 1) * 5
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


def test_digests_tell_settings_apart() -> None:
    """No two of the settings above share a digest; features do not depend on them."""
    assert len({plan.Plan(inverter=inverter).digest for inverter in EVERY}) == len(EVERY)
    assert len({plan.Plan(inverter=inverter).features for inverter in EVERY}) == 1


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
    value = plan.to_json(plan.Plan(inverter=SETTINGS[member][0]))
    value["inverter"] |= changes
    with pytest.raises(PlanError):
        plan.parse(value)


@over_all
def test_a_representation_that_cannot_be_inverted(inverter: Any) -> None:
    """A sentence with its name, when the inverter is loaded."""
    with pytest.raises(PlanError, match="blind"):
        inverter.load(Blind(), "none")
