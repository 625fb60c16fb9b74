"""Faithfulness: its numbers for pictures whose truth is known, and its test of maps where all is linear."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core._types import PixelArray
from interpdisc_core.explanations import faithfulness
from interpdisc_core.explanations.faithfulness import (
    FaithfulnessReference,
    compute_deletion_curves,
    compute_occlusion_map,
    deletion_at_20_percent,
    is_trusted,
    measure_faithfulness,
    normalize_features,
    trust_threshold,
)
from interpdisc_core.explanations.render import build_render_vectors
from interpdisc_core.metrics.definitions import METRIC_DEFINITIONS, TRUST_METRIC
from interpdisc_core.plan import Plan
from interpdisc_core.representations import EfficientNetLite0, PixelValues
from tests.pipeline.test_ingest import make_image_bytes, open_run, run_extract, run_ingest, write_file, write_photos

SIDE = 8
PLAN = Plan(representation=PixelValues(side=SIDE), explain=0)
"""A linear representation: what it makes of a picture is the picture."""
seeds = st.integers(0, 2**32 - 1)  # not those of the gallery
FloatArray = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def _small_second_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pixels in place of the second network, which is slow."""
    monkeypatch.setattr(faithfulness, "build_second_encoder", lambda: PixelValues(side=4))


def random_image(seed: int, side: int = SIDE, low: int = 60, high: int = 196) -> PixelArray:
    return np.random.default_rng(seed).integers(low, high, (side, side, 3), dtype=np.uint8)


def encode(image: PixelArray) -> FloatArray:
    """Its features under PLAN, to the last bit."""
    features: FloatArray = PLAN.representation.load()(image[None])[0].astype(np.float64)
    return features


def draw(vector: FloatArray) -> PixelArray:
    """The picture that has these features, to the nearest level."""
    pixels: PixelArray = np.rint(vector.reshape(SIDE, SIDE, 3) * 255).clip(0, 255).astype(np.uint8)
    return pixels


def make_gallery(count: int = 30) -> FloatArray:
    return np.array([encode(random_image(2**32 + seed)) for seed in range(count)])


REFERENCE = FaithfulnessReference(make_gallery(), 1.5, 700.0, 1.0)
NO_OTHERS = np.empty((0, 0))


class Case:
    """A pick whose pictures are perfect: x and x̂ are pictures, and its vectors are drawn as they are."""

    def __init__(self, seed: int = 0) -> None:
        self.image = random_image(seed)
        self.expected = random_image(seed + 1)
        self.x, self.x_hat = encode(self.image), encode(self.expected)
        self.vectors = build_render_vectors(self.x, self.x_hat)
        self.pictures = {name: draw(vector) for name, vector in self.vectors.items()}

    def numbers(
        self, reference: FaithfulnessReference = REFERENCE, others: FloatArray = NO_OTHERS, **changes: Any
    ) -> dict[str, float]:
        arguments = {"plan": PLAN, "x": self.x, "expected": self.x_hat, "image": self.image, "pictures": self.pictures}
        return measure_faithfulness(reference=reference, other_residuals=others, **(arguments | changes))


# --------------------------------------------------------------------------------------------------------- numbers


@given(seeds)
def test_a_perfect_inversion_has_no_error(seed: int) -> None:
    """No error, first of all, all of the novelty and in its direction."""
    actual = Case(seed).numbers()
    for name in ("image_error", "feature_error", "second_error"):
        assert actual[name] == pytest.approx(0, abs=1e-6)
    assert actual["rank"] == 1
    assert actual["among"] == 31
    assert actual["psnr"] == 100
    for name in ("cosine_difference", "energy_difference", "cosine_second"):
        assert actual[name] == pytest.approx(1, abs=1e-6)
    for name in ("cosine_new", "energy_new", "cosine_random"):
        assert actual[name] == pytest.approx(1, abs=0.2)  # what lies outside 0…255 is cut off
    assert set(actual) <= set(METRIC_DEFINITIONS)


def test_pictures_without_novelty_have_cosine_zero() -> None:
    """The expected picture for everything: far from the image, and no cosine."""
    case = Case()
    actual = case.numbers(pictures=dict.fromkeys(case.pictures, case.pictures["expected"]))
    for name in (
        "cosine_difference",
        "energy_difference",
        "cosine_new",
        "energy_new",
        "cosine_random",
        "cosine_second",
    ):
        assert actual[name] == 0
    for name in ("image_error", "feature_error", "second_error"):
        assert actual[name] > 0.1
    assert actual["psnr"] < 20


