"""Runs a command for as long as its parent lives: `python -m deploy.parent_watchdog COMMAND…`.

The parent holds our standard input. When that closes, for whatever reason, kill −9 included, the command is stopped,
unless the parent wrote `keep` first. If the command ends by itself, so does this process.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Start the command, wait for the parent's word or end, and act on it."""
    # What the command prints goes to our standard error; our standard output only tells the parent its number.
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    print(process.pid, flush=True)
    threading.Thread(target=lambda: os._exit(process.wait() and 1), daemon=True).start()
    if sys.stdin.read().strip() == "keep" or process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
