"""Whether a server answers, for health checks: `python -m deploy.health [URL]`; exit code 0 if it answers 200.

The default URL is that of the environment variable HEALTH_URL. A process without one does not listen: it counts as
healthy as long as it runs.
"""

import os
import sys
import time
import urllib.request
from collections.abc import Callable


def is_healthy(url: str, timeout_s: float = 5.0) -> bool:
    """Whether `url` answers 200 within `timeout_s` seconds; an empty URL does."""
    if not url:
        return True
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return int(response.status) == 200
    except (OSError, ValueError):
        return False


def wait_until_healthy(url: str, timeout_s: float, is_alive: Callable[[], bool] = lambda: True) -> bool:
    """Wait until `url` answers 200.

    Args:
        url: What to ask, about five times a second.
        timeout_s: Seconds to wait at most.
        is_alive: Whether the server can still come up; it is given up if not.

    Returns:
        Whether it answered.
    """
    deadline = time.monotonic() + timeout_s
    while not is_healthy(url):
        if time.monotonic() > deadline or not is_alive():
            return False
        time.sleep(0.2)
    return True


if __name__ == "__main__":
    sys.exit(not is_healthy(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HEALTH_URL", "")))
