"""What a worker of the local cluster does when it starts; Dask loads it as a preload module."""

import logging
import signal
from contextlib import chdir

with chdir("/"):  # Prefect takes settings, and with them code, from .env and prefect.toml of the current folder
    import prefect  # noqa: F401

# Control-C goes to every process of the terminal. The run answers it and stops its workers; they only wait for that.
signal.signal(signal.SIGINT, signal.SIG_IGN)
# Connections that close when a run ends are no news for its terminal. What fails in a task is raised in the run.
logging.getLogger("distributed").setLevel(logging.CRITICAL)
logging.raiseExceptions = False
