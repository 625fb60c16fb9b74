"""Inversion by an up-convolutional network: features to a picture in one forward pass (Dosovitskiy & Brox 2016).

A network is trained once for a representation (`interpdisc train-inverter`); those for the default backbone ship with the
package.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.errors import PlanError
from interpdisc_core.inverters import checkpoint as checkpoints
from interpdisc_core.settings import settings

UPCONV_MINIBATCH = 64
"""Vectors in a minibatch of the network."""


@settings
class UpConv:
    """A generator trained for the representation.

    Attributes:
        checkpoint: File or s3:// address that `interpdisc train-inverter` wrote; empty for the one that ships.
    """

    kind: Literal["upconv"] = "upconv"
    checkpoint: str = ""

    def find_checkpoint(self, representation: Any) -> str:
        """The address of the checkpoint for a representation. Raises PlanError if none is named and none ships."""
        if self.checkpoint:
            return self.checkpoint
        shipped_path = checkpoints.find_shipped_checkpoint(representation)
        if shipped_path is None:
            raise PlanError(
                f"upconv: no network ships that inverts these features of {representation.kind}: train one with "
                "`interpdisc train-inverter` and name its checkpoint, or choose the inverter gradient."
            )
        return str(shipped_path)

    def load_metadata(self, representation: Any) -> checkpoints.CheckpointMetadata:
        """The metadata of the checkpoint. Raises PlanError and WeightsError as `load` does."""
        return checkpoints.load_matching_checkpoint(self.find_checkpoint(representation), representation)[1]

    def digest_weights(self, representation: Any) -> str:
        """See `InverterLike.digest_weights`: the SHA-256 of the checkpoint; empty if it cannot be read."""
        return checkpoints.digest_checkpoint(self.find_checkpoint(representation))

    def load(self, representation: Any, normalize: str, report: Callable[[float], None] | None = None) -> Any:
        """See `InverterLike.load`. Raises WeightsError if the checkpoint is damaged or is for other features."""
        from interpdisc_core.inverters._layers import render_pictures

        network, length = _load_network(
            self.find_checkpoint(representation), self.digest_weights(representation), representation
        )

        def invert(vectors: FloatArray) -> PixelArray:
            codes = np.asarray(vectors, dtype=np.float32)
            if normalize == "l2":  # the length of the features is lost: assume the mean length of the training
                codes = codes * np.float32(length)
            return render_pictures(network, codes, UPCONV_MINIBATCH, report)

        return invert


@lru_cache(maxsize=2)
def _load_network(path: str, content_digest: str, representation: Any) -> tuple[Any, float]:
    """The network of a checkpoint, on a GPU if there is one, and the mean length of the codes it was trained on."""
    import torch

    data, metadata = checkpoints.load_matching_checkpoint(path, representation)
    network = checkpoints.load_generator(data, metadata, path)
    return network.to("cuda" if torch.cuda.is_available() else "cpu"), metadata.length
