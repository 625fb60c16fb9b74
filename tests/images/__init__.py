"""Tests of decoding images: formats, stretch, tiles, artefacts."""
