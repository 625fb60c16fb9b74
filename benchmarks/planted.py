"""Planted novelty: objects of one class pasted into images of another at known places. Are they picked, and does the map point at them?

    OMP_NUM_THREADS=1 python benchmarks/planted.py DATA --out planted.json --pictures docs/pictures

DATA has `caltech101/<class>/*.jpg`, `msl/images/` and `msl/labels.csv` (file, class_id, class_name). About six minutes
on one core. Prints the tables in Markdown; `--out` writes every planted image as a record, `--pictures` a sheet for each data set.

A run has `--hosts` images of one class, of which `--planted` have an object pasted into the part that the network sees. Its
bounding box covers 3 to 15 % of that part, at a uniformly random place. Each run is done twice, with the same hosts,
places and outlines: `object`, and `control`, with the outline filled with a piece of another image of the *host's* class,
so that there is a paste but nothing new. Each is selected without a prior, and (if the class has enough images) after as
many other images of the class as there are hosts.
"""

import argparse
import csv
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.stats import hypergeom
from threadpoolctl import threadpool_limits

from interpdisc_core.images.decode import decode
from interpdisc_core.reporting import charts
from interpdisc_core.representations import EfficientNetLite0
from interpdisc_core.selectors import Demud

REPRESENTATIONS = {
    "pooled": EfficientNetLite0(),
    "grid 4 x 4": EfficientNetLite0(output="grid", grid=4),
    "grid 7 x 7": EfficientNetLite0(output="grid", grid=7),
}
RANKS = (10, 50)
DISPLAYED_SETTING = ("pooled", 50, 0)
"""The representation, k and number of images of the prior in the pictures and the table by pair: the default plan's."""
# Data set: pairs of (host class, object class, how the object is cut out). Objects with `silhouette` are Caltech's.
PAIRS = {
    "Caltech": (
        ("Faces", "camera", "silhouette"),
        ("Faces", "revolver", "silhouette"),
        ("car_side", "inline_skate", "silhouette"),
        ("car_side", "soccer_ball", "silhouette"),
        ("BACKGROUND_Google", "stapler", "silhouette"),
        ("BACKGROUND_Google", "euphonium", "silhouette"),
    ),
    "Mars": (
        ("ground", "camera", "silhouette"),
        ("horizon", "revolver", "silhouette"),
        ("wheel", "stapler", "silhouette"),
        ("ground", "mastcam cal target", "ellipse"),
        ("ground", "drill holes", "ellipse"),
        ("horizon", "wheel", "ellipse"),
    ),
}
MAX_FILES = 400
"""At most this many images of a class are used, chosen by the seed."""
AREA_RANGE = (0.03, 0.15)
POINT_TOLERANCE = 15.0
"""Pixels of the network's 224 by which the strongest cell's center may miss the box: the pointing game's tolerance."""
FIRST_PICKS = (5, 10, 20)
PANEL_HEIGHT = 150
"""Height of a picture in a sheet."""

Pixels = np.ndarray
Box = tuple[float, float, float, float]


# ---------------------------------------------------------------------------------------------------------- planting


@dataclass(frozen=True)
class Cutout:
    """An object: its pixels (h, w, 3), and the share of each that belongs to it (h, w), 0 to 1."""

    pixels: Pixels
    alpha: np.ndarray


def cut_silhouette(pixels: Pixels) -> Cutout | None:
    """The largest object that is not of the border's color; None if the border has several colors."""
    border = np.ones(pixels.shape[:2], dtype=bool)
    border[4:-4, 4:-4] = False
    difference = np.abs(pixels - np.median(pixels[border].astype(float), axis=0)).max(axis=2)
    if np.quantile(difference[border], 0.9) > 24:
        return None
    mask = ndimage.binary_fill_holes(ndimage.binary_closing(difference > 30, iterations=2))
    parts, count = ndimage.label(ndimage.binary_opening(mask, iterations=2))
    if not count:
        return None
    mask = ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())
    if not 0.1 < mask.mean() < 0.8 or mask[border].mean() > 0.05:
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Cutout(pixels[part], mask[part].astype(float))


