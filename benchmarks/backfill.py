"""A backfill from tar shards, killed three times: images a second, memory over time, and whether every row is exact.

    python benchmarks/backfill.py --images 3000 [--data PHOTOS] [--where s3] [--representation lite0] [--out result.json]

Small images are cut from real ones (`--data`, $INTERPDISC_DATA, or the photos of the demo), each with a record, into tars.
Each shard also has a broken image and a copy of one of the shard before. Shards and archive are on a loopback S3 server
(moto) or in a folder. The command runs as a user gives it; three times, at random, all its processes are killed (-9), and
the same command resumes. At the end every member must have exactly one row or a reason, and rows are compared with the
network's features of the member's own bytes.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import psutil
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")

CHECKOUT = Path(__file__).resolve().parents[1]
SUFFIXES = (".jpg", ".jpeg", ".png")
SIDE = 160


def find_photos(data: str, work: Path) -> list[Path]:
    folder = data or os.environ.get("INTERPDISC_DATA", "")
    if not folder:
        from deploy.demo import make_tiles

        folder = str(make_tiles(work)[0])
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)


def cut_image(paths: list[Path], number: int) -> tuple[bytes, dict[str, Any]]:
    """The `number`-th small image: a square of a real one, maybe mirrored, at some scale."""
    rng = random.Random(number)
    path = paths[rng.randrange(len(paths))]
    with Image.open(path) as photo:
        photo.draft("RGB", (3 * SIDE, 3 * SIDE))
        image = photo.convert("RGB")
    side = rng.randint(min(min(image.size), SIDE // 2), min(image.size))
    left, top = rng.randint(0, image.width - side), rng.randint(0, image.height - side)
    part = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    sink = io.BytesIO()
    part.save(sink, "JPEG", quality=85)
    return sink.getvalue(), {"sol": number // 500, "instrument": f"CAM{number % 3}", "from": path.name}


def make_shard(job: tuple[list[Path], str, int, int, int]) -> int:
    """Write a tar of images [start, stop) with records, a broken image, and a copy of one of the shard before; its number
    of members."""
    paths, path, number, start, stop = job
    members = 0
    with tarfile.open(path, "w") as tar:

        def add_member(name: str, data: bytes) -> None:
            nonlocal members
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            members += 1

        for image in range(start, stop):
            data, record = cut_image(paths, image)
            add_member(f"{image:08d}.jpg", data)
            add_member(f"{image:08d}.json", json.dumps(record).encode())
        add_member(f"broken-{number:05d}.jpg", data[: len(data) // 2])
        if number:
            add_member(f"again-{number:05d}.jpg", cut_image(paths, start - 1)[0])
    return members


@dataclass
class MemoryMonitor:
    """Memory of processes over time, by their role."""

    start: float = field(default_factory=time.monotonic)
    rows: list[dict[str, float]] = field(default_factory=list)
    root: psutil.Process | None = None
    stop_event: threading.Event = field(default_factory=threading.Event)
    shards_done: float = 0.0

    def run(self) -> None:
        while not self.stop_event.wait(1.0):
            root = self.root
            if root is None:
                continue
            row = {"t": round(time.monotonic() - self.start, 1), "shards": self.shards_done}
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.Error:
                continue
            for process in family:
                try:
                    line, size = " ".join(process.cmdline()), process.memory_info().rss / 2**20
                except psutil.Error:
                    continue
                role = (
                    "flow"
                    if process.pid == root.pid
                    else "server"
                    if "prefect" in line
                    else "worker"
                    if "spawn_main" in line
                    else "other"
                )
                row[role] = max(row.get(role, 0.0), round(size, 1))
                row["all"] = round(row.get("all", 0.0) + size, 1)
            self.rows.append(row)


def start_moto() -> "subprocess.Popen[bytes]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for _ in range(300):
        try:
            urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"], timeout=2)
            return process
        except OSError:
            time.sleep(0.1)
    raise SystemExit("moto does not answer")


def kill_tree(process: "subprocess.Popen[str]") -> None:
    processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in processes:
        with contextlib.suppress(psutil.Error):
            member.send_signal(signal.SIGKILL)
    process.communicate()


def run_command(
    command: list[str], monitor: MemoryMonitor, count_shards: Any, kill_at: float | None
) -> dict[str, Any] | None:
    """Run the command; kill it when `kill_at` shards are done. Its result, or None if it was killed."""
    process = subprocess.Popen(
        command, cwd=CHECKOUT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    monitor.root = psutil.Process(process.pid)
    outputs: list[tuple[str, str]] = []
    reader = threading.Thread(target=lambda: outputs.append(process.communicate()))
    if kill_at is None:
        reader.start()
    while process.poll() is None:
        time.sleep(0.5)
        monitor.shards_done = count_shards()
        if kill_at is not None and monitor.shards_done >= kill_at:
            time.sleep(random.uniform(0, 3))
            monitor.root = None
            kill_tree(process)
            return None
    monitor.root = None
    if kill_at is not None:
        raise SystemExit(f"ended before it was killed:\n{process.communicate()[1]}")
    reader.join()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}\n{outputs[0][1]}")
    result: dict[str, Any] = json.loads(outputs[0][0])
    return result


def measure_selection(archive: str, work: Path) -> dict[str, Any]:
    """Select from all rows: time and peak memory."""
    start, peak = time.monotonic(), 0.0
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("interpdisc")),
            "select",
            archive,
            "-n",
            "20",
            "--out",
            str(work / "picks"),
            "--json",
        ],
        cwd=CHECKOUT,
        text=True,
        stdout=subprocess.PIPE,
    )
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, psutil.Process(process.pid).memory_info().rss / 2**20)
        time.sleep(0.1)
    seconds, picks = time.monotonic() - start, json.loads(process.communicate()[0])
    return {"rows": picks["n"], "picks": len(picks["picks"]), "seconds": round(seconds, 1), "peak MB": round(peak)}


def check_rows(archive: str, name: str, shards: list[str], plan: Any, sample: int) -> dict[str, Any]:
    """Count members, rows and reasons; compare a sample of the rows with the network's features of the members' bytes."""
    from interpdisc_core import sources
    from interpdisc_core.archive import catalog
    from interpdisc_core.archive.feature_store import FeatureStore, gather_features
    from interpdisc_core.images.decode import decode
    from interpdisc_core.storage.location import Location

    latest = catalog.load_entries(Location.parse(archive))
    member_count = 0
    for shard in shards:
        with fsspec.open(shard, "rb") as file, tarfile.open(fileobj=file) as tar:
            member_count += sum(1 for _ in tar)
    uris = {entry.uri for entry in latest.values()}
    ready = sorted(
        (entry for entry in latest.values() if entry.status == "ready"), key=lambda entry: (entry.batch, entry.row)
    )
    positions = {(entry.batch, entry.row) for entry in ready}
    sampled_entries = random.Random(0).sample(ready, min(sample, len(ready)))
    store, embed = FeatureStore(Location.parse(archive), name), plan.representation.load()
    stored_rows = gather_features(store, [(entry.batch, entry.row) for entry in sampled_entries])
    equal_rows = 0
    for entry, row in zip(sampled_entries, stored_rows, strict=True):
        data = sources.read_input(entry.uri)
        assert hashlib.sha256(data).hexdigest() == entry.sha256
        network_input = plan.representation.prepare(decode(data, at_least=plan.representation.side))
        direct = embed(network_input[None])[0].astype(store.dtype).astype(np.float32)
        equal_rows += bool(np.array_equal(direct, row))
    return {
        "members in the shards": member_count,
        "inputs in the catalog": len(latest),
        "addresses": len(uris),
        "ready": len(ready),
        "rows of their own": len(positions),
        "contents": len({entry.sha256 for entry in ready}),
        "rows compared": len(sampled_entries),
        "rows equal": equal_rows,
        "statuses": catalog.count_entries_by_status(latest.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--per-shard", type=int, default=1000)
    parser.add_argument("--data", default="")
    parser.add_argument("--where", choices=("s3", "folder"), default="s3")
    parser.add_argument("--representation", choices=("lite0", "pixels"), default="lite0")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", default="", help="a folder that is not removed; default: a temporary one")
    parser.add_argument("--out", default="", help="JSON with all figures")
    options = parser.parse_args()
    random.seed(options.seed)
    work = Path(options.work or tempfile.mkdtemp(prefix="backfill-"))
    work.mkdir(parents=True, exist_ok=True)
    server = None
    try:
        paths, shard_folder = find_photos(options.data, work), work / "shards"
        shard_folder.mkdir(exist_ok=True)
        starts = range(0, options.images, options.per_shard)
        start_time = time.monotonic()
        jobs = [
            (paths, str(shard_folder / f"shard-{n:05d}.tar"), n, start, min(start + options.per_shard, options.images))
            for n, start in enumerate(starts)
        ]
        with ProcessPoolExecutor(options.workers) as pool:
            members = sum(pool.map(make_shard, jobs))
        size = sum(path.stat().st_size for path in shard_folder.iterdir())
        print(
            f"{len(jobs)} shards, {members:,} members, {size / 1e6:.0f} MB, made in {time.monotonic() - start_time:.0f} s",
            flush=True,
        )

        shards, archive, address = [job[1] for job in jobs], str(work / "archive"), str(shard_folder)
        if options.where == "s3":
            server = start_moto()
            from interpdisc_core.storage.remote_files import get_s3_filesystem

            get_s3_filesystem().mkdir("mission")
            for shard in shards:
                get_s3_filesystem().put_file(shard, f"mission/shards/{Path(shard).name}")
            shutil.rmtree(shard_folder)
            shards = [f"s3://mission/shards/{Path(shard).name}" for shard in shards]
            archive, address = "s3://mission/archive", "s3://mission/shards"

        from interpdisc_core import plan as plans
        from interpdisc_core.archive.feature_store import format_store_name
        from interpdisc_core.storage.location import Location

        kind = {"lite0": {"kind": "efficientnet-lite0"}, "pixels": {"kind": "pixels", "side": 16}}[
            options.representation
        ]
        settings = work / "plan.json"
        settings.write_text(json.dumps({"representation": kind}))
        plan = plans.read_plan(str(settings))
        name = format_store_name(plan.features_digest, "float16")

        def count_shards() -> int:
            return len(Location.parse(archive).list_names(f"backfills/{name}/shards"))

        command = [
            str(Path(sys.executable).with_name("interpdisc")),
            "backfill",
            address,
            "--archive",
            archive,
            "--plan",
            str(settings),
            "--workers",
            str(options.workers),
            "--json",
        ]
        monitor = MemoryMonitor()
        threading.Thread(target=monitor.run, daemon=True).start()
        kill_points = sorted(random.sample(range(1, len(jobs)), min(options.kills, len(jobs) - 1)))
        calls: list[dict[str, Any]] = []
        for kill_at in [*kill_points, None]:
            call_start, shards_before = time.monotonic(), count_shards()
            result = run_command(
                command, monitor, count_shards, None if kill_at is None else max(kill_at, shards_before + 1)
            )
            calls.append(
                {
                    "seconds": round(time.monotonic() - call_start, 1),
                    "shards before": shards_before,
                    "shards after": count_shards(),
                    "killed": result is None,
                    **({"call": result["call"]} if result else {}),
                }
            )
            print(f"call {len(calls)}: {calls[-1]}", flush=True)
        monitor.stop_event.set()
        assert result is not None
        verification = subprocess.run(
            [str(Path(sys.executable).with_name("interpdisc")), "verify", archive, "--json"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        rows = check_rows(archive, name, shards, plan, options.sample)
        select = measure_selection(archive, work)
        proof = result["proof"]
        report = {
            "images": options.images,
            "shards": len(jobs),
            "members": members,
            "MB": round(size / 1e6),
            "where": options.where,
            "representation": options.representation,
            "workers": options.workers,
            "calls": calls,
            "proof": proof,
            "rows": rows,
            "verify": {"sound": json.loads(verification.stdout)["sound"]},
            "select": select,
            "memory": monitor.rows,
        }
        if options.out:
            Path(options.out).write_text(json.dumps(report, indent=1))
        print_report(report)
        is_exact = (
            result["complete"]
            and report["verify"]["sound"]
            and proof["headers"] == members == rows["members in the shards"] == rows["inputs in the catalog"]
            and rows["rows equal"] == rows["rows compared"]
            and rows["ready"] == rows["rows of their own"] == rows["contents"]
            # Each shard but the first has a copy of an image of the shard before; also, cuts of plain sky may be equal.
            and rows["ready"] + rows["statuses"]["duplicate-of"] == options.images + len(jobs) - 1
        )
        print("exact" if is_exact else "NOT EXACT")
        sys.exit(0 if is_exact else 1)
    finally:
        if server:
            server.terminate()
        if not options.work:
            shutil.rmtree(work, ignore_errors=True)


def print_report(report: dict[str, Any]) -> None:
    seconds, images = sum(call["seconds"] for call in report["calls"]), report["images"]
    last_call = report["calls"][-1].get("call", {})
    print(
        f"{images:,} images, {len(report['calls'])} calls, {seconds:,.0f} s with every start: {images / seconds:.1f} images/s; "
        f"in the last call {last_call.get('images', 0):,} images at {last_call.get('images_per_second', 0)} images/s"
    )
    print("\n| tenth of the time | worker, largest MB | flow MB | all processes MB |\n|---:|---:|---:|---:|")
    rows = report["memory"]
    for tenth in range(10):
        samples = rows[tenth * len(rows) // 10 : (tenth + 1) * len(rows) // 10]
        if samples:
            peaks = {role: max(row.get(role, 0.0) for row in samples) for role in ("worker", "flow", "all")}
            print(f"| {tenth + 1} | {peaks['worker']:.0f} | {peaks['flow']:.0f} | {peaks['all']:.0f} |")
    print(f"\nrows: {report['rows']}\nselect: {report['select']}\nverify: {report['verify']}")


if __name__ == "__main__":
    main()
