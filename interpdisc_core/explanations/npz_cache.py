"""Arrays that are computed once and cached as an `.npz` file."""

import io
import zlib
from collections.abc import Callable
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from interpdisc_core.storage.location import Location

NamedArrays = dict[str, npt.NDArray[Any]]

_DAMAGE_ERRORS = (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error, TokenError)
"""What NumPy raises for a file that is missing, cut off or damaged."""


def load_or_compute(
    location: Location,
    name: str,
    keys: tuple[str, ...],
    compute: Callable[[], NamedArrays | None],
    *,
    compress: bool = False,
) -> NamedArrays | None:
    """The arrays of a cached file; if it is missing or damaged they are computed and written.

    Args:
        location: The folder.
        name: Name of the file.
        keys: Names of the arrays that the file must have.
        compute: Computes the arrays; None if they cannot be computed, then nothing is written.
        compress: Whether the file is written compressed.
    """
    try:
        with np.load(io.BytesIO(location.read_checked(name)), allow_pickle=False) as file:
            return {key: file[key] for key in keys}
    except _DAMAGE_ERRORS:
        pass
    arrays = compute()
    if arrays is not None:
        sink = io.BytesIO()
        (np.savez_compressed if compress else np.savez)(sink, **arrays)  # type: ignore[arg-type]
        location.write_checked(name, sink.getvalue())
    return arrays
