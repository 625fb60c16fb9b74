"""The last step of a training: its checkpoint, scored, in the archive and where it was asked for."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interpdisc_core.errors import InterpdiscError
from interpdisc_core.inverters import checkpoint
from interpdisc_core.storage import Place
from interpdisc_core.training.epochs import history, using_threads
from interpdisc_core.training.examples import Training
from interpdisc_core.training.finish import About, Finished, finish

FILE = "checkpoint.safetensors"
"""A training's own copy, in its folder."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """address: of the training's result.json. checkpoint: the file that was asked for; link: the same as a URL."""

    address: str
    checkpoint: str
    link: str
    result: dict[str, Any]


def score(url: str, name: str, about: About, threads: int) -> Finished:
    """Score the best weights on held-out images and keep them as a checkpoint in the training's folder; see `finish`.

    One that is there, of the same epochs and with the same words for people, is left alone.
    """
    training = Training(Place.of(url), name)
    if (there := _there(training, about)) is not None:
        return there
    with using_threads(threads):
        return finish(url, name, f"{training.place.url}/{FILE}", about)


def _there(training: Training, about: About) -> Finished | None:
    where = f"{training.place.url}/{FILE}"
    try:
        data = training.place.read(FILE)
        card = checkpoint.card_of(data, where)
    except (FileNotFoundError, InterpdiscError):
        return None
    epochs = len(history(training.archive, training.name))
    told = About(command=card.command, data=card.data.get("what", ""), licence=card.licence)
    if (card.training.get("epochs"), told) != (epochs, about):
        return None
    return Finished(where, card.scores, card.threshold, len(data))


def deliver(url: str, name: str, made: Finished, out: str) -> Delivered:
    """Copy a scored checkpoint to `out` and write the training's result.json."""
    training = Training(Place.of(url), name)
    data = training.place.read(FILE)
    card = checkpoint.card_of(data, f"{training.place.url}/{FILE}")
    folder, _, file = Place.of(out).url.rpartition("/")
    Place(folder).write(file, data)
    address = f"{folder}/{file}"
    epochs = history(training.archive, name)
    result = {
        "training": name, "archive": training.archive.url, "checkpoint": address, "bytes": len(data),
        "images": card.data["images"], "examples": card.data["examples"], "failed": _failed(training),
        "epochs": [asdict(epoch) for epoch in epochs], "best": min(epochs, key=lambda epoch: epoch.score).number,
        "scores": made.scores, "threshold": made.threshold,
    }  # fmt: skip
    training.place.write_json("result.json", result)
    link = address if Place(folder).remote else Path(address).as_uri()
    return Delivered(f"{training.place.url}/result.json", address, link, result)


def _failed(training: Training) -> dict[str, str]:
    """Images that were to be examples and could not be read, with the reason."""
    names = [name.removesuffix(".json") for name in training.examples.names("records")]
    return {image: why for name in names for image, why in (training.record(name) or {}).get("failed", {}).items()}
