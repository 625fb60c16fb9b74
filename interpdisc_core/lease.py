"""One at a time writes an archive: a lock with an owner and an expiry, in the archive itself.

    with held("s3://bucket/archive", owner="daily") as lease:
        ...
        lease.check()       # before something that must not happen twice

`lock.json` names the owner and until when; a thread renews it. A process that is killed leaves it behind: on its own machine
that is seen at once, and in a local folder the system tells by a second lock, on `.lock`. Elsewhere it is taken over `SKEW`
seconds after it expired. Clocks may differ by `SKEW`. Within `with held`, further `held` of the same archive are
the same lease, so flows and commands may take it without knowing of each other; other threads and processes are refused.
"""

import contextlib
import getpass
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType

from interpdisc_core import processes
from interpdisc_core.claims import Claim, Holder
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.storage import Place, storage_failure
from interpdisc_core.swapping import slot

log = logging.getLogger(__name__)

LOCK = "lock.json"
_SETTLE = 0.3
"""Seconds after which who took a lock looks again where no system lock tells: a store without conditions lets two in."""
_FLOCK_S = 0.5
"""Seconds for which a folder's system lock is tried: others may just be looking."""
_MINE: ContextVar[dict[str, "Lease"]] = ContextVar("leases", default={})  # noqa: B039 - never changed, only replaced
_TOKENS: set[str] = set()
"""Of this process's own leases: another with this process's number is one that could not be given back."""


class Lease:
    """A lock that is held. archive: of what; owner: who, for people."""

    def __init__(self, archive: str, what: str, claim: Claim) -> None:
        self.archive, self.what, self.owner = archive, what, claim.me.owner
        self._claim, self._turn = claim, threading.Lock()

    @property
    def until(self) -> float:
        """When it expires unless it is renewed, seconds since 1970."""
        return self._claim.me.until

    def check(self) -> None:
        """Raises StoreError where it is not ours any more: somebody took it over, and nothing more may be written."""
        with self._turn:
            if not self._claim.lost and self._claim.expired():
                self._claim.renew()  # whoever was asleep may go on if nobody came in between
            if self._claim.lost:
                raise StoreError(self._lost())

    def _renew(self) -> None:
        with self._turn:
            self._claim.renew()

    def _give_back(self) -> bool:
        with self._turn:
            return self._claim.give_back()

    def _lost(self) -> str:
        return (
            f"{self.archive}: this run has lost the lock of the {self.what} to {self._claim.lost!s}, so it stops; the same "
            "command goes on when that is over."
        )


