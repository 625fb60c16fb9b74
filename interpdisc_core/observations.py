"""One exposure, one observation: which images show the same thing at the same moment, and which of them to show.

Images belong together that have the same product (versions, sizes, thumbnails) or the same observation (eyes, filters,
Bayer planes, tiles at one clock); and narrow-band frames with their neighbours in time of one sequence and pointing,
since a filter wheel needs its seconds. Of an image of which nothing is known nothing is guessed: it stands alone.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from interpdisc_core.metadata import Told

TURN = 120.0
"""Seconds of spacecraft clock within which the next filter of a multispectral set follows."""
POINTING = 0.5
"""Degrees by which the mast's angles may differ within a set: well below the narrowest field of view of these cameras."""

_COLOUR = {"L0", "R0", "F", "RGB", "CLEAR"}
_BAYER = {"E"}
_NARROW = {f"{eye}{number}" for eye in "LR" for number in range(1, 8)}
_BANDS = set("RGBADTXYZCJKLPHSI") | _NARROW
"""One of several planes or bands of a picture, by the missions' letters."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One image. key: its unique name. width, height: pixels, 0 unknown."""

    key: str
    told: Told
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """Images of one exposure. members: keys, rising. representative: the one to show."""

    name: str
    members: tuple[str, ...]
    representative: str


def grouped(sights: Iterable[Sight]) -> list[Observation]:
    """Part the images into observations, in order of name; the order of `sights` does not matter.

    The representative is the best version of a product, and of several products a full frame before a thumbnail, colour
    before one band, the left eye before the right, then the larger, the better, the later, the lower key. An
    observation without a name is called by its first key.
    """
    known = {sight.key: sight for sight in sights}
    joined = _Joined(known)
    for field in ("product", "observation"):
        first: dict[str, str] = {}
        for key, sight in known.items():
            if name := getattr(sight.told, field):
                joined.join(first.setdefault(name, key), key)
    for one, two in _multispectral(known.values()):
        joined.join(one, two)
    worse = superseded(known.values())
    result = []
    for keys in joined.groups():
        members = [known[key] for key in sorted(keys)]
        shown = _best([sight for sight in members if sight.key not in worse], _worth)
        name = min((sight.told.observation for sight in members if sight.told.observation), default=members[0].key)
        result.append(Observation(name, tuple(sight.key for sight in members), shown.key))
    return sorted(result, key=lambda observation: (observation.name, observation.members))


def superseded(sights: Iterable[Sight]) -> dict[str, str]:
    """Of each image of which there is a better version of the same product, that version: key -> key of the best."""
    products: dict[str, list[Sight]] = {}
    for sight in sorted({sight.key: sight for sight in sights}.values(), key=lambda sight: sight.key):
        if sight.told.product:
            products.setdefault(sight.told.product, []).append(sight)
    result = {}
    for same in products.values():
        best = _best(same, _version)
        result.update({sight.key: best.key for sight in same if sight is not best})
    return result


def _version(sight: Sight) -> tuple[Hashable, ...]:
    told = sight.told
    return (not told.thumbnail, told.quality, told.received, sight.width * sight.height)


def _worth(sight: Sight) -> tuple[Hashable, ...]:
    told = sight.told
    colour = 3 if told.filter in _COLOUR else 0 if told.filter in _BANDS else 1 if told.filter in _BAYER else 2
    area = sight.width * sight.height
    return (not told.thumbnail, colour, told.eye != "right", area, told.quality, told.received, told.taken)


def _best(sights: Sequence[Sight], worth: Callable[[Sight], tuple[Hashable, ...]]) -> Sight:
    """The first of the best; `sights` are in order of key."""
    best = sights[0]
    for sight in sights[1:]:
        if worth(sight) > worth(best):
            best = sight
    return best


def _multispectral(sights: Iterable[Sight]) -> list[tuple[str, str]]:
    """Pairs of images that follow each other within one set of filters."""
    series: dict[tuple[object, ...], list[tuple[float, str, Told]]] = {}
    for sight in sights:
        told = sight.told
        if told.sequence and told.sclk is not None and told.mast_az is not None and told.mast_el is not None:
            camera = "_".join(word for word in told.instrument.split("_") if word not in ("LEFT", "RIGHT"))
            where = (told.mission, camera, told.sequence, told.sol, told.site, told.drive)
            series.setdefault(where, []).append((told.sclk, sight.key, told))
    pairs = []
    for frames in series.values():
        frames.sort(key=lambda frame: frame[:2])
        for (when, one, before), (then, two, after) in itertools.pairwise(frames):
            # Two broad-band frames that follow each other may be a film: what moves in it must not be hidden.
            narrow = before.filter in _NARROW or after.filter in _NARROW
            if narrow and then - when <= TURN and _same_pointing(before, after):
                pairs.append((one, two))
    return pairs


def _same_pointing(one: Told, two: Told) -> bool:
    if one.mast_az is None or two.mast_az is None or one.mast_el is None or two.mast_el is None:
        return False
    turn = abs(one.mast_az - two.mast_az) % 360
    return min(turn, 360 - turn) <= POINTING and abs(one.mast_el - two.mast_el) <= POINTING


class _Joined:
    """Sets of keys that grow together."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.parent = {key: key for key in keys}

    def root(self, key: str) -> str:
        while self.parent[key] != key:
            self.parent[key] = self.parent[self.parent[key]]
            key = self.parent[key]
        return key

    def join(self, one: str, two: str) -> None:
        low, high = sorted((self.root(one), self.root(two)))
        self.parent[high] = low

    def groups(self) -> list[list[str]]:
        found: dict[str, list[str]] = {}
        for key in self.parent:
            found.setdefault(self.root(key), []).append(key)
        return list(found.values())
