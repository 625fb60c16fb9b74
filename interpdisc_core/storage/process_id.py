"""The identity of a process across machines and containers, and whether another process still runs."""

import os
import uuid
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from interpdisc_core import digest


class ProcessId(NamedTuple):
    """A process.

    Attributes:
        machine: Identifies the machine and its boot.
        pid_namespace: The namespace in which `pid` is valid; each container has its own.
        start_time: Tells the process from a later one with the same number; empty if unknown.
    """

    machine: str
    pid_namespace: str
    pid: int
    start_time: str

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended. False for a process of another machine or container."""
        machine, pid_namespace = _read_machine()
        if (self.machine, self.pid_namespace) != (machine, pid_namespace):
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:
            return False
        state, start_time = _read_process_stat(self.pid)
        return state in ("Z", "X") or ("" not in (start_time, self.start_time) and start_time != self.start_time)


def get_current_process() -> ProcessId:
    """The identity of this process."""
    return ProcessId(*_read_machine(), os.getpid(), _read_process_stat(os.getpid())[1])


@lru_cache(maxsize=1)
def _read_machine() -> tuple[str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return digest.digest_bytes(boot.encode())[:16], os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{uuid.getnode():x}", ""


def _read_process_stat(pid: int) -> tuple[str, str]:
    """The state of a process (one letter) and its start time, each empty if unknown."""
    try:
        stat_fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return stat_fields[0], stat_fields[19]
    except (OSError, IndexError):
        return "", ""
