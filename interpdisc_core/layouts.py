"""Where the samples of a product lie in its file, by its label.

GDAL reads them; but what lies beyond the end of a file it shows as 0, and some orders of bands it takes for others.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from interpdisc_core import labels, pds4
from interpdisc_core.errors import Unreadable


def check(
    kind: str, shape: tuple[int, int], bands: int, dtype: str, label: Mapping[str, Any], files: Mapping[str, bytes],
    told: pds4.Xml,
) -> None:  # fmt: skip
    """Raise Unreadable where a file has fewer bytes than its label asks for.

    shape: (lines, samples). files: the label's first. told: the label of a PDS4 product. TIFF, PNG and JPEG 2000, and
    compressed VICAR, tell themselves when something is missing.
    """
    lines, samples = shape
    item = np.dtype(dtype).itemsize
    need = lines * samples * bands * item
    have = len(next(iter(files.values())))
    if kind == "PDS4":
        start, have = told.offset, len(files[told.files[0]]) if told.files else 0
    elif kind == "VICAR":
        if labels.word(label, "COMPRESS") not in ("", "NONE"):
            return
        start = labels.whole(label, "LBLSIZE") + labels.whole(label, "NLB") * labels.whole(label, "RECSIZE")
        need += labels.whole(label, "NBB") * labels.whole(label, "N2", 1) * labels.whole(label, "N3", 1)
    elif kind == "ISIS3":
        start = max(labels.whole(label, "STARTBYTE", 1) - 1, 0)
        if high := labels.whole(label, "TILELINES"):
            wide = max(labels.whole(label, "TILESAMPLES", 1), 1)
            need = -(-samples // wide) * wide * -(-lines // high) * high * bands * item
    elif kind in ("PDS3", "ISIS2"):
        start, named = _pointed(label)
        if named:
            have = next((len(body) for name, body in files.items() if name.lower() == named.lower()), have)
        around = labels.whole(label, "LINE_PREFIX_BYTES") + labels.whole(label, "LINE_SUFFIX_BYTES")
        sequential = kind == "ISIS2" or bands == 1 or order(label) == "BAND_SEQUENTIAL"
        need += around * lines * (bands if sequential else 1)
    else:
        return
    if start + need > have:
        raise Unreadable(f"truncated: {have} bytes of at least {start + need}")


def _pointed(label: Mapping[str, Any]) -> tuple[int, str]:
    """Where a PDS3 or ISIS 2 label says that the samples begin, in bytes, and in which file ("": its own)."""
    record = max(labels.whole(label, "RECORD_BYTES", 1), 1)
    for pointer in ("^IMAGE", "^QUBE", "^SPECTRAL_QUBE"):
        for name, value in labels.leaves(label):
            if name != pointer:
                continue
            parts = [str(part).strip() for part in (value if isinstance(value, list) else [value])]
            named = next((part.strip('"') for part in parts if not part[:1].isdigit()), "")
            count = next((int(part.split()[0]) for part in parts if part and part.split()[0].isdecimal()), 1)
            in_bytes = "BYTES" in "".join(parts).upper() or labels.word(label, f"{pointer}_UNIT") == "BYTES"
            return max(count - 1, 0) * (1 if in_bytes else record), named
    return 0, ""


def order(label: Mapping[str, Any]) -> str:
    """BAND_SEQUENTIAL, LINE_INTERLEAVED or SAMPLE_INTERLEAVED, of a PDS3 label. Raises Unreadable for another."""
    given = labels.word(label, "BAND_STORAGE_TYPE").replace("INTERLEAVE_", "INTERLEAVED")
    known = {
        "": "BAND_SEQUENTIAL", "BAND_SEQUENTIAL": "BAND_SEQUENTIAL", "LINE_INTERLEAVED": "LINE_INTERLEAVED",
        "SAMPLE_INTERLEAVED": "SAMPLE_INTERLEAVED", "PIXEL_INTERLEAVED": "SAMPLE_INTERLEAVED",
    }  # fmt: skip
    if given not in known:
        raise Unreadable(f"bands stored as {given[:40]}, which is not known")
    return known[given]
