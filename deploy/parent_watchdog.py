"""Runs a command for as long as its parent lives: `python -m deploy.parent_watchdog [--socket N] COMMAND…`.

The parent holds our standard input. When that closes, for whatever reason, kill −9 included, the command is stopped,
unless the parent wrote `keep` first. Our standard output tells the parent the command's number, one line for each start.

Without --socket this process ends if the command ends by itself. With it, the command inherits the listening socket of that
number, and if it ends by itself it is started again, on the same socket: those who connect meanwhile wait. A command that
ends soon after its start, or too often, is given up.
"""

import os
import signal
import subprocess
import sys
import threading
import time

_MAX_STARTS, _MIN_LIFE_S = 6, 5.0
"""How often the command is started at most, and how long it must have lived to be started again."""


def main() -> None:
    """Start the command, wait for the parent's word or end, and act on it."""
    arguments = sys.argv[1:]
    shared_socket: int | None = None
    if arguments[0] == "--socket":
        shared_socket, arguments = int(arguments[1]), arguments[2:]
    command = _Command(arguments, shared_socket)
    command.start()
    threading.Thread(target=command.supervise, daemon=True).start()
    is_kept = sys.stdin.read().strip() == "keep"
    command.end(is_kept)


class _Command:
    def __init__(self, arguments: list[str], shared_socket: int | None) -> None:
        self._arguments, self._socket = arguments, shared_socket
        self._lock, self._is_ending = threading.Lock(), False

    def start(self) -> None:
        """Start it. What it prints goes to our standard error."""
        self._process = subprocess.Popen(
            self._arguments,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            start_new_session=True,
            pass_fds=() if self._socket is None else (self._socket,),
        )
        print(self._process.pid, flush=True)

    def supervise(self) -> None:
        """Start the command again when it ends, as far as the module says; then end this process."""
        for starts in range(1, _MAX_STARTS + 1):
            started_at = time.monotonic()
            code = self._process.wait()
            with self._lock:
                if self._is_ending:
                    return
                if self._socket is None or starts == _MAX_STARTS or time.monotonic() - started_at < _MIN_LIFE_S:
                    os._exit(1 if code or self._socket is not None else 0)
                self.start()

    def end(self, is_kept: bool) -> None:
        """Stop the command, or leave it running."""
        with self._lock:
            self._is_ending = True
        if is_kept or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
