"""Planted novelty: objects of one class pasted into images of another at known places. Are they picked, and pointed at?

    OMP_NUM_THREADS=1 python benchmarks/planted.py DATA --out planted.json --pictures docs/pictures

DATA holds `caltech101/<class>/*.jpg`, `msl/images/` and `msl/labels.csv` (file, class_id, class_name). About six minutes
on one core. Prints the tables in Markdown; `--out` gets every planted image as a record, `--pictures` a sheet a data set.

A run has `--hosts` images of one class, of which `--planted` had an object pasted into the part that the network sees. Its
bounding box covers 3 to 15 % of that part, at a uniformly random place. Each run is made twice, with the same hosts,
places and outlines: `object`, and `control`, where the outline is filled with a piece of another image of the *host's*
class, so that there is a paste and nothing new in it. Each is selected with nothing seen before, and (where the class has
images enough) after as many other images of the class as there are hosts.
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

from interpdisc_core import charts
from interpdisc_core.images import decode
from interpdisc_core.representations import EfficientNetLite0
from interpdisc_core.selectors import Demud

REPRESENTATIONS = {
    "pooled": EfficientNetLite0(),
    "grid 4 x 4": EfficientNetLite0(output="grid", grid=4),
    "grid 7 x 7": EfficientNetLite0(output="grid", grid=7),
}
RANKS = (10, 50)
SHOWN = ("pooled", 50, 0)
"""The representation, k and number seen before of the pictures and of the table by pair: the default plan's."""
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
POOL = 400
"""At most so many images of a class are drawn from, chosen by the seed."""
AREA = (0.03, 0.15)
TOLERANCE = 15.0
"""Pixels of the network's 224 by which the strongest cell's centre may miss the box: the pointing game's tolerance."""
FIRST = (5, 10, 20)
CELL = 150
"""Height of a picture in a sheet."""

Pixels = np.ndarray
Box = tuple[float, float, float, float]


# ---------------------------------------------------------------------------------------------------------- planting


@dataclass(frozen=True)
class Cutout:
    """An object: its pixels (h, w, 3), and how much of each belongs to it (h, w), 0 to 1."""

    pixels: Pixels
    alpha: np.ndarray


def silhouette(pixels: Pixels) -> Cutout | None:
    """The largest thing that is not of the border's colour, or None where the border is not of one colour."""
    ring = np.ones(pixels.shape[:2], dtype=bool)
    ring[4:-4, 4:-4] = False
    away = np.abs(pixels - np.median(pixels[ring].astype(float), axis=0)).max(axis=2)
    if np.quantile(away[ring], 0.9) > 24:
        return None
    mask = ndimage.binary_fill_holes(ndimage.binary_closing(away > 30, iterations=2))
    parts, count = ndimage.label(ndimage.binary_opening(mask, iterations=2))
    if not count:
        return None
    mask = ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())
    if not 0.1 < mask.mean() < 0.8 or mask[ring].mean() > 0.05:
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Cutout(pixels[part], mask[part].astype(float))


def ellipse(pixels: Pixels) -> Cutout:
    """The middle 70 % of an image in an ellipse with a soft edge."""
    height, width = pixels.shape[:2]
    top, left = round(0.15 * height), round(0.15 * width)
    middle = pixels[top : height - top, left : width - left]
    y, x = (np.linspace(-1, 1, size) for size in middle.shape[:2])
    return Cutout(middle, np.clip((1 - np.hypot(y[:, None], x)) / 0.2, 0, 1))


@dataclass(frozen=True)
class Planted:
    """A host (h, w, 3) with something in it, and the box around that, in pixels of the 224 that the network sees."""

    picture: Pixels
    host: Pixels
    outline: Box
    """The box in pixels of the picture."""
    box: Box
    area: float
    """The box's share of what the network sees."""


