"""Pictures of a pick's vectors: the image's own features, what was expected, what is new, and controls."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from interpdisc_core import digest
from interpdisc_core._types import Float32Array, FloatArray, PixelArray
from interpdisc_core.archive.run import Run
from interpdisc_core.errors import PlanError
from interpdisc_core.explanations.npz_cache import NamedArrays, load_or_compute
from interpdisc_core.images.resize import resize_lanczos
from interpdisc_core.inverters import InvertFunction
from interpdisc_core.representations import MobileNetV2

log = logging.getLogger(__name__)

_SIGNIFICANCE_RTOL = 1e-6
_Array = TypeVar("_Array")


def build_render_vectors(x: FloatArray, expected: FloatArray) -> dict[str, FloatArray]:
    """The vectors (d,) that are rendered for a pick, by name.

    * `control`: x.
    * `expected`: x̂.
    * `new`: x − x̂ with its mean over the features shifted to that of x (see `shift_mean`).
    * `level`: that mean in every feature; `new` is measured against it.
    * `random`: x̂ plus a random direction as long as x − x̂, a control.

    If the selector predicts nothing (x̂ is NaN) only `control` is there. If nothing is significantly new, only
    `control` and `expected` are.
    """
    vectors = {"control": x}
    if np.isnan(expected).any():
        return vectors
    vectors["expected"] = expected
    residual = x - expected
    if is_significant(residual, x):
        vectors["new"] = shift_mean(residual, x)
        vectors["level"] = np.full_like(x, x.mean())
        vectors["random"] = expected + make_random_residual(residual)
    return vectors


def shift_mean(residual: _Array, x: _Array) -> _Array:
    """The residual x − x̂ with its mean over the features shifted to that of x, (…, d): arrays or tensors.

    A decoder is trained on features, whose mean is far from that of a residual. The step is that of the authors of
    DEMUD's explanations.
    """
    values, levels = cast(Any, residual), cast(Any, x)
    return cast(_Array, values - values.mean(-1, keepdims=True) + levels.mean(-1, keepdims=True))


def is_significant(residual: FloatArray, x: FloatArray) -> bool:
    """Whether a residual (d,) is larger than rounding errors of float32 features: |x − x̂| > 1e-6 |x|."""
    return bool(np.linalg.norm(residual) > _SIGNIFICANCE_RTOL * np.linalg.norm(x))


def describe_missing_novelty(x: FloatArray, expected: FloatArray, *, is_first: bool) -> str:
    """Why a pick has no pictures and no map of what is new, as a clause; empty if something in it is new.

    Args:
        x: (d,) The pick's features.
        expected: (d,) x̂.
        is_first: Whether nothing was seen before the pick.
    """
    if np.isnan(expected).any():
        return "this selector does not predict features, so there is nothing to compare the image with"
    if is_significant(x - expected, x):
        return ""
    if is_first:
        return "nothing was seen before this pick, so there is nothing to compare it with"
    return "the model explains this image completely, so no part of it counts as new"


def make_random_residual(residual: FloatArray) -> FloatArray:
    """A random direction as long as the residual (d,); the same residual always gives the same direction."""
    seed = int.from_bytes(bytes.fromhex(digest.digest_array(residual)[:16]))
    direction = np.random.default_rng(seed).standard_normal(len(residual))
    result: FloatArray = direction * (np.linalg.norm(residual) / np.linalg.norm(direction))
    return result


def render_difference(control: PixelArray, expected: PixelArray) -> PixelArray:
    """Gray plus half of control − expected: the scale is the same for every pick, and no value is clipped."""
    halves = (control.astype(np.int16) - expected.astype(np.int16)) / 2
    result: PixelArray = np.rint(127.5 + halves).astype(np.uint8)
    return result


class Renderer:
    """Renders vectors as pictures, which are cached in the archive.

    The vectors of a pick are always one batch: an optimizer amplifies the rounding in which batches differ, and a
    picture must not depend on how the picks were spread over workers.
    """

    def __init__(self, run: Run) -> None:
        self.plan, self.rendering = run.plan, run.rendering
        name = self.rendering.compute_digest(self.plan.representation)
        self.cache = run.archive / f"cache/{self.plan.features_digest}-{self.plan.normalise}-{name}"
        self.on_progress: Callable[[float], None] = lambda share: None
        self._invert: InvertFunction | None = None

    def _report_progress(self, share: float) -> None:
        self.on_progress(share)

    def render(self, vectors: dict[str, FloatArray]) -> dict[str, PixelArray]:
        """Pictures (size, size, 3) uint8 by the names of the vectors; empty if the representation cannot be inverted."""
        stacked_vectors = np.array(list(vectors.values()))
        name = f"{digest.digest_array(stacked_vectors)[:32]}.npz"
        arrays = load_or_compute(
            self.cache, name, ("pictures",), lambda: self._invert_vectors(stacked_vectors), compress=True
        )
        return {} if arrays is None else dict(zip(vectors, arrays["pictures"], strict=True))

    def _invert_vectors(self, vectors: FloatArray) -> NamedArrays | None:
        try:
            if self._invert is None:
                self._invert = self.rendering.inverter.load(
                    self.plan.representation, self.plan.normalise, self._report_progress
                )
        except PlanError as error:
            log.warning("nothing is rendered: %s", error)
            return None
        return {"pictures": self._invert(vectors)}


def build_second_encoder() -> Any:
    """An encoder that had no part in training the inverters, to check them with."""
    return MobileNetV2()


def encode_pictures(representation: Any, pictures: PixelArray) -> Float32Array:
    """Features (n, d) float32 of pictures (n, s, s, 3) of any size, each of which shows the network's whole input.

    The pictures are resized, not prepared: `prepare` would crop them once more.
    """
    embed, side = representation.load(), representation.side
    batches = (pictures[start : start + 32] for start in range(0, len(pictures), 32))
    return np.concatenate([embed(np.stack([resize_lanczos(picture, side) for picture in batch])) for batch in batches])
