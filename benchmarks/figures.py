"""The paper's Figures 1 and 8 redone: what a run expects of a picture, and what is new in it.

    python benchmarks/figures.py yellow PHOTOS OUT     # PHOTOS: a folder a class; known: yellow things; then flowers
    python benchmarks/figures.py sensor ROVER OUT      # ROVER: images/ and labels.csv; known: the sensor early in the mission

Each writes two lists, runs `interpdisc discover` on them with the known ones as background, and draws OUT/figure.jpg: the known
images, then of the first picks the image, where it is new, and the decoded pictures. What is known is chosen by rule:
`yellow`: the 60 images of any class but the flowers whose pixels are yellow most often (hue 40 to 70 degrees, saturation and
value above 0.35); candidates are all flowers and the next 60 yellowest. `sensor`: known are the images of the class up to
--until; candidates are its later ones and as many later images of other classes as there are of them, which are nearest in time.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from explanations import GAP, SIDE, opened, panels
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FLOWERS = ("sunflower", "water_lilly", "lotus")


def yellowness(path: Path) -> float:
    hue, saturation, value = np.asarray(Image.open(path).convert("RGB").resize((64, 64)).convert("HSV"), dtype=float).T
    degrees = hue * 360 / 255
    return float(((degrees > 40) & (degrees < 70) & (saturation > 90) & (value > 90)).mean())


def yellow(photos: Path) -> tuple[list[Path], list[Path]]:
    every = sorted(path for path in photos.rglob("*") if path.is_file())
    flowers = [path for path in every if path.parent.name in FLOWERS]
    if not flowers:
        sys.exit(f"{photos}: has no folder {', '.join(FLOWERS)}.")
    others = [path for path in every if path.parent.name not in (*FLOWERS, "BACKGROUND_Google", "Faces_easy")]
    ranked = sorted(others, key=yellowness, reverse=True)
    return ranked[:60], ranked[60:120] + flowers


def sensor(rover: Path, label: str, until: int) -> tuple[list[Path], list[Path]]:
    with (rover / "labels.csv").open() as file:
        rows = [(int(row["file"][:4]), row["file"], row["class_name"]) for row in csv.DictReader(file)]
    own = [row for row in rows if row[2] == label]
    known, later = [row for row in own if row[0] <= until], [row for row in own if row[0] > until]
    others = sorted(
        (row for row in rows if row[2] != label and row[0] > until),
        key=lambda row: (min(abs(row[0] - mine[0]) for mine in later), row[1]),
    )[: len(later)]
    return [rover / "images" / row[1] for row in known], [rover / "images" / row[1] for row in later + others]


def listed(paths: list[Path], path: Path) -> Path:
    with path.open("w", newline="") as file:
        rows = [(f"{one.parent.name}/{one.name}", str(one.absolute())) for one in paths]
        csv.writer(file).writerows([["id", "path"], *rows])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=("yellow", "sensor"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--label", default="rems uv sensor")
    parser.add_argument("--until", type=int, default=250, help="the last sol that is known")
    parser.add_argument("--picks", type=int, default=6)
    parser.add_argument("--output", default="pooled", choices=("pooled", "grid"))
    parser.add_argument("--rank", type=int, default=20)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    known, candidates = yellow(given.data) if given.figure == "yellow" else sensor(given.data, given.label, given.until)
    plan = {
        "representation": {"kind": "efficientnet-lite0", "output": given.output},
        "selector": {"kind": "demud", "rank": given.rank}, "picks": 30, "explain": given.picks,
    }  # fmt: skip
    (given.out / "plan.json").write_text(json.dumps(plan))
    archive = given.out / f"archive-{given.output}"
    done = subprocess.run(
        [
            sys.executable, "-m", "deploy", "discover", str(listed(candidates, given.out / "candidates.csv")), "--background",
            str(listed(known, given.out / "known.csv")), "--plan", str(given.out / "plan.json"), "--archive", str(archive), "--json",
        ], check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    result = json.loads(done.stdout)
    print(f"{len(known)} known, {len(candidates)} candidates; picks:")
    for pick in result["picks"][:20]:
        print(f"  {pick['rank']:>2}. {pick['id']}  {pick['score']:.4g}")
    panels(opened(f"{archive}/runs/{result['run']}"), given.picks, given.out / "panels.jpg")
    below = Image.open(given.out / "panels.jpg")
    side, across = SIDE // 2, below.width // (SIDE // 2 + GAP)
    shown = known[: 2 * across]
    sheet = Image.new("RGB", (below.width, 2 * (side + GAP) + GAP + below.height), "white")
    for place, path in enumerate(shown):
        small = Image.open(path).convert("RGB")
        small.thumbnail((side, side))
        sheet.paste(small, (GAP + place % across * (side + GAP), GAP + place // across * (side + GAP)))
    sheet.paste(below, (0, sheet.height - below.height))
    sheet.save(given.out / "figure.jpg", quality=75, optimize=True)
    print(given.out / "figure.jpg")


if __name__ == "__main__":
    main()
