"""The codes a generator is trained on: each kind is what it says, and a seed makes them."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from interpdisc_core.training import _codes as module
from interpdisc_core.training._codes import SHARES, Examples, shifted, vary

Tensor = Any
seeds = st.integers(0, 2**31)


class Batch(NamedTuple):
    """Real codes (n, d), their pictures (n, 3, 2, 2), no two alike, codes to model, and each feature's spread."""

    codes: Tensor
    pictures: Tensor
    pool: Tensor
    spread: Tensor


def drawn(seed: int) -> Any:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 200, dimension: int = 60, pool: int = 90, seed: int = 0) -> Batch:
    """Codes with an offset and a falling spectrum, as features have."""
    random = drawn(seed)
    spectrum = torch.linspace(2, 0.2, dimension)
    codes = 1 + torch.randn((count + pool, dimension), generator=random) * spectrum
    pictures = torch.rand((count, 3, 2, 2), generator=random)
    return Batch(codes[:count], pictures, codes[count:], codes.std(0))


class Kinds(NamedTuple):
    """Which rows are of which kind, told by what came out alone; each (n,)."""

    real: Tensor
    perturbed: Tensor
    partial: Tensor
    residual: Tensor
    mixed: Tensor


def kinds(given: Batch, made: Examples) -> Kinds:
    same = torch.isclose(made.codes, given.codes, atol=1e-5).all(1)
    moved = ~torch.isclose(made.pictures, given.pictures, atol=1e-5).flatten(1).all(1)
    plain = made.has_asked & ~made.truthful
    return Kinds(
        made.truthful & same, made.truthful & ~same, plain & ~moved & ~same, ~made.has_asked, plain & (moved | same)
    )  # fmt: skip


@given(seeds)
def test_flags_and_targets(seed: int) -> None:
    """What is asked of a rendering, and whether the picture is the code's own, by kind; pictures stay the targets."""
    given = batch(seed=seed)
    made = vary(*given, drawn(seed))
    which = kinds(given, made)
    assert (torch.stack(list(which)).sum(0) == 1).all()
    assert torch.equal(made.codes[which.real], given.codes[which.real])
    assert torch.equal(made.truthful, which.real | which.perturbed)
    assert torch.equal(made.has_asked, ~which.residual)
    truthful, others = which.real | which.perturbed, which.partial | which.mixed
    assert torch.equal(made.asked[truthful], given.codes[truthful])
    assert torch.equal(made.asked[others], made.codes[others])
    assert torch.equal(made.pictures[~which.mixed], given.pictures[~which.mixed])
    assert all(part.isfinite().all() for part in (made.codes, made.pictures, made.asked))
    assert [len(part) for part in made] == [len(given.codes)] * 5


@given(seeds)
def test_a_seed_makes_the_batch(seed: int) -> None:
    """The same again to the bit; what was given is left as it is, and so is chance elsewhere."""
    given, before = batch(50), batch(50)
    torch.manual_seed(1)
    one, after = vary(*given, drawn(seed)), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    other = vary(*given, drawn(seed))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    third = vary(*given, drawn(seed + 1))
    assert not torch.equal(one.codes, third.codes)


def test_shares() -> None:
    """Of many, each kind has its share."""
    given = batch(8000, 12)
    found = torch.stack(list(kinds(given, vary(*given, drawn(0))))).float().mean(1)
    assert sum(SHARES) == pytest.approx(1)
    torch.testing.assert_close(found, torch.tensor(SHARES), atol=0.02, rtol=0)


@given(seeds)
def test_perturbed_codes_are_noise_and_another_length(seed: int) -> None:
    """Where features do not vary there is no noise: then the code's direction is kept."""
    given = batch()._replace(spread=torch.zeros(60))
    made = vary(*given, drawn(seed))
    which = kinds(given, made).perturbed
    ratio = made.codes[which] / given.codes[which]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-4, atol=1e-4)
    assert (ratio > 0.4).all()
    assert (ratio < 2.5).all()
    noisy = vary(*batch(), drawn(seed))
    away = (noisy.codes[which] - made.codes[which]) / ratio[:, :1] / batch().spread
    assert away.std() < module._NOISE
    assert away.std() > 0.05


