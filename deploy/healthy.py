"""Whether a process answers, for health checks: `python -m deploy.healthy [URL]`; exit code 0 for an answer of 200.

Without a URL it is that of HEALTH_URL; a process that has none does not listen, and is well as long as it lives.
"""

import os
import sys
import urllib.error
import urllib.request


def healthy(url: str, patience: float = 5.0) -> bool:
    """Whether `url` answers 200 within `patience` seconds; an empty one does."""
    if not url:
        return True
    try:
        with urllib.request.urlopen(url, timeout=patience) as answer:
            return int(answer.status) == 200
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(not healthy(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HEALTH_URL", "")))
