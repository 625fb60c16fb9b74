"""Tests of `interpdisc_core.pipeline`."""