def cut_ellipse(pixels: Pixels) -> Cutout:
    """The middle 70 % of an image in an ellipse with a soft edge."""
    height, width = pixels.shape[:2]
    top, left = round(0.15 * height), round(0.15 * width)
    middle = pixels[top : height - top, left : width - left]
    y, x = (np.linspace(-1, 1, size) for size in middle.shape[:2])
    return Cutout(middle, np.clip((1 - np.hypot(y[:, None], x)) / 0.2, 0, 1))


@dataclass(frozen=True)
class PlantedImage:
    """A host (h, w, 3) with something pasted into it, and its bounding box in pixels of the 224 that the network sees."""

    picture: Pixels
    host: Pixels
    outline: Box
    """The box in pixels of the picture."""
    box: Box
    area: float
    """The box's share of what the network sees."""


def plant_cutout(host: Pixels, cutout: Cutout, filling: Pixels, rng: np.random.Generator) -> dict[str, PlantedImage]:
    """The cutout in the host, and a random piece of `filling` in the same outline at the same place."""
    height, width = host.shape[:2]
    left, top, right, bottom = REPRESENTATIONS["pooled"].compute_window(width, height)
    side, aspect = right - left, cutout.alpha.shape[1] / cutout.alpha.shape[0]
    area = rng.uniform(*AREA_RANGE) * side**2
    paste_height, paste_width = np.sqrt(area / aspect), np.sqrt(area * aspect)
    shrink = min(1.0, 0.95 * side / max(paste_height, paste_width))
    paste_height, paste_width = max(round(shrink * paste_height), 4), max(round(shrink * paste_width), 4)
    x, y = round(rng.uniform(left, right - paste_width)), round(rng.uniform(top, bottom - paste_height))
    alpha = (
        np.asarray(Image.fromarray(np.rint(255 * cutout.alpha).astype(np.uint8)).resize((paste_width, paste_height)))
        / 255.0
    )
    alpha = np.minimum(alpha, ndimage.gaussian_filter(alpha, 0.7))[..., None]
    if (host.max(axis=2).astype(int) - host.min(axis=2)).max() <= 12:  # a gray host gets a gray object
        cutout = Cutout(np.asarray(Image.fromarray(cutout.pixels).convert("L").convert("RGB")), cutout.alpha)
    scale = max(1.0, paste_width / filling.shape[1], paste_height / filling.shape[0])
    other = Image.fromarray(filling).resize([int(np.ceil(scale * size)) for size in filling.shape[1::-1]])
    u, v = rng.integers(other.width - paste_width + 1), rng.integers(other.height - paste_height + 1)
    contents = {
        "object": Image.fromarray(cutout.pixels).resize((paste_width, paste_height), Image.Resampling.LANCZOS),
        "control": other.crop((u, v, u + paste_width, v + paste_height)),
    }
    planted_images, zoom = {}, 224 / side
    for name, content in contents.items():
        picture = host.astype(float)
        background = picture[y : y + paste_height, x : x + paste_width]
        picture[y : y + paste_height, x : x + paste_width] = alpha * np.asarray(content) + (1 - alpha) * background
        planted_images[name] = PlantedImage(
            np.rint(picture).clip(0, 255).astype(np.uint8),
            host,
            (x, y, x + paste_width, y + paste_height),
            ((x - left) * zoom, (y - top) * zoom, (x + paste_width - left) * zoom, (y + paste_height - top) * zoom),
            paste_width * paste_height / side**2,
        )
    return planted_images


# -------------------------------------------------------------------------------------------------------- the metrics


def cell_centers(cells: int) -> np.ndarray:
    """Pixels of the network's 224."""
    return (np.arange(cells) + 0.5) * 224 / cells


def cells_near(box: Box, cells: int, tolerance: float) -> np.ndarray:
    """Which cells' centers are in the box, or at most the tolerance away (gy, gx)."""
    centers = cell_centers(cells)
    across = np.maximum(np.maximum(box[0] - centers, centers - box[2]), 0)
    down = np.maximum(np.maximum(box[1] - centers, centers - box[3]), 0)
    return np.hypot(down[:, None], across) <= tolerance


