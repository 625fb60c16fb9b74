"""Checkpoints of up-convolutional inverters: one safetensors file with the weights and, as its metadata, a model card.

Nothing is unpickled. A card says which representation the weights invert, what they were trained on and how well they
do on images that they never saw. Those that ship with the package lie in `interpdisc_core/checkpoints`.
"""

import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from interpdisc_core import digest
from interpdisc_core.errors import StoreError, WeightsError
from interpdisc_core.inverters.generators import Generator
from interpdisc_core.representations import features_of
from interpdisc_core.storage import Place

SHIPPED = Path(__file__).parent.parent / "checkpoints"
FORMAT = 1
MAX_BYTES = 2_000_000_000
"""A file larger than this is refused unread."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint says of itself.

    features: the digest of the representation that it inverts; representation: its settings. dimension: d. length: the
    mean length of the codes it was trained on, by which L2-normalised ones are multiplied. threshold: of the cosine
    between true and rendered residual; below it a rendering is no better than that of a residual that belongs to
    another image (95 in 100 of those are below it). scores: by held-out set. The rest is for people.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    format: int = FORMAT
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


_CARD: TypeAdapter[Card] = TypeAdapter(Card)


def pack(tensors: dict[str, Any], card: Card) -> bytes:
    """A checkpoint's bytes. tensors: by name, `generator.…`, `mean` and `spread`."""
    from safetensors.torch import save

    return save(tensors, metadata={"interpdisc": json.dumps(asdict(card), sort_keys=True)})


def card_of(data: bytes, where: str) -> Card:
    """The card in a checkpoint's first bytes. Raises WeightsError where there is none that can be read."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        card = _CARD.validate_json(header["__metadata__"]["interpdisc"])
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise WeightsError(
            f"{where} is not an inverter's checkpoint: `interpdisc train-inverter` makes them ({_first(error)})."
        ) from error
    if card.format != FORMAT:
        raise WeightsError(f"{where} is a checkpoint of version {card.format}; this program reads version {FORMAT}.")
    return card


def _first(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def read(path: str) -> bytes:
    """The bytes of a checkpoint, a local file or an s3:// address. Raises WeightsError where there is none."""
    place, _, name = Place.of(path).url.rpartition("/")
    try:
        if "://" not in place and Path(place, name).stat().st_size > MAX_BYTES:
            raise WeightsError(f"{path}: larger than {MAX_BYTES // 10**9} GB, so no inverter's checkpoint.")
        return Place(place).read(name)
    except OSError as error:
        raise WeightsError(f"{path}: no checkpoint can be read there ({error.strerror or error}).") from error


def network(data: bytes, card: Card, where: str) -> Any:
    """The trained network of a checkpoint, (n, dimension) float -> (n, 3, size, size), in evaluation.

    Raises WeightsError where its tensors do not fit the generator that its card names.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from interpdisc_core.inverters._layers import Standardised

    try:
        tensors = load(data)
        if tensors["mean"].shape != (card.dimension,):  # before a network of that size is built
            raise ValueError(f"mean of {tuple(tensors['mean'].shape)}, not of {card.dimension} features")
        blank = torch.zeros(card.dimension)
        whole = Standardised(card.generator.build(card.dimension), blank, blank.clone())  # each is overwritten
        whole.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
        )
    except (RuntimeError, SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{where} does not hold the network that its card names ({_first(error)}).") from error
    return whole.requires_grad_(False).eval()


@lru_cache(maxsize=1)
def shipped() -> dict[str, Path]:
    """The checkpoints that ship with the package, by the digest of the features that they invert."""
    found = {}
    for path in sorted(SHIPPED.glob("*.safetensors")):
        with path.open("rb") as file:
            head = file.read(8)
            head += file.read(min(int.from_bytes(head, "little"), path.stat().st_size))
        found[card_of(head, path.name).features] = path
    return found


def found_for(representation: Any) -> Path | None:
    """The shipped checkpoint that inverts a representation, or None."""
    return shipped().get(features_of(representation))


def fitting(path: str, representation: Any) -> tuple[bytes, Card]:
    """A checkpoint and its card. Raises WeightsError where it inverts another representation than this one."""
    data = read(path)
    card = card_of(data, path)
    if card.features != features_of(representation):
        told = ", ".join(f"{name} {value}" for name, value in card.representation.items() if value not in ("", None))
        raise WeightsError(
            f"{path} inverts another representation ({told}; features {card.features}) than the plan's "
            f"{representation.kind} (features {features_of(representation)}): train one for it with `interpdisc train-inverter`."
        )
    return data, card


def content(path: str) -> str:
    """A checkpoint's SHA-256; empty where it cannot be read (loading it will say why)."""
    try:
        return digest.of_bytes(read(path))
    except (WeightsError, StoreError):
        return ""
