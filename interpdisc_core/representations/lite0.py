"""EfficientNet-lite0, the default backbone: its weights ship in a package, so nothing is downloaded."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.images import Pixels
from interpdisc_core.representations.cropped import Cropped

_SIDE, _SHORT = 224, 256
_BLOCKS = {"early": 4, "middle": 6}
"""Blocks up to the one with 28 x 28 cells, and to the last with 14 x 14."""


@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(Cropped):
    """A layer of EfficientNet-lite0 trained on ImageNet. Short side to 256, central 224 x 224, (x − 127) / 128.

    output: `pooled`, the last convolution averaged over its 7 x 7 cells (d = 1280); `grid`, the last block's 320
    channels averaged to `grid` x `grid` cells, cell by cell (d = 320 grid²), which keeps where things are; `logits`,
    the 1000 ImageNet scores before the softmax; `early` and `middle`, the activations of a block at 1/8 (28 x 28 cells,
    d = 40) and of one at 1/16 (14 x 14 cells, d = 112) of the image's side, averaged over the cells: simpler things.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["efficientnet-lite0"] = "efficientnet-lite0"
    output: Literal["pooled", "grid", "logits", "early", "middle"] = "pooled"
    grid: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.grid <= 7:
            raise PlanError(f"efficientnet-lite0: grid must be 1 to 7 cells a side, not {self.grid}.")

    @property
    def cut(self) -> tuple[int, int]:
        """See `Cropped.cut`."""
        return _SIDE, _SHORT

    def network(self) -> Any:
        """See `Represents.network`."""
        return _network(self.output, self.grid)

    @property
    def manner(self) -> Literal["split", "energy"] | None:
        """See `Represents.manner`."""
        if self.output == "logits":
            return None
        return "energy" if self.output == "grid" else "split"

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64] | None:
        """`pooled`, `early`, `middle`: Σ_g rᵀ(f_g/scale − μ)/G, signed, exact because x is the mean of the f_g.

        `grid`: the energy of the residual in each cell. `logits`: None.
        """
        if self.output == "logits":
            return None
        if self.output == "grid":
            energy: npt.NDArray[np.float64] = (residual.reshape(self.grid, self.grid, -1) ** 2).sum(axis=2)
            return energy
        from interpdisc_core.representations import _layers

        return _layers.split(_network(self.output, 7, cells=True), image, residual, mean, scale)


@lru_cache(maxsize=4)
def _network(output: str, grid: int, *, cells: bool = False) -> Any:
    """The output as the settings name it; with `cells`, what it is the mean of: (n, d, gy, gx)."""
    import torch
    from torch.nn import functional as F

    from interpdisc_core.representations import _lite0_network

    whole = _lite0_network.build()

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.head, self.classify = (
                whole.features[: _BLOCKS.get(output, -1)],
                whole.features[-1],
                whole.classifier,
            )

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.finish(self.blocks((images - 127.0) / 128.0))

        def finish(self, last: torch.Tensor) -> torch.Tensor:
            if output == "grid":
                averaged = F.adaptive_avg_pool2d(last, grid)
                return averaged.permute(0, 2, 3, 1).flatten(1)
            features = last if output in ("early", "middle") else self.head(last)
            if cells:
                return features
            pooled = features.mean((2, 3))
            return self.classify(pooled) if output == "logits" else pooled

        def with_stages(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
            """Features, and what the blocks make at 1/4, 1/8, 1/16 and 1/32 of the input's side, as far as it goes."""
            at, stages = (images - 127.0) / 128.0, []
            for number, block in enumerate(self.blocks):
                at = block(at)
                if number in (2, 3, 5, 7):
                    stages.append(at)
            return self.finish(at), stages

    return Layer().eval()
