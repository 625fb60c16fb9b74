"""Copies held and multiplied by PyTorch: the same picks as NumPy's, to the bit. Tests a GPU if there is one."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import ComputeOptions, Demud
from interpdisc_core.selectors.exact.device import allocate_quantized
from interpdisc_core.selectors.exact.quantized_rows import CopyBits, QuantizedRows
from interpdisc_core.selectors.rows import ArrayRows
from tests.helpers.strategies import (
    METHODS,
    SelectionProblem,
    comparable_choices,
    draw_problems,
    examples,
    make_clusters,
    make_matrix,
    run_selector,
    small_blocks,
    store_values,
)

torch = pytest.importorskip("torch", reason="copies on a device need PyTorch")

DEVICES = [
    "torch:cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")),
]
each_device = pytest.mark.parametrize("device", DEVICES)


@contextmanager
def in_low_precision() -> Iterator[None]:
    """Products of float32 in as little precision as PyTorch may use, for the whole process."""
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = "tf32", "bf16"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = before


# Picks


@each_device
@given(draw_problems(), st.sampled_from((8, 16)), st.sampled_from((1, 2)), st.sampled_from((3, 2048)))
def test_picks_are_numpys_to_the_bit(
    device: str, problem: SelectionProblem, bits: int, threads: int, block: int
) -> None:
    """Picks, scores, near-ties, x̂, r and μ of any features, prior, method, rank and start, duplicates among them."""
    with small_blocks(block):
        plain = run_selector(problem.settings, problem.features, problem.prior, copy_bits=bits)
        on = run_selector(
            problem.settings, problem.features, problem.prior, copy_bits=bits, threads=threads, device=device
        )
    assert comparable_choices(on) == comparable_choices(plain)


@each_device
@examples(8)
@given(st.sampled_from(METHODS), st.sampled_from(["float32", "float16", "int8"]), st.sampled_from((1, 3)))
def test_picks_are_numpys_far_beyond_truncation(device: str, method: Any, kind: str, threads: int) -> None:
    """60 picks of 3,000 rows similar to those of images, a third of which are duplicates, in several stores."""
    x = make_clusters(2000, 24, seed=1)
    stored = store_values(np.vstack([x, x[::2]]), kind)
    options = Demud(method=method, rank=6)
    plain = run_selector(options, stored.rows("array"), picks=60)
    assert comparable_choices(
        run_selector(options, stored.rows("zarr 64"), picks=60, threads=threads, device=device)
    ) == comparable_choices(plain)


@each_device
@pytest.mark.parametrize("sign", ["both", "low"])
def test_picks_are_numpys_where_values_are_missing(device: str, sign: Any) -> None:
    """Rows without a copy, and scores that need the copies themselves."""
    x = make_clusters(300, 10, seed=2)
    x[np.random.default_rng(2).random(x.shape) < 0.02] = np.nan
    options = Demud(rank=4, sign=sign, weights="boostlow", missing="ignore")
    assert comparable_choices(run_selector(options, x, picks=40, device=device)) == comparable_choices(
        run_selector(options, x, picks=40)
    )


@each_device
def test_picks_are_numpys_whatever_the_precision_of_the_process(device: str) -> None:
    """TF32 and bfloat16 for other products of the process change no pick, and are left switched on."""
    x = make_clusters(1500, 40, seed=3).astype(np.float32)
    plain = run_selector(Demud(rank=8), x, picks=40)
    with in_low_precision():
        choices = run_selector(Demud(rank=8), x, picks=40, device=device)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    assert comparable_choices(choices) == comparable_choices(plain)


# Copies


@each_device
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["normal", "float32", "scaled", "offset"])
def test_copies_are_numpys_to_the_bit(device: str, bits: CopyBits, kind: str) -> None:
    """Steps, scales, sizes, errors and gaps; by rows in any order."""
    values = make_matrix(kind, 50, 7, seed=4)
    values[5, 2] = np.nan
    center = values[:5].mean(axis=0).astype(np.float32).astype(np.float64)
    here, there = (
        QuantizedRows.allocate(50, center, bits, in_file=False),
        allocate_quantized(50, center, bits, False, device),
    )
    for copies in (here, there):
        for start in (20, 0, 40):
            copies.quantize(slice(start, min(start + 20, 50)), values[start : start + 20])
    rows = np.array([7, 3, 49, 3, 5])
    for dtype in (np.float32, np.float64):
        assert there.read_steps(rows, dtype).dtype == dtype
        np.testing.assert_array_equal(there.read_steps(rows, dtype), here.read_steps(rows, dtype))
    for name in ("scale", "norm", "error_bound", "has_missing"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    assert there.steps.nbytes == here.steps.nbytes == 50 * 7 * bits // 8


@each_device
def test_products_are_no_less_exact_than_float32(device: str) -> None:
    """Within half a float32 rounding of the true ones, in any precision of the process; and from several threads."""
    rng = np.random.default_rng(5)
    values, matrix_ = rng.normal(size=(300, 2000)).astype(np.float32), rng.normal(size=(9, 2000)).astype(np.float32)
    copies, rows = allocate_quantized(300, np.zeros(2000), 16, False, device), np.arange(300)
    copies.quantize(slice(0, 300), values)
    true = copies.read_steps(rows, np.float64) @ matrix_.T.astype(np.float64)
    with in_low_precision(), ThreadPoolExecutor(4) as pool:
        for product in pool.map(lambda _: copies.multiply(rows, matrix_), range(8)):
            assert product.dtype == np.float32
            np.testing.assert_allclose(product, true, rtol=6.1e-8)


@each_device
def test_a_device_uses_no_temporary_file(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are for copies in main memory only."""
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *_: pytest.fail("a file"))
    x = make_clusters(100, 6, seed=6)
    assert len(run_selector(Demud(rank=2), x, picks=5, max_copy_bytes=0, device=device)) == 5


# No such device


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cpu:0", "torch:cuda", "mps"])
def test_a_device_of_an_unknown_name_is_refused(device: str) -> None:
    """The error has the name and the valid ones."""
    with pytest.raises(PlanError, match=rf"device must be cpu, cuda.*not {device!r}"):
        ComputeOptions(device=device)


def test_a_missing_device_is_refused() -> None:
    """The error has the name, how many there are, and what to do."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(PlanError, match=rf"no device cuda:{count} here: PyTorch sees {count} .* use device cpu"):
        ComputeOptions(device=f"cuda:{count}")


def test_a_shard_pool_may_use_a_device_that_is_missing_here() -> None:
    pool: Any = object()
    assert ComputeOptions(device="cuda:99", shard_pool=pool).device == "cuda:99"


def test_a_device_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is an extra: `cpu` works without it, and the error says how to install it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run_selector(Demud(rank=2, start=0), make_clusters(9, 4, seed=7), picks=2)
    with pytest.raises(PlanError, match=r"cuda needs PyTorch.*interpdisc\[torch\]"):
        ComputeOptions(device="cuda")


def test_copies_that_do_not_fit_on_a_device_are_refused_with_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_out_of_memory(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", raise_out_of_memory)
    x = np.zeros((1 << 15, 1 << 4), np.float32)
    with pytest.raises(PlanError, match=r"torch:cpu has no room for copies of 32768 rows \(0.0 GiB\): use cpu"):
        Demud(start="mean").open(
            ArrayRows(x), np.empty((0, 16)), compute_options=ComputeOptions(device="torch:cpu")
        ).peek()