def test_swapped_pictures_have_a_negative_cosine() -> None:
    """A negative cosine, and no energy in the right direction."""
    case = Case()
    swapped = case.pictures | {"control": case.pictures["expected"], "expected": case.pictures["control"]}
    actual = case.numbers(pictures=swapped)
    assert actual["cosine_difference"] == pytest.approx(-1, abs=1e-6)
    assert actual["energy_difference"] == 0


def test_errors_are_in_their_units() -> None:
    """Twice the unit, half the error."""
    case, wrong = Case(), {"control": random_image(77)}
    first = case.numbers(pictures=wrong)
    other = case.numbers(FaithfulnessReference(REFERENCE.gallery, 3.0, 1400.0, 2.0), pictures=wrong)
    for name in ("image_error", "feature_error", "second_error"):
        assert other[name] == pytest.approx(first[name] / 2)
    assert first["feature_error"] == pytest.approx(np.linalg.norm(encode(wrong["control"]) - case.x) / 1.5, rel=1e-5)


def test_the_rank_counts_nearer_images() -> None:
    """Images of the gallery that are as near to the control as the pick or nearer; the pick itself counts once."""
    case = Case()
    away = np.eye(len(case.x))[:4] * np.array([0.5, 1.0, 1.5, 2.0])[:, None]
    control = encode(case.image) + 0.4 * away[1]
    actual = faithfulness._measure_control(replace(REFERENCE, gallery=case.x + away), case.x, control)
    assert (actual["rank"], actual["among"]) == (1, 5)
    control = encode(case.image) + 1.2 * away[1]
    actual = faithfulness._measure_control(replace(REFERENCE, gallery=case.x + away), case.x, control)
    assert (actual["rank"], actual["among"]) == (2, 5)
    itself = replace(REFERENCE, gallery=np.vstack([case.x + away, case.x, case.x + 1e-9]))
    assert faithfulness._measure_control(itself, case.x, control) == actual


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
def test_measures_without_a_unit_are_left_out(unit: float) -> None:
    """Images that all look the same, or fewer than two: nothing raises, the others are there."""
    case = Case()
    full, actual = set(case.numbers()), case.numbers(FaithfulnessReference(REFERENCE.gallery, unit, unit, unit))
    assert full - set(actual) == {"image_error", "feature_error", "second_error"}
    assert all(np.isfinite(value) for value in actual.values())
    assert full - set(case.numbers(FaithfulnessReference(REFERENCE.gallery[:0], 1.0, 1.0, 1.0))) == {"rank", "among"}


def test_measures_need_the_pictures_that_they_compare() -> None:
    """Without the image no comparison with it; without an expectation no cosine; without pictures nothing."""
    case = Case()
    image_measures = {"image_error", "psnr", "second_error", "cosine_second"}
    assert set(case.numbers()) - set(case.numbers(image=None)) == image_measures
    alone = case.numbers(pictures={"control": case.pictures["control"]}, expected=np.full_like(case.x, np.nan))
    assert set(alone) == {"feature_error", "rank", "among", "image_error", "psnr", "second_error"}
    nothing_new = case.numbers(pictures={n: case.pictures["control"] for n in ("control", "expected")}, expected=case.x)
    assert not {name for name in nothing_new if "difference" in name or "new" in name}
    assert case.numbers(pictures={}) == {}


def test_lengths_do_not_count_with_l2() -> None:
    """`l2`: a control that is the image at half its brightness has no feature error."""
    case, plan = Case(), replace(PLAN, normalise="l2")
    x = normalize_features(plan, case.x[None])[0]
    half = {"control": draw(case.x / 2)}
    assert case.numbers(plan=plan, x=x, pictures=half)["feature_error"] < 0.02
    assert case.numbers(pictures=half)["feature_error"] > 1


@given(seeds)
def test_l2_gives_length_one_and_keeps_zeros(seed: int) -> None:
    """`none` leaves them; `l2` makes their length 1, and leaves zero what it is."""
    features = np.random.default_rng(seed).normal(size=(5, 7)).astype(np.float32)
    features[2] = 0
    np.testing.assert_array_equal(normalize_features(PLAN, features), features)
    actual = normalize_features(replace(PLAN, normalise="l2"), features)
    assert actual.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(actual, axis=1), [1, 1, 0, 1, 1])


