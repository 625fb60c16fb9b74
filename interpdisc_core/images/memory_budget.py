"""Memory for decoding large images: told from the header beforehand, and shared by the processes of one machine.

A small file can hold a large image: a PNG of 688 kB took 3.8 GB. So what a decoder will need is estimated from the header.
More than the budget is refused; what fits is reserved, so that the images that are decoded at the same time, in all threads
and processes of this user on this machine, stay within the budget together.

A reservation is a number of locked files. The kernel releases them when a process ends, however it ends.
"""

import contextlib
import fcntl
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image

from interpdisc_core.errors import Unreadable

MEMORY_VARIABLE = "INTERPDISC_DECODE_MEMORY"
"""Environment variable with the budget in MB (10⁶ bytes)."""
UNRESERVED_BYTES = 64 << 20
"""An image that needs less is decoded without a reservation: rovers' frames, at most 9 million pixels of a PNG."""
_MACHINE_SHARE = 3
"""The budget is this part of the machine's memory (or of its container's) by default."""
_FALLBACK_MACHINE_BYTES = 8 << 30
_SLOTS = 16
_POLL_S = 0.02
_STRIP_BYTES = 32 << 20
"""Of the strip of an image that is being converted."""

_STORED_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes per pixel of an image in Pillow's memory, by mode; 4 for all others, RGB too."""
_EXTRA_BYTES = {"WEBP": 12, "GIF": 8, "BMP": 1}
"""Bytes per pixel of a decoder's own buffers, by format."""


def get_decode_budget() -> int:
    """The bytes that decoding may take on this machine: of `INTERPDISC_DECODE_MEMORY`, or a third of its memory."""
    value = os.environ.get(MEMORY_VARIABLE, "")
    return int(value) * 10**6 if value.isdecimal() and int(value) else find_machine_bytes() // _MACHINE_SHARE


@lru_cache(maxsize=1)
def find_machine_bytes() -> int:
    """The memory of this machine, or of the container if that has less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0]
    folders = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            root = Path("/sys/fs/cgroup", "memory" if "memory" in controllers.split(",") else "")
            if not controllers or "memory" in controllers.split(","):
                folder = root / path.lstrip("/")
                folders += [folder, *folder.parents]  # a limit of a group holds for the groups in it
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # ValueError: "max", which is no limit
                limits.append(int((folder / name).read_text()))
    return min((limit for limit in limits if limit > 0), default=_FALLBACK_MACHINE_BYTES)


def estimate_pillow_bytes(image: Image.Image, full_size: tuple[int, int], output_pixels: int, is_turned: bool) -> int:
    """Memory that decoding an opened image and converting it to RGB takes at its peak.

    Args:
        image: Opened, not loaded; in the size and mode of its draft.
        full_size: Width and height as stored.
        output_pixels: Of the (h, w, 3) result.
        is_turned: Whether an EXIF orientation is applied.
    """
    pixels, stored_bytes = image.width * image.height, _STORED_BYTES.get(image.mode, 4)
    loaded_bytes = pixels * stored_bytes
    decoder_bytes = pixels * _EXTRA_BYTES.get(image.format or "", 0)
    if image.format == "JPEG" and image.info.get("progressive"):
        # The coefficients of all components, at full scale whatever the draft.
        decoder_bytes = 2 * getattr(image, "layers", 3) * full_size[0] * full_size[1]
    elif image.format == "TIFF":
        # A strip may be the whole image; Pillow turns a TIFF itself, into a copy.
        decoder_bytes = loaded_bytes * (2 if is_turned else 1)
    return loaded_bytes + decoder_bytes + 3 * output_pixels * (2 if is_turned else 1) + _STRIP_BYTES


def check_budget(needed_bytes: int, budget_bytes: int) -> None:
    """Check that an image can be decoded at all.

    Raises:
        Unreadable: If not; says what to set.
    """
    if needed_bytes > budget_bytes:
        raise Unreadable(
            f"decoding it takes {-(-needed_bytes // 10**6)} MB, and the budget is {budget_bytes // 10**6} MB: on a machine "
            f"with more memory, set {MEMORY_VARIABLE} (in MB)"
        )


def has_room_now(reason: str) -> bool:
    """Whether `reason` is that of `check_budget`, and today's budget is enough."""
    match = re.match(r"decoding it takes (\d+) MB, and the budget is \d+ MB", reason)
    return bool(match) and int(match[1]) * 10**6 <= get_decode_budget()  # type: ignore[index]


@contextlib.contextmanager
def reserve_memory(needed_bytes: int, budget_bytes: int, folder: Path | None = None) -> Iterator[None]:
    """Wait until `needed_bytes` of the budget are free, and hold them.

    Args:
        needed_bytes: Less than `UNRESERVED_BYTES` is not reserved; more than the budget is all of it.
        budget_bytes: Of all processes together.
        folder: Where the locks are; None: a folder of this user for this machine.
    """
    if needed_bytes < UNRESERVED_BYTES:
        yield
        return
    slots = min(-(-needed_bytes * _SLOTS // max(budget_bytes, 1)), _SLOTS)
    with contextlib.ExitStack() as stack:
        try:
            _lock_slots(folder or _open_lock_folder(), slots, stack)
        except OSError:  # no folder for locks: one large image at a time in this process
            stack.enter_context(_process_lock)
        yield


_process_lock = threading.Lock()


def _reset_after_fork() -> None:
    global _process_lock
    _process_lock = threading.Lock()


os.register_at_fork(after_in_child=_reset_after_fork)


def _open_lock_folder() -> Path:
    folder = Path(tempfile.gettempdir(), f"interpdisc-{os.getuid()}-decode")
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or folder.is_symlink():
        raise OSError(f"{folder} belongs to another user")
    return folder


def _lock_slots(folder: Path, count: int, stack: contextlib.ExitStack) -> None:
    """Lock `count` of the slots. Only one process at a time waits for slots, so that none holds some and waits for ever."""
    with _lock_file(folder / "gate", fcntl.LOCK_EX):
        held: set[int] = set()
        while len(held) < count:
            for slot in range(_SLOTS):
                if slot not in held and len(held) < count:
                    with contextlib.suppress(BlockingIOError):
                        stack.enter_context(_lock_file(folder / f"slot-{slot}", fcntl.LOCK_EX | fcntl.LOCK_NB))
                        held.add(slot)
            if len(held) < count:
                time.sleep(_POLL_S)


@contextlib.contextmanager
def _lock_file(path: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
