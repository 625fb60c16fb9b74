"""Which images a training uses, and which of them it is trained, validated and scored on."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from interpdisc_core import digest
from interpdisc_core.archive.layout import open_or_create_archive
from interpdisc_core.archive.run import RunMember
from interpdisc_core.errors import PlanError
from interpdisc_core.metadata.expressions import match_expression
from interpdisc_core.pipeline.assign_rows import members_of_archive, members_of_listing
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import rows_to_parquet
from interpdisc_core.training.recipe import Recipe

PART_IMAGES = 512
"""Images of a part, which is what one task prepares."""
MAX_HELD_OUT = 1000
"""Most images of a held-out set that are scored, and so among which an inversion is searched."""
_BLOCK_ROWS = 1024
"""Images of a block, by which their features could be extracted later."""


@dataclass(frozen=True, slots=True)
class TrainingSplits:
    """How the images of a training are split.

    Attributes:
        name: Of the training in the archive.
        parts: Parts that are not prepared yet.
        training_images: Images to train on.
        validation_images: Images for the score after each epoch.
        held_out: By name, images of each held-out set that are scored.
        unprepared_images: Images of `parts`.
    """

    name: str
    parts: tuple[str, ...]
    training_images: int
    validation_images: int
    held_out: dict[str, int]
    unprepared_images: int


def split_archives(sources: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split sources into those that are archives and all others."""
    source_list = tuple(sources)
    archives = tuple(source for source in source_list if _is_archive(source))
    return archives, tuple(source for source in source_list if source not in archives)


def _is_archive(source: str) -> bool:
    return not source.startswith(("shards:", "feed:", "{")) and Location.parse(source).exists("archive.json")


def assign_images(
    url: str, listing: str, archives: tuple[str, ...], recipe: Recipe, held_out: Mapping[str, str], workers: int
) -> TrainingSplits:
    """Assign the images of a listing and of whole archives to the parts of a training; see `split_images`.

    Args:
        url: The archive that keeps the training.
        listing: Name of a listing in it, see `interpdisc_core.pipeline.ingest.list_inputs`; empty: none.
        archives: Addresses of other archives. An image that several sources have counts once.
        recipe: What is trained.
        held_out: By name, expressions of images that are never trained on.
        workers: How many workers the listing is spread over.

    Raises:
        PlanError: If the recipe's parts do not fit each other, an expression is wrong, or too few images are left.
    """
    _check_recipe(recipe)
    open_or_create_archive(url)
    members = members_of_listing(url, listing, _BLOCK_ROWS, workers) if listing else []
    unique: dict[str, RunMember] = {}
    for member in (*members, *(member for archive in archives for member in members_of_archive(archive))):
        unique.setdefault(member.sha256, member)
    return split_images(url, list(unique.values()), recipe, held_out)


def _check_recipe(recipe: Recipe) -> None:
    """Fail in seconds, not after hours of preparing examples, if the parts do not fit."""
    import torch

    representation = recipe.representation
    if recipe.feature > 0 and representation.build_network() is None:
        raise PlanError(f"recipe: {representation.kind} has no gradient, so the weight feature must be 0.")
    side = representation.side
    codes = representation.load()(np.zeros((1, side, side, 3), dtype=np.uint8))
    with torch.device("meta"):  # its shapes only
        recipe.generator.build(codes.shape[1])


