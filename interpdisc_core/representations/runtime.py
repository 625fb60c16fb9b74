"""How a torch network is run forward: ONNX Runtime on a CPU (several times faster there), PyTorch on a GPU.

The network is exported once for a representation and kept in the user's cache folder; a fresh export is compared
with PyTorch on fixed images and is used only if it agrees.
"""

import logging
import os
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from interpdisc_core import digest
from interpdisc_core.images import Pixels
from interpdisc_core.representations.weights import content_of, named

log = logging.getLogger(__name__)

AGREEMENT = 1e-4
"""Largest difference between ONNX Runtime and PyTorch, relative to the largest feature, at which the export is used."""


@lru_cache(maxsize=2)
def embedder(spec: Any, device: str = "auto") -> Any:
    """The function (n, side, side, 3) uint8 -> (n, d) float32 of a representation that has a `network()`.

    Loaded once a process. Features from a GPU differ from a CPU's in the last bits.
    """
    import torch

    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return _Torch(spec.network(), "cuda")
    exported = _exported(spec)
    return _Torch(spec.network(), "cpu") if exported is None else _Onnx(exported)


def describe(embed: Any) -> str:
    """What runs the network, for the record."""
    return getattr(embed, "runtime", "numpy")


class _Torch:
    def __init__(self, network: Any, device: str) -> None:
        import torch

        self.network, self.device = network.to(device, memory_format=torch.channels_last), device
        self.runtime = f"torch {torch.__version__} {device}"

    def __call__(self, images: Pixels) -> npt.NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
            features: npt.NDArray[np.float32] = self.network(batch).float().cpu().numpy()
        return features


class _Onnx:
    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # A Dask worker of one thread gets one; a lone process gets every core.
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.runtime = f"onnxruntime {onnxruntime.__version__} cpu"

    def __call__(self, images: Pixels) -> npt.NDArray[np.float32]:
        features: npt.NDArray[np.float32] = self.session.run(None, {"images": images})[0]
        return features


def _exported(spec: Any) -> Path | None:
    """The path of the representation's ONNX file, made if need be; None where it cannot be made or does not agree."""
    import platformdirs

    settings, content = digest.of_settings(named(spec)), content_of(spec)
    name = digest.of_json([settings, content, version("torch"), version("onnxruntime"), AGREEMENT])
    path = Path(platformdirs.user_cache_dir("interpdisc"), "onnx", f"{spec.kind}-{name}.onnx")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several workers may export at once: each writes its own file, the last rename wins, all are the same.
        partial = path.with_name(f"{path.name}.{uuid4().hex[:8]}.partial")
        try:
            _export(spec, partial)
            gap = _disagreement(spec, partial)
            if gap > AGREEMENT:
                log.warning("ONNX Runtime differs from PyTorch by %.1e for %s: using PyTorch", gap, spec.kind)
                return None
            log.info("exported %s to ONNX; largest relative difference from PyTorch %.1e", spec.kind, gap)
            partial.replace(path)
        except Exception as error:  # noqa: BLE001 - an exporter may raise anything; PyTorch is there
            log.warning("%s cannot be exported to ONNX (%s): using PyTorch, which is slower", spec.kind, error)
            return None
        finally:
            partial.unlink(missing_ok=True)
    return path


def _export(spec: Any, path: Path) -> None:
    import contextlib
    import io
    import warnings

    import torch

    class FromBytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = spec.network()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.network(images.permute(0, 3, 1, 2).float())
            return features

    example = torch.zeros((2, spec.side, spec.side, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            FromBytes().eval(),
            (example,),
            path,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes={"images": {0: torch.export.Dim("n")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _disagreement(spec: Any, path: Path) -> float:
    images = np.random.default_rng(0).integers(0, 256, (3, spec.side, spec.side, 3), dtype=np.uint8)
    theirs, ours = _Torch(spec.network(), "cpu")(images), _Onnx(path)(images)
    return float(np.abs(theirs - ours).max() / max(np.abs(theirs).max(), 1e-30))
