"""Products of science archives to pixels: VICAR, PDS3, PDS4, ISIS 2 and 3, and rasters that Pillow cannot read.

GDAL reads them (through rasterio), in processes of their own: hostile files must not be able to attack a worker that
holds credentials and other images. A reader that crashes or takes too long costs one image.
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

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import memory_budget, pds4, pds_labels
from interpdisc_core.images.headers import to_bounded_json

_PROJECT_ROOT = str(Path(__file__).resolve().parents[2])
TIMEOUT_S = 120
"""A reader gives up an image after this many seconds."""
READY_LINE = b"ready\n"
"""A reader's first line of output."""
_MAX_IDLE_READERS = 4
"""Idle readers that are kept for the next image; more run while more threads decode."""
JPEG2000_MAGIC = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0")
_SKIPPED_DRIVERS = (
    "VRT,DERIVED,GTI,WMS,WMTS,WCS,HTTP,OGCAPI,PLMOSAIC,STACIT,STACTA,EEDA,EEDAI,TIL,MRF,NITF,SAFE,SENTINEL2,Zarr,MBTiles,"
    "GPKG,SQLite,PDF,netCDF,HDF5,HDF5Image,GRIB,DIMAP,ECRGTOC,KMLSUPEROVERLAY,ESRIC,RIK,JPEG,GIF,WEBP,OGR_VRT,MVT,OSM"
)


def detect_kind(data: bytes) -> str:
    """The format of a file by its content; empty if it is not read here.

    `bundle` is a zip of a label and its data (see `interpdisc_core.sources.detached_labels`); `PDS4` is a label without
    its data.
    """
    if data.startswith(b"PK\x03\x04"):
        return "bundle"
    if data.startswith(JPEG2000_MAGIC):
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


def open_product(data: bytes, kind: str, max_bytes: int) -> tuple[str, dict[str, bytes]]:
    """Split a product into its files.

    Args:
        data: The product.
        kind: Its `detect_kind`.
        max_bytes: Of the files of a bundle together.

    Returns:
        The kind (never `bundle`), and the files by name, the label first.

    Raises:
        Unreadable: If it is damaged, too large, or a label without its data.
    """
    if kind != "bundle":
        if kind == "PDS4":
            raise Unreadable("a PDS4 label without its data")
        return kind, {f"product{_SUFFIX_BY_KIND.get(kind, '')}": data}
    files = pds_labels.unpack_bundle(data, max_bytes)
    name = next(iter(files))
    return ("PDS4" if name.lower().endswith(".xml") else "PDS3"), files


_SUFFIX_BY_KIND = {
    "VICAR": ".vic",
    "PDS3": ".img",
    "ISIS2": ".cub",
    "ISIS3": ".cub",
    "TIFF": ".tif",
    "PNG": ".png",
    "JPEG2000": ".jp2",
}


def merge_label(kind: str, files: Mapping[str, bytes], header: str) -> str:
    """The fields of a product's label as JSON text, added to those in the `header` (JSON) of its data file."""
    text = next(iter(files.values()))
    fields = pds4.parse_pds4_label(text).fields if kind == "PDS4" else pds_labels.parse_text_fields(text)
    return to_bounded_json(json.loads(header) | fields)


