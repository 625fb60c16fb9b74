"""Tests of `interpdisc_core.explanations`."""