@given(seeds)
def test_mixed_codes_lie_between_two(seed: int) -> None:
    """a x + (1 − a) y with a of at least half, and the picture is mixed by the same a."""
    given = batch()
    made = vary(*given, drawn(seed))
    for row in kinds(given, made).mixed.nonzero()[:, 0]:
        x, code = given.codes[row], made.codes[row]
        apart, here = given.codes - x, code - x
        lengths = apart.norm(dim=1).clamp(min=1e-12)
        away = (here[None] - (apart @ here / lengths**2)[:, None] * apart).norm(dim=1)
        away[row] = here.norm()
        other = int(away.argmin())
        assert away[other] < 1e-4 * x.norm()
        share = 0.0 if other == row else float(here.norm() / lengths[other])
        assert share <= 0.5 + 1e-5
        wanted = (1 - share) * given.pictures[row] + share * given.pictures[other]
        torch.testing.assert_close(made.pictures[row], wanted, atol=1e-4, rtol=0)


@given(seeds, st.integers(2, 30))
def test_partial_codes_are_expected_by_a_few_of_the_pool(seed: int, count: int) -> None:
    """x̂ lies in the pool's flat, of a dimension below the number of its rows."""
    given = batch(pool=count)
    made = vary(*given, drawn(seed))
    which = kinds(given, made).partial
    pool = given.pool.double()
    flat = torch.linalg.svd(pool - pool.mean(0), full_matrices=False)[2][: count - 1]
    off = made.codes[which].double() - pool.mean(0)
    assert (off - off @ flat.T @ flat).norm(dim=1).max() < 1e-3 * given.codes.norm(dim=1).max()
    rank = torch.linalg.matrix_rank(made.codes[which].double() - made.codes[which][0].double(), atol=1e-3)
    assert rank < count
    assert rank < 50


@given(seeds, st.sampled_from([2, 7, 40, 200]))
def test_an_expectation_is_a_projection(seed: int, pool: int) -> None:
    """Projected again it stays; what is left is orthogonal to all that can be expected; it is never longer."""
    given = batch(pool=pool)
    expected = module._expected(given.codes, given.pool, drawn(seed))
    scale = float(given.codes.norm(dim=1).max())
    again = module._expected(expected, given.pool, drawn(seed))
    torch.testing.assert_close(again, expected, atol=1e-3 * scale, rtol=0)
    residual, within = (given.codes - expected).double(), (expected - expected[0]).double()
    assert (residual @ within.T).abs().max() < 1e-3 * scale**2
    mean = module._expected(given.pool.mean(0, keepdim=True), given.pool, drawn(seed))[0]
    assert (residual.norm(dim=1) <= (given.codes - mean).norm(dim=1) + 1e-3 * scale).all()


def test_a_pool_of_equals_expects_itself() -> None:
    """There is no direction then: x̂ is the one code that there is."""
    given = batch()
    pool = given.codes[:1].expand(20, -1)
    for seed in range(5):
        expected = module._expected(given.codes, pool, drawn(seed))
        assert expected.isfinite().all()
        assert (expected - pool[0]).norm(dim=1).median() < (given.codes - pool[0]).norm(dim=1).median() / 2


@given(seeds)
def test_residual_codes_are_shifted(seed: int) -> None:
    """x − x̂ with the mean of x: and with x̂ they make x again, but for one number a row."""
    given = batch()
    made = vary(*given, drawn(seed))
    which = kinds(given, made).residual
    torch.testing.assert_close(made.codes[which].mean(1), given.codes[which].mean(1), atol=1e-4, rtol=1e-4)
    expected = module._expected(given.codes, given.pool, drawn(seed))
    found = shifted(given.codes, expected)
    torch.testing.assert_close(found.mean(1), given.codes.mean(1), atol=1e-4, rtol=1e-4)
    left = found + expected - given.codes
    torch.testing.assert_close(left, left[:, :1].expand_as(left), atol=1e-4, rtol=0)
    torch.testing.assert_close(shifted(given.codes, torch.zeros_like(given.codes)), given.codes, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("count", "pool"), [(1, 1), (1, 2), (2, 1), (3, 600)])
def test_small_batches(count: int, pool: int) -> None:
    """A code alone, and one to model: nothing raises, whatever the kinds."""
    given = batch(count, 5, pool)
    for seed in range(40):
        made = vary(*given, drawn(seed))
        assert made.codes.isfinite().all()
        assert made.codes.shape == (count, 5)
