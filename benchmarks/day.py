"""A large day: N images of one sol, 25 picks with explanations, after a horizon of smaller sols. Wall time by stage.

    python benchmarks/day.py --images FOLDER [--day 5000] [--before 10] [--each 60] [--workers 2] [--out FILE.json]

FOLDER (or INTERPDISC_DATA) holds images by the names of Mars Science Laboratory's colour cameras; they are linked under
names of other sols, so that there are enough of one. With fewer images than asked for, copies with a changed last byte
of their JPEG padding stand in, which the program takes as other contents.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png"}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--images", default=os.environ.get("INTERPDISC_DATA", ""))
    asked.add_argument("--day", type=int, default=5000)
    asked.add_argument("--before", type=int, default=10)
    asked.add_argument("--each", type=int, default=60)
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--explain", type=int, default=25)
    asked.add_argument("--out", default="")
    given = asked.parse_args()
    found = sorted(p for p in Path(given.images).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        sys.exit("name a folder of images by --images or INTERPDISC_DATA")
    with tempfile.TemporaryDirectory(prefix="day-") as scratch:
        base = Path(scratch)
        (base / "images").mkdir()
        sols = [100 + number for number in range(given.before) for _ in range(given.each)]
        put(base / "images", found, sols)
        run(base, given, 0)
        put(base / "images", found[len(sols) :] + found[: len(sols)], [200] * given.day, salt=True)
        began = time.monotonic()
        told = run(base, given, given.explain)
        wall = time.monotonic() - began
    day = next(one for one in told["days"] if one["day"] == "sol-00200")
    result = {
        "images": given.day, "picks": len(day["picks"]), "explained": given.explain, "workers": given.workers,
        "wall_s": round(wall, 1), "stages_s": told["timings"], "ledger": day["ledger"],
        "images_per_s": round(told["images"] / max(told["timings"]["extract"], 1e-9), 1),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if given.out:
        Path(given.out).write_text(json.dumps(result, indent=1) + "\n")


def put(folder: Path, found: list[Path], sols: list[int], salt: bool = False) -> None:
    """One image a sol of `sols`, by a name of that sol."""
    for number, sol in enumerate(sols):
        source = found[number % len(found)]
        camera = ("ML", "MR", "MH")[number % 3]
        name = f"{sol:04d}{camera}{sol:06d}{number % 1000:03d}{number:07d}E01_DRCL{source.suffix}"
        data = source.read_bytes()
        if salt and number >= len(found) // 2:  # bytes after a JPEG's end mean nothing, and are other bytes
            data += number.to_bytes(4, "big")
        (folder / name).write_bytes(data)


def run(base: Path, given: argparse.Namespace, explain: int) -> dict:
    command = [
        sys.executable, "-m", "deploy", "daily", str(base / "images"), "--archive", str(base / "archive"),
        "--workers", str(given.workers), "--explain", str(explain), "--json",
    ]  # fmt: skip
    here = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=here, text=True, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
