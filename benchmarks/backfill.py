"""A backfill from tar shards, killed three times: images a second, memory over time, every row exact.

    python benchmarks/backfill.py --images 3000 [--data PHOTOS] [--where s3] [--representation lite0] [--out result.json]

Small images are cut from real ones (`--data`, $INTERPDISC_DATA, or the photos of the demo), each with a record, into tars;
besides, each shard has a broken image and one that the shard before has too. A loopback S3 server (moto) holds shards and
archive, or a folder. The command runs as a user gives it; three times, at random, all its processes are killed (-9), and the
same command goes on. At the end every member has exactly one row or a reason, and rows are compared with what the
network gives for the member's own bytes.
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

os.environ.setdefault("OMP_NUM_THREADS", "1")

import fsspec
import numpy as np
import psutil
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[1]
SUFFIXES = (".jpg", ".jpeg", ".png")
SIDE = 160


def photos(data: str, work: Path) -> list[Path]:
    folder = data or os.environ.get("INTERPDISC_DATA", "")
    if not folder:
        from deploy.demo import make_tiles

        folder = str(make_tiles(work)[0])
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)


def cut(paths: list[Path], number: int) -> tuple[bytes, dict[str, Any]]:
    """The `number`-th small image: a square of a real one, turned, at some scale."""
    chance = random.Random(number)
    path = paths[chance.randrange(len(paths))]
    with Image.open(path) as opened:
        opened.draft("RGB", (3 * SIDE, 3 * SIDE))
        image = opened.convert("RGB")
    side = chance.randint(min(min(image.size), SIDE // 2), min(image.size))
    left, top = chance.randint(0, image.width - side), chance.randint(0, image.height - side)
    part = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    if chance.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    sink = io.BytesIO()
    part.save(sink, "JPEG", quality=85)
    return sink.getvalue(), {"sol": number // 500, "instrument": f"CAM{number % 3}", "from": path.name}


def make_shard(given: tuple[list[Path], str, int, int, int]) -> int:
    """One tar of images [start, stop), with records, a broken image, and one that the shard before has; its members."""
    paths, path, number, start, stop = given
    members = 0
    with tarfile.open(path, "w") as tar:

        def put(name: str, data: bytes) -> None:
            nonlocal members
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            members += 1

        for image in range(start, stop):
            data, record = cut(paths, image)
            put(f"{image:08d}.jpg", data)
            put(f"{image:08d}.json", json.dumps(record).encode())
        put(f"broken-{number:05d}.jpg", data[: len(data) // 2])
        if number:
            put(f"again-{number:05d}.jpg", cut(paths, start - 1)[0])
    return members


@dataclass
class Watching:
    """Memory of processes over time, by what they are."""

    began: float = field(default_factory=time.monotonic)
    rows: list[dict[str, float]] = field(default_factory=list)
    root: psutil.Process | None = None
    over: threading.Event = field(default_factory=threading.Event)
    done: float = 0.0

    def run(self) -> None:
        while not self.over.wait(1.0):
            root = self.root
            if root is None:
                continue
            row = {"t": round(time.monotonic() - self.began, 1), "shards": self.done}
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.Error:
                continue
            for process in family:
                try:
                    line, size = " ".join(process.cmdline()), process.memory_info().rss / 2**20
                except psutil.Error:
                    continue
                what = (
                    "flow" if process.pid == root.pid else "server" if "prefect" in line
                    else "worker" if "spawn_main" in line else "other"
                )  # fmt: skip
                row[what] = max(row.get(what, 0.0), round(size, 1))
                row["all"] = round(row.get("all", 0.0) + size, 1)
            self.rows.append(row)


def moto() -> "subprocess.Popen[bytes]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    for _ in range(300):
        try:
            urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"], timeout=2)
            return process
        except OSError:
            time.sleep(0.1)
    raise SystemExit("moto does not answer")


def kill_tree(process: "subprocess.Popen[str]") -> None:
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in everyone:
        with contextlib.suppress(psutil.Error):
            one.send_signal(signal.SIGKILL)
    process.communicate()


def call(command: list[str], watching: Watching, count: Any, until: float | None) -> dict[str, Any] | None:
    """Run the command; kill it when so many shards are there. Its result, or None where it was killed."""
    process = subprocess.Popen(
        command, cwd=CHECKOUT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    watching.root = psutil.Process(process.pid)
    answer: list[tuple[str, str]] = []
    reader = threading.Thread(target=lambda: answer.append(process.communicate()))
    if until is None:
        reader.start()
    while process.poll() is None:
        time.sleep(0.5)
        watching.done = count()
        if until is not None and watching.done >= until:
            time.sleep(random.uniform(0, 3))
            watching.root = None
            kill_tree(process)
            return None
    watching.root = None
    if until is not None:
        raise SystemExit(f"ended before it was killed:\n{process.communicate()[1]}")
    reader.join()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}\n{answer[0][1]}")
    result: dict[str, Any] = json.loads(answer[0][0])
    return result


def selecting(archive: str, work: Path) -> dict[str, Any]:
    """Picks from all rows: time, and the most memory that it took."""
    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy", "select", archive, "-n", "20", "--out", str(work / "picks"), "--json"],
        cwd=CHECKOUT, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, psutil.Process(process.pid).memory_info().rss / 2**20)
        time.sleep(0.1)
    seconds, picks = time.monotonic() - began, json.loads(process.communicate()[0])
    return {"rows": picks["n"], "picks": len(picks["picks"]), "seconds": round(seconds, 1), "peak MB": round(peak)}


def exact(archive: str, name: str, shards: list[str], plan: Any, sample: int) -> dict[str, Any]:
    """Every member has one row or a reason; a sample of the rows is what the network gives for the member's bytes."""
    from interpdisc_core import catalog, sources
    from interpdisc_core.features import FeatureStore, gather
    from interpdisc_core.images import decode
    from interpdisc_core.storage import Place

    latest = catalog.load(Place.of(archive))
    wanted = 0
    for shard in shards:
        with fsspec.open(shard, "rb") as file, tarfile.open(fileobj=file) as tar:
            wanted += sum(1 for _ in tar)
    by_member = {entry.uri for entry in latest.values()}
    ready = sorted((e for e in latest.values() if e.status == "ready"), key=lambda e: (e.batch, e.row))
    places = {(e.batch, e.row) for e in ready}
    chosen = random.Random(0).sample(ready, min(sample, len(ready)))
    store, embed = FeatureStore(Place.of(archive), name), plan.representation.load()
    kept = gather(store, [(e.batch, e.row) for e in chosen])
    same = 0
    for entry, row in zip(chosen, kept, strict=True):
        data = sources.read(entry.uri)
        assert hashlib.sha256(data).hexdigest() == entry.sha256
        prepared = plan.representation.prepare(decode(data, at_least=plan.representation.side))
        direct = embed(prepared[None])[0].astype(store.dtype).astype(np.float32)
        same += bool(np.array_equal(direct, row))
    return {
        "members in the shards": wanted, "inputs in the catalog": len(latest), "addresses": len(by_member),
        "ready": len(ready), "rows of their own": len(places), "contents": len({e.sha256 for e in ready}),
        "rows compared": len(chosen), "rows equal": same,
        "statuses": catalog.counts(latest.values()),
    }  # fmt: skip


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
    parser.add_argument("--work", default="", help="a folder that stays; default: a temporary one")
    parser.add_argument("--out", default="", help="JSON with all figures")
    given = parser.parse_args()
    random.seed(given.seed)
    work = Path(given.work or tempfile.mkdtemp(prefix="backfill-"))
    work.mkdir(parents=True, exist_ok=True)
    server = None
    try:
        paths, made = photos(given.data, work), work / "shards"
        made.mkdir(exist_ok=True)
        starts = range(0, given.images, given.per_shard)
        began = time.monotonic()
        jobs = [
            (paths, str(made / f"shard-{n:05d}.tar"), n, start, min(start + given.per_shard, given.images))
            for n, start in enumerate(starts)
        ]
        with ProcessPoolExecutor(given.workers) as pool:
            members = sum(pool.map(make_shard, jobs))
        size = sum(path.stat().st_size for path in made.iterdir())
        print(
            f"{len(jobs)} shards, {members:,} members, {size / 1e6:.0f} MB, made in {time.monotonic() - began:.0f} s",
            flush=True,
        )

        shards, archive, address = [job[1] for job in jobs], str(work / "archive"), str(made)
        if given.where == "s3":
            server = moto()
            from interpdisc_core.storage import s3_filesystem

            s3_filesystem().mkdir("mission")
            for shard in shards:
                s3_filesystem().put_file(shard, f"mission/shards/{Path(shard).name}")
            shutil.rmtree(made)
            shards = [f"s3://mission/shards/{Path(shard).name}" for shard in shards]
            archive, address = "s3://mission/archive", "s3://mission/shards"

        from interpdisc_core import plan as plans
        from interpdisc_core.features import store_name
        from interpdisc_core.storage import Place

        kind = {"lite0": {"kind": "efficientnet-lite0"}, "pixels": {"kind": "pixels", "side": 16}}[given.representation]
        settings = work / "plan.json"
        settings.write_text(json.dumps({"representation": kind}))
        plan = plans.read(str(settings))
        name = store_name(plan.features, "float16")

        def count() -> int:
            return len(Place.of(archive).names(f"backfills/{name}/shards"))

        command = [
            sys.executable, "-m", "deploy", "backfill", address, "--archive", archive, "--plan", str(settings),
            "--workers", str(given.workers), "--json",
        ]  # fmt: skip
        watching = Watching()
        threading.Thread(target=watching.run, daemon=True).start()
        moments = sorted(random.sample(range(1, len(jobs)), min(given.kills, len(jobs) - 1)))
        calls: list[dict[str, Any]] = []
        for until in [*moments, None]:
            at, before = time.monotonic(), count()
            result = call(command, watching, count, None if until is None else max(until, before + 1))
            calls.append({
                "seconds": round(time.monotonic() - at, 1), "shards before": before, "shards after": count(),
                "killed": result is None, **({"call": result["call"]} if result else {}),
            })  # fmt: skip
            print(f"call {len(calls)}: {calls[-1]}", flush=True)
        watching.over.set()
        assert result is not None
        verified = subprocess.run(
            [sys.executable, "-m", "deploy", "verify", archive, "--json"], cwd=CHECKOUT, capture_output=True, text=True, check=True
        )  # fmt: skip
        rows = exact(archive, name, shards, plan, given.sample)
        select = selecting(archive, work)
        proof = result["proof"]
        told = {
            "images": given.images, "shards": len(jobs), "members": members, "MB": round(size / 1e6), "where": given.where,
            "representation": given.representation, "workers": given.workers, "calls": calls, "proof": proof, "rows": rows,
            "verify": {"sound": json.loads(verified.stdout)["sound"]}, "select": select, "memory": watching.rows,
        }  # fmt: skip
        if given.out:
            Path(given.out).write_text(json.dumps(told, indent=1))
        tell(told)
        good = (
            result["complete"] and told["verify"]["sound"] and proof["headers"] == members == rows["members in the shards"]
            == rows["inputs in the catalog"] and rows["rows equal"] == rows["rows compared"]
            and rows["ready"] == rows["rows of their own"] == rows["contents"]
            # One image of the shard before is in each shard but the first; besides, cuts of plain sky may come out equal.
            and rows["ready"] + rows["statuses"]["duplicate-of"] == given.images + len(jobs) - 1
        )  # fmt: skip
        print("exact" if good else "NOT EXACT")
        sys.exit(0 if good else 1)
    finally:
        if server:
            server.terminate()
        if not given.work:
            shutil.rmtree(work, ignore_errors=True)


def tell(told: dict[str, Any]) -> None:
    seconds, images = sum(call["seconds"] for call in told["calls"]), told["images"]
    last = told["calls"][-1].get("call", {})
    print(f"{images:,} images, {len(told['calls'])} calls, {seconds:,.0f} s with every start: {images / seconds:.1f} images/s; "
          f"in the last call {last.get('images', 0):,} images at {last.get('images_per_second', 0)} images/s")  # fmt: skip
    print("\n| tenth of the time | worker, largest MB | flow MB | all processes MB |\n|---:|---:|---:|---:|")
    rows = told["memory"]
    for tenth in range(10):
        some = rows[tenth * len(rows) // 10 : (tenth + 1) * len(rows) // 10]
        if some:
            of = {what: max(row.get(what, 0.0) for row in some) for what in ("worker", "flow", "all")}
            print(f"| {tenth + 1} | {of['worker']:.0f} | {of['flow']:.0f} | {of['all']:.0f} |")
    print(f"\nrows: {told['rows']}\nselect: {told['select']}\nverify: {told['verify']}")


if __name__ == "__main__":
    main()
