"""How far an explanation can be trusted: its pictures are encoded again, and its map is tested by painting cells over.

The keys of the measures are those of `interpdisc_core.metrics.definitions`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.archive.feature_store import FeatureStore, find_row_blocks, gather_features
from interpdisc_core.archive.run import Run, RunMember
from interpdisc_core.errors import Unreadable
from interpdisc_core.explanations.npz_cache import NamedArrays, load_or_compute
from interpdisc_core.explanations.render import (
    build_second_encoder,
    encode_pictures,
    is_significant,
    make_random_residual,
)
from interpdisc_core.images.resize import resize_lanczos
from interpdisc_core.metrics import image_similarity
from interpdisc_core.metrics.definitions import TRUST_METRIC
from interpdisc_core.plan import Plan
from interpdisc_core.representations.batching import load_network_input
from interpdisc_core.selectors.rows import l2_normalize

GALLERY_SIZE = 1000
"""Images among which a control is searched."""
_GALLERY_BLOCKS = 8
"""Blocks of features from which these images are drawn, so that a large archive need not be read completely."""
_UNIT_IMAGES = 64
"""Images whose mean distance is the unit of errors."""
_DELETION_SHARES = (0.0, 0.1, 0.2, 0.4, 0.6)
"""Shares of a map's cells that are painted over for a deletion curve."""
_SUMMARY_SHARE = 0.2
_RANDOM_ORDERS = 3
"""Random orders of cells whose mean is the control of a deletion curve."""
_OCCLUSION_GRID = 7
"""Cells on a side of an occlusion map."""
_COMPARISON_SIDE = 128
"""Pixels on a side at which pictures are compared."""


@dataclass(frozen=True, slots=True)
class FaithfulnessReference:
    """What the measures of a run are relative to. A unit is NaN if the run has fewer than two images.

    Attributes:
        gallery: (m, d) Features of some of the run's images, normalized as the run's.
        feature_unit: Mean distance of two images' features.
        pixel_unit: Mean distance of two images' pixels (0…255, at 128 × 128).
        second_unit: Mean distance of two images' features under the second encoder.
    """

    gallery: FloatArray
    feature_unit: float
    pixel_unit: float
    second_unit: float

    @classmethod
    def for_run(cls, run: Run) -> "FaithfulnessReference":
        """The reference of a run: cached in its folder and, for the last run, in the process."""
        return _load_reference(run)


@lru_cache(maxsize=1)
def _load_reference(run: Run) -> FaithfulnessReference:
    arrays = load_or_compute(run.location, "reference.npz", ("gallery", "units"), lambda: _build_reference(run))
    assert arrays is not None
    return FaithfulnessReference(arrays["gallery"].astype(np.float64), *(float(unit) for unit in arrays["units"]))


def _build_reference(run: Run) -> NamedArrays:
    plan, random = run.plan, np.random.default_rng(0)
    members = _sample_members(run, [member for member in run.read_members() if member.role == "candidate"], random)
    store = FeatureStore(run.archive, plan.features_digest)
    gallery = gather_features(store, [(member.batch, member.row) for member in members]).astype(np.float64)
    gallery = normalize_features(plan, gallery[~np.isnan(gallery).any(axis=1)])
    gallery = gallery.astype(np.float32)  # as in the file, so that the first call sees what later ones read
    images = []
    for member in members[:_UNIT_IMAGES]:
        try:
            images.append(load_network_input(plan.representation, member.uri, member.sha256))
        except Unreadable:
            continue
    has_several = len(images) > 1
    small = (
        np.stack([resize_lanczos(image, _COMPARISON_SIDE).reshape(-1) for image in images])
        if has_several
        else np.empty((0, 0))
    )
    second = encode_pictures(build_second_encoder(), np.stack(images)) if has_several else np.empty((0, 0))
    feature, pixel, other = (
        image_similarity.mean_distance(values) if len(values) > 1 else float("nan")
        for values in (gallery.astype(np.float64), small, second)
    )
    return {"gallery": gallery, "units": np.array([feature, pixel, other])}


def _sample_members(run: Run, members: list[RunMember], random: np.random.Generator) -> list[RunMember]:
    """At most GALLERY_SIZE of the members in a random order, from few blocks of features."""
    row_blocks = find_row_blocks(run.archive, [(member.batch, member.row) for member in members])
    blocks: dict[tuple[int, int], list[RunMember]] = {}
    for member, block in zip(members, row_blocks.block_of_row, strict=True):
        blocks.setdefault(block, []).append(member)
    order = sorted(blocks)
    chosen_blocks = [blocks[order[index]] for index in random.permutation(len(order))[:_GALLERY_BLOCKS]]
    pool = [member for block in chosen_blocks for member in block]
    return [pool[index] for index in random.permutation(len(pool))[:GALLERY_SIZE]]


