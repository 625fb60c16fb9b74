"""The end of a training: the best weights, scored on images that it never saw, as one checkpoint with its card."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.ingest import environment
from interpdisc_core.inverters import checkpoint
from interpdisc_core.inverters.upconv import UpConv
from interpdisc_core.storage import Place
from interpdisc_core.training.epochs import history
from interpdisc_core.training.examples import HELD, Training
from interpdisc_core.training.recipe import Recipe
from interpdisc_core.training.scoring import Yardstick, faithfulness, threshold

_SEEN = 1000
"""Training examples of which the model is made by which faithfulness is calibrated."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Where the checkpoint is, and what its card says of it."""

    address: str
    scores: dict[str, dict[str, Any]]
    threshold: float | None
    bytes: int


@dataclass(frozen=True, kw_only=True)
class About:
    """What a card says for people: the command that trained it, the data, and the licence of the data."""

    command: str = ""
    data: str = ""
    licence: str = "unknown: ask who owns the images"


def finish(url: str, name: str, out: str, about: About) -> Finished:
    """Write the best weights of a training to `out`, with a card; the held-out sets are scored first.

    Where there is no held-out set, the validation images are scored in their place, and the card says so.
    """
    archive = Place.of(url)
    training, epochs = Training(archive, name), history(archive, name)
    if not epochs or not training.place.exists("best.safetensors"):
        raise PlanError(f"training {name}: not one epoch is done yet.")
    from safetensors.torch import load

    tensors = load(training.place.read("best.safetensors"))
    recipe, first = training.recipe, training.all("train-", _SEEN)
    best = min(epochs, key=lambda epoch: epoch.score)
    counts = [training.record(part) or {} for part in training.parts("train-")]
    card = checkpoint.Card(
        features=recipe.features, representation=asdict(recipe.representation), generator=recipe.generator,
        dimension=first.codes.shape[1], length=float(np.linalg.norm(first.codes.astype(np.float64), axis=1).mean()),
        recipe=asdict(replace(recipe, start=PurePath(recipe.start).name)), command=about.command, licence=about.licence, date=datetime.now(UTC).date().isoformat(),
        data={
            "what": about.data, "images": sum(c["images"] for c in counts), "examples": sum(c["examples"] for c in counts),
        },
        training={
            "epochs": len(epochs), "best epoch": best.number, "examples an epoch": recipe.epoch,
            "hours": round(sum(epoch.seconds for epoch in epochs) / 3600, 2), "validation": asdict(best),
            **_before(recipe),
        },
        environment=environment(),
    )  # fmt: skip
    place, _, file = Place.of(out).url.rpartition("/")
    Place(place).write(f"{file}.unscored", checkpoint.pack(tensors, card))
    try:
        found, cosines = _scored(training, f"{place}/{file}.unscored", first.codes)
    finally:
        Place(place).remove(f"{file}.unscored")
    every = {kind: np.concatenate([one[kind] for one in cosines]) for kind in cosines[0]}
    scored = replace(card, scores=found, threshold=threshold(every))
    data = checkpoint.pack(tensors, scored)
    Place(place).write(file, data)
    return Finished(f"{place}/{file}", found, scored.threshold, len(data))


def _before(recipe: Recipe) -> dict[str, Any]:
    """What the checkpoint that a training started from says of its own training."""
    if not recipe.start:
        return {}
    card = checkpoint.fitting(recipe.start, recipe.representation)[1]
    return {"started from": {"command": card.command, **card.training}}


def _scored(training: Training, path: str, seen: Any) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Scores and cosines of each held-out set, through the checkpoint as everybody will load it."""
    recipe = training.recipe
    invert = UpConv(checkpoint=path).load(recipe.representation, "none")
    names = sorted({part for part in training.parts("held-out-")}) or ["validation"]
    found, cosines = {}, []
    for name in names:
        held = training.all(name, HELD)
        made = invert(held.codes)
        cosine = faithfulness(recipe.representation, invert, held.codes, seen)
        cosines.append(cosine)
        found[name.removeprefix("held-out-")] = Yardstick.of(held).score(recipe.representation, made) | {
            f"cosine of a {kind} residual (median)" if kind != "true" else "cosine of the residual (median)": float(
                np.median(values)
            )
            for kind, values in cosine.items()
        }
    return found, cosines
