"""The lock of an archive: one process at a time may write to it.

    with archive_lock("s3://bucket/archive", owner="daily") as lease:
        ...
        lease.check()       # before something that must not happen twice

`lock.json` in the archive names the owner and the expiry; a thread renews it. If a process is killed, its lock stays
behind. On the same machine this is noticed at once; in a local folder the operating system's lock on `.lock` tells, too.
Another machine takes the lock over `MAX_CLOCK_SKEW_S` seconds after it has expired. Within `with archive_lock(…)`, a
further `archive_lock` of the same archive gives the same lease, so a command and the flow that it runs may both take it;
other threads and processes are refused.
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

from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.storage import process_id
from interpdisc_core.storage.compare_and_swap import open_versioned_file
from interpdisc_core.storage.location import Location, make_storage_error
from interpdisc_core.storage.lock_protocol import LockFile, LockOwner

log = logging.getLogger(__name__)

LOCK_FILE = "lock.json"
_SETTLE_S = 0.3
"""Seconds after which a new lock is read again if there is no lock of the operating system: a store without conditional
requests may let two processes in."""
_FLOCK_S = 0.5
"""Seconds for which a folder's system lock is tried: other processes may hold it shortly to check it."""
_HELD_BY_CONTEXT: ContextVar[dict[str, "Lease"]] = ContextVar("leases", default={})  # noqa: B039 - never mutated, only replaced
_TOKENS: set[str] = set()
"""Tokens of this process's leases. Any other lock with this process's identity is one that could not be released."""


class Lease:
    """A lock that is held.

    Attributes:
        archive: URL of the archive or folder.
        resource: What that is, for messages: `archive` or `folder`.
        owner: Who holds it, for people.
    """

    def __init__(self, archive: str, resource: str, lock_file: LockFile) -> None:
        self.archive, self.resource, self.owner = archive, resource, lock_file.identity.owner
        self._lock_file, self._mutex = lock_file, threading.Lock()

    @property
    def expires_at(self) -> float:
        """When it expires unless it is renewed, in seconds since 1970."""
        return self._lock_file.identity.until

    def check(self) -> None:
        """Check that the lock is still held. If not, nothing more may be written.

        Raises:
            StoreError: If another process has taken it over.
        """
        with self._mutex:
            if not self._lock_file.lost_to and self._lock_file.is_expired():
                self._lock_file.renew()  # after a suspension, it is still ours if nobody took it over
            if self._lock_file.lost_to:
                raise StoreError(self._lost_message())

    def _renew(self) -> None:
        with self._mutex:
            self._lock_file.renew()

    def _release(self) -> bool:
        with self._mutex:
            return self._lock_file.release()

    def _lost_message(self) -> str:
        return (
            f"{self.archive}: this run has lost the lock of the {self.resource} to {self._lock_file.lost_to!s}, "
            "so it stops; run the same command again after that to resume."
        )


