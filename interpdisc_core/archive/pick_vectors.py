"""The vectors of picks, as a run or a selection keeps them: the Zarr array `vectors` (picks, 4, d) float64.

Row 0 of a pick is x, row 1 is x̂, row 2 is the mean μ in a run and the residual x − x̂ in a selection of features alone, row
3 the direction of weights (see `interpdisc_core.selectors.seen_weights`). What a selector does not have is NaN. Version 0.2
had no row 3.
A chunk holds the picks between two checkpoints. Zarr writes a chunk whole or not at all. The state of the selection, which
is written after them, has a digest of the vectors of each pick.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from interpdisc_core._types import FloatArray
from interpdisc_core.digest import digest_array
from interpdisc_core.errors import DamageError
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location, translate_write_errors
from interpdisc_core.storage.zarr_store import get_zarr_store, translate_array_errors

STATE_FILE = "selection.json"
"""The state of the selection, in the same folder."""
VECTORS_PER_PICK = 4
PICKS_PER_CHECKPOINT = 10
"""Picks between two checkpoints of a selection."""


def create_vectors(location: Location, picks: int, dimension: int) -> None:
    """Create the array in the folder `location`, filled with NaN; an existing one is replaced."""
    with translate_write_errors(location.url):
        zarr.create_array(
            **get_zarr_store(location, "vectors"),
            shape=(picks, VECTORS_PER_PICK, dimension),
            chunks=(PICKS_PER_CHECKPOINT, VECTORS_PER_PICK, dimension),
            dtype="float64",
            fill_value=float("nan"),
            overwrite=True,
        )


def open_vectors(location: Location) -> "zarr.Array[Any]":
    """The array in the folder `location`.

    Raises:
        DamageError: If it is missing or damaged.
    """
    with translate_array_errors(f"{location.url}/vectors"):
        return zarr.open_array(**get_zarr_store(location, "vectors"), mode="r+")


def read_vectors(location: Location, rank: int) -> FloatArray:
    """The vectors (4, d) float64 of a pick; (3, d) of one that an earlier version made.

    Raises:
        DamageError: If they are not those that were written.
    """
    digests = _read_digests(location)
    with translate_array_errors(f"{location.url}/vectors"):
        vectors: FloatArray = np.asarray(open_vectors(location)[rank - 1], dtype=np.float64)
    if rank <= len(digests) and digest_array(vectors) != digests[rank - 1]:
        raise DamageError(_describe_damage(location, rank))
    return vectors


def check_vectors(location: Location) -> list[str]:
    """The digests of all vectors of the picks in the state; empty if an earlier version wrote the state, without them.

    Raises:
        DamageError: If the array or the state is damaged, or if they do not fit.
    """
    digests = _read_digests(location)
    if digests:
        load_vectors(location, len(digests))
    return digests


def load_vectors(location: Location, picks: int) -> FloatArray:
    """The vectors (picks, 4, d) float64 of the first picks, checked; (picks, 3, d) if an earlier version made them.

    Raises:
        DamageError: If they are not those that were written, or fewer.
    """
    digests = _read_digests(location)
    with translate_array_errors(f"{location.url}/vectors"):
        vectors: FloatArray = np.asarray(open_vectors(location)[:picks], dtype=np.float64)
    for rank in range(1, picks + 1):
        if rank > len(vectors) or (rank <= len(digests) and digest_array(vectors[rank - 1]) != digests[rank - 1]):
            raise DamageError(_describe_damage(location, rank))
    return vectors


def _read_digests(location: Location) -> list[str]:
    try:
        with name_damage(f"{location.url}/{STATE_FILE}"):
            return [str(value) for value in location.read_checked_json(STATE_FILE).get("vectors", [])]
    except FileNotFoundError:
        return []


def _describe_damage(location: Location, rank: int) -> str:
    return (
        f"{location.url}/vectors is damaged: those of pick {rank} are not what the selection wrote; "
        "the command that made the picks makes them again."
    )


def write_vectors(location: Location, first: int, vectors: npt.NDArray[np.float64]) -> None:
    """Write the vectors (m, 4, d) of the picks from index `first` (from 0), a multiple of `PICKS_PER_CHECKPOINT`."""
    with translate_write_errors(location.url):
        open_vectors(location)[first : first + len(vectors)] = vectors


def add_missing_vectors(location: Location, picks: int) -> FloatArray | None:
    """Give an array of an earlier version, (…, 3, d), the row that it lacks, filled with NaN.

    The digests in the state are then those of other vectors, until the caller writes the state; a selection that is killed in
    between starts again.

    Returns:
        The vectors (picks, 4, d) of the first picks; None if nothing was missing.

    Raises:
        DamageError: If the vectors are not those that were written.
    """
    count, stored, dimension = open_vectors(location).shape
    if stored == VECTORS_PER_PICK:
        return None
    vectors = np.pad(
        load_vectors(location, picks), [(0, 0), (0, VECTORS_PER_PICK - stored), (0, 0)], constant_values=np.nan
    )
    create_vectors(location, count, dimension)
    write_vectors(location, 0, vectors)
    return vectors


def resize_vectors(location: Location, picks: int) -> None:
    """Make the array hold exactly `picks` picks."""
    with translate_write_errors(location.url):
        array = open_vectors(location)
        if array.shape[0] != picks:
            array.resize((picks, *array.shape[1:]))
