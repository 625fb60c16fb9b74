"""The cost of a selection, compared with a literal float64 implementation of its definition in the same run.

    python benchmarks/features.py features FOLDER…              # once: real features
    python benchmarks/selection.py literal features/wide.npy --rows 10000 --start 0
    python benchmarks/selection.py literal features/pooled.npy --rows 6712 --start svd [--l2]
    python benchmarks/selection.py growth features/pooled.npy --rows 6712 --scratch DIR [--most 1000000] [--chart FILE]
    python benchmarks/selection.py workers DIR/rows-316228.zarr  # or any .npy or Zarr: one process, two Dask workers
    python benchmarks/selection.py kills features/pooled.npy     # kill −9 at 20 random moments of `interpdisc select`

Each measured run is a process of its own, on the given number of threads. CPU seconds are those of the whole process
without starting Python and loading the features; memory is the peak of its anonymous pages, minus those after loading.
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

from interpdisc_core.selectors import ComputeOptions, Demud
from interpdisc_core.selectors.rows import Rows, as_rows, open_zarr_rows

RANK, PICKS = 50, 300


def load_rows(path: str, count: int, l2: bool = False, memory: bool = True) -> "np.ndarray | Rows":
    """The first `count` rows (0: all) of an .npy file or a Zarr array; rows of an array are read as needed unless `memory`."""
    if not path.endswith(".npy"):
        import zarr

        array = zarr.open_array(path, mode="r")
        return np.asarray(array[: count or None]) if memory else open_zarr_rows(array)
    rows = np.array(np.load(path, mmap_mode="r")[: count or None])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if l2 else rows


def run_demud(rows: "np.ndarray | Rows", start: Any, threads: int, pool: Any = None) -> dict[str, Any]:
    """Picks and counters of this program."""
    compute = ComputeOptions(threads=threads, shard_pool=pool)
    selection = Demud(rank=RANK, start=start).open(rows, np.empty((0, rows.shape[1])), compute_options=compute)
    selected: list[tuple[int, float]] = []
    while len(selected) < PICKS and (choice := selection.peek()) is not None:
        selected.append((choice.row, choice.score))
        selection.learn(choice.row)
    return {"rows": [row for row, _ in selected], "scores": [score for _, score in selected], **selection.counters()}


def run_literal(rows: np.ndarray, start: Any, picks: int = PICKS) -> dict[str, Any]:
    """Picks of the literal definition: scores by two products, the model by an SVD of all picks, for each pick again.

    This is `tests/helpers/literal_demud.py` without what tests need (ties, tolerances, vectors), so that it is as fast as
    it can be.
    """
    x = rows.astype(np.float64)
    free, selected = np.ones(len(x), dtype=bool), list[tuple[int, float]]()
    while len(selected) < picks:
        if selected or start == "svd":
            mean, axes = _model(x if not selected else x[[row for row, _ in selected]])
            scores = np.where(free, _scores(x, mean, axes), -np.inf)
            row = int(scores.argmax())
        else:
            scores, row = np.zeros(len(x)), start
        selected.append((row, float(scores[row])))
        free[row] = False
    return {"rows": [row for row, _ in selected], "scores": [score for _, score in selected]}


def _model(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = items.mean(axis=0)
    _, values, axes = np.linalg.svd(items - mean, full_matrices=False)
    return mean, axes[: min(RANK, int((values > 1e-10 * values[0]).sum()))]


def _scores(x: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    z = x - mean
    z -= (z @ axes.T) @ axes
    return np.einsum("nd,nd->n", z, z)


def measure_in_process(work: str, source: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Run one of WORKLOADS on `source` in a process of its own; its result with cpu, wall (seconds) and memory (bytes)."""
    spawn = mp.get_context("spawn")
    receiver, sender = spawn.Pipe()
    process = spawn.Process(target=_run_child, args=(sender, work, source, settings))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"{work} ended with {process.exitcode}") from None
    process.join()
    return answer  # type: ignore[no-any-return]


