"""The application: where and with what the flows run, servers, and the command line on top of everything.

May import `flows`, `tasks` and the core; nothing imports it. On disk it owns the state of Prefect servers that it starts,
in the user's state folder.
"""

import os

CHILD_ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
"""For every process that the application starts: no module comes from the current folder, which may be somebody else's
images, and nothing is reported to anyone."""
os.environ |= CHILD_ENVIRONMENT
