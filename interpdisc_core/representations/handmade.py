"""What descriptors made by hand share: grey pixels, and a function of one image run over many."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from interpdisc_core.images import Pixels


def grey(image: Pixels) -> Pixels:
    """(h, w, 3) uint8 -> (h, w) uint8: the luma of ITU-R 601."""
    return np.asarray(Image.fromarray(image).convert("L"))


def one_by_one(describe: Callable[[Pixels], npt.NDArray[np.float32]]) -> Callable[[Pixels], npt.NDArray[np.float32]]:
    """(side, side, 3) uint8 -> (d,) float32, of each of (n, side, side, 3) uint8, n at least 1, to (n, d) float32."""

    def embed(images: Pixels) -> npt.NDArray[np.float32]:
        return np.stack([describe(image) for image in images]).astype(np.float32, copy=False)

    return embed
