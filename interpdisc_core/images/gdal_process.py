"""Reads science rasters with GDAL, in a process of its own that `interpdisc_core.images.science_formats` starts.

GDAL's drivers crash on some labels (3.10 on one keyword's value), so GDAL is never loaded into a worker. The process
has no credentials, no network, and limits of memory and time.

Requests on standard input and answers on standard output are a line of JSON, then bytes.
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

from interpdisc_core._types import BoolArray
from interpdisc_core.errors import InterpdiscError, Unreadable, one_line
from interpdisc_core.images import (
    demosaic,
    memory_budget,
    pds3_samples,
    pds4,
    pds_labels,
    sample_layout,
    special_values,
    tiff_samples,
    tiff_tags,
)
from interpdisc_core.images.headers import to_bounded_json
from interpdisc_core.images.science_formats import READY_LINE, TIMEOUT_S
from interpdisc_core.images.stretch import DISPLAY_STRETCH, Stretch, fit_linear_stretch
from interpdisc_core.metadata.pds_pointers import is_safe_name
from interpdisc_core.metadata.untrusted import load_untrusted_json

MEMORY_LIMIT = 12 * 2**30
"""Address space of the process in bytes."""
_MAX_BANDS = 4096
_MASK_BYTES = 4
"""Bytes per sample of the masks of valid and special values."""
_OPACITY_BYTES = 8
"""Bytes per pixel of the opacity, while it is converted."""
_DRIVERS = {
    "VICAR": "VICAR",
    "PDS3": "PDS",
    "PDS4": "PDS4",
    "ISIS2": "ISIS2",
    "ISIS3": "ISIS3",
    "TIFF": "GTiff",
    "PNG": "PNG",
    "JPEG2000": "JP2OpenJPEG",
}
_GDAL_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_MAX_BAND_COUNT": str(_MAX_BANDS),
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",
    "GDAL_NUM_THREADS": "1",
}


def serve_requests(input_stream: BinaryIO, output_stream: BinaryIO) -> None:
    """Write `READY_LINE`, then answer requests until the input ends."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    output_stream.write(READY_LINE)
    output_stream.flush()
    while line := input_stream.readline():
        request = json.loads(line)
        files = {name: input_stream.read(size) for name, size in request["files"]}
        signal.alarm(TIMEOUT_S)
        answer: dict[str, Any]
        pixels = None
        try:
            answer, pixels = _read_product(request, files)
        except InterpdiscError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"error": "not enough memory to decode it"}
        except Exception as error:  # noqa: BLE001 - hostile bytes: GDAL may raise anything
            answer = {"error": f"damaged: {one_line(error)}"}
        signal.alarm(0)
        output_stream.write(json.dumps(answer).encode() + b"\n")
        if pixels is not None:
            output_stream.write(np.ascontiguousarray(pixels).data)
        output_stream.flush()


def _read_product(
    request: Mapping[str, Any], files: dict[str, bytes]
) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile
    from rasterio.session import DummySession

    kind: str = request["kind"]
    name, data = next(iter(files.items()))
    pds4_label = pds4.Pds4Label()
    if kind == "PDS4":
        pds4_label = pds4.parse_pds4_label(data)
        data = pds4_label.safe_xml
        if missing := [data_name for data_name in pds4_label.data_names[:1] if data_name not in files]:
            raise Unreadable(f"its label names {missing[0]} as its data, which is not in its folder")
    elif kind in ("PDS3", "ISIS2", "ISIS3"):
        data = pds_labels.neutralize_label(data)
    folder = f"/vsimem/{(folder_name := uuid4().hex)}/"
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(session=DummySession(), **_GDAL_OPTIONS))
        memory_file = stack.enter_context(MemoryFile(data, dirname=folder_name, filename=name))
        for other, body in list(files.items())[1:]:
            stack.enter_context(MemoryFile(body, dirname=folder_name, filename=other))
        try:
            image = stack.enter_context(memory_file.open(driver=[_DRIVERS[kind]]))
        except RasterioError as error:
            data_name = pds_labels.find_data_name(files[name]) if kind in ("PDS3", "ISIS2", "ISIS3") else ""
            if data_name and data_name not in files:
                reason = (
                    f"names {data_name[:80]} as its data, which is not in its folder"
                    if is_safe_name(data_name)
                    else "names a file outside its folder"
                )
                raise Unreadable(f"its label {reason}") from None
            raise Unreadable(f"damaged {kind} label: {_describe_gdal_error(error, folder)}") from None
        if not all(path.startswith(folder) for path in image.files):
            raise Unreadable("its label names a file outside its folder as its data")
        try:
            return _RasterImage(image, kind, files, pds4_label).answer(request)
        except RasterioError as error:
            raise Unreadable(f"truncated or damaged: {_describe_gdal_error(error, folder)}") from None


def _describe_gdal_error(error: Exception, folder: str) -> str:
    return one_line(error.__cause__ or error, 1000).replace(folder, "")[:200]


