"""Tests of `interpdisc_core.selectors`."""
