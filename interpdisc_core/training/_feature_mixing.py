"""The codes that a generator is trained on: real ones, and those that a model of seen codes makes of them.

What is rendered for a pick lies off the manifold of real features: x̂ is a projection, x − x̂ its remainder. There, a
generator that has seen only real codes shows its own prejudices. So a part of each batch is

* `perturbed`: noise and another length; the picture stays the target;
* `partial`: x̂ by the SVD model of some other examples (as DEMUD's after some picks);
* `residual`: x − x̂ with its mean shifted to that of x, as the panel `new` renders it;
* `mixed`: a x + (1 − a) y.

Targets of partial and residual codes are the pictures of x: what is learned is then the mean of the pictures that
have this projection, which is what such a panel may claim to show.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from interpdisc_core.explanations.render import shift_mean

CODE_KINDS = ("real", "perturbed", "partial", "residual", "mixed")
CODE_KIND_SHARES = (0.40, 0.15, 0.20, 0.10, 0.15)
_NOISE = 0.4
_MAX_MODEL_ROWS = 192
"""Most examples that a batch's model is fitted to."""


class AugmentedBatch(NamedTuple):
    """A batch to train on.

    Attributes:
        inputs: Codes (n, d) that the generator gets.
        targets: Pictures (n, 3, s, s) in 0…1 that it should make of them.
        target_features: Features (n, d) that the rendered pictures should have.
        is_picture_of_code: Whether the target is the picture of the code (n,), so that the encoder's inner stages can
            be compared.
        has_target_features: Whether `target_features` is defined (n,).
    """

    inputs: Tensor
    targets: Tensor
    target_features: Tensor
    is_picture_of_code: Tensor
    has_target_features: Tensor


def augment_codes(
    codes: Tensor, pictures: Tensor, pool: Tensor, feature_std: Tensor, generator: torch.Generator
) -> AugmentedBatch:
    """A batch of all kinds from real codes (n, d) and pictures (n, 3, s, s); pool (m, d): other codes, for models."""
    kinds = torch.multinomial(torch.tensor(CODE_KIND_SHARES), len(codes), replacement=True, generator=generator)
    inputs, target_features, targets = codes.clone(), codes.clone(), pictures.clone()
    is_noisy = kinds == 1
    if is_noisy.any():
        amount = _NOISE * torch.rand((int(is_noisy.sum()), 1), generator=generator)
        noise = torch.randn(codes[is_noisy].shape, generator=generator) * feature_std * amount
        length = torch.exp(0.15 * torch.randn((int(is_noisy.sum()), 1), generator=generator))
        inputs[is_noisy] = (codes[is_noisy] + noise) * length
    is_modeled = (kinds == 2) | (kinds == 3)
    if is_modeled.any():
        expected = _reconstruct(codes[is_modeled], pool, generator)
        inputs[is_modeled] = torch.where(
            (kinds[is_modeled] == 2)[:, None], expected, shift_residual_mean(codes[is_modeled], expected)
        )
        target_features[is_modeled] = inputs[is_modeled]
    is_mixed = kinds == 4
    if is_mixed.any():
        other = torch.randint(len(codes), (int(is_mixed.sum()),), generator=generator)
        share = 0.5 + 0.5 * torch.rand((int(is_mixed.sum()), 1), generator=generator)
        inputs[is_mixed] = share * codes[is_mixed] + (1 - share) * codes[other]
        target_features[is_mixed] = inputs[is_mixed]
        weight = share[:, :, None, None]
        targets[is_mixed] = weight * pictures[is_mixed] + (1 - weight) * pictures[other]
    return AugmentedBatch(inputs, targets, target_features, (kinds == 0) | is_noisy, kinds != 3)


def shift_residual_mean(codes: Tensor, expected: Tensor) -> Tensor:
    """x − x̂ with its mean over the features shifted to that of x (n, d), as Wagstaff & Lee 2018 do."""
    return shift_mean(codes - expected, codes)


def _reconstruct(codes: Tensor, pool: Tensor, generator: torch.Generator) -> Tensor:
    """x̂ of codes (n, d) by an SVD model, of random rank, of a random few of `pool`."""
    row_count = int(torch.exp(torch.rand((), generator=generator) * torch.log(torch.tensor(_MAX_MODEL_ROWS / 2.0))) * 2)
    rows = pool[torch.randint(len(pool), (max(row_count, 2),), generator=generator)]
    rank = int(torch.randint(1, max(min(len(rows), 50), 2), (), generator=generator))
    mean = rows.mean(0)
    # Right singular vectors by the small Gram matrix: there are far more features than rows.
    centered = rows - mean
    values, vectors = torch.linalg.eigh(centered @ centered.T)
    # Equal rows, such as one drawn twice, differ by rounding only: that is no direction.
    min_eigenvalue = torch.maximum(1e-6 * values[-1], 1e-11 * rows.square().sum()).clamp(min=1e-18)
    is_direction = values.flip(0)[:rank] > min_eigenvalue
    basis = centered.T @ vectors.flip(1)[:, :rank][:, is_direction] / values.flip(0)[:rank][is_direction].sqrt()
    expected: Tensor = mean + (codes - mean) @ basis @ basis.T
    return expected
