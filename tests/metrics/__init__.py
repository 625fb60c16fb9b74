"""Tests of `interpdisc_core.metrics`."""
