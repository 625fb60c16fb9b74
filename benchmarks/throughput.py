"""Vectors inverted a second, by batch size and by number of processes, beside the loop over single vectors.

    python benchmarks/throughput.py [--seconds 5]

Random codes: a network's time does not depend on them. One thread a process; each figure is the best of three, and
the ratio to the loop of one process is what counts on a shared machine.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np


def network(kind: str) -> tuple[Any, int]:
    import torch

    from interpdisc_core.inverters import checkpoint
    from interpdisc_core.inverters.generators import PaperGenerator
    from interpdisc_core.representations import EfficientNetLite0

    torch.set_num_threads(1)
    if kind == "paper":
        torch.manual_seed(0)
        return PaperGenerator().build(4096).eval(), 4096
    path = checkpoint.found_for(EfficientNetLite0(output=kind))  # type: ignore[arg-type]
    data, card = checkpoint.fitting(str(path), EfficientNetLite0(output=kind))  # type: ignore[arg-type]
    return checkpoint.network(data, card, str(path)), card.dimension


def rate(kind: str, batch: int, seconds: float) -> float:
    """Vectors a second, in batches of that size, the best of three tries."""
    import torch

    net, dimension = network(kind)
    codes = torch.from_numpy(np.random.default_rng(0).standard_normal((batch, dimension)).astype(np.float32))
    best = 0.0
    with torch.inference_mode():
        net(codes)
        for _ in range(3):
            done, began = 0, time.monotonic()
            while time.monotonic() - began < seconds / 3:
                (net(codes).clamp(0, 1) * 255).round().to(torch.uint8)
                done += batch
            best = max(best, done / (time.monotonic() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    print("| generator | processes | batch | vectors/s | against the loop |\n|---|---:|---:|---:|---:|")
    for kind in ("grid", "pooled", "paper"):
        loop = 0.0
        for processes in (1, 2):
            for batch in (1, 4, 16, 64):
                with ProcessPoolExecutor(processes) as pool:
                    each = list(pool.map(rate, [kind] * processes, [batch] * processes, [given.seconds] * processes))
                total = sum(each)
                loop = loop or total
                print(f"| {kind} | {processes} | {batch} | {total:.0f} | {total / loop:.2f} |", flush=True)


if __name__ == "__main__":
    main()