def normalize_features(plan: Plan, features: Any) -> FloatArray:
    """Features (n, d) normalized as the plan says, float64."""
    values: FloatArray = np.asarray(features, dtype=np.float64)
    return l2_normalize(values) if plan.normalise == "l2" else values


def measure_faithfulness(
    plan: Plan,
    reference: FaithfulnessReference,
    x: FloatArray,
    expected: FloatArray,
    image: PixelArray | None,
    pictures: dict[str, PixelArray],
    other_residuals: FloatArray,
) -> dict[str, float]:
    """The measures of a pick's pictures, by key.

    Args:
        plan: The run's plan.
        reference: The run's reference.
        x: (d,) The pick's features.
        expected: (d,) x̂.
        image: The network's input, or None if the image cannot be read.
        pictures: Rendered pictures by name; without `control` nothing is measured.
        other_residuals: (m, d) Residuals of other picks, as a control.
    """
    if "control" not in pictures:
        return {}
    codes = dict(
        zip(
            pictures,
            normalize_features(plan, encode_pictures(plan.representation, np.stack(list(pictures.values())))),
            strict=True,
        )
    )
    measures = _measure_control(reference, x, codes["control"])
    if image is not None:
        measures |= _measure_image(reference, image, pictures)
    residual = x - expected
    if "expected" not in codes or not is_significant(residual, x):
        return measures
    rendered_residual = codes["control"] - codes["expected"]
    measures["cosine_difference"], measures["energy_difference"] = _measure_agreement(residual, rendered_residual)
    if len(other_residuals):
        measures["cosine_shuffled"] = float(
            np.abs(
                image_similarity.cosine(other_residuals, np.broadcast_to(rendered_residual, other_residuals.shape))
            ).mean()
        )
    if "new" in codes:
        measures["cosine_new"], measures["energy_new"] = _measure_agreement(residual, codes["new"] - codes["level"])
        measures["cosine_random"], _ = _measure_agreement(
            make_random_residual(residual), codes["random"] - codes["expected"]
        )
    return measures


def _measure_control(reference: FaithfulnessReference, x: FloatArray, control: FloatArray) -> dict[str, float]:
    measures = {}
    if reference.feature_unit > 0:
        measures["feature_error"] = float(np.linalg.norm(control - x) / reference.feature_unit)
    if len(reference.gallery):
        # The gallery may contain the pick itself.
        others = reference.gallery[
            np.abs(reference.gallery - x).max(axis=1) > 1e-5 * max(float(np.abs(x).max()), 1e-30)
        ]
        nearer = np.linalg.norm(others - control, axis=1) <= np.linalg.norm(x - control)
        measures |= {"rank": 1.0 + int(nearer.sum()), "among": 1.0 + len(others)}
    return measures


def _measure_image(
    reference: FaithfulnessReference, image: PixelArray, pictures: dict[str, PixelArray]
) -> dict[str, float]:
    truth, control = (resize_lanczos(picture, _COMPARISON_SIDE) for picture in (image, pictures["control"]))
    control_row, truth_row = control.reshape(1, -1), truth.reshape(1, -1)
    measures = {"psnr": float(image_similarity.psnr(control[None], truth[None])[0])}
    if reference.pixel_unit > 0:
        measures["image_error"] = float(
            image_similarity.normalized_error(control_row, truth_row, reference.pixel_unit)[0]
        )
    panels = [resize_lanczos(pictures[name], image.shape[0]) for name in ("control", "expected") if name in pictures]
    second = encode_pictures(build_second_encoder(), np.stack([image, *panels])).astype(np.float64)
    if reference.second_unit > 0:
        measures["second_error"] = float(
            image_similarity.normalized_error(second[1:2], second[:1], reference.second_unit)[0]
        )
    if len(second) > 2:
        measures["cosine_second"] = float(image_similarity.cosine(second[:1] - second[2:], second[1:2] - second[2:])[0])
    return measures


def _measure_agreement(residual: FloatArray, rendered: FloatArray) -> tuple[float, float]:
    residual_row, rendered_row = residual[None], rendered[None]
    return float(image_similarity.cosine(residual_row, rendered_row)[0]), float(
        image_similarity.energy_share(residual_row, rendered_row)[0]
    )


