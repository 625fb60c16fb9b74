"""Shards for tests: tars and zips of small images, and what lies between them."""

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

Members = Iterable[tuple[str, bytes]]


def picture(seed: int, width: int = 30, height: int = 20) -> bytes:
    """A PNG of its own for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def pictures(start: int, stop: int) -> list[tuple[str, bytes]]:
    """Members with the pictures of these seeds."""
    return [(f"{seed:04d}.png", picture(seed)) for seed in range(start, stop)]


def tar(path: Path, members: Members, kind: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of members, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as opened:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return path


def packed(path: Path, members: Members) -> Path:
    """A zip of members, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return path
