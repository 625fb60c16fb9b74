"""One file of a JSON object and arrays, with a SHA-256 of its content in the first line."""

import json
import math
from typing import Any

import numpy as np

from interpdisc_core import digest
from interpdisc_core._types import AnyArray

PACKED_FORMAT = "interpdisc-memory-1"  # count up where a file's layout or a horizon's arithmetic changes


class DamagedFileError(ValueError):
    """A file whose bytes are not those that were written; the message says why."""


def encode_packed(header: dict[str, Any], arrays: dict[str, AnyArray]) -> bytes:
    """JSON and arrays as one file. Equal values give equal bytes."""
    arrays_le = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}
    layout = [[name, array.dtype.str, array.shape] for name, array in arrays_le.items()]
    line = json.dumps({"about": header, "arrays": layout}, sort_keys=True).encode()
    body = b"".join([line, b"\n", *(array.tobytes() for array in arrays_le.values())])
    return f"{PACKED_FORMAT} {digest.digest_bytes(body)}\n".encode() + body


def read_packed_digest(data: bytes) -> str:
    """The digest in the first line of a packed file."""
    return data[: data.index(b"\n")].decode().rpartition(" ")[2]


def decode_packed(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON object and the arrays of a packed file.

    Raises:
        DamagedFileError: If the bytes do not match the digest.
    """
    first, _, body = data.partition(b"\n")
    if not first.startswith(f"{PACKED_FORMAT} ".encode()):
        raise DamagedFileError(f"it does not begin with {PACKED_FORMAT}")
    if first != f"{PACKED_FORMAT} {digest.digest_bytes(body)}".encode():
        raise DamagedFileError("its bytes do not match its digest")
    line, _, values = body.partition(b"\n")
    description = json.loads(line)
    arrays, start = {}, 0
    for name, kind, shape in description["arrays"]:
        dtype, count = np.dtype(kind), math.prod(shape)
        values_view = np.frombuffer(values, dtype, count, start).reshape(shape)
        arrays[name] = values_view.astype(dtype.newbyteorder("="))  # a copy, so it is aligned and can be written to
        start += count * dtype.itemsize
    return description["about"], arrays
