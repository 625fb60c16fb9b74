"""Triage of one day's images: science, artefacts, known and unreadable; one representative of each observation.

No image is dropped: an image that is not a candidate for picks is in another list, with the reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from interpdisc_core.archive.feature_store import FeatureStore, find_row_blocks
from interpdisc_core.archive.feedback import VerdictsByHash
from interpdisc_core.images.artefacts import match_rules
from interpdisc_core.images.uri_fragments import split_tile_uri
from interpdisc_core.metadata.observations import group_observations
from interpdisc_core.operations.daily.days import DayImage, tabulate_fields
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.storage.location import Location

RULE_AUTHOR = "rule"


@dataclass(frozen=True, slots=True)
class ArtefactImage:
    """An image that is no candidate for picks.

    Attributes:
        reasons: What is wrong with it.
        author: `rule`, or the person who marked it.
    """

    item: DayImage
    reasons: tuple[str, ...]
    author: str


@dataclass(frozen=True, slots=True)
class Triage:
    """A day's images by what is done with them.

    Attributes:
        science: The candidates for picks, in order of id: the representative of each observation, with its tiles.
        observation_by_key: The observation of each of them, by key.
        members_by_observation: Ids of all images of an observation.
        artefacts: Ranked apart from the picks.
        unreadable: Quarantined inputs.
        known_images: Candidates of observations that somebody marked as known.
        interesting_keys: Keys of candidates that somebody marked as interesting: they may be picked, and the memory
            does not learn them.
    """

    science: tuple[DayImage, ...]
    observation_by_key: Mapping[str, str]
    members_by_observation: Mapping[str, tuple[str, ...]]
    artefacts: tuple[ArtefactImage, ...]
    unreadable: tuple[DayImage, ...]
    known_images: tuple[DayImage, ...]
    interesting_keys: frozenset[str]


def triage_images(archive: Location, settings: Daily, items: Sequence[DayImage], verdicts: VerdictsByHash) -> Triage:
    """Sort a day's images.

    Args:
        archive: The archive.
        settings: Settings of the daily run.
        items: The day's images, see `group_by_day`. All blocks that hold their features must be complete.
        verdicts: The latest verdict by SHA-256.

    Raises:
        StoreError: If a block is missing.
    """
    readable_items = [item for item in items if item.is_readable]
    pixel_reasons = _read_pixel_reasons(FeatureStore(archive, settings.plan.features_digest), readable_items)
    rule_reasons = match_rules(tabulate_fields(readable_items), settings.artefacts)
    artefacts, candidates = [], []
    for item, rule_names in zip(readable_items, rule_reasons, strict=True):
        verdict = verdicts.get(item.entry.sha256)
        reasons = (*pixel_reasons.get(item.position, ()), *rule_names)
        if verdict is not None and verdict.verdict == "artefact":
            artefacts.append(ArtefactImage(item, (verdict.note or "marked as artefact", *reasons), verdict.by))
        elif reasons:
            artefacts.append(ArtefactImage(item, reasons, RULE_AUTHOR))
        else:
            candidates.append(item)
    science: list[DayImage] = []
    known_images: list[DayImage] = []
    observation_by_key: dict[str, str] = {}
    members_by_observation: dict[str, tuple[str, ...]] = {}
    for name, rows, members in _group_candidates(candidates):
        science += rows
        observation_by_key |= {row.entry.key: name for row in rows}
        members_by_observation[name] = tuple(member.entry.id for member in members)
        # Only verdicts on frames count here: a tile alone does not make its observation known.
        if any(_has_verdict(member, "known", verdicts) for member in members if _frame_uri(member) is None):
            known_images += rows
    science.sort(key=lambda item: (item.name, item.entry.sha256))
    return Triage(
        tuple(science),
        observation_by_key,
        members_by_observation,
        tuple(artefacts),
        tuple(item for item in items if not item.is_readable),
        tuple(known_images),
        frozenset(row.entry.key for row in science if _has_verdict(row, "interesting", verdicts)),
    )


def _group_candidates(candidates: list[DayImage]) -> Iterator[tuple[str, list[DayImage], list[DayImage]]]:
    """Each observation: its name, the rows that may be picked, and all of its images."""
    item_by_key = {item.entry.key: item for item in candidates}
    frames = [item for item in candidates if _frame_uri(item) is None]
    tiles_by_frame: dict[str, list[DayImage]] = {}
    for item in candidates:
        if (frame_uri := _frame_uri(item)) is not None:
            tiles_by_frame.setdefault(frame_uri, []).append(item)
    for observation in group_observations([item.observed_image for item in frames]):
        representative = item_by_key[observation.representative]
        tiles_of_it = tiles_by_frame.pop(representative.entry.uri, [])
        yield observation.name, [representative, *tiles_of_it], [item_by_key[key] for key in observation.members]
    # Tiles of frames that another image represents are left out; those of frames that are no candidates are not.
    frame_uris = {item.entry.uri for item in frames}
    for frame_uri, rows in tiles_by_frame.items():
        if frame_uri not in frame_uris:
            yield frame_uri, rows, rows


def _frame_uri(item: DayImage) -> str | None:
    """The address of the frame that an image is a tile of, or None."""
    frame, box = split_tile_uri(item.entry.uri)
    return frame if box is not None else None


def _has_verdict(item: DayImage, verdict: str, verdicts: VerdictsByHash) -> bool:
    event = verdicts.get(item.entry.sha256)
    return event is not None and event.verdict == verdict


def _read_pixel_reasons(store: FeatureStore, items: list[DayImage]) -> dict[tuple[int, int], tuple[str, ...]]:
    """What extraction found wrong with the pixels of images, by (batch, row)."""
    blocks = find_row_blocks(store.archive, [item.position for item in items]).blocks
    reasons_by_position: dict[tuple[int, int], tuple[str, ...]] = {}
    for block in blocks:
        reasons_by_position |= {
            (block.batch, int(row)): (reason,) for row, reason in store.read_record(block).artefacts.items()
        }
    return reasons_by_position
