"""Tests of `interpdisc_core.reporting`."""
