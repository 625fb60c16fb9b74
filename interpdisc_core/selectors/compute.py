"""How a selection is computed: threads, memory, device. No pick depends on it."""

from dataclasses import dataclass

from interpdisc_core.selectors.exact.device import resolve_device
from interpdisc_core.selectors.exact.quantized_rows import CopyBits
from interpdisc_core.selectors.exact.shard_pool import ShardPool


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """How a selection is computed; its picks do not depend on it, to the bit.

    Attributes:
        threads: Threads that score rows.
        copy_bits: Bits per value of the rows' quantized copies, 16 or 8. Fewer bits take less memory and cost more reads.
        max_copy_bytes: Bytes of copies kept in memory; larger copies are kept in a temporary file.
        shard_pool: Holds the copies elsewhere, such as on a cluster; it must be of the same rows. None: in this process.
        device: Holds the copies and multiplies them: `cpu` (NumPy), or by PyTorch `cuda`, `cuda:1` … or `torch:cpu`. All
            copies must fit into its memory.

    Raises:
        PlanError: If the device is not available here, unless a shard pool is to use it.
    """

    threads: int = 1
    copy_bits: CopyBits = 16
    max_copy_bytes: int = 3 << 30
    shard_pool: ShardPool | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.shard_pool is None:
            resolve_device(self.device)
