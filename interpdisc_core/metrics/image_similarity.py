"""How similar pictures, and vectors of features, are: pure functions of arrays.

Everything is computed in float64. Every function but `mean_distance` returns one number a row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import FloatArray, PixelArray

MAX_PSNR = 100.0
"""dB, the `psnr` of identical pictures. If one value of a 224 x 224 picture is off by one, it is 99.9 dB."""
RANK_TIE_RTOL = 1e-12
"""Squared distances that differ by less than this share of the larger count as tied; well above their rounding."""


def psnr(pictures: PixelArray, targets: PixelArray) -> FloatArray:
    """Peak signal-to-noise ratio in dB: 10 log10(255² / mean squared difference). Higher is better.

    Args:
        pictures: (n, s, s, 3) uint8.
        targets: (n, s, s, 3) uint8.

    Returns:
        (n,) in 0…`MAX_PSNR`: larger values, and the infinity of identical pictures, are cut off there, so that means and
        JSON stay finite.
    """
    predicted, expected = _flatten_pair(pictures, targets)
    error = np.square(predicted - expected).mean(axis=1)
    min_error = 255.0**2 / 10 ** (MAX_PSNR / 10)
    ratio: FloatArray = np.minimum(10 * np.log10(255.0**2 / np.maximum(error, min_error)), MAX_PSNR)
    return ratio


def ssim(pictures: PixelArray, targets: PixelArray) -> FloatArray:
    """Structural similarity (Wang et al. 2004), mean over positions and channels. Higher is better, 1 is identical.

    Computed with scikit-image's defaults: a 7 x 7 window of equal weights, each channel by itself.

    Args:
        pictures: (n, s, s, 3) uint8, s ≥ 7.
        targets: (n, s, s, 3) uint8.

    Returns:
        (n,) in −1…1.

    Raises:
        ValueError: If the shapes differ.
    """
    from skimage import metrics

    similarity: Any = metrics.structural_similarity  # untyped
    if pictures.shape != targets.shape:
        raise ValueError(f"expected pictures of one shape, got {pictures.shape} and {targets.shape}")
    return np.array(
        [
            similarity(picture, target, channel_axis=-1, data_range=255)
            for picture, target in zip(pictures, targets, strict=True)
        ],
        dtype=np.float64,
    )


def mean_distance(sample: npt.NDArray[Any]) -> float:
    """Mean Euclidean distance over all pairs of rows, ≥ 0: the unit of `normalized_error`. 0 if all rows are equal.

    Computed from the Gram matrix, which takes n² floats of memory. A distance is exact to about 1e-8 of the largest
    distance of a row from the mean. Source: Dosovitskiy & Brox 2016, who state reconstruction errors in this unit.

    Args:
        sample: (n, d) of any real dtype, n ≥ 2; (n, …) is flattened.

    Raises:
        ValueError: For fewer than two rows.
    """
    if len(sample) < 2:
        raise ValueError(f"expected two rows or more, got {len(sample)}")
    rows = np.array(sample, dtype=np.float64).reshape(len(sample), -1)
    rows -= rows[0].copy()  # equal rows become exactly 0
    rows -= rows.mean(axis=0)  # a common offset must not drown the differences in rounding
    gram = rows @ rows.T
    squares = gram.diagonal()
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * gram, 0.0))
    np.fill_diagonal(distances, 0.0)
    return float(distances.sum() / (len(rows) * (len(rows) - 1)))


def normalized_error(predicted: npt.NDArray[Any], target: npt.NDArray[Any], unit: float) -> FloatArray:
    """|predicted − target| / unit, Euclidean. Lower is better: 0 is perfect, 1 is no better than another image.

    Source: Dosovitskiy & Brox 2016.

    Args:
        predicted: (n, …) pictures or features; flattened.
        target: (n, …).
        unit: > 0, the `mean_distance` of targets.

    Returns:
        (n,) ≥ 0, without an upper bound.

    Raises:
        ValueError: If the shapes differ, or the unit is not above 0.
    """
    if not unit > 0:
        raise ValueError(f"expected a unit above 0, got {unit}: do all images of the sample look the same?")
    first, second = _flatten_pair(predicted, target)
    error: FloatArray = np.linalg.norm(first - second, axis=1) / unit
    return error


def retrieval_rank(
    features: npt.NDArray[Any], true_rows: npt.NDArray[np.integer[Any]], gallery: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """The rank of the true image in a gallery sorted by Euclidean distance from each picture's features. 1 is best.

    Args:
        features: Features (n, d) of the pictures, encoded again.
        true_rows: Rows (n,) of the true images in the gallery.
        gallery: Features (m, d) to search in.

    Returns:
        (n,) in 1…m: the number of gallery rows at most as far as the true one, which is included. So ties count against
        it, also those up to rounding (`RANK_TIE_RTOL`), and so do distances that are NaN.

    Raises:
        ValueError: If the shapes do not match, or a row is not in the gallery.
    """
    if features.shape[1:] != gallery.shape[1:] or true_rows.shape != features.shape[:1]:
        raise ValueError(
            f"expected (n, d), (n,) and (m, d), got {features.shape}, {true_rows.shape} and {gallery.shape}"
        )
    if ((true_rows < 0) | (true_rows >= len(gallery))).any():
        raise ValueError(
            f"expected rows of the gallery, 0 to {len(gallery) - 1}, got {true_rows.min()} to {true_rows.max()}"
        )
    rows = np.asarray(gallery, dtype=np.float64)
    ranks = np.empty(len(features), dtype=np.int64)
    for number, (point, target_row) in enumerate(zip(features, true_rows, strict=True)):
        # From differences, not a Gram matrix: equal rows are equally far, and near ones in their true order.
        squares = np.square(rows - point).sum(axis=1)
        ranks[number] = np.count_nonzero(~(squares > squares[target_row] * (1 + RANK_TIE_RTOL)))
    return ranks


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> FloatArray:
    """Cosine of the angle between rows a and b (n, d). Higher is more alike: 1 same direction, 0 unrelated, −1 opposite.

    Returns (n,) in −1…1; 0 if either row is zero.
    """
    first, second = _flatten_pair(a, b)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.einsum("nd,nd->n", first, second)
    cosines: FloatArray = np.divide(products, lengths, out=np.zeros_like(products), where=lengths != 0)
    return np.clip(cosines, -1.0, 1.0)


def energy_share(residual: npt.NDArray[Any], rendered: npt.NDArray[Any]) -> FloatArray:
    """Share of a residual's energy that its rendering has in the right direction: max(d·r, 0) / |r|².

    Args:
        residual: r (n, d), what should be visible.
        rendered: d (n, d), what is visible, encoded again.

    Returns:
        (n,) ≥ 0: 0 is nothing or the opposite, 1 all of it, above 1 an overshoot; so higher is better up to 1 only. A
        part of d that is orthogonal to r does not count here; `cosine` shows it. 0 if r is zero.
    """
    target, actual = _flatten_pair(residual, rendered)
    target_energy = np.einsum("nd,nd->n", target, target)
    projection = np.maximum(np.einsum("nd,nd->n", target, actual), 0.0)
    share: FloatArray = np.divide(projection, target_energy, out=np.zeros_like(target_energy), where=target_energy != 0)
    return share


def _flatten_pair(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Both as (n, d) float64. Never broadcast: one row against many is a mistake here."""
    if a.shape != b.shape:
        raise ValueError(f"expected arrays of one shape, got {a.shape} and {b.shape}")
    flat = (len(a), int(np.prod(a.shape[1:])))
    return a.reshape(flat).astype(np.float64), b.reshape(flat).astype(np.float64)
