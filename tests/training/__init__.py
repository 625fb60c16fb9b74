"""Tests of `interpdisc_core.training`."""
