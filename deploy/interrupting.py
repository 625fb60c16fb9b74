"""Control-C that is heard: what a library swallows is said again."""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class insisting:
    """While this is open, Control-C interrupts the main thread again and again, as long as `goes_on` says it must.

    An interrupt is an exception like any other: raised inside a callback or a finaliser of some library it is dropped
    there, and a run would go on as if nobody had asked it to stop. every: seconds between two tries.
    """

    def __init__(self, goes_on: Callable[[], bool], every: float = 5.0) -> None:
        self.goes_on, self.every = goes_on, every
        self._over = threading.Event()
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            threading.Thread(target=self._insist, daemon=True).start()
        raise KeyboardInterrupt

    def _insist(self) -> None:
        while not self._over.wait(self.every):
            if self.goes_on():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def in_body(function: Callable[..., Any]) -> Callable[[], bool]:
    """Whether the main thread is inside `function`: an interrupt that is on its way out has left it."""
    body = function.__code__

    def inside() -> bool:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        while frame is not None:
            if frame.f_code is body:
                return True
            frame = frame.f_back
        return False

    return inside
