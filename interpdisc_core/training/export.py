"""The last step of a training: the scored checkpoint, in the archive and copied to where the user wants it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interpdisc_core.errors import InterpdiscError
from interpdisc_core.inverters import checkpoint
from interpdisc_core.storage.location import Location
from interpdisc_core.training.dataset import TrainingRun
from interpdisc_core.training.epochs import limit_threads
from interpdisc_core.training.finish import CheckpointDescription, CheckpointSummary, finish_training
from interpdisc_core.training.history import read_history

CHECKPOINT_FILE = "checkpoint.safetensors"
"""The copy in the training's folder."""


@dataclass(frozen=True, slots=True)
class CheckpointExport:
    """Where an exported checkpoint is.

    Attributes:
        result_address: Address of the training's result.json.
        checkpoint: Address of the exported file.
        link: The same as a URL.
        result: Content of result.json.
    """

    result_address: str
    checkpoint: str
    link: str
    result: dict[str, Any]


def score_inverter(url: str, name: str, description: CheckpointDescription, threads: int) -> CheckpointSummary:
    """Score the best weights on held-out images and write them as a checkpoint to the training's folder.

    An existing one, of the same epochs and with the same description, is kept. See `finish_training`.
    """
    training = TrainingRun(Location.parse(url), name)
    if (existing := _find_scored_checkpoint(training, description)) is not None:
        return existing
    with limit_threads(threads):
        return finish_training(url, name, f"{training.location.url}/{CHECKPOINT_FILE}", description)


def _find_scored_checkpoint(training: TrainingRun, description: CheckpointDescription) -> CheckpointSummary | None:
    address = f"{training.location.url}/{CHECKPOINT_FILE}"
    try:
        data = training.location.read_checked(CHECKPOINT_FILE)
        card = checkpoint.parse_checkpoint_metadata(data, address)
    except (FileNotFoundError, InterpdiscError):
        return None
    epochs = len(read_history(training.archive, training.name))
    card_description = CheckpointDescription(command=card.command, data=card.data.get("what", ""), licence=card.licence)
    if (card.training.get("epochs"), card_description) != (epochs, description):
        return None
    return CheckpointSummary(address, card.scores, card.threshold, len(data))


def export_checkpoint(url: str, name: str, summary: CheckpointSummary, out: str) -> CheckpointExport:
    """Copy the scored checkpoint of a training to `out` and write the training's result.json."""
    training = TrainingRun(Location.parse(url), name)
    data = training.location.read_checked(CHECKPOINT_FILE)
    card = checkpoint.parse_checkpoint_metadata(data, f"{training.location.url}/{CHECKPOINT_FILE}")
    destination = Location.parse(out)
    destination.parent.write(destination.name, data)
    epochs = read_history(training.archive, name)
    result = {
        "training": name,
        "archive": training.archive.url,
        "checkpoint": destination.url,
        "bytes": len(data),
        "images": card.data["images"],
        "examples": card.data["examples"],
        "failed": _list_unreadable_images(training),
        "epochs": [asdict(epoch) for epoch in epochs],
        "best": min(epochs, key=lambda epoch: epoch.score).number,
        "scores": summary.scores,
        "threshold": summary.threshold,
    }
    training.location.write_checked_json("result.json", result)
    link = destination.url if destination.is_remote else Path(destination.url).as_uri()
    return CheckpointExport(f"{training.location.url}/result.json", destination.url, link, result)


def _list_unreadable_images(training: TrainingRun) -> dict[str, str]:
    """By id, why images that were assigned to the training could not be read."""
    return {
        image: reason
        for file in training.examples_location.list_names("records")
        for image, reason in (training.read_record(file.removesuffix(".json")) or {}).get("failed", {}).items()
    }
