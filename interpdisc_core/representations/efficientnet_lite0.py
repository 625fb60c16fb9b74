"""EfficientNet-lite0, the default backbone: its weights ship in a package, so nothing is downloaded."""

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.representations._center_crop import CenterCropRepresentation
from interpdisc_core.representations._descriptors import cell_energy
from interpdisc_core.settings import settings

_SIDE, _SHORT_SIDE = 224, 256
_BLOCKS = {"early": 4, "middle": 6}
"""Blocks up to the one with 28 x 28 cells, and to the last with 14 x 14."""


@settings
class EfficientNetLite0(CenterCropRepresentation):
    """A layer of EfficientNet-lite0 trained on ImageNet. Short side to 256, central 224 x 224, (x − 127) / 128.

    Attributes:
        output: `pooled`, the last convolution averaged over its 7 x 7 cells (d = 1280); `grid`, the 320 channels of the
            last block averaged to `grid` x `grid` cells, cell by cell (d = 320 grid²), which keeps where things are;
            `logits`, the 1000 ImageNet scores before the softmax; `early` and `middle`, simpler features: a block at 1/8
            (28 x 28 cells, d = 40) and one at 1/16 (14 x 14 cells, d = 112) of the image's side, averaged over the cells.
        grid: Cells a side of `grid`.
    """

    kind: Literal["efficientnet-lite0"] = "efficientnet-lite0"
    output: Literal["pooled", "grid", "logits", "early", "middle"] = "pooled"
    grid: Annotated[int, Field(ge=1, le=7)] = 4

    @property
    def crop_sizes(self) -> tuple[int, int]:
        """See `CenterCropRepresentation.crop_sizes`."""
        return _SIDE, _SHORT_SIDE

    def build_network(self) -> Any:
        """See `RepresentationLike.build_network`."""
        return _load_network(self.output, self.grid)

    @property
    def attribution_kind(self) -> Literal["split", "energy"] | None:
        """See `RepresentationLike.attribution_kind`."""
        if self.output == "logits":
            return None
        return "energy" if self.output == "grid" else "split"

    def attribution_map(
        self, image: PixelArray, residual: FloatArray, mean: FloatArray, scale: float
    ) -> FloatArray | None:
        """`pooled`, `early`, `middle`: Σ_g rᵀ(f_g/scale − μ)/G, signed, exact because x is the mean of the f_g.

        `grid`: the energy of the residual in each cell. `logits`: None.
        """
        if self.output == "logits":
            return None
        if self.output == "grid":
            return cell_energy(residual, self.grid)
        from interpdisc_core.representations import _layers

        return _layers.split_score(_load_network(self.output, 7, cells=True), image, residual, mean, scale)


@lru_cache(maxsize=4)
def _load_network(output: str, grid: int, *, cells: bool = False) -> Any:
    """The output that the settings name; with `cells`, the features that it is the mean of, (n, d, gy, gx)."""
    import torch
    from torch.nn import functional as F

    from interpdisc_core.representations import _efficientnet_lite0

    backbone = _efficientnet_lite0.build_lite0()

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.head, self.classify = (
                backbone.features[: _BLOCKS.get(output, -1)],
                backbone.features[-1],
                backbone.classifier,
            )

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.apply_head(self.blocks((images - 127.0) / 128.0))

        def apply_head(self, last: torch.Tensor) -> torch.Tensor:
            if output == "grid":
                grid_means = F.adaptive_avg_pool2d(last, grid)
                return grid_means.permute(0, 2, 3, 1).flatten(1)
            features = last if output in ("early", "middle") else self.head(last)
            if cells:
                return features
            means = features.mean((2, 3))
            return self.classify(means) if output == "logits" else means

        def forward_with_stages(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
            """Features, and the activations at 1/4, 1/8, 1/16 and 1/32 of the input's side, up to the output's layer."""
            activations, stages = (images - 127.0) / 128.0, []
            for number, block in enumerate(self.blocks):
                activations = block(activations)
                if number in (2, 3, 5, 7):
                    stages.append(activations)
            return self.apply_head(activations), stages

    return Layer().eval()
