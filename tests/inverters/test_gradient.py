"""The gradient inverter: its priors as in the papers, and refinement of given pictures."""

import numpy as np
import numpy.typing as npt
import pytest

from interpdisc_core._types import PixelArray
from interpdisc_core.inverters import Gradient, gradient
from interpdisc_core.representations import PixelValues

torch = pytest.importorskip("torch")

SPEC = PixelValues(side=8)
SIZES = [16, 33, 128]
CLOSE = 1.0
"""Largest effect of rounding on a picture in another minibatch, in levels of 255 in the mean."""
over_sizes = pytest.mark.parametrize("size", SIZES)

Floats = npt.NDArray[np.float64]


def noise(count: int, size: int, seed: int = 0) -> PixelArray:
    """Pictures of independent pixels, black and white among them."""
    values = np.random.default_rng(seed).integers(-100, 356, (count, size, size, 3))
    return values.clip(0, 255).astype(np.uint8)


def smooth(count: int, size: int, seed: int = 0) -> PixelArray:
    """Pictures of large shapes."""
    coarse = np.random.default_rng(seed).integers(30, 226, (count, 4, 4, 3)).astype(np.uint8)
    return gradient._resize_pictures(coarse, size)


def encoded(pictures: PixelArray) -> Floats:
    """Features (n, 192)."""
    prepared = np.stack([SPEC.prepare(picture) for picture in pictures])
    return np.asarray(SPEC.load("cpu")(prepared), dtype=np.float64)


def psnr(picture: PixelArray, reference: PixelArray) -> float:
    """Decibels."""
    return float(-10 * np.log10(((picture.astype(float) - reference.astype(float)) ** 2).mean() / 255**2))


def gap(pictures: PixelArray, others: PixelArray) -> float:
    """Mean difference, in levels of 255."""
    return float(np.abs(pictures.astype(float) - others.astype(float)).mean())


def photo(size: int) -> PixelArray:
    """A photo (1, size, size, 3) from black to white."""
    return gradient._resize_pictures(pytest.importorskip("skimage.data").astronaut()[None], size)


# Priors


@over_sizes
@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_the_total_variation_equals_its_definition(size: int, beta: float) -> None:
    """Σ ((x_{i,j+1} − x_{ij})² + (x_{i+1,j} − x_{ij})²)^{β/2} with colors summed, over H W V^β; V per pixel."""
    picture = noise(1, size)[0] / 255
    total = 0.0
    for i in range(size - 1):
        for j in range(size - 1):
            steps = np.array([picture[i, j + 1] - picture[i, j], picture[i + 1, j] - picture[i, j]])
            total += float((steps**2).sum()) ** (beta / 2)
    expected = total / (size - 1) ** 2 / (gradient.NATURAL_SLOPE / size) ** beta
    result = gradient._compute_total_variation(torch.tensor(picture).permute(2, 0, 1)[None], beta)
    assert float(result) == pytest.approx(expected, rel=1e-3)


@over_sizes
@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_a_natural_slope_has_variation_1(size: int, beta: float) -> None:
    """At every size and β, so that the weight means the same."""
    ramp = torch.arange(size).float()[None, :] * gradient.NATURAL_SLOPE / size
    ramp = ramp.expand(size, size)[None, None] * torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    assert float(gradient._compute_total_variation(ramp, beta)) == pytest.approx(1.0, rel=1e-3)


def test_the_alpha_norm_equals_its_definition() -> None:
    """The mean of the sixth power of a color's distance from gray; 1 at the range of natural images."""
    picture = noise(1, 16)[0] / 255
    expected = (
        np.mean([np.mean((2 * color - 1) ** 2) ** 3 for color in picture.reshape(-1, 3)]) / gradient.NATURAL_RANGE**6
    )
    result = gradient._compute_alpha_norm(torch.tensor(picture).permute(2, 0, 1)[None])
    assert float(result) == pytest.approx(float(expected))
    even = torch.full((1, 3, 16, 16), 0.5 + gradient.NATURAL_RANGE / 2)
    assert float(gradient._compute_alpha_norm(even)) == pytest.approx(1.0)
    assert float(gradient._compute_alpha_norm(torch.full((1, 3, 16, 16), 0.5))) == 0.0


def test_priors_make_a_picture_smoother_or_grayer() -> None:
    vectors = encoded(noise(3, 8))
    plain = Gradient(size=16, steps=30, alpha=0.0, variation=0.0).load(SPEC, "none")(vectors) / 255
    smooth_pictures = Gradient(size=16, steps=30, alpha=0.0, variation=3.0).load(SPEC, "none")(vectors) / 255
    gray = Gradient(size=16, steps=30, alpha=0.5, variation=0.0).load(SPEC, "none")(vectors) / 255
    assert np.abs(np.diff(smooth_pictures, axis=2)).mean() < 0.8 * np.abs(np.diff(plain, axis=2)).mean()
    assert ((2 * gray - 1) ** 6).mean() < 0.8 * ((2 * plain - 1) ** 6).mean()


