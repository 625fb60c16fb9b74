"""Vectors inverted a second, by batch size and number of processes, compared with a loop over single vectors.

    python benchmarks/throughput.py [--seconds 5]

Random codes: a network's time does not depend on them. One thread a process; each rate is the best of three. On a
shared machine, look at the ratio to the loop of one process.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

os.environ["OMP_NUM_THREADS"] = "1"


def load_network(kind: str) -> tuple[Any, int]:
    import torch

    from interpdisc_core.inverters import checkpoint
    from interpdisc_core.inverters.generators import PaperGenerator
    from interpdisc_core.representations import EfficientNetLite0

    torch.set_num_threads(1)
    if kind == "paper":
        torch.manual_seed(0)
        return PaperGenerator().build(4096).eval(), 4096
    path = checkpoint.find_shipped_checkpoint(EfficientNetLite0(output=kind))  # type: ignore[arg-type]
    data, metadata = checkpoint.load_matching_checkpoint(str(path), EfficientNetLite0(output=kind))  # type: ignore[arg-type]
    return checkpoint.load_generator(data, metadata, str(path)), metadata.dimension


def measure_rate(kind: str, minibatch: int, seconds: float) -> float:
    """Vectors a second, in batches of that size, the best of three tries."""
    import torch

    net, dimension = load_network(kind)
    codes = torch.from_numpy(np.random.default_rng(0).standard_normal((minibatch, dimension)).astype(np.float32))
    best = 0.0
    with torch.inference_mode():
        net(codes)
        for _ in range(3):
            vector_count, start = 0, time.monotonic()
            while time.monotonic() - start < seconds / 3:
                (net(codes).clamp(0, 1) * 255).round().to(torch.uint8)
                vector_count += minibatch
            best = max(best, vector_count / (time.monotonic() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print("| generator | processes | batch | vectors/s | relative to the loop |\n|---|---:|---:|---:|---:|")
    for kind in ("grid", "pooled", "paper"):
        loop = 0.0
        for processes in (1, 2):
            for minibatch in (1, 4, 16, 64):
                with ProcessPoolExecutor(processes) as pool:
                    rates = list(
                        pool.map(
                            measure_rate, [kind] * processes, [minibatch] * processes, [options.seconds] * processes
                        )
                    )
                total = sum(rates)
                loop = loop or total
                print(f"| {kind} | {processes} | {minibatch} | {total:.0f} | {total / loop:.2f} |", flush=True)


if __name__ == "__main__":
    main()
