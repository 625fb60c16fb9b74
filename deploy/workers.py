"""What a worker of the local cluster does when it starts; Dask loads it as a preload module."""

import signal

# Control-C goes to every process of the terminal. The run answers it and stops its workers; they only wait for that.
signal.signal(signal.SIGINT, signal.SIG_IGN)
