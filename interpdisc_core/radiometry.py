"""What an image's values mean, and how they are brought to the 8-bit, display-like domain of the networks.

The same scene companded to 8 bits, linear with 12, or as a browse picture would look new to itself if the three went
into one model as they are. So each image has its radiometry recorded by name, its transform is stated, and what is of
different radiometry can be kept apart.

Recognised by label, record and product name; never guessed from pixels.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from interpdisc_core import labels, mosaics
from interpdisc_core.metadata import Told

Encoding = Literal["companded8", "linear12", "linear16", "float", "display8", "unknown"]
Colour = Literal["colour", "grey", "bayer", "filter"]

_ROOT_16 = (
    "sqrt(v / 4095) where no value is above 4095, else sqrt(v / 65535); from the least value where that is below 0"
)
_PERCENTILES = "sqrt of the place between percentiles 0.1 and 99.9"
_TRANSFORMS: dict[Encoding, str] = {
    "companded8": "as they are", "display8": "as they are", "float": _PERCENTILES, "unknown": _PERCENTILES,
    "linear12": "sqrt(v / 4095); from the least value where that is below 0", "linear16": _ROOT_16,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Radiometry:
    """encoding: of the values. colour: of the bands. transform: how `images.decode` makes 8 bits of them, in words.

    companded8: brought to 8 bits on board by a table near the square root. display8: made to be looked at (JPEG, PNG;
    16 bits with a profile). linear12, linear16: proportional to light. float: real numbers, any unit. unknown: whole
    numbers of more than 16 bits. bayer: one band in which each pixel saw one colour. filter: one band of a narrow
    filter or a single colour; grey: one band besides.
    """

    encoding: Encoding
    colour: Colour
    transform: str

    @property
    def name(self) -> str:
        """What images are kept apart by, as `linear12 grey`."""
        return f"{self.encoding} {self.colour}"


def of(mode: str, format: str, header: Mapping[str, Any], told: Told | None = None, id: str = "") -> Radiometry:
    """The radiometry of an image, from `Facts` (mode, format, header as a mapping), what is told, and its id.

    Never raises, whatever the header holds.
    """
    kind, bands = _samples(mode)
    product = " ".join(
        (id, told.product if told else "", _text(header, "PRODUCT_ID", "IMAGE_ID", "LOGICAL_IDENTIFIER"))
    )
    encoding, transform = _encoding(kind, header, product.upper())
    colour = _colour(bands, header, told, product.upper())
    if encoding == "display8" and kind == "u2":
        transform = "v / 257"
    if colour == "bayer":
        transform = f"demosaiced (Malvar, He, Cutler 2004), then {transform}"
    elif bands == 1:
        transform += ", in three equal channels"
    return Radiometry(encoding, colour, transform)


def mosaic(name: str, header: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> str:
    """The Bayer pattern to give to `images.decode`, from the name of an image's radiometry; "" where it is no mosaic.

    By the label's colour filter array, RGGB (that of the cameras of MSL and Mars 2020) where it has none; shifted for a
    subframe that begins at an odd line or sample, by the label or by the feed's `subframeRect`, both counted from 1.
    """
    if not name.endswith(" bayer"):
        return ""
    told = _text(header, "COLOR_FILTER_ARRAY_TYPE", "CFA_TYPE").replace("_", "")
    pattern = next((pattern for pattern in mosaics.PATTERNS if pattern in told), "RGGB")
    fields = header if isinstance(header, Mapping) else {}
    x = labels.whole(fields, "FIRST_LINE_SAMPLE") or labels.whole(fields, "FIRST_SAMPLE")
    y = labels.whole(fields, "FIRST_LINE")
    if not (x and y):
        rect = re.fullmatch(r"\(?(\d{1,5}),(\d{1,5}),\d{1,5},\d{1,5}\)?", re.sub(r"\s", "", _rect(record)))
        x, y = (int(rect[1]), int(rect[2])) if rect else (1, 1)
    return mosaics.shifted(pattern, max(x - 1, 0), max(y - 1, 0))


_ONE_BAND = ("1", "L", "LA", "La", "I", "F")


def _samples(mode: str) -> tuple[str, int]:
    """The type of samples (u1, u2, i2, u4, i4, f4 …) and the number of bands, of a mode of Pillow's or of ours."""
    if ours := re.fullmatch(r"(u?int|float)(8|16|32|64)x(\d{1,6})", mode):
        letter = {"uint": "u", "int": "i", "float": "f"}[ours[1]]
        return f"{letter}{int(ours[2]) // 8}", int(ours[3])
    if mode.startswith("I;16"):
        return "u2", 1
    return {"F": "f4", "I": "i4"}.get(mode, "u1"), 1 if mode in _ONE_BAND else 3


def _encoding(kind: str, header: Mapping[str, Any], product: str) -> tuple[Encoding, str]:
    encoding: Encoding
    if kind in ("u1", "i1"):
        state = _text(header, "COMPANDING_STATE")
        table = _text(header, "SAMPLE_BIT_MODE_ID")
        by_name = bool(re.search(r"\d{10}_\d{3}E[A-Z]{2}|[_ ]DXXX\b", product))
        if state:
            encoding = "companded8" if state == "COMPANDED" else "display8"
        else:
            encoding = "companded8" if by_name or "SQROOT" in table or "LUT" in table else "display8"
    elif kind in ("u2", "i2"):
        twelve = labels.full_scale(header) == 4095 or bool(re.search(r"\d{10}_\d{3}E[A-Z]{2}", product))
        encoding = "display8" if _for_display(header) else "linear12" if twelve else "linear16"
    else:
        encoding = "float" if kind.startswith("f") else "unknown"
    return encoding, _TRANSFORMS[encoding]


def _colour(bands: int, header: Mapping[str, Any], told: Told | None, product: str) -> Colour:
    if bands >= 3:
        return "colour"
    state = _text(header, "COLOR_FILTER_ARRAY_STATE", "CFA_STATE")
    raster = re.search(r"\dM[LRHD]\d{16}[ABCJK][0-9A-F][0-9A-Z]_DXXX\b", product)
    if state == "ENCODED" or (not state and (raster or (told and told.mission == "mars2020" and told.filter == "E"))):
        return "bayer"
    if told and re.fullmatch(r"[LR][1-7]|[RGB]", told.filter):
        return "filter"
    return "grey"


def _for_display(header: Mapping[str, Any]) -> bool:
    gamma = header.get("gamma")
    graded = isinstance(gamma, int | float) and abs(gamma - 1) > 0.01
    return bool(header.get("icc_profile")) or "srgb" in header or graded


def _text(header: Mapping[str, Any], *names: str) -> str:
    return labels.word(header, *names) if isinstance(header, Mapping) else ""


def _rect(record: Mapping[str, Any] | None) -> str:
    for name, value in labels.leaves(record) if isinstance(record, Mapping) else ():
        if name.replace("_", "") == "SUBFRAMERECT":
            return str(value)
    return ""
