"""Which images a training is given: those that its sources name, and those of whole archives."""

from collections.abc import Iterable, Mapping

import numpy as np

from interpdisc_core.errors import PlanError
from interpdisc_core.ingest import admitted, catalogued, ready_archive
from interpdisc_core.runs import Member
from interpdisc_core.storage import Place
from interpdisc_core.training import examples
from interpdisc_core.training.examples import Enrolled
from interpdisc_core.training.recipe import Recipe

_BLOCK = 1024
"""Most images of a block of features, should these be wanted some day."""


def parted(sources: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sources that are archives, and those that are not."""
    given = tuple(sources)
    archives = tuple(source for source in given if _is_archive(source))
    return archives, tuple(source for source in given if source not in archives)


def _is_archive(source: str) -> bool:
    return not source.startswith(("shards:", "feed:", "{")) and Place.of(source).exists("archive.json")


def enrol(
    url: str, listing: str, archives: tuple[str, ...], recipe: Recipe, held_out: Mapping[str, str], workers: int
) -> Enrolled:
    """Draw the images of a listing and of whole archives into the parts of a training; see `examples.enrol`.

    listing: the name that `enlist` gave, empty where there is none. An image that several of them have counts once.
    Raises PlanError also where the recipe's parts do not fit each other.
    """
    _fits(recipe)
    ready_archive(url)
    members = admitted(url, listing, _BLOCK, workers) if listing else []
    unique: dict[str, Member] = {}
    for member in (*members, *(member for archive in archives for member in catalogued(archive))):
        unique.setdefault(member.sha256, member)
    return examples.enrol(url, list(unique.values()), recipe, held_out)


def _fits(recipe: Recipe) -> None:
    """Find out in seconds what would else be found out after hours of preparing examples."""
    import torch

    representation = recipe.representation
    if recipe.feature > 0 and representation.network() is None:
        raise PlanError(f"recipe: {representation.kind} has no gradient, so the weight feature must be 0.")
    side = representation.side
    codes = representation.load()(np.zeros((1, side, side, 3), dtype=np.uint8))
    with torch.device("meta"):  # its shapes only
        recipe.generator.build(codes.shape[1])