def cell_coverage(box: Box, cells: int) -> np.ndarray:
    """The part of each cell that the box covers (gy, gx)."""
    size = 224 / cells
    edge = np.arange(cells) * size
    across = np.clip(np.minimum(box[2], edge + size) - np.maximum(box[0], edge), 0, None)
    down = np.clip(np.minimum(box[3], edge + size) - np.maximum(box[1], edge), 0, None)
    return down[:, None] * across / size**2


def mask_largest(values: np.ndarray, count: int) -> np.ndarray:
    """Which are the `count` largest; the earlier among ties."""
    mask = np.zeros(values.size, dtype=bool)
    mask[np.argsort(-values.ravel(), kind="stable")[:count]] = True
    return mask.reshape(values.shape)


def measure_map(attribution_map: np.ndarray, activation: np.ndarray, box: Box) -> dict[str, float]:
    """How well a map (g, g) points at a box, compared with baselines that do not depend on novelty.

    point: the strongest cell's center is in the box or within the tolerance; strict: in the box. `… chance`: a random
    cell; `… centre`: the central cell (of four, their mean). activation: the same map with x as the residual and 0 as the
    mean, which shows where the network is active at all. iou: of the m strongest cells with the m that the box covers most,
    with m the box's area in cells (at least 1). energy: the share of the map's positive part that is in the box, over the
    box's share of the area; 1 is chance.
    """
    cells = len(attribution_map)
    strongest, most_active = mask_largest(attribution_map, 1), mask_largest(activation, 1)
    middle = np.abs(cell_centers(cells) - 112) < 224 / cells * 0.75
    central = middle[:, None] & middle
    cover = cell_coverage(box, cells)
    box_cells = max(1, round(cover.sum()))
    inside = mask_largest(cover, box_cells)
    overlap_count = int((mask_largest(attribution_map, box_cells) & inside).sum())
    i = np.arange(box_cells + 1)
    positive = np.clip(attribution_map, 0, None)
    result = {}
    for name, tolerance in (("point", POINT_TOLERANCE), ("strict", 0.0)):
        hit = cells_near(box, cells, tolerance)
        result |= {
            name: float(hit[strongest][0]),
            f"{name} chance": float(hit.mean()),
            f"{name} centre": float(hit[central].mean()),
            f"{name} activation": float(hit[most_active][0]),
        }
    result["iou"] = overlap_count / (2 * box_cells - overlap_count)
    result["iou chance"] = float(
        (hypergeom.pmf(i, attribution_map.size, box_cells, box_cells) * i / (2 * box_cells - i)).sum()
    )
    result["energy"] = float((positive * cover).sum() / max(positive.sum(), 1e-300) / cover.mean())
    return result


# ------------------------------------------------------------------------------------------------------------ the runs


@dataclass(eq=False)
class BenchmarkData:
    """The two data sets: files by class, and their features."""

    root: Path
    seed: int
    features: dict[tuple[str, Path], np.ndarray] = field(default_factory=dict)

    def list_files(self, name: str, *, collection: str) -> list[Path]:
        """At most MAX_FILES files of a class, in an order that depends on the seed."""
        if collection == "Caltech":
            files = sorted((self.root / "caltech101" / name).glob("*.jpg"))
        else:
            with (self.root / "msl" / "labels.csv").open(newline="") as lines:
                rows = sorted(row["file"] for row in csv.DictReader(lines) if row["class_name"] == name)
            # Several files may be versions of one product, named by the first 22 characters: use the first.
            products = {file[:22]: file for file in reversed(rows)}
            files = [self.root / "msl" / "images" / file for file in sorted(products.values())]
        order = np.random.default_rng([self.seed, len(files)]).permutation(len(files))
        return [files[index] for index in order[:MAX_FILES]]

    @cache  # noqa: B019 - lives as long as the program
    def make_cutouts(self, name: str, method: str) -> list[Cutout]:
        """The objects of a class that can be cut out."""
        pictures = (
            decode(path.read_bytes())
            for path in self.list_files(name, collection="Mars" if method == "ellipse" else "Caltech")
        )
        candidates = (
            cut_silhouette(picture) if method == "silhouette" else cut_ellipse(picture) for picture in pictures
        )
        return [cutout for cutout in candidates if cutout is not None and min(cutout.alpha.shape) >= 24]

    def load_features(self, kind: str, paths: Sequence[Path]) -> np.ndarray:
        """Features of files (n, d), each computed once."""
        missing = [path for path in paths if (kind, path) not in self.features]
        for start in range(0, len(missing), 25):
            part = missing[start : start + 25]
            self.features |= zip(
                [(kind, path) for path in part],
                embed_pictures(kind, [decode(path.read_bytes()) for path in part]),
                strict=True,
            )
        return np.array([self.features[kind, path] for path in paths])