def plant(host: Pixels, cutout: Cutout, filling: Pixels, rng: np.random.Generator) -> dict[str, Planted]:
    """The cutout in the host, and a random piece of `filling` in the same outline at the same place."""
    height, width = host.shape[:2]
    left, top, right, bottom = REPRESENTATIONS["pooled"].window(width, height)
    side, aspect = right - left, cutout.alpha.shape[1] / cutout.alpha.shape[0]
    area = rng.uniform(*AREA) * side**2
    high, wide = np.sqrt(area / aspect), np.sqrt(area * aspect)
    fit = min(1.0, 0.95 * side / max(high, wide))
    high, wide = max(round(fit * high), 4), max(round(fit * wide), 4)
    x, y = round(rng.uniform(left, right - wide)), round(rng.uniform(top, bottom - high))
    alpha = np.asarray(Image.fromarray(np.rint(255 * cutout.alpha).astype(np.uint8)).resize((wide, high))) / 255.0
    alpha = np.minimum(alpha, ndimage.gaussian_filter(alpha, 0.7))[..., None]
    if (host.max(axis=2).astype(int) - host.min(axis=2)).max() <= 12:  # a grey host takes grey things
        cutout = Cutout(np.asarray(Image.fromarray(cutout.pixels).convert("L").convert("RGB")), cutout.alpha)
    grown = max(1.0, wide / filling.shape[1], high / filling.shape[0])
    other = Image.fromarray(filling).resize([int(np.ceil(grown * size)) for size in filling.shape[1::-1]])
    u, v = rng.integers(other.width - wide + 1), rng.integers(other.height - high + 1)
    contents = {
        "object": Image.fromarray(cutout.pixels).resize((wide, high), Image.Resampling.LANCZOS),
        "control": other.crop((u, v, u + wide, v + high)),
    }
    made, zoom = {}, 224 / side
    for name, content in contents.items():
        picture = host.astype(float)
        under = picture[y : y + high, x : x + wide]
        picture[y : y + high, x : x + wide] = alpha * np.asarray(content) + (1 - alpha) * under
        made[name] = Planted(
            np.rint(picture).clip(0, 255).astype(np.uint8), host, (x, y, x + wide, y + high),
            ((x - left) * zoom, (y - top) * zoom, (x + wide - left) * zoom, (y + high - top) * zoom), wide * high / side**2,
        )  # fmt: skip
    return made


# ------------------------------------------------------------------------------------------------------- the measures


def centres(cells: int) -> np.ndarray:
    """Pixels of the network's 224."""
    return (np.arange(cells) + 0.5) * 224 / cells


def near(box: Box, cells: int, tolerance: float) -> np.ndarray:
    """Which cells' centres lie in the box, or beyond it by no more than the tolerance (gy, gx)."""
    at = centres(cells)
    across = np.maximum(np.maximum(box[0] - at, at - box[2]), 0)
    down = np.maximum(np.maximum(box[1] - at, at - box[3]), 0)
    return np.hypot(down[:, None], across) <= tolerance


def covered(box: Box, cells: int) -> np.ndarray:
    """The part of each cell that the box covers (gy, gx)."""
    size = 224 / cells
    edge = np.arange(cells) * size
    across = np.clip(np.minimum(box[2], edge + size) - np.maximum(box[0], edge), 0, None)
    down = np.clip(np.minimum(box[3], edge + size) - np.maximum(box[1], edge), 0, None)
    return down[:, None] * across / size**2


def top(values: np.ndarray, count: int) -> np.ndarray:
    """Which are the `count` largest; the earlier among ties."""
    chosen = np.zeros(values.size, dtype=bool)
    chosen[np.argsort(-values.ravel(), kind="stable")[:count]] = True
    return chosen.reshape(values.shape)


def measures(where: np.ndarray, activation: np.ndarray, box: Box) -> dict[str, float]:
    """How well a map (g, g) points at a box, beside what knows nothing of novelty.

    point: the strongest cell's centre is in the box or within the tolerance of it; strict: in the box. `… chance`: a
    random cell; `… centre`: the central cell (of four, their mean). activation: the same map with x for the residual
    and 0 for the mean, which is where the network is active at all. iou: of the m strongest cells with the m that the
    box covers most, m being the box's area in cells (at least 1). energy: the share of the map's positive part that is
    in the box, over the box's share of the area; 1 is chance.
    """
    cells = len(where)
    best, busy = top(where, 1), top(activation, 1)
    middle = np.abs(centres(cells) - 112) < 224 / cells * 0.75
    central = middle[:, None] & middle
    cover = covered(box, cells)
    m = max(1, round(cover.sum()))
    inside = top(cover, m)
    both = int((top(where, m) & inside).sum())
    i = np.arange(m + 1)
    positive = np.clip(where, 0, None)
    result = {}
    for name, tolerance in (("point", TOLERANCE), ("strict", 0.0)):
        hit = near(box, cells, tolerance)
        result |= {
            name: float(hit[best][0]), f"{name} chance": float(hit.mean()), f"{name} centre": float(hit[central].mean()),
            f"{name} activation": float(hit[busy][0]),
        }  # fmt: skip
    result["iou"] = both / (2 * m - both)
    result["iou chance"] = float((hypergeom.pmf(i, where.size, m, m) * i / (2 * m - i)).sum())
    result["energy"] = float((positive * cover).sum() / max(positive.sum(), 1e-300) / cover.mean())
    return result


