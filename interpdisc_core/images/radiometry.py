"""What an image's values mean, and how they are brought to the 8-bit, display-like domain of the networks.

One scene companded to 8 bits, linear with 12 bits, and as a browse picture would seem novel compared with each other if
the three went into one model unchanged. So each image's radiometry is recorded by name, its transform is stated, and
images of different radiometry can be kept in separate strata.

Radiometry is recognized by label, record and product name, never guessed from pixels.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from interpdisc_core.images import demosaic, pds_labels
from interpdisc_core.images.stretch import is_display_referred
from interpdisc_core.metadata.image_metadata import ImageMetadata

Encoding = Literal["companded8", "linear12", "linear16", "float", "display8", "unknown"]
ColorKind = Literal["colour", "grey", "bayer", "filter"]

_ROOT_16 = (
    "sqrt(v / 4095) where no value is above 4095, else sqrt(v / 65535); from the least value where that is below 0"
)
_PERCENTILES = "sqrt of the place between percentiles 0.1 and 99.9"
_TRANSFORMS: dict[Encoding, str] = {
    "companded8": "as they are",
    "display8": "as they are",
    "float": _PERCENTILES,
    "unknown": _PERCENTILES,
    "linear12": "sqrt(v / 4095); from the least value where that is below 0",
    "linear16": _ROOT_16,
}


@dataclass(frozen=True, slots=True)
class Radiometry:
    """The meaning of an image's values.

    Args:
        encoding: `companded8`: reduced to 8 bits on board by a table near the square root. `display8`: made for
            viewing (JPEG, PNG; 16 bits with a profile). `linear12`, `linear16`: proportional to light. `float`: real
            numbers of any unit. `unknown`: integers of more than 16 bits.
        color: `colour`: three bands or more. `bayer`: one band, each pixel of one color. `filter`: one band of a narrow
            filter or a single color. `grey`: any other single band.
        transform: In words, how `interpdisc_core.images.decode` makes 8 bits of the values.
    """

    encoding: Encoding
    color: ColorKind
    transform: str

    @property
    def name(self) -> str:
        """Encoding and color, such as `linear12 grey`; images of different names can be kept in separate strata."""
        return f"{self.encoding} {self.color}"


def classify_radiometry(
    mode: str, format: str, header: Mapping[str, Any], metadata: ImageMetadata | None = None, id: str = ""
) -> Radiometry:
    """The radiometry of an image. Never raises, whatever the header holds.

    Args:
        mode: Of its `ImageInfo`.
        format: Of its `ImageInfo`.
        header: Of its `ImageInfo`, parsed.
        metadata: Its `parse_metadata`, if known.
        id: Its id; a product name in it is recognized.
    """
    kind, bands = _parse_mode(mode)
    product = " ".join(
        (
            id,
            metadata.product if metadata else "",
            _find_label_word(header, "PRODUCT_ID", "IMAGE_ID", "LOGICAL_IDENTIFIER"),
        )
    )
    encoding, transform = _classify_encoding(kind, header, product.upper())
    color = _classify_color(bands, header, metadata, product.upper())
    if encoding == "display8" and kind == "u2":
        transform = "v / 257"
    if color == "bayer":
        transform = f"demosaiced (Malvar, He, Cutler 2004), then {transform}"
    elif bands == 1:
        transform += ", in three equal channels"
    return Radiometry(encoding, color, transform)


def find_bayer_pattern(name: str, header: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> str:
    """The Bayer pattern of an image, for `interpdisc_core.images.decode.decode`; empty if it is not a mosaic.

    By the label's color filter array; if that is missing RGGB, as of the cameras of MSL and Mars 2020. Shifted for a
    subframe that begins at an even line or sample, counted from 1, by the label or by the feed's `subframeRect`.

    Args:
        name: Of the image's `Radiometry`.
        header: Of its `ImageInfo`, parsed.
        record: Its source's record.
    """
    if not name.endswith(" bayer"):
        return ""
    cfa_type = _find_label_word(header, "COLOR_FILTER_ARRAY_TYPE", "CFA_TYPE").replace("_", "")
    pattern = next((pattern for pattern in demosaic.BAYER_PATTERNS if pattern in cfa_type), "RGGB")
    fields = header if isinstance(header, Mapping) else {}
    x = pds_labels.find_integer(fields, "FIRST_LINE_SAMPLE") or pds_labels.find_integer(fields, "FIRST_SAMPLE")
    y = pds_labels.find_integer(fields, "FIRST_LINE")
    if not (x and y):
        rect = re.fullmatch(
            r"\(?(\d{1,5}),(\d{1,5}),\d{1,5},\d{1,5}\)?", re.sub(r"\s", "", _find_subframe_rect(record))
        )
        x, y = (int(rect[1]), int(rect[2])) if rect else (1, 1)
    return demosaic.shift_pattern(pattern, max(x - 1, 0), max(y - 1, 0))


_ONE_BAND = ("1", "L", "LA", "La", "I", "F")


def _parse_mode(mode: str) -> tuple[str, int]:
    """The type of samples (u1, u2, i2, u4, i4, f4 …) and the number of bands of an `ImageInfo`'s mode."""
    if match := re.fullmatch(r"(u?int|float)(8|16|32|64)x(\d{1,6})", mode):
        letter = {"uint": "u", "int": "i", "float": "f"}[match[1]]
        return f"{letter}{int(match[2]) // 8}", int(match[3])
    if mode.startswith("I;16"):
        return "u2", 1
    return {"F": "f4", "I": "i4"}.get(mode, "u1"), 1 if mode in _ONE_BAND else 3


