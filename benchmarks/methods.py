"""Time and memory of every selector on the same features, each in a process of its own.

    python benchmarks/methods.py FEATURES.npy [--rows N] [--picks 300]

FEATURES as `benchmarks/features.py` writes them. CPU seconds and memory are of the selection alone: the rows are in
memory before it begins, and the peak is what comes on top. One BLAS thread. Prints a table in Markdown; the ratio is to
DEMUD in the same call.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

METHODS = {
    "DEMUD, k = 50": {"kind": "demud"},
    "DEMUD, k = 50, incremental": {"kind": "demud", "method": "incremental"},
    "SVD (batch), k = 50": {"kind": "demud", "method": "static"},
    "farthest-first": {"kind": "farthest-first"},
    "nearest neighbours, k = 5": {"kind": "nearest-neighbours"},
    "isolation forest": {"kind": "isolation-forest"},
    "RX": {"kind": "rx"},
    "local RX": {"kind": "local-rx"},
    "autoencoder": {"kind": "autoencoder"},
    "random": {"kind": "random"},
}


def one(path: str, count: int, picks: int, settings: str) -> None:
    """The child: one selection."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from interpdisc_core.plan import parse

    selector = parse({"selector": json.loads(settings)}).selector
    values = np.load(path)[:count].astype(np.float64)
    with threadpool_limits(1):
        selector.open(values[:200].copy(), np.empty((0, values.shape[1]))).peek()  # what is imported or made once
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.monotonic(), time.process_time()
        selection, made = selector.open(values, np.empty((0, values.shape[1]))), 0
        while made < picks and (choice := selection.peek()) is not None:
            selection.learn(choice.row)
            made += 1
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"picks": made, "cpu": cpu, "wall": wall, "mib": peak / 1024, "shape": values.shape}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features")
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--picks", type=int, default=300)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return one(given.features, given.rows, given.picks, given.one)
    root = Path(__file__).resolve().parent.parent
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    print(
        f"{date.today()}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, one thread\n"
    )
    print("| method | CPU s | of DEMUD's | wall s | memory on top, MiB |")
    print("|---|---:|---:|---:|---:|")
    first = 0.0
    for name, settings in METHODS.items():
        command = [
            sys.executable, __file__, given.features, "--picks", str(given.picks), "--one", json.dumps(settings),
            *([] if given.rows is None else ["--rows", str(given.rows)]),
        ]  # fmt: skip
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)
        first = first or done["cpu"]
        print(
            f"| {name} | {done['cpu']:.2f} | {done['cpu'] / first:.2f} | {done['wall']:.2f} | {done['mib']:.0f} |",
            flush=True,
        )
    print(f"\n{done['shape'][0]} rows of {done['shape'][1]} features, {given.picks} picks.")
    return None


if __name__ == "__main__":
    main()
