"""The codes that a generator is trained on: each kind is as documented, and all depend on the seed alone."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.training import _feature_mixing as module
from interpdisc_core.training._feature_mixing import (
    CODE_KIND_SHARES,
    AugmentedBatch,
    augment_codes,
    shift_residual_mean,
)

torch = pytest.importorskip("torch")

Tensor = Any
seeds = st.integers(0, 2**31)


class Batch(NamedTuple):
    """Real codes (n, d), their pictures (n, 3, 2, 2), no two alike, codes to model, and each feature's spread."""

    codes: Tensor
    pictures: Tensor
    pool: Tensor
    spread: Tensor


def seeded_generator(seed: int) -> Any:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 200, dimension: int = 60, pool: int = 90, seed: int = 0) -> Batch:
    """Codes with an offset and a falling spectrum, as features have."""
    random = seeded_generator(seed)
    spectrum = torch.linspace(2, 0.2, dimension)
    codes = 1 + torch.randn((count + pool, dimension), generator=random) * spectrum
    pictures = torch.rand((count, 3, 2, 2), generator=random)
    return Batch(codes[:count], pictures, codes[count:], codes.std(0))


class Kinds(NamedTuple):
    """The rows of each kind (n,), found from the output alone."""

    real: Tensor
    perturbed: Tensor
    partial: Tensor
    residual: Tensor
    mixed: Tensor


def kinds(original: Batch, augmented: AugmentedBatch) -> Kinds:
    same = torch.isclose(augmented.inputs, original.codes, atol=1e-5).all(1)
    # Not by closeness: a mixture with very little of the other differs very little.
    moved = (augmented.targets != original.pictures).flatten(1).any(1)
    plain = augmented.has_target_features & ~augmented.is_picture_of_code
    return Kinds(
        augmented.is_picture_of_code & same,
        augmented.is_picture_of_code & ~same,
        plain & ~moved & ~same,
        ~augmented.has_target_features,
        plain & (moved | same),
    )


@given(seeds)
def test_flags_and_targets_follow_from_the_kind_of_code(seed: int) -> None:
    original = batch(seed=seed)
    augmented = augment_codes(*original, seeded_generator(seed))
    rows = kinds(original, augmented)
    assert (torch.stack(list(rows)).sum(0) == 1).all()
    assert torch.equal(augmented.inputs[rows.real], original.codes[rows.real])
    assert torch.equal(augmented.is_picture_of_code, rows.real | rows.perturbed)
    assert torch.equal(augmented.has_target_features, ~rows.residual)
    truthful, others = rows.real | rows.perturbed, rows.partial | rows.mixed
    assert torch.equal(augmented.target_features[truthful], original.codes[truthful])
    assert torch.equal(augmented.target_features[others], augmented.inputs[others])
    assert torch.equal(augmented.targets[~rows.mixed], original.pictures[~rows.mixed])
    assert all(part.isfinite().all() for part in (augmented.inputs, augmented.targets, augmented.target_features))
    assert [len(part) for part in augmented] == [len(original.codes)] * 5


@given(seeds)
def test_a_batch_depends_on_the_seed_alone(seed: int) -> None:
    """The input is not changed, nor is PyTorch's global random state."""
    original, before = batch(50), batch(50)
    torch.manual_seed(1)
    first, after = augment_codes(*original, seeded_generator(seed)), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    other = augment_codes(*original, seeded_generator(seed))
    assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(original, before, strict=True))
    third = augment_codes(*original, seeded_generator(seed + 1))
    assert not torch.equal(first.inputs, third.inputs)


def test_each_kind_has_its_share() -> None:
    original = batch(8000, 12)
    shares = torch.stack(list(kinds(original, augment_codes(*original, seeded_generator(0))))).float().mean(1)
    assert sum(CODE_KIND_SHARES) == pytest.approx(1)
    torch.testing.assert_close(shares, torch.tensor(CODE_KIND_SHARES), atol=0.02, rtol=0)


@given(seeds)
def test_perturbed_codes_have_noise_and_another_length(seed: int) -> None:
    """If features do not vary there is no noise, and the code's direction is kept."""
    original = batch()._replace(spread=torch.zeros(60))
    augmented = augment_codes(*original, seeded_generator(seed))
    rows = kinds(original, augmented).perturbed
    ratio = augmented.inputs[rows] / original.codes[rows]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-4, atol=1e-4)
    assert (ratio > 0.4).all()
    assert (ratio < 2.5).all()
    noisy = augment_codes(*batch(), seeded_generator(seed))
    away = (noisy.inputs[rows] - augmented.inputs[rows]) / ratio[:, :1] / batch().spread
    assert away.std() < module._NOISE
    assert away.std() > 0.05


