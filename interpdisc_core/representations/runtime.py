"""Forward passes of torch networks: by ONNX Runtime on a CPU (several times faster there), by PyTorch on a GPU.

A network is exported once for each representation and kept in the user's cache folder. A new export is compared with
PyTorch on fixed images and is used only if it agrees.
"""

import logging
import os
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from interpdisc_core import digest
from interpdisc_core._types import Float32Array, PixelArray
from interpdisc_core.errors import WeightsError
from interpdisc_core.representations.weights import digest_weights, strip_weights

log = logging.getLogger(__name__)

ONNX_RTOL = 1e-4
"""Largest difference from PyTorch, relative to the largest feature, at which an export is used."""


@lru_cache(maxsize=2)
def load_embedder(spec: Any, device: str = "auto") -> Any:
    """The function (n, side, side, 3) uint8 -> (n, d) float32 of a representation with a `build_network()`.

    Loaded once per process. Features from a GPU differ from a CPU's in the last bits.

    Raises:
        WeightsError: If PyTorch is not installed, or the weights are missing.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise WeightsError(f"{spec.kind} needs PyTorch: install interpdisc-core[torch].") from error

    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return _TorchEmbedder(spec.build_network(), "cuda")
    onnx_path = _find_or_export_onnx(spec)
    return _TorchEmbedder(spec.build_network(), "cpu") if onnx_path is None else _OnnxEmbedder(onnx_path)


def describe_runtime(embed: Any) -> str:
    """Library, version and device that run a function of `load`, for the record."""
    return getattr(embed, "runtime", "numpy")


class _TorchEmbedder:
    def __init__(self, network: Any, device: str) -> None:
        import torch

        self.network, self.device = network.to(device, memory_format=torch.channels_last), device
        self.runtime = f"torch {torch.__version__} {device}"

    def __call__(self, images: PixelArray) -> Float32Array:
        import torch

        with torch.inference_mode():
            minibatch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
            features: Float32Array = self.network(minibatch).float().cpu().numpy()
        return features


class _OnnxEmbedder:
    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # A Dask worker of one thread gets one; a lone process gets every core.
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.runtime = f"onnxruntime {onnxruntime.__version__} cpu"

    def __call__(self, images: PixelArray) -> Float32Array:
        features: Float32Array = self.session.run(None, {"images": images})[0]
        return features


def _find_or_export_onnx(spec: Any) -> Path | None:
    """The path of the representation's ONNX file, exported if needed; None if the export fails or does not agree."""
    import platformdirs

    settings, content = digest.digest_settings(strip_weights(spec)), digest_weights(spec)
    name = digest.digest_json([settings, content, version("torch"), version("onnxruntime"), ONNX_RTOL])
    path = Path(platformdirs.user_cache_dir("interpdisc"), "onnx", f"{spec.kind}-{name}.onnx")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several workers may export at once: each writes its own file, the last rename wins, all are equal.
        partial = path.with_name(f"{path.name}.{uuid4().hex[:8]}.partial")
        try:
            _export_onnx(spec, partial)
            gap = _compare_with_torch(spec, partial)
            if gap > ONNX_RTOL:
                log.warning("ONNX Runtime differs from PyTorch by %.1e for %s: using PyTorch", gap, spec.kind)
                return None
            log.info("exported %s to ONNX; largest relative difference from PyTorch %.1e", spec.kind, gap)
            partial.replace(path)
        except WeightsError:
            raise  # PyTorch would need the same weights
        except Exception as error:  # noqa: BLE001 - an exporter may raise anything, and PyTorch can do it
            log.warning("%s cannot be exported to ONNX (%s): using PyTorch, which is slower", spec.kind, error)
            return None
        finally:
            partial.unlink(missing_ok=True)
    return path


def _export_onnx(spec: Any, path: Path) -> None:
    import contextlib
    import io
    import warnings

    import torch

    class FromBytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = spec.build_network()

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


def _compare_with_torch(spec: Any, path: Path) -> float:
    images = np.random.default_rng(0).integers(0, 256, (3, spec.side, spec.side, 3), dtype=np.uint8)
    theirs, ours = _TorchEmbedder(spec.build_network(), "cpu")(images), _OnnxEmbedder(path)(images)
    return float(np.abs(theirs - ours).max() / max(np.abs(theirs).max(), 1e-30))
