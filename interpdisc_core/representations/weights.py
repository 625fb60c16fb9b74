"""Files of weights: found in a package, or read from a folder or an object store and counted by their content.

A file that a representation has learned stands at an address of this machine or of this store, which says nothing
about the features: only its content does.
"""

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

from interpdisc_core import digest
from interpdisc_core.errors import WeightsError
from interpdisc_core.storage import Place


def weights_file(representation: Any) -> str:
    """The address of the file of weights that a representation names; empty where it names none.

    It may be no file at all: torchvision's `weights` may be the name of some that torchvision knows.
    """
    return str(getattr(representation, "learned", "") or getattr(representation, "weights", ""))


def content_of(representation: Any) -> str:
    """SHA-256 of the weights that a representation names, 64 hexadecimal digits; empty where they are no file.

    Raises WeightsError where a learned representation's file is named and is not there: without it nothing can be
    said about the features.
    """
    address = weights_file(representation)
    if not address:
        return ""
    if getattr(representation, "learned", ""):
        return digest.of_bytes(read_weights(address))
    return digest.of_file(address) if Path(address).is_file() else ""


def read_weights(address: str) -> bytes:
    """The bytes at `address`, a local path or an s3:// address, kept for the next call.

    Raises WeightsError where there are none, or where they cannot be got at.
    """
    place, name = _split(address)
    try:
        return _read(place, name, _version(place, name))
    except OSError as error:  # s3fs raises these too
        raise WeightsError(
            f"no weights can be read at {address} ({error.strerror or error}): give the address of a file that was "
            "learned, or none, and learn it anew with `interpdisc learn SOURCE --plan plan.json`."
        ) from error


def _split(address: str) -> tuple[Place, str]:
    folder, _, name = Place.of(address).url.rpartition("/")
    return Place(folder), name


def _version(place: Place, name: str) -> tuple[int, int]:
    """What changes when a local file is written anew. An object that was learned is written once."""
    if place.remote:
        return 0, 0
    facts = Path(place.url, name).stat()
    return facts.st_mtime_ns, facts.st_size


@lru_cache(maxsize=8)
def _read(place: Place, name: str, version: tuple[int, int]) -> bytes:
    return place.read(name)


def in_package(package: str, file: str) -> Path | None:
    """The path of a file of weights in an installed package, which is not imported; None where it is not there."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], file) if folders else None
    return path if path is not None and path.is_file() else None


def not_learned(kind: str) -> WeightsError:
    """What `load()` and `network()` of a representation raise that has not learned yet."""
    return WeightsError(
        f"{kind} is learned from a collection first: `interpdisc evaluate` does it, or "
        "`interpdisc learn SOURCE --plan plan.json`."
    )


def named(representation: Any) -> Any:
    """The representation as its features are named: where it has learned, without the address of the file."""
    return representation.having("") if getattr(representation, "learned", "") else representation