class _RasterImage:
    """An opened image of (lines, samples)."""

    def __init__(self, image: Any, kind: str, files: Mapping[str, bytes], pds4_label: pds4.Pds4Label) -> None:
        self.image, self.kind, self.files, self.pds4_label = image, kind, files, pds4_label
        self.pds_label = self._read_label()
        self.raw_image: pds3_samples.RawImage | None = None  # of samples that GDAL would show as others
        data = next(iter(files.values()))
        self.page = tiff_tags.read_first_page(data) if kind == "TIFF" else tiff_tags.TiffPage()
        dtypes = set(image.dtypes)
        self.dtype: str = image.dtypes[0]
        if len(dtypes) > 1 or np.dtype(self.dtype).kind not in "iuf":
            raise Unreadable(f"samples of type {', '.join(sorted(dtypes))} cannot be shown as an image")
        if kind == "TIFF":
            tiff_samples.check_colors(self.page, self.dtype)

    def _read_label(self) -> dict[str, Any]:
        domain = {"VICAR": "json:VICAR", "PDS3": "json:PDS", "ISIS3": "json:ISIS3"}.get(self.kind)
        if self.kind == "PDS4":
            return self.pds4_label.fields
        if domain:
            # rasterio takes the text for NAME:value pairs, and splits it at the first ":".
            text = ":".join(next(iter(self.image.tags(ns=domain).items()), ("{}",)))
            try:
                return pds_labels.simplify_fields(load_untrusted_json(text, parse_constant=None))
            except (ValueError, RecursionError):  # RecursionError: of `simplify_fields`
                return {}
        if self.kind == "ISIS2":
            return pds_labels.parse_text_fields(next(iter(self.files.values())))
        return dict(self.image.tags())

    def answer(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
        image = self.image
        if image.width < 1 or image.height < 1 or image.count < 1:
            raise Unreadable("an image without pixels")
        if image.width * image.height > request["max_pixels"]:
            million_pixels = request["max_pixels"] // 10**6
            raise Unreadable(
                f"decompression bomb: {image.width} x {image.height} pixels, more than {million_pixels} million"
            )
        if self.kind == "PDS3":
            shape = (image.count, image.height, image.width)
            self.raw_image = pds3_samples.find_raw_image(self.pds_label, self.dtype, shape, self.files)
            if self.raw_image:
                self.dtype = self.raw_image.dtype.name
        if not self.raw_image:
            sample_layout.check_file_size(
                self.kind, image.shape, image.count, self.dtype, self.pds_label, self.files, self.pds4_label
            )
        info = {
            "format": self.kind,
            "width": image.width,
            "height": image.height,
            "mode": f"{self.dtype}x{image.count}",
            "header": to_bounded_json(self.pds_label),
        }
        if not request["pixels"]:
            return info, None
        needed_bytes = self._estimate_bytes()
        memory_budget.check_budget(needed_bytes, request["budget_bytes"])
        signal.alarm(0)  # to wait for memory is not the image's fault
        with memory_budget.reserve_memory(needed_bytes, request["budget_bytes"]):
            signal.alarm(TIMEOUT_S)
            pixels = self._render_pixels(request["at_least"], request["bayer_pattern"])
        return info | {"shape": pixels.shape}, pixels

    def _estimate_bytes(self) -> int:
        """Memory that rendering takes at its peak: samples, copies of them and masks, and the picture here and in the worker."""
        shown_bands, alpha = self._select_bands()
        is_interleaved = (
            self.kind == "PDS3"
            and not self.raw_image
            and sample_layout.find_band_order(self.pds_label) != "BAND_SEQUENTIAL"
        )
        pixels: int = self.image.width * self.image.height
        sample_bytes = np.dtype(self.dtype).itemsize
        read_bytes = sample_bytes * (2 * self.image.count if is_interleaved and self.image.count > 1 else 0)
        shown_bytes = len(shown_bands) * (3 * sample_bytes + _MASK_BYTES)
        return pixels * (read_bytes + shown_bytes + (_OPACITY_BYTES if alpha else 0) + 2 * 3)

    def _read_samples(self, bands: list[int]) -> npt.NDArray[Any]:
        """The samples of some bands, counted from 1: (bands, lines, samples), of the file's type."""
        order = (
            sample_layout.find_band_order(self.pds_label)
            if self.kind == "PDS3" and self.image.count > 1
            else "BAND_SEQUENTIAL"
        )
        values: npt.NDArray[Any]
        if self.raw_image:
            values = self.raw_image.read_bands(bands)
        elif order == "BAND_SEQUENTIAL":
            values = self.image.read(bands)
        else:  # GDAL reads them as if they were sequential, see `pds_labels.neutralize_label`
            count, lines, samples = self.image.count, self.image.height, self.image.width
            if count * lines * samples > 10**9:
                raise Unreadable(f"{count} interleaved bands of {samples} x {lines} pixels, which is too large")
            raw = self.image.read().reshape(-1)
            if order == "LINE_INTERLEAVED":
                planar = raw.reshape(lines, count, samples).transpose(1, 0, 2)
            else:
                planar = raw.reshape(lines, samples, count).transpose(2, 0, 1)
            values = planar[[band - 1 for band in bands]]
        if self.kind == "PDS3":
            if pds_labels.find_word(self.pds_label, "LINE_DISPLAY_DIRECTION") == "UP":
                values = values[:, ::-1]
            if pds_labels.find_word(self.pds_label, "SAMPLE_DISPLAY_DIRECTION") == "LEFT":
                values = values[:, :, ::-1]
        return values

    def _select_bands(self) -> tuple[list[int], int | None]:
        """The bands to show, one or three, and the band of the opacity; counted from 1."""
        names = [color.name for color in self.image.colorinterp]
        alpha = names.index("alpha") + 1 if "alpha" in names else None
        if all(name in names for name in ("red", "green", "blue")):
            return [names.index(name) + 1 for name in ("red", "green", "blue")], alpha
        if self.page.photometric == tiff_tags.SEPARATED:
            return [1, 2, 3, 4], alpha
        visible_bands = [band for band in range(1, self.image.count + 1) if band != alpha]
        return (visible_bands[:3] if len(visible_bands) >= 3 else visible_bands[:1]), alpha

    def _read_palette(self) -> npt.NDArray[np.uint8] | None:
        """The colors of a palette, (256, 3); None if the image has none."""
        if self.page.photometric != tiff_tags.PALETTE:
            return None
        colors = np.zeros((256, 3), np.uint8)
        for index, color in self.image.colormap(1).items():
            if 0 <= index < 256:
                colors[index] = color[:3]
        return colors

    def _render_pixels(self, at_least: int | None, bayer_pattern: str) -> npt.NDArray[np.uint8]:
        bands, alpha = self._select_bands()
        values = self._read_samples(bands)
        nodata = () if self.raw_image else self.image.nodatavals
        missing, saturated = special_values.build_special_masks(
            values, special_values.find_special_values(self.kind, self.pds_label, self.dtype, nodata)
        )
        valid = ~(missing | saturated)
        opacity = None
        if alpha is not None:
            full_scale = np.iinfo(self.dtype).max if np.dtype(self.dtype).kind in "iu" else 1.0
            opacity = (self.image.read(alpha).astype(np.float32) / full_scale).clip(0, 1)
        is_display = False
        if self.kind == "TIFF":
            values, is_display = tiff_samples.convert_colors(self.page, values, opacity, self._read_palette())
        if values.dtype == np.uint8:
            stretch = Stretch(0.0, 255.0, use_sqrt=False)
        elif is_display:
            stretch = DISPLAY_STRETCH
        else:
            stretch = fit_linear_stretch(values, valid, pds_labels.find_full_scale(self.pds_label))
        if values.shape == missing.shape:
            values = _fill_special_values(values, stretch, missing, saturated)
        lines, samples = values.shape[1:]
        factor = 1 if at_least is None else max(min(lines, samples) // (2 * at_least), 1)
        step = factor * max(2**21 // (samples * factor) // 2 * 2, 2)
        strips = []
        for top_line in range(0, lines, step):
            stop = min(top_line + step, lines)
            strip = self._render_lines(values, stretch, top_line, stop, bayer_pattern if len(values) == 1 else "")
            if opacity is not None:
                weight = opacity[top_line:stop, :, None]
                strip = np.rint(strip * weight + 255.0 * (1.0 - weight)).astype(np.uint8)
            strips.append(strip if factor == 1 else np.asarray(Image.fromarray(strip).reduce(factor)))
        return np.concatenate(strips)

    @staticmethod
    def _render_lines(
        values: npt.NDArray[Any], stretch: Stretch, top: int, stop: int, bayer_pattern: str
    ) -> npt.NDArray[np.uint8]:
        if not bayer_pattern:
            strip = stretch(values[:, top:stop]).transpose(1, 2, 0)
            return np.repeat(strip, 3, axis=2) if strip.shape[2] == 1 else np.ascontiguousarray(strip)
        first = max(top - demosaic.KERNEL_RADIUS, 0)
        last = min(stop + demosaic.KERNEL_RADIUS, values.shape[1])
        color = demosaic.demosaic(values[0, first:last], demosaic.shift_pattern(bayer_pattern, 0, first))
        return stretch(color[top - first : stop - first])


def _fill_special_values(
    values: npt.NDArray[Any], stretch: Stretch, missing: BoolArray, saturated: BoolArray
) -> npt.NDArray[Any]:
    """The values with missing ones set to black and saturated ones to white, of a type that can hold both."""
    if not missing.any() and not saturated.any():
        return values
    if values.dtype.kind in "iu" and not np.can_cast(np.min_scalar_type(int(stretch.white)), values.dtype):
        values = values.astype(np.int64)
    values = np.where(missing, values.dtype.type(stretch.black), values)
    return np.where(saturated, values.dtype.type(stretch.white), values)


def main() -> None:
    """The process's entry point: set its limits, then serve requests on standard input."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve_requests(sys.stdin.buffer, sys.stdout.buffer)
