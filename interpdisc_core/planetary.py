"""Products of science archives to pixels: VICAR, PDS3, PDS4, ISIS 2 and 3, and rasters that Pillow cannot read.

GDAL reads them (by rasterio), in processes of their own: what these files can make it do must not be done to a worker
that holds credentials and other images. A reader that crashes or takes too long costs one image.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core import labels, pds4
from interpdisc_core.errors import Unreadable
from interpdisc_core.headers import bounded

READY = b"ready\n"
"""What a reader says first."""
_KEPT = 4
"""Readers that wait for the next image; more run while more threads decode at once."""
JP2 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0")
_SKIPPED = (
    "VRT,DERIVED,GTI,WMS,WMTS,WCS,HTTP,OGCAPI,PLMOSAIC,STACIT,STACTA,EEDA,EEDAI,TIL,MRF,NITF,SAFE,SENTINEL2,Zarr,MBTiles,"
    "GPKG,SQLite,PDF,netCDF,HDF5,HDF5Image,GRIB,DIMAP,ECRGTOC,KMLSUPEROVERLAY,ESRIC,RIK,JPEG,GIF,WEBP,OGR_VRT,MVT,OSM"
)


def kind(data: bytes) -> str:
    """What a file is by its content, among what is read here; "" for anything else.

    `bundle` is a product of a label and its data; `PDS4` alone is a label without its data.
    """
    if data.startswith(b"PK\x03\x04"):
        return "bundle"
    if data.startswith(JP2):
        return "JPEG2000"
    if any(not 9 <= byte < 127 for byte in data[:16]):
        return ""
    if data.startswith(b"LBLSIZE="):
        return "VICAR"
    head = data[:4096]
    if b"IsisCube" in head[:1024]:
        return "ISIS3"
    if b"PDS_VERSION_ID" in head or b"ODL_VERSION_ID" in head:
        return "PDS3"
    if b"^QUBE" in head:
        return "ISIS2"
    return "PDS4" if head.lstrip().startswith(b"<") and b"pds.nasa.gov/pds4" in data[:16384] else ""


def opened(data: bytes, kind: str, most_bytes: int) -> tuple[str, dict[str, bytes]]:
    """The kind and the files of a product, its label first. Raises Unreadable."""
    if kind != "bundle":
        if kind == "PDS4":
            raise Unreadable("a PDS4 label without its data")
        return kind, {f"product{_SUFFIX.get(kind, '')}": data}
    files = labels.members(data, most_bytes)
    name = next(iter(files))
    return ("PDS4" if name.lower().endswith(".xml") else "PDS3"), files


_SUFFIX = {
    "VICAR": ".vic",
    "PDS3": ".img",
    "ISIS2": ".cub",
    "ISIS3": ".cub",
    "TIFF": ".tif",
    "PNG": ".png",
    "JPEG2000": ".jp2",
}


def label(kind: str, files: Mapping[str, bytes], besides: str) -> str:
    """The label of a product whose data have a header of their own, as JSON, with that header's fields after it."""
    text = next(iter(files.values()))
    fields = pds4.xml(text).fields if kind == "PDS4" else labels.text_fields(text)
    return bounded(json.loads(besides) | fields)


def read(
    kind: str,
    files: Mapping[str, bytes],
    *,
    max_pixels: int,
    pixels: bool,
    at_least: int | None = None,
    mosaic: str = "",
) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
    """Have a product read: its facts (format, width, height, mode, header), and its pixels (h, w, 3) uint8 if wanted.

    kind, files: as `opened` gives them. at_least: the short side keeps at least twice as many pixels. mosaic: pattern
    of a Bayer mosaic of one band. Raises Unreadable, and nothing else, for whatever the files hold.
    """
    if importlib.util.find_spec("rasterio") is None:
        error = Unreadable(f"reading {kind} files needs rasterio: pip install 'interpdisc[rover]'")
        error.access = True  # it is tried again when it is listed again
        raise error
    request = {
        "kind": kind, "files": [[name, len(data)] for name, data in files.items()], "max_pixels": max_pixels,
        "pixels": pixels, "at_least": at_least, "mosaic": mosaic,
    }  # fmt: skip
    try:
        answer, body = _asked(request, files)
    except _Killed:
        answer, body = _asked(request, files)
    if "error" in answer:
        raise Unreadable(answer["error"])
    shape = answer.pop("shape", None)
    if shape is None:
        return answer, None
    return answer, np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _asked(request: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[dict[str, Any], bytearray]:
    reader = _taken()
    try:
        answer = reader.ask(request, files)
    except BaseException:
        reader.stop()
        raise
    _given_back(reader)
    return answer


class _Killed(Unreadable):
    """Something outside ended the reader: no fault of the image."""

    access = True


class _Reader:
    """A process that reads one image at a time."""

    def __init__(self) -> None:
        start = "import sys; sys.path.insert(0, sys.argv[1]); from interpdisc_core.rasters import main; main()"
        self.ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, str(Path(__file__).resolve().parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the one who asks
        )

    def ask(self, request: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[dict[str, Any], bytearray]:
        assert self.process.stdin
        assert self.process.stdout
        if not self.ready and self.process.stdout.readline() != READY:
            code = self.process.wait()
            if code in (-signal.SIGKILL, -signal.SIGTERM):
                self._died()
            raise _Killed(f"the process that reads such files could not be started (exit status {code})")
        self.ready = True
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            for data in files.values():
                self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            self._died()
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            self._died()
        answer: dict[str, Any] = json.loads(line)
        body = bytearray(int(np.prod(answer["shape"])) if "shape" in answer else 0)
        view, place = memoryview(body), 0
        while place < len(body):
            count = self.process.stdout.readinto(view[place:])  # type: ignore[attr-defined]
            if not count:
                self._died()
            place += count
        return answer, body

    def _died(self) -> None:
        code = self.process.wait()
        if code == -signal.SIGALRM:
            raise Unreadable("reading it took too long, so it was given up")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            raise _Killed(f"its reader was ended from outside ({signal.Signals(-code).name})")
        raise Unreadable(f"its reader crashed ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})")

    def stop(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()


def _environment() -> dict[str, str]:
    """Of this process only what starts Python: no credentials, and no way out but a proxy that is not there."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG")
    }
    nowhere = dict.fromkeys(
        ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    )
    return (
        kept
        | nowhere
        | {
            "OMP_NUM_THREADS": "1",
            "GDAL_CACHEMAX": "256",
            "OPENBLAS_NUM_THREADS": "1",
            "GDAL_SKIP": _SKIPPED,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )


_idle: list[_Reader] = []
_lock = threading.Lock()


def _taken() -> _Reader:
    with _lock:
        while _idle:
            reader = _idle.pop()
            if reader.process.poll() is None:
                return reader
            reader.close()
    return _Reader()


def _given_back(reader: _Reader) -> None:
    with _lock:
        if len(_idle) < _KEPT:
            _idle.append(reader)
            return
    reader.close()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    _idle.clear()  # they are the parent's


os.register_at_fork(after_in_child=_forked)
