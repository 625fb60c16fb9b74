"""Values that are no measurement: missing, invalid, saturated; by the label and by the format's own rules."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core import labels

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Special:
    """nothing: nothing was measured, shown black. saturated: it was too bright, shown white."""

    nothing: frozenset[float] = frozenset()
    saturated: frozenset[float] = frozenset()


_NOTHING = {
    "MISSING_CONSTANT", "INVALID_CONSTANT", "UNKNOWN_CONSTANT", "ERROR_CONSTANT", "NOT_APPLICABLE_CONSTANT",
    "CORE_NULL", "CORE_LOW_REPR_SATURATION", "CORE_LOW_INSTR_SATURATION", "LOW_REPR_SATURATION",
    "LOW_INSTR_SATURATION", "LOW_INSTRUMENT_SATURATION", "LOW_REPRESENTATION_SATURATION",
}  # fmt: skip
_SATURATED = {
    "CORE_HIGH_REPR_SATURATION", "CORE_HIGH_INSTR_SATURATION", "HIGH_REPR_SATURATION", "HIGH_INSTR_SATURATION",
    "HIGH_INSTRUMENT_SATURATION", "HIGH_REPRESENTATION_SATURATION", "SATURATED_CONSTANT",
}  # fmt: skip
_ISIS: dict[str, tuple[set[float], set[float]]] = {  # NULL and low saturations, then high ones
    "uint8": ({0.0}, {255.0}),
    "uint16": ({0.0, 1.0, 2.0}, {65534.0, 65535.0}),
    "int16": ({-32768.0, -32767.0, -32766.0}, {-32765.0, -32764.0}),
    "float32": (set(), {float(bits) for bits in np.array([0xFF7FFFFE, 0xFF7FFFFF], np.uint32).view(np.float32)}),
}
_NULL = float(np.array(0xFF7FFFFB, np.uint32).view(np.float32))
"""Reals from here down, of any format, are ISIS's and PDS's marks, not measurements."""


def of(kind: str, label: Mapping[str, Any], dtype: str, nodata: Iterable[float | None]) -> Special:
    """The special values of an image: what its label and format say, and GDAL's nodata."""
    nothing: set[float] = set()
    saturated: set[float] = set()
    for name, value in labels.leaves(label):
        if name in _NOTHING:
            nothing |= set(labels.numbers(value, dtype))
        elif name in _SATURATED:
            saturated |= set(labels.numbers(value, dtype))
    if kind != "PDS3" or not nothing:  # of a PDS3 label GDAL misreads `16#FFFF#` as 16
        nothing |= {float(value) for value in nodata if value is not None}
    if kind in ("ISIS2", "ISIS3"):
        low, high = _ISIS.get(dtype, (set(), set()))
        nothing, saturated = nothing | low, saturated | high
    return Special(frozenset(nothing), frozenset(saturated))


def masks(values: npt.NDArray[Any], special: Special) -> tuple[Mask, Mask]:
    """Where nothing was measured, and where it was too bright: two masks of the shape of `values`, never both True."""

    def found(among: frozenset[float]) -> Mask:
        mask = np.zeros(values.shape, dtype=bool)
        for value in among:
            if math.isfinite(value) and _fits(value, values.dtype):
                mask |= values == values.dtype.type(value)
        return mask

    saturated, nothing = found(special.saturated), found(special.nothing)
    if values.dtype.kind == "f":
        nothing |= ~np.isfinite(values) | (values <= _NULL)
    return nothing & ~saturated, saturated


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return value.is_integer() and limits.min <= value <= limits.max
