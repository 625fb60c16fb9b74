"""No bit of a result depends on the number of BLAS threads, on the kernels of several processors."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from numpy._core._multiarray_umath import __cpu_features__
from threadpoolctl import ThreadpoolController

from interpdisc_core.blas_threads import single_blas_thread

REPOSITORY = Path(__file__).parents[1]
KERNELS = [
    kernel
    for kernel, feature in (("SkylakeX", "AVX512_SKX"), ("Haswell", "AVX2"), ("Nehalem", "SSE42"), ("ARMV8", "ASIMD"))
    if __cpu_features__.get(feature)
][:2]
"""OpenBLAS kernels that this processor can run, at most two."""
THREAD_COUNTS = (1, 2, 4)

Digests = dict[str, dict[str, str]]
"""By computation and by the way in which it was made."""


def run_in_new_process(kernel: str, threads: int) -> Digests:
    """The digests of `tests.helpers.picks_in_every_way`, in a process that starts with this kernel and number of threads."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OPENBLAS_", "OMP_", "MKL_"))}
    env |= {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "tests.helpers.picks_in_every_way", str(threads)]
    process = subprocess.run(command, env=env, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    libraries, digests = (json.loads(line) for line in process.stdout.splitlines())
    for library in libraries:
        if library["internal_api"] == "openblas":
            assert library["num_threads"] == threads
            if library["architecture"] != kernel:
                pytest.skip(f"this OpenBLAS has no kernel {kernel}: it chose {library['architecture']}")
    result: Digests = digests
    return result


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[tuple[str, int], Future[Digests]]]:
    """The runs of all kernels and numbers of threads, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            (kernel, threads): pool.submit(run_in_new_process, kernel, threads)
            for kernel in KERNELS
            for threads in THREAD_COUNTS
        }


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("threads", THREAD_COUNTS)
def test_results_have_the_same_bits_with_any_number_of_threads(
    processes: dict[tuple[str, int], Future[Digests]], kernel: str, threads: int
) -> None:
    """Picks, horizons and transforms equal those of one thread, in every way in which they are computed."""
    digests, one_thread = processes[kernel, threads].result(), processes[kernel, 1].result()
    assert [name for name in one_thread if digests[name] != one_thread[name]] == []
    assert [name for name, ways in digests.items() if len(set(ways.values())) > 1] == []


# ------------------------------------------------------------------------------------------------- the limit


def blas_thread_counts() -> list[int]:
    """The number of threads of every BLAS of the process."""
    return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]


def test_limit_lasts_until_the_last_overlapping_thread_leaves() -> None:
    """The first of two overlapping contexts to end restores nothing; the last one restores the number of threads."""
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    counts_at_start = blas_thread_counts()
    worker_is_inside, worker_may_leave = threading.Event(), threading.Event()
    counts_inside: list[list[int]] = []

    @single_blas_thread
    def stay_inside() -> None:
        worker_is_inside.set()
        worker_may_leave.wait(30)
        counts_inside.append(blas_thread_counts())

    try:
        for library in libraries:
            library.set_num_threads(3)
        counts_outside = blas_thread_counts()
        worker = threading.Thread(target=stay_inside)
        with single_blas_thread:
            worker.start()
            assert worker_is_inside.wait(30)
            with single_blas_thread:
                counts_inside.append(blas_thread_counts())
            counts_inside.append(blas_thread_counts())
        counts_inside.append(blas_thread_counts())
        worker_may_leave.set()
        worker.join()
        assert counts_inside == [[1] * len(libraries)] * 4
        assert blas_thread_counts() == counts_outside
        with pytest.raises(ZeroDivisionError), single_blas_thread:
            _ = 1 / 0
        assert blas_thread_counts() == counts_outside
    finally:
        for library, count in zip(libraries, counts_at_start, strict=True):
            library.set_num_threads(count)


def test_blas_loaded_inside_the_limit_is_limited_from_the_next_entry() -> None:
    """A library that an import loads inside the limit is limited by the next entry, and its threads are restored."""
    program = """
import numpy
from threadpoolctl import ThreadpoolController
from interpdisc_core.blas_threads import single_blas_thread

def thread_counts():
    return {library["filepath"]: library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()}

with single_blas_thread:
    loaded_before = set(thread_counts())
    import scipy.linalg
    counts = thread_counts()
    with single_blas_thread:
        assert set(thread_counts().values()) == {1}, thread_counts()
restored = thread_counts()
for path in set(restored) - loaded_before:
    assert restored[path] == counts[path], path
"""
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
