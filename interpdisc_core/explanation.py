"""The explanation step: where a pick's novelty lies, pictures of what was expected and is new, how far to trust them."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from interpdisc_core import faithfulness
from interpdisc_core.errors import InterpdiscError, StoreError, Unreadable
from interpdisc_core.extraction import prepared
from interpdisc_core.faithfulness import Reference
from interpdisc_core.images import Pixels
from interpdisc_core.inverters import Refined, UpConv
from interpdisc_core.plan import Plan, Rendering
from interpdisc_core.progress import Watch
from interpdisc_core.rendering import Renderer, difference, noticeable, vectors_of
from interpdisc_core.runs import Explanation, Pick, Run
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

PANELS = ("control", "expected", "new")
CARDS = 50
"""Picks that the report shows at large, and that are explained for it."""
_TOGETHER = 10
"""Picks that are rendered in one task."""
_RENDERING = 60
"""How many where-maps the rendering of one pick is worth in time, for the progress bar."""
_OTHERS = 20
"""Other picks whose residuals are a control."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What `explain` did: ranks [first, last], how many of them were rendered."""

    ranks: tuple[int, int]
    rendered: int


def begin(url: str, run_id: str, rendering: Rendering) -> int:
    """Have a run rendered in a way of its own from now on; returns how many picks it has.

    Raises StoreError where there is no such run, or where its picks are not made yet.
    """
    run = Run(Place.of(url), run_id)
    representation = run.plan.representation
    if isinstance(rendering.inverter, UpConv | Refined):
        rendering.inverter.card(representation)  # a checkpoint that does not fit says so before anything is changed
    try:
        picks = len(run.picks())
    except FileNotFoundError:
        raise StoreError(
            f"{run.place.url} has no picks yet: give the `interpdisc discover` that made it once more, and let it end."
        ) from None
    run.render_by(rendering)
    return picks


def explain(url: str, run_id: str, ranks: tuple[int, int], watch: Watch) -> Explained:
    """Explain the picks of ranks first to last; those that are explained already are left alone.

    The where-map is made for all of them, the renderings for the first of them that the run's rendering says.
    """
    run = Run(Place.of(url), run_id)
    kept, rendering = run.explanations(), run.rendering
    meter = watch.meter("explain", f"{ranks[0]:04d}")
    picks = run.picks()
    todo = [pick for pick in picks[ranks[0] - 1 : ranks[1]] if kept.read(pick.rank) is None]
    done = _cost(rendering, ranks) - sum(_cost(rendering, (pick.rank, pick.rank)) for pick in todo)
    explainer = _Explainer(run, len(picks))
    rendered = 0
    for pick in todo:
        if pick.rank <= rendering.picks:
            explainer.renderer.report = partial(_part_done, meter, done)
        made = explainer.explain(pick, render=pick.rank <= rendering.picks)
        rendered += bool(made.renderings)
        kept.write(pick.rank, made)
        done += _cost(rendering, (pick.rank, pick.rank))
        meter.at(done)
    meter.close()
    return Explained(ranks, rendered)


def _part_done(meter: Any, done: int, share: float) -> None:
    meter.at(done + share * _RENDERING)


def spread(rendering: Rendering, picks: int, workers: int) -> tuple[list[tuple[int, int]], int]:
    """How explaining `picks` picks is parted: ranks [first, last] a task; and the units of work in all.

    Every picked image that the report shows as a card is explained. Renderings are slow, so they are parted evenly
    over the workers, few enough in a task that a kill loses little.
    """
    shown = min(max(rendering.picks, CARDS), picks)
    rendered = min(rendering.picks, picks)
    each = max(1, min(_TOGETHER, -(-rendered // max(workers, 1))))
    parts = [(first, min(first + each - 1, rendered)) for first in range(1, rendered + 1, each)]
    if shown > rendered:
        parts.append((rendered + 1, shown))
    return parts, sum(_cost(rendering, part) for part in parts)


def _cost(rendering: Rendering, ranks: tuple[int, int]) -> int:
    rendered = max(0, min(ranks[1], rendering.picks) - ranks[0] + 1)
    return ranks[1] - ranks[0] + 1 + rendered * _RENDERING


class _Explainer:
    """Explains picks of one run; what they share is made when the first needs it."""

    def __init__(self, run: Run, picks: int) -> None:
        self.run, self.plan, self.picks = run, run.plan, picks
        self.renderer = Renderer(run)
        self.threshold = threshold_of(run.rendering, self.plan)
        self._reference: Reference | None = None

    def explain(self, pick: Pick, render: bool) -> Explanation:
        plan = self.plan
        x, expected, mean = self.run.vectors(pick.rank)
        image, problem = None, ""
        try:
            image = prepared(plan, pick.uri, pick.sha256)
        except Unreadable as error:
            problem = str(error)
        pictures = self.renderer.pictures(vectors_of(x, expected)) if render else {}
        numbers = (
            faithfulness.numbers(plan, self.reference, x, expected, image, pictures, self._others(pick))
            if pictures
            else {}
        )
        where, manner, curves = None, "split", None
        residual = x - expected
        if image is not None and not np.isnan(expected).any() and noticeable(residual, x):
            where, manner = _where(plan, image, residual, mean, pick.length)
            if render:
                curves = faithfulness.deletion(plan, image, where, residual, mean)
                numbers |= faithfulness.at_a_fifth(curves)
        shown = {name: pictures[name] for name in PANELS if name in pictures}
        if "expected" in shown:
            shown["difference"] = difference(shown["control"], shown["expected"])
        bar = faithfulness.bar(numbers, self.threshold)
        trusted = faithfulness.trust(numbers, bar)
        return Explanation(where, shown, numbers, problem, manner, curves, trusted, bar if shown else None)  # type: ignore[arg-type]

    @property
    def reference(self) -> Reference:
        if self._reference is None:
            self._reference = Reference.of(self.run)
        return self._reference

    def _others(self, pick: Pick) -> Floats:
        """Residuals of a few other picks, (m, d)."""
        ranks = [rank for rank in range(1, self.picks + 1) if rank != pick.rank]
        some = np.random.default_rng(pick.rank).permutation(len(ranks))[:_OTHERS]
        found = [self.run.vectors(ranks[place]) for place in sorted(some)]
        residuals = [x - expected for x, expected, _ in found if not np.isnan(expected).any()]
        return np.array(residuals).reshape(len(residuals), -1)


def _where(
    plan: Plan, image: Pixels, residual: Floats, mean: Floats, length: float
) -> tuple[Floats, Literal["split", "energy", "occlusion"]]:
    """The map of a pick, and what its cells mean."""
    where: Floats | None = plan.representation.where(image, residual, mean, length)
    if where is None:
        return faithfulness.occlusion(plan, image, residual, mean), "occlusion"
    return where, plan.representation.manner or "split"


def threshold_of(rendering: Rendering, plan: Plan) -> float | None:
    """The cosine from which renderings are trusted, as measured on held-out images when the network was trained."""
    if not isinstance(rendering.inverter, UpConv | Refined):
        return None
    try:
        return rendering.inverter.card(plan.representation).threshold
    except InterpdiscError:
        return None