def embed_pictures(kind: str, pictures: Sequence[Pixels]) -> np.ndarray:
    representation = REPRESENTATIONS[kind]
    return _load_network(kind)(np.stack([representation.prepare(picture) for picture in pictures]))


@cache
def _load_network(kind: str) -> Callable[[Pixels], np.ndarray]:
    return REPRESENTATIONS[kind].load("cpu")


@dataclass(frozen=True)
class PlantedPick:
    """A planted image that was picked, with its map."""

    image: PlantedImage
    attribution_map: np.ndarray
    record: dict[str, Any]


def select_planted(
    kind: str, k: int, features: np.ndarray, prior: np.ndarray, images: dict[int, PlantedImage]
) -> Iterator[PlantedPick]:
    """Pick until every planted image (by row) is picked; each with its map for the model at that pick."""
    representation = REPRESENTATIONS[kind]
    selection, rank, remaining = Demud(rank=k).open(features, prior=prior), 0, set(images)
    while remaining and (choice := selection.peek()) is not None:
        rank += 1
        if choice.row in remaining:
            remaining.remove(choice.row)
            image_record, x = images[choice.row], features[choice.row].astype(float)
            image = representation.prepare(image_record.picture)
            attribution_map = representation.attribution_map(image, choice.residual, choice.mean, 1.0)
            activation = representation.attribution_map(image, x, np.zeros_like(x), 1.0)
            record = {
                "row": choice.row,
                "rank": rank,
                "score": choice.score,
                "box": image_record.box,
                "area": image_record.area,
            }
            yield PlantedPick(
                image_record, attribution_map, record | measure_map(attribution_map, activation, image_record.box)
            )
        selection.learn(choice.row)


def run_pair(
    data: BenchmarkData, dataset: str, pair: tuple[str, str, str], number: int, options: argparse.Namespace
) -> Iterator[PlantedPick]:
    """One run: everything that is asked of one draw of hosts, objects and places."""
    host_class, object_class, method = pair
    rng = np.random.default_rng([options.seed, number, list(PAIRS).index(dataset), PAIRS[dataset].index(pair)])
    files, cutouts = data.list_files(host_class, collection=dataset), data.make_cutouts(object_class, method)
    files = [files[index] for index in rng.permutation(len(files))]
    hosts, other_files = files[: options.hosts], files[options.hosts :]
    fillings, other_files = other_files[: options.planted], other_files[options.planted :]
    rows = rng.choice(len(hosts), options.planted, replace=False)
    cutout_indices = rng.choice(len(cutouts), options.planted, replace=False)
    planted_pairs = {
        int(row): plant_cutout(decode(hosts[row].read_bytes()), cutouts[index], decode(filling.read_bytes()), rng)
        for row, index, filling in zip(rows, cutout_indices, fillings, strict=True)
    }
    for kind in REPRESENTATIONS:
        features = data.load_features(kind, hosts)
        for condition in ("object", "control"):
            images = {row: conditions[condition] for row, conditions in planted_pairs.items()}
            planted_features = features.copy()
            planted_features[list(images)] = embed_pictures(
                kind, [planted_pick.picture for planted_pick in images.values()]
            )
            for prior_count in (0, options.hosts) if len(other_files) >= options.hosts else (0,):
                prior = (
                    data.load_features(kind, other_files[:prior_count])
                    if prior_count
                    else np.empty((0, features.shape[1]))
                )
                for k in RANKS:
                    setting = {
                        "data": dataset,
                        "pair": f"{object_class} in {host_class}",
                        "run": number,
                        "representation": kind,
                        "condition": condition,
                        "seen": prior_count,
                        "k": k,
                    }
                    for order, planted_pick in enumerate(
                        select_planted(kind, k, planted_features, prior.astype(float), images), start=1
                    ):
                        planted_pick.record.update(setting | {"order": order})
                        yield planted_pick


