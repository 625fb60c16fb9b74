"""Names for values: the same value has the same digest on every machine."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt


def of_bytes(data: bytes) -> str:
    """SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def of_json(value: Any) -> str:
    """Twelve hexadecimal digits that name a JSON value; the order of keys does not matter."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())[:12]


def of_settings(settings: Any) -> str:
    """Twelve hexadecimal digits that name a frozen dataclass: they change exactly when a field does."""
    return of_json({"type": type(settings).__name__, **asdict(settings)})


def of_array(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's values in little-endian C order."""
    return of_bytes(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes())


def of_file(path: str) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