class archive_lock:
    """A context manager that holds the lock of an archive or of an output folder; its value is the `Lease`.

    Args:
        archive_url: The archive or folder.
        resource: What that is, for messages: `archive` or `folder`.
        owner: What takes the lock, for people, such as the flow's name.
        duration_s: Seconds until the lock expires unless it is renewed, which happens four times as often.
        wait_s: Seconds to wait for another process that holds it.

    Raises:
        PlanError: On entering, if another process holds the lock; says which, and until when.
        StoreError: On entering, if no lock can be written; on leaving, if the lock was lost.
    """

    def __init__(
        self,
        archive_url: str,
        resource: str = "archive",
        owner: str = "",
        duration_s: float = 120.0,
        wait_s: float = 0.0,
    ) -> None:
        self.location, self.resource, self.owner, self.duration_s, self.wait_s = (
            Location.parse(archive_url),
            resource,
            owner,
            duration_s,
            wait_s,
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Lease:
        url = self.location.url
        if current_lease := _HELD_BY_CONTEXT.get().get(url):
            current_lease.check()
            return current_lease
        with contextlib.ExitStack() as stack:
            lease = self._acquire(stack)
            context_token: Token[dict[str, Lease]] = _HELD_BY_CONTEXT.set(_HELD_BY_CONTEXT.get() | {url: lease})
            stack.callback(_reset_context, context_token)
            self._stack = stack.pop_all()
        return lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _acquire(self, stack: contextlib.ExitStack) -> Lease:
        deadline = time.monotonic() + self.wait_s
        while True:
            with contextlib.ExitStack() as attempt:
                holder = self._try_acquire(attempt)
                if isinstance(holder, Lease):
                    stack.push(attempt.pop_all())
                    return holder
            if time.monotonic() >= deadline:
                raise PlanError(_refusal_message(self.location, self.resource, holder))
            time.sleep(min(0.5, max(deadline - time.monotonic(), 0.05)))

    def _try_acquire(self, stack: contextlib.ExitStack) -> Lease | LockOwner | None:
        """The lease, and on the stack what releases it. Else the owner that holds the lock, None if that is unknown."""
        has_flock = _try_flock(self.location, stack, exclusive=True)
        if has_flock is False:
            return _read_owner(self.location)
        lock_file = LockFile(
            open_versioned_file(self.location, LOCK_FILE),
            _make_owner(self.owner),
            self.duration_s,
            time.time,
            _make_is_dead(has_flock=has_flock is True),
        )
        _TOKENS.add(lock_file.identity.token)
        stack.callback(_TOKENS.discard, lock_file.identity.token)
        with _prefix_errors(self.location):
            if holder := lock_file.acquire():
                return holder
            if not has_flock or lock_file.is_from_other_machine:
                time.sleep(_SETTLE_S)
                if holder := lock_file.check_takeover():
                    return holder
        lease = Lease(self.location.url, self.resource, lock_file)
        stop_event = threading.Event()
        stack.enter_context(_ReleaseOnExit(lease, stop_event))
        threading.Thread(target=_renew_periodically, args=(lease, stop_event, self.duration_s / 4), daemon=True).start()
        return lease


def refuse_if_locked(archive_url: str, resource: str = "archive") -> None:
    """Check that no other process holds a lock, without taking it. For a quick refusal before a slow start.

    Raises:
        PlanError: If another process holds it.
        StoreError: If no lock could be written.
    """
    location = Location.parse(archive_url)
    if location.url in _HELD_BY_CONTEXT.get():
        return
    if not location.is_remote and _can_be_created(location.url):
        return  # nobody holds it, and a check leaves no folder behind
    with contextlib.ExitStack() as stack, _prefix_errors(location):
        has_flock = _try_flock(location, stack, exclusive=False)
        if has_flock is False:
            raise PlanError(_refusal_message(location, resource, _read_owner(location)))
        if holder := LockFile(
            open_versioned_file(location, LOCK_FILE),
            _make_owner(""),
            0,
            time.time,
            _make_is_dead(has_flock=has_flock is True),
        ).read_holder():
            raise PlanError(_refusal_message(location, resource, holder))


def _can_be_created(folder: str) -> bool:
    """Whether a folder is missing, and no file stands where it or one above it would be."""
    existing = folder
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    return existing != folder and os.path.isdir(existing)


class _ReleaseOnExit:
    """Stops the renewal and releases the lock; reports if it was lost."""

    def __init__(self, lease: Lease, stop_event: threading.Event) -> None:
        self.lease, self.stop_event = lease, stop_event

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        self.stop_event.set()
        try:
            was_ours = self.lease._release()
        except StoreError as failure:
            log.warning("%s: its lock could not be released; it will expire: %s", self.lease.archive, failure)
            return
        if was_ours:
            return
        if kind is None:
            raise StoreError(self.lease._lost_message())
        log.warning("%s", self.lease._lost_message())


def _renew_periodically(lease: Lease, stop_event: threading.Event, interval_s: float) -> None:
    while not stop_event.wait(interval_s):
        try:
            lease._renew()
        except StoreError as error:
            log.warning("%s: its lock could not be renewed: %s", lease.archive, error)  # it is tried again
        except Exception:
            log.exception("%s: its lock could not be renewed", lease.archive)
        if lease._lock_file.lost_to:
            log.error("%s", lease._lost_message())
            return


def _reset_context(context_token: "Token[dict[str, Lease]]") -> None:
    with contextlib.suppress(ValueError):  # a generator may be closed in another context
        _HELD_BY_CONTEXT.reset(context_token)


def _refusal_message(location: Location, resource: str, holder: LockOwner | None) -> str:
    owner_text = f" ({holder!s})" if holder else ""
    return f"{location.url}: another run is writing to this {resource}{owner_text}; wait for it, or name another {resource}."


class _prefix_errors:
    """Puts the archive's URL before the messages of `LockFile`."""

    def __init__(self, location: Location) -> None:
        self.location = location

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StoreError) and not str(error).startswith(self.location.url):
            raise StoreError(f"{self.location.url}: {error}") from error


def _read_owner(location: Location) -> LockOwner | None:
    """The owner that lock.json of a local folder names, for messages: the operating system says that it is locked."""
    with contextlib.suppress(StoreError):
        if (
            (current := open_versioned_file(location, LOCK_FILE).read())
            and (holder := LockOwner.from_bytes(current.data))
            and not holder.released
        ):
            return holder
    return None


# ------------------------------------------------------------------------------------------------ this machine


def _try_flock(location: Location, stack: contextlib.ExitStack, *, exclusive: bool) -> bool | None:
    """Take the operating system's lock of a local folder, which ends with the process. Returns whether that succeeded.

    None if there are no such locks: in an object store and in some file systems.
    """
    if location.is_remote:
        return None
    import fcntl

    try:
        os.makedirs(location.url, exist_ok=True)
        file = open(os.path.join(location.url, ".lock"), "a")  # noqa: SIM115 - open while the lock is held
        stack.callback(file.close)
    except OSError as error:
        raise make_storage_error(location.url, error) from error
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


def _make_owner(owner: str) -> LockOwner:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    process = process_id.get_current_process()
    name = f"{user}@{socket.gethostname()} process {process.pid}"
    return LockOwner(
        owner=f"{owner}, {name}" if owner else name,
        token=uuid.uuid4().hex,
        taken=0.0,
        until=0.0,
        machine=process.machine,
        space=process.pid_namespace,
        process=process.pid,
        started=process.start_time,
    )


def _make_is_dead(*, has_flock: bool) -> Callable[[LockOwner], bool]:
    """What tells whether an owner's process is known to have ended.

    has_flock: We have the operating system's lock, so no other process of this machine holds the archive's.
    """
    current_process = process_id.get_current_process()

    def is_dead(holder: LockOwner) -> bool:
        process = process_id.ProcessId(holder.machine, holder.space, holder.process, holder.started)
        if process == current_process:
            return holder.token not in _TOKENS
        return process.is_dead or (has_flock and holder.machine == current_process.machine)

    return is_dead
