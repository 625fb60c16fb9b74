"""Tests of `interpdisc_core.inverters`."""
