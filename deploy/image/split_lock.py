"""Split pins with hashes into PyTorch's and the others: `python split_lock.py HASHED FOLDER`.

An image without CUDA takes PyTorch from an index of its own, whose files have other hashes.
"""

import re
import sys
from pathlib import Path

_TORCH = re.compile(r"(torch|torchvision|triton|cuda-[a-z-]+|nvidia-[a-z0-9-]+)==")


def split_lock(text: str) -> tuple[str, str]:
    """The pins of `text` with their hashes: all but PyTorch with its CUDA packages, and these."""
    pins = re.split(r"(?m)^(?=[a-z0-9])", text)
    others = "".join(pin for pin in pins if not _TORCH.match(pin))
    return others, "".join(pin for pin in pins if _TORCH.match(pin))


if __name__ == "__main__":
    locks = split_lock(Path(sys.argv[1]).read_text())
    for name, lock in zip(("locked.txt", "locked-torch.txt"), locks, strict=True):
        Path(sys.argv[2], name).write_text(f"# Made by `make lock`, for Python 3.11 on x86-64 Linux.\n{lock}")
