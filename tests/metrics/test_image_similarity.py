"""Similarity of pictures and features: each score equals its definition computed by brute force, and obeys its laws."""

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interpdisc_core.metrics import image_similarity

SEEDS = st.integers(0, 2**32 - 1)


def pictures(count: int, side: int, seed: int) -> npt.NDArray[np.uint8]:
    """Seeded noise (count, side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def offset(seed: int, *shape: int, by: float = 0.0) -> npt.NDArray[np.float64]:
    """Seeded normal numbers around `by`."""
    return by + np.random.default_rng(seed).normal(size=shape)


@given(st.integers(1, 4), st.integers(1, 6), SEEDS)
def test_psnr_equals_its_definition(count: int, side: int, seed: int) -> None:
    """Pixel by pixel, in Python's own integers; the same either way round, and finite."""
    rendered, true = pictures(count, side, seed), pictures(count, side, seed + 1)
    scores = image_similarity.psnr(rendered, true)
    for row, a, b in zip(scores, rendered, true, strict=True):
        total = sum((int(x) - int(y)) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True))
        expected = 10 * math.log10(255**2 * a.size / total) if total else image_similarity.MAX_PSNR
        assert row == pytest.approx(expected)
    np.testing.assert_array_equal(image_similarity.psnr(true, rendered), scores)


def test_psnr_is_0_for_black_and_white_and_at_its_maximum_for_identical_pictures() -> None:
    """One step off everywhere is 48 dB."""
    black, white = np.zeros((1, 224, 224, 3), np.uint8), np.full((1, 224, 224, 3), 255, np.uint8)
    assert image_similarity.psnr(black, white).tolist() == [0.0]
    assert image_similarity.psnr(black, black).tolist() == [image_similarity.MAX_PSNR]
    assert image_similarity.psnr(black, black + np.uint8(1))[0] == pytest.approx(20 * math.log10(255))
    changed = black.copy()
    changed[0, 5, 5, 1] = 1
    assert 99.5 < image_similarity.psnr(changed, black)[0] < image_similarity.MAX_PSNR
    large = np.zeros((1, 300, 300, 3), np.uint8)
    off = large.copy()
    off[0, 0, 0, 0] = 1
    assert image_similarity.psnr(off, large).tolist() == [image_similarity.MAX_PSNR]


def test_more_noise_scores_worse() -> None:
    """PSNR and SSIM fall, and the error grows, as noise is added."""
    y, x = np.mgrid[0:32, 0:32] / 32
    clean = np.stack([np.sin(7 * x), np.cos(5 * y), x * y], axis=2) * 90 + 127
    noise = offset(3, 32, 32, 3)
    noisy = np.stack([clean + scale * noise for scale in (0, 2, 8, 32)]).clip(0, 255).astype(np.uint8)
    true = np.repeat(noisy[:1], 4, axis=0)
    assert (np.diff(image_similarity.psnr(noisy, true)) < 0).all()
    assert (np.diff(image_similarity.ssim(noisy, true)) < 0).all()
    assert (np.diff(image_similarity.normalized_error(noisy, true, 1.0)) > 0).all()


def test_ssim_equals_its_definition() -> None:
    """Wang et al.'s formula, written out over every 7 x 7 window of every channel."""
    pytest.importorskip("skimage")
    rendered, true = pictures(2, 10, 1), pictures(2, 10, 2)
    true[1] = (true[1] // 8 + rendered[1] // 8 * 7).astype(np.uint8)  # a pair of similar pictures
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    for score, a, b in zip(
        image_similarity.ssim(rendered, true), rendered.astype(float), true.astype(float), strict=True
    ):
        values = []
        for top, left, channel in itertools.product(range(4), range(4), range(3)):
            p, q = (z[top : top + 7, left : left + 7, channel].ravel() for z in (a, b))
            (vp, both), (_, vq) = np.cov(p, q)
            values.append(
                (2 * p.mean() * q.mean() + c1)
                * (2 * both + c2)
                / ((p.mean() ** 2 + q.mean() ** 2 + c1) * (vp + vq + c2))
            )
        assert score == pytest.approx(np.mean(values))
    assert image_similarity.ssim(rendered, rendered).tolist() == [1.0, 1.0]


@given(st.integers(2, 12), st.integers(1, 6), SEEDS, st.sampled_from((0.0, 1e4)))
def test_the_mean_distance_is_over_all_pairs(count: int, dimension: int, seed: int, by: float) -> None:
    """The mean of |x_i − x_j| over i < j, also far from the origin; the order of the rows does not matter."""
    sample = offset(seed, count, dimension, by=by)
    expected = np.mean([np.linalg.norm(a - b) for a, b in itertools.combinations(sample, 2)])
    assert image_similarity.mean_distance(sample) == pytest.approx(expected, rel=1e-6)
    assert image_similarity.mean_distance(sample[::-1]) == pytest.approx(expected, rel=1e-6)
    assert image_similarity.mean_distance(-3 * sample) == pytest.approx(3 * expected, rel=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.uint8])
