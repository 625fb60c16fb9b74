"""How good an inverter is on held-out images, and from which cosine on its pictures of novelty can be trusted.

Errors in feature space are computed with the representation itself and with a second encoder that was not used in
training: an inverter can score well with its own encoder by details that only that encoder sees.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import Float32Array, FloatArray, PixelArray
from interpdisc_core.explanations.render import build_second_encoder, encode_pictures
from interpdisc_core.metrics import image_similarity
from interpdisc_core.training.dataset import ExampleArrays

DecodeFunction = Callable[[npt.NDArray[Any]], PixelArray]
"""Codes (n, d) to pictures (n, s, s, 3) uint8."""

MODEL_RANK = 50
"""Components of the model by which residuals are computed: DEMUD's default."""


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """A held-out set, with the units of its errors.

    Attributes:
        examples: Codes and pictures.
        second_codes: Features of the second encoder (n, d2).
        pixel_unit: Mean distance of two of its images in pixels.
        feature_unit: The same in features.
        second_unit: The same in features of the second encoder.
    """

    examples: ExampleArrays
    second_codes: Float32Array
    pixel_unit: float
    feature_unit: float
    second_unit: float

    @classmethod
    def from_examples(cls, examples: ExampleArrays) -> "ValidationSet":
        """From examples, at least two."""
        second_codes = encode_pictures(build_second_encoder(), examples.pictures)
        return cls(
            examples,
            second_codes,
            image_similarity.mean_distance(examples.pictures.reshape(len(examples.pictures), -1)),
            image_similarity.mean_distance(examples.codes),
            image_similarity.mean_distance(second_codes),
        )

    def score(self, representation: Any, pictures: PixelArray, rows: slice = slice(None)) -> dict[str, float]:
        """Score pictures rendered from the set's codes.

        Args:
            representation: The encoder whose codes were inverted.
            pictures: The rendered pictures (n, s, s, 3) uint8.
            rows: Rows of the set that they belong to.

        Returns:
            PSNR in dB and SSIM (higher is better); errors over the mean distance of two images (0 is perfect), in
            pixels, in features and in features of the second encoder; and the retrieval rank of the true image (1 is
            best) among the set's images when the pictures are encoded again.
        """
        truth = self.examples.pictures[rows]
        features = encode_pictures(representation, pictures)
        ranks = image_similarity.retrieval_rank(
            features, np.arange(len(self.examples.codes))[rows], self.examples.codes
        )
        flat = (len(pictures), -1)
        return {
            "images": len(pictures),
            "psnr": float(image_similarity.psnr(pictures, truth).mean()),
            "ssim": float(image_similarity.ssim(pictures, truth).mean()),
            "image_error": float(
                image_similarity.normalized_error(pictures.reshape(flat), truth.reshape(flat), self.pixel_unit).mean()
            ),
            "feature_error": float(
                image_similarity.normalized_error(features, self.examples.codes[rows], self.feature_unit).mean()
            ),
            "second_error": float(
                image_similarity.normalized_error(
                    encode_pictures(build_second_encoder(), pictures), self.second_codes[rows], self.second_unit
                ).mean()
            ),
            "rank_median": float(np.median(ranks)),
            "rank_first": float((ranks == 1).mean()),
            "rank_among": len(self.examples.codes),
        }


def reconstruct_codes(codes: Float32Array, seen_codes: Float32Array) -> FloatArray:
    """x̂ (n, d) of codes (n, d) by an SVD model of seen codes (m, d), as DEMUD's after m picks."""
    mean = seen_codes.mean(0, dtype=np.float64)
    basis = np.linalg.svd(seen_codes - mean, full_matrices=False)[2][:MODEL_RANK]
    expected: FloatArray = mean + (codes - mean) @ basis.T @ basis
    return expected


def compute_residual_cosines(
    representation: Any, decode: DecodeFunction, codes: Float32Array, seen_codes: Float32Array, seed: int = 0
) -> dict[str, FloatArray]:
    """Cosines between residual and rendered residual of held-out codes, by an SVD model of seen codes.

    Args:
        representation: The encoder.
        decode: The inverter.
        codes: Held-out codes (n, d).
        seen_codes: Codes (m, d) of the model.
        seed: Of the random directions.

    Returns:
        Cosines (n,), 1 is perfect, 0 unrelated. `true`: of an image's residual with its rendering. `random`: of a
        random direction of the same length with its rendering. `shuffled`: of another image's residual with this
        image's rendering.
    """
    expected = reconstruct_codes(codes, seen_codes)
    residual = codes - expected
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(residual.shape)
    noise *= np.linalg.norm(residual, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    expected_features = encode_pictures(representation, decode(expected)).astype(np.float64)
    rendered = encode_pictures(representation, decode(codes)) - expected_features
    return {
        "true": image_similarity.cosine(residual, rendered),
        "random": image_similarity.cosine(
            noise, encode_pictures(representation, decode(expected + noise)) - expected_features
        ),
        "shuffled": image_similarity.cosine(np.roll(residual, 1, axis=0), rendered),
    }


def compute_cosine_threshold(cosines: dict[str, FloatArray]) -> float:
    """The cosine that 95 % of renderings stay below when compared with another image's residual."""
    return float(np.quantile(cosines["shuffled"], 0.95))
