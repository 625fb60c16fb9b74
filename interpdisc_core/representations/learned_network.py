"""Features of the target domain: a network that is trained on the collection itself, without labels.

The networks that ship were trained on photographs of things on Earth. Wagstaff & Lee 2018 name features that are
learned from the domain in question as the next step; this is one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels, square, window
from interpdisc_core.representations.weights import not_learned, read_weights
from interpdisc_core.storage import Place

FEWEST = 8
"""Images from which a network may be learned."""


@dataclass(frozen=True, kw_only=True)
class LearnedNetwork:
    """What a convolutional network that was trained on the collection makes of an image, averaged over its cells.

    objective: `contrast`, two views of an image that differ in crop and colours are to have the same features, and
    each feature is to vary and to say something of its own: VICReg (Bardes, Ponce & LeCun 2022), which needs neither
    negatives nor a large batch; `reconstruct`, a decoder is to paint the image from its noisy version's features, an
    autoencoder. start: `scratch`, a residual network of 1.2 million weights (for 256 dimensions), random at first;
    `lite0`, EfficientNet-lite0 with its ImageNet weights. side: pixels, a multiple of 16 from 32 to 224; the central
    square of an image is resized to it, and there is a cell for each 16 of them (`lite0`: for each 32). dimensions: d
    of `scratch`; `lite0` has 1280. epochs, batch, rate: of AdamW, whose rate rises for a twentieth of
    the steps and then falls as a cosine; the weights of `lite0` change at a tenth of it. sample: at most so many images
    are learned from, drawn by `seed`. weights: address of the file that `learn` made, empty before.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["learned-network"] = "learned-network"
    objective: Literal["contrast", "reconstruct"] = "contrast"
    start: Literal["scratch", "lite0"] = "scratch"
    side: int = 96
    dimensions: int = 256
    epochs: int = 30
    batch: int = 128
    rate: float = 1e-3
    seed: int = 0
    sample: int = 20_000
    weights: str = ""

    def __post_init__(self) -> None:
        if not 32 <= self.side <= 224 or self.side % 16:
            raise PlanError(f"learned-network: side must be a multiple of 16 from 32 to 224 pixels, not {self.side}.")
        if not 1 <= self.dimensions <= 4096:
            raise PlanError(f"learned-network: dimensions must be 1 to 4096, not {self.dimensions}.")
        if self.epochs < 1:
            raise PlanError(f"learned-network: epochs must be at least 1, not {self.epochs}.")
        for name in ("batch", "sample"):
            if getattr(self, name) < FEWEST:
                raise PlanError(f"learned-network: {name} must be at least {FEWEST}, not {getattr(self, name)}.")
        if not 0 < self.rate < 1:
            raise PlanError(f"learned-network: rate must be between 0 and 1, not {self.rate}.")
        if self.seed < 0:
            raise PlanError(f"learned-network: seed must be 0 or more, not {self.seed}.")

    def prepare(self, image: Pixels) -> Pixels:
        """See `Represents.prepare`."""
        return square(image, crop=self.side, of=self.side)

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """See `Represents.window`."""
        return window(width, height, crop=self.side, of=self.side)

    @property
    def learned(self) -> str:
        """See `Learns.learned`."""
        return self.weights

    def having(self, address: str) -> Self:
        """See `Learns.having`."""
        return replace(self, weights=address)

    def learn(self, images: Pixels, place: Place, report: Callable[[float], None]) -> bytes:
        """See `Learns.learn`. On the GPU where there is one, else by as many threads as PyTorch has.

        After each epoch the state is kept in `place`, in a folder for these settings and images, and `epochs.json` there
        lists the epochs (see `_learning.Epoch`). On one thread of one machine the bytes are always the same. Raises
        PlanError for fewer than 8 images and where the loss is no number any more, StoreError for a damaged state,
        WeightsError where lite0's weights are not installed.
        """
        from interpdisc_core.representations import _learning

        if images.shape[1:] != (self.side, self.side, 3):
            raise PlanError(f"learned-network: images must be prepared to {self.side} pixels, not {images.shape[1:]}.")
        if len(images) < FEWEST:
            raise PlanError(
                f"learned-network: there are {len(images)} images, and at least {FEWEST} must be learned from."
            )
        if len(images) > self.sample:
            drawn = np.random.default_rng(self.seed).choice(len(images), self.sample, replace=False)
            images = images[np.sort(drawn)]
        return _learning.learned(self.having(""), images, place, report)

    def load(self, device: str = "auto") -> Any:
        """See `Represents.load`."""
        from interpdisc_core.representations import runtime

        self._content()
        return runtime.embedder(self, device)

    def network(self) -> Any:
        """See `Represents.network`. Raises WeightsError where it has not learned, or other weights than it needs."""
        return _network(self, self._content(), "pooled")

    def _content(self) -> bytes:
        if not self.weights:
            raise not_learned(self.kind)
        return read_weights(self.weights)

    @property
    def manner(self) -> Literal["split"]:
        """See `Represents.manner`."""
        return "split"

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64]:
        """Σ_g rᵀ(f_g/scale − μ)/G, signed, exact because x is the mean of the cells' features f_g."""
        from interpdisc_core.representations import _layers

        return _layers.split(_network(self, self._content(), "cells"), image, residual, mean, scale)


@lru_cache(maxsize=4)
def _network(spec: LearnedNetwork, content: bytes, output: str) -> Any:
    """The network of a file's content; `pooled` and `cells` apart, as that may be moved to a GPU and `where` runs on the CPU."""
    from interpdisc_core.representations import _learned_network

    encoder = _learned_network.unpacked(content, spec)
    return encoder if output == "cells" else _learned_network.Pooled(encoder).eval()