def test_trust_needs_a_threshold_and_a_cosine() -> None:
    """From the threshold on; unknown where there is no threshold, or no cosine."""
    assert is_trusted({TRUST_METRIC: 0.5}, 0.5) is True
    assert is_trusted({TRUST_METRIC: 0.49}, 0.5) is False
    assert is_trusted({TRUST_METRIC: 0.49}, None) is None
    assert is_trusted({}, 0.5) is None


def test_the_threshold_is_above_what_random_directions_reach() -> None:
    """An optimiser draws something for any direction: twice the cosine of a random one is asked for, either sign."""
    assert trust_threshold({}, 0.07) == 0.07
    assert trust_threshold({"cosine_random": 0.01}, 0.07) == 0.07
    assert trust_threshold({"cosine_random": 0.2}, 0.07) == 0.4
    assert trust_threshold({"cosine_random": -0.2}, 0.07) == 0.4
    assert trust_threshold({"cosine_random": 0.2}, None) is None


# ------------------------------------------------------------------------------------------------- deletion, occlusion


def make_linear_case(seed: int) -> tuple[PixelArray, FloatArray, FloatArray, FloatArray]:
    """An image of which x̂ = μ is its mean colour: image, residual, μ, and its exact map, no cell of it negative."""
    image = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    plain = np.broadcast_to(image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8), image.shape)
    residual, mean = encode(image) - encode(plain), encode(plain)
    return image, residual, mean, PLAN.representation.attribution_map(image, residual, mean, 1.0)


@given(seeds)
def test_the_deletion_curve_of_a_linear_encoder_is_exact(seed: int) -> None:
    """The share left begins at 1, falls with every cell of a map without negative ones, fastest by the map's order."""
    image, residual, mean, attribution_map = make_linear_case(seed)
    before = image.copy()
    shares, strongest, chance = compute_deletion_curves(PLAN, image, attribution_map, residual, mean)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_allclose(shares, faithfulness._DELETION_SHARES, atol=0.5 / SIDE**2)
    assert [strongest[0], chance[0]] == pytest.approx([1, 1], abs=1e-5)
    assert (np.diff(strongest) < 1e-9).all()
    assert (np.diff(chance) < 1e-9).all()
    assert (strongest[1:] < chance[1:]).all()
    # Exactly what the map says of the cells that are left.
    order = np.sort(attribution_map.reshape(-1))[::-1]
    left = [1 - order[: round(share * attribution_map.size)].sum() / attribution_map.sum() for share in shares]
    np.testing.assert_allclose(strongest, left, atol=1e-4)
    again = compute_deletion_curves(PLAN, image, attribution_map, residual, mean)
    np.testing.assert_array_equal(again, [shares, strongest, chance])


@given(seeds)
def test_a_wrong_map_leaves_more_novelty_than_chance(seed: int) -> None:
    """The weakest first: more is left than at random."""
    image, residual, mean, attribution_map = make_linear_case(seed)
    _, strongest, chance = compute_deletion_curves(PLAN, image, -attribution_map, residual, mean)
    assert (strongest[1:] > chance[1:]).all()
    measures = deletion_at_20_percent(compute_deletion_curves(PLAN, image, attribution_map, residual, mean))
    assert measures["left_strongest"] < measures["left_random"] < 1
    assert set(measures) <= set(METRIC_DEFINITIONS)


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (2, 2), (7, 7), (8, 8)])
def test_deletion_works_for_any_grid(grid: tuple[int, int]) -> None:
    """Of one cell too."""
    image, residual, mean, _ = make_linear_case(0)
    shares, strongest, chance = compute_deletion_curves(
        PLAN, image, np.random.default_rng(0).normal(size=grid), residual, mean
    )
    assert shares[0] == 0
    assert (np.diff(shares) >= 0).all()
    assert np.isfinite([strongest, chance]).all()
    assert strongest[0] == pytest.approx(1, abs=1e-5)


@given(seeds, st.tuples(st.integers(1, 9), st.integers(1, 9)), st.data())
def test_painting_changes_the_given_cells_only(seed: int, grid: tuple[int, int], data: st.DataObject) -> None:
    """Each cell is painted as a whole and alone; all together are the whole image; none leaves it."""
    image = random_image(seed, 20)
    cells = data.draw(st.sets(st.integers(0, grid[0] * grid[1] - 1)))
    colour = image.reshape(-1, 3).mean(axis=0).round()
    y, x = (np.searchsorted(np.linspace(0, 20, n + 1).round(), np.arange(20), side="right") - 1 for n in grid)
    inside = np.isin(y[:, None] * grid[1] + x[None], list(cells))
    painted = faithfulness._paint_cells(image, grid, np.array(sorted(cells)))
    np.testing.assert_array_equal(painted[~inside], image[~inside])
    assert (painted[inside] == colour).all()
    all_painted = faithfulness._paint_cells(image, grid, np.arange(grid[0] * grid[1]))
    assert (all_painted == colour).all()


