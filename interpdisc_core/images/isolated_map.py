"""A function of many items in a process of its own, one item at a time: an item that kills the process costs only itself.

Workers decode many images at a time, in threads. If one of them ends its worker (out of memory, or a fault in a library),
nobody can tell which. Here exactly one item is in the process when it dies. It is tried once more, in a new process; if that
dies too, the item is the cause.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from interpdisc_core.errors import Unreadable

_PROJECT_ROOT = str(Path(__file__).resolve().parents[2])
_TRIES = 2

Item = TypeVar("Item")
Output = TypeVar("Output")


class ProcessDeath(Unreadable):
    """An item during which a process died, alone and repeatedly."""


def map_isolated(
    function: Callable[[Item], Output], items: Iterable[Item], on_death: Callable[[Item, ProcessDeath], Output]
) -> Iterator[Output]:
    """`function` of each item, in order, in another process.

    Args:
        function: Can be pickled. What it raises is raised here; a `MemoryError` counts as the death of the process.
        items: Read one at a time, after the output of the one before was taken.
        on_death: Makes the output of an item that kills the process.
    """
    child: _ChildProcess | None = None
    try:
        for item in items:
            death = None
            for _ in range(_TRIES):
                child = child or _ChildProcess(function)
                try:
                    output = child.call(item)
                    break
                except ProcessDeath as error:
                    child.stop()
                    child, death = None, error
            else:
                assert death is not None
                output = on_death(item, death)
            yield output
    finally:
        if child:
            child.stop()


class _ChildProcess:
    """A process that calls one function, again and again."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from interpdisc_core.images.isolated_map import main; main()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, _PROJECT_ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches the parent only
        )
        self.function = function
        self.is_started = False

    def call(self, item: Any) -> Any:
        """The function of an item.

        Raises:
            ProcessDeath: If the process dies of it.
        """
        assert self.process.stdin
        assert self.process.stdout
        try:
            if not self.is_started:
                pickle.dump(self.function, self.process.stdin, protocol=5)
                self.is_started = True
            pickle.dump(item, self.process.stdin, protocol=5)
            self.process.stdin.flush()
            is_error, value = pickle.load(self.process.stdout)
        except (BrokenPipeError, EOFError, pickle.UnpicklingError):
            raise ProcessDeath(_describe_death(self.process.wait())) from None
        if isinstance(value, MemoryError) and is_error:
            raise ProcessDeath("not enough memory for it, in a process of its own")
        if is_error:
            raise value
        return value

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()


def _describe_death(code: int) -> str:
    if code >= 0:
        return f"it ends the process that decodes it, {_TRIES} times, alone (exit status {code})"
    name = signal.Signals(-code).name
    cause = ": most likely it takes more memory than there is" if name == "SIGKILL" else ": a fault of a library"
    return f"it kills the process that decodes it, {_TRIES} times, alone ({name}{cause})"


def main() -> None:
    """The process's entry point: the function, then items, on standard input; outputs on standard output."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    input_stream: BinaryIO = os.fdopen(os.dup(0), "rb")
    output_stream: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not get between the outputs
    function = pickle.load(input_stream)
    while True:
        try:
            item = pickle.load(input_stream)
        except EOFError:
            return
        try:
            message = pickle.dumps((False, function(item)), protocol=5)
        except Exception as error:  # noqa: BLE001 - raised where the function was asked for
            message = _pickle_error(error)
        output_stream.write(message)
        output_stream.flush()


def _pickle_error(error: Exception) -> bytes:
    try:
        message = pickle.dumps((True, error), protocol=5)
        pickle.loads(message)
    except Exception:  # noqa: BLE001
        return pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}")))
    return message
