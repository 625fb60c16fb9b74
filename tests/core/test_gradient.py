"""The gradient inverter: its priors as the papers define them, and refinement of given pictures."""

import numpy as np
import numpy.typing as npt
import pytest

from interpdisc_core.images import Pixels
from interpdisc_core.inverters import Gradient, gradient
from interpdisc_core.representations import PixelValues

torch = pytest.importorskip("torch")

SPEC = PixelValues(side=8)
SIZES = [16, 33, 128]
CLOSE = 1.0
"""Levels of 255 in the mean: what rounding may make of a picture in another batch."""
over_sizes = pytest.mark.parametrize("size", SIZES)

Floats = npt.NDArray[np.float64]


def noise(count: int, size: int, seed: int = 0) -> Pixels:
    """Pictures of independent pixels, black and white among them."""
    made = np.random.default_rng(seed).integers(-100, 356, (count, size, size, 3))
    return made.clip(0, 255).astype(np.uint8)


def smooth(count: int, size: int, seed: int = 0) -> Pixels:
    """Pictures of large forms."""
    coarse = np.random.default_rng(seed).integers(30, 226, (count, 4, 4, 3)).astype(np.uint8)
    return gradient._resized(coarse, size)


def encoded(pictures: Pixels) -> Floats:
    """Features (n, 192)."""
    prepared = np.stack([SPEC.prepare(picture) for picture in pictures])
    return np.asarray(SPEC.load("cpu")(prepared), dtype=np.float64)


def psnr(one: Pixels, other: Pixels) -> float:
    """Decibels."""
    return float(-10 * np.log10(((one.astype(float) - other.astype(float)) ** 2).mean() / 255**2))


def gap(one: Pixels, other: Pixels) -> float:
    """Mean difference, in levels of 255."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def photo(size: int) -> Pixels:
    """A photo (1, size, size, 3) from black to white."""
    return gradient._resized(pytest.importorskip("skimage.data").astronaut()[None], size)


# -------------------------------------------------------------------------------------------------------- priors


@over_sizes
@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_the_variation_is_that_of_the_paper(size: int, beta: float) -> None:
    """Σ ((x_{i,j+1} − x_{ij})² + (x_{i+1,j} − x_{ij})²)^{β/2} with colours summed, over H W V^β; V per pixel."""
    picture = noise(1, size)[0] / 255
    whole = 0.0
    for i in range(size - 1):
        for j in range(size - 1):
            steps = np.array([picture[i, j + 1] - picture[i, j], picture[i + 1, j] - picture[i, j]])
            whole += float((steps**2).sum()) ** (beta / 2)
    expected = whole / (size - 1) ** 2 / (gradient.SLOPE / size) ** beta
    found = gradient._variation(torch.tensor(picture).permute(2, 0, 1)[None], beta)
    assert float(found) == pytest.approx(expected, rel=1e-3)


@over_sizes
@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_a_slope_as_in_nature_has_variation_one(size: int, beta: float) -> None:
    """At every size and β: so the weight means the same."""
    ramp = torch.arange(size).float()[None, :] * gradient.SLOPE / size
    ramp = ramp.expand(size, size)[None, None] * torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    assert float(gradient._variation(ramp, beta)) == pytest.approx(1.0, rel=1e-3)


def test_the_alpha_norm_is_that_of_the_paper() -> None:
    """The mean of the sixth power of a colour's distance from grey; 1 at the range of natural images."""
    picture = noise(1, 16)[0] / 255
    expected = np.mean([np.mean((2 * colour - 1) ** 2) ** 3 for colour in picture.reshape(-1, 3)]) / gradient.RANGE**6
    found = gradient._alpha_norm(torch.tensor(picture).permute(2, 0, 1)[None])
    assert float(found) == pytest.approx(float(expected))
    even = torch.full((1, 3, 16, 16), 0.5 + gradient.RANGE / 2)
    assert float(gradient._alpha_norm(even)) == pytest.approx(1.0)
    assert float(gradient._alpha_norm(torch.full((1, 3, 16, 16), 0.5))) == 0.0


def test_each_prior_does_what_it_is_for() -> None:
    """More weight: a smoother picture, or one nearer to grey."""
    vectors = encoded(noise(3, 8))
    plain = Gradient(size=16, steps=30, alpha=0.0, variation=0.0).load(SPEC, "none")(vectors) / 255
    flat = Gradient(size=16, steps=30, alpha=0.0, variation=3.0).load(SPEC, "none")(vectors) / 255
    grey = Gradient(size=16, steps=30, alpha=0.5, variation=0.0).load(SPEC, "none")(vectors) / 255
    assert np.abs(np.diff(flat, axis=2)).mean() < 0.8 * np.abs(np.diff(plain, axis=2)).mean()
    assert ((2 * grey - 1) ** 6).mean() < 0.8 * ((2 * plain - 1) ** 6).mean()


