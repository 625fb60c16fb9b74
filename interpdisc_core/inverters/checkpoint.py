"""Checkpoints of up-convolutional inverters: a safetensors file with the weights and, as its metadata, a model card.

Nothing is unpickled. The metadata say which representation the weights invert, what they were trained on, and how good
they are on held-out images. Checkpoints that ship with the package lie in `interpdisc_core/inverters/checkpoints`.
"""

import json
from dataclasses import asdict, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from interpdisc_core import digest
from interpdisc_core.errors import StoreError, WeightsError, one_line
from interpdisc_core.inverters.generators import Generator
from interpdisc_core.representations import digest_features
from interpdisc_core.settings import settings
from interpdisc_core.storage.location import Location

SHIPPED_FOLDER = Path(__file__).parent / "checkpoints"
CHECKPOINT_FORMAT = 1
MAX_CHECKPOINT_BYTES = 2_000_000_000
"""A larger file is refused without being read."""


@settings
class CheckpointMetadata:
    """The metadata of a checkpoint, its model card. Fields are those of the JSON on disk.

    Attributes:
        format: Version of the format.
        features: `digest_features` of the representation that it inverts.
        representation: Settings of the representation.
        generator: The network.
        dimension: d of the codes.
        length: Mean length of the codes it was trained on; L2-normalized codes are multiplied by it.
        threshold: Of the cosine between true and rendered residual. Below it, a rendering is no better than that of a
            residual of another image (95 in 100 of those are below it).
        recipe: Settings of the training.
        command: That started the training.
        data: What it was trained on.
        licence: Of the weights.
        training: History and results of the training.
        scores: On each held-out set.
        date: Of the export, YYYY-MM-DD.
        environment: Versions of libraries.
    """

    format: int = CHECKPOINT_FORMAT
    features: str
    representation: dict[str, Any]
    generator: Generator
    dimension: int
    length: float
    threshold: float | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    date: str = ""
    environment: dict[str, Any] = field(default_factory=dict)


_METADATA_ADAPTER: TypeAdapter[CheckpointMetadata] = TypeAdapter(CheckpointMetadata)


def pack_checkpoint(tensors: dict[str, Any], metadata: CheckpointMetadata) -> bytes:
    """The content of a checkpoint file. tensors: by name, `generator.…`, `mean` and `spread`."""
    from safetensors.torch import save

    return save(tensors, metadata={"interpdisc": json.dumps(asdict(metadata), sort_keys=True)})


def parse_checkpoint_metadata(data: bytes, context: str) -> CheckpointMetadata:
    """The metadata in the first bytes of a checkpoint.

    Args:
        data: At least the header of the file.
        context: Name of the file, for errors.

    Raises:
        WeightsError: If there are none, or none that this program can read.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        metadata = _METADATA_ADAPTER.validate_json(header["__metadata__"]["interpdisc"])
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise WeightsError(
            f"{context} is not an inverter's checkpoint: `interpdisc train-inverter` writes them ({one_line(error)})."
        ) from error
    if metadata.format != CHECKPOINT_FORMAT:
        raise WeightsError(
            f"{context} is a checkpoint of version {metadata.format}; this program reads version {CHECKPOINT_FORMAT}."
        )
    return metadata


def read_checkpoint(path: str) -> bytes:
    """The bytes of a checkpoint, a local file or an s3:// address. Raises WeightsError if it cannot be read."""
    folder, _, name = Location.parse(path).url.rpartition("/")
    try:
        if "://" not in folder and Path(folder, name).stat().st_size > MAX_CHECKPOINT_BYTES:
            raise WeightsError(
                f"{path}: larger than {MAX_CHECKPOINT_BYTES // 10**9} GB, so it is not an inverter's checkpoint."
            )
        return Location(folder).read(name)
    except OSError as error:
        raise WeightsError(f"{path}: no checkpoint can be read there ({error.strerror or error}).") from error


def load_generator(data: bytes, metadata: CheckpointMetadata, context: str) -> Any:
    """The trained network of a checkpoint, (n, dimension) float -> (n, 3, size, size), in evaluation mode, on the CPU.

    Raises:
        WeightsError: If the tensors do not fit the generator that the metadata name.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from interpdisc_core.inverters._layers import StandardizedGenerator

    try:
        tensors = load(data)
        if tensors["mean"].shape != (metadata.dimension,):  # checked before a network of that size is built
            raise ValueError(f"mean of {tuple(tensors['mean'].shape)}, not of {metadata.dimension} features")
        blank = torch.zeros(metadata.dimension)
        generator = StandardizedGenerator(
            metadata.generator.build(metadata.dimension), blank, blank.clone()
        )  # each is overwritten
        generator.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
        )
    except (RuntimeError, SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{context} does not hold the network that its metadata name ({one_line(error)})."
        ) from error
    return generator.requires_grad_(False).eval()


@lru_cache(maxsize=1)
def list_shipped_checkpoints() -> dict[str, Path]:
    """Paths of the checkpoints that ship with the package, by the digest of the features that they invert."""
    checkpoints = {}
    for path in sorted(SHIPPED_FOLDER.glob("*.safetensors")):
        with path.open("rb") as file:
            header = file.read(8)
            header += file.read(min(int.from_bytes(header, "little"), path.stat().st_size))
        checkpoints[parse_checkpoint_metadata(header, path.name).features] = path
    return checkpoints


def find_shipped_checkpoint(representation: Any) -> Path | None:
    """The shipped checkpoint that inverts a representation, if there is one."""
    return list_shipped_checkpoints().get(digest_features(representation))


def load_matching_checkpoint(path: str, representation: Any) -> tuple[bytes, CheckpointMetadata]:
    """Content and metadata of a checkpoint. Raises WeightsError if it cannot be read or inverts another representation."""
    data = read_checkpoint(path)
    metadata = parse_checkpoint_metadata(data, path)
    if metadata.features != digest_features(representation):
        settings = ", ".join(
            f"{name} {value}" for name, value in metadata.representation.items() if value not in ("", None)
        )
        raise WeightsError(
            f"{path} inverts another representation ({settings}; features {metadata.features}) than the plan's "
            f"{representation.kind} (features {digest_features(representation)}): train one for it with `interpdisc train-inverter`."
        )
    return data, metadata


def digest_checkpoint(path: str) -> str:
    """SHA-256 of a checkpoint; empty if it cannot be read (loading it will say why)."""
    try:
        return digest.digest_bytes(read_checkpoint(path))
    except (WeightsError, StoreError):
        return ""
