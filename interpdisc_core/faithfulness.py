"""How far an explanation may be trusted: its pictures are encoded again, and its map is put to the test.

The names of the numbers are those of `interpdisc_core.measures`.
"""

import io
import zlib
from dataclasses import dataclass
from functools import lru_cache
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np

from interpdisc_core import scores
from interpdisc_core.errors import Unreadable
from interpdisc_core.extraction import prepared
from interpdisc_core.features import Batch, FeatureStore, gather
from interpdisc_core.images import Pixels
from interpdisc_core.measures import TRUST
from interpdisc_core.plan import Plan
from interpdisc_core.rendering import noticeable, random_residual
from interpdisc_core.runs import Member, Run
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.training.examples import reduced
from interpdisc_core.training.scoring import encoded, second_encoder

GALLERY = 1000
"""Images among which a control is searched."""
_BLOCKS = 8
"""Blocks of features from which they are taken: a large archive is not read through for that."""
_PICTURES = 64
"""Images whose mean distance is the unit of errors."""
_SHARES = (0.0, 0.1, 0.2, 0.4, 0.6)
"""Of a map's cells that are painted over."""
_AT = 0.2
_ORDERS = 3
"""Random orders of cells, of which the mean is taken."""
_OCCLUDED = 7
"""Cells a side of an occlusion map."""
_SIDE = 128


@dataclass(frozen=True, slots=True)
class Reference:
    """What the numbers of a run are measured by.

    gallery (m, d): features of some of its images, normalised as the run's are. The units are mean distances of two of its images: features, pixels in 0…255 at 128 x 128, features of
    the second encoder; NaN where there are fewer than two.
    """

    gallery: Floats
    feature_unit: float
    pixel_unit: float
    second_unit: float

    @classmethod
    def of(cls, run: Run) -> "Reference":
        """The run's; made by the first who asks, the same whoever that is. Kept for the next call of a process."""
        return _kept(run)


@lru_cache(maxsize=1)
def _kept(run: Run) -> Reference:
    try:
        with np.load(io.BytesIO(run.place.read("reference.npz")), allow_pickle=False) as kept:
            return Reference(kept["gallery"].astype(np.float64), *(float(unit) for unit in kept["units"]))
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error, TokenError):
        pass  # not there, or damaged: it is made anew
    made = _reference(run)
    sink = io.BytesIO()
    units = np.array([made.feature_unit, made.pixel_unit, made.second_unit])
    np.savez(sink, gallery=made.gallery.astype(np.float32), units=units)
    run.place.write("reference.npz", sink.getvalue())
    return made


def _reference(run: Run) -> Reference:
    plan, random = run.plan, np.random.default_rng(0)
    members = _some(run, [member for member in run.members() if member.role == "candidate"], random)
    store = FeatureStore(run.archive, plan.features)
    gallery = gather(store, [(member.batch, member.row) for member in members]).astype(np.float64)
    gallery = normalised(plan, gallery[~np.isnan(gallery).any(axis=1)])
    gallery = gallery.astype(np.float32).astype(np.float64)  # as it is kept, so that who makes it sees what others read
    images = []
    for member in members[:_PICTURES]:
        try:
            images.append(prepared(plan, member.uri, member.sha256))
        except Unreadable:
            continue
    several = len(images) > 1
    small = np.stack([reduced(image, _SIDE).reshape(-1) for image in images]) if several else np.empty((0, 0))
    second = encoded(second_encoder(), np.stack(images)) if several else np.empty((0, 0))
    feature, pixel, other = (
        scores.mean_distance(values) if len(values) > 1 else float("nan") for values in (gallery, small, second)
    )
    return Reference(gallery, feature, pixel, other)


