"""The explanations of a run: how faithful they are, and a sheet of pictures.

    interpdisc discover … --archive ARCHIVE -n 300 --explain 300
    python benchmarks/explanations.py numbers ARCHIVE/runs/RUN --chart chart.png
    python benchmarks/explanations.py panels ARCHIVE/runs/RUN --first 10 --out panels.jpg

`numbers` prints median and quartiles of every metric, and which of the two renderings of the novelty is more faithful;
`panels` draws a row for each of the first picks.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from interpdisc_core.archive.run import Explanation, Pick, Run
from interpdisc_core.images.load import load_input_image
from interpdisc_core.images.resize import crop_center_square, resize_lanczos
from interpdisc_core.metrics.definitions import METRIC_DEFINITIONS
from interpdisc_core.reporting import charts
from interpdisc_core.storage.location import Location

SIDE, GAP, HEAD = 160, 6, 22
FONT = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 11)
TITLES = ("image", "where it is new", "control: x", "expected: x̂", "new: x − x̂", "difference", "nearest seen")


def open_run(url: str) -> Run:
    archive, _, name = Location.parse(url).url.rpartition("/runs/")
    return Run(Location.parse(archive), name)


def explained_picks(run: Run) -> list[tuple[Pick, Explanation]]:
    explanations = run.open_explanations()
    return [
        (pick, explanation)
        for pick in run.read_picks()
        if (explanation := explanations.read(pick.rank)) is not None and explanation.renderings
    ]


def print_measures(run: Run, chart: Path | None) -> None:
    picks = explained_picks(run)
    values = {
        key: np.array([explanation.numbers[key] for _, explanation in picks if key in explanation.numbers])
        for key in METRIC_DEFINITIONS
    }
    print(f"{len(picks)} picks, {run.rendering.inverter.kind}, {run.plan.representation}\n")
    print("| metric | lower quartile | median | upper quartile |\n|---|---:|---:|---:|")
    for key, measure in METRIC_DEFINITIONS.items():
        if len(values[key]):
            low, middle, high = np.quantile(values[key], (0.25, 0.5, 0.75))
            print(f"| {measure.title} | {low:.3f} | {middle:.3f} | {high:.3f} |")
    cosine_pairs = [
        (record.numbers["cosine_difference"], record.numbers["cosine_new"])
        for _, record in picks
        if "cosine_new" in record.numbers
    ]
    better = sum(difference > residual for difference, residual in cosine_pairs)
    trusted = [explanation.trusted for _, explanation in picks if explanation.trusted is not None]
    print(
        f"\nThe difference is the more faithful rendering for {better} of {len(cosine_pairs)} picks, the residual for {len(cosine_pairs) - better}."
    )
    print(f"{sum(trusted)} of {len(trusted)} reach the threshold {picks[0][1].threshold}.")
    if chart is not None:
        draw_distributions(values, picks[0][1].threshold, chart)


def draw_distributions(values: dict[str, np.ndarray], threshold: float | None, path: Path) -> None:
    import matplotlib.pyplot as plt

    names = ("cosine_difference", "cosine_new", "cosine_second", "cosine_random", "cosine_shuffled")
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    columns = [values[key] for key in names if len(values[key])]
    axes.boxplot(columns, orientation="horizontal", widths=0.6, flierprops={"markersize": 2})
    axes.set_yticks(range(1, len(columns) + 1), [METRIC_DEFINITIONS[key].title for key in names if len(values[key])])
    axes.invert_yaxis()
    axes.axvline(0, color="0.7", linewidth=0.8)
    if threshold is not None:
        axes.axvline(threshold, color="tab:red", linewidth=1, linestyle="--", label="threshold of the badge")
        axes.legend(loc="lower right", fontsize=8)
    axes.set_xlabel("cosine")
    figure.savefig(path, dpi=110)


def draw_panels(run: Run, first: int, out: Path) -> None:
    picks = explained_picks(run)[:first]
    width = len(TITLES) * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, HEAD + len(picks) * (SIDE + HEAD + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for position, title in enumerate(TITLES):
        draw.text((GAP + position * (SIDE + GAP), 5), title, fill="black", font=FONT)
    for row, (pick, explanation) in enumerate(picks):
        top = HEAD + row * (SIDE + HEAD + GAP)
        draw.text((GAP, top + 4), describe_pick(pick, explanation), fill="black", font=FONT)
        for position, picture in enumerate(collect_pictures(run, pick, explanation)):
            if picture is not None:
                sheet.paste(Image.fromarray(picture), (GAP + position * (SIDE + GAP), top + HEAD))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=75, optimize=True)
    print(f"{out}: {len(picks)} picks, {out.stat().st_size // 1000} kB")


def describe_pick(pick: Pick, explanation: Explanation) -> str:
    measures = explanation.numbers
    cosine = f", cosine {measures['cosine_difference']:.2f}" if "cosine_difference" in measures else ""
    rank = f", found again at rank {measures['rank']:.0f} of {measures['among']:.0f}" if "rank" in measures else ""
    badge = ", NOT TRUSTED" if explanation.trusted is False else ""
    return (
        f"{pick.rank}. {pick.id}{f' ({pick.label})' if pick.label else ''}, score {pick.score:.4g}{cosine}{rank}{badge}"
    )


def collect_pictures(run: Run, pick: Pick, explanation: Explanation) -> list[np.ndarray | None]:
    frame = load_input_image(pick.uri, pick.sha256)
    height, width = frame.shape[:2]
    left, top, right, bottom = run.plan.representation.compute_window(width, height)
    window = (left / width, top / height, right / width, bottom / height)
    view = resize_lanczos(charts.crop_window(frame, window), SIDE)
    heat = (
        None
        if explanation.attribution_map is None
        else charts.overlay_map(view, explanation.attribution_map, (0, 0, 1, 1))
    )
    decoded = [
        resize_lanczos(explanation.renderings[name], SIDE) if name in explanation.renderings else None
        for name in ("control", "expected", "new", "difference")
    ]
    nearest = pick.nearest[0] if pick.nearest else None
    neighbor = (
        None
        if nearest is None
        else crop_center_square(load_input_image(nearest.uri, nearest.sha256), crop=SIDE, short_side=SIDE)
    )
    return [view, heat, *decoded, neighbor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    numbers_parser = kinds.add_parser("numbers")
    numbers_parser.add_argument("run")
    numbers_parser.add_argument("--chart", type=Path)
    panels_parser = kinds.add_parser("panels")
    panels_parser.add_argument("run")
    panels_parser.add_argument("--first", type=int, default=10)
    panels_parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "numbers":
        print_measures(open_run(options.run), options.chart)
    else:
        draw_panels(open_run(options.run), options.first, options.out)


if __name__ == "__main__":
    main()