@pytest.mark.parametrize("jitter", [0.0, 0.06, 0.5])
def test_jitter_stays_within_its_bound_and_ends_at_0(jitter: float) -> None:
    """Rolled by at most that share of the side, in both directions, and not at all in the last step."""
    shifts = np.array([shift for _, shift in gradient._iter_schedule(200, jitter * 224)])
    assert np.abs(shifts).max() <= jitter * 224
    assert (shifts[-1] == 0).all()
    assert not jitter or ((shifts.min(axis=0) < 0).all() and (shifts.max(axis=0) > 0).all())


# Refinement


@over_sizes
def test_a_spectrum_decodes_to_the_picture_it_was_encoded_from(size: int) -> None:
    """Except black and white, which the sigmoid does not reach."""
    codec = gradient.SpectrumCodec(size, torch.device("cpu"), 1.25, 0.2)
    pictures = noise(2, size)
    decoded = codec.decode(codec.encode(pictures)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(
        decoded, (pictures / 255).clip(gradient.LOGIT_MARGIN, 1 - gradient.LOGIT_MARGIN), atol=1e-4
    )


@over_sizes
def test_a_decoded_picture_encodes_to_the_same_picture(size: int) -> None:
    """As far as 256 levels allow."""
    codec = gradient.SpectrumCodec(size, torch.device("cpu"), 1.25, 0.2)
    first = codec.decode(codec.encode(smooth(2, size)))
    again = codec.decode(codec.encode((first * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()))
    assert float((again - first).abs().max()) <= 0.51 / 255


@over_sizes
def test_with_rate_0_refinement_returns_its_start(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient, "LEARNING_RATE", 0.0)
    picture = photo(size)
    refined = Gradient(size=size, steps=2).load_refiner(SPEC, "none")(encoded(noise(1, 8)), picture)
    assert psnr(refined, picture) > 45


@pytest.mark.parametrize("normalise", ["none", "l2"])
def test_refinement_is_nearer_to_the_vectors_and_stays_near_its_start(normalise: str) -> None:
    """Nearer to the vectors than the start, and nearer to the start than a picture from noise."""
    true, start = smooth(4, 32, 1), smooth(4, 32, 2)
    start = ((true.astype(int) + start) // 2).astype(np.uint8)

    def vectors(pictures: PixelArray) -> Floats:
        features = encoded(pictures)
        return features / np.linalg.norm(features, axis=1, keepdims=True) if normalise == "l2" else features

    inverter = Gradient(size=32, steps=30)
    refined = inverter.load_refiner(SPEC, normalise)(vectors(true), start)
    before = np.linalg.norm(vectors(start) - vectors(true), axis=1)
    after = np.linalg.norm(vectors(refined) - vectors(true), axis=1)
    assert (after < 0.8 * before).all()
    assert gap(refined, start) < gap(inverter.load(SPEC, normalise)(vectors(true)), start)


def test_a_refined_picture_depends_on_its_vector_and_start_alone() -> None:
    """Alone, among others, permuted and beyond a minibatch: the same, except for rounding."""
    vectors, start = encoded(noise(19, 8)), noise(19, 20, 1)
    refine = Gradient(size=16, steps=5).load_refiner(SPEC, "none")
    together = refine(vectors, start)
    np.testing.assert_array_equal(refine(vectors, start), together)
    for row in (0, 15, 16, 18):
        assert gap(refine(vectors[row : row + 1], start[row : row + 1])[0], together[row]) <= CLOSE
    assert gap(refine(vectors[::-1], start[::-1])[::-1], together) <= CLOSE


def test_refining_is_inverting_with_a_start() -> None:
    inverter, vectors, start = Gradient(size=16, steps=4), encoded(noise(3, 8)), noise(3, 16, 1)
    invert, refine = inverter.load(SPEC, "none"), inverter.load_refiner(SPEC, "none")
    np.testing.assert_array_equal(invert(vectors, start=start), refine(vectors, start))
    assert gap(invert(vectors), refine(vectors, start)) > CLOSE


@pytest.mark.parametrize("side", [1, 9, 16, 50])
def test_a_start_may_have_any_size(side: int) -> None:
    """It is resized to `size`; read-only pictures will do, and are not changed."""
    vectors, start = encoded(noise(2, 8)), noise(2, side, 1)
    start.flags.writeable = False
    before = start.tobytes()
    refine = Gradient(size=16, steps=3).load_refiner(SPEC, "none")
    refined = refine(vectors, start)
    assert refined.shape == (2, 16, 16, 3)
    assert start.tobytes() == before
    np.testing.assert_array_equal(refined, refine(vectors, gradient._resize_pictures(start, 16)))


def test_no_vectors_give_no_pictures() -> None:
    """(0, size, size, 3), and progress is reported."""
    shares: list[float] = []
    refine = Gradient(size=16, steps=3).load_refiner(SPEC, "none", shares.append)
    assert refine(np.empty((0, 192)), np.empty((0, 9, 9, 3), dtype=np.uint8)).shape == (0, 16, 16, 3)
    assert shares == [1.0]


def test_a_start_that_does_not_fit_is_refused() -> None:
    """One picture of three colors for each vector, or an error with the shape."""
    refine = Gradient(size=16, steps=1).load_refiner(SPEC, "none")
    for shape in [(1, 16, 16, 3), (2, 16, 16), (2, 16, 16, 4)]:
        with pytest.raises(ValueError, match="one picture for each"):
            refine(encoded(noise(2, 8)), np.zeros(shape, dtype=np.uint8))