@given(seeds)
def test_mixed_codes_and_pictures_are_mixed_by_the_same_weight(seed: int) -> None:
    """a x + (1 − a) y, a ≥ 0.5."""
    original = batch()
    augmented = augment_codes(*original, seeded_generator(seed))
    for row in kinds(original, augmented).mixed.nonzero()[:, 0]:
        x, code = original.codes[row], augmented.inputs[row]
        apart, here = original.codes - x, code - x
        lengths = apart.norm(dim=1).clamp(min=1e-12)
        away = (here[None] - (apart @ here / lengths**2)[:, None] * apart).norm(dim=1)
        away[row] = here.norm()
        other = int(away.argmin())
        assert away[other] < 1e-4 * x.norm()
        share = 0.0 if other == row else float(here.norm() / lengths[other])
        assert share <= 0.5 + 1e-5
        expected = (1 - share) * original.pictures[row] + share * original.pictures[other]
        torch.testing.assert_close(augmented.targets[row], expected, atol=1e-4, rtol=0)


@given(seeds, st.integers(2, 30))
def test_partial_codes_lie_in_the_affine_span_of_the_pool(seed: int, count: int) -> None:
    original = batch(pool=count)
    augmented = augment_codes(*original, seeded_generator(seed))
    rows = kinds(original, augmented).partial
    pool = original.pool.double()
    flat = torch.linalg.svd(pool - pool.mean(0), full_matrices=False)[2][: count - 1]
    off = augmented.inputs[rows].double() - pool.mean(0)
    assert (off - off @ flat.T @ flat).norm(dim=1).max() < 1e-3 * original.codes.norm(dim=1).max()
    rank = torch.linalg.matrix_rank(augmented.inputs[rows].double() - augmented.inputs[rows][0].double(), atol=1e-3)
    assert rank < count
    assert rank < 50


@given(seeds, st.sampled_from([2, 7, 40, 200]))
def test_a_reconstruction_is_an_orthogonal_projection(seed: int, pool: int) -> None:
    """Projected again it stays; the residual is orthogonal to the span, and never longer than x − mean."""
    original = batch(pool=pool)
    expected = module._reconstruct(original.codes, original.pool, seeded_generator(seed))
    scale = float(original.codes.norm(dim=1).max())
    again = module._reconstruct(expected, original.pool, seeded_generator(seed))
    torch.testing.assert_close(again, expected, atol=1e-3 * scale, rtol=0)
    residual, within = (original.codes - expected).double(), (expected - expected[0]).double()
    assert (residual @ within.T).abs().max() < 1e-3 * scale**2
    mean = module._reconstruct(original.pool.mean(0, keepdim=True), original.pool, seeded_generator(seed))[0]
    assert (residual.norm(dim=1) <= (original.codes - mean).norm(dim=1) + 1e-3 * scale).all()


def test_a_pool_of_equal_codes_reconstructs_that_code() -> None:
    original = batch()
    pool = original.codes[:1].expand(20, -1)
    for seed in range(5):
        expected = module._reconstruct(original.codes, pool, seeded_generator(seed))
        assert expected.isfinite().all()
        assert (expected - pool[0]).norm(dim=1).median() < (original.codes - pool[0]).norm(dim=1).median() / 2


@given(seeds)
def test_residual_codes_have_the_mean_of_x(seed: int) -> None:
    """And with x̂ they add up to x, except for one number a row."""
    original = batch()
    augmented = augment_codes(*original, seeded_generator(seed))
    rows = kinds(original, augmented).residual
    torch.testing.assert_close(augmented.inputs[rows].mean(1), original.codes[rows].mean(1), atol=1e-4, rtol=1e-4)
    expected = module._reconstruct(original.codes, original.pool, seeded_generator(seed))
    shifted = shift_residual_mean(original.codes, expected)
    torch.testing.assert_close(shifted.mean(1), original.codes.mean(1), atol=1e-4, rtol=1e-4)
    rest = shifted + expected - original.codes
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        shift_residual_mean(original.codes, torch.zeros_like(original.codes)), original.codes, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("count", "pool"), [(1, 1), (1, 2), (2, 1), (3, 600)])
def test_batches_and_pools_of_one_code_are_augmented(count: int, pool: int) -> None:
    original = batch(count, 5, pool)
    for seed in range(40):
        augmented = augment_codes(*original, seeded_generator(seed))
        assert augmented.inputs.isfinite().all()
        assert augmented.inputs.shape == (count, 5)
