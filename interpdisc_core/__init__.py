"""Novelty detection in image collections, with explanations.

This is the public API; everything in it is loaded when it is first used, so that importing the package is quick and
needs no neural-network library.

| to say what to compute | `Plan`, `Daily`, `Study`, `Recipe` |
|---|---|
| representations | `EfficientNetLite0`, `TorchvisionLayer`, `PixelValues`, …; their union `Representation` |
| selectors | `Demud`, `FarthestFirst`, `IsolationForest`, …; their union `Selector` |
| inverters | `UpConv`, `Gradient`, `Refined`; their union `Inverter` |
| stages as functions of arrays | `load_image`, `embed_images`, `select`, `explain` |
| archives on disk | `open_archive`, `Run`, `Memory`, `verify` |
| metrics | `discovery_curve`, `nauc` |
| errors | `InterpdiscError`, `PlanError`, `StoreError`, `WeightsError`, `Unreadable` |

Packages, in the order of the data, each importing only what is above it: `storage`, `metadata`, `sources`, `images`,
`selectors`, `representations`, `inverters`, `metrics`, `archive`, `explanations`, `reporting`, `pipeline`, `training`,
`evaluation`, `operations`.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interpdisc_core.api import ChoiceExplanation, embed_images, explain, load_image, select
    from interpdisc_core.archive.layout import open_or_create_archive as open_archive
    from interpdisc_core.archive.memory import Memory
    from interpdisc_core.archive.run import Run
    from interpdisc_core.errors import InterpdiscError, PlanError, StoreError, Unreadable, WeightsError
    from interpdisc_core.evaluation.study import Study
    from interpdisc_core.inverters import Gradient, Inverter, Refined, UpConv
    from interpdisc_core.metrics.discovery import discovery_curve, nauc
    from interpdisc_core.operations.daily.settings import Daily
    from interpdisc_core.operations.verify import verify_archive as verify
    from interpdisc_core.plan import Plan
    from interpdisc_core.representations import (
        VGG19,
        Crops,
        EfficientNetLite0,
        LearnedNetwork,
        LocalBinaryPatterns,
        MobileNetV2,
        OrientedGradients,
        PixelValues,
        Representation,
        SiftWords,
        SqueezeNet,
        TorchvisionLayer,
    )
    from interpdisc_core.selectors import (
        Autoencoder,
        Choice,
        Demud,
        FarthestFirst,
        IsolationForest,
        LocalRx,
        NearestNeighbours,
        Oracle,
        Prior,
        Rows,
        Rx,
        Selector,
        Shuffle,
    )
    from interpdisc_core.training.recipe import Recipe

    __version__: str

# ONNX Runtime reads it when it is loaded; otherwise it writes a device id and looks up a server of its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_MODULES = {
    "api": ("ChoiceExplanation", "embed_images", "explain", "load_image", "select"),
    "archive.memory": ("Memory",),
    "archive.run": ("Run",),
    "errors": ("InterpdiscError", "PlanError", "StoreError", "Unreadable", "WeightsError"),
    "evaluation.study": ("Study",),
    "inverters": ("Gradient", "Inverter", "Refined", "UpConv"),
    "metrics.discovery": ("discovery_curve", "nauc"),
    "operations.daily.settings": ("Daily",),
    "plan": ("Plan",),
    "representations": (
        "VGG19",
        "Crops",
        "EfficientNetLite0",
        "LearnedNetwork",
        "LocalBinaryPatterns",
        "MobileNetV2",
        "OrientedGradients",
        "PixelValues",
        "Representation",
        "SiftWords",
        "SqueezeNet",
        "TorchvisionLayer",
    ),
    "selectors": (
        "Autoencoder",
        "Choice",
        "Demud",
        "FarthestFirst",
        "IsolationForest",
        "LocalRx",
        "NearestNeighbours",
        "Oracle",
        "Prior",
        "Rows",
        "Rx",
        "Selector",
        "Shuffle",
    ),
    "training.recipe": ("Recipe",),
}
_LOCATIONS = {name: (module, name) for module, names in _MODULES.items() for name in names} | {
    "open_archive": ("archive.layout", "open_or_create_archive"),
    "verify": ("operations.verify", "verify_archive"),
}

__all__ = [
    "VGG19",
    "Autoencoder",
    "Choice",
    "ChoiceExplanation",
    "Crops",
    "Daily",
    "Demud",
    "EfficientNetLite0",
    "FarthestFirst",
    "Gradient",
    "InterpdiscError",
    "Inverter",
    "IsolationForest",
    "LearnedNetwork",
    "LocalBinaryPatterns",
    "LocalRx",
    "Memory",
    "MobileNetV2",
    "NearestNeighbours",
    "Oracle",
    "OrientedGradients",
    "PixelValues",
    "Plan",
    "PlanError",
    "Prior",
    "Recipe",
    "Refined",
    "Representation",
    "Rows",
    "Run",
    "Rx",
    "Selector",
    "Shuffle",
    "SiftWords",
    "SqueezeNet",
    "StoreError",
    "Study",
    "TorchvisionLayer",
    "Unreadable",
    "UpConv",
    "WeightsError",
    "__version__",
    "discovery_curve",
    "embed_images",
    "explain",
    "load_image",
    "nauc",
    "open_archive",
    "select",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from interpdisc_core.provenance import package_version

        return package_version("interpdisc-core")
    if name not in _LOCATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LOCATIONS[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