def test_the_mean_distance_is_computed_in_float64(kind: Any) -> None:
    """Whatever the sample's dtype: no overflow of uint8, no 16-bit sum. The sample is not changed."""
    sample = (100 * np.random.default_rng(0).random((5, 4, 4, 3))).astype(kind)
    before = sample.copy()
    flat = sample.reshape(5, -1).astype(np.float64)
    expected = np.mean([np.linalg.norm(a - b) for a, b in itertools.combinations(flat, 2)])
    assert image_similarity.mean_distance(sample) == pytest.approx(expected)
    np.testing.assert_array_equal(sample, before)


def test_equal_rows_have_distance_0_which_is_refused_as_a_unit() -> None:
    """One row alone has no mean distance."""
    equal_rows = np.repeat(offset(1, 1, 9, by=1e3), 7, axis=0)
    unit = image_similarity.mean_distance(equal_rows)
    assert unit == 0.0
    with pytest.raises(ValueError, match="unit above 0"):
        image_similarity.normalized_error(equal_rows, equal_rows, unit)
    with pytest.raises(ValueError, match="two rows or more"):
        image_similarity.mean_distance(equal_rows[:1])


@given(st.integers(1, 5), SEEDS, st.floats(0.01, 100))
def test_the_normalized_error_is_a_distance_in_units(count: int, seed: int, unit: float) -> None:
    """Row by row, for any shape and dtype; symmetric; 0 for identical rows."""
    rendered, true = pictures(count, 3, seed), pictures(count, 3, seed + 1)
    scores = image_similarity.normalized_error(rendered, true, unit)
    for row, a, b in zip(scores, rendered.astype(float), true.astype(float), strict=True):
        assert row == pytest.approx(math.sqrt(float(((a - b) ** 2).sum())) / unit)
    np.testing.assert_array_equal(image_similarity.normalized_error(true, rendered, unit), scores)
    assert (image_similarity.normalized_error(rendered, rendered, unit) == 0).all()


def test_the_mean_error_of_another_image_is_1() -> None:
    """By the definition of the unit."""
    sample = offset(4, 6, 5).astype(np.float32)
    pairs = np.array(list(itertools.combinations(range(6), 2)))
    error = image_similarity.normalized_error(
        sample[pairs[:, 0]], sample[pairs[:, 1]], image_similarity.mean_distance(sample)
    )
    assert error.mean() == pytest.approx(1.0)


@given(st.data())
def test_a_rank_counts_rows_at_most_as_far_as_the_true_one(data: st.DataObject) -> None:
    """On a grid of small integers, whose distances are exact and often tied."""
    m, n, d = (data.draw(st.integers(1, limit)) for limit in (8, 4, 3))
    grid = st.integers(-2, 2)
    gallery = data.draw(arrays(np.int8, (m, d), elements=grid)).astype(np.float32)
    features = data.draw(arrays(np.int8, (n, d), elements=grid)).astype(np.float32)
    true = data.draw(arrays(np.int64, (n,), elements=st.integers(0, m - 1)))
    ranks = image_similarity.retrieval_rank(features, true, gallery)
    for rank, point, row in zip(ranks, features, true, strict=True):
        squares = [sum((int(a) - int(b)) ** 2 for a, b in zip(point, other, strict=True)) for other in gallery]
        assert rank == sum(square <= squares[row] for square in squares)
    assert ranks.dtype == np.int64
    assert ((ranks >= 1) & (ranks <= m)).all()


def test_ties_count_against_the_true_image() -> None:
    """A copy of the true row is tied with it, and so are rows whose distances differ only by rounding."""
    gallery = offset(5, 4, 3)
    assert image_similarity.retrieval_rank(gallery, np.arange(4), gallery).tolist() == [1, 1, 1, 1]
    assert image_similarity.retrieval_rank(gallery[:1], np.array([0]), np.vstack([gallery, gallery[:1]])).tolist() == [
        2
    ]
    turned = np.array([[0.1, 0.7, 0.2], [0.7, 0.2, 0.1], [0.2, 0.1, 0.7]])  # of one length, summed in another order
    for row in range(3):
        assert image_similarity.retrieval_rank(np.zeros((1, 3)), np.array([row]), turned).tolist() == [3]
    assert image_similarity.retrieval_rank(np.full((1, 3), np.nan), np.array([0]), gallery).tolist() == [4]


