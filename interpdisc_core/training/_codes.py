"""The codes a generator is trained on: real ones, and those a model of what was seen makes of them.

What is rendered for a pick lies off the manifold of real features: x̂ is a projection, x − x̂ what the projection
leaves. A generator that has seen only real codes paints its own prejudices there. So a part of each batch is

* `perturbed`: noise and another length; the picture stays the target;
* `partial`: x̂ by the SVD model of some other examples (as DEMUD's after so many picks);
* `residual`: x − x̂ with its mean shifted to that of x, as the panel `new` renders it;
* `mixed`: a x + (1 − a) y.

Targets of partial and residual codes are the pictures of x: what is learned is then the mean of the pictures that
have this projection, which is what such a panel may claim to show.
"""

from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("real", "perturbed", "partial", "residual", "mixed")
SHARES = (0.40, 0.15, 0.20, 0.10, 0.15)
_NOISE = 0.4
_LARGEST = 192
"""Most examples of which a model is made for a batch."""


class Examples(NamedTuple):
    """A batch to train on.

    codes (n, d): as fed. pictures (n, 3, s, s): targets in 0…1. asked (n, d): the features that their rendering should
    have, where has_asked (n,). truthful (n,): whether the picture is that of the code, so that the encoder's inner
    stages may be compared.
    """

    codes: Tensor
    pictures: Tensor
    asked: Tensor
    truthful: Tensor
    has_asked: Tensor


def vary(codes: Tensor, pictures: Tensor, pool: Tensor, spread: Tensor, random: torch.Generator) -> Examples:
    """A batch of all kinds from real codes (n, d) and pictures (n, 3, s, s); pool (m, d): other codes to model."""
    kinds = torch.multinomial(torch.tensor(SHARES), len(codes), replacement=True, generator=random)
    fed, asked, target = codes.clone(), codes.clone(), pictures.clone()
    noisy = kinds == 1
    if noisy.any():
        amount = _NOISE * torch.rand((int(noisy.sum()), 1), generator=random)
        noise = torch.randn(codes[noisy].shape, generator=random) * spread * amount
        length = torch.exp(0.15 * torch.randn((int(noisy.sum()), 1), generator=random))
        fed[noisy] = (codes[noisy] + noise) * length
    modelled = (kinds == 2) | (kinds == 3)
    if modelled.any():
        expected = _expected(codes[modelled], pool, random)
        fed[modelled] = torch.where((kinds[modelled] == 2)[:, None], expected, shifted(codes[modelled], expected))
        asked[modelled] = fed[modelled]
    mixed = kinds == 4
    if mixed.any():
        other = torch.randint(len(codes), (int(mixed.sum()),), generator=random)
        share = 0.5 + 0.5 * torch.rand((int(mixed.sum()), 1), generator=random)
        fed[mixed] = share * codes[mixed] + (1 - share) * codes[other]
        asked[mixed] = fed[mixed]
        weight = share[:, :, None, None]
        target[mixed] = weight * pictures[mixed] + (1 - weight) * pictures[other]
    return Examples(fed, target, asked, (kinds == 0) | noisy, kinds != 3)


def shifted(codes: Tensor, expected: Tensor) -> Tensor:
    """x − x̂ with its mean over the features moved to that of x (n, d): the authors' step."""
    residual = codes - expected
    return residual - residual.mean(1, keepdim=True) + codes.mean(1, keepdim=True)


def _expected(codes: Tensor, pool: Tensor, random: torch.Generator) -> Tensor:
    """x̂ of codes (n, d) under the SVD of a random few of `pool`, of a random rank."""
    few = int(torch.exp(torch.rand((), generator=random) * torch.log(torch.tensor(_LARGEST / 2.0))) * 2)
    rows = pool[torch.randint(len(pool), (max(few, 2),), generator=random)]
    rank = int(torch.randint(1, max(min(len(rows), 50), 2), (), generator=random))
    mean = rows.mean(0)
    # Right singular vectors by the small Gram matrix: there are far more features than rows.
    centred = rows - mean
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    # Rows that are equal, as the same one drawn twice, differ by rounding: that is no direction.
    least = torch.maximum(1e-6 * values[-1], 1e-11 * rows.square().sum()).clamp(min=1e-18)
    keep = values.flip(0)[:rank] > least
    basis = centred.T @ vectors.flip(1)[:, :rank][:, keep] / values.flip(0)[:rank][keep].sqrt()
    expected: Tensor = mean + (codes - mean) @ basis @ basis.T
    return expected
