"""Faithfulness: its numbers for pictures whose truth is known, and its test of maps where all is linear."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core import faithfulness
from interpdisc_core.faithfulness import Reference, at_a_fifth, bar, deletion, normalised, numbers, occlusion, trust
from interpdisc_core.images import Pixels
from interpdisc_core.measures import MEASURES, TRUST
from interpdisc_core.plan import Plan
from interpdisc_core.rendering import vectors_of
from interpdisc_core.representations import EfficientNetLite0, PixelValues
from tests.core.test_ingest import extracted, ingested, photos, picture, put, run_of

SIDE = 8
PLAN = Plan(representation=PixelValues(side=SIDE), explain=0)
"""A linear representation: what it makes of a picture is the picture."""
seeds = st.integers(0, 2**32 - 1)  # not those of the gallery
Floats = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def _second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pixels in place of the second network, which is slow."""
    monkeypatch.setattr(faithfulness, "second_encoder", lambda: PixelValues(side=4))


def random_image(seed: int, side: int = SIDE, low: int = 60, high: int = 196) -> Pixels:
    return np.random.default_rng(seed).integers(low, high, (side, side, 3), dtype=np.uint8)


def code(image: Pixels) -> Floats:
    """Its features under PLAN, to the last bit."""
    found: Floats = PLAN.representation.load()(image[None])[0].astype(np.float64)
    return found


def drawn(vector: Floats) -> Pixels:
    """The picture that has these features, to the nearest level."""
    made: Pixels = np.rint(vector.reshape(SIDE, SIDE, 3) * 255).clip(0, 255).astype(np.uint8)
    return made


def gallery(count: int = 30) -> Floats:
    return np.array([code(random_image(2**32 + seed)) for seed in range(count)])


REFERENCE = Reference(gallery(), 1.5, 700.0, 1.0)
NO_OTHERS = np.empty((0, 0))


class Case:
    """A pick whose pictures are perfect: x and x̂ are pictures, and its vectors are drawn as they are."""

    def __init__(self, seed: int = 0) -> None:
        self.image = random_image(seed)
        self.expected = random_image(seed + 1)
        self.x, self.x_hat = code(self.image), code(self.expected)
        self.vectors = vectors_of(self.x, self.x_hat)
        self.pictures = {name: drawn(vector) for name, vector in self.vectors.items()}

    def numbers(self, reference: Reference = REFERENCE, others: Floats = NO_OTHERS, **changes: Any) -> dict[str, float]:
        given = {"plan": PLAN, "x": self.x, "expected": self.x_hat, "image": self.image, "pictures": self.pictures}
        return numbers(reference=reference, others=others, **(given | changes))


# --------------------------------------------------------------------------------------------------------- numbers


@given(seeds)
def test_a_perfect_inversion(seed: int) -> None:
    """No error, first of all, all of the novelty and in its direction."""
    found = Case(seed).numbers()
    for name in ("image_error", "feature_error", "second_error"):
        assert found[name] == pytest.approx(0, abs=1e-6)
    assert found["rank"] == 1
    assert found["among"] == 31
    assert found["psnr"] == 100
    for name in ("cosine_difference", "energy_difference", "cosine_second"):
        assert found[name] == pytest.approx(1, abs=1e-6)
    for name in ("cosine_new", "energy_new", "cosine_random"):
        assert found[name] == pytest.approx(1, abs=0.2)  # what lies outside 0…255 is cut off
    assert set(found) <= set(MEASURES)


def test_a_picture_that_shows_nothing() -> None:
    """The expected picture for everything: far from the image, and no cosine."""
    case = Case()
    found = case.numbers(pictures=dict.fromkeys(case.pictures, case.pictures["expected"]))
    for name in (
        "cosine_difference",
        "energy_difference",
        "cosine_new",
        "energy_new",
        "cosine_random",
        "cosine_second",
    ):
        assert found[name] == 0
    for name in ("image_error", "feature_error", "second_error"):
        assert found[name] > 0.1
    assert found["psnr"] < 20


def test_the_opposite_of_what_is_new() -> None:
    """A negative cosine, and no energy in the right direction."""
    case = Case()
    swapped = case.pictures | {"control": case.pictures["expected"], "expected": case.pictures["control"]}
    found = case.numbers(pictures=swapped)
    assert found["cosine_difference"] == pytest.approx(-1, abs=1e-6)
    assert found["energy_difference"] == 0


