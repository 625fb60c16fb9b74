"""Features of the target domain: a network that is trained on the collection itself, without labels.

The networks that ship were trained on photographs of things on Earth. Wagstaff & Lee 2018 name features learned from
the target domain as the next step; this is one.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from interpdisc_core._types import PixelArray
from interpdisc_core.errors import PlanError
from interpdisc_core.representations._center_crop import MeanPooledRepresentation, WholeSquareRepresentation
from interpdisc_core.representations.weights import not_learned_error, read_weights
from interpdisc_core.settings import settings
from interpdisc_core.storage.location import Location

MIN_IMAGES = 8
"""Minimum number of images to learn from."""


@settings
class LearnedNetwork(WholeSquareRepresentation, MeanPooledRepresentation):
    """The mean over the cells of a convolutional network that is trained on the collection.

    The rate of AdamW rises for a twentieth of the steps and then falls as a cosine.

    Attributes:
        objective: `contrast`, VICReg (Bardes, Ponce & LeCun 2022): two views of an image that differ in crop and colors
            get the same features, while each feature varies and is uncorrelated with the others; needs neither negatives
            nor a large batch. `reconstruct`, an autoencoder: a decoder paints the image from the features of its noisy
            version.
        start: `scratch`, a residual network of 1.2 million weights (for 256 dimensions) with random weights; `lite0`,
            EfficientNet-lite0 with its ImageNet weights, which are trained at a tenth of the rate.
        side: Pixels, a multiple of 16. The central square of an image is resized to it; there is a cell for each 16
            pixels (`lite0`: 32).
        dimensions: d of `scratch`; `lite0` has 1280.
        epochs: Passes over the images.
        batch: Images in a minibatch.
        rate: Highest learning rate.
        seed: Of the initial weights, the sample and the order of images.
        sample: Maximum number of images to learn from.
        weights: Address of the file that `learn` returned; empty before.
    """

    kind: Literal["learned-network"] = "learned-network"
    objective: Literal["contrast", "reconstruct"] = "contrast"
    start: Literal["scratch", "lite0"] = "scratch"
    side: Annotated[int, Field(ge=32, le=224)] = 96
    dimensions: Annotated[int, Field(ge=1, le=4096)] = 256
    epochs: Annotated[int, Field(ge=1)] = 30
    batch: Annotated[int, Field(ge=MIN_IMAGES)] = 128
    rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    seed: Annotated[int, Field(ge=0)] = 0
    sample: Annotated[int, Field(ge=MIN_IMAGES)] = 20_000
    weights: str = ""

    def __post_init__(self) -> None:
        if self.side % 16:
            raise PlanError(f"learned-network: side must be a multiple of 16 pixels, not {self.side}.")

    @property
    def learned_weights(self) -> str:
        """See `Trainable.learned_weights`."""
        return self.weights

    def with_weights(self, address: str) -> Self:
        """See `Trainable.with_weights`."""
        return replace(self, weights=address)

    def learn(self, images: PixelArray, location: Location, report: Callable[[float], None]) -> bytes:
        """See `Trainable.learn`. Uses the GPU if there is one, else PyTorch's threads.

        After each epoch the state is kept in `location`, in a folder for these settings and images, whose `epochs.json`
        lists the epochs (`_encoder_training.EncoderEpoch`). On one thread of one machine the bytes are always the same.

        Raises:
            PlanError: If there are fewer than 8 images, they are not of `side`, or the loss becomes NaN or infinite.
            StoreError: If the state is damaged.
            WeightsError: If the weights of lite0 are needed and not installed.
        """
        from interpdisc_core.representations import _encoder_training

        if images.shape[1:] != (self.side, self.side, 3):
            raise PlanError(f"learned-network: images must be prepared to {self.side} pixels, not {images.shape[1:]}.")
        if len(images) < MIN_IMAGES:
            raise PlanError(f"learned-network: there are {len(images)} images, and at least {MIN_IMAGES} are needed.")
        if len(images) > self.sample:
            sample = np.random.default_rng(self.seed).choice(len(images), self.sample, replace=False)
            images = images[np.sort(sample)]
        return _encoder_training.train_encoder(self.with_weights(""), images, location, report)

    def load(self, device: str = "auto") -> Any:
        """See `RepresentationLike.load`. Raises WeightsError if it was not learned yet."""
        self._read_content()
        return super().load(device)

    def build_module(self, *, cells: bool) -> Any:
        """See `MeanPooledRepresentation.build_module`. Raises WeightsError if it was not learned yet, too."""
        return _load_network(self, self._read_content(), cells)

    def _read_content(self) -> bytes:
        if not self.weights:
            raise not_learned_error(self.kind)
        return read_weights(self.weights)


@lru_cache(maxsize=4)
def _load_network(spec: LearnedNetwork, content: bytes, cells: bool) -> Any:
    from interpdisc_core.representations import _encoders

    encoder = _encoders.load_encoder(content, spec)
    return encoder if cells else _encoders.PooledEncoder(encoder).eval()