class held:
    """Holds an archive, or a folder of products, while it is open; the `Lease` is what it gives.

    what: the address is, for people. owner: what does it, e.g. the flow's name. seconds: until it expires unless it
    is renewed, which happens four times as often. wait_s: how long to wait for whoever has it. Raises PlanError that
    says who has it and until when, StoreError where no lock can be written, and where at the end it was lost.
    """

    def __init__(
        self, archive_url: str, what: str = "archive", owner: str = "", seconds: float = 120.0, wait_s: float = 0.0
    ) -> None:  # fmt: skip
        self.place, self.what, self.owner, self.seconds, self.wait_s = (
            Place.of(archive_url),
            what,
            owner,
            seconds,
            wait_s,
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Lease:
        url = self.place.url
        if mine := _MINE.get().get(url):
            mine.check()
            return mine
        with contextlib.ExitStack() as stack:
            lease = self._taken(stack)
            entered: Token[dict[str, Lease]] = _MINE.set(_MINE.get() | {url: lease})
            stack.callback(_leave, entered)
            self._stack = stack.pop_all()
        return lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _taken(self, stack: contextlib.ExitStack) -> Lease:
        deadline = time.monotonic() + self.wait_s
        while True:
            with contextlib.ExitStack() as trying:
                holder = self._tried(trying)
                if isinstance(holder, Lease):
                    stack.push(trying.pop_all())
                    return holder
            if time.monotonic() >= deadline:
                raise PlanError(_refusal(self.place, self.what, holder))
            time.sleep(min(0.5, max(deadline - time.monotonic(), 0.05)))

    def _tried(self, stack: contextlib.ExitStack) -> Lease | Holder | None:
        """The lease, with what gives it back on the stack; else who has it, None where that is not known."""
        locked = _flocked(self.place, stack, exclusive=True)
        if locked is False:
            return _noted(self.place)
        claim = Claim(slot(self.place, LOCK), _me(self.owner), self.seconds, time.time, _dead(sure=locked is True))
        _TOKENS.add(claim.me.token)
        stack.callback(_TOKENS.discard, claim.me.token)
        with _told(self.place):
            if holder := claim.take():
                return holder
            if not locked or claim.elsewhere:
                time.sleep(_SETTLE)
                if holder := claim.taken_over():
                    return holder
        lease = Lease(self.place.url, self.what, claim)
        over = threading.Event()
        stack.enter_context(_Ending(lease, over))
        threading.Thread(target=_renewing, args=(lease, over, self.seconds / 4), daemon=True).start()
        return lease


def refuse_if_held(archive_url: str, what: str = "archive") -> None:
    """Raises PlanError where somebody else holds it now, as `held` would; takes nothing.

    For who wants to know before a long beginning. Raises StoreError where no lock could be written.
    """
    place = Place.of(archive_url)
    if place.url in _MINE.get():
        return
    with contextlib.ExitStack() as stack, _told(place):
        locked = _flocked(place, stack, exclusive=False)
        if locked is False:
            raise PlanError(_refusal(place, what, _noted(place)))
        if holder := Claim(slot(place, LOCK), _me(""), 0, time.time, _dead(sure=locked is True)).holder():
            raise PlanError(_refusal(place, what, holder))


class _Ending:
    """Stops the renewal and gives the lock back; tells where it was lost meanwhile."""

    def __init__(self, lease: Lease, over: threading.Event) -> None:
        self.lease, self.over = lease, over

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        self.over.set()
        try:
            ours = self.lease._give_back()
        except StoreError as failure:
            log.warning("%s: its lock could not be given back; it expires by itself: %s", self.lease.archive, failure)
            return
        if ours:
            return
        if kind is None:
            raise StoreError(self.lease._lost())
        log.warning("%s", self.lease._lost())


def _renewing(lease: Lease, over: threading.Event, every: float) -> None:
    while not over.wait(every):
        try:
            lease._renew()
        except StoreError as error:
            log.warning("%s: its lock could not be renewed: %s", lease.archive, error)  # there is another try
        except Exception:
            log.exception("%s: its lock could not be renewed", lease.archive)
        if lease._claim.lost:
            log.error("%s", lease._lost())
            return


def _leave(entered: "Token[dict[str, Lease]]") -> None:
    with contextlib.suppress(ValueError):  # a generator that is closed elsewhere leaves another context
        _MINE.reset(entered)


def _refusal(place: Place, what: str, holder: Holder | None) -> str:
    who = f" ({holder!s})" if holder else ""
    return f"{place.url}: another run is writing this {what}{who}; wait for it, or name another."


class _told:
    """Puts the archive's address before what a claim says."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StoreError) and not str(error).startswith(self.place.url):
            raise StoreError(f"{self.place.url}: {error}") from error


def _noted(place: Place) -> Holder | None:
    """Who a local folder's file names, for people; the system has told already that it is held."""
    with contextlib.suppress(StoreError):
        if (found := slot(place, LOCK).read()) and (holder := Holder.unpacked(found.data)) and not holder.over:
            return holder
    return None


# ------------------------------------------------------------------------------------------------ this machine


def _flocked(place: Place, stack: contextlib.ExitStack, *, exclusive: bool) -> bool | None:
    """Whether we have the system's lock of a local folder, which ends with the process.

    None where there is no such thing: in an object store, and in file systems that know no locks.
    """
    if place.remote:
        return None
    import fcntl

    try:
        os.makedirs(place.url, exist_ok=True)
        file = open(os.path.join(place.url, ".lock"), "a")  # noqa: SIM115 - it is open for as long as the lock is held
        stack.callback(file.close)
    except OSError as error:
        raise storage_failure(place.url, error) from error
    deadline = time.monotonic() + _FLOCK_S
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        except OSError:
            return None


def _me(owner: str) -> Holder:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = str(os.getuid())
    this = processes.this()
    name = f"{user}@{socket.gethostname()} process {this.number}"
    return Holder(
        owner=f"{owner}, {name}" if owner else name, token=uuid.uuid4().hex, taken=0.0, until=0.0,
        machine=this.machine, space=this.space, process=this.number, started=this.started,
    )  # fmt: skip


def _dead(*, sure: bool) -> Callable[[Holder], bool]:
    """What tells whether a holder is known to live no more. sure: we have the system's lock, so none of this machine does."""
    this = processes.this()

    def dead(holder: Holder) -> bool:
        process = processes.Process(holder.machine, holder.space, holder.process, holder.started)
        if process == this:
            return holder.token not in _TOKENS
        return process.ended or (sure and holder.machine == this.machine)

    return dead