def test_errors_are_in_their_units() -> None:
    """Twice the unit, half the error."""
    case, wrong = Case(), {"control": random_image(77)}
    one = case.numbers(pictures=wrong)
    other = case.numbers(Reference(REFERENCE.gallery, 3.0, 1400.0, 2.0), pictures=wrong)
    for name in ("image_error", "feature_error", "second_error"):
        assert other[name] == pytest.approx(one[name] / 2)
    assert one["feature_error"] == pytest.approx(np.linalg.norm(code(wrong["control"]) - case.x) / 1.5, rel=1e-5)


def test_the_rank_counts_whoever_is_nearer() -> None:
    """Images of the gallery that are as near to the control as the pick or nearer; the pick itself counts once."""
    case = Case()
    away = np.eye(len(case.x))[:4] * np.array([0.5, 1.0, 1.5, 2.0])[:, None]
    control = code(case.image) + 0.4 * away[1]
    found = faithfulness._of_control(replace(REFERENCE, gallery=case.x + away), case.x, control)
    assert (found["rank"], found["among"]) == (1, 5)
    control = code(case.image) + 1.2 * away[1]
    found = faithfulness._of_control(replace(REFERENCE, gallery=case.x + away), case.x, control)
    assert (found["rank"], found["among"]) == (2, 5)
    itself = replace(REFERENCE, gallery=np.vstack([case.x + away, case.x, case.x + 1e-9]))
    assert faithfulness._of_control(itself, case.x, control) == found


@given(seeds, st.integers(1, 5))
def test_other_residuals_are_a_control(seed: int, count: int) -> None:
    """The mean |cosine|: 1 where others have the same residual or its opposite, little where they have theirs."""
    case = Case(seed)
    residual = case.x - case.x_hat
    same = np.array([residual * factor for factor in (1.0, -3.0, 0.1)])
    assert case.numbers(others=same)["cosine_shuffled"] == pytest.approx(1, abs=1e-5)
    others = np.array([Case(seed + 2 + 2 * n).x - Case(seed + 2 + 2 * n).x_hat for n in range(1, count + 1)])
    assert 0 <= case.numbers(others=others)["cosine_shuffled"] < 0.4
    assert "cosine_shuffled" not in case.numbers()


@pytest.mark.parametrize("unit", [0.0, float("nan")])
def test_numbers_without_a_unit_are_left_out(unit: float) -> None:
    """Images that all look the same, or fewer than two: nothing raises, the others are there."""
    case = Case()
    full, found = set(case.numbers()), case.numbers(Reference(REFERENCE.gallery, unit, unit, unit))
    assert full - set(found) == {"image_error", "feature_error", "second_error"}
    assert all(np.isfinite(value) for value in found.values())
    assert full - set(case.numbers(Reference(REFERENCE.gallery[:0], 1.0, 1.0, 1.0))) == {"rank", "among"}


def test_numbers_of_what_there_is() -> None:
    """Without the image no comparison with it; without an expectation no cosine; without pictures nothing."""
    case = Case()
    beside = {"image_error", "psnr", "second_error", "cosine_second"}
    assert set(case.numbers()) - set(case.numbers(image=None)) == beside
    alone = case.numbers(pictures={"control": case.pictures["control"]}, expected=np.full_like(case.x, np.nan))
    assert set(alone) == {"feature_error", "rank", "among", "image_error", "psnr", "second_error"}
    nothing_new = case.numbers(pictures={n: case.pictures["control"] for n in ("control", "expected")}, expected=case.x)
    assert not {name for name in nothing_new if "difference" in name or "new" in name}
    assert case.numbers(pictures={}) == {}


def test_lengths_do_not_count_where_they_are_divided_by() -> None:
    """`l2`: a control that is the image at half its brightness has no feature error."""
    case, plan = Case(), replace(PLAN, normalise="l2")
    x = normalised(plan, case.x[None])[0]
    half = {"control": drawn(case.x / 2)}
    assert case.numbers(plan=plan, x=x, pictures=half)["feature_error"] < 0.02
    assert case.numbers(pictures=half)["feature_error"] > 1


