"""Copies held and multiplied by PyTorch: the same picks as NumPy's, to the bit. A GPU is tested where there is one."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors import Choice, Demud, Means
from interpdisc_core.selectors.device import room
from interpdisc_core.selectors.rows import ArrayRows
from interpdisc_core.selectors.sketch import Bits, Sketch
from tests.strategies import METHODS, Problem, clustered, matrix, problems, small, stored, told

torch = pytest.importorskip("torch", reason="copies on a device need PyTorch")

DEVICES = [
    "torch:cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")),
]
each_device = pytest.mark.parametrize("device", DEVICES)


def run(settings: Demud, x: Any, prior: npt.NDArray[Any], picks: int = 10**6, **means: Any) -> list[Choice]:
    """The picks of a straight run by these means."""
    selection, made = settings.open(x, prior, means=Means(**means)), []
    while len(made) < picks and (choice := selection.peek()) is not None:
        made.append(choice)
        selection.learn(choice.row)
    return made


@contextmanager
def in_low_precision() -> Iterator[None]:
    """Products of float32 in as little precision as PyTorch may use, for the whole process."""
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = "tf32", "bf16"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = before


# ---------------------------------------------------------------------------------------- picks


@each_device
@given(problems(), st.sampled_from((8, 16)), st.sampled_from((1, 2)), st.sampled_from((3, 2048)))
def test_picks_are_numpys_to_the_bit(device: str, problem: Problem, bits: int, threads: int, block: int) -> None:
    """Picks, scores, near-ties, x̂, r and μ of any features, prior, method, rank and start, duplicates among them."""
    with small(block):
        plain = run(problem.settings, problem.features, problem.prior, bits=bits)
        on = run(problem.settings, problem.features, problem.prior, bits=bits, threads=threads, device=device)
    assert told(on) == told(plain)


@each_device
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("method", METHODS)
def test_picks_are_numpys_far_beyond_truncation(device: str, method: Any, kind: str, threads: int) -> None:
    """60 picks of 3,000 rows as those of images are, a third of which are there twice, in several stores."""
    x = clustered(2000, 24, seed=1)
    kept = stored(np.vstack([x, x[::2]]), kind)
    settings, none = Demud(method=method, rank=6), np.empty((0, 24))
    plain = run(settings, kept.rows("array"), none, 60)
    assert told(run(settings, kept.rows("zarr 64"), none, 60, threads=threads, device=device)) == told(plain)


@each_device
@pytest.mark.parametrize("sign", ["both", "low"])
def test_picks_are_numpys_where_values_are_missing(device: str, sign: Any) -> None:
    """Rows without a copy, and measures that need the copies themselves."""
    x = clustered(300, 10, seed=2)
    x[np.random.default_rng(2).random(x.shape) < 0.02] = np.nan
    settings, none = Demud(rank=4, sign=sign, weights="boostlow", missing="ignore"), np.empty((0, 10))
    assert told(run(settings, x, none, 40, device=device)) == told(run(settings, x, none, 40))


@each_device
def test_picks_are_numpys_whatever_the_precision_of_the_process(device: str) -> None:
    """TF32 and bfloat16 for all other products, switched on from outside, change no pick, and are still on after."""
    x = clustered(1500, 40, seed=3).astype(np.float32)
    plain = run(Demud(rank=8), x, np.empty((0, 40)), 40)
    with in_low_precision():
        made = run(Demud(rank=8), x, np.empty((0, 40)), 40, device=device)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    assert told(made) == told(plain)


# ---------------------------------------------------------------------------------------- copies


@each_device
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["normal", "float32", "scaled", "offset"])
def test_copies_are_numpys_to_the_bit(device: str, bits: Bits, kind: str) -> None:
    """Steps, scales, sizes, errors and gaps; by rows in any order."""
    values = matrix(kind, 50, 7, seed=4)
    values[5, 2] = np.nan
    centre = values[:5].mean(axis=0).astype(np.float32).astype(np.float64)
    here, there = Sketch.room(50, centre, bits, scratch=False), room(50, centre, bits, False, device)
    for sketch in (here, there):
        for start in (20, 0, 40):
            sketch.put(slice(start, min(start + 20, 50)), values[start : start + 20])
    some = np.array([7, 3, 49, 3, 5])
    for dtype in (np.float32, np.float64):
        assert there.about(some, dtype).dtype == dtype
        np.testing.assert_array_equal(there.about(some, dtype), here.about(some, dtype))
    for name in ("scale", "size", "error", "ragged"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    assert there.whole.nbytes == here.whole.nbytes == 50 * 7 * bits // 8


@each_device
def test_products_are_no_less_exact_than_float32(device: str) -> None:
    """Within half a float32 rounding of the true ones, in any precision of the process; and from several threads."""
    rng = np.random.default_rng(5)
    values, matrix_ = rng.normal(size=(300, 2000)).astype(np.float32), rng.normal(size=(9, 2000)).astype(np.float32)
    sketch, rows = room(300, np.zeros(2000), 16, False, device), np.arange(300)
    sketch.put(slice(0, 300), values)
    true = sketch.about(rows, np.float64) @ matrix_.T.astype(np.float64)
    with in_low_precision(), ThreadPoolExecutor(4) as pool:
        for made in pool.map(lambda _: sketch.product(rows, matrix_), range(8)):
            assert made.dtype == np.float32
            np.testing.assert_allclose(made, true, rtol=6.1e-8)


@each_device
def test_no_file_is_made_for_a_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the means' memory stays on the device: a file is for copies in the processor's memory."""
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *_: pytest.fail("a file"))
    x = clustered(100, 6, seed=6)
    assert len(run(Demud(rank=2), x, np.empty((0, 6)), 5, memory=0, device=device)) == 5


# ---------------------------------------------------------------------------------------- no such device


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cpu:0", "torch:cuda", "mps"])
def test_a_device_of_no_kind_is_refused(device: str) -> None:
    """The sentence has the name, and those there are."""
    with pytest.raises(PlanError, match=rf"device must be cpu, cuda.*not {device!r}"):
        Means(device=device)


def test_a_device_that_is_not_there_is_refused() -> None:
    """One GPU more than there are; the sentence has the name, how many there are, and what to do."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(PlanError, match=rf"no device cuda:{there} here: PyTorch sees {there} .* use device cpu"):
        Means(device=f"cuda:{there}")


def test_a_crew_may_have_a_device_that_is_not_here() -> None:
    """Copies elsewhere are on elsewhere's device."""
    crew: Any = object()
    assert Means(device="cuda:99", crew=crew).device == "cuda:99"


def test_a_device_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is an extra: NumPy needs none, and the sentence says how to get it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(Demud(rank=2, start=0), clustered(9, 4, seed=7), np.empty((0, 4)), 2)
    with pytest.raises(PlanError, match=r"cuda needs PyTorch.*interpdisc\[torch\]"):
        Means(device="cuda")


def test_a_device_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that a device has no room for are refused with how large they are."""

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    x = np.zeros((1 << 15, 1 << 4), np.float32)
    with pytest.raises(PlanError, match=r"torch:cpu has no room for copies of 32768 rows \(0.0 GiB\): use cpu"):
        Demud(start="mean").open(ArrayRows(x), np.empty((0, 16)), means=Means(device="torch:cpu")).peek()