def read_product(
    kind: str,
    files: Mapping[str, bytes],
    *,
    max_pixels: int,
    with_pixels: bool,
    at_least: int | None = None,
    bayer_pattern: str = "",
) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
    """Read a product in a reader process.

    Args:
        kind: Of `open_product`.
        files: Of `open_product`.
        max_pixels: A larger image is refused as a decompression bomb.
        with_pixels: Whether pixels are decoded.
        at_least: See `interpdisc_core.images.decode.decode`.
        bayer_pattern: See `interpdisc_core.images.decode.decode`.

    Returns:
        The fields of an `ImageInfo`, and the pixels (h, w, 3) uint8 or None.

    Raises:
        Unreadable: With the reason, whatever the files hold; `retryable` if rasterio is missing or the reader was killed.
    """
    if importlib.util.find_spec("rasterio") is None:
        raise Unreadable(f"reading {kind} files needs rasterio: pip install 'interpdisc[rover]'", retryable=True)
    request = {
        "kind": kind,
        "files": [[name, len(data)] for name, data in files.items()],
        "max_pixels": max_pixels,
        "pixels": with_pixels,
        "at_least": at_least,
        "bayer_pattern": bayer_pattern,
        "budget_bytes": memory_budget.get_decode_budget(),
    }
    try:
        response, pixel_bytes = _send_request(request, files)
    except _ReaderKilled:
        response, pixel_bytes = _send_request(request, files)
    if "error" in response:
        raise Unreadable(response["error"])
    shape = response.pop("shape", None)
    if shape is None:
        return response, None
    return response, np.frombuffer(pixel_bytes, dtype=np.uint8).reshape(shape)


def _send_request(request: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[dict[str, Any], bytearray]:
    reader = _acquire_reader()
    try:
        response = reader.send(request, files)
    except BaseException:
        reader.stop()
        raise
    _release_reader(reader)
    return response


class _ReaderKilled(Unreadable):
    """The reader was killed from outside, which is not the image's fault."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retryable=True)


class _GdalReader:
    """A process that reads one image at a time."""

    def __init__(self) -> None:
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from interpdisc_core.images.gdal_process import main; main()"
        )
        self.is_ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, _PROJECT_ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_build_environment(),
            start_new_session=True,  # so that Ctrl-C reaches the parent only
        )

    def send(self, request: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[dict[str, Any], bytearray]:
        assert self.process.stdin
        assert self.process.stdout
        if not self.is_ready and self.process.stdout.readline() != READY_LINE:
            code = self.process.wait()
            if code in (-signal.SIGKILL, -signal.SIGTERM):
                self._raise_exit_error()
            raise _ReaderKilled(f"the process that reads science formats could not be started (exit status {code})")
        self.is_ready = True
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            for data in files.values():
                self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            self._raise_exit_error()
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            self._raise_exit_error()
        response: dict[str, Any] = json.loads(line)
        body = bytearray(int(np.prod(response["shape"])) if "shape" in response else 0)
        view, offset = memoryview(body), 0
        while offset < len(body):
            count = self.process.stdout.readinto(view[offset:])  # type: ignore[attr-defined]
            if not count:
                self._raise_exit_error()
            offset += count
        return response, body

    def _raise_exit_error(self) -> None:
        code = self.process.wait()
        if code == -signal.SIGALRM:
            raise Unreadable(f"reading it took too long (more than {TIMEOUT_S} s)")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            raise _ReaderKilled(f"its reader was killed ({signal.Signals(-code).name})")
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


def _build_environment() -> dict[str, str]:
    """The environment variables that starting Python needs: no credentials; a proxy that does not exist blocks the network."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG")
    }
    dead_proxies = dict.fromkeys(
        ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    )
    return (
        inherited
        | dead_proxies
        | {
            "OMP_NUM_THREADS": "1",
            "GDAL_CACHEMAX": "256",
            "OPENBLAS_NUM_THREADS": "1",
            "GDAL_SKIP": _SKIPPED_DRIVERS,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )


_idle_readers: list[_GdalReader] = []
_lock = threading.Lock()


def _acquire_reader() -> _GdalReader:
    with _lock:
        while _idle_readers:
            reader = _idle_readers.pop()
            if reader.process.poll() is None:
                return reader
            reader.close()
    return _GdalReader()


def _release_reader(reader: _GdalReader) -> None:
    with _lock:
        if len(_idle_readers) < _MAX_IDLE_READERS:
            _idle_readers.append(reader)
            return
    reader.close()


def _reset_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _idle_readers.clear()  # these belong to the parent


os.register_at_fork(after_in_child=_reset_after_fork)