# ---------------------------------------------------------------------------------------------------------- the tables


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The mean over runs and its 95 % interval, by 4,000 resamples of the runs."""
    numbers = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).integers(len(numbers), size=(4000, len(numbers)))
    low, high = np.quantile(numbers[draws].mean(axis=1), [0.025, 0.975])
    return float(numbers.mean()), float(low), float(high)


def format_interval(values: Sequence[float], digits: int = 2) -> str:
    mean, low, high = bootstrap_interval(values)
    return f"{mean:.{digits}f} ({low:.{digits}f}…{high:.{digits}f})"


def average_by_run(
    records: Sequence[dict[str, Any]], name: str, *, first: bool = False
) -> dict[tuple[str, int], float]:
    """A metric's mean over a run's planted images, or its value for the first one that was picked."""
    runs: dict[tuple[str, int], list[float]] = {}
    for record in records:
        if not first or record["order"] == 1:
            runs.setdefault((record["pair"], record["run"]), []).append(record[name])
    return {key: float(np.mean(values)) for key, values in runs.items()}


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A Markdown table whose first `texts` columns are text."""
    line = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, line, *rows)) + "\n"


def group_records(
    records: Sequence[dict[str, Any]],
) -> Iterator[tuple[tuple[str, ...], dict[str, list[dict[str, Any]]]]]:
    """Records by data set, seen, representation and k, and within these by condition."""
    seen_counts = sorted({record["seen"] for record in records})
    for dataset in PAIRS:
        for seen_count in seen_counts:
            for kind in REPRESENTATIONS:
                for k in RANKS:
                    setting = {"data": dataset, "seen": seen_count, "representation": kind, "k": k}
                    group = [record for record in records if setting.items() <= record.items()]
                    if group:
                        names = (dataset, str(seen_count), kind, str(k))
                        yield names, {c: [r for r in group if r["condition"] == c] for c in ("object", "control")}


def table_pointing(records: Sequence[dict[str, Any]]) -> str:
    head = [
        "data",
        "seen",
        "features",
        "k",
        "first: object",
        "first: control",
        "all: object",
        "all: control",
        "object − control",
        "chance",
        "centre",
        "activation",
        "object − activation",
    ]
    rows = []
    for names, by_condition in group_records(records):
        first = [
            format_interval([*average_by_run(by_condition[c], "point", first=True).values()]) for c in by_condition
        ]
        object_points, control = (
            average_by_run(by_condition["object"], "point"),
            average_by_run(by_condition["control"], "point"),
        )
        activation_points = average_by_run(by_condition["object"], "point activation")
        others = [
            f"{np.mean([r[f'point {name}'] for r in by_condition['object']]):.2f}" for name in ("chance", "centre")
        ]
        differences = [
            format_interval([object_points[key] - baseline[key] for key in object_points])
            for baseline in (control, activation_points)
        ]
        means = [format_interval([*baseline.values()]) for baseline in (object_points, control, activation_points)]
        rows.append([*names, *first, *means[:2], differences[0], *others, means[2], differences[1]])
    return format_table(head, rows, 3)


def table_overlap(records: Sequence[dict[str, Any]]) -> str:
    head = [
        "data",
        "seen",
        "features",
        "k",
        "IoU: object",
        "IoU: control",
        "random cells",
        "energy: object",
        "energy: control",
        "strict pointing: object",
        "control",
        "chance",
    ]
    rows = []
    for names, by_condition in group_records(records):
        iou, energy, strict = (
            [format_interval([*average_by_run(by_condition[c], m).values()]) for c in by_condition]
            for m in ("iou", "energy", "strict")
        )
        chance = [f"{np.mean([r[m] for r in by_condition['object']]):.2f}" for m in ("iou chance", "strict chance")]
        rows.append([*names, *iou, chance[0], *energy, *strict, chance[1]])
    return format_table(head, rows, 3)


