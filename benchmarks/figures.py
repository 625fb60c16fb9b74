"""Figures 1 and 8 of Wagstaff & Lee 2018 again: what a run expects of an image, and what is new in it.

    python benchmarks/figures.py yellow PHOTOS OUT     # PHOTOS: a folder a class; known: yellow things; candidates: flowers
    python benchmarks/figures.py sensor ROVER OUT      # ROVER: images/ and labels.csv; known: a sensor early in the mission

Each writes two lists, runs `interpdisc discover` on them with the known ones as background, and draws OUT/figure.jpg: the known
images, then of the first picks the image, where it is new, and the decoded pictures. The known images are chosen by rule:
`yellow`: the 60 images of any class but the flowers whose pixels are yellow most often (hue 40 to 70 degrees, saturation and
value above 0.35); candidates are all flowers and the next 60 yellowest. `sensor`: known are the images of the class up to
--until; candidates are its later images and as many later images of other classes, those nearest in time.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from explanations import GAP, SIDE, draw_panels, open_run
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FLOWERS = ("sunflower", "water_lilly", "lotus")


def measure_yellow(path: Path) -> float:
    hue, saturation, value = np.asarray(Image.open(path).convert("RGB").resize((64, 64)).convert("HSV"), dtype=float).T
    degrees = hue * 360 / 255
    return float(((degrees > 40) & (degrees < 70) & (saturation > 90) & (value > 90)).mean())


def choose_yellow(photos: Path) -> tuple[list[Path], list[Path]]:
    paths = sorted(path for path in photos.rglob("*") if path.is_file())
    flowers = [path for path in paths if path.parent.name in FLOWERS]
    if not flowers:
        sys.exit(f"{photos}: has no folder {', '.join(FLOWERS)}.")
    others = [path for path in paths if path.parent.name not in (*FLOWERS, "BACKGROUND_Google", "Faces_easy")]
    by_yellowness = sorted(others, key=measure_yellow, reverse=True)
    return by_yellowness[:60], by_yellowness[60:120] + flowers


def choose_sensor(rover: Path, label: str, until: int) -> tuple[list[Path], list[Path]]:
    with (rover / "labels.csv").open() as file:
        rows = [(int(row["file"][:4]), row["file"], row["class_name"]) for row in csv.DictReader(file)]
    own = [row for row in rows if row[2] == label]
    early, later = [row for row in own if row[0] <= until], [row for row in own if row[0] > until]
    others = sorted(
        (row for row in rows if row[2] != label and row[0] > until),
        key=lambda row: (min(abs(row[0] - own_row[0]) for own_row in later), row[1]),
    )[: len(later)]
    return [rover / "images" / row[1] for row in early], [rover / "images" / row[1] for row in later + others]


def write_list(paths: list[Path], path: Path) -> Path:
    with path.open("w", newline="") as file:
        rows = [(f"{image.parent.name}/{image.name}", str(image.absolute())) for image in paths]
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
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    known_images, candidates = (
        choose_yellow(options.data)
        if options.figure == "yellow"
        else choose_sensor(options.data, options.label, options.until)
    )
    plan = {
        "representation": {"kind": "efficientnet-lite0", "output": options.output},
        "selector": {"kind": "demud", "rank": options.rank},
        "picks": 30,
        "explain": options.picks,
    }
    (options.out / "plan.json").write_text(json.dumps(plan))
    archive = options.out / f"archive-{options.output}"
    process = subprocess.run(
        [
            str(Path(sys.executable).with_name("interpdisc")),
            "discover",
            str(write_list(candidates, options.out / "candidates.csv")),
            "--background",
            str(write_list(known_images, options.out / "known.csv")),
            "--plan",
            str(options.out / "plan.json"),
            "--archive",
            str(archive),
            "--json",
        ],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    result = json.loads(process.stdout)
    print(f"{len(known_images)} known, {len(candidates)} candidates; picks:")
    for pick in result["picks"][:20]:
        print(f"  {pick['rank']:>2}. {pick['id']}  {pick['score']:.4g}")
    draw_panels(open_run(f"{archive}/runs/{result['run']}"), options.picks, options.out / "panels.jpg")
    panels_image = Image.open(options.out / "panels.jpg")
    side, columns = SIDE // 2, panels_image.width // (SIDE // 2 + GAP)
    first_known = known_images[: 2 * columns]
    sheet = Image.new("RGB", (panels_image.width, 2 * (side + GAP) + GAP + panels_image.height), "white")
    for position, path in enumerate(first_known):
        small = Image.open(path).convert("RGB")
        small.thumbnail((side, side))
        sheet.paste(small, (GAP + position % columns * (side + GAP), GAP + position // columns * (side + GAP)))
    sheet.paste(panels_image, (0, sheet.height - panels_image.height))
    sheet.save(options.out / "figure.jpg", quality=75, optimize=True)
    print(options.out / "figure.jpg")


if __name__ == "__main__":
    main()
