"""Renderings: which vectors are shown for a pick, the picture of a difference, and pictures that are made once."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from interpdisc_core.archive.run import Run
from interpdisc_core.explanations.render import (
    Renderer,
    build_render_vectors,
    describe_missing_novelty,
    make_random_residual,
    render_difference,
)
from interpdisc_core.inverters import Gradient
from interpdisc_core.plan import Plan, RenderingOptions
from interpdisc_core.representations import PixelValues
from interpdisc_core.storage.location import Location

pixels = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=5))
seeds = st.integers(0, 2**32 - 1)
FloatArray = npt.NDArray[np.float64]


def make_pair(seed: int, dimension: int = 40) -> tuple[FloatArray, FloatArray]:
    """x and x̂."""
    x, expected = np.random.default_rng(seed).normal(3, 2, (2, dimension))
    return x, expected


# ------------------------------------------------------------------------------------------------------ difference


def make_all_level_pairs() -> tuple[Any, Any]:
    """Every two levels, (256, 256, 1) each."""
    first, other = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8), indexing="ij")
    return first[:, :, None], other[:, :, None]


@given(pixels)
def test_the_difference_of_equal_pictures_is_gray(picture: Any) -> None:
    actual = render_difference(picture, picture)
    assert actual.dtype == np.uint8
    assert actual.shape == picture.shape
    assert (actual == 128).all()


def test_a_difference_is_never_clipped() -> None:
    """Half of it on grey, to the nearest level, for every two levels: black to white, and nothing wraps around."""
    first, other = make_all_level_pairs()
    expected = 127.5 + (first.astype(float) - other.astype(float)) / 2
    actual = render_difference(first, other)
    assert np.abs(actual - expected).max() <= 0.5
    assert (actual.min(), actual.max()) == (0, 255)


def test_swapping_pictures_mirrors_the_difference_around_gray() -> None:
    """But for rounding; and the brighter the control, the brighter the difference."""
    first, other = make_all_level_pairs()
    actual = render_difference(first, other).astype(int)
    assert np.abs(actual + render_difference(other, first) - 255).max() <= 1
    assert (np.diff(actual, axis=0) >= 0).all()
    assert (np.diff(actual, axis=1) <= 0).all()


# -------------------------------------------------------------------------------------------------------- vectors


@given(seeds)
def test_a_pick_has_five_vectors(seed: int) -> None:
    """x, x̂, x − x̂ with the mean of x, that mean alone, and x̂ with a random direction as long as x − x̂."""
    x, expected = make_pair(seed)
    before = x.copy(), expected.copy()
    vectors = build_render_vectors(x, expected)
    assert list(vectors) == ["control", "expected", "new", "level", "random"]
    np.testing.assert_array_equal(vectors["control"], x)
    np.testing.assert_array_equal(vectors["expected"], expected)
    assert vectors["new"].mean() == pytest.approx(x.mean())
    assert np.ptp(vectors["new"] - (x - expected)) < 1e-9
    np.testing.assert_allclose(vectors["level"], x.mean())
    assert np.linalg.norm(vectors["random"] - expected) == pytest.approx(np.linalg.norm(x - expected))
    assert all(vector.shape == x.shape for vector in vectors.values())
    np.testing.assert_array_equal(before, (x, expected))
    again = build_render_vectors(x, expected)
    assert all(np.array_equal(again[name], vectors[name]) for name in vectors)


def test_without_expectation_only_the_control_is_rendered() -> None:
    x, expected = make_pair(0)
    assert list(build_render_vectors(x, np.full_like(expected, np.nan))) == ["control"]


def test_without_novelty_nothing_new_is_rendered() -> None:
    x, _ = make_pair(0)
    assert list(build_render_vectors(x, x.copy())) == ["control", "expected"]


def test_missing_novelty_has_its_true_reason() -> None:
    x, expected = make_pair(0)
    assert describe_missing_novelty(x, expected, is_first=True) == ""
    assert "does not predict" in describe_missing_novelty(x, np.full_like(x, np.nan), is_first=True)
    assert "nothing was seen before" in describe_missing_novelty(x, x.copy(), is_first=True)
    assert "explains this image completely" in describe_missing_novelty(x, x.copy(), is_first=False)


@given(seeds, st.integers(1, 300), st.floats(1e-6, 1e6))
def test_a_random_residual_has_the_same_length_and_is_reproducible(seed: int, dimension: int, scale: float) -> None:
    """As long, the same for the same residual, and of another residual another."""
    residual = np.random.default_rng(seed).normal(size=dimension) * scale
    actual = make_random_residual(residual)
    assert actual.shape == (dimension,)
    assert np.linalg.norm(actual) == pytest.approx(np.linalg.norm(residual))
    np.testing.assert_array_equal(make_random_residual(residual.copy()), actual)
    np.testing.assert_array_equal(make_random_residual(np.repeat(residual, 2)[::2]), actual)
    if dimension > 20:
        assert not np.allclose(make_random_residual(2 * residual), 2 * actual)


def test_random_residuals_are_uncorrelated_with_residuals() -> None:
    """With its residual nor with another's: cosines around 0."""
    rows = np.random.default_rng(0).normal(size=(200, 500))
    actual = np.array([make_random_residual(row) for row in rows])
    cosines = (rows * actual).sum(1) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(actual, axis=1))
    assert abs(cosines.mean()) < 0.02
    assert np.abs(cosines).max() < 0.25


