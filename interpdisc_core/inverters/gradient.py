"""Inversion by optimisation: change an image until its features are the ones asked for.

Mahendran & Vedaldi 2015. Any differentiable representation, no training; slow on a CPU.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """size: pixels a side of the picture. steps: of the optimiser. variation: weight of the total-variation prior.

    The picture starts as noise that depends on the vector alone, so that the same vector gives the same picture
    wherever and in whatever batch it is rendered.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["gradient"] = "gradient"
    size: int = 128
    steps: int = 160
    variation: float = 0.02

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 512 or self.steps < 1:
            raise PlanError(f"gradient: size must be 16 to 512 (is {self.size}) and steps at least 1 (is {self.steps}).")

    def load(self, representation: Any, normalise: str, report: Callable[[float], None] | None = None) -> Any:
        """See `Inverts.load`."""
        network = representation.network()
        if network is None:
            raise PlanError(f"gradient: the representation {representation.kind} has no gradient.")
        return lambda vectors: _invert(self, representation, network, normalise, vectors, report)
