"""Tests of metadata: records, product names, observations, expressions."""