def test_the_random_residual_of_zero_is_zero() -> None:
    np.testing.assert_array_equal(make_random_residual(np.zeros(7)), np.zeros(7))


# -------------------------------------------------------------------------------------------------------- renderer

PLAN = Plan(representation=PixelValues(side=4), inverter=Gradient(size=16, steps=2), explain=1)


def make_run(archive: Path, plan: Plan = PLAN) -> Run:
    """A run of which only the plan is there."""
    run = Run(Location.parse(archive), "r")
    from interpdisc_core import plan as plans

    run.location.write_json("plan.json", plans.plan_to_json(plan))
    return run


def count_inversions(renderer: Renderer) -> list[int]:
    """Vectors that were really inverted, call by call."""
    calls: list[int] = []
    load = PLAN.inverter.load(PLAN.representation, "none")  # type: ignore[union-attr]

    def invert(vectors: FloatArray) -> Any:
        calls.append(len(vectors))
        return load(vectors)

    renderer._invert = invert
    return calls


def test_pictures_are_cached_and_rebuilt_when_damaged(tmp_path: Path) -> None:
    """By whoever asks first, and the vectors of a pick in one batch; a damaged one is made anew."""
    vectors = build_render_vectors(*make_pair(0, 48))
    first, second = Renderer(make_run(tmp_path)), Renderer(make_run(tmp_path))
    calls, more = count_inversions(first), count_inversions(second)
    pictures = first.render(vectors)
    assert list(pictures) == list(vectors)
    assert {picture.shape for picture in pictures.values()} == {(16, 16, 3)}
    assert calls == [5]
    cached = second.render(vectors)
    assert more == []
    assert all(np.array_equal(cached[name], pictures[name]) for name in pictures)
    (file,) = Path(first.cache.url).glob("*.npz")
    content = file.read_bytes()
    damaged = bytearray(content)
    damaged[200:300] = bytes(100)
    for data in (b"", b"no archive", content[:-50], bytes(damaged)):
        file.write_bytes(data)
        again = second.render(vectors)
        assert more.pop() == 5
        assert all(np.array_equal(again[name], pictures[name]) for name in pictures)
    second.render(build_render_vectors(*make_pair(1, 48)))
    assert more == [5]


def test_each_inverter_and_plan_has_its_own_cache(tmp_path: Path) -> None:
    """They are kept apart by settings and weights, by normalisation and by features."""
    run = make_run(tmp_path)
    places = [Renderer(run).cache]
    run.set_rendering(RenderingOptions(inverter=Gradient(size=16, steps=3), picks=1))
    places.append(Renderer(run).cache)
    others = (replace(PLAN, normalise="l2"), replace(PLAN, representation=PixelValues(side=5)))
    places += [Renderer(make_run(tmp_path / plan.digest, plan)).cache for plan in others]
    assert len({place.url.rpartition("/")[2] for place in places}) == 4


def test_what_cannot_be_inverted_is_not_rendered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No pictures, and a warning that says why; nothing raises."""
    renderer = Renderer(make_run(tmp_path))

    class Blind:
        kind = "blind"

        def build_network(self) -> None:
            return None

    renderer.plan = replace(PLAN, representation=Blind())  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert renderer.render(build_render_vectors(*make_pair(0, 48))) == {}
    assert "nothing is rendered: gradient: the representation blind has no gradient" in caplog.text


def test_progress_is_reported_to_the_current_callback(tmp_path: Path) -> None:
    """One renderer, several picks: each has its own meter."""
    renderer, shares_by_pick = Renderer(make_run(tmp_path)), ([], [])  # type: ignore[var-annotated]
    for number, shares in enumerate(shares_by_pick):
        renderer.on_progress = shares.append
        renderer.render(build_render_vectors(*make_pair(number, 48)))
    assert [shares[-1] for shares in shares_by_pick] == [1.0, 1.0]


@pytest.mark.parametrize(("share", "new"), [(0.0, False), (1e-9, False), (1e-3, True)])
def test_rounding_errors_are_not_new(share: float, new: bool) -> None:
    """A first pick that lies in its own model has a residual of rounding errors: it is not rendered, nor measured."""
    x = np.random.default_rng(4).standard_normal(50)
    expected = x + share * np.random.default_rng(5).standard_normal(50)
    assert ("new" in build_render_vectors(x, expected)) is new
    assert ("random" in build_render_vectors(x, expected)) is new
    assert "expected" in build_render_vectors(x, expected)
