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

from interpdisc_core.inverters import Gradient
from interpdisc_core.plan import Plan, Rendering
from interpdisc_core.rendering import Renderer, difference, random_residual, vectors_of
from interpdisc_core.representations import PixelValues
from interpdisc_core.runs import Run
from interpdisc_core.storage import Place

pixels = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=5))
seeds = st.integers(0, 2**32 - 1)
Floats = npt.NDArray[np.float64]


def pair(seed: int, dimension: int = 40) -> tuple[Floats, Floats]:
    """x and x̂."""
    x, expected = np.random.default_rng(seed).normal(3, 2, (2, dimension))
    return x, expected


# ------------------------------------------------------------------------------------------------------ difference


def every() -> tuple[Any, Any]:
    """Every two levels, (256, 256, 1) each."""
    one, other = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8), indexing="ij")
    return one[:, :, None], other[:, :, None]


@given(pixels)
def test_equal_pictures_differ_by_grey(picture: Any) -> None:
    found = difference(picture, picture)
    assert found.dtype == np.uint8
    assert found.shape == picture.shape
    assert (found == 128).all()


def test_a_difference_is_never_cut_off() -> None:
    """Half of it on grey, to the nearest level, for every two levels: black to white, and nothing wraps around."""
    one, other = every()
    wanted = 127.5 + (one.astype(float) - other.astype(float)) / 2
    found = difference(one, other)
    assert np.abs(found - wanted).max() <= 0.5
    assert (found.min(), found.max()) == (0, 255)


def test_a_difference_turned_round_is_its_mirror_image_around_grey() -> None:
    """But for rounding; and the brighter the control, the brighter the difference."""
    one, other = every()
    found = difference(one, other).astype(int)
    assert np.abs(found + difference(other, one) - 255).max() <= 1
    assert (np.diff(found, axis=0) >= 0).all()
    assert (np.diff(found, axis=1) <= 0).all()


# -------------------------------------------------------------------------------------------------------- vectors


@given(seeds)
def test_the_vectors_of_a_pick(seed: int) -> None:
    """x, x̂, x − x̂ with the mean of x, that mean alone, and x̂ with a random direction as long as x − x̂."""
    x, expected = pair(seed)
    before = x.copy(), expected.copy()
    vectors = vectors_of(x, expected)
    assert list(vectors) == ["control", "expected", "new", "level", "random"]
    np.testing.assert_array_equal(vectors["control"], x)
    np.testing.assert_array_equal(vectors["expected"], expected)
    assert vectors["new"].mean() == pytest.approx(x.mean())
    assert np.ptp(vectors["new"] - (x - expected)) < 1e-9
    np.testing.assert_allclose(vectors["level"], x.mean())
    assert np.linalg.norm(vectors["random"] - expected) == pytest.approx(np.linalg.norm(x - expected))
    assert all(vector.shape == x.shape for vector in vectors.values())
    np.testing.assert_array_equal(before, (x, expected))
    again = vectors_of(x, expected)
    assert all(np.array_equal(again[name], vectors[name]) for name in vectors)


def test_where_nothing_is_expected_only_the_control_is_rendered() -> None:
    x, expected = pair(0)
    assert list(vectors_of(x, np.full_like(expected, np.nan))) == ["control"]


def test_where_nothing_is_new_there_is_no_panel_of_it() -> None:
    x, _ = pair(0)
    assert list(vectors_of(x, x.copy())) == ["control", "expected"]


@given(seeds, st.integers(1, 300), st.floats(1e-6, 1e6))
def test_a_random_residual(seed: int, dimension: int, scale: float) -> None:
    """As long, the same for the same residual, and of another residual another."""
    residual = np.random.default_rng(seed).normal(size=dimension) * scale
    found = random_residual(residual)
    assert found.shape == (dimension,)
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(residual))
    np.testing.assert_array_equal(random_residual(residual.copy()), found)
    np.testing.assert_array_equal(random_residual(np.repeat(residual, 2)[::2]), found)
    if dimension > 20:
        assert not np.allclose(random_residual(2 * residual), 2 * found)


def test_a_random_residual_has_no_direction_in_common() -> None:
    """With its residual nor with another's: cosines around 0."""
    rows = np.random.default_rng(0).normal(size=(200, 500))
    found = np.array([random_residual(row) for row in rows])
    cosines = (rows * found).sum(1) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(found, axis=1))
    assert abs(cosines.mean()) < 0.02
    assert np.abs(cosines).max() < 0.25


