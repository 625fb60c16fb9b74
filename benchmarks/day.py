"""A large day: N images of one sol, 25 picks with explanations, after a horizon of smaller sols. Wall time by stage.

    python benchmarks/day.py --images FOLDER [--day 5000] [--before 10] [--each 60] [--workers 2] [--out FILE.json]

FOLDER (or INTERPDISC_DATA) has images named as those of the Mars Science Laboratory's color cameras; they are copied
under names of other sols, so that there are enough of one. If there are fewer images than needed, copies with bytes
appended after the JPEG's end are added, which the program takes as other contents.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SUFFIXES = {".jpg", ".jpeg", ".png"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=os.environ.get("INTERPDISC_DATA", ""))
    parser.add_argument("--day", type=int, default=5000)
    parser.add_argument("--before", type=int, default=10)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--explain", type=int, default=25)
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    paths = sorted(p for p in Path(options.images).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        sys.exit("give a folder of images with --images, or set INTERPDISC_DATA")
    with tempfile.TemporaryDirectory(prefix="day-") as scratch:
        base = Path(scratch)
        (base / "images").mkdir()
        sols_before = [100 + number for number in range(options.before) for _ in range(options.each)]
        write_images(base / "images", paths, sols_before)
        run_daily(base, options, 0)
        write_images(
            base / "images", paths[len(sols_before) :] + paths[: len(sols_before)], [200] * options.day, salt=True
        )
        start = time.monotonic()
        result_of_day = run_daily(base, options, options.explain)
        wall = time.monotonic() - start
    day = next(candidate for candidate in result_of_day["days"] if candidate["day"] == "sol-00200")
    result = {
        "images": options.day,
        "picks": len(day["picks"]),
        "explained": options.explain,
        "workers": options.workers,
        "wall_s": round(wall, 1),
        "stages_s": result_of_day["timings"],
        "ledger": day["ledger"],
        "images_per_s": round(result_of_day["images"] / max(result_of_day["timings"]["extract"], 1e-9), 1),
    }
    print(json.dumps(result, indent=1))
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1) + "\n")


def write_images(folder: Path, paths: list[Path], sols: list[int], salt: bool = False) -> None:
    """Write one image for each of `sols`, named as one of that sol."""
    for number, sol in enumerate(sols):
        source = paths[number % len(paths)]
        camera = ("ML", "MR", "MH")[number % 3]
        name = f"{sol:04d}{camera}{sol:06d}{number % 1000:03d}{number:07d}E01_DRCL{source.suffix}"
        data = source.read_bytes()
        if salt and number >= len(paths) // 2:  # bytes after a JPEG's end change its content's digest, not its picture
            data += number.to_bytes(4, "big")
        (folder / name).write_bytes(data)


def run_daily(base: Path, options: argparse.Namespace, explain: int) -> dict[str, Any]:
    command = [
        str(Path(sys.executable).with_name("interpdisc")),
        "daily",
        str(base / "images"),
        "--archive",
        str(base / "archive"),
        "--workers",
        str(options.workers),
        "--explain",
        str(explain),
        "--json",
    ]
    checkout = Path(__file__).resolve().parents[1]
    process = subprocess.run(command, cwd=checkout, text=True, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(process.stdout)
    return result


if __name__ == "__main__":
    main()
