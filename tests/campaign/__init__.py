"""An attack on the program through its real command: `make campaign`, or `python -m tests.campaign --help`.

Kills at random moments, hostile files, damaged archives, faults of the object store, two runs at once, full disks, little
memory. Everything is drawn from a seed, so that what went wrong can be repeated. Not part of the tests: it takes an hour.
"""