def test_no_residual_has_no_random_one() -> None:
    np.testing.assert_array_equal(random_residual(np.zeros(7)), np.zeros(7))


# -------------------------------------------------------------------------------------------------------- renderer

PLAN = Plan(representation=PixelValues(side=4), inverter=Gradient(size=16, steps=2), explain=1)


def run_in(archive: Path, plan: Plan = PLAN) -> Run:
    """A run of which only the plan is there."""
    run = Run(Place.of(archive), "r")
    from interpdisc_core import plan as plans

    run.place.write_json("plan.json", plans.to_json(plan))
    return run


def counted(renderer: Renderer) -> list[int]:
    """Vectors that were really inverted, call by call."""
    calls: list[int] = []
    load = PLAN.inverter.load(PLAN.representation, "none")  # type: ignore[union-attr]

    def invert(vectors: Floats) -> Any:
        calls.append(len(vectors))
        return load(vectors)

    renderer._invert = invert
    return calls


def test_pictures_are_made_once(tmp_path: Path) -> None:
    """By whoever asks first, and the vectors of a pick in one batch; a damaged one is made anew."""
    vectors = vectors_of(*pair(0, 48))
    first, second = Renderer(run_in(tmp_path)), Renderer(run_in(tmp_path))
    calls, more = counted(first), counted(second)
    made = first.pictures(vectors)
    assert list(made) == list(vectors)
    assert {picture.shape for picture in made.values()} == {(16, 16, 3)}
    assert calls == [5]
    kept = second.pictures(vectors)
    assert more == []
    assert all(np.array_equal(kept[name], made[name]) for name in made)
    (file,) = Path(first.cache.url).iterdir()
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[200:300] = bytes(100)
    for data in (b"", b"no archive", whole[:-50], bytes(damaged)):
        file.write_bytes(data)
        again = second.pictures(vectors)
        assert more.pop() == 5
        assert all(np.array_equal(again[name], made[name]) for name in made)
    second.pictures(vectors_of(*pair(1, 48)))
    assert more == [5]


def test_another_inverter_has_other_pictures(tmp_path: Path) -> None:
    """They are kept apart by settings and weights, by normalisation and by features."""
    run = run_in(tmp_path)
    places = [Renderer(run).cache]
    run.render_by(Rendering(inverter=Gradient(size=16, steps=3), picks=1))
    places.append(Renderer(run).cache)
    others = (replace(PLAN, normalise="l2"), replace(PLAN, representation=PixelValues(side=5)))
    places += [Renderer(run_in(tmp_path / plan.digest, plan)).cache for plan in others]
    assert len({place.url.rpartition("/")[2] for place in places}) == 4


def test_what_cannot_be_inverted_is_not_rendered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No pictures, and a warning that says why; nothing raises."""
    renderer = Renderer(run_in(tmp_path))

    class Blind:
        kind = "blind"

        def network(self) -> None:
            return None

    renderer.plan = replace(PLAN, representation=Blind())  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert renderer.pictures(vectors_of(*pair(0, 48))) == {}
    assert "nothing is rendered: gradient: the representation blind has no gradient" in caplog.text


def test_progress_is_told_to_whoever_asks_at_the_time(tmp_path: Path) -> None:
    """One renderer, several picks: each has its own meter."""
    renderer, told = Renderer(run_in(tmp_path)), ([], [])  # type: ignore[var-annotated]
    for number, shares in enumerate(told):
        renderer.report = shares.append
        renderer.pictures(vectors_of(*pair(number, 48)))
    assert [shares[-1] for shares in told] == [1.0, 1.0]


@pytest.mark.parametrize(("share", "new"), [(0.0, False), (1e-9, False), (1e-3, True)])
def test_what_rounding_leaves_is_not_new(share: float, new: bool) -> None:
    """A first pick that lies in its own model has a residual of rounding errors: it is not rendered, nor measured."""
    x = np.random.default_rng(4).standard_normal(50)
    expected = x + share * np.random.default_rng(5).standard_normal(50)
    assert ("new" in vectors_of(x, expected)) is new
    assert ("random" in vectors_of(x, expected)) is new
    assert "expected" in vectors_of(x, expected)
