"""Time and memory of every selector on the same features, each in a process of its own.

    python benchmarks/methods.py FEATURES.npy [--rows N] [--picks 300]

FEATURES as `benchmarks/features.py` writes them. CPU seconds and memory are those of the selection alone: the rows are
loaded before, and memory is the peak above that. One BLAS thread. Prints a table in Markdown; the ratio is to DEMUD in
the same call.
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


def run_selector(path: str, count: int, picks: int, settings: str) -> None:
    """The child: one selection."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from interpdisc_core.plan import parse_plan

    selector = parse_plan({"selector": json.loads(settings)}).selector
    values = np.load(path)[:count].astype(np.float64)
    with threadpool_limits(1):
        selector.open(values[:200].copy(), np.empty((0, values.shape[1]))).peek()  # imports and caches
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.monotonic(), time.process_time()
        selection, pick_count = selector.open(values, np.empty((0, values.shape[1]))), 0
        while pick_count < picks and (choice := selection.peek()) is not None:
            selection.learn(choice.row)
            pick_count += 1
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"picks": pick_count, "cpu": cpu, "wall": wall, "mib": peak / 1024, "shape": values.shape}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features")
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--picks", type=int, default=300)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.settings:
        return run_selector(options.features, options.rows, options.picks, options.settings)
    root = Path(__file__).resolve().parent.parent
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    print(
        f"{date.today()}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, one thread\n"
    )
    print("| method | CPU s | of DEMUD's | wall s | memory above rows, MiB |")
    print("|---|---:|---:|---:|---:|")
    demud_cpu = 0.0
    for name, settings in METHODS.items():
        command = [
            sys.executable,
            "-P",
            __file__,
            options.features,
            "--picks",
            str(options.picks),
            "--settings",
            json.dumps(settings),
            *([] if options.rows is None else ["--rows", str(options.rows)]),
        ]
        measurement = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)
        demud_cpu = demud_cpu or measurement["cpu"]
        print(
            f"| {name} | {measurement['cpu']:.2f} | {measurement['cpu'] / demud_cpu:.2f} | {measurement['wall']:.2f} | {measurement['mib']:.0f} |",
            flush=True,
        )
    print(f"\n{measurement['shape'][0]} rows of {measurement['shape'][1]} features, {options.picks} picks.")
    return None


if __name__ == "__main__":
    main()
