"""The lanes of one day: science, artefacts, known; each observation by one representative.

Nothing is dropped: what is not in the science lane is in another, with its reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from interpdisc_core import artefacts, tiles
from interpdisc_core.daily.calendar import Item
from interpdisc_core.daily.word import Word
from interpdisc_core.features import Batch, Block, FeatureStore
from interpdisc_core.observations import grouped

RULE = "rule"


@dataclass(frozen=True, slots=True)
class Flagged:
    """An image of the artefact lane. by: `rule`, or the name of the person who said so."""

    item: Item
    reasons: tuple[str, ...]
    by: str


@dataclass(frozen=True, slots=True)
class Lanes:
    """science: rows to pick from, the representative of each observation (with its tiles), in order of id.

    observation_of: by key, the observation of a science row. members: by observation, the ids of all its images.
    artefacts: ranked apart. unreadable: quarantined, with the reason. known: ids that people said are known.
    interesting: keys of science rows that people called interesting; they are picked from, and not remembered.
    """

    science: tuple[Item, ...]
    observation_of: Mapping[str, str]
    members: Mapping[str, tuple[str, ...]]
    artefacts: tuple[Flagged, ...]
    unreadable: tuple[Item, ...]
    known: tuple[Item, ...]
    interesting: frozenset[str]


def lanes(store: FeatureStore, items: list[Item], rules: Mapping[str, str], said: Word) -> Lanes:
    """Part a day's images. All blocks that hold them must be complete; raises StoreError where one is not."""
    readable = [item for item in items if item.readable]
    seen_by_eye = _measured(store, readable)
    flagged, science = [], []
    ruled = _ruled(readable, rules)
    for item, by_rule in zip(readable, ruled, strict=True):
        mark = said.get(item.entry.sha256)
        reasons = [*seen_by_eye.get(item.place, ()), *by_rule]
        if mark is not None and mark.verdict == "artefact":
            flagged.append(Flagged(item, (mark.note or "said so", *reasons), mark.by))
        elif reasons:
            flagged.append(Flagged(item, tuple(reasons), RULE))
        else:
            science.append(item)
    by_key = {item.entry.key: item for item in science}
    frames = [item for item in science if _frame_of(item) is None]
    parts: dict[str, list[Item]] = {}
    for item in science:
        if (frame := _frame_of(item)) is not None:
            parts.setdefault(frame, []).append(item)
    chosen: list[Item] = []
    known: list[Item] = []
    of: dict[str, str] = {}
    members: dict[str, tuple[str, ...]] = {}
    for observation in grouped([item.sight for item in frames]):
        representative = by_key[observation.representative]
        rows = [representative, *parts.pop(representative.entry.uri, [])]
        members[observation.name] = tuple(by_key[key].entry.id for key in observation.members)
        of |= {row.entry.key: observation.name for row in rows}
        if any(_known(by_key[key], said) for key in observation.members):
            known += rows
        chosen += rows
    whole = {item.entry.uri for item in frames}
    for frame, rows in parts.items():  # tiles whose frame is no representative: another image stands for it
        if frame not in whole:
            of |= {row.entry.key: frame for row in rows}
            members[frame] = tuple(row.entry.id for row in rows)
            chosen += rows
    chosen.sort(key=lambda item: (item.name, item.entry.sha256))
    interesting = frozenset(
        row.entry.key for row in chosen if (mark := said.get(row.entry.sha256)) and mark.verdict == "interesting"
    )
    return Lanes(
        tuple(chosen), of, members, tuple(flagged), tuple(item for item in items if not item.readable), tuple(known),
        interesting,
    )  # fmt: skip


def _frame_of(item: Item) -> str | None:
    """The address of the frame that an image is a tile of, or None."""
    frame, box = tiles.parted(item.entry.uri)
    return frame if box is not None else None


def _known(item: Item, said: Word) -> bool:
    mark = said.get(item.entry.sha256)
    return mark is not None and mark.verdict == "known"


def _ruled(items: list[Item], rules: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The rules that hold for each image."""
    if not items:
        return []
    fields = [item.columns() for item in items]
    names = sorted({name for one in fields for name in one})
    found = artefacts.by_rule({name: [one.get(name) for one in fields] for name in names}, rules)
    return [tuple(reasons) for reasons in found]


def _measured(store: FeatureStore, items: list[Item]) -> dict[tuple[int, int], tuple[str, ...]]:
    """What extraction saw to be wrong with images, by place."""
    known = {number: Batch.read(store.archive, number) for number in sorted({item.entry.batch for item in items})}
    blocks = sorted({Block(b, row // known[b].block) for b, row in (item.place for item in items)})
    found: dict[tuple[int, int], tuple[str, ...]] = {}
    for block in blocks:
        found |= {(block.batch, int(row)): (why,) for row, why in store.record(block).artefacts.items()}
    return found
