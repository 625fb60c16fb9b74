"""Values that are not measurements: missing, invalid or saturated, by the label and by the rules of the format.

No library is used for labels (`pvl`, `pds4_tools`): the modules `pds_labels`, `pds4`, `sample_layout` and this one are
hardened against hostile labels, which those libraries are not.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core._types import BoolArray
from interpdisc_core.images import pds_labels


@dataclass(frozen=True, slots=True)
class SpecialValues:
    """`missing`: nothing was measured, shown black. `saturated`: it was too bright, shown white."""

    missing: frozenset[float] = frozenset()
    saturated: frozenset[float] = frozenset()


_MISSING_KEYWORDS = {
    "MISSING_CONSTANT",
    "INVALID_CONSTANT",
    "UNKNOWN_CONSTANT",
    "ERROR_CONSTANT",
    "NOT_APPLICABLE_CONSTANT",
    "CORE_NULL",
    "CORE_LOW_REPR_SATURATION",
    "CORE_LOW_INSTR_SATURATION",
    "LOW_REPR_SATURATION",
    "LOW_INSTR_SATURATION",
    "LOW_INSTRUMENT_SATURATION",
    "LOW_REPRESENTATION_SATURATION",
}
_SATURATED_KEYWORDS = {
    "CORE_HIGH_REPR_SATURATION",
    "CORE_HIGH_INSTR_SATURATION",
    "HIGH_REPR_SATURATION",
    "HIGH_INSTR_SATURATION",
    "HIGH_INSTRUMENT_SATURATION",
    "HIGH_REPRESENTATION_SATURATION",
    "SATURATED_CONSTANT",
}
_ISIS_SPECIAL_VALUES: dict[str, tuple[set[float], set[float]]] = {  # NULL and low saturation, then high saturation
    "uint8": ({0.0}, {255.0}),
    "uint16": ({0.0, 1.0, 2.0}, {65534.0, 65535.0}),
    "int16": ({-32768.0, -32767.0, -32766.0}, {-32765.0, -32764.0}),
    "float32": (set(), {float(bits) for bits in np.array([0xFF7FFFFE, 0xFF7FFFFF], np.uint32).view(np.float32)}),
}
_FLOAT_NULL = float(np.array(0xFF7FFFFB, np.uint32).view(np.float32))
"""Reals up to this one are marks of ISIS and PDS in any format, not measurements."""


def find_special_values(
    kind: str, pds_label: Mapping[str, Any], dtype: str, nodata: Iterable[float | None]
) -> SpecialValues:
    """The special values of an image.

    Args:
        kind: The format, as `detect_kind` returns it.
        pds_label: The fields of its label.
        dtype: NumPy's name of the samples' type.
        nodata: GDAL's value for missing samples of each band, None if a band has none.
    """
    missing: set[float] = set()
    saturated: set[float] = set()
    for name, value in pds_labels.iter_leaves(pds_label):
        if name in _MISSING_KEYWORDS:
            missing |= set(pds_labels.iter_numbers(value, dtype))
        elif name in _SATURATED_KEYWORDS:
            saturated |= set(pds_labels.iter_numbers(value, dtype))
    if kind != "PDS3" or not missing:  # GDAL reads `16#FFFF#` of a PDS3 label as 16
        missing |= {float(value) for value in nodata if value is not None}
    if kind in ("ISIS2", "ISIS3"):
        low, high = _ISIS_SPECIAL_VALUES.get(dtype, (set(), set()))
        missing, saturated = missing | low, saturated | high
    return SpecialValues(frozenset(missing), frozenset(saturated))


def build_special_masks(values: npt.NDArray[Any], special: SpecialValues) -> tuple[BoolArray, BoolArray]:
    """Where nothing was measured, and where it was too bright: two masks of the shape of `values`, disjoint."""

    def build_mask(constants: frozenset[float]) -> BoolArray:
        mask = np.zeros(values.shape, dtype=bool)
        for value in constants:
            if math.isfinite(value) and _is_representable(value, values.dtype):
                mask |= values == values.dtype.type(value)
        return mask

    saturated, missing = build_mask(special.saturated), build_mask(special.missing)
    if values.dtype.kind == "f":
        missing |= ~np.isfinite(values) | (values <= _FLOAT_NULL)
    return missing & ~saturated, saturated


def _is_representable(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return value.is_integer() and limits.min <= value <= limits.max
