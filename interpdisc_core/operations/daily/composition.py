"""What the expectations of a day's picks are made of: images of the horizon, and earlier picks of the day."""

from collections.abc import Sequence

import numpy as np

from interpdisc_core.archive.day_result import ComposingImage, DayComposition
from interpdisc_core.archive.memory import Memory
from interpdisc_core.archive.run import Composition, NearImage, Pick, Run, WeightedImage
from interpdisc_core.operations.daily.commit import load_day_features
from interpdisc_core.operations.daily.days import DayImage
from interpdisc_core.operations.daily.prepare import DaySnapshot
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.pipeline.seen_images import STRONGEST_COUNT, build_expectation
from interpdisc_core.pipeline.select import load_member_features
from interpdisc_core.selectors.rows import gather_float64
from interpdisc_core.selectors.seen_weights import PickExpectation, SeenWeights, SeenWeightsSum
from interpdisc_core.storage.location import Location

_CHUNK_IMAGES = 4096
"""Images whose features are in memory at a time."""


def compose_day_expectations(
    archive: Location, settings: Daily, snapshot: DaySnapshot, run: Run, picks: Sequence[Pick]
) -> list[DayComposition | None]:
    """What the expectation of each pick of a day's run is made of.

    None where the selector's expectation is not made of images; where images that people called boring were absorbed, which
    changes the model's axes but not its mean; and where an image of the memory's records is not in the catalog any more.

    Args:
        archive: The archive.
        settings: Settings of the daily run.
        snapshot: What the day is computed from.
        run: A run of the day.
        picks: Its picks.
    """
    constraints = run.constraints
    if constraints.absorbed or not picks:
        return [None] * len(picks)
    if not constraints.batches:
        return [_from_run(pick.composition) for pick in picks]
    days = _find_remembered_images(archive, constraints.stratum, list(constraints.batches), snapshot)
    if days is None:
        return [None] * len(picks)
    seen = [(day, item) for day, items in days.items() for item in items]
    candidates, _ = load_member_features(run)
    row_by_key = {f"{member.key}\0{member.sha256}": row for row, member in enumerate(candidates.members)}
    known_keys = set(constraints.known)
    learned_rows = [row for row, member in enumerate(candidates.members) if member.key in known_keys]
    known_count = len(learned_rows)
    learned_rows += [row_by_key[f"{pick.key}\0{pick.sha256}"] for pick in picks]
    selector, chosen, learned_counts = run.plan.selector, dict[int, PickExpectation](), dict[int, int]()
    for index, vectors in enumerate(run.load_vectors(len(picks))):
        source, expectation = build_expectation(
            selector, vectors, len(seen), known_count + index, len(candidates.members)
        )
        if expectation is not None:
            chosen[index] = expectation
            learned_counts[index] = known_count + index if source == "prior and learned rows" else 0
    if not chosen:
        return [None] * len(picks)
    total = SeenWeightsSum(list(chosen.values()), STRONGEST_COUNT)
    for first in range(0, len(seen), _CHUNK_IMAGES):
        items = [item for _, item in seen[first : first + _CHUNK_IMAGES]]
        total.add(load_day_features(archive, settings, items), first)
    learned_values = gather_float64(candidates.rows, np.array(learned_rows, dtype=np.intp))
    for number, index in enumerate(chosen):
        total.add(learned_values[: learned_counts[index]], len(seen), only=number)
    images = [
        ComposingImage(id=item.entry.id, key=item.entry.key, uri=item.pixel_uri, sha256=item.entry.sha256, role=day)
        for day, item in seen
    ]
    images += [
        ComposingImage(
            id=member.id,
            key=member.key,
            uri=member.uri,
            sha256=member.sha256,
            role="known" if position < known_count else f"pick {position - known_count + 1}",
        )
        for position, member in enumerate(candidates.members[row] for row in learned_rows)
    ]
    compositions: list[DayComposition | None] = [None] * len(picks)
    for index, weights in zip(chosen, total.finish(), strict=True):
        if weights is not None:
            compositions[index] = _describe_weights(weights, chosen[index].count, images)
    return compositions


def _find_remembered_images(
    archive: Location, stratum: str, batches: Sequence[str], snapshot: DaySnapshot
) -> dict[str, list[DayImage]] | None:
    """The images of the memory's records, by day; None if one of them is not there any more."""
    memory, days = Memory(archive, stratum), {}
    for day in batches:
        item_by_content = {(item.name, item.entry.sha256): item for item in snapshot.items_by_day.get(day, [])}
        contents = [(str(name), str(sha256)) for name, sha256 in memory.read(day).made_from.get("images", [])]
        if not set(contents) <= item_by_content.keys():
            return None
        days[day] = [item_by_content[content] for content in contents]
    return days


def _describe_weights(weights: SeenWeights, count: int, images: Sequence[ComposingImage]) -> DayComposition:
    weight_by_number = {item.number: item.value for item in weights.strongest}
    nearest = [item.number for item in weights.nearest[:1]]
    numbers = nearest + [item.number for item in weights.strongest if item.number not in nearest]
    return DayComposition(
        count=count,
        total=weights.total,
        share=weights.share,
        images=tuple(
            images[number].weigh(weight_by_number.get(number), is_nearest=number in nearest) for number in numbers
        ),
    )


def _from_run(composition: Composition | None) -> DayComposition | None:
    """The composition that the run itself could make: of its own images, on a first day."""
    if composition is None:
        return None
    weights = {image.id: image.weight for image in composition.strongest}
    nearest_ids = {near.id for near in composition.nearest[:1]}
    images: list[NearImage | WeightedImage] = [*composition.nearest[:1]]
    images += [image for image in composition.strongest if image.id not in nearest_ids]
    return DayComposition(
        count=composition.count,
        total=composition.total,
        share=composition.share,
        images=tuple(
            ComposingImage(id=image.id, key="", uri=image.uri, sha256=image.sha256, role=image.role).weigh(
                weights.get(image.id), is_nearest=image.id in nearest_ids
            )
            for image in images
        ),
    )