def _some(run: Run, members: list[Member], random: np.random.Generator) -> list[Member]:
    """At most GALLERY of the members in a random order, from few blocks of features."""
    known = {number: Batch.read(run.archive, number).block for number in {member.batch for member in members}}
    blocks: dict[tuple[int, int], list[Member]] = {}
    for member in members:
        blocks.setdefault((member.batch, member.row // known[member.batch]), []).append(member)
    order = sorted(blocks)
    chosen = [blocks[order[place]] for place in random.permutation(len(order))[:_BLOCKS]]
    found = [member for block in chosen for member in block]
    return [found[place] for place in random.permutation(len(found))[:GALLERY]]


def normalised(plan: Plan, features: Any) -> Floats:
    """Features (n, d) as the plan's selector sees them."""
    found: Floats = np.asarray(features, dtype=np.float64)
    if plan.normalise == "l2":
        found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)
    return found


def numbers(
    plan: Plan, reference: Reference, x: Floats, expected: Floats, image: Pixels | None, pictures: dict[str, Pixels], others: Floats
) -> dict[str, float]:  # fmt: skip
    """The numbers of a pick's pictures.

    image: as prepared, None where it cannot be read. others (m, d): residuals of other picks.
    """
    if "control" not in pictures:
        return {}
    codes = dict(
        zip(pictures, normalised(plan, encoded(plan.representation, np.stack(list(pictures.values())))), strict=True)
    )
    found = _of_control(reference, x, codes["control"])
    if image is not None:
        found |= _beside_image(reference, image, pictures)
    residual = x - expected
    if "expected" not in codes or not noticeable(residual, x):
        return found
    rendered = codes["control"] - codes["expected"]
    found["cosine_difference"], found["energy_difference"] = _agreement(residual, rendered)
    if len(others):
        found["cosine_shuffled"] = float(np.abs(scores.cosine(others, np.broadcast_to(rendered, others.shape))).mean())
    if "new" in codes:
        found["cosine_new"], found["energy_new"] = _agreement(residual, codes["new"] - codes["level"])
        found["cosine_random"], _ = _agreement(random_residual(residual), codes["random"] - codes["expected"])
    return found


def _of_control(reference: Reference, x: Floats, control: Floats) -> dict[str, float]:
    found = {}
    if reference.feature_unit > 0:
        found["feature_error"] = float(np.linalg.norm(control - x) / reference.feature_unit)
    if len(reference.gallery):
        # The pick itself, and the images of the gallery that are not it.
        others = reference.gallery[
            np.abs(reference.gallery - x).max(axis=1) > 1e-5 * max(float(np.abs(x).max()), 1e-30)
        ]
        nearer = np.linalg.norm(others - control, axis=1) <= np.linalg.norm(x - control)
        found |= {"rank": 1.0 + int(nearer.sum()), "among": 1.0 + len(others)}
    return found


def _beside_image(reference: Reference, image: Pixels, pictures: dict[str, Pixels]) -> dict[str, float]:
    truth, control = (reduced(picture, _SIDE) for picture in (image, pictures["control"]))
    flat, true = control.reshape(1, -1), truth.reshape(1, -1)
    found = {"psnr": float(scores.psnr(control[None], truth[None])[0])}
    if reference.pixel_unit > 0:
        found["image_error"] = float(scores.normalised_error(flat, true, reference.pixel_unit)[0])
    shown = [reduced(pictures[name], image.shape[0]) for name in ("control", "expected") if name in pictures]
    second = encoded(second_encoder(), np.stack([image, *shown])).astype(np.float64)
    if reference.second_unit > 0:
        found["second_error"] = float(scores.normalised_error(second[1:2], second[:1], reference.second_unit)[0])
    if len(second) > 2:
        found["cosine_second"] = float(scores.cosine(second[:1] - second[2:], second[1:2] - second[2:])[0])
    return found


def _agreement(residual: Floats, rendered: Floats) -> tuple[float, float]:
    one, two = residual[None], rendered[None]
    return float(scores.cosine(one, two)[0]), float(scores.energy(one, two)[0])


def bar(found: dict[str, float], calibrated: float | None) -> float | None:
    """The cosine from which a pick's pictures are trusted; None where there is no calibrated one.

    That of the checkpoint's held-out images, and twice that of a random direction rendered in the same way: an
    optimiser can draw something for any direction.
    """
    return None if calibrated is None else max(calibrated, 2 * abs(found.get("cosine_random", 0.0)))


def trust(found: dict[str, float], threshold: float | None) -> bool | None:
    """Whether the pictures of what is new agree with the residual well enough; None where that cannot be told."""
    return None if threshold is None or TRUST not in found else found[TRUST] >= threshold


def deletion(plan: Plan, image: Pixels, where: Floats, residual: Floats, mean: Floats) -> Floats:
    """What is left of this novelty when cells of the map are painted over with the image's mean colour, (3, m).

    Rows: the share of the cells; the share left when the strongest go first, and when random ones do (mean of three
    orders). Left is rᵀ(φ(painted) − μ)/|r|², 1 for the image itself: not |φ(painted) − x̂|², since paint is new too.
    image: as prepared.
    """
    cells = where.size
    counts = [round(share * cells) for share in _SHARES]
    random = np.random.default_rng(0)
    orders = [np.argsort(-where.reshape(-1), kind="stable"), *(random.permutation(cells) for _ in range(_ORDERS))]
    painted = [_painted(image, where.shape, order[:count]) for order in orders for count in counts[1:]]
    left = _left(plan, np.stack([image, *painted]), residual, mean)
    rows = left[1:].reshape(len(orders), -1)
    first = np.full((len(orders), 1), left[0])
    curves = np.hstack([first, rows])
    found: Floats = np.stack([np.array(counts) / cells, curves[0], curves[1:].mean(axis=0)])
    return found


def at_a_fifth(curves: Floats) -> dict[str, float]:
    """The two numbers that stand for a deletion curve."""
    place = _SHARES.index(_AT)
    return {"left_strongest": float(curves[1, place]), "left_random": float(curves[2, place])}


def occlusion(plan: Plan, image: Pixels, residual: Floats, mean: Floats) -> Floats:
    """For a score that does not split over places: the share of this novelty that goes with each cell, (7, 7).

    Each cell of a 7 x 7 grid is painted over in turn; negative where that makes the novelty stronger. image: as
    prepared.
    """
    grid = (_OCCLUDED, _OCCLUDED)
    painted = [_painted(image, grid, np.array([cell])) for cell in range(_OCCLUDED**2)]
    left = _left(plan, np.stack([image, *painted]), residual, mean)
    found: Floats = (left[0] - left[1:]).reshape(grid)
    return found


def _painted(image: Pixels, grid: tuple[int, ...], cells: Any) -> Pixels:
    """The image with cells of a grid, by number, in its mean colour."""
    down, across = (
        np.linspace(0, side, count + 1).round().astype(int) for side, count in zip(image.shape, grid, strict=False)
    )
    painted, colour = image.copy(), image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    for cell in cells:
        y, x = divmod(int(cell), grid[1])
        painted[down[y] : down[y + 1], across[x] : across[x + 1]] = colour
    return painted


def _left(plan: Plan, images: Pixels, residual: Floats, mean: Floats) -> Floats:
    """rᵀ(φ − μ)/|r|² of prepared images (n,)."""
    features = normalised(plan, encoded(plan.representation, images))
    found: Floats = (features - mean) @ residual / float(residual @ residual)
    return found
