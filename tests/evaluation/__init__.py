"""Tests of `interpdisc_core.evaluation`."""