@given(seeds)
def test_normalised_features(seed: int) -> None:
    """`none` leaves them; `l2` makes their length 1, and leaves zero what it is."""
    features = np.random.default_rng(seed).normal(size=(5, 7)).astype(np.float32)
    features[2] = 0
    np.testing.assert_array_equal(normalised(PLAN, features), features)
    found = normalised(replace(PLAN, normalise="l2"), features)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1, 1])


def test_trust() -> None:
    """From the threshold on; unknown where there is no threshold, or no cosine."""
    assert trust({TRUST: 0.5}, 0.5) is True
    assert trust({TRUST: 0.49}, 0.5) is False
    assert trust({TRUST: 0.49}, None) is None
    assert trust({}, 0.5) is None


def test_the_bar_is_above_what_chance_can_draw() -> None:
    """An optimiser draws something for any direction: twice the cosine of a random one is asked for, either sign."""
    assert bar({}, 0.07) == 0.07
    assert bar({"cosine_random": 0.01}, 0.07) == 0.07
    assert bar({"cosine_random": 0.2}, 0.07) == 0.4
    assert bar({"cosine_random": -0.2}, 0.07) == 0.4
    assert bar({"cosine_random": 0.2}, None) is None


# ------------------------------------------------------------------------------------------------- deletion, occlusion


def linear(seed: int) -> tuple[Pixels, Floats, Floats, Floats]:
    """An image of which x̂ = μ is its mean colour: image, residual, μ, and its exact map, no cell of it negative."""
    image = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    plain = np.broadcast_to(image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8), image.shape)
    residual, mean = code(image) - code(plain), code(plain)
    return image, residual, mean, PLAN.representation.where(image, residual, mean, 1.0)


@given(seeds)
def test_deletion_where_all_is_linear(seed: int) -> None:
    """The share left begins at 1, falls with every cell of a map without negative ones, fastest by the map's order."""
    image, residual, mean, where = linear(seed)
    before = image.copy()
    shares, strongest, chance = deletion(PLAN, image, where, residual, mean)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_allclose(shares, faithfulness._SHARES, atol=0.5 / SIDE**2)
    assert [strongest[0], chance[0]] == pytest.approx([1, 1], abs=1e-5)
    assert (np.diff(strongest) < 1e-9).all()
    assert (np.diff(chance) < 1e-9).all()
    assert (strongest[1:] < chance[1:]).all()
    # Exactly what the map says of the cells that are left.
    order = np.sort(where.reshape(-1))[::-1]
    left = [1 - order[: round(share * where.size)].sum() / where.sum() for share in shares]
    np.testing.assert_allclose(strongest, left, atol=1e-4)
    again = deletion(PLAN, image, where, residual, mean)
    np.testing.assert_array_equal(again, [shares, strongest, chance])


@given(seeds)
def test_deletion_by_a_wrong_map(seed: int) -> None:
    """The weakest first: more is left than at random."""
    image, residual, mean, where = linear(seed)
    _, strongest, chance = deletion(PLAN, image, -where, residual, mean)
    assert (strongest[1:] > chance[1:]).all()
    told = at_a_fifth(deletion(PLAN, image, where, residual, mean))
    assert told["left_strongest"] < told["left_random"] < 1
    assert set(told) <= set(MEASURES)


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (2, 2), (7, 7), (8, 8)])
def test_deletion_of_any_grid(grid: tuple[int, int]) -> None:
    """Of one cell too."""
    image, residual, mean, _ = linear(0)
    shares, strongest, chance = deletion(PLAN, image, np.random.default_rng(0).normal(size=grid), residual, mean)
    assert shares[0] == 0
    assert (np.diff(shares) >= 0).all()
    assert np.isfinite([strongest, chance]).all()
    assert strongest[0] == pytest.approx(1, abs=1e-5)