# ------------------------------------------------------------------------------------------------------------ the runs


@dataclass(eq=False)
class Data:
    """The two data sets: files by class, and what was computed of them."""

    root: Path
    seed: int
    features: dict[tuple[str, Path], np.ndarray] = field(default_factory=dict)

    def files(self, name: str, *, of: str) -> list[Path]:
        """At most POOL files of a class, in an order that the seed gives."""
        if of == "Caltech":
            files = sorted((self.root / "caltech101" / name).glob("*.jpg"))
        else:
            with (self.root / "msl" / "labels.csv").open(newline="") as lines:
                rows = sorted(row["file"] for row in csv.DictReader(lines) if row["class_name"] == name)
            # Several files may be versions of one product, which the first 22 characters name: the first counts.
            products = {file[:22]: file for file in reversed(rows)}
            files = [self.root / "msl" / "images" / file for file in sorted(products.values())]
        order = np.random.default_rng([self.seed, len(files)]).permutation(len(files))
        return [files[at] for at in order[:POOL]]

    @cache  # noqa: B019 - it lives as long as the program
    def cutouts(self, name: str, how: str) -> list[Cutout]:
        """The objects of a class that can be cut out."""
        pictures = (
            decode(path.read_bytes()) for path in self.files(name, of="Mars" if how == "ellipse" else "Caltech")
        )
        found = (silhouette(picture) if how == "silhouette" else ellipse(picture) for picture in pictures)
        return [cutout for cutout in found if cutout is not None and min(cutout.alpha.shape) >= 24]

    def rows(self, kind: str, paths: Sequence[Path]) -> np.ndarray:
        """Features of files (n, d), each computed once."""
        missing = [path for path in paths if (kind, path) not in self.features]
        for start in range(0, len(missing), 25):
            part = missing[start : start + 25]
            self.features |= zip(
                [(kind, path) for path in part],
                embedded(kind, [decode(path.read_bytes()) for path in part]),
                strict=True,
            )
        return np.array([self.features[kind, path] for path in paths])


def embedded(kind: str, pictures: Sequence[Pixels]) -> np.ndarray:
    representation = REPRESENTATIONS[kind]
    return _embed(kind)(np.stack([representation.prepare(picture) for picture in pictures]))


@cache
def _embed(kind: str) -> Callable[[Pixels], np.ndarray]:
    return REPRESENTATIONS[kind].load("cpu")


@dataclass(frozen=True)
class Found:
    """A planted image as it was picked."""

    planted: Planted
    where: np.ndarray
    record: dict[str, Any]


def select(kind: str, k: int, features: np.ndarray, seen: np.ndarray, planted: dict[int, Planted]) -> Iterator[Found]:
    """Pick until every planted image (by row) is picked; each with its map against the model of its moment."""
    representation = REPRESENTATIONS[kind]
    selection, rank, left = Demud(rank=k).open(features, prior=seen), 0, set(planted)
    while left and (choice := selection.peek()) is not None:
        rank += 1
        if choice.row in left:
            left.remove(choice.row)
            it, x = planted[choice.row], features[choice.row].astype(float)
            image = representation.prepare(it.picture)
            where = representation.where(image, choice.residual, choice.mean, 1.0)
            activation = representation.where(image, x, np.zeros_like(x), 1.0)
            told = {"row": choice.row, "rank": rank, "score": choice.score, "box": it.box, "area": it.area}
            yield Found(it, where, told | measures(where, activation, it.box))
        selection.learn(choice.row)


