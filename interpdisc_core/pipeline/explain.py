"""The explanation step: where a pick is new, pictures of what was expected and what is new, and how far to trust them."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.archive.run import Explanation, ExplanationStore, Pick, Run
from interpdisc_core.errors import DamageError, InterpdiscError, StoreError, Unreadable
from interpdisc_core.explanations import CARD_PICKS, faithfulness
from interpdisc_core.explanations.faithfulness import FaithfulnessReference
from interpdisc_core.explanations.render import Renderer, build_render_vectors, is_significant, render_difference
from interpdisc_core.inverters import Refined, UpConv
from interpdisc_core.pipeline.partition import part_size
from interpdisc_core.plan import Plan, RenderingOptions
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations.batching import load_network_input
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)

RENDERING_NAMES = ("control", "expected", "new")
_PICKS_PER_TASK = 10
"""Most picks that are rendered in one task."""
_RENDERING_COST = 60
"""Time to render a pick over the time to make its map of where it is new; for the progress bar."""
_OTHER_PICKS = 20
"""Other picks whose residuals serve as a control."""


@dataclass(frozen=True, slots=True)
class ExplainResult:
    """Outcome of a task of explanations.

    Attributes:
        ranks: The picks [first, last].
        rendered_count: Number of picks rendered by this call.
    """

    ranks: tuple[int, int]
    rendered_count: int


def begin_explaining(url: str, run_id: str, rendering: RenderingOptions) -> int:
    """Set how a run is rendered from now on.

    Returns:
        The number of its picks.

    Raises:
        StoreError: If there is no such run, or it has no picks yet.
        WeightsError: If a checkpoint does not fit the run's representation; then nothing is changed.
    """
    run = Run(Location.parse(url), run_id)
    representation = run.plan.representation
    if isinstance(rendering.inverter, UpConv | Refined):
        rendering.inverter.load_metadata(representation)  # raises before anything is changed
    try:
        picks = len(run.read_picks())
    except FileNotFoundError:
        raise StoreError(
            f"{run.location.url} has no picks yet: repeat the `interpdisc discover` command that made it and let it finish."
        ) from None
    run.set_rendering(rendering)
    return picks


def explain_picks(url: str, run_id: str, ranks: tuple[int, int], reporter: ProgressReporter) -> ExplainResult:
    """Explain picks; those that are explained already are skipped.

    Every pick gets a map of where it is new. The first picks, as many as the run's rendering says, are rendered.

    Args:
        url: The archive's address.
        run_id: The run.
        ranks: The picks [first, last].
        reporter: Is given the units of work done; see `partition_ranks`.
    """
    run = Run(Location.parse(url), run_id)
    store, rendering = run.open_explanations(), run.rendering
    meter = reporter.open_meter("explain", f"{ranks[0]:04d}")
    picks = run.read_picks()
    pending_picks = [pick for pick in picks[ranks[0] - 1 : ranks[1]] if not _is_explained(run, store, pick.rank)]
    units_done = _estimate_cost(rendering, ranks) - sum(
        _estimate_cost(rendering, (pick.rank, pick.rank)) for pick in pending_picks
    )
    explainer = _Explainer(run, len(picks))
    rendered_count = 0
    for pick in pending_picks:
        if pick.rank <= rendering.picks:
            explainer.renderer.on_progress = partial(_report_share, meter, units_done)
        explanation = explainer.explain(pick, render=pick.rank <= rendering.picks)
        rendered_count += bool(explanation.renderings)
        store.write(pick.rank, explanation)
        units_done += _estimate_cost(rendering, (pick.rank, pick.rank))
        meter.update(units_done)
    meter.flush()
    return ExplainResult(ranks, rendered_count)


def _is_explained(run: Run, store: ExplanationStore, rank: int) -> bool:
    """Whether a pick has an explanation. A damaged one is reported, and made again.

    Raises:
        DamageError: If the pick's vectors are damaged, of which explanations are made.
    """
    run.read_vectors(rank)
    try:
        return store.read(rank) is not None
    except DamageError as error:
        log.warning("%s It is explained again.", error)
        return False


def _report_share(meter: Any, units_done: int, share: float) -> None:
    meter.update(units_done + share * _RENDERING_COST)


def partition_ranks(rendering: RenderingOptions, picks: int, workers: int) -> tuple[list[tuple[int, int]], int]:
    """Divide the explanation of `picks` picks into tasks.

    Every pick that the report shows as a card is explained. Renderings are slow, so they are spread evenly over the
    workers, with few in a task so that little is lost if a worker is killed.

    Returns:
        The ranks [first, last] of each task, and the units of work of all tasks.
    """
    card_count = min(max(rendering.picks, CARD_PICKS), picks)
    rendered_count = min(rendering.picks, picks)
    ranks_per_task = part_size(rendered_count, _PICKS_PER_TASK, workers)
    rank_ranges = [
        (first, min(first + ranks_per_task - 1, rendered_count))
        for first in range(1, rendered_count + 1, ranks_per_task)
    ]
    if card_count > rendered_count:
        rank_ranges.append((rendered_count + 1, card_count))
    return rank_ranges, sum(_estimate_cost(rendering, part) for part in rank_ranges)


def _estimate_cost(rendering: RenderingOptions, ranks: tuple[int, int]) -> int:
    rendered_count = max(0, min(ranks[1], rendering.picks) - ranks[0] + 1)
    return ranks[1] - ranks[0] + 1 + rendered_count * _RENDERING_COST


class _Explainer:
    """Explains picks of one run. What they share is loaded when first needed."""

    def __init__(self, run: Run, picks: int) -> None:
        self.run, self.plan, self.picks = run, run.plan, picks
        self.renderer = Renderer(run)
        self.threshold = read_trust_threshold(run.rendering, self.plan)
        self._reference: FaithfulnessReference | None = None

    def explain(self, pick: Pick, render: bool) -> Explanation:
        plan = self.plan
        x, expected, mean = self.run.read_vectors(pick.rank)
        image, problem = None, ""
        try:
            image = load_network_input(plan.representation, pick.uri, pick.sha256)
        except Unreadable as error:
            problem = str(error)
        pictures = self.renderer.render(build_render_vectors(x, expected)) if render else {}
        measures = (
            faithfulness.measure_faithfulness(
                plan, self.reference, x, expected, image, pictures, self._sample_other_residuals(pick)
            )
            if pictures
            else {}
        )
        attribution_map, attribution_kind, curves = None, "split", None
        residual = x - expected
        if image is not None and not np.isnan(expected).any() and is_significant(residual, x):
            attribution_map, attribution_kind = _compute_attribution_map(plan, image, residual, mean, pick.length)
            if render:
                curves = faithfulness.compute_deletion_curves(plan, image, attribution_map, residual, mean)
                measures |= faithfulness.deletion_at_20_percent(curves)
        panels = {name: pictures[name] for name in RENDERING_NAMES if name in pictures}
        if "expected" in panels:
            panels["difference"] = render_difference(panels["control"], panels["expected"])
        threshold = faithfulness.trust_threshold(measures, self.threshold)
        is_trusted = faithfulness.is_trusted(measures, threshold)
        return Explanation(
            attribution_map,
            panels,
            measures,
            problem,
            attribution_kind,  # type: ignore[arg-type]
            curves,
            is_trusted,
            threshold if panels else None,
        )

    @property
    def reference(self) -> FaithfulnessReference:
        if self._reference is None:
            self._reference = FaithfulnessReference.for_run(self.run)
        return self._reference

    def _sample_other_residuals(self, pick: Pick) -> FloatArray:
        """Residuals of a few other picks, (m, d)."""
        ranks = [rank for rank in range(1, self.picks + 1) if rank != pick.rank]
        chosen_indices = np.random.default_rng(pick.rank).permutation(len(ranks))[:_OTHER_PICKS]
        vectors = [self.run.read_vectors(ranks[index]) for index in sorted(chosen_indices)]
        residuals = [x - expected for x, expected, _ in vectors if not np.isnan(expected).any()]
        return np.array(residuals).reshape(len(residuals), -1)


def _compute_attribution_map(
    plan: Plan, image: PixelArray, residual: FloatArray, mean: FloatArray, length: float
) -> tuple[FloatArray, Literal["split", "energy", "occlusion"]]:
    """The map of a pick, and the meaning of its cells (see `Explanation.attribution_kind`)."""
    attribution_map: FloatArray | None = plan.representation.attribution_map(image, residual, mean, length)
    if attribution_map is None:
        return faithfulness.compute_occlusion_map(plan, image, residual, mean), "occlusion"
    return attribution_map, plan.representation.attribution_kind or "split"


def read_trust_threshold(rendering: RenderingOptions, plan: Plan) -> float | None:
    """The cosine from which renderings are trusted, measured on held-out images when the network was trained.

    None if the inverter has no trained network.
    """
    if not isinstance(rendering.inverter, UpConv | Refined):
        return None
    try:
        return rendering.inverter.load_metadata(plan.representation).threshold
    except InterpdiscError:
        return None
