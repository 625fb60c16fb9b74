"""Where the samples of a product are in its file, by its label.

GDAL reads samples beyond the end of a file as 0, and mistakes some orders of bands; so both are checked here. No
library is used (`pvl`, `pds4_tools`): this module is hardened against hostile labels, which those libraries are not.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from interpdisc_core.errors import Unreadable
from interpdisc_core.images import pds4
from interpdisc_core.images.pds_labels import find_integer, find_word, iter_leaves
from interpdisc_core.metadata.pds_pointers import POINTER_KEYWORDS

_OFFSET = re.compile(r"([0-9]{1,15})\s*(?:<\s*\w+\s*>)?", re.ASCII)
"""The number of a pointer, with or without its unit; names of files may begin with a digit too."""


def check_file_size(
    kind: str,
    shape: tuple[int, int],
    bands: int,
    dtype: str,
    pds_label: Mapping[str, Any],
    files: Mapping[str, bytes],
    pds4_label: pds4.Pds4Label,
) -> None:
    """Check that a file has as many bytes as its label says.

    TIFF, PNG, JPEG 2000 and compressed VICAR are not checked: their readers notice missing bytes. Nor are bytes around the
    lines of PDS3 images: `pds3_samples` reads these.

    Args:
        kind: The format, as `detect_kind` returns it.
        shape: (lines, samples).
        bands: Of the image.
        dtype: NumPy's name of the samples' type.
        pds_label: The fields of its label.
        files: By name, the label first.
        pds4_label: The label of a PDS4 product.

    Raises:
        Unreadable: If bytes are missing.
    """
    lines, samples = shape
    sample_bytes = np.dtype(dtype).itemsize
    needed_bytes = lines * samples * bands * sample_bytes
    available_bytes = len(next(iter(files.values())))
    if kind == "PDS4":
        start, available_bytes = pds4_label.offset, len(files[pds4_label.data_names[0]]) if pds4_label.data_names else 0
    elif kind == "VICAR":
        if find_word(pds_label, "COMPRESS") not in ("", "NONE"):
            return
        start = find_integer(pds_label, "LBLSIZE") + find_integer(pds_label, "NLB") * find_integer(pds_label, "RECSIZE")
        needed_bytes += (
            find_integer(pds_label, "NBB") * find_integer(pds_label, "N2", 1) * find_integer(pds_label, "N3", 1)
        )
    elif kind == "ISIS3":
        start = max(find_integer(pds_label, "STARTBYTE", 1) - 1, 0)
        if tile_lines := find_integer(pds_label, "TILELINES"):
            tile_samples = max(find_integer(pds_label, "TILESAMPLES", 1), 1)
            needed_bytes = (
                -(-samples // tile_samples) * tile_samples * -(-lines // tile_lines) * tile_lines * bands * sample_bytes
            )
    elif kind in ("PDS3", "ISIS2"):
        start, data_name = find_data_pointer(pds_label)
        if data_name:
            available_bytes = next(
                (len(body) for name, body in files.items() if name.lower() == data_name.lower()), available_bytes
            )
    else:
        return
    if start + needed_bytes > available_bytes:
        raise Unreadable(f"truncated: {available_bytes} bytes of at least {start + needed_bytes}")


def find_data_pointer(pds_label: Mapping[str, Any]) -> tuple[int, str]:
    """The offset of the samples in bytes, and their file (empty: the label's own), by a PDS3 or ISIS 2 label."""
    record_bytes = max(find_integer(pds_label, "RECORD_BYTES", 1), 1)
    for pointer in POINTER_KEYWORDS:
        for name, value in iter_leaves(pds_label):
            if name != pointer:
                continue
            items = [str(item).strip() for item in (value if isinstance(value, list) else [value])]
            data_name = next((item.strip("\"'") for item in items if not _OFFSET.fullmatch(item)), "")
            count = next((int(match[1]) for item in items if (match := _OFFSET.fullmatch(item))), 1)
            in_bytes = "BYTES" in "".join(items).upper() or find_word(pds_label, f"{pointer}_UNIT") == "BYTES"
            return max(count - 1, 0) * (1 if in_bytes else record_bytes), data_name
    return 0, ""


def find_band_order(pds_label: Mapping[str, Any]) -> str:
    """BAND_SEQUENTIAL, LINE_INTERLEAVED or SAMPLE_INTERLEAVED, by a PDS3 label.

    Raises:
        Unreadable: If the label has another order.
    """
    storage_type = find_word(pds_label, "BAND_STORAGE_TYPE").replace("INTERLEAVE_", "INTERLEAVED")
    band_orders = {
        "": "BAND_SEQUENTIAL",
        "BAND_SEQUENTIAL": "BAND_SEQUENTIAL",
        "LINE_INTERLEAVED": "LINE_INTERLEAVED",
        "SAMPLE_INTERLEAVED": "SAMPLE_INTERLEAVED",
        "PIXEL_INTERLEAVED": "SAMPLE_INTERLEAVED",
    }
    if storage_type not in band_orders:
        raise Unreadable(f"unknown BAND_STORAGE_TYPE {storage_type[:40]}")
    return band_orders[storage_type]
