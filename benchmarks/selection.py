"""What selection costs, against the literal float64 reading of its definition in the same run.

    python benchmarks/features.py features FOLDER…              # once: real features
    python benchmarks/selection.py literal features/wide.npy --rows 10000 --start 0
    python benchmarks/selection.py literal features/pooled.npy --rows 6712 --start svd [--l2]
    python benchmarks/selection.py growth features/pooled.npy --rows 6712 --scratch DIR [--most 1000000] [--chart FILE]
    python benchmarks/selection.py workers DIR/rows-316228.zarr  # or any .npy or Zarr: one process, two Dask workers
    python benchmarks/selection.py kills features/pooled.npy     # kill −9 at 20 random moments of `interpdisc select`

Each measured run is a process of its own, on as many threads as stated. CPU seconds are of the whole process less those
of starting Python and loading the features; memory is the peak of its anonymous pages, less those after loading.
Prints Markdown.
"""

import argparse
import json
import multiprocessing as mp
import os
import platform
import threading
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from interpdisc_core.selectors import Demud, Means
from interpdisc_core.selectors.rows import Rows, as_rows, zarr_rows

RANK, PICKS = 50, 300


def opened(path: str, count: int, l2: bool = False, memory: bool = True) -> "np.ndarray | Rows":
    """The first `count` rows (0: all) of an .npy file, or a Zarr array; those of the array are read when asked for
    unless `memory`."""
    if not path.endswith(".npy"):
        import zarr

        array = zarr.open_array(path, mode="r")
        return np.asarray(array[: count or None]) if memory else zarr_rows(array)
    rows = np.array(np.load(path, mmap_mode="r")[: count or None])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if l2 else rows


def ours(rows: "np.ndarray | Rows", start: Any, threads: int, crew: Any = None) -> dict[str, Any]:
    """Picks and counters of this program."""
    means, picks = Means(threads=threads, crew=crew), PICKS
    selection = Demud(rank=RANK, start=start).open(rows, np.empty((0, rows.shape[1])), means=means)
    made: list[tuple[int, float]] = []
    while len(made) < picks and (choice := selection.peek()) is not None:
        made.append((choice.row, choice.score))
        selection.learn(choice.row)
    return {"rows": [row for row, _ in made], "scores": [score for _, score in made], **selection.counters()}


def literal(rows: np.ndarray, start: Any, picks: int = PICKS) -> dict[str, Any]:
    """Picks of the literal definition: scores by two products, the model by an SVD of the picks, each time anew.

    This is `tests/core/literal.py` without what that does for tests (ties, tolerances, vectors kept), so as to be no
    slower than need be.
    """
    x = rows.astype(np.float64)
    free, made = np.ones(len(x), dtype=bool), list[tuple[int, float]]()
    while len(made) < picks:
        if made or start == "svd":
            mean, axes = _model(x if not made else x[[row for row, _ in made]])
            scores = np.where(free, _scores(x, mean, axes), -np.inf)
            row = int(scores.argmax())
        else:
            scores, row = np.zeros(len(x)), start
        made.append((row, float(scores[row])))
        free[row] = False
    return {"rows": [row for row, _ in made], "scores": [score for _, score in made]}