@given(st.integers(1, 6), st.integers(1, 6), SEEDS)
def test_cosine_depends_only_on_the_angle(count: int, dimension: int, seed: int) -> None:
    """Compared with math.hypot, row by row; a row with itself is 1, with its opposite −1."""
    a, b = offset(seed, count, dimension), offset(seed + 1, count, dimension)
    scores = image_similarity.cosine(a, b)
    for row, p, q in zip(scores, a, b, strict=True):
        assert row == pytest.approx(math.fsum(p * q) / (math.hypot(*p) * math.hypot(*q)), abs=1e-12)
    assert (np.abs(scores) <= 1).all()
    np.testing.assert_allclose(image_similarity.cosine(3 * b, 1e5 * a), scores, atol=1e-12)
    np.testing.assert_allclose(image_similarity.cosine(a, a), 1.0)
    np.testing.assert_allclose(image_similarity.cosine(a, -a), -1.0)


def test_a_zero_row_has_cosine_0_and_energy_0() -> None:
    """Without a warning."""
    rows, zeros = offset(6, 2, 4), np.zeros((2, 4), np.float32)
    with np.errstate(all="raise"):
        for a, b in ((rows, zeros), (zeros, rows), (zeros, zeros)):
            assert image_similarity.cosine(a, b).tolist() == [0.0, 0.0]
            assert image_similarity.energy_share(a, b).tolist() == [0.0, 0.0]


@given(st.integers(1, 6), SEEDS, st.floats(-3, 3))
def test_energy_is_the_share_in_the_right_direction(dimension: int, seed: int, share: float) -> None:
    """`share` of r plus anything orthogonal to r has that share: above 1 is an overshoot, below 0 counts as 0."""
    residual, other = offset(seed, 3, dimension), offset(seed + 1, 3, dimension)
    along = (other * residual).sum(1, keepdims=True) / (residual**2).sum(1, keepdims=True)
    rendered = share * residual + (other - along * residual)
    np.testing.assert_allclose(image_similarity.energy_share(residual, rendered), max(share, 0.0), atol=1e-9)


@given(st.integers(1, 6), SEEDS)
def test_energy_and_cosine_agree(dimension: int, seed: int) -> None:
    """energy = max(cosine, 0) |d| / |r|."""
    residual, rendered = offset(seed, 4, dimension), offset(seed + 1, 4, dimension)
    ratio = np.linalg.norm(rendered, axis=1) / np.linalg.norm(residual, axis=1)
    expected = np.maximum(image_similarity.cosine(residual, rendered), 0) * ratio
    np.testing.assert_allclose(image_similarity.energy_share(residual, rendered), expected, atol=1e-9)


def test_arrays_of_different_shapes_are_refused_not_broadcast() -> None:
    """So is a true row that the gallery does not have."""
    single, many = np.ones((1, 8, 8, 3), np.uint8), np.ones((2, 8, 8, 3), np.uint8)
    pairs = (
        image_similarity.psnr,
        image_similarity.ssim,
        image_similarity.cosine,
        image_similarity.energy_share,
        lambda a, b: image_similarity.normalized_error(a, b, 1.0),
    )
    for score in pairs:
        with pytest.raises(ValueError, match="one shape"):
            score(single, many)
    rows = np.ones((2, 3))
    for true, gallery, message in (
        ([0], rows, "expected .n, d"),
        ([0, 1], rows[:, :2], "expected .n, d"),
        ([0, 2], rows, "0 to 1"),
        ([-1, 0], rows, "0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            image_similarity.retrieval_rank(rows, np.array(true), gallery)


def test_empty_input_gives_empty_output() -> None:
    none, rows = np.empty((0, 8, 8, 3), np.uint8), np.empty((0, 4))
    assert image_similarity.psnr(none, none).shape == image_similarity.ssim(none, none).shape == (0,)
    assert image_similarity.normalized_error(none, none, 1.0).shape == (0,)
    assert image_similarity.cosine(rows, rows).shape == image_similarity.energy_share(rows, rows).shape == (0,)
    assert image_similarity.retrieval_rank(rows, np.empty(0, np.int64), np.ones((3, 4))).shape == (0,)
