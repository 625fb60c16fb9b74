"""Quantized copies on a PyTorch device, such as a GPU. Bounds stay valid, so the picks are those of NumPy.

Products are computed in float64 and rounded to float32 once. Products in float32 depend on settings of the whole process
(TF32, bfloat16), which any thread may change at any time; those in float64 do not, and the products here are small.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import AnyArray, FloatArray, IndexArray
from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.exact.quantized_rows import CopyBits, QuantizedRows

if TYPE_CHECKING:
    import torch


def resolve_device(device: str) -> "torch.device | None":
    """The PyTorch device of a name: `cuda`, `cuda:1` … or `torch:cpu`; None for `cpu`, which means NumPy.

    Raises:
        PlanError: If there is no such device, or PyTorch is not installed.
    """
    if device == "cpu":
        return None
    if not re.fullmatch(r"cuda(:\d+)?|torch:cpu", device):
        raise PlanError(f"device must be cpu, cuda, cuda:0, cuda:1 … or torch:cpu, not {device!r}.")
    try:
        import torch
    except ImportError as error:
        raise PlanError(
            f"device {device} needs PyTorch, which is not installed: pip install 'interpdisc[torch]'."
        ) from error
    torch_device = torch.device(device.removeprefix("torch:"))
    device_count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if torch_device.type == "cuda" and (torch_device.index or 0) >= device_count:
        raise PlanError(f"there is no device {device} here: PyTorch sees {device_count} CUDA devices; use device cpu.")
    return torch_device


def allocate_quantized(
    count: int, center: FloatArray, copy_bits: CopyBits, in_file: bool, device: str = "cpu"
) -> QuantizedRows:
    """Space for copies of `count` rows about `center` (d,); see `QuantizedRows.allocate`. in_file: ignored unless on `cpu`.

    Raises:
        PlanError: As `resolve_device` does, or if the device has not enough memory.
    """
    torch_device = resolve_device(device)
    if torch_device is None:
        return QuantizedRows.allocate(count, center, copy_bits, in_file)
    import torch

    step_dtype = torch.int16 if copy_bits == 16 else torch.int8
    try:
        steps = torch.empty((count, len(center)), dtype=step_dtype, device=torch_device)
    except torch.OutOfMemoryError as error:
        size = count * len(center) * copy_bits / 8 / 2**30
        raise PlanError(f"device {device} has no room for copies of {count} rows ({size:.1f} GiB): use cpu.") from error
    scale, norm, error_bound, radius = np.zeros((4, count))
    return _DeviceQuantizedRows(center, steps, scale, norm, error_bound, radius, np.zeros(count, dtype=bool))


@dataclass
class _DeviceQuantizedRows(QuantizedRows):
    """`steps` (n, d) is a tensor on the device; all else is NumPy in memory."""

    steps: Any

    def quantize(self, target: slice, values: AnyArray) -> None:
        """See `QuantizedRows`. Rows are quantized by NumPy, so that the copies have the same bits, and sent."""
        host_copy = QuantizedRows.allocate(
            len(values), self.center, 16 if self.steps.element_size() == 2 else 8, in_file=False
        )
        host_copy.quantize(slice(0, len(values)), values)
        self.steps[target] = self._to_device(host_copy.steps)
        self.scale[target], self.norm[target], self.error_bound[target] = (
            host_copy.scale,
            host_copy.norm,
            host_copy.error_bound,
        )
        self.radius[target], self.has_missing[target] = host_copy.radius, host_copy.has_missing

    def read_steps(self, rows: IndexArray, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """See `QuantizedRows`."""
        steps: npt.NDArray[Any] = self.steps.index_select(0, self._to_device(rows)).cpu().numpy().astype(dtype)
        return steps

    def multiply(self, rows: IndexArray, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """See `QuantizedRows`."""
        steps = self.steps.index_select(0, self._to_device(rows)).double()
        product: npt.NDArray[np.float32] = (steps @ self._to_device(matrix).double().T).float().cpu().numpy()
        return product

    def _to_device(self, array: npt.NDArray[Any]) -> "torch.Tensor":
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.steps.device)