def run(
    data: Data, dataset: str, pair: tuple[str, str, str], number: int, given: argparse.Namespace
) -> Iterator[Found]:
    """One run: everything that is asked of one draw of hosts, objects and places."""
    host_class, object_class, how = pair
    rng = np.random.default_rng([given.seed, number, list(PAIRS).index(dataset), PAIRS[dataset].index(pair)])
    files, cutouts = data.files(host_class, of=dataset), data.cutouts(object_class, how)
    files = [files[at] for at in rng.permutation(len(files))]
    hosts, rest = files[: given.hosts], files[given.hosts :]
    fillings, rest = rest[: given.planted], rest[given.planted :]
    rows = rng.choice(len(hosts), given.planted, replace=False)
    chosen = rng.choice(len(cutouts), given.planted, replace=False)
    made = {
        int(row): plant(decode(hosts[row].read_bytes()), cutouts[at], decode(filling.read_bytes()), rng)
        for row, at, filling in zip(rows, chosen, fillings, strict=True)
    }
    for kind in REPRESENTATIONS:
        features = data.rows(kind, hosts)
        for condition in ("object", "control"):
            planted = {row: both[condition] for row, both in made.items()}
            with_them = features.copy()
            with_them[list(planted)] = embedded(kind, [it.picture for it in planted.values()])
            for before in (0, given.hosts) if len(rest) >= given.hosts else (0,):
                seen = data.rows(kind, rest[:before]) if before else np.empty((0, features.shape[1]))
                for k in RANKS:
                    asked = {
                        "data": dataset, "pair": f"{object_class} in {host_class}", "run": number, "representation": kind,
                        "condition": condition, "seen": before, "k": k,
                    }  # fmt: skip
                    for order, it in enumerate(select(kind, k, with_them, seen.astype(float), planted), start=1):
                        it.record.update(asked | {"order": order})
                        yield it


# ---------------------------------------------------------------------------------------------------------- the tables


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The mean over runs and its 95 % interval, by 4,000 resamples of the runs."""
    numbers = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).integers(len(numbers), size=(4000, len(numbers)))
    low, high = np.quantile(numbers[draws].mean(axis=1), [0.025, 0.975])
    return float(numbers.mean()), float(low), float(high)


def said(values: Sequence[float], digits: int = 2) -> str:
    mean, low, high = interval(values)
    return f"{mean:.{digits}f} ({low:.{digits}f}…{high:.{digits}f})"


def by_run(records: Sequence[dict[str, Any]], name: str, *, first: bool = False) -> dict[tuple[str, int], float]:
    """A measure's mean over a run's planted images, or its value for the first of them that was picked."""
    runs: dict[tuple[str, int], list[float]] = {}
    for record in records:
        if not first or record["order"] == 1:
            runs.setdefault((record["pair"], record["run"]), []).append(record[name])
    return {key: float(np.mean(values)) for key, values in runs.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A Markdown table whose first `texts` columns are text."""
    line = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, line, *rows)) + "\n"


def settings(records: Sequence[dict[str, Any]]) -> Iterator[tuple[tuple[str, ...], dict[str, list[dict[str, Any]]]]]:
    """Records by data set, seen, representation and k, and within these by condition."""
    seens = sorted({record["seen"] for record in records})
    for dataset in PAIRS:
        for seen in seens:
            for kind in REPRESENTATIONS:
                for k in RANKS:
                    asked = {"data": dataset, "seen": seen, "representation": kind, "k": k}
                    these = [record for record in records if asked.items() <= record.items()]
                    if these:
                        names = (dataset, str(seen), kind, str(k))
                        yield names, {c: [r for r in these if r["condition"] == c] for c in ("object", "control")}


def pointing(records: Sequence[dict[str, Any]]) -> str:
    head = ["data", "seen", "features", "k", "first: object", "first: control", "all: object", "all: control",
            "object − control", "chance", "centre", "activation", "object − activation"]  # fmt: skip
    rows = []
    for names, of in settings(records):
        first = [said([*by_run(of[c], "point", first=True).values()]) for c in of]
        ours, control = by_run(of["object"], "point"), by_run(of["control"], "point")
        busy = by_run(of["object"], "point activation")
        others = [f"{np.mean([r[f'point {name}'] for r in of['object']]):.2f}" for name in ("chance", "centre")]
        less = [said([ours[key] - it[key] for key in ours]) for it in (control, busy)]
        every = [said([*it.values()]) for it in (ours, control, busy)]
        rows.append([*names, *first, *every[:2], less[0], *others, every[2], less[1]])
    return table(head, rows, 3)


