"""What a run's explanations look like, and how faithful they are, as pages can show it.

    interpdisc discover … --archive ARCHIVE -n 300 --explain 300
    python benchmarks/explanations.py numbers ARCHIVE/runs/RUN --chart chart.png
    python benchmarks/explanations.py panels ARCHIVE/runs/RUN --first 10 --out panels.jpg

`numbers` prints medians and quartiles of every measure, and which of the two renderings of what is new is the more
faithful; `panels` draws a row for each of the first picks.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from interpdisc_core import charts
from interpdisc_core.extraction import pixels
from interpdisc_core.images import square
from interpdisc_core.measures import MEASURES
from interpdisc_core.runs import Explanation, Pick, Run
from interpdisc_core.storage import Place
from interpdisc_core.training.examples import reduced

SIDE, GAP, HEAD = 160, 6, 22
FONT = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 11)
TITLES = ("image", "where it is new", "control: x", "expected: x̂", "new: x − x̂", "difference", "nearest seen")


def opened(url: str) -> Run:
    archive, _, name = Place.of(url).url.rpartition("/runs/")
    return Run(Place.of(archive), name)


def explained(run: Run) -> list[tuple[Pick, Explanation]]:
    kept = run.explanations()
    return [(pick, made) for pick in run.picks() if (made := kept.read(pick.rank)) is not None and made.renderings]


def numbers(run: Run, chart: Path | None) -> None:
    every = explained(run)
    values = {key: np.array([made.numbers[key] for _, made in every if key in made.numbers]) for key in MEASURES}
    print(f"{len(every)} picks, {run.rendering.inverter.kind}, {run.plan.representation}\n")
    print("| measure | lower quartile | median | upper quartile |\n|---|---:|---:|---:|")
    for key, measure in MEASURES.items():
        if len(values[key]):
            low, middle, high = np.quantile(values[key], (0.25, 0.5, 0.75))
            print(f"| {measure.title} | {low:.3f} | {middle:.3f} | {high:.3f} |")
    both = [(m.numbers["cosine_difference"], m.numbers["cosine_new"]) for _, m in every if "cosine_new" in m.numbers]
    better = sum(one > two for one, two in both)
    trusted = [made.trusted for _, made in every if made.trusted is not None]
    print(
        f"\nThe difference is the more faithful rendering for {better} of {len(both)} picks, the residual for {len(both) - better}."
    )
    print(f"{sum(trusted)} of {len(trusted)} reach the threshold {every[0][1].threshold}.")
    if chart is not None:
        distributions(values, every[0][1].threshold, chart)


def distributions(values: dict[str, np.ndarray], threshold: float | None, path: Path) -> None:
    import matplotlib.pyplot as plt

    shown = ("cosine_difference", "cosine_new", "cosine_second", "cosine_random", "cosine_shuffled")
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    held = [values[key] for key in shown if len(values[key])]
    axes.boxplot(held, orientation="horizontal", widths=0.6, flierprops={"markersize": 2})
    axes.set_yticks(range(1, len(held) + 1), [MEASURES[key].title for key in shown if len(values[key])])
    axes.invert_yaxis()
    axes.axvline(0, color="0.7", linewidth=0.8)
    if threshold is not None:
        axes.axvline(threshold, color="tab:red", linewidth=1, linestyle="--", label="threshold of the badge")
        axes.legend(loc="lower right", fontsize=8)
    axes.set_xlabel("cosine")
    figure.savefig(path, dpi=110)


def panels(run: Run, first: int, out: Path) -> None:
    every = explained(run)[:first]
    width = len(TITLES) * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, HEAD + len(every) * (SIDE + HEAD + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, title in enumerate(TITLES):
        draw.text((GAP + place * (SIDE + GAP), 5), title, fill="black", font=FONT)
    for row, (pick, made) in enumerate(every):
        top = HEAD + row * (SIDE + HEAD + GAP)
        draw.text((GAP, top + 4), told(pick, made), fill="black", font=FONT)
        for place, picture in enumerate(pictures(run, pick, made)):
            if picture is not None:
                sheet.paste(Image.fromarray(picture), (GAP + place * (SIDE + GAP), top + HEAD))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=75, optimize=True)
    print(f"{out}: {len(every)} picks, {out.stat().st_size // 1000} kB")


def told(pick: Pick, made: Explanation) -> str:
    numbers = made.numbers
    cosine = f", cosine {numbers['cosine_difference']:.2f}" if "cosine_difference" in numbers else ""
    rank = f", found again at rank {numbers['rank']:.0f} of {numbers['among']:.0f}" if "rank" in numbers else ""
    badge = ", DO NOT READ MUCH INTO THIS" if made.trusted is False else ""
    return (
        f"{pick.rank}. {pick.id}{f' ({pick.label})' if pick.label else ''}, score {pick.score:.4g}{cosine}{rank}{badge}"
    )


def pictures(run: Run, pick: Pick, made: Explanation) -> list[np.ndarray | None]:
    whole = pixels(pick.uri, pick.sha256)
    height, width = whole.shape[:2]
    left, top, right, bottom = run.plan.representation.window(width, height)
    window = (left / width, top / height, right / width, bottom / height)
    seen = reduced(charts.crop(whole, window), SIDE)
    heat = None if made.where is None else charts.overlay(seen, made.where, (0, 0, 1, 1))
    decoded = [
        reduced(made.renderings[name], SIDE) if name in made.renderings else None
        for name in ("control", "expected", "new", "difference")
    ]
    near = pick.nearest[0] if pick.nearest else None
    known = None if near is None else square(pixels(near.uri, near.sha256), crop=SIDE, of=SIDE)
    return [seen, heat, *decoded, known]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    one = kinds.add_parser("numbers")
    one.add_argument("run")
    one.add_argument("--chart", type=Path)
    two = kinds.add_parser("panels")
    two.add_argument("run")
    two.add_argument("--first", type=int, default=10)
    two.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.what == "numbers":
        numbers(opened(given.run), given.chart)
    else:
        panels(opened(given.run), given.first, given.out)


if __name__ == "__main__":
    main()
