"""Tests of sources: files, lists, shards, labels."""
