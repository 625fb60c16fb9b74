"""Memory that decoding takes: the peak of a process that decodes one large image, by decoder, and what was estimated.

    python benchmarks/decode_memory.py [--side 10000] [--checkout OTHER_CHECKOUT]

Each image is decoded in a process of its own, as extraction does it (at a scale that is enough for a network of 224 pixels,
then its central square) and as a frame of tiles (at full scale). The peak is that of the process, or of the process that
reads science formats if that has more, less what both take before; `--checkout` measures another version's code.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

_MEASURE = """
import json, re, sys
from interpdisc_core.images import decode, resize, science_formats

def peak(pid="self"):
    return int(re.search(r"VmHWM:\\s+(\\d+)", open(f"/proc/{pid}/status").read())[1]) / 1e3

data = open(sys.argv[1], "rb").read()
at_least = int(sys.argv[2]) or None
before, error = peak(), ""
try:
    pixels = decode.decode(data, at_least=at_least)
    if at_least:
        resize.crop_center_square(pixels, crop=224, short_side=256)
except Exception as caught:
    error = str(caught)
readers = science_formats._idle_readers
print(json.dumps([peak() - before, max((peak(reader.process.pid) for reader in readers), default=0), error]))
for reader in readers:
    reader.stop()
"""
_READER_MB = 120
"""Of a reader that has read a small image."""


def make_image(kind: str, side: int) -> bytes:
    """A file of `side` x `side` pixels, plain and so small, whatever its decoder makes of it."""
    sink, shape = io.BytesIO(), (side, side)
    if kind in ("tiff-uint16x3", "tiff-float32"):
        import rasterio

        bands, dtype = (3, "uint16") if kind == "tiff-uint16x3" else (1, "float32")
        options = {
            "driver": "GTiff",
            "height": side,
            "width": side,
            "count": bands,
            "dtype": dtype,
            "compress": "deflate",
        }
        with rasterio.MemoryFile() as memory:
            with memory.open(**options) as image:
                for band in range(bands):
                    image.write(np.full(shape, 900 + band, dtype), band + 1)
            return bytes(memory.read())
    mode, format, options = {
        "png-rgb": ("RGB", "PNG", {}),
        "png-rgba": ("RGBA", "PNG", {}),
        "png-gray": ("L", "PNG", {}),
        "png-16": ("I;16", "PNG", {}),
        "jpeg": ("RGB", "JPEG", {}),
        "jpeg-progressive": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        "tiff-rgb": ("RGB", "TIFF", {"compression": "tiff_deflate"}),
        "webp": ("RGB", "WEBP", {"lossless": True, "method": 0, "quality": 0}),
        "gif": ("P", "GIF", {}),
        "bmp": ("RGB", "BMP", {}),
    }[kind]
    Image.new(mode, shape, 99 if mode in ("L", "P", "I;16") else None).save(sink, format, **options)
    return sink.getvalue()


KINDS = (
    *("png-rgb", "png-rgba", "png-gray", "png-16", "jpeg", "jpeg-progressive", "tiff-rgb", "webp", "gif", "bmp"),
    *("tiff-uint16x3", "tiff-float32"),
)


def measure(path: Path, at_least: int, checkout: str) -> tuple[float, str]:
    """MB of memory at the peak, and the error if there is one."""
    run = subprocess.run(
        [sys.executable, "-P", "-c", _MEASURE, str(path), str(at_least)],
        env=os.environ | {"PYTHONPATH": checkout, "INTERPDISC_DECODE_MEMORY": "100000"},
        check=True,
        capture_output=True,
        text=True,
    )
    own, child, error = json.loads(run.stdout)
    return max(own, child - _READER_MB), error


def main() -> None:
    """Measure every kind, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--checkout", default=str(Path(__file__).resolve().parents[1]))
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    arguments = parser.parse_args()
    print(f"| {arguments.side} x {arguments.side} pixels | file, kB | for a network, MB | at full scale, MB |")
    print("|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in arguments.kinds:
            side = min(arguments.side, 16383) if kind == "webp" else arguments.side
            path = Path(folder, kind)
            path.write_bytes(data := make_image(kind, side))
            cells = [measure(path, at_least, arguments.checkout) for at_least in (224, 0)]
            texts = [error or f"{peak:,.0f}" for peak, error in cells]
            print(f"| {kind} | {len(data) / 1e3:,.0f} | {texts[0]} | {texts[1]} |", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
