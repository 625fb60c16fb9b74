"""Tars and zips of small images."""

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

Members = Iterable[tuple[str, bytes]]


def make_noise_png(seed: int, width: int = 30, height: int = 20) -> bytes:
    """A PNG of noise, different for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def make_members(start: int, stop: int) -> list[tuple[str, bytes]]:
    """Members with the pictures of the seeds from `start` to `stop`."""
    return [(f"{seed:04d}.png", make_noise_png(seed)) for seed in range(start, stop)]


def write_tar(path: Path, members: Members, kind: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of members, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, members: Members) -> Path:
    """A zip of members, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path
