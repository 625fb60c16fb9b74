"""Tests of the rovers' feeds."""
