"""The end of a training: the best weights as one checkpoint, with its scores on held-out images in the metadata."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.inverters import checkpoint
from interpdisc_core.inverters.upconv import UpConv
from interpdisc_core.provenance import collect_environment
from interpdisc_core.settings import settings
from interpdisc_core.storage.location import Location
from interpdisc_core.training.assign_images import MAX_HELD_OUT
from interpdisc_core.training.dataset import TrainingRun
from interpdisc_core.training.history import read_history
from interpdisc_core.training.recipe import Recipe
from interpdisc_core.training.validation import ValidationSet, compute_cosine_threshold, compute_residual_cosines

_MODEL_EXAMPLES = 1000
"""Training examples by whose model the faithfulness threshold is calibrated."""
_COSINE_NAMES = {
    "true": "cosine of the residual (median)",
    "random": "cosine of a random residual (median)",
    "shuffled": "cosine of a shuffled residual (median)",
}


@dataclass(frozen=True, slots=True)
class CheckpointSummary:
    """Where a checkpoint is, and its scores.

    Attributes:
        address: Of the file.
        scores: By held-out set, scores by name; see `ValidationSet.score`.
        threshold: The cosine from which a rendering counts as trusted; None if it was not calibrated.
        size_bytes: Of the file.
    """

    address: str
    scores: dict[str, dict[str, Any]]
    threshold: float | None
    size_bytes: int


@settings
class CheckpointDescription:
    """What a checkpoint's metadata say in words.

    Attributes:
        command: The command that trained it.
        data: What it was trained on.
        licence: License of that data.
    """

    command: str = ""
    data: str = ""
    licence: str = "unknown: ask who owns the images"


def finish_training(url: str, name: str, out: str, description: CheckpointDescription) -> CheckpointSummary:
    """Write the best weights of a training to `out`, with the scores of the held-out sets in the metadata.

    Without a held-out set, the validation images are scored instead, under the name `validation`.

    Raises:
        PlanError: If no epoch is done yet.
    """
    archive = Location.parse(url)
    training, epochs = TrainingRun(archive, name), read_history(archive, name)
    if not epochs or not training.location.exists("best.safetensors"):
        raise PlanError(f"training {name}: no epoch is done yet; train at least one.")
    from safetensors.torch import load

    tensors = load(training.location.read_checked("best.safetensors"))
    recipe, examples = training.recipe, training.read_first("train-", _MODEL_EXAMPLES)
    best = min(epochs, key=lambda epoch: epoch.score)
    counts = [training.read_record(part) or {} for part in training.list_parts("train-")]
    card = checkpoint.CheckpointMetadata(
        features=recipe.features_digest,
        representation=asdict(recipe.representation),
        generator=recipe.generator,
        dimension=examples.codes.shape[1],
        length=float(np.linalg.norm(examples.codes.astype(np.float64), axis=1).mean()),
        recipe=asdict(replace(recipe, start=PurePath(recipe.start).name)),
        command=description.command,
        licence=description.licence,
        date=datetime.now(UTC).date().isoformat(),
        data={
            "what": description.data,
            "images": sum(count["images"] for count in counts),
            "examples": sum(count["examples"] for count in counts),
        },
        training={
            "epochs": len(epochs),
            "best epoch": best.number,
            "examples an epoch": recipe.epoch,
            "hours": round(sum(epoch.seconds for epoch in epochs) / 3600, 2),
            "validation": asdict(best),
            **_previous_training(recipe),
        },
        environment=collect_environment(),
    )
    destination = Location.parse(out)
    folder, unscored = destination.parent, f"{destination.name}.unscored"
    folder.write_checked(unscored, checkpoint.pack_checkpoint(tensors, card))
    try:
        scores, cosines = _score_held_out_sets(training, f"{destination.url}.unscored", examples.codes)
    finally:
        folder.remove(unscored)
    cosines_by_kind = {kind: np.concatenate([set_cosines[kind] for set_cosines in cosines]) for kind in cosines[0]}
    final_card = replace(card, scores=scores, threshold=compute_cosine_threshold(cosines_by_kind))
    data = checkpoint.pack_checkpoint(tensors, final_card)
    folder.write_checked(destination.name, data)
    return CheckpointSummary(destination.url, scores, final_card.threshold, len(data))


def _previous_training(recipe: Recipe) -> dict[str, Any]:
    """The metadata on its own training of the checkpoint that this training started from."""
    if not recipe.start:
        return {}
    card = checkpoint.load_matching_checkpoint(recipe.start, recipe.representation)[1]
    return {"started from": {"command": card.command, **card.training}}


def _score_held_out_sets(
    training: TrainingRun, path: str, seen_codes: Any
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Scores and cosines of each held-out set, through the checkpoint as users load it."""
    recipe = training.recipe
    decode = UpConv(checkpoint=path).load(recipe.representation, "none")
    names = sorted(training.list_parts("held-out-")) or ["validation"]
    scores, cosines = {}, []
    for name in names:
        examples = training.read_first(name, MAX_HELD_OUT)
        pictures = decode(examples.codes)
        cosine = compute_residual_cosines(recipe.representation, decode, examples.codes, seen_codes)
        cosines.append(cosine)
        medians = {_COSINE_NAMES[kind]: float(np.median(values)) for kind, values in cosine.items()}
        set_scores = ValidationSet.from_examples(examples).score(recipe.representation, pictures)
        scores[name.removeprefix("held-out-")] = set_scores | medians
    return scores, cosines
