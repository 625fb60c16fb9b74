"""How faithful renderings are: pure functions on arrays of pictures and of features.

Everything is computed in float64. Every score is a number a row; none is a mean over rows but `mean_distance`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core.images import Pixels

Scores = npt.NDArray[np.float64]

PSNR_MOST = 100.0
"""dB: what `psnr` says of identical pictures. One value of a 224 x 224 picture off by one is 99.9 dB."""
TIE = 1e-12
"""Squared distances that differ by less than this share of the larger are tied: their rounding, with room to spare."""


def psnr(pictures: Pixels, truths: Pixels) -> Scores:
    """Peak signal-to-noise ratio in dB: 10 log10(255² / mean squared difference). Higher is better.

    pictures, truths: (n, s, s, 3) uint8. Returns (n,) in 0…PSNR_MOST; the infinity of identical pictures, and what
    little lies between, is PSNR_MOST, so that means and JSON stay finite.
    """
    made, true = _pairs(pictures, truths)
    error = np.square(made - true).mean(axis=1)
    least = 255.0**2 / 10 ** (PSNR_MOST / 10)
    ratio: Scores = np.minimum(10 * np.log10(255.0**2 / np.maximum(error, least)), PSNR_MOST)
    return ratio


def ssim(pictures: Pixels, truths: Pixels) -> Scores:
    """Structural similarity (Wang et al. 2004), mean over places and channels. Higher is better, 1 is identical.

    pictures, truths: (n, s, s, 3) uint8, s ≥ 7. Returns (n,) in −1…1. Computed as scikit-image does by default: a
    7 x 7 window of equal weights, each channel by itself.
    """
    from skimage import metrics

    similarity: Any = metrics.structural_similarity  # untyped
    if pictures.shape != truths.shape:
        raise ValueError(f"expected pictures of one shape, got {pictures.shape} and {truths.shape}")
    return np.array(
        [similarity(made, true, channel_axis=-1, data_range=255) for made, true in zip(pictures, truths, strict=True)],
        dtype=np.float64,
    )


def mean_distance(sample: npt.NDArray[Any]) -> float:
    """Mean Euclidean distance over all pairs i < j: the unit of `normalised_error`, ≥ 0; 0 if all rows are equal.

    sample: (n, d) of any real dtype, n ≥ 2; (n, …) is flattened. By its Gram matrix: n² floats of memory. The
    distance of two rows is certain to about 1e-8 of the farthest row's from the mean. Source: Dosovitskiy & Brox
    2016, who state the error of a reconstruction in this unit.
    """
    if len(sample) < 2:
        raise ValueError(f"expected two rows or more, got {len(sample)}")
    rows = np.array(sample, dtype=np.float64).reshape(len(sample), -1)
    rows -= rows[0].copy()  # equal rows become exactly 0
    rows -= rows.mean(axis=0)  # an offset that all share must not drown their differences
    gram = rows @ rows.T
    squares = gram.diagonal()
    apart = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * gram, 0.0))
    np.fill_diagonal(apart, 0.0)
    return float(apart.sum() / (len(rows) * (len(rows) - 1)))


def normalised_error(made: npt.NDArray[Any], true: npt.NDArray[Any], unit: float) -> Scores:
    """|made − true| / unit, Euclidean. Lower is better: 0 is perfect, 1 is no better than another image.

    made, true: (n, …) pictures or features, flattened. unit: > 0, the `mean_distance` of true ones. Returns (n,),
    ≥ 0 and without an upper end. Source: Dosovitskiy & Brox 2016.
    """
    if not unit > 0:
        raise ValueError(f"expected a unit above 0, got {unit}: do all images of the sample look the same?")
    first, second = _pairs(made, true)
    error: Scores = np.linalg.norm(first - second, axis=1) / unit
    return error


def retrieval_rank(
    found: npt.NDArray[Any], true_row: npt.NDArray[np.integer[Any]], gallery: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """The true image's place when a gallery is sorted by Euclidean distance from what was found. 1 is best.

    found: (n, d) features of the pictures, encoded again; true_row: (n,) rows of the true images in the gallery;
    gallery: (m, d). Returns (n,) in 1…m: the number of rows at most as far as the true one, itself included. So ties
    count against it, those within TIE (rounding) too, and so does what cannot be compared (NaN).
    """
    if found.shape[1:] != gallery.shape[1:] or true_row.shape != found.shape[:1]:
        raise ValueError(f"expected (n, d), (n,) and (m, d), got {found.shape}, {true_row.shape} and {gallery.shape}")
    if ((true_row < 0) | (true_row >= len(gallery))).any():
        raise ValueError(
            f"expected rows of the gallery, 0 to {len(gallery) - 1}, got {true_row.min()} to {true_row.max()}"
        )
    rows = np.asarray(gallery, dtype=np.float64)
    ranks = np.empty(len(found), dtype=np.int64)
    for number, (point, true) in enumerate(zip(found, true_row, strict=True)):
        # Of differences, not by a Gram matrix: equal rows are then equally far, and near ones in their true order.
        squares = np.square(rows - point).sum(axis=1)
        ranks[number] = np.count_nonzero(~(squares > squares[true] * (1 + TIE)))
    return ranks


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Scores:
    """Cosine of the angle between rows. Higher is more alike: 1 same direction, 0 unrelated, −1 opposite.

    a, b: (n, d). Returns (n,) in −1…1; 0 where either row is zero.
    """
    first, second = _pairs(a, b)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.einsum("nd,nd->n", first, second)
    cosines: Scores = np.divide(products, lengths, out=np.zeros_like(products), where=lengths != 0)
    return np.clip(cosines, -1.0, 1.0)


def energy(residual: npt.NDArray[Any], rendered: npt.NDArray[Any]) -> Scores:
    """Share of a residual's energy that its rendering carries in the right direction: max(d·r, 0) / |r|².

    residual: r (n, d), what should be seen; rendered: d (n, d), what is seen, encoded again. Returns (n,), ≥ 0: 0
    nothing or the opposite, 1 all of it, above 1 an overshoot, so higher is better up to 1 only. d orthogonal to r
    costs nothing here; `cosine` shows it. 0 where r is zero.
    """
    wanted, seen = _pairs(residual, rendered)
    whole = np.einsum("nd,nd->n", wanted, wanted)
    along = np.maximum(np.einsum("nd,nd->n", wanted, seen), 0.0)
    share: Scores = np.divide(along, whole, out=np.zeros_like(whole), where=whole != 0)
    return share


def _pairs(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[Scores, Scores]:
    """Both as (n, d) float64. One row against many is a mistake here, so nothing is broadcast."""
    if a.shape != b.shape:
        raise ValueError(f"expected arrays of one shape, got {a.shape} and {b.shape}")
    flat = (len(a), int(np.prod(a.shape[1:])))
    return a.reshape(flat).astype(np.float64), b.reshape(flat).astype(np.float64)
