"""Digests of values: the same value has the same digest on every machine. They name what archives store."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt


def digest_bytes(data: bytes) -> str:
    """SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """Twelve hexadecimal digits of a JSON value. The order of keys does not matter.

    Example:
        >>> digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
        True
    """
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())[:12]


def digest_settings(settings: Any) -> str:
    """Twelve hexadecimal digits of a dataclass, of its class name, field names and values."""
    return digest_json({"type": type(settings).__name__, **asdict(settings)})


def digest_array(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's values in little-endian C order, 64 hexadecimal digits."""
    return digest_bytes(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes())


def digest_file(path: str) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