def table_early(records: Sequence[dict[str, Any]], hosts: int, planted: int) -> str:
    columns = [*(f"in first {n}" for n in FIRST_PICKS), "first rank", "mean rank"]
    head = [
        "data",
        "seen",
        "features",
        "k",
        "runs",
        *(f"{name}: {condition}" for name in columns for condition in ("object", "control")),
    ]
    chance = [f"{1 - hypergeom.pmf(0, hosts, planted, n):.2f}" for n in FIRST_PICKS]
    chance += [f"{(hosts + 1) / (planted + 1):.1f}", f"{(hosts + 1) / 2:.1f}"]
    rows = [["*expected at random*", "", "", "", "", *(f"*{value}*" for value in chance for _ in range(2))]]
    for names, by_condition in group_records(records):
        first = [[*average_by_run(by_condition[c], "rank", first=True).values()] for c in by_condition]
        shares = [format_interval([rank <= n for rank in ranks]) for n in FIRST_PICKS for ranks in first]
        mean_ranks = [format_interval([*average_by_run(by_condition[c], "rank").values()], 1) for c in by_condition]
        rows.append([*names, str(len(first[0])), *shares, *(format_interval(ranks, 1) for ranks in first), *mean_ranks])
    return format_table(head, rows, 3)


def table_parts(records: Sequence[dict[str, Any]]) -> str:
    """By pair and by size, for DISPLAYED_SETTING."""
    kind, k, seen_count = DISPLAYED_SETTING
    setting = {"representation": kind, "k": k, "seen": seen_count}
    group = [record for record in records if setting.items() <= record.items()]
    groups = {
        f"{d}: {pair}": partial(_has_pair, "pair", pair, d)
        for d, pair in dict.fromkeys((r["data"], r["pair"]) for r in group)
    }
    half = (AREA_RANGE[0] + AREA_RANGE[1]) / 2
    for dataset in PAIRS:
        groups[f"{dataset}: boxes under {half:.0%}"] = partial(_has_size, dataset, 0, half)
        groups[f"{dataset}: boxes of {half:.0%} and more"] = partial(_has_size, dataset, half, 1)
    rows = []
    for name, within in groups.items():
        by_condition = {c: [r for r in group if r["condition"] == c and within(r)] for c in ("object", "control")}
        means = [f"{np.mean([r[m] for r in by_condition[c]]):.2f}" for m in ("point", "iou") for c in by_condition]
        means[2:2] = [
            f"{np.mean([r[m] for r in by_condition['object']]):.2f}" for m in ("point chance", "point activation")
        ]
        ranks = [f"{np.mean([r['rank'] for r in by_condition[c]]):.1f}" for c in by_condition]
        rows.append([name, str(len(by_condition["object"])), *means, *ranks])
    head = [
        "planted",
        "images",
        "pointing: object",
        "control",
        "chance",
        "activation",
        "IoU: object",
        "control",
        "rank: object",
        "control",
    ]
    return format_table(head, rows, 1)


def _has_pair(name: str, value: str, dataset: str, record: dict[str, Any]) -> bool:
    return record[name] == value and record["data"] == dataset


def _has_size(dataset: str, low: float, high: float, record: dict[str, Any]) -> bool:
    return record["data"] == dataset and low <= record["area"] < high


# -------------------------------------------------------------------------------------------------------- the pictures


def draw_sheet(planted_picks: Sequence[PlantedPick]) -> Image.Image:
    """A row for each pair: the first image with an object that run 0 picked, its maps and its control."""
    kind, k, seen_count = DISPLAYED_SETTING
    setting = {"run": 0, "k": k, "seen": seen_count}
    group = [pick for pick in planted_picks if setting.items() <= pick.record.items()]
    rows = []
    for pair in dict.fromkeys(pick.record["pair"] for pick in group):
        by_setting = {
            (pick.record["representation"], pick.record["condition"], pick.record["row"]): pick
            for pick in group
            if pick.record["pair"] == pair
        }
        first_pick = next(
            pick
            for (name, condition, _), pick in by_setting.items()
            if (name, condition) == (kind, "object") and pick.record["order"] == 1
        )
        row = first_pick.record["row"]
        panels = [
            _make_panel(first_pick.image.host, pair),
            _make_panel(_draw_box(first_pick.image.picture, first_pick), "planted"),
            *(_draw_map(by_setting[name, "object", row], name) for name in REPRESENTATIONS if name != "grid 7 x 7"),
            _make_panel(_draw_box(by_setting[kind, "control", row].image.picture, first_pick), "control"),
            _draw_map(by_setting[kind, "control", row], f"control, {kind}"),
        ]
        rows.append(panels)
    widths = [max(row[column].width for row in rows) for column in range(len(rows[0]))]
    canvas = Image.new("RGB", (sum(widths) + 4 * len(widths), sum(row[0].height + 4 for row in rows)), "white")
    y = 0
    for row in rows:
        x = 0
        for panel, width in zip(row, widths, strict=True):
            canvas.paste(panel, (x, y))
            x += width + 4
        y += row[0].height + 4
    return canvas


