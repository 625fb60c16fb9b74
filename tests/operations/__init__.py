"""Tests of `interpdisc_core.operations`."""
