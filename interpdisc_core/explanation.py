"""The explanation step: for a pick, where its novelty lies, and pictures of what was expected and what is new."""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from zipfile import BadZipFile

import numpy as np

from interpdisc_core import digest
from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.extraction import prepared
from interpdisc_core.images import Pixels
from interpdisc_core.inverters import Invert
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Meter, Watch
from interpdisc_core.runs import Explanation, Pick, Run
from interpdisc_core.selectors.choice import Floats
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

FEATURE_ERROR = "feature error of the control (0 is perfect)"
COSINE = "cosine of the rendered with the true residual (1 is perfect)"
PANELS = ("control", "expected", "new")
CARDS = 50
"""Picks that the report shows at large, and that are explained for it."""
_TOGETHER = 6
"""Picks that are rendered in one task."""
_RENDERING = 40
"""How many where-maps the rendering of one pick is worth in time, for the progress bar."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What `explain` did: ranks [first, last], how many of them were rendered."""

    ranks: tuple[int, int]
    rendered: int


def explain(url: str, run_id: str, ranks: tuple[int, int], watch: Watch) -> Explained:
    """Explain the picks of ranks first to last; those that are explained already are left alone.

    The where-map is made for all of them, the renderings for the first `plan.explain` of the run.
    """
    run = Run(Place.of(url), run_id)
    plan = run.plan
    meter = watch.meter("explain", f"{ranks[0]:04d}")
    todo = [pick for pick in run.picks()[ranks[0] - 1 : ranks[1]] if run.explanation(pick.rank) is None]
    done = _cost(plan, ranks) - sum(_cost(plan, (pick.rank, pick.rank)) for pick in todo)
    renderer = _Renderer(run, plan)
    rendered = 0
    for pick in todo:
        pictures: dict[str, Pixels] = {}
        if pick.rank <= plan.explain:
            renderer.report = partial(_part_done, meter, done)
            pictures = renderer.pictures(_panels(run, pick))
            rendered += bool(pictures)
        run.write_explanation(pick.rank, _explain(run, plan, pick, pictures))
        done += _cost(plan, (pick.rank, pick.rank))
        meter.at(done)
    meter.close()
    return Explained(ranks, rendered)


def _part_done(meter: Meter, done: int, share: float) -> None:
    meter.at(done + share * _RENDERING)


def spread(plan: Plan, picks: int, workers: int) -> tuple[list[tuple[int, int]], int]:
    """How explaining `picks` picks is parted: ranks [first, last] a task; and the units of work in all.

    Every picked image that the report shows as a card is explained. Renderings are slow, so they are parted evenly
    over the workers, few enough in a task that a kill loses little.
    """
    shown = min(max(plan.explain, CARDS), picks)
    rendered = min(plan.explain, picks)
    each = max(1, min(_TOGETHER, -(-rendered // max(workers, 1))))
    parts = [(first, min(first + each - 1, rendered)) for first in range(1, rendered + 1, each)]
    if shown > rendered:
        parts.append((rendered + 1, shown))
    return parts, sum(_cost(plan, part) for part in parts)


def _cost(plan: Plan, ranks: tuple[int, int]) -> int:
    rendered = max(0, min(ranks[1], plan.explain) - ranks[0] + 1)
    return ranks[1] - ranks[0] + 1 + rendered * _RENDERING


def _explain(run: Run, plan: Plan, pick: Pick, pictures: dict[str, Pixels]) -> Explanation:
    x, expected, mean = run.vectors(pick.rank)
    try:
        image = prepared(plan, pick.uri, pick.sha256)
    except Unreadable as error:
        return Explanation(None, pictures, {}, str(error))
    residual = x - expected
    where = None
    if not np.isnan(expected).any() and residual.any():
        where = plan.representation.where(image, residual, mean, pick.length)
    return Explanation(where, pictures, _numbers(plan, x, expected, pictures))


def _panels(run: Run, pick: Pick) -> dict[str, Floats]:
    """The vectors (d,) that are rendered for a pick: x, x̂, and what is new."""
    x, expected, _ = run.vectors(pick.rank)
    panels = {"control": x}
    if not np.isnan(expected).any():
        residual = x - expected
        panels["expected"] = expected
        if residual.any():
            # The authors' step: the residual's mean over the features is moved to the image's own.
            panels["new"] = residual - residual.mean() + x.mean()
    return panels


class _Renderer:
    """Pictures of a pick's vectors; from the archive's cache where they were made before.

    A pick's panels are one batch, always: an optimiser amplifies the rounding in which batches differ, and what a
    picture looks like must not depend on how the picks were spread over workers.
    """

    def __init__(self, run: Run, plan: Plan) -> None:
        self.plan = plan
        self.cache = run.archive / f"cache/{plan.features}-{plan.normalise}-{digest.of_settings(plan.inverter)}"
        self.report: Callable[[float], None] = lambda share: None
        self._invert: Invert | None = None

    def _tell(self, share: float) -> None:
        self.report(share)

    def pictures(self, panels: dict[str, Floats]) -> dict[str, Pixels]:
        """Pictures (size, size, 3) by panel; none where the representation cannot be inverted so."""
        vectors = np.array(list(panels.values()))
        name = f"{digest.of_array(vectors)[:32]}.npz"
        try:
            with np.load(io.BytesIO(self.cache.read(name)), allow_pickle=False) as kept:
                return dict(zip(panels, kept["pictures"], strict=True))
        except (OSError, ValueError, KeyError, BadZipFile):
            pass  # not there, or damaged: it is made anew
        try:
            if self._invert is None:
                self._invert = self.plan.inverter.load(self.plan.representation, self.plan.normalise, self._tell)
        except PlanError as error:
            log.warning("nothing is rendered: %s", error)
            return {}
        made = self._invert(vectors)
        sink = io.BytesIO()
        np.savez_compressed(sink, pictures=made)
        self.cache.write(name, sink.getvalue())
        return dict(zip(panels, made, strict=True))


def _numbers(plan: Plan, x: Floats, expected: Floats, pictures: dict[str, Pixels]) -> dict[str, float]:
    """How faithful the renderings are, under the representation itself: they are encoded again and compared.

    Feature error of the control: |φ(control) − x| / |x|. Cosine: between r and φ(control) − φ(expected); at 1 the two
    pictures differ in just what is new.
    """
    if "control" not in pictures:
        return {}
    embed = plan.representation.load()
    names = [name for name in PANELS if name in pictures]
    codes = embed(np.stack([plan.representation.prepare(pictures[name]) for name in names])).astype(np.float64)
    if plan.normalise == "l2":
        codes /= np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-30)
    code = dict(zip(names, codes, strict=True))
    numbers = {FEATURE_ERROR: float(np.linalg.norm(code["control"] - x) / max(float(np.linalg.norm(x)), 1e-30))}
    residual = x - expected
    if "expected" in code and residual.any():
        rendered = code["control"] - code["expected"]
        size = float(np.linalg.norm(rendered) * np.linalg.norm(residual))
        numbers[COSINE] = float(rendered @ residual) / size if size > 0 else 0.0
    return numbers