def _draw_map(pick: PlantedPick, name: str) -> Image.Image:
    height, width = pick.image.picture.shape[:2]
    left, upper, right, lower = REPRESENTATIONS["pooled"].compute_window(width, height)
    overlaid = charts.overlay_map(
        pick.image.picture, pick.attribution_map, (left / width, upper / height, right / width, lower / height)
    )
    hit = "hit" if pick.record["point"] else "miss"
    return _make_panel(_draw_box(overlaid, pick), f"{name}: pick {pick.record['rank']}, {hit}")


def _draw_box(picture: Pixels, pick: PlantedPick) -> Pixels:
    image = Image.fromarray(picture)
    left, upper, right, lower = pick.image.outline
    ImageDraw.Draw(image).rectangle((left - 1, upper - 1, right, lower), outline=(0, 255, 160), width=2)
    return np.asarray(image)


def _make_panel(picture: Pixels, text: str) -> Image.Image:
    image, font = Image.fromarray(picture), ImageFont.load_default(11)
    image = image.resize((round(image.width * PANEL_HEIGHT / image.height), PANEL_HEIGHT))
    panel = Image.new("RGB", (max(image.width, round(font.getlength(text)) + 4), PANEL_HEIGHT + 15), "white")
    panel.paste(image, (0, 15))
    ImageDraw.Draw(panel).text((2, 1), text, fill="black", font=font)
    return panel


# ------------------------------------------------------------------------------------------------------------- program


@threadpool_limits.wrap(limits=1, user_api="blas")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("INTERPDISC_DATA"), help="default: $INTERPDISC_DATA")
    parser.add_argument("--out", type=Path, help="a JSON file with every planted image")
    parser.add_argument("--pictures", type=Path, help="a folder for planted-caltech.jpg and planted-mars.jpg")
    parser.add_argument("--runs", type=int, default=4, help="runs a pair of classes")
    parser.add_argument("--hosts", type=int, default=100, help="images of a run")
    parser.add_argument("--planted", type=int, default=5, help="of these with something pasted into them")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.data:
        parser.error("give the data folder, or set INTERPDISC_DATA")
    import torch

    torch.set_num_threads(1)
    data, start = BenchmarkData(Path(options.data), options.seed), time.process_time()
    records: list[dict[str, Any]] = []
    for dataset, pairs in PAIRS.items():
        first_run_picks: list[PlantedPick] = []
        for pair in pairs:
            for number in range(options.runs):
                picks = list(run_pair(data, dataset, pair, number, options))
                records += [pick.record for pick in picks]
                first_run_picks += picks if number == 0 else []
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            draw_sheet(first_run_picks).save(
                options.pictures / f"planted-{dataset.lower()}.jpg", quality=80, optimize=True
            )
    runs = {d: len(PAIRS[d]) * options.runs for d in PAIRS}
    cpu_s = time.process_time() - start
    print(
        f"{date.today()}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, CPU only; "
        f"{', '.join(f'{n} runs with {d} hosts' for d, n in runs.items())}; {cpu_s:.0f} CPU s\n"
    )
    tables = {
        "Pointing": table_pointing(records),
        "Overlap": table_overlap(records),
        "Early": table_early(records, options.hosts, options.planted),
        f"By pair and size ({DISPLAYED_SETTING[0]}, k = {DISPLAYED_SETTING[1]}, {DISPLAYED_SETTING[2]} seen)": table_parts(
            records
        ),
    }
    for name, text in tables.items():
        print(f"**{name}**\n\n{text}")
    if options.out:
        options.out.write_text(json.dumps({"date": str(date.today()), "cpu_s": cpu_s, "records": records}))


if __name__ == "__main__":
    main()
