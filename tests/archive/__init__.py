"""Tests of `interpdisc_core.archive`."""
