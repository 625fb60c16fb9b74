"""The protocol of the lock file: an owner and an expiry in one small file that is replaced by compare-and-swap.

A lock is taken for some seconds and renewed well before they end. Another process takes it over only if its own clock is
`MAX_CLOCK_SKEW_S` past the written expiry, so two never hold the lock while clocks differ by no more than that. An owner
whose lock has expired by its own clock does not hold it until it has renewed it, which fails if another took it over.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from interpdisc_core.errors import StoreError
from interpdisc_core.storage.compare_and_swap import VersionedFile

MAX_CLOCK_SKEW_S = 30.0
"""Largest difference in seconds between the clocks of two machines that write to one archive."""
_MAX_FIELD_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOwner:
    """Who holds a lock, or held it last.

    The keys of lock.json are those of version 0.1.0, so that processes of both versions exclude each other.

    Attributes:
        owner: A description for people.
        token: Identifies this acquisition of the lock.
        taken: When it was acquired, in seconds since 1970.
        until: When it expires, in seconds since 1970.
        machine: With `space`, `process` and `started`: the process, see `interpdisc_core.storage.process_id.ProcessId`.
        released: Whether the owner has released it; `over` in lock.json.
    """

    owner: str
    token: str
    taken: float
    until: float
    machine: str = ""
    space: str = ""
    process: int = 0
    started: str = ""
    released: bool = False

    def to_bytes(self) -> bytes:
        """The content of lock.json, with times in ISO 8601."""
        payload = asdict(self) | {"taken": _format_iso(self.taken), "until": _format_iso(self.until)}
        payload["over"] = payload.pop("released")
        return json.dumps(payload, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> "LockOwner | None":
        """The owner in the content of lock.json; None if it is damaged."""
        try:
            payload = json.loads(data)
            owner, token, *process_fields = (
                str(payload[name])[:_MAX_FIELD_CHARS] for name in ("owner", "token", "machine", "space", "started")
            )
            taken_s, until = (datetime.fromisoformat(payload[name]).timestamp() for name in ("taken", "until"))
            return cls(
                owner=owner,
                token=token,
                taken=taken_s,
                until=until,
                machine=process_fields[0],
                space=process_fields[1],
                process=int(payload["process"]),
                started=process_fields[2],
                released=payload["over"] is True,
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            return None

    def __str__(self) -> str:
        return f"{self.owner!a} since {_format_clock(self.taken)}, until {_format_clock(self.until)} UTC unless renewed"


def _format_iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _format_clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def never_dead(_holder: LockOwner) -> bool:
    """The default for `LockFile.is_dead`: no owner is known to have ended."""
    return False


class LockFile:
    """One process's access to a lock file. `acquire`, `renew` and `release` each read and swap; none of them waits.

    Attributes:
        versioned_file: The file.
        identity: The owner that is written; its times are updated.
        duration_s: Seconds from an acquisition or renewal to the expiry.
        clock: Returns the time in seconds since 1970.
        is_dead: Whether an owner's process is known to have ended; then its lock is free before it expires.
        lost_to: Who took the lock over; None while it is not lost.
        is_from_other_machine: Whether the owner before was a process of another machine.
    """

    def __init__(
        self,
        versioned_file: VersionedFile,
        identity: LockOwner,
        duration_s: float,
        clock: Callable[[], float],
        is_dead: Callable[[LockOwner], bool] = never_dead,
    ) -> None:
        self.versioned_file, self.identity, self.duration_s, self.clock, self.is_dead = (
            versioned_file,
            identity,
            duration_s,
            clock,
            is_dead,
        )
        self.lost_to: LockOwner | str | None = None
        self.is_from_other_machine = False
        self._version: str | None = None

    def read_holder(self) -> LockOwner | None:
        """Another owner that holds the lock now, or None.

        Raises:
            StoreError: If the file is damaged or cannot be read.
        """
        return self._read_other()[0]

    def acquire(self) -> LockOwner | None:
        """Acquire the lock. Returns None, or the owner that holds it already.

        Raises:
            StoreError: If the file is damaged, or cannot be read or written.
        """
        for _ in range(5):
            holder, version = self._read_other()
            if holder:
                return holder
            now = self.clock()
            claimed = replace(self.identity, taken=now, until=now + self.duration_s)
            if new_version := self.versioned_file.swap(claimed.to_bytes(), version):
                self.identity, self._version = claimed, new_version
                return None
        raise StoreError("its lock.json changes all the time; try again.")

    def check_takeover(self) -> LockOwner | None:
        """The owner in the file if it is not this one: a store without conditional requests may let two processes in."""
        current = self.versioned_file.read()
        holder = LockOwner.from_bytes(current.data) if current else None
        if holder and holder.token != self.identity.token:
            self.lost_to = holder
            return holder
        return None

    def _read_other(self) -> tuple[LockOwner | None, str | None]:
        """Another owner that holds the lock now, and the version of the file."""
        current = self.versioned_file.read()
        if current is None:
            return None, None
        holder = LockOwner.from_bytes(current.data)
        if holder is None:
            raise StoreError(
                "its lock.json is damaged: make sure that nothing writes it, and run `interpdisc repair`, or remove that file."
            )
        self.is_from_other_machine = holder.machine != self.identity.machine
        is_free = (
            holder.released
            or holder.token == self.identity.token
            or self.clock() > holder.until + MAX_CLOCK_SKEW_S
            or self.is_dead(holder)
        )
        return (None if is_free else holder), current.version

    def renew(self) -> bool:
        """Set the expiry to `duration_s` from now. Returns False if another process has taken the lock over.

        Raises:
            StoreError: If the file cannot be read or written.
        """
        return self._swap_own(lambda now: replace(self.identity, until=now + self.duration_s))

    def release(self) -> bool:
        """Release the lock. Returns False if another process had taken it over."""
        return self._swap_own(lambda now: replace(self.identity, until=now, released=True))

    def _swap_own(self, make_next: Callable[[float], LockOwner]) -> bool:
        for _ in range(5):
            if self.lost_to:
                return False
            next_state = make_next(self.clock())
            if new_version := self.versioned_file.swap(next_state.to_bytes(), self._version):
                self.identity, self._version = next_state, new_version
                return True
            # The version is another one. It may still be ours: if a response is lost, the request is sent again.
            current = self.versioned_file.read()
            holder = LockOwner.from_bytes(current.data) if current else None
            if current and holder and holder.token == self.identity.token:
                self._version = current.version
            else:
                self.lost_to = holder or "nobody: its lock.json was removed"
        raise StoreError("its lock.json changes all the time.")

    def is_expired(self) -> bool:
        """Whether it has expired by this process's clock."""
        return self.clock() >= self.identity.until