def overlap(records: Sequence[dict[str, Any]]) -> str:
    head = ["data", "seen", "features", "k", "IoU: object", "IoU: control", "random cells", "energy: object",
            "energy: control", "strict pointing: object", "control", "chance"]  # fmt: skip
    rows = []
    for names, of in settings(records):
        iou, energy, strict = ([said([*by_run(of[c], m).values()]) for c in of] for m in ("iou", "energy", "strict"))
        chance = [f"{np.mean([r[m] for r in of['object']]):.2f}" for m in ("iou chance", "strict chance")]
        rows.append([*names, *iou, chance[0], *energy, *strict, chance[1]])
    return table(head, rows, 3)


def early(records: Sequence[dict[str, Any]], hosts: int, planted: int) -> str:
    asked = [*(f"in first {n}" for n in FIRST), "first rank", "mean rank"]
    head = [
        "data",
        "seen",
        "features",
        "k",
        "runs",
        *(f"{name}: {what}" for name in asked for what in ("object", "control")),
    ]
    chance = [f"{1 - hypergeom.pmf(0, hosts, planted, n):.2f}" for n in FIRST]
    chance += [f"{(hosts + 1) / (planted + 1):.1f}", f"{(hosts + 1) / 2:.1f}"]
    rows = [["*expected at random*", "", "", "", "", *(f"*{value}*" for value in chance for _ in range(2))]]
    for names, of in settings(records):
        first = [[*by_run(of[c], "rank", first=True).values()] for c in of]
        soon = [said([rank <= n for rank in ranks]) for n in FIRST for ranks in first]
        late = [said([*by_run(of[c], "rank").values()], 1) for c in of]
        rows.append([*names, str(len(first[0])), *soon, *(said(ranks, 1) for ranks in first), *late])
    return table(head, rows, 3)


def parts(records: Sequence[dict[str, Any]]) -> str:
    """By pair and by size, for the setting that is shown."""
    kind, k, seen = SHOWN
    asked = {"representation": kind, "k": k, "seen": seen}
    these = [record for record in records if asked.items() <= record.items()]
    groups = {
        f"{d}: {pair}": partial(_is, "pair", pair, d)
        for d, pair in dict.fromkeys((r["data"], r["pair"]) for r in these)
    }
    half = (AREA[0] + AREA[1]) / 2
    for dataset in PAIRS:
        groups[f"{dataset}: boxes under {half:.0%}"] = partial(_sized, dataset, 0, half)
        groups[f"{dataset}: boxes of {half:.0%} and more"] = partial(_sized, dataset, half, 1)
    rows = []
    for name, within in groups.items():
        of = {c: [r for r in these if r["condition"] == c and within(r)] for c in ("object", "control")}
        means = [f"{np.mean([r[m] for r in of[c]]):.2f}" for m in ("point", "iou") for c in of]
        means[2:2] = [f"{np.mean([r[m] for r in of['object']]):.2f}" for m in ("point chance", "point activation")]
        ranks = [f"{np.mean([r['rank'] for r in of[c]]):.1f}" for c in of]
        rows.append([name, str(len(of["object"])), *means, *ranks])
    head = ["planted", "images", "pointing: object", "control", "chance", "activation", "IoU: object", "control",
            "rank: object", "control"]  # fmt: skip
    return table(head, rows, 1)


def _is(name: str, value: str, dataset: str, record: dict[str, Any]) -> bool:
    return record[name] == value and record["data"] == dataset


def _sized(dataset: str, low: float, high: float, record: dict[str, Any]) -> bool:
    return record["data"] == dataset and low <= record["area"] < high


# -------------------------------------------------------------------------------------------------------- the pictures


