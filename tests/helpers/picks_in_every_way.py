"""A program for `tests/test_blas_threads.py`: computes picks in every way that the library has, and prints digests of their bits.

    python -m tests.helpers.picks_in_every_way THREADS

It prints two lines of JSON: the kernel and the number of threads of every BLAS of the process, then the digests; see `main`.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any
from unittest.mock import patch

import numpy as np
import scipy.linalg
from threadpoolctl import ThreadpoolController

from interpdisc_core.archive.constraints import with_absorbed
from interpdisc_core.archive.memory import Memory
from interpdisc_core.archive.memory_record import MemoryRecord
from interpdisc_core.representations.transforms import FeatureTransform
from interpdisc_core.selectors import (
    Choice,
    ComputeOptions,
    Demud,
    FarthestFirst,
    LocalRx,
    NearestNeighbours,
    Prior,
    Rx,
    SelectorLike,
)
from interpdisc_core.selectors.exact import moments
from interpdisc_core.storage.location import Location
from tests.helpers.strategies import METHODS, comparable_choices, make_clusters
from tests.selectors.exact.test_remote_shard import make_pool

FEATURES = make_clusters(2500, 300, seed=2)
"""Enough rows and features that a BLAS splits their products over several threads."""
COMPUTE_OPTIONS: dict[str, Callable[[], ComputeOptions]] = {
    "one process": ComputeOptions,
    "threads": lambda: ComputeOptions(threads=3),
    "messages": lambda: ComputeOptions(shard_pool=make_pool(FEATURES, 2)),
}


def make_picks(
    selector: SelectorLike, prior: Any = None, options: ComputeOptions | None = None, rows: Any = FEATURES
) -> list[tuple[Any, ...]]:
    """Five picks, comparable to the bit; the third is skipped, the others are learned."""
    prior = np.empty((0, rows.shape[1])) if prior is None else prior
    selection = selector.open(rows, prior, compute_options=options)
    choices: list[Choice] = []
    while len(choices) < 5 and (choice := selection.peek()) is not None:
        choices.append(choice)
        (selection.skip if len(choices) == 3 else selection.learn)(choice.row)
    return comparable_choices(choices)


def prior_bits(prior: Prior) -> tuple[Any, ...]:
    """All values of a prior, comparable to the bit."""
    return (prior.count, *(array.tobytes() for array in (prior.mean, prior.values, prior.axes)))


def compute_in_every_way() -> Iterator[tuple[str, str, Any]]:
    """What is computed, in which way, and the result. The results of one computation are equal in all ways."""
    for method in METHODS:
        for way, make_options in COMPUTE_OPTIONS.items():
            yield f"many features, {method}", way, make_picks(Demud(method=method, rank=5), options=make_options())
    selectors = [Demud(method=method, rank=5) for method in METHODS]
    with ThreadPoolExecutor(3) as pool:
        for method, picks in zip(METHODS, pool.map(make_picks, selectors), strict=True):
            yield f"many features, {method}", "at the same time", picks
    for method in METHODS:
        few_features = make_picks(Demud(method=method, rank=5), rows=FEATURES[:, :8])
        yield f"few features, {method}", "one process", few_features
    yield "few rows", "one process", make_picks(Demud(rank=5), rows=make_clusters(150, 900, seed=3))
    yield "part of the variance", "one process", make_picks(Demud(variance=0.9))
    is_missing = np.random.default_rng(4).random(FEATURES.shape) < 0.01
    incomplete_rows = np.where(is_missing, np.nan, FEATURES)
    yield "missing values", "one process", make_picks(Demud(rank=5, missing="ignore"), rows=incomplete_rows)
    with patch.object(moments, "MAX_DENSE_FEATURES", 100):
        yield "wide rows", "one process", make_picks(Demud(rank=5), rows=make_clusters(400, 300, seed=5))
    items = make_clusters(600, 300, seed=6)
    yield "picks after a background", "one process", make_picks(Demud(rank=5), items)
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(Location.parse(folder), "left")
        for number, batch in enumerate((items[:400], items[400:450], items[450:])):
            record = MemoryRecord.from_rows(f"sol-{number}", batch, {})
            memory.add(record)
            yield f"record {number}", "one process", record.digest
        prior, cached_prior = memory.load_horizon(), memory.load_horizon()
    assert prior is not None
    assert cached_prior is not None
    yield "horizon", "computed", prior_bits(prior)
    yield "horizon", "from the cache", prior_bits(cached_prior)
    for way, make_options in COMPUTE_OPTIONS.items():
        yield "picks after a horizon", way, make_picks(Demud(rank=5), prior, make_options())
    extended_prior = with_absorbed(prior, FEATURES[:40])
    assert extended_prior is not None
    yield "horizon with boring images", "one process", prior_bits(extended_prior)
    yield "whitening", "one process", FeatureTransform(whiten=60).apply(FEATURES).tobytes()
    other_selectors: list[SelectorLike] = [FarthestFirst(), Rx(), Rx(rank=9), LocalRx(), NearestNeighbours()]
    for selector in other_selectors:
        yield repr(selector), "one process", make_picks(selector, items, rows=FEATURES[:800])


def main(threads: int) -> None:
    """Prints [{architecture, num_threads, …}, …] of the BLAS libraries, then {computation: {way: digest}}."""
    assert scipy.linalg  # loads a BLAS of its own, besides NumPy's
    libraries = ThreadpoolController().select(user_api="blas")
    for library in libraries.lib_controllers:
        library.set_num_threads(threads)  # the environment variable sets at most the number of cores
    libraries_before = libraries.info()
    print(json.dumps(libraries_before))
    digests: dict[str, dict[str, str]] = {}
    for computation, way, result in compute_in_every_way():
        digests.setdefault(computation, {})[way] = sha256(repr(result).encode()).hexdigest()
    libraries_after = ThreadpoolController().select(user_api="blas").info()
    assert libraries_after == libraries_before, "the number of BLAS threads was not restored"
    print(json.dumps(digests))


if __name__ == "__main__":
    main(int(sys.argv[1]))
