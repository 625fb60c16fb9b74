"""How well the inverters render held-out images, compared with the mean image and the nearest training image.

    python benchmarks/inversion.py ARCHIVE/training/NAME CHECKPOINT --gradient 64

ARCHIVE is that of `interpdisc train-inverter`; its held-out sets and training examples are used.
Prints a table for each held-out set. The gradient inverter and its refinement are scored on the first N images only.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from interpdisc_core.inverters import Gradient, Refined, UpConv
from interpdisc_core.storage.location import Location
from interpdisc_core.training.assign_images import MAX_HELD_OUT
from interpdisc_core.training.dataset import TrainingRun
from interpdisc_core.training.validation import ValidationSet

COLUMNS = ("psnr", "ssim", "image_error", "feature_error", "second_error", "rank_median", "rank_first")


def find_nearest_pictures(codes: np.ndarray, training: TrainingRun) -> np.ndarray:
    """The pictures (n, s, s, 3) of the training examples with the nearest codes, searched part by part."""
    shape = training.read(training.list_parts("train-")[0]).pictures.shape[1:]
    best, pictures = np.full(len(codes), np.inf), np.zeros((len(codes), *shape), np.uint8)
    for part in training.list_parts("train-"):
        examples = training.read(part)
        distance = (codes**2).sum(1)[:, None] - 2 * codes @ examples.codes.T + (examples.codes**2).sum(1)
        neighbor = distance.argmin(1)
        nearer = distance[np.arange(len(codes)), neighbor] < best
        best[nearer] = distance[np.arange(len(codes)), neighbor][nearer]
        pictures[nearer] = examples.pictures[neighbor[nearer]]
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training")
    parser.add_argument("checkpoint")
    parser.add_argument("--gradient", type=int, default=64, metavar="N")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    archive, _, name = Location.parse(options.training).url.rpartition("/training/")
    training = TrainingRun(Location.parse(archive), name)
    spec = training.recipe.representation
    upconv = UpConv(checkpoint=options.checkpoint)
    mean = (
        np.mean([training.read(part).pictures.mean(0) for part in training.list_parts("train-")], axis=0)
        .round()
        .astype(np.uint8)
    )
    scores = {}
    for part in sorted(training.list_parts("held-out-")):
        held_out = training.read_first(part, MAX_HELD_OUT)
        validation_set = ValidationSet.from_examples(held_out)
        first_rows = slice(0, min(options.gradient, len(held_out.codes)))
        rows, seconds = {}, {}
        for title, selection, invert in (
            ("mean training image", slice(None), lambda codes: np.broadcast_to(mean, (len(codes), *mean.shape))),
            ("nearest training image", slice(None), lambda codes: find_nearest_pictures(codes, training)),
            ("upconv", slice(None), upconv.load(spec, "none")),
            *(
                [
                    (f"upconv, first {first_rows.stop}", first_rows, upconv.load(spec, "none")),
                    (f"gradient, first {first_rows.stop}", first_rows, Gradient().load(spec, "none")),
                    (f"refined, first {first_rows.stop}", first_rows, Refined(start=upconv).load(spec, "none")),
                ]
                if options.gradient
                else []
            ),
        ):
            start = time.monotonic()
            pictures = invert(held_out.codes[selection])
            seconds[title] = (time.monotonic() - start) / len(pictures)
            rows[title] = validation_set.score(spec, np.ascontiguousarray(pictures), selection)
        scores[part] = rows
        print(
            f"\n{part.removeprefix('held-out-')}: {len(held_out.codes)} images, {spec.kind} {getattr(spec, 'output', '')}\n"
        )
        print("| | " + " | ".join(COLUMNS) + " | ms an image |\n|---|" + "---:|" * (len(COLUMNS) + 1))
        for title, row in rows.items():
            print(
                f"| {title} | "
                + " | ".join(f"{row[c]:.3f}" if c != "psnr" else f"{row[c]:.2f}" for c in COLUMNS)
                + f" | {1000 * seconds[title]:.1f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps({"representation": asdict(spec), "scores": scores}, indent=1))


if __name__ == "__main__":
    main()
