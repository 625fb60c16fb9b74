"""Who may write: a claim on one small file that is swapped, with an owner and an expiry, step by step.

A claim is taken for some seconds and renewed well before they are over. Only when the clock of who wants it is `SKEW` past
the expiry that its holder wrote is it taken over, so two never hold it while clocks differ by no more than that. A
holder whose time is over by its own clock holds nothing until it has renewed, and it can only renew what is still its own.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from interpdisc_core.errors import StoreError
from interpdisc_core.swapping import Slot

SKEW = 30.0
"""Seconds by which the clocks of two machines that write one archive may differ."""
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a claim, or held it. owner: for people. token: of this one holding. taken, until: seconds since 1970.

    machine, space, process, started: what tells its own machine whether the process lives. over: it was given back.
    """

    owner: str
    token: str
    taken: float
    until: float
    machine: str = ""
    space: str = ""
    process: int = 0
    started: str = ""
    over: bool = False

    def packed(self) -> bytes:
        """As a file, with times that people can read."""
        told = asdict(self) | {"taken": _said(self.taken), "until": _said(self.until)}
        return json.dumps(told, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def unpacked(cls, data: bytes) -> "Holder | None":
        """What was packed; None for anything else."""
        try:
            told = json.loads(data)
            owner, token, *process = (
                str(told[name])[:_LONGEST] for name in ("owner", "token", "machine", "space", "started")
            )
            taken, until = (datetime.fromisoformat(told[name]).timestamp() for name in ("taken", "until"))
            return cls(
                owner=owner, token=token, taken=taken, until=until, machine=process[0], space=process[1],
                process=int(told["process"]), started=process[2], over=told["over"] is True,
            )  # fmt: skip
        except (ValueError, TypeError, KeyError, OverflowError):
            return None

    def __str__(self) -> str:
        return f"{self.owner!a} since {_clock(self.taken)}, until {_clock(self.until)} UTC unless it goes on"


def _said(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def nobody(_holder: Holder) -> bool:
    """No holder is known to be dead."""
    return False


class Claim:
    """One process's claim. `take`, `renew` and `give_back` each read and swap; none of them waits.

    me: whom the file shall name, but for the times. dead: whether a holder is known to live no more, whatever its expiry.
    lost: to whom. elsewhere: the holder before was of another machine.
    """

    def __init__(
        self, slot: Slot, me: Holder, seconds: float, clock: Callable[[], float], dead: Callable[[Holder], bool] = nobody
    ) -> None:  # fmt: skip
        self.slot, self.me, self.seconds, self.clock, self.dead = slot, me, seconds, clock, dead
        self.lost: Holder | str | None = None
        self.elsewhere = False
        self._version: str | None = None

    def holder(self) -> Holder | None:
        """Who else holds it now. Raises StoreError where the file says nothing that can be read."""
        return self._other()[0]

    def take(self) -> Holder | None:
        """Take it; None where that succeeded, else who holds it. Raises StoreError."""
        for _ in range(5):
            holder, version = self._other()
            if holder:
                return holder
            now = self.clock()
            mine = replace(self.me, taken=now, until=now + self.seconds)
            if swapped := self.slot.swap(mine.packed(), version):
                self.me, self._version = mine, swapped
                return None
        raise StoreError("its lock changes all the time; try again.")

    def taken_over(self) -> Holder | None:
        """Who has it although we took it: of two that a store without conditions let in, one. None where we have it."""
        found = self.slot.read()
        there = Holder.unpacked(found.data) if found else None
        if there and there.token != self.me.token:
            self.lost = there
            return there
        return None

    def _other(self) -> tuple[Holder | None, str | None]:
        """Another that holds it now, and the version of what is there."""
        found = self.slot.read()
        if found is None:
            return None, None
        there = Holder.unpacked(found.data)
        if there is None:
            raise StoreError("its lock.json is damaged: make sure that nothing writes it, and remove that file.")
        self.elsewhere = there.machine != self.me.machine
        free = there.over or there.token == self.me.token or self.clock() > there.until + SKEW or self.dead(there)
        return (None if free else there), found.version

    def renew(self) -> bool:
        """Hold it for `seconds` from now; False where it is lost for good. Raises StoreError where it cannot be told."""
        return self._swap_own(lambda now: replace(self.me, until=now + self.seconds))

    def give_back(self) -> bool:
        """Let others have it; False where it was lost before."""
        return self._swap_own(lambda now: replace(self.me, until=now, over=True))

    def _swap_own(self, following: Callable[[float], Holder]) -> bool:
        for _ in range(5):
            if self.lost:
                return False
            mine = following(self.clock())
            if swapped := self.slot.swap(mine.packed(), self._version):
                self.me, self._version = mine, swapped
                return True
            # Not what we wrote last, unless that came in twice: an answer may be lost, and the request sent again.
            found = self.slot.read()
            there = Holder.unpacked(found.data) if found else None
            if found and there and there.token == self.me.token:
                self._version = found.version
            else:
                self.lost = there or "nobody: its lock.json is gone"
        raise StoreError("its lock changes all the time.")

    def expired(self) -> bool:
        """Whether its time is over by our own clock."""
        return self.clock() >= self.me.until