def trust_threshold(measures: dict[str, float], calibrated_threshold: float | None) -> float | None:
    """The cosine from which a pick's pictures are trusted; None if there is no calibrated threshold.

    It is the larger of the calibrated threshold, measured on held-out images in training, and twice the cosine of a
    random direction rendered in the same way: an optimizer can draw something for any direction.
    """
    return (
        None if calibrated_threshold is None else max(calibrated_threshold, 2 * abs(measures.get("cosine_random", 0.0)))
    )


def is_trusted(measures: dict[str, float], threshold: float | None) -> bool | None:
    """Whether the pictures agree with the residual well enough; None if there is no threshold or no measure."""
    return None if threshold is None or TRUST_METRIC not in measures else measures[TRUST_METRIC] >= threshold


def compute_deletion_curves(
    plan: Plan, image: PixelArray, attribution_map: FloatArray, residual: FloatArray, mean: FloatArray
) -> FloatArray:
    """How much novelty is left when cells of the map are painted over in the image's mean color.

    The novelty left is rᵀ(φ(painted) − μ)/|r|², which is 1 for the image itself. It is not |φ(painted) − x̂|²/|r|²,
    since the paint is new too.

    Args:
        plan: The run's plan.
        image: The network's input.
        attribution_map: (gy, gx) Map of where the image is new.
        residual: (d,) x − x̂.
        mean: (d,) μ.

    Returns:
        (3, m): share of the cells painted over; novelty left when the map's strongest cells go first; and when random
        cells do (mean of three orders).
    """
    cells = attribution_map.size
    counts = [round(share * cells) for share in _DELETION_SHARES]
    random = np.random.default_rng(0)
    orders = [
        np.argsort(-attribution_map.reshape(-1), kind="stable"),
        *(random.permutation(cells) for _ in range(_RANDOM_ORDERS)),
    ]
    painted_images = [
        _paint_cells(image, attribution_map.shape, order[:count]) for order in orders for count in counts[1:]
    ]
    remaining_novelty = _measure_remaining_novelty(plan, np.stack([image, *painted_images]), residual, mean)
    rows = remaining_novelty[1:].reshape(len(orders), -1)
    first = np.full((len(orders), 1), remaining_novelty[0])
    curves = np.hstack([first, rows])
    result: FloatArray = np.stack([np.array(counts) / cells, curves[0], curves[1:].mean(axis=0)])
    return result


def deletion_at_20_percent(curves: FloatArray) -> dict[str, float]:
    """The two measures of a deletion curve: the novelty left when 20 % of the cells are painted over."""
    index = _DELETION_SHARES.index(_SUMMARY_SHARE)
    return {"left_strongest": float(curves[1, index]), "left_random": float(curves[2, index])}


def compute_occlusion_map(plan: Plan, image: PixelArray, residual: FloatArray, mean: FloatArray) -> FloatArray:
    """The share of the novelty that goes with each cell of a 7 × 7 grid, by painting over one cell at a time, (7, 7).

    For representations whose score does not split over places. A cell is negative if painting it over makes the
    novelty stronger.

    Args:
        plan: The run's plan.
        image: The network's input.
        residual: (d,) x − x̂.
        mean: (d,) μ.
    """
    grid = (_OCCLUSION_GRID, _OCCLUSION_GRID)
    painted_images = [_paint_cells(image, grid, np.array([cell])) for cell in range(_OCCLUSION_GRID**2)]
    remaining_novelty = _measure_remaining_novelty(plan, np.stack([image, *painted_images]), residual, mean)
    result: FloatArray = (remaining_novelty[0] - remaining_novelty[1:]).reshape(grid)
    return result


def _paint_cells(image: PixelArray, grid: tuple[int, ...], cells: Any) -> PixelArray:
    """The image with cells of a grid, given by number, in its mean color."""
    row_edges, column_edges = (
        np.linspace(0, side, count + 1).round().astype(int) for side, count in zip(image.shape, grid, strict=False)
    )
    result, mean_color = image.copy(), image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    for cell in cells:
        y, x = divmod(int(cell), grid[1])
        result[row_edges[y] : row_edges[y + 1], column_edges[x] : column_edges[x + 1]] = mean_color
    return result


def _measure_remaining_novelty(plan: Plan, images: PixelArray, residual: FloatArray, mean: FloatArray) -> FloatArray:
    """rᵀ(φ − μ)/|r|² (n,) of network inputs."""
    features = normalize_features(plan, encode_pictures(plan.representation, images))
    shares: FloatArray = (features - mean) @ residual / float(residual @ residual)
    return shares
