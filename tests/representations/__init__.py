"""Tests of `interpdisc_core.representations`."""
