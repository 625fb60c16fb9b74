"""Any layer of any torchvision classification network, by name."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError, WeightsError
from interpdisc_core.images import Pixels
from interpdisc_core.representations.cropped import Cropped


@dataclass(frozen=True, kw_only=True)
class TorchvisionLayer(Cropped):
    """The output of one named layer. The default is AlexNet's fc7 before its ReLU, as in the paper.

    AlexNet: fc6 is `classifier.1`, fc7 `classifier.4`, fc8 `classifier.6`; all are taken before the ReLU.

    network, layer: as torchvision names them (`named_modules()`). weights: a member of the network's weights
    enumeration (`IMAGENET1K_V1`, fetched by torchvision where there is a connection), the path of a file with the
    network's state dict, or `random` (seeded; for tests and controls). pool: what becomes of a convolution's
    output: its `mean` over the image, or `flatten`. resize, crop: pixels, short side and central square.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["torchvision"] = "torchvision"
    architecture: str = "alexnet"
    layer: str = "classifier.4"
    weights: str = "IMAGENET1K_V1"
    pool: Literal["mean", "flatten"] = "mean"
    resize: int = 256
    crop: int = 224

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise PlanError(f"torchvision: crop ({self.crop}) must be between 1 and resize ({self.resize}) pixels.")

    @property
    def cut(self) -> tuple[int, int]:
        """See `Cropped.cut`."""
        return self.crop, self.resize

    def network(self) -> Any:
        """See `Represents.network`. Raises WeightsError where there are no weights, PlanError for an unknown layer."""
        return _network(self)

    @property
    def manner(self) -> None:
        """See `Represents.manner`."""
        return None

    def where(
        self, image: Pixels, residual: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], scale: float
    ) -> npt.NDArray[np.float64] | None:
        """None: a fully connected layer mixes places, so its score does not split exactly."""
        return None


@lru_cache(maxsize=2)
def _network(spec: TorchvisionLayer) -> Any:
    import torch
    from torch import nn
    from torchvision import models

    from interpdisc_core.representations._layers import Normalised

    known = models.list_models(module=models)
    if spec.architecture not in known:
        raise PlanError(
            f"torchvision has no classification network {spec.architecture!r}; it has {', '.join(known[:8])}, …"
        )
    torch.manual_seed(0)
    whole = models.get_model(spec.architecture, weights=None)
    if spec.weights != "random":
        state = _state(spec)
        try:
            whole.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise WeightsError(
                f"{spec.weights} does not fit {spec.architecture}: {str(error).splitlines()[0]}"
            ) from error
    whole.requires_grad_(False).eval()
    layers = dict(whole.named_modules())
    if spec.layer not in layers or not spec.layer:
        raise PlanError(
            f"{spec.architecture} has no layer {spec.layer!r}; among its last are {', '.join(list(layers)[-6:])}."
        )
    # An in-place ReLU after the layer would overwrite the output that we are to keep: fc6 would be post-ReLU.
    for module in layers.values():
        if hasattr(module, "inplace"):
            module.inplace = False

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole, self.normalised = whole, Normalised()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            kept: list[torch.Tensor] = []
            handle = layers[spec.layer].register_forward_hook(lambda _m, _i, output: kept.append(output))
            try:
                self.whole(self.normalised(images))
            finally:
                handle.remove()
            features = kept[-1]
            if features.ndim == 4 and spec.pool == "mean":
                features = features.mean((2, 3))
            return features.flatten(1)

    return Layer().eval()


def _state(spec: TorchvisionLayer) -> Any:
    import torch
    from torchvision import models

    if (path := Path(spec.weights)).suffix or path.exists():
        if not path.is_file():
            raise WeightsError(f"no weights file at {path}; give the path of {spec.architecture}'s state dict.")
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    choices = models.get_model_weights(spec.architecture)
    if spec.weights not in choices.__members__:
        raise WeightsError(
            f"{spec.architecture} has no weights {spec.weights!r}; it has {', '.join(choices.__members__)}."
        )
    try:
        return choices[spec.weights].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise WeightsError(
            f"the weights {spec.weights} of {spec.architecture} are not on this machine and could not be fetched "
            f"({error}); fetch them where there is a connection and give the file's path as `weights`."
        ) from error
