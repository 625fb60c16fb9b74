"""Reading science rasters with GDAL: runs in a process of its own, which `interpdisc_core.planetary` starts.

GDAL's drivers are C++ that crashes on some labels (3.10 does on one keyword's value), so nothing of it is ever loaded
into a worker. The process has neither credentials nor a way to the network, and its own limits of memory and time.

What it is sent over its standard input, and what it answers on its standard output: a line of JSON, then bytes.
"""

import contextlib
import json
import logging
import signal
import sys
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from PIL import Image

from interpdisc_core import labels, layouts, mosaics, pds4, specials, stretches
from interpdisc_core.errors import InterpdiscError, Unreadable
from interpdisc_core.headers import bounded

SECONDS = 120
"""An image that takes longer is given up."""
MEMORY = 12 * 2**30
"""Address space of the process."""
_BANDS = 4096
_DRIVERS = {
    "VICAR": "VICAR", "PDS3": "PDS", "PDS4": "PDS4", "ISIS2": "ISIS2", "ISIS3": "ISIS3", "TIFF": "GTiff", "PNG": "PNG",
    "JPEG2000": "JP2OpenJPEG",
}  # fmt: skip
_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO", "GDAL_MAX_BAND_COUNT": str(_BANDS),
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}", "GDAL_NUM_THREADS": "1",
}  # fmt: skip


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Say that it is ready, then answer requests until there are no more."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sink.write(b"ready\n")
    sink.flush()
    while line := source.readline():
        request = json.loads(line)
        files = {name: source.read(size) for name, size in request["files"]}
        signal.alarm(SECONDS)
        answer: dict[str, Any]
        pixels = None
        try:
            answer, pixels = _read(request, files)
        except InterpdiscError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"error": "not enough memory to decode it"}
        except Exception as error:  # noqa: BLE001 - whatever GDAL makes of hostile bytes, the next image is read
            answer = {"error": f"damaged: {' '.join(str(error).split())[:200] or type(error).__name__}"}
        signal.alarm(0)
        sink.write(json.dumps(answer).encode() + b"\n")
        if pixels is not None:
            sink.write(np.ascontiguousarray(pixels).data)
        sink.flush()


def _read(request: Mapping[str, Any], files: dict[str, bytes]) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile
    from rasterio.session import DummySession

    kind: str = request["kind"]
    name, data = next(iter(files.items()))
    told = pds4.Xml()
    if kind == "PDS4":
        told = pds4.xml(data)
        data = told.safe
        if missing := [named for named in told.files[:1] if named not in files]:
            raise Unreadable(f"its label names {missing[0]} as its data, which is not beside it")
    elif kind in ("PDS3", "ISIS2", "ISIS3"):
        data = labels.harmless(data)
    folder = f"/vsimem/{(own := uuid4().hex)}/"
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(session=DummySession(), **_OPTIONS))
        opened = stack.enter_context(MemoryFile(data, dirname=own, filename=name))
        for other, body in list(files.items())[1:]:
            stack.enter_context(MemoryFile(body, dirname=own, filename=other))
        try:
            image = stack.enter_context(opened.open(driver=[_DRIVERS[kind]]))
        except RasterioError as error:
            named = labels.named_file(files[name]) if kind in ("PDS3", "ISIS2", "ISIS3") else ""
            if named and named not in files:
                beside = labels.plain(named)
                why = (
                    f"names {named[:80]} as its data, which is not beside it"
                    if beside
                    else "names a file outside its folder"
                )
                raise Unreadable(f"its label {why}") from None
            raise Unreadable(f"damaged {kind} label: {_said(error, folder)}") from None
        if not all(path.startswith(folder) for path in image.files):
            raise Unreadable("its label names a file outside its folder as its data")
        try:
            return _Image(image, kind, files, told).answer(request)
        except RasterioError as error:
            raise Unreadable(f"truncated or damaged: {_said(error, folder)}") from None


def _said(error: Exception, folder: str) -> str:
    return " ".join(str(error.__cause__ or error).replace(folder, "").split())[:200] or type(error).__name__


