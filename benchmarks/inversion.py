"""How well the inverters show images that they never saw, beside the mean image and the nearest training image.

    python benchmarks/inversion.py ARCHIVE/training/NAME CHECKPOINT --gradient 64

ARCHIVE is that of `interpdisc train-inverter`; its held-out sets and training examples are used as they are there.
Prints a table for each held-out set. The gradient inverter and its refinement are scored on the first N images only.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from interpdisc_core.inverters import Gradient, Refined, UpConv
from interpdisc_core.storage import Place
from interpdisc_core.training.examples import HELD, Training
from interpdisc_core.training.scoring import Yardstick

COLUMNS = ("psnr", "ssim", "image_error", "feature_error", "second_error", "rank_median", "rank_first")


def nearest(codes: np.ndarray, training: Training) -> np.ndarray:
    """The pictures of the training examples whose codes are nearest, part by part."""
    best, pictures = (
        np.full(len(codes), np.inf),
        np.zeros((len(codes), *training.read(training.parts("train-")[0]).pictures.shape[1:]), np.uint8),
    )
    for part in training.parts("train-"):
        some = training.read(part)
        distance = (codes**2).sum(1)[:, None] - 2 * codes @ some.codes.T + (some.codes**2).sum(1)
        place = distance.argmin(1)
        nearer = distance[np.arange(len(codes)), place] < best
        best[nearer] = distance[np.arange(len(codes)), place][nearer]
        pictures[nearer] = some.pictures[place[nearer]]
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training")
    parser.add_argument("checkpoint")
    parser.add_argument("--gradient", type=int, default=64, metavar="N")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    archive, _, name = Place.of(given.training).url.rpartition("/training/")
    training = Training(Place.of(archive), name)
    spec = training.recipe.representation
    upconv = UpConv(checkpoint=given.checkpoint)
    mean = (
        np.mean([training.read(part).pictures.mean(0) for part in training.parts("train-")], axis=0)
        .round()
        .astype(np.uint8)
    )
    told = {}
    for part in sorted(training.parts("held-out-")):
        held = training.all(part, HELD)
        yard = Yardstick.of(held)
        few = slice(0, min(given.gradient, len(held.codes)))
        rows, seconds = {}, {}
        for title, which, made in (
            ("mean training image", slice(None), lambda codes: np.broadcast_to(mean, (len(codes), *mean.shape))),
            ("nearest training image", slice(None), lambda codes: nearest(codes, training)),
            ("upconv", slice(None), upconv.load(spec, "none")),
            *([
                (f"upconv, first {few.stop}", few, upconv.load(spec, "none")),
                (f"gradient, first {few.stop}", few, Gradient().load(spec, "none")),
                (f"refined, first {few.stop}", few, Refined(start=upconv).load(spec, "none")),
            ] if given.gradient else []),
        ):  # fmt: skip
            began = time.monotonic()
            pictures = made(held.codes[which])
            seconds[title] = (time.monotonic() - began) / len(pictures)
            rows[title] = yard.score(spec, np.ascontiguousarray(pictures), which)
        told[part] = rows
        print(
            f"\n{part.removeprefix('held-out-')}: {len(held.codes)} images, {spec.kind} {getattr(spec, 'output', '')}\n"
        )
        print("| | " + " | ".join(COLUMNS) + " | ms an image |\n|---|" + "---:|" * (len(COLUMNS) + 1))
        for title, row in rows.items():
            print(
                f"| {title} | "
                + " | ".join(f"{row[c]:.3f}" if c != "psnr" else f"{row[c]:.2f}" for c in COLUMNS)
                + f" | {1000 * seconds[title]:.1f} |",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps({"representation": asdict(spec), "scores": told}, indent=1))


if __name__ == "__main__":
    main()