def sheet(found: Sequence[Found]) -> Image.Image:
    """A row a pair: of run 0 the image that was picked first with an object in it, and what belongs to it."""
    kind, k, seen = SHOWN
    asked = {"run": 0, "k": k, "seen": seen}
    these = [it for it in found if asked.items() <= it.record.items()]
    rows = []
    for pair in dict.fromkeys(it.record["pair"] for it in these):
        of = {
            (it.record["representation"], it.record["condition"], it.record["row"]): it
            for it in these
            if it.record["pair"] == pair
        }
        first = next(
            it for (name, what, _), it in of.items() if (name, what) == (kind, "object") and it.record["order"] == 1
        )
        row = first.record["row"]
        panels = [
            _panel(first.planted.host, pair),
            _panel(_boxed(first.planted.picture, first), "planted"),
            *(_map(of[name, "object", row], name) for name in REPRESENTATIONS if name != "grid 7 x 7"),
            _panel(_boxed(of[kind, "control", row].planted.picture, first), "control"),
            _map(of[kind, "control", row], f"control, {kind}"),
        ]
        rows.append(panels)
    widths = [max(row[at].width for row in rows) for at in range(len(rows[0]))]
    whole = Image.new("RGB", (sum(widths) + 4 * len(widths), sum(row[0].height + 4 for row in rows)), "white")
    y = 0
    for row in rows:
        x = 0
        for panel, width in zip(row, widths, strict=True):
            whole.paste(panel, (x, y))
            x += width + 4
        y += row[0].height + 4
    return whole


def _map(it: Found, name: str) -> Image.Image:
    height, width = it.planted.picture.shape[:2]
    left, upper, right, lower = REPRESENTATIONS["pooled"].window(width, height)
    shown = charts.overlay(it.planted.picture, it.where, (left / width, upper / height, right / width, lower / height))
    hit = "hit" if it.record["point"] else "miss"
    return _panel(_boxed(shown, it), f"{name}: pick {it.record['rank']}, {hit}")


def _boxed(picture: Pixels, it: Found) -> Pixels:
    image = Image.fromarray(picture)
    left, upper, right, lower = it.planted.outline
    ImageDraw.Draw(image).rectangle((left - 1, upper - 1, right, lower), outline=(0, 255, 160), width=2)
    return np.asarray(image)


def _panel(picture: Pixels, text: str) -> Image.Image:
    image, font = Image.fromarray(picture), ImageFont.load_default(11)
    image = image.resize((round(image.width * CELL / image.height), CELL))
    panel = Image.new("RGB", (max(image.width, round(font.getlength(text)) + 4), CELL + 15), "white")
    panel.paste(image, (0, 15))
    ImageDraw.Draw(panel).text((2, 1), text, fill="black", font=font)
    return panel


# ------------------------------------------------------------------------------------------------------------- program


@threadpool_limits.wrap(limits=1, user_api="blas")
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("INTERPDISC_DATA"), help="default: $INTERPDISC_DATA")
    parser.add_argument("--out", type=Path, help="a JSON file of every planted image")
    parser.add_argument("--pictures", type=Path, help="a folder for planted-caltech.jpg and planted-mars.jpg")
    parser.add_argument("--runs", type=int, default=4, help="runs a pair of classes")
    parser.add_argument("--hosts", type=int, default=100, help="images of a run")
    parser.add_argument("--planted", type=int, default=5, help="of these with something pasted into them")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not given.data:
        parser.error("name the data folder, or set INTERPDISC_DATA")
    import torch

    torch.set_num_threads(1)
    data, began = Data(Path(given.data), given.seed), time.process_time()
    records: list[dict[str, Any]] = []
    for dataset, pairs in PAIRS.items():
        shown: list[Found] = []
        for pair in pairs:
            for number in range(given.runs):
                found = list(run(data, dataset, pair, number, given))
                records += [it.record for it in found]
                shown += found if number == 0 else []
        if given.pictures:
            given.pictures.mkdir(parents=True, exist_ok=True)
            sheet(shown).save(given.pictures / f"planted-{dataset.lower()}.jpg", quality=80, optimize=True)
    runs = {d: len(PAIRS[d]) * given.runs for d in PAIRS}
    took = time.process_time() - began
    print(f"{date.today()}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, CPU only; "
          f"{', '.join(f'{n} runs with {d} hosts' for d, n in runs.items())}; {took:.0f} CPU s\n")  # fmt: skip
    tables = {
        "Pointing": pointing(records),
        "Overlap": overlap(records),
        "Early": early(records, given.hosts, given.planted),
        f"By pair and size ({SHOWN[0]}, k = {SHOWN[1]}, {SHOWN[2]} seen)": parts(records),
    }
    for name, text in tables.items():
        print(f"**{name}**\n\n{text}")
    if given.out:
        given.out.write_text(json.dumps({"date": str(date.today()), "cpu_s": took, "records": records}))


if __name__ == "__main__":
    main()