def _model(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = items.mean(axis=0)
    _, values, axes = np.linalg.svd(items - mean, full_matrices=False)
    return mean, axes[: min(RANK, int((values > 1e-10 * values[0]).sum()))]


def _scores(x: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    z = x - mean
    z -= (z @ axes.T) @ axes
    return np.einsum("nd,nd->n", z, z)


def measured(work: str, source: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Run one of WORK over `source` in a process of its own; its answer with cpu, wall (seconds) and memory (bytes)."""
    spawn = mp.get_context("spawn")
    there, here = spawn.Pipe()
    process = spawn.Process(target=_child, args=(here, work, source, settings))
    process.start()
    here.close()
    try:
        answer = there.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"{work} ended with {process.exitcode}") from None
    process.join()
    return answer  # type: ignore[no-any-return]


def _child(pipe: Any, work: str, source: dict[str, Any], settings: dict[str, Any]) -> None:
    with threadpool_limits(1):
        rows = opened(**source)
        peak, stop = [before := _anonymous()], threading.Event()
        watch = threading.Thread(target=_watch, args=(peak, stop))
        watch.start()
        cpu, wall = time.process_time(), time.monotonic()
        answer = WORK[work](rows, **settings)
        answer |= {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}
        stop.set()
        watch.join()
        pipe.send(answer | {"memory": peak[0] - before})


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def _watch(peak: list[int], stop: threading.Event) -> None:
    while not stop.wait(0.02):
        peak[0] = max(peak[0], _anonymous())


def against_literal(given: argparse.Namespace) -> None:
    """One table: the literal definition, and ours on one thread and on two."""
    start: Any = int(given.start) if given.start.isdigit() else given.start
    source = {"path": str(given.features), "count": given.rows, "l2": given.l2}
    whole = np.load(given.features, mmap_mode="r")[: given.rows or None]
    count, dimension = whole.shape
    print(
        f"{given.features.name}{', L2' if given.l2 else ''}: {count} x {dimension} {whole.dtype}, k = {RANK}, {PICKS} picks, start {start}\n"
    )
    print(
        "| run | threads | CPU s | ratio | wall s | memory MiB | rows read / N | screened / N | bounds / N | near-ties |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    # In turns, so that what else the machine does falls on both.
    mine = measured("ours", source, start=start, threads=1)
    truth = measured("literal", source, start=start)
    again = measured("ours", source, start=start, threads=2)
    _row("literal float64", 1, truth, truth, count)
    _row("ours", 1, mine, truth, count)
    _row("ours", 2, again, truth, count)
    scale = max(truth["scores"])
    gap = max(abs(a - b) for a, b in zip(mine["scores"], truth["scores"], strict=True)) / scale
    same = mine["rows"] == truth["rows"] and (again["rows"], again["scores"]) == (mine["rows"], mine["scores"])
    print(
        f"\nsame picks: {same}; largest difference of a score {gap:.1e} of the largest; seconds by phase, one thread: {json.dumps(mine['seconds'])}\n"
    )
    if not same:
        raise SystemExit("the picks differ")


def _row(name: str, threads: int, run: dict[str, Any], base: dict[str, Any], count: int) -> None:
    per = [f"{run[key] / count:.2f}" if key in run else "" for key in ("rows_read", "rows_screened", "bounds")]
    print(
        f"| {name} | {threads} | {run['cpu']:.2f} | {base['cpu'] / run['cpu']:.1f} | {run['wall']:.1f} | {run['memory'] / 2**20:.0f} "
        f"| {' | '.join(per)} | {run.get('near_ties', '')} |",
        flush=True,
    )


def enlarged(source: np.ndarray, count: int, path: Path, chunk: int = 1024) -> None:
    """`count` rows like the real ones, float16, in a local Zarr array without compression.

    A row is max(0, x_i + (x_j − x_k)/4) with i, j, k drawn at random: the features stay what a mean of ReLUs can be,
    and their covariance about that of the real ones.
    """
    import zarr
    from zarr.codecs import BytesCodec

    if path.exists():
        return
    partial = path.with_name(path.name + ".partial")
    array = zarr.create_array(
        str(partial), shape=(count, source.shape[1]), chunks=(chunk, source.shape[1]), dtype="float16",
        serializer=BytesCodec(endian="little"), compressors=None, overwrite=True,
    )  # fmt: skip
    rng = np.random.default_rng(2018)
    for first in range(0, count, chunk):
        i, j, k = rng.integers(0, len(source), (3, min(chunk, count - first)))
        array[first : first + chunk] = np.maximum(source[i] + (source[j] - source[k]) / 4, 0).astype(np.float16)
    partial.rename(path)


def growth(given: argparse.Namespace) -> None:
    """Time, bytes and memory from 10⁴ rows on, each from a Zarr array; the literal cost of a pick beside it."""

    source = np.load(given.features, mmap_mode="r")[: given.rows or None].astype(np.float32)
    sizes = [n for n in (10_000, 31_623, 100_000, 316_228, 1_000_000) if n <= given.most]
    runs: list[dict[str, Any]] = []
    print(
        f"like {given.features.name}: N x {source.shape[1]} float16 in Zarr, chunks of 1024 rows, k = {RANK}, {PICKS} picks, start svd\n"
    )
    print(
        "| N | threads | CPU s | wall s | memory MiB | store read, GB | of the matrix | screened / N | bounds / N | near-ties | literal, CPU s a pick |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for count in sizes:
        path = given.scratch / f"rows-{count}.zarr"
        enlarged(source, count, path)
        run = measured("ours", {"path": str(path), "count": 0, "memory": False}, start="svd", threads=2)
        some = min(count, 31_623)
        late = measured("late", {"path": str(path), "count": some})
        run |= {"N": count, "literal": late["cpu"] / 4 * count / some}
        runs.append(run)
        matrix = count * source.shape[1] * 2
        print(
            f"| {count:,} | 2 | {run['cpu']:.1f} | {run['wall']:.1f} | {run['memory'] / 2**20:.0f} | {run['bytes_read'] / 1e9:.2f} "
            f"| {run['bytes_read'] / matrix:.2f} | {run['rows_screened'] / count:.1f} | {run['bounds'] / count:.0f} "
            f"| {run['near_ties']} | {run['literal']:.2f}{'' if some == count else ' (by N)'} |",
            flush=True,
        )
    print(f"\nseconds by phase, largest N: {json.dumps(runs[-1]['seconds'])}\n")
    if given.chart:
        _chart(runs, given.chart)


def late(rows: np.ndarray) -> dict[str, Any]:
    """Four picks of the literal definition after 60: the model is cut by then, so each costs what a later one does."""
    x = rows.astype(np.float64)
    seen = x[np.linspace(0, len(x) - 1, 60, dtype=int)]
    for _ in range(4):
        _scores(x, *_model(seen)).argmax()
    return {}


WORK: dict[str, Callable[..., dict[str, Any]]] = {"ours": ours, "literal": literal, "late": late}


def _chart(runs: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n = np.array([run["N"] for run in runs])
    figure, (time_, room) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    time_.loglog(n, [run["literal"] * PICKS for run in runs], "o--", color="0.5", label="literal definition, CPU s")
    time_.loglog(n, [run["cpu"] for run in runs], "o-", label="interpdisc, CPU s")
    time_.loglog(n, [run["wall"] for run in runs], "o-", label="interpdisc on 2 threads, wall s")
    room.loglog(n, [run["bytes_read"] / 1e6 for run in runs], "o-", label="read from the store, MB")
    room.loglog(n, [run["memory"] / 1e6 for run in runs], "o-", label="peak anonymous memory, MB")
    room.loglog(n, n * 1280 * 2 / 1e6, "--", color="0.5", label="the matrix, MB")
    for axis in (time_, room):
        axis.set_xlabel("rows")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def over_workers(given: argparse.Namespace) -> None:
    """One process against two Dask workers of one thread each, over the same rows."""
    from distributed import Client, LocalCluster

    from deploy.crew import DaskCrew
    from deploy.runners import MEMORY

    os.environ |= MEMORY  # as the README tells workers to be started
    source = {"path": str(given.features), "count": given.rows, "memory": given.features.suffix == ".npy"}
    alone = measured("ours", source, start="svd", threads=1)
    threads = measured("ours", source, start="svd", threads=2)
    with (
        threadpool_limits(1),
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        before = sum(client.run(time.process_time).values())
        crew, rows = DaskCrew(client, partial(opened_rows, **source)), opened(**source)
        cpu, wall = time.process_time(), time.monotonic()
        spread = ours(rows, "svd", 1, crew=crew)
        spread |= {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}
        theirs = sum(client.run(time.process_time).values()) - before
    count = rows.shape[0]
    print(f"{given.features.name}: {count} x {rows.shape[1]}, k = {RANK}, {PICKS} picks, start svd\n")
    print(
        "| run | CPU s here | CPU s on workers | wall s | waiting for workers, s | read from the store / N | screened / N |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, run, workers, waited in (
        ("one process, 1 thread", alone, 0.0, 0.0), ("one process, 2 threads", threads, 0.0, 0.0),
        ("two Dask workers", spread, theirs, crew.seconds["asking"]),
    ):  # fmt: skip
        print(
            f"| {name} | {run['cpu']:.1f} | {workers:.1f} | {run['wall']:.1f} | {waited:.1f} "
            f"| {run['rows_read'] / count:.2f} | {run['rows_screened'] / count:.1f} |"
        )
    same = all((run["rows"], run["scores"]) == (alone["rows"], alone["scores"]) for run in (threads, spread))
    print(f"\nsame picks and scores, to the bit: {same}\n")
    if not same:
        raise SystemExit("the picks differ")


def opened_rows(**source: Any) -> Rows:
    """The rows of `opened`, for a worker."""
    return as_rows(opened(**source))


def kills(given: argparse.Namespace) -> None:
    """`interpdisc select` killed −9 at random moments, each time resumed: identical picks, scores and vectors."""
    import random
    import shutil
    import signal
    import subprocess
    import sys

    root = Path(__file__).resolve().parent.parent
    env = os.environ | {"PYTHONPATH": str(root)}

    def command(out: Path) -> list[str]:
        picks = ["-n", str(PICKS), "-k", str(RANK), "--out", str(out)]
        return [sys.executable, "-m", "deploy", "select", str(given.features), *picks]

    def products(out: Path) -> dict[str, bytes]:
        files = [out / "picks.csv", *sorted((out / "vectors" / "c").rglob("*"))]
        return {str(file.relative_to(out)): file.read_bytes() for file in files if file.is_file()}

    straight = given.scratch / "straight"
    shutil.rmtree(straight, ignore_errors=True)
    began = time.monotonic()
    subprocess.run(command(straight), env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    takes, wanted = time.monotonic() - began, products(straight)
    random.seed(20)
    there = []
    for number in range(20):
        out = given.scratch / f"killed-{number}"
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(command(out), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.1, 1.0) * takes)
        process.send_signal(signal.SIGKILL)
        process.wait()
        state = out / "selection.json"
        there.append(len(json.loads(state.read_text())["rows"]) if state.exists() else 0)
        subprocess.run(command(out), env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if products(out) != wanted:
            raise SystemExit(f"kill {number}: the picks or the vectors differ")
        shutil.rmtree(out)
    print(
        f"20 kills of a selection of {PICKS} picks that takes {takes:.1f} s; picks kept at the kill: {', '.join(map(str, there))}"
    )
    print("identical picks.csv and vectors after each: True")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("literal", "growth", "workers", "kills"))
    parser.add_argument("features", type=Path)
    parser.add_argument("--rows", type=int, default=0, help="the first so many; 0: all")
    parser.add_argument("--start", default="0")
    parser.add_argument("--l2", action="store_true")
    parser.add_argument("--scratch", type=Path, default=Path("selection-benchmark"))
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--chart", type=Path)
    given = parser.parse_args()
    print(
        f"{date.today()}, Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} cores\n"
    )
    given.scratch.mkdir(parents=True, exist_ok=True)
    {"literal": against_literal, "growth": growth, "workers": over_workers, "kills": kills}[given.what](given)


if __name__ == "__main__":
    main()
