"""Samples of PDS3 images, read with NumPy where GDAL would show other values than the label says.

GDAL 3.10 reads whole numbers of 32 bits as reals, signed bytes as unsigned ones, takes bytes after the lines (and before
the lines of pixels of several bands) for samples, and reads types that it does not know as others. What it is tested to
read rightly is left to it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import Unreadable
from interpdisc_core.images.pds_labels import find_integer, find_word
from interpdisc_core.images.sample_layout import find_band_order, find_data_pointer

_SAMPLE_TYPE = re.compile(r"(MSB_|SUN_|MAC_|IEEE_|LSB_|PC_|VAX_|)(UNSIGNED_|SIGNED_|)(INTEGER|REAL|FLOAT)")
_LEAST_BYTE_FIRST = ("LSB_", "PC_", "VAX_")
_TYPES_OF_GDAL = frozenset(
    ("MSB_INTEGER", "MSB_UNSIGNED_INTEGER", "LSB_INTEGER", "LSB_UNSIGNED_INTEGER", "IEEE_REAL", "PC_REAL")
)
"""Sample types whose byte order is left to GDAL."""
_BITS = {"u": (8, 16, 32), "i": (8, 16, 32), "f": (32, 64)}


@dataclass(frozen=True, slots=True)
class RawImage:
    """Uncompressed samples in a file.

    Args:
        data: The file.
        dtype: Of the samples, with their byte order.
        shape: (bands, lines, samples).
        band_order: Of `sample_layout.find_band_order`.
        offset: Of the first line, in bytes.
        prefix_bytes: Before the samples of each line.
        suffix_bytes: After the samples of each line.
    """

    data: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    band_order: str
    offset: int
    prefix_bytes: int = 0
    suffix_bytes: int = 0

    @property
    def _line_bytes(self) -> int:
        bands = self.shape[0] if self.band_order == "SAMPLE_INTERLEAVED" else 1
        return self.prefix_bytes + bands * self.shape[2] * self.dtype.itemsize + self.suffix_bytes

    def check_size(self) -> None:
        """Check that the file has all samples; bytes after the last line may be missing.

        Raises:
            Unreadable: If it has not.
        """
        bands, lines, _ = self.shape
        stored_lines = lines if self.band_order == "SAMPLE_INTERLEAVED" else lines * bands
        needed_bytes = self.offset + stored_lines * self._line_bytes - self.suffix_bytes
        if needed_bytes > len(self.data):
            raise Unreadable(f"truncated: {len(self.data)} bytes of at least {needed_bytes}")

    def read_bands(self, bands: list[int]) -> npt.NDArray[Any]:
        """The samples of some bands, counted from 1: (bands, lines, samples), in this machine's byte order."""
        count, lines, _ = self.shape
        item_bytes, line_bytes = self.dtype.itemsize, self._line_bytes
        strides = {
            "BAND_SEQUENTIAL": (lines * line_bytes, line_bytes, item_bytes),
            "LINE_INTERLEAVED": (line_bytes, count * line_bytes, item_bytes),
            "SAMPLE_INTERLEAVED": (item_bytes, line_bytes, count * item_bytes),
        }[self.band_order]
        start = self.offset + self.prefix_bytes
        values: npt.NDArray[Any] = np.ndarray(self.shape, self.dtype, self.data, start, strides)
        return values[[band - 1 for band in bands]].astype(self.dtype.newbyteorder("="))


def find_raw_image(
    pds_label: Mapping[str, Any], gdal_dtype: str, shape: tuple[int, int, int], files: Mapping[str, bytes]
) -> RawImage | None:
    """How to read the samples of a PDS3 image that GDAL would not show as its label says; None if GDAL does.

    Args:
        pds_label: The fields of its label.
        gdal_dtype: NumPy's name of the type of the samples as GDAL gives them.
        shape: (bands, lines, samples).
        files: By name, the label first.

    Raises:
        Unreadable: If the samples are encoded, their type or layout is not known here, or bytes are missing.
    """
    fields = _find_image_object(pds_label)
    encoding = find_word(fields, "ENCODING_TYPE") or find_word(pds_label, "ENCODING_TYPE")
    if encoding not in ("", "N/A", "NONE", "NULL", "UNK"):
        raise Unreadable(f"its samples are encoded ({encoding[:40]}); take the decoded product or its browse image")
    if not find_word(fields, "SAMPLE_TYPE") and find_word(fields, "CORE_ITEM_TYPE"):
        return None  # a QUBE, whose suffixes GDAL knows
    dtype, is_read_by_gdal = _read_sample_type(fields, gdal_dtype)
    bands, lines, samples = shape
    band_order = find_band_order(fields) if bands > 1 else "BAND_SEQUENTIAL"
    offset, data_name = find_data_pointer(pds_label)
    data = next((body for name, body in files.items() if name.lower() == data_name.lower()), next(iter(files.values())))
    prefix_bytes, suffix_bytes = find_integer(fields, "LINE_PREFIX_BYTES"), find_integer(fields, "LINE_SUFFIX_BYTES")
    if not prefix_bytes + suffix_bytes and band_order == "BAND_SEQUENTIAL":
        # Lines that are padded to whole records, without a keyword that says so: the records are as many as the lines.
        record_bytes, line_bytes = find_integer(pds_label, "RECORD_BYTES"), samples * dtype.itemsize
        if record_bytes > line_bytes and offset + lines * bands * record_bytes == len(data):
            suffix_bytes = record_bytes - line_bytes
    if prefix_bytes + suffix_bytes and band_order == "LINE_INTERLEAVED":
        raise Unreadable("bands interleaved by line with bytes before or after the lines, which are not read")
    if is_read_by_gdal and not prefix_bytes + suffix_bytes:
        return None
    raw_image = RawImage(data, dtype, shape, band_order, offset, prefix_bytes, suffix_bytes)
    raw_image.check_size()
    return raw_image


def _find_image_object(pds_label: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of the IMAGE object: a label may describe a browse image and others too; the label if it has none."""
    level: list[Mapping[str, Any]] = [pds_label]
    while level:
        for mapping in level:
            if isinstance(image := mapping.get("IMAGE"), Mapping):
                return image
        level = [value for mapping in level for value in mapping.values() if isinstance(value, Mapping)]
    return pds_label


def _read_sample_type(fields: Mapping[str, Any], gdal_dtype: str) -> tuple[np.dtype[Any], bool]:
    """The type of the samples with its byte order, and whether GDAL reads it.

    Raises:
        Unreadable: If it is not known here.
    """
    bits, words = find_integer(fields, "SAMPLE_BITS"), find_word(fields, "SAMPLE_TYPE")
    if not words:
        if gdal_dtype == "uint8":
            return np.dtype("u1"), True
        raise Unreadable(f"its label has no SAMPLE_TYPE, so the byte order of its {bits} bits is not known")
    match = _SAMPLE_TYPE.fullmatch(words)
    if match:
        prefix, sign, name = match.groups()
        kind = "f" if name != "INTEGER" else "u" if sign == "UNSIGNED_" else "i"
        is_known = (prefix != "VAX_" and not sign) if kind == "f" else prefix != "IEEE_"
        if is_known and bits in _BITS[kind]:
            dtype = np.dtype(f"{'<' if prefix in _LEAST_BYTE_FIRST else '>'}{kind}{bits // 8}")
            return dtype, dtype.name == gdal_dtype and (bits == 8 or words in _TYPES_OF_GDAL)
    raise Unreadable(
        f"samples of {bits} bits of type {words[:40]}, which are not read; convert them to 16 bits or reals"
    )