@given(st.integers(0, 48), seeds)
def test_occlusion_finds_the_new_cell(cell: int, seed: int) -> None:
    """A square that was not expected: its cell takes nearly all of it away, the others nothing."""
    side = 28
    plan = replace(PLAN, representation=PixelValues(side=side))
    y, x = divmod(cell, 7)
    plain = random_image(seed, side, 100, 110)
    image = plain.copy()
    image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = 250
    embed = plan.representation.load()
    features, expected = embed(np.stack([image, plain])).astype(np.float64)
    actual = compute_occlusion_map(plan, image, features - expected, expected)
    assert actual.shape == (7, 7)
    assert actual.argmax() == cell
    assert actual[y, x] == pytest.approx(1, abs=0.1)
    assert np.abs(np.delete(actual.reshape(-1), cell)).max() < 0.05


def test_occlusion_works_with_fewer_pixels_than_cells() -> None:
    """Fewer than its cells: a map all the same."""
    plan = replace(PLAN, representation=PixelValues(side=3))
    image = random_image(0, 3)
    features = plan.representation.load()(image[None])[0].astype(np.float64)
    assert np.isfinite(compute_occlusion_map(plan, image, features - 0.4, np.full(27, 0.4))).all()


def test_encoding_a_network_input_gives_its_features() -> None:
    """What a representation looks at is shown as a whole, so it must be looked at as a whole."""
    spec = EfficientNetLite0()
    y, x = np.mgrid[0:224, 0:224]
    image = np.stack([(y + x) % 256, y, x * y % 256], axis=2).astype(np.uint8)
    own = spec.load()(image[None])
    again = faithfulness.encode_pictures(spec, image[None])
    np.testing.assert_allclose(again, own, rtol=0, atol=1e-4 * np.abs(own).max())


# -------------------------------------------------------------------------------------------------------- reference


def test_the_reference_is_cached_and_rebuilt_when_damaged(tmp_path: Path) -> None:
    """The same whoever makes it, kept, and made anew where it is damaged; an image that is gone is left out."""
    folder = write_photos(tmp_path / "in", 12)
    write_file(folder / "bad.png", make_image_bytes(40)[:-70])
    ingest_result = run_ingest(tmp_path / "archive", folder, plan=PLAN, block=4)
    run_extract(tmp_path / "archive", ingest_result, PLAN)
    run = open_run(tmp_path / "archive", ingest_result)
    reference = FaithfulnessReference.for_run(run)
    assert reference.gallery.shape == (12, 3 * SIDE**2)
    assert not np.isnan(reference.gallery).any()
    assert min(reference.feature_unit, reference.pixel_unit, reference.second_unit) > 0
    file = Path(run.location.url, "reference.npz")
    data = file.read_bytes()
    for damaged in (data, b"", b"none", data[:-30], data[:100] + bytes(100) + data[200:]):
        file.write_bytes(damaged)
        faithfulness._load_reference.cache_clear()
        again = FaithfulnessReference.for_run(run)
        np.testing.assert_array_equal(again.gallery, reference.gallery)
        assert again == replace(reference, gallery=again.gallery)
    (folder / "03.png").unlink()
    file.unlink()
    faithfulness._load_reference.cache_clear()
    assert FaithfulnessReference.for_run(run).feature_unit == reference.feature_unit


def test_the_reference_of_one_image_has_no_units(tmp_path: Path) -> None:
    """It has no units, and its numbers are fewer; nothing raises."""
    ingest_result = run_ingest(tmp_path / "archive", write_photos(tmp_path / "in", 1), plan=PLAN)
    run_extract(tmp_path / "archive", ingest_result, PLAN)
    reference = FaithfulnessReference.for_run(open_run(tmp_path / "archive", ingest_result))
    assert np.isnan([reference.feature_unit, reference.pixel_unit, reference.second_unit]).all()
    case = Case()
    measures = case.numbers(reference)
    assert "feature_error" not in measures
    assert measures["among"] == 2
