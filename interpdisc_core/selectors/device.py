"""Copies of rows on a device that PyTorch has, such as a GPU. What they answer is NumPy's, and so are the picks.

Products are made in float64 and rounded to float32 once. Those of float32 follow settings of the whole process (TF32,
bfloat16), which any thread may change at any time; those of float64 follow none, and a screen is a small product.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError
from interpdisc_core.selectors.rows import Features, Floats, Index
from interpdisc_core.selectors.sketch import Bits, Sketch

if TYPE_CHECKING:
    import torch


def find(device: str) -> "torch.device | None":
    """The device of that name: `cuda`, `cuda:1` … or `torch:cpu`; None for `cpu`, which is NumPy.

    Raises PlanError where there is no such device, or no PyTorch.
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
    found = torch.device(device.removeprefix("torch:"))
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= there:
        raise PlanError(f"there is no device {device} here: PyTorch sees {there} CUDA devices; use device cpu.")
    return found


def room(count: int, centre: Floats, bits: Bits, scratch: bool, device: str = "cpu") -> Sketch:
    """Space for copies of `count` rows about `centre` (d,). scratch: in a file, which is for `cpu` only.

    Raises PlanError as `find` does, and where a device has not the memory.
    """
    at = find(device)
    if at is None:
        return Sketch.room(count, centre, bits, scratch)
    import torch

    kind = torch.int16 if bits == 16 else torch.int8
    try:
        whole = torch.empty((count, len(centre)), dtype=kind, device=at)
    except torch.OutOfMemoryError as error:
        size = count * len(centre) * bits / 8 / 2**30
        raise PlanError(f"device {device} has no room for copies of {count} rows ({size:.1f} GiB): use cpu.") from error
    scale, size_of, error_of, reach = np.zeros((4, count))
    return _OnDevice(centre, whole, scale, size_of, error_of, reach, np.zeros(count, dtype=bool))


@dataclass
class _OnDevice(Sketch):
    """`whole` (n, d) is a tensor; all else is in memory as ever."""

    whole: Any

    def put(self, at: slice, values: Features) -> None:
        """See `Sketch`. The copies are made here, so that they are the same to the bit, and sent."""
        made = Sketch.room(len(values), self.centre, 16 if self.whole.element_size() == 2 else 8, scratch=False)
        made.put(slice(0, len(values)), values)
        self.whole[at] = self._sent(made.whole)
        self.scale[at], self.size[at], self.error[at] = made.scale, made.size, made.error
        self.reach[at], self.ragged[at] = made.reach, made.ragged

    def about(self, rows: Index, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """See `Sketch`."""
        found: npt.NDArray[Any] = self.whole.index_select(0, self._sent(rows)).cpu().numpy().astype(dtype)
        return found

    def product(self, rows: Index, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """See `Sketch`."""
        steps = self.whole.index_select(0, self._sent(rows)).double()
        found: npt.NDArray[np.float32] = (steps @ self._sent(matrix).double().T).float().cpu().numpy()
        return found

    def _sent(self, array: npt.NDArray[Any]) -> "torch.Tensor":
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.whole.device)