class _Image:
    """One opened image of (lines, samples)."""

    def __init__(self, image: Any, kind: str, files: Mapping[str, bytes], told: pds4.Xml) -> None:
        self.image, self.kind, self.files, self.told = image, kind, files, told
        self.label = self._label()
        kinds = set(image.dtypes)
        self.dtype: str = image.dtypes[0]
        if len(kinds) > 1 or np.dtype(self.dtype).kind not in "iuf":
            raise Unreadable(f"samples of {', '.join(sorted(kinds))}, which make no picture")

    def _label(self) -> dict[str, Any]:
        domain = {"VICAR": "json:VICAR", "PDS3": "json:PDS", "ISIS3": "json:ISIS3"}.get(self.kind)
        if self.kind == "PDS4":
            return self.told.fields
        if domain:
            # rasterio takes the text for a list of NAME:value, and cuts it at the first ":".
            text = ":".join(next(iter(self.image.tags(ns=domain).items()), ("{}",)))
            try:
                return labels.tidy(json.loads(text))
            except (ValueError, RecursionError):
                return {}
        if self.kind == "ISIS2":
            return labels.text_fields(next(iter(self.files.values())))
        return dict(self.image.tags())

    def answer(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
        image = self.image
        if image.width < 1 or image.height < 1 or image.count < 1:
            raise Unreadable("an image without pixels")
        if image.width * image.height > request["max_pixels"]:
            most = request["max_pixels"] // 10**6
            raise Unreadable(f"decompression bomb: {image.width} x {image.height} pixels, more than {most} million")
        layouts.check(self.kind, image.shape, image.count, self.dtype, self.label, self.files, self.told)
        facts = {
            "format": self.kind, "width": image.width, "height": image.height, "mode": f"{self.dtype}x{image.count}",
            "header": bounded(self.label),
        }  # fmt: skip
        if not request["pixels"]:
            return facts, None
        pixels = self._pixels(request["at_least"], request["mosaic"])
        return facts | {"shape": pixels.shape}, pixels

    def _samples(self, bands: list[int]) -> npt.NDArray[Any]:
        """The samples of some bands, counted from 1: (bands, lines, samples), of the file's type."""
        order = layouts.order(self.label) if self.kind == "PDS3" and self.image.count > 1 else "BAND_SEQUENTIAL"
        if order == "BAND_SEQUENTIAL":
            read: npt.NDArray[Any] = self.image.read(bands)
        else:  # GDAL was made to believe that it is sequential
            count, lines, samples = self.image.count, self.image.height, self.image.width
            if count * lines * samples > 10**9:
                raise Unreadable(f"{count} interleaved bands of {samples} x {lines} pixels, which is too much")
            raw = self.image.read().reshape(-1)
            if order == "LINE_INTERLEAVED":
                whole = raw.reshape(lines, count, samples).transpose(1, 0, 2)
            else:
                whole = raw.reshape(lines, samples, count).transpose(2, 0, 1)
            read = whole[[band - 1 for band in bands]]
        if self.kind == "PDS3":
            if labels.word(self.label, "LINE_DISPLAY_DIRECTION") == "UP":
                read = read[:, ::-1]
            if labels.word(self.label, "SAMPLE_DISPLAY_DIRECTION") == "LEFT":
                read = read[:, :, ::-1]
        return read

    # ------------------------------------------------------------------------------------ what they mean

    def _bands(self) -> tuple[list[int], int | None]:
        """Bands to show, one or three, and that of the opacity; counted from 1."""
        names = [colour.name for colour in self.image.colorinterp]
        alpha = names.index("alpha") + 1 if "alpha" in names else None
        if all(name in names for name in ("red", "green", "blue")):
            return [names.index(name) + 1 for name in ("red", "green", "blue")], alpha
        shown = [band for band in range(1, self.image.count + 1) if band != alpha]
        return (shown[:3] if len(shown) >= 3 else shown[:1]), alpha

    def _pixels(self, at_least: int | None, mosaic: str) -> npt.NDArray[np.uint8]:
        bands, alpha = self._bands()
        values = self._samples(bands)
        nothing, saturated = specials.masks(
            values, specials.of(self.kind, self.label, self.dtype, self.image.nodatavals)
        )
        valid = ~(nothing | saturated)
        if self.dtype == "uint8":
            stretch = stretches.Stretch(0.0, 255.0, root=False)
        else:
            stretch = stretches.linear(values, valid, labels.full_scale(self.label))
        values = _told_apart(values, stretch, nothing, saturated)
        opacity = None
        if alpha is not None:
            top = np.iinfo(self.dtype).max if np.dtype(self.dtype).kind in "iu" else 1.0
            opacity = (self.image.read(alpha).astype(np.float32) / top).clip(0, 1)
        lines, samples = values.shape[1:]
        factor = 1 if at_least is None else max(min(lines, samples) // (2 * at_least), 1)
        step = factor * max(2**21 // (samples * factor) // 2 * 2, 2)
        parts = []
        for top_line in range(0, lines, step):
            stop = min(top_line + step, lines)
            part = self._part(values, stretch, top_line, stop, mosaic if len(bands) == 1 else "")
            if opacity is not None:
                over = opacity[top_line:stop, :, None]
                part = np.rint(part * over + 255.0 * (1.0 - over)).astype(np.uint8)
            parts.append(part if factor == 1 else np.asarray(Image.fromarray(part).reduce(factor)))
        return np.concatenate(parts)

    @staticmethod
    def _part(
        values: npt.NDArray[Any], stretch: stretches.Stretch, top: int, stop: int, mosaic: str
    ) -> npt.NDArray[np.uint8]:
        if not mosaic:
            part = stretch(values[:, top:stop]).transpose(1, 2, 0)
            return np.repeat(part, 3, axis=2) if part.shape[2] == 1 else np.ascontiguousarray(part)
        first = max(top - mosaics.REACH, 0)
        last = min(stop + mosaics.REACH, values.shape[1])
        colour = mosaics.demosaic(values[0, first:last], mosaics.shifted(mosaic, 0, first))
        return stretch(colour[top - first : stop - first])


def _told_apart(
    values: npt.NDArray[Any], stretch: stretches.Stretch, nothing: specials.Mask, saturated: specials.Mask
) -> npt.NDArray[Any]:
    """The values, those of nothing as black and saturated ones as white, band by band; of a type that holds both."""
    if not nothing.any() and not saturated.any():
        return values
    if values.dtype.kind in "iu" and not np.can_cast(np.min_scalar_type(int(stretch.white)), values.dtype):
        values = values.astype(np.int64)
    values = np.where(nothing, values.dtype.type(stretch.black), values)
    return np.where(saturated, values.dtype.type(stretch.white), values)


def main() -> None:
    """What the process runs."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, sys.stdout.buffer)
