"""Rehearsals: the deployment on one machine, with real servers on loopback."""