@given(seeds, st.tuples(st.integers(1, 9), st.integers(1, 9)), st.data())
def test_painting(seed: int, grid: tuple[int, int], data: st.DataObject) -> None:
    """Each cell is painted as a whole and alone; all together are the whole image; none leaves it."""
    image = random_image(seed, 20)
    cells = data.draw(st.sets(st.integers(0, grid[0] * grid[1] - 1)))
    colour = image.reshape(-1, 3).mean(axis=0).round()
    y, x = (np.searchsorted(np.linspace(0, 20, n + 1).round(), np.arange(20), side="right") - 1 for n in grid)
    inside = np.isin(y[:, None] * grid[1] + x[None], list(cells))
    painted = faithfulness._painted(image, grid, np.array(sorted(cells)))
    np.testing.assert_array_equal(painted[~inside], image[~inside])
    assert (painted[inside] == colour).all()
    whole = faithfulness._painted(image, grid, np.arange(grid[0] * grid[1]))
    assert (whole == colour).all()


@given(st.integers(0, 48), seeds)
def test_occlusion_finds_what_is_new(cell: int, seed: int) -> None:
    """A square that was not expected: its cell takes nearly all of it away, the others nothing."""
    side = 28
    plan = replace(PLAN, representation=PixelValues(side=side))
    y, x = divmod(cell, 7)
    plain = random_image(seed, side, 100, 110)
    image = plain.copy()
    image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = 250
    embed = plan.representation.load()
    features, expected = embed(np.stack([image, plain])).astype(np.float64)
    found = occlusion(plan, image, features - expected, expected)
    assert found.shape == (7, 7)
    assert found.argmax() == cell
    assert found[y, x] == pytest.approx(1, abs=0.1)
    assert np.abs(np.delete(found.reshape(-1), cell)).max() < 0.05


def test_occlusion_of_few_pixels() -> None:
    """Fewer than its cells: a map all the same."""
    plan = replace(PLAN, representation=PixelValues(side=3))
    image = random_image(0, 3)
    features = plan.representation.load()(image[None])[0].astype(np.float64)
    assert np.isfinite(occlusion(plan, image, features - 0.4, np.full(27, 0.4))).all()


def test_a_prepared_image_has_its_own_features_again() -> None:
    """What a representation looks at is shown as a whole, so it must be looked at as a whole."""
    spec = EfficientNetLite0()
    y, x = np.mgrid[0:224, 0:224]
    image = np.stack([(y + x) % 256, y, x * y % 256], axis=2).astype(np.uint8)
    own = spec.load()(image[None])
    again = faithfulness.encoded(spec, image[None])
    np.testing.assert_allclose(again, own, rtol=0, atol=1e-4 * np.abs(own).max())


# -------------------------------------------------------------------------------------------------------- reference


def test_the_reference_of_a_run(tmp_path: Path) -> None:
    """The same whoever makes it, kept, and made anew where it is damaged; an image that is gone is left out."""
    folder = photos(tmp_path / "in", 12)
    put(folder / "bad.png", picture(40)[:-70])
    settled = ingested(tmp_path / "archive", folder, plan=PLAN, block=4)
    extracted(tmp_path / "archive", settled, PLAN)
    run = run_of(tmp_path / "archive", settled)
    made = Reference.of(run)
    assert made.gallery.shape == (12, 3 * SIDE**2)
    assert not np.isnan(made.gallery).any()
    assert min(made.feature_unit, made.pixel_unit, made.second_unit) > 0
    file = Path(run.place.url, "reference.npz")
    data = file.read_bytes()
    for damaged in (data, b"", b"none", data[:-30], data[:100] + bytes(100) + data[200:]):
        file.write_bytes(damaged)
        faithfulness._kept.cache_clear()
        again = Reference.of(run)
        np.testing.assert_array_equal(again.gallery, made.gallery)
        assert again == replace(made, gallery=again.gallery)
    (folder / "03.png").unlink()
    file.unlink()
    faithfulness._kept.cache_clear()
    assert Reference.of(run).feature_unit == made.feature_unit


def test_the_reference_of_a_run_of_one_image(tmp_path: Path) -> None:
    """It has no units, and its numbers are fewer; nothing raises."""
    settled = ingested(tmp_path / "archive", photos(tmp_path / "in", 1), plan=PLAN)
    extracted(tmp_path / "archive", settled, PLAN)
    made = Reference.of(run_of(tmp_path / "archive", settled))
    assert np.isnan([made.feature_unit, made.pixel_unit, made.second_unit]).all()
    case = Case()
    found = case.numbers(made)
    assert "feature_error" not in found
    assert found["among"] == 2
