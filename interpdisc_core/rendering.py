"""Pictures of a pick's vectors: the image's own features, what was expected, what is new, and controls."""

import io
import logging
import zlib
from collections.abc import Callable
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np

from interpdisc_core import digest
from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels
from interpdisc_core.inverters import Invert
from interpdisc_core.runs import Run
from interpdisc_core.selectors.choice import Floats

log = logging.getLogger(__name__)

_PRECISION = 1e-6


def vectors_of(x: Floats, expected: Floats) -> dict[str, Floats]:
    """The vectors (d,) that are rendered for a pick.

    control: x. expected: x̂. new: x − x̂ with its mean over the features shifted to that of x (the authors' step).
    level: that mean alone, in every feature, against which `new` is measured. random: x̂ and a random direction as long
    as x − x̂. Only control where the model expects nothing; neither new nor controls where
    nothing is noticeably new.
    """
    vectors = {"control": x}
    if np.isnan(expected).any():
        return vectors
    vectors["expected"] = expected
    residual = x - expected
    if noticeable(residual, x):
        vectors["new"] = shifted(residual, x)
        vectors["level"] = np.full_like(x, x.mean())
        vectors["random"] = expected + random_residual(residual)
    return vectors


def shifted(residual: Floats, x: Floats) -> Floats:
    """x − x̂ with its mean over the features moved to that of x, (…, d): the authors' step."""
    found: Floats = residual - residual.mean(-1, keepdims=True) + x.mean(-1, keepdims=True)
    return found


def noticeable(residual: Floats, x: Floats) -> bool:
    """Whether a residual (d,) is more than the rounding of float32 features: |x − x̂| > 1e-6 |x|."""
    return bool(np.linalg.norm(residual) > _PRECISION * np.linalg.norm(x))


def random_residual(residual: Floats) -> Floats:
    """A random direction as long as the residual (d,), always the same for the same residual."""
    seed = int.from_bytes(bytes.fromhex(digest.of_array(residual)[:16]))
    direction = np.random.default_rng(seed).standard_normal(len(residual))
    found: Floats = direction * (np.linalg.norm(residual) / np.linalg.norm(direction))
    return found


def difference(control: Pixels, expected: Pixels) -> Pixels:
    """Grey plus half of control − expected: the same scale for every pick, and nothing is cut off."""
    halves = (control.astype(np.int16) - expected.astype(np.int16)) / 2
    found: Pixels = np.rint(127.5 + halves).astype(np.uint8)
    return found


class Renderer:
    """Renders vectors; takes pictures from the archive's cache where they were made before.

    The vectors of a pick are one batch, always: an optimiser amplifies the rounding in which batches differ, and what
    a picture looks like must not depend on how the picks were spread over workers.
    """

    def __init__(self, run: Run) -> None:
        self.plan, self.rendering = run.plan, run.rendering
        name = self.rendering.name(self.plan.representation)
        self.cache = run.archive / f"cache/{self.plan.features}-{self.plan.normalise}-{name}"
        self.report: Callable[[float], None] = lambda share: None
        self._invert: Invert | None = None

    def _tell(self, share: float) -> None:
        self.report(share)

    def pictures(self, vectors: dict[str, Floats]) -> dict[str, Pixels]:
        """Pictures (size, size, 3) by the names of the vectors; none where the representation cannot be inverted so."""
        asked = np.array(list(vectors.values()))
        name = f"{digest.of_array(asked)[:32]}.npz"
        try:
            with np.load(io.BytesIO(self.cache.read(name)), allow_pickle=False) as kept:
                return dict(zip(vectors, kept["pictures"], strict=True))
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error, TokenError):
            pass  # not there, or damaged: it is made anew
        try:
            if self._invert is None:
                self._invert = self.rendering.inverter.load(self.plan.representation, self.plan.normalise, self._tell)
        except PlanError as error:
            log.warning("nothing is rendered: %s", error)
            return {}
        made = self._invert(asked)
        sink = io.BytesIO()
        np.savez_compressed(sink, pictures=made)
        self.cache.write(name, sink.getvalue())
        return dict(zip(vectors, made, strict=True))