def _classify_encoding(kind: str, header: Mapping[str, Any], product: str) -> tuple[Encoding, str]:
    encoding: Encoding
    if kind in ("u1", "i1"):
        state = _find_label_word(header, "COMPANDING_STATE")
        bit_mode = _find_label_word(header, "SAMPLE_BIT_MODE_ID")
        is_companded_name = bool(re.search(r"\d{10}_\d{3}E[A-Z]{2}|[_ ]DXXX\b", product))
        if state:
            encoding = "companded8" if state == "COMPANDED" else "display8"
        else:
            encoding = "companded8" if is_companded_name or "SQROOT" in bit_mode or "LUT" in bit_mode else "display8"
    elif kind in ("u2", "i2"):
        is_twelve_bit = pds_labels.find_full_scale(header) == 4095 or bool(re.search(r"\d{10}_\d{3}E[A-Z]{2}", product))
        encoding = "display8" if is_display_referred(header) else "linear12" if is_twelve_bit else "linear16"
    else:
        encoding = "float" if kind.startswith("f") else "unknown"
    return encoding, _TRANSFORMS[encoding]


def _classify_color(bands: int, header: Mapping[str, Any], metadata: ImageMetadata | None, product: str) -> ColorKind:
    if bands >= 3:
        return "colour"
    state = _find_label_word(header, "COLOR_FILTER_ARRAY_STATE", "CFA_STATE")
    is_raw_raster = re.search(r"\dM[LRHD]\d{16}[ABCJK][0-9A-F][0-9A-Z]_DXXX\b", product)
    if state == "ENCODED" or (
        not state and (is_raw_raster or (metadata and metadata.mission == "mars2020" and metadata.filter == "E"))
    ):
        return "bayer"
    if metadata and re.fullmatch(r"[LR][1-7]|[RGB]", metadata.filter):
        return "filter"
    return "grey"


def _find_label_word(header: Mapping[str, Any], *names: str) -> str:
    return pds_labels.find_word(header, *names) if isinstance(header, Mapping) else ""


def _find_subframe_rect(record: Mapping[str, Any] | None) -> str:
    for name, value in pds_labels.iter_leaves(record) if isinstance(record, Mapping) else ():
        if name.replace("_", "") == "SUBFRAMERECT":
            return str(value)
    return ""