@pytest.mark.parametrize("jitter", [0.0, 0.06, 0.5])
def test_jitter_stays_within_its_bound_and_ends(jitter: float) -> None:
    """Rolled by at most that share of the side, both ways, and not at all in the last look."""
    shifts = np.array([shift for _, shift in gradient._schedule(200, jitter * 224)])
    assert np.abs(shifts).max() <= jitter * 224
    assert (shifts[-1] == 0).all()
    assert not jitter or ((shifts.min(axis=0) < 0).all() and (shifts.max(axis=0) > 0).all())


# ---------------------------------------------------------------------------------------------------- refinement


@over_sizes
def test_pictures_come_back_from_their_spectra(size: int) -> None:
    """All but black and white, which the sigmoid does not reach."""
    paint = gradient.Paint(size, torch.device("cpu"), 1.25, 0.2)
    pictures = noise(2, size)
    drawn = paint.draw(paint.spectra(pictures)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(drawn, (pictures / 255).clip(gradient.EDGE, 1 - gradient.EDGE), atol=1e-4)


@over_sizes
def test_spectra_come_back_from_their_pictures(size: int) -> None:
    """A picture's spectrum is the one that it was drawn from, so far as 256 levels tell."""
    paint = gradient.Paint(size, torch.device("cpu"), 1.25, 0.2)
    first = paint.draw(paint.spectra(smooth(2, size)))
    again = paint.draw(paint.spectra((first * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()))
    assert float((again - first).abs().max()) <= 0.51 / 255


@over_sizes
def test_without_a_step_the_photo_comes_back(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the steps have no length, refinement returns what it was given."""
    monkeypatch.setattr(gradient, "RATE", 0.0)
    picture = photo(size)
    found = Gradient(size=size, steps=2).refiner(SPEC, "none")(encoded(noise(1, 8)), picture)
    assert psnr(found, picture) > 45


@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_refinement_is_nearer_and_keeps_the_rest(normalise: str) -> None:
    """Nearer to the vectors than the start, and nearer to the start than a picture from noise."""
    true, start = smooth(4, 32, 1), smooth(4, 32, 2)
    start = ((true.astype(int) + start) // 2).astype(np.uint8)

    def vectors(pictures: Pixels) -> Floats:
        found = encoded(pictures)
        return found / np.linalg.norm(found, axis=1, keepdims=True) if normalise == "l2" else found

    inverter = Gradient(size=32, steps=30)
    refined = inverter.refiner(SPEC, normalise)(vectors(true), start)
    before = np.linalg.norm(vectors(start) - vectors(true), axis=1)
    after = np.linalg.norm(vectors(refined) - vectors(true), axis=1)
    assert (after < 0.8 * before).all()
    assert gap(refined, start) < gap(inverter.load(SPEC, normalise)(vectors(true)), start)


def test_a_refined_picture_depends_on_its_vector_and_start_alone() -> None:
    """Alone, among others, permuted and beyond an inner batch: the same, but for rounding."""
    vectors, start = encoded(noise(19, 8)), noise(19, 20, 1)
    refine = Gradient(size=16, steps=5).refiner(SPEC, "none")
    together = refine(vectors, start)
    np.testing.assert_array_equal(refine(vectors, start), together)
    for row in (0, 15, 16, 18):
        assert gap(refine(vectors[row : row + 1], start[row : row + 1])[0], together[row]) <= CLOSE
    assert gap(refine(vectors[::-1], start[::-1])[::-1], together) <= CLOSE


def test_one_path() -> None:
    """The refiner is the loaded function with a start; without one, it is the inversion."""
    inverter, vectors, start = Gradient(size=16, steps=4), encoded(noise(3, 8)), noise(3, 16, 1)
    invert, refine = inverter.load(SPEC, "none"), inverter.refiner(SPEC, "none")
    np.testing.assert_array_equal(invert(vectors, start=start), refine(vectors, start))
    assert gap(invert(vectors), refine(vectors, start)) > CLOSE


@pytest.mark.parametrize("side", [1, 9, 16, 50])
def test_a_start_of_any_size(side: int) -> None:
    """Resized to `size`; read-only pictures will do, and are not changed."""
    vectors, start = encoded(noise(2, 8)), noise(2, side, 1)
    start.flags.writeable = False
    before = start.tobytes()
    refine = Gradient(size=16, steps=3).refiner(SPEC, "none")
    found = refine(vectors, start)
    assert found.shape == (2, 16, 16, 3)
    assert start.tobytes() == before
    np.testing.assert_array_equal(found, refine(vectors, gradient._resized(start, 16)))


def test_no_start_for_no_vector() -> None:
    """(0, size, size, 3), and progress is told."""
    told: list[float] = []
    refine = Gradient(size=16, steps=3).refiner(SPEC, "none", told.append)
    assert refine(np.empty((0, 192)), np.empty((0, 9, 9, 3), dtype=np.uint8)).shape == (0, 16, 16, 3)
    assert told == [1.0]


def test_a_start_that_does_not_fit() -> None:
    """One picture of three colours for each vector, or an error with the shape."""
    refine = Gradient(size=16, steps=1).refiner(SPEC, "none")
    for shape in [(1, 16, 16, 3), (2, 16, 16), (2, 16, 16, 4)]:
        with pytest.raises(ValueError, match="one picture for each"):
            refine(encoded(noise(2, 8)), np.zeros(shape, dtype=np.uint8))
