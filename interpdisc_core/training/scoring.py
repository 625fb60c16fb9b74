"""How good an inverter is on images that it never saw, and from which cosine on its pictures of novelty mean something.

Feature-space numbers are taken under the representation itself and under a second encoder that had no part in
training: an inverter can do well under its own encoder by detail that only that encoder sees.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core import scores
from interpdisc_core.images import Pixels
from interpdisc_core.representations import MobileNetV2
from interpdisc_core.training.examples import Codes, Sample, reduced

Floats = npt.NDArray[np.float64]
Inverse = Callable[[npt.NDArray[Any]], Pixels]

RANK = 50
"""Components of the model by which a training is judged: DEMUD's default."""


def second_encoder() -> Any:
    """The encoder that had no part in training."""
    return MobileNetV2()


def encoded(representation: Any, pictures: Pixels) -> Codes:
    """Features (n, d) float32 of pictures (n, s, s, 3) of any size, each of which shows what the network looks at.

    They are resized, not prepared: `prepare` would cut the middle out of them once more.
    """
    embed, side = representation.load(), representation.side
    batches = (pictures[at : at + 32] for at in range(0, len(pictures), 32))
    return np.concatenate([embed(np.stack([reduced(picture, side) for picture in batch])) for batch in batches])


@dataclass(frozen=True, slots=True)
class Yardstick:
    """A held-out set, with what its scores are measured by: mean distances of two of its images."""

    held: Sample
    second: Codes
    pixel_unit: float
    feature_unit: float
    second_unit: float

    @classmethod
    def of(cls, held: Sample) -> "Yardstick":
        """Of examples, at least two."""
        second = encoded(second_encoder(), held.pictures)
        return cls(
            held, second, scores.mean_distance(held.pictures.reshape(len(held.pictures), -1)),
            scores.mean_distance(held.codes), scores.mean_distance(second),
        )  # fmt: skip

    def score(self, representation: Any, made: Pixels, which: slice = slice(None)) -> dict[str, float]:
        """Scores of pictures `made` of the set's codes.

        PSNR in dB and SSIM; errors over the mean distance of two images (0 is perfect), in pixels, in features and in
        features of the second encoder; and the retrieval rank of the true image (1 is best) among the set's images
        when `made` is encoded again.
        """
        truth = self.held.pictures[which]
        found = encoded(representation, made)
        ranks = scores.retrieval_rank(found, np.arange(len(self.held.codes))[which], self.held.codes)
        flat = (len(made), -1)
        return {
            "images": len(made),
            "psnr": float(scores.psnr(made, truth).mean()),
            "ssim": float(scores.ssim(made, truth).mean()),
            "image_error": float(
                scores.normalised_error(made.reshape(flat), truth.reshape(flat), self.pixel_unit).mean()
            ),
            "feature_error": float(scores.normalised_error(found, self.held.codes[which], self.feature_unit).mean()),
            "second_error": float(
                scores.normalised_error(encoded(second_encoder(), made), self.second[which], self.second_unit).mean()
            ),
            "rank_median": float(np.median(ranks)),
            "rank_first": float((ranks == 1).mean()),
            "rank_among": len(self.held.codes),
        }


def expectations(codes: Codes, seen: Codes) -> Floats:
    """x̂ (n, d) of codes (n, d) under an SVD model of others (m, d), as DEMUD's after so many picks."""
    mean = seen.mean(0, dtype=np.float64)
    basis = np.linalg.svd(seen - mean, full_matrices=False)[2][:RANK]
    expected: Floats = mean + (codes - mean) @ basis.T @ basis
    return expected


def faithfulness(representation: Any, inverse: Inverse, codes: Codes, seen: Codes, seed: int = 0) -> dict[str, Floats]:
    """Cosines (n,) between residual and rendered residual of held-out codes (n, d), under an SVD model of `seen`.

    `true`: of an image's own residual. `random`: of a random direction as long. `shuffled`: of what was rendered for
    the image with another image's residual.
    """
    expected = expectations(codes, seen)
    residual = codes - expected
    random = np.random.default_rng(seed)
    noise = random.standard_normal(residual.shape)
    noise *= np.linalg.norm(residual, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    base = encoded(representation, inverse(expected)).astype(np.float64)
    rendered = encoded(representation, inverse(codes)) - base
    return {
        "true": scores.cosine(residual, rendered),
        "random": scores.cosine(noise, encoded(representation, inverse(expected + noise)) - base),
        "shuffled": scores.cosine(np.roll(residual, 1, axis=0), rendered),
    }


def threshold(cosines: dict[str, Floats]) -> float:
    """The cosine that 95 in 100 renderings stay below when they are held against another image's residual."""
    return float(np.quantile(cosines["shuffled"], 0.95))