def _run_child(pipe: Any, work: str, source: dict[str, Any], settings: dict[str, Any]) -> None:
    with threadpool_limits(1):
        rows = load_rows(**source)
        peak, stop = [baseline := _anonymous_memory()], threading.Event()
        watcher = threading.Thread(target=_watch_memory, args=(peak, stop))
        watcher.start()
        cpu, wall = time.process_time(), time.monotonic()
        answer = WORKLOADS[work](rows, **settings)
        answer |= {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}
        stop.set()
        watcher.join()
        pipe.send(answer | {"memory": peak[0] - baseline})


def _anonymous_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def _watch_memory(peak: list[int], stop: threading.Event) -> None:
    while not stop.wait(0.02):
        peak[0] = max(peak[0], _anonymous_memory())


def compare_with_literal(options: argparse.Namespace) -> None:
    """One table: the literal definition, and this program on one thread and on two."""
    start: Any = int(options.start) if options.start.isdigit() else options.start
    source = {"path": str(options.features), "count": options.rows, "l2": options.l2}
    features = np.load(options.features, mmap_mode="r")[: options.rows or None]
    count, dimension = features.shape
    print(
        f"{options.features.name}{', L2' if options.l2 else ''}: {count} x {dimension} {features.dtype}, k = {RANK}, {PICKS} picks, start {start}\n"
    )
    print(
        "| run | threads | CPU s | ratio | wall s | memory MiB | rows read / N | screened / N | bounds / N | near-ties |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    # In turns, so that other load of the machine affects all.
    ours_one_thread = measure_in_process("ours", source, start=start, threads=1)
    literal_run = measure_in_process("literal", source, start=start)
    ours_two_threads = measure_in_process("ours", source, start=start, threads=2)
    _print_row("literal float64", 1, literal_run, literal_run, count)
    _print_row("ours", 1, ours_one_thread, literal_run, count)
    _print_row("ours", 2, ours_two_threads, literal_run, count)
    scale = max(literal_run["scores"])
    gap = max(abs(a - b) for a, b in zip(ours_one_thread["scores"], literal_run["scores"], strict=True)) / scale
    is_equal = ours_one_thread["rows"] == literal_run["rows"] and (
        ours_two_threads["rows"],
        ours_two_threads["scores"],
    ) == (ours_one_thread["rows"], ours_one_thread["scores"])
    print(
        f"\nsame picks: {is_equal}; largest difference of a score {gap:.1e} of the largest; seconds by phase, one thread: {json.dumps(ours_one_thread['seconds'])}\n"
    )
    if not is_equal:
        raise SystemExit("the picks differ")


def _print_row(name: str, threads: int, run: dict[str, Any], base: dict[str, Any], count: int) -> None:
    ratios = [f"{run[key] / count:.2f}" if key in run else "" for key in ("rows_read", "rows_screened", "bounds")]
    print(
        f"| {name} | {threads} | {run['cpu']:.2f} | {base['cpu'] / run['cpu']:.1f} | {run['wall']:.1f} | {run['memory'] / 2**20:.0f} "
        f"| {' | '.join(ratios)} | {run.get('near_ties', '')} |",
        flush=True,
    )


def write_enlarged(source: np.ndarray, count: int, path: Path, chunk: int = 1024) -> None:
    """`count` rows like the real ones, float16, in a local Zarr array without compression.

    A row is max(0, x_i + (x_j − x_k)/4) with random i, j, k: the features stay possible means of ReLUs, with about the
    covariance of the real ones.
    """
    import zarr
    from zarr.codecs import BytesCodec

    if path.exists():
        return
    partial_path = path.with_name(path.name + ".partial")
    array = zarr.create_array(
        str(partial_path),
        shape=(count, source.shape[1]),
        chunks=(chunk, source.shape[1]),
        dtype="float16",
        serializer=BytesCodec(endian="little"),
        compressors=None,
        overwrite=True,
    )
    rng = np.random.default_rng(2018)
    for first in range(0, count, chunk):
        i, j, k = rng.integers(0, len(source), (3, min(chunk, count - first)))
        array[first : first + chunk] = np.maximum(source[i] + (source[j] - source[k]) / 4, 0).astype(np.float16)
    partial_path.rename(path)


def measure_growth(options: argparse.Namespace) -> None:
    """Time, bytes and memory from 10⁴ rows on, each from a Zarr array, and the cost of a literal pick."""
    source = np.load(options.features, mmap_mode="r")[: options.rows or None].astype(np.float32)
    sizes = [n for n in (10_000, 31_623, 100_000, 316_228, 1_000_000) if n <= options.most]
    runs: list[dict[str, Any]] = []
    print(
        f"like {options.features.name}: N x {source.shape[1]} float16 in Zarr, chunks of 1024 rows, k = {RANK}, {PICKS} picks, start svd\n"
    )
    print(
        "| N | threads | CPU s | wall s | memory MiB | store read, GB | of the matrix | screened / N | bounds / N | near-ties | literal, CPU s a pick |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for count in sizes:
        path = options.scratch / f"rows-{count}.zarr"
        write_enlarged(source, count, path)
        run = measure_in_process("ours", {"path": str(path), "count": 0, "memory": False}, start="svd", threads=2)
        late_rows = min(count, 31_623)
        late_run = measure_in_process("late", {"path": str(path), "count": late_rows})
        run |= {"N": count, "literal": late_run["cpu"] / 4 * count / late_rows}
        runs.append(run)
        matrix = count * source.shape[1] * 2
        print(
            f"| {count:,} | 2 | {run['cpu']:.1f} | {run['wall']:.1f} | {run['memory'] / 2**20:.0f} | {run['bytes_read'] / 1e9:.2f} "
            f"| {run['bytes_read'] / matrix:.2f} | {run['rows_screened'] / count:.1f} | {run['bounds'] / count:.0f} "
            f"| {run['near_ties']} | {run['literal']:.2f}{'' if late_rows == count else ' (by N)'} |",
            flush=True,
        )
    print(f"\nseconds by phase, largest N: {json.dumps(runs[-1]['seconds'])}\n")
    if options.chart:
        _draw_chart(runs, options.chart)


def time_late_picks(rows: np.ndarray) -> dict[str, Any]:
    """Four picks of the literal definition after 60: the model has full rank by then, so each costs what a later one does."""
    x = rows.astype(np.float64)
    picked_rows = x[np.linspace(0, len(x) - 1, 60, dtype=int)]
    for _ in range(4):
        _scores(x, *_model(picked_rows)).argmax()
    return {}


WORKLOADS: dict[str, Callable[..., dict[str, Any]]] = {
    "ours": run_demud,
    "literal": run_literal,
    "late": time_late_picks,
}


def _draw_chart(runs: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n = np.array([run["N"] for run in runs])
    figure, (time_axes, memory_axes) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    time_axes.loglog(n, [run["literal"] * PICKS for run in runs], "o--", color="0.5", label="literal definition, CPU s")
    time_axes.loglog(n, [run["cpu"] for run in runs], "o-", label="interpdisc, CPU s")
    time_axes.loglog(n, [run["wall"] for run in runs], "o-", label="interpdisc on 2 threads, wall s")
    memory_axes.loglog(n, [run["bytes_read"] / 1e6 for run in runs], "o-", label="read from the store, MB")
    memory_axes.loglog(n, [run["memory"] / 1e6 for run in runs], "o-", label="peak anonymous memory, MB")
    memory_axes.loglog(n, n * 1280 * 2 / 1e6, "--", color="0.5", label="the matrix, MB")
    for axis in (time_axes, memory_axes):
        axis.set_xlabel("rows")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def measure_workers(options: argparse.Namespace) -> None:
    """One process compared with two Dask workers of one thread each, on the same rows."""
    from distributed import Client, LocalCluster

    from deploy.dask_shard_pool import DaskShardPool
    from deploy.task_runners import MALLOC_ENVIRONMENT

    os.environ |= MALLOC_ENVIRONMENT  # as the README says to start workers
    source = {"path": str(options.features), "count": options.rows, "memory": options.features.suffix == ".npy"}
    one_thread = measure_in_process("ours", source, start="svd", threads=1)
    two_threads = measure_in_process("ours", source, start="svd", threads=2)
    with (
        threadpool_limits(1),
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        worker_cpu_before = sum(client.run(time.process_time).values())
        pool, rows = DaskShardPool(client, partial(load_worker_rows, **source)), load_rows(**source)
        cpu, wall = time.process_time(), time.monotonic()
        distributed_run = run_demud(rows, "svd", 1, pool=pool)
        distributed_run |= {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}
        worker_cpu = sum(client.run(time.process_time).values()) - worker_cpu_before
    count = rows.shape[0]
    print(f"{options.features.name}: {count} x {rows.shape[1]}, k = {RANK}, {PICKS} picks, start svd\n")
    print(
        "| run | CPU s here | CPU s on workers | wall s | waiting for workers, s | read from the store / N | screened / N |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, run, workers, wait_s in (
        ("one process, 1 thread", one_thread, 0.0, 0.0),
        ("one process, 2 threads", two_threads, 0.0, 0.0),
        ("two Dask workers", distributed_run, worker_cpu, pool.seconds["asking"]),
    ):
        print(
            f"| {name} | {run['cpu']:.1f} | {workers:.1f} | {run['wall']:.1f} | {wait_s:.1f} "
            f"| {run['rows_read'] / count:.2f} | {run['rows_screened'] / count:.1f} |"
        )
    is_equal = all(
        (run["rows"], run["scores"]) == (one_thread["rows"], one_thread["scores"])
        for run in (two_threads, distributed_run)
    )
    print(f"\nsame picks and scores, to the bit: {is_equal}\n")
    if not is_equal:
        raise SystemExit("the picks differ")


def load_worker_rows(**source: Any) -> Rows:
    """See `load_rows`; for a worker."""
    return as_rows(load_rows(**source))


def measure_kills(options: argparse.Namespace) -> None:
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
        return [str(Path(sys.executable).with_name("interpdisc")), "select", str(options.features), *picks]

    def read_outputs(out: Path) -> dict[str, bytes]:
        files = [out / "picks.csv", *sorted((out / "vectors" / "c").rglob("*"))]
        return {str(file.relative_to(out)): file.read_bytes() for file in files if file.is_file()}

    straight = options.scratch / "straight"
    shutil.rmtree(straight, ignore_errors=True)
    start = time.monotonic()
    subprocess.run(command(straight), env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    duration_s, expected = time.monotonic() - start, read_outputs(straight)
    random.seed(20)
    picks_at_kill = []
    for number in range(20):
        out = options.scratch / f"killed-{number}"
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(command(out), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.1, 1.0) * duration_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        state = out / "selection.json"
        picks_at_kill.append(len(json.loads(state.read_text())["rows"]) if state.exists() else 0)
        subprocess.run(command(out), env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if read_outputs(out) != expected:
            raise SystemExit(f"kill {number}: the picks or the vectors differ")
        shutil.rmtree(out)
    print(
        f"20 kills of a selection of {PICKS} picks that takes {duration_s:.1f} s; picks kept at the kill: {', '.join(map(str, picks_at_kill))}"
    )
    print("identical picks.csv and vectors after each: True")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("literal", "growth", "workers", "kills"))
    parser.add_argument("features", type=Path)
    parser.add_argument("--rows", type=int, default=0, help="the first N; 0: all")
    parser.add_argument("--start", default="0")
    parser.add_argument("--l2", action="store_true")
    parser.add_argument("--scratch", type=Path, default=Path("selection-benchmark"))
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    print(
        f"{date.today()}, Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} cores\n"
    )
    options.scratch.mkdir(parents=True, exist_ok=True)
    {"literal": compare_with_literal, "growth": measure_growth, "workers": measure_workers, "kills": measure_kills}[
        options.what
    ](options)


if __name__ == "__main__":
    main()
