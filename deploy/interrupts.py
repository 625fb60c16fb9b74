"""Control-C that is not lost: what a library swallows is repeated."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class repeat_interrupt:
    """While this is open, Control-C interrupts the main thread again and again, as long as `should_repeat` says so.

    An interrupt is an exception like any other: raised in a callback or a finalizer of some library it is dropped
    there, and a run would continue as if nobody had asked it to stop.

    Args:
        should_repeat: Whether the main thread is still where it should be interrupted.
        interval_s: Seconds between two attempts.
    """

    def __init__(self, should_repeat: Callable[[], bool], interval_s: float = 5.0) -> None:
        self.should_repeat, self.interval_s = should_repeat, interval_s
        self._stop_event = threading.Event()
        self._is_interrupted = False
        self._previous_handler: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._handle_signal)

    def __exit__(self, *_: object) -> None:
        self._stop_event.set()
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)

    def _handle_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_interrupted:
            self._is_interrupted = True
            threading.Thread(target=self._repeat_signal, daemon=True).start()
        raise KeyboardInterrupt

    def _repeat_signal(self) -> None:
        while not self._stop_event.wait(self.interval_s):
            if self.should_repeat():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class _NoRetries:
    """Stands in for Prefect's setting of how often a call is tried again."""

    @staticmethod
    def value() -> int:
        return 0


class ServerLoss:
    """While this is open, the end of a run's Prefect server interrupts the main thread, as Control-C does.

    Prefect's client would try each of its calls for a minute; from then on it tries each once.

    Attributes:
        is_lost: Whether the server has ended.

    Args:
        watchdog: The process without which there is no server; None: there is nothing to watch.
    """

    def __init__(self, watchdog: "subprocess.Popen[str] | None") -> None:
        self.is_lost = False
        self._watchdog, self._is_open = watchdog, False

    def __enter__(self) -> None:
        self._is_open = True
        if self._watchdog is not None:
            threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._is_open = False

    def _watch(self) -> None:
        assert self._watchdog is not None
        self._watchdog.wait()
        if not self._is_open:
            return
        self.is_lost = True
        from prefect.client import base

        base.__dict__["PREFECT_CLIENT_MAX_RETRIES"] = _NoRetries
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """While this is open, Control-C does nothing: for the last seconds of a run, which must not end halfway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)


def make_inside_check(function: Callable[..., Any]) -> Callable[[], bool]:
    """A function that says whether the main thread is inside `function`: an interrupt on its way out has left it."""
    code = function.__code__

    def is_inside() -> bool:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        while frame is not None:
            if frame.f_code is code:
                return True
            frame = frame.f_back
        return False

    return is_inside
