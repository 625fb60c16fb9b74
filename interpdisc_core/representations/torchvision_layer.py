"""Any layer of any torchvision classification network, by name."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.errors import PlanError, WeightsError, one_line
from interpdisc_core.representations._center_crop import CenterCropRepresentation
from interpdisc_core.settings import settings


@settings
class TorchvisionLayer(CenterCropRepresentation):
    """The output of one named layer. The default is AlexNet's fc7 before its ReLU, as in Wagstaff & Lee 2018.

    AlexNet's fc6 is `classifier.1`, fc7 `classifier.4`, fc8 `classifier.6`; all are taken before the ReLU.

    Attributes:
        architecture: Name of a torchvision classification network.
        layer: Name of one of its layers (`named_modules()`).
        weights: A member of the network's weights enumeration (`IMAGENET1K_V1`, downloaded by torchvision), the path of a
            file with the network's state dict, or `random` (seeded; for tests and controls).
        pool: What becomes of a convolution's output: its `mean` over the image, or `flatten`.
        resize: Pixels of the short side.
        crop: Pixels of the central square.
    """

    kind: Literal["torchvision"] = "torchvision"
    architecture: str = "alexnet"
    layer: str = "classifier.4"
    weights: str = "IMAGENET1K_V1"
    pool: Literal["mean", "flatten"] = "mean"
    resize: int = 256
    crop: Annotated[int, Field(ge=1)] = 224

    def __post_init__(self) -> None:
        if self.crop > self.resize:
            raise PlanError(f"torchvision: crop ({self.crop}) must be at most resize ({self.resize}) pixels.")

    @property
    def crop_sizes(self) -> tuple[int, int]:
        """See `CenterCropRepresentation.crop_sizes`."""
        return self.crop, self.resize

    def build_network(self) -> Any:
        """See `RepresentationLike.build_network`.

        Raises:
            WeightsError: If the weights are missing or do not fit.
            PlanError: If there is no such network or layer.
        """
        return _load_network(self)

    @property
    def attribution_kind(self) -> None:
        """See `RepresentationLike.attribution_kind`."""
        return None

    def attribution_map(
        self, image: PixelArray, residual: FloatArray, mean: FloatArray, scale: float
    ) -> FloatArray | None:
        """None: a fully connected layer mixes positions, so its score does not split exactly."""
        return None


@lru_cache(maxsize=2)
def _load_network(spec: TorchvisionLayer) -> Any:
    import torch
    from torch import nn
    from torchvision import models

    from interpdisc_core.representations._layers import ImageNetNormalization

    architectures = models.list_models(module=models)
    if spec.architecture not in architectures:
        raise PlanError(
            f"torchvision has no classification network {spec.architecture!r}; it has {', '.join(architectures[:8])}, …"
        )
    torch.manual_seed(0)
    network = models.get_model(spec.architecture, weights=None)
    if spec.weights != "random":
        state = _load_state(spec)
        try:
            network.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{spec.weights} does not fit {spec.architecture}: {one_line(error)}.") from error
    network.requires_grad_(False).eval()
    layers = dict(network.named_modules())
    if spec.layer not in layers or not spec.layer:
        raise PlanError(
            f"{spec.architecture} has no layer {spec.layer!r}; among its last are {', '.join(list(layers)[-6:])}."
        )
    # An in-place ReLU after the layer would overwrite its output: fc6 would be taken after the ReLU.
    for module in layers.values():
        if hasattr(module, "inplace"):
            module.inplace = False

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.normalization = network, ImageNetNormalization()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            outputs: list[torch.Tensor] = []
            handle = layers[spec.layer].register_forward_hook(lambda _m, _i, output: outputs.append(output))
            try:
                self.network(self.normalization(images))
            finally:
                handle.remove()
            features = outputs[-1]
            if features.ndim == 4 and spec.pool == "mean":
                features = features.mean((2, 3))
            return features.flatten(1)

    return Layer().eval()


def _load_state(spec: TorchvisionLayer) -> Any:
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
            f"the weights {spec.weights} of {spec.architecture} are not on this machine and could not be downloaded "
            f"({error}); download them elsewhere and give the path of the file as `weights`."
        ) from error
