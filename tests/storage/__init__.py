"""Tests of `interpdisc_core.storage`."""