def split_images(
    url: str,
    members: Sequence[RunMember],
    recipe: Recipe,
    held_out: Mapping[str, str],
    *,
    part_images: int = PART_IMAGES,
    max_held_out: int = MAX_HELD_OUT,
) -> TrainingSplits:
    """Assign images to training, validation and held-out sets, and write the training's recipe and list of images.

    The training is named by the recipe and the images' contents, so the same command resumes it.

    Args:
        url: The archive that keeps the training.
        members: The images, each content once.
        recipe: What is trained.
        held_out: By name, expressions (see `interpdisc_core.metadata.expressions`) of images that are never trained on.
        part_images: Images of a part, at most.
        max_held_out: Images of a held-out set that are scored, at most; all of them are kept out of training.

    Raises:
        PlanError: If an expression matches no image, or too few images are left.
    """
    columns = _expression_columns(members)
    is_held_out = np.zeros(len(members), dtype=bool)
    sets: dict[str, npt.NDArray[np.intp]] = {}
    for name, expression in held_out.items():
        is_match = match_expression(expression, columns)
        if not is_match.any():
            raise PlanError(f"held-out set {name}: {expression!r} matches none of the {len(members)} images.")
        is_held_out |= is_match
        sets[f"held-out-{name}"] = _order_by_content(members, np.flatnonzero(is_match), recipe.seed)[:max_held_out]
    is_wanted = match_expression(recipe.where, columns) if recipe.where else np.ones(len(members), dtype=bool)
    usable_rows = _order_by_content(members, np.flatnonzero(is_wanted & ~is_held_out), recipe.seed)[: recipe.images]
    validation_count = min(max(round(recipe.validation * len(usable_rows)), 1), part_images)
    if len(usable_rows) < validation_count + 2:
        raise PlanError(
            f"{len(usable_rows)} images are left to train on; at least 3 are needed, and thousands for good results."
        )
    sets["validation"], training_rows = usable_rows[:validation_count], usable_rows[validation_count:]
    parts = {
        f"train-{number:06d}": training_rows[start : start + part_images]
        for number, start in enumerate(range(0, len(training_rows), part_images))
    }
    rows = [
        {"part": part, "id": member.id, "uri": member.uri, "sha256": member.sha256, "label": member.label}
        for part, rows_of_part in (sets | parts).items()
        for member in (members[int(row)] for row in rows_of_part)
    ]
    examples_name = digest.digest_json(
        [
            recipe.features_digest,
            recipe.generator.size,
            recipe.views,
            recipe.seed,
            [[row["part"], row["sha256"]] for row in rows],
        ]
    )
    name = f"{recipe.generator.kind}-{digest.digest_json([recipe.digest, examples_name])}"
    archive = Location.parse(url)
    archive.write_checked_json(f"training/{name}/recipe.json", {"recipe": asdict(recipe), "examples": examples_name})
    location = archive / f"examples/{examples_name}"
    schema = pa.schema([(column, pa.string()) for column in ("part", "id", "uri", "sha256", "label")])
    location.write_checked("roll.parquet", rows_to_parquet(rows, schema))
    missing_parts = [part for part in sets | parts if not location.exists(f"records/{part}.json")]
    held_out_counts = {
        key.removeprefix("held-out-"): len(rows_of_part) for key, rows_of_part in sets.items() if key != "validation"
    }
    return TrainingSplits(
        name,
        tuple(missing_parts),
        len(training_rows),
        validation_count,
        held_out_counts,
        sum(len((sets | parts)[part]) for part in missing_parts),
    )


def _expression_columns(members: Sequence[RunMember]) -> dict[str, Sequence[object]]:
    """The columns of the held-out and `where` expressions: the source's record, id, label and URI of each image."""
    records = [json.loads(member.record) for member in members]
    names = dict.fromkeys(key for record in records for key in record)
    columns: dict[str, Sequence[object]] = {name: [record.get(name) for record in records] for name in names}
    return columns | {
        "id": [member.id for member in members],
        "label": [member.label for member in members],
        "uri": [member.uri for member in members],
    }


def _order_by_content(members: Sequence[RunMember], rows: npt.NDArray[np.intp], seed: int) -> npt.NDArray[np.intp]:
    """Rows in a random order that depends on contents and seed alone: further images do not change that of the others."""
    keys = [digest.digest_bytes(f"{seed} {members[int(row)].sha256}".encode()) for row in rows]
    return rows[np.argsort(np.array(keys), kind="stable")] if len(rows) else rows
