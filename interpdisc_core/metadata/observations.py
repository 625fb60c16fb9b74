"""Groups images of one exposure into observations, and chooses the image that represents each.

Images are grouped that have the same product (versions, sizes, thumbnails) or the same observation (eyes, filters, Bayer
planes and tiles at one clock); and narrow-band frames with the next ones of their sequence and pointing, since a
filter wheel takes some seconds. An image without metadata is an observation of its own.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from interpdisc_core.metadata.image_metadata import ImageMetadata

FILTER_CHANGE_S = 120.0
"""Seconds of the spacecraft clock within which the next filter of a multispectral set follows."""
POINTING_TOLERANCE = 0.5
"""Degrees by which the mast's angles may differ within a set: well below the cameras' narrowest field of view."""

_COLOR_FILTERS = {"L0", "R0", "F", "RGB", "CLEAR"}
_BAYER_FILTERS = {"E"}
_NARROW_FILTERS = {f"{eye}{number}" for eye in "LR" for number in range(1, 8)}
_BAND_FILTERS = set("RGBADTXYZCJKLPHSI") | _NARROW_FILTERS
"""One of several planes or bands of a picture, by the missions' letters."""


@dataclass(frozen=True, slots=True)
class ObservedImage:
    """One image: its unique key, its metadata, and its size in pixels, 0 if unknown."""

    key: str
    metadata: ImageMetadata
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """Images of one exposure: the keys of its members, ascending, and that of the image to show."""

    name: str
    members: tuple[str, ...]
    representative: str


def group_observations(images: Iterable[ObservedImage]) -> list[Observation]:
    """Group images into observations, sorted by name. The order of `images` does not matter.

    The representative is the best version of its product. Of several products, a full frame comes before a thumbnail,
    color before one band, the left eye before the right; then the larger, the higher quality, the later received, the
    later taken, the lower key. An observation without a name is named by its first key.
    """
    by_key = {image.key: image for image in images}
    groups = _UnionFind(by_key)
    for field in ("product", "observation"):
        first: dict[str, str] = {}
        for key, image in by_key.items():
            if name := getattr(image.metadata, field):
                groups.union(first.setdefault(name, key), key)
    for first_key, second_key in _find_multispectral_pairs(by_key.values()):
        groups.union(first_key, second_key)
    superseded_keys = find_superseded(by_key.values())
    result = []
    for keys in groups.groups():
        members = [by_key[key] for key in sorted(keys)]
        representative = _find_best([image for image in members if image.key not in superseded_keys], _display_rank)
        name = min(
            (image.metadata.observation for image in members if image.metadata.observation), default=members[0].key
        )
        result.append(Observation(name, tuple(image.key for image in members), representative.key))
    return sorted(result, key=lambda observation: (observation.name, observation.members))


def find_superseded(images: Iterable[ObservedImage]) -> dict[str, str]:
    """The images that a better version of the same product supersedes: their keys, and the key of the best version."""
    products: dict[str, list[ObservedImage]] = {}
    for image in sorted({image.key: image for image in images}.values(), key=lambda image: image.key):
        if image.metadata.product:
            products.setdefault(image.metadata.product, []).append(image)
    result = {}
    for versions in products.values():
        best = _find_best(versions, _version_rank)
        result.update({image.key: best.key for image in versions if image is not best})
    return result


def _version_rank(image: ObservedImage) -> tuple[Hashable, ...]:
    metadata = image.metadata
    return (not metadata.thumbnail, metadata.quality, metadata.received, image.width * image.height)


def _display_rank(image: ObservedImage) -> tuple[Hashable, ...]:
    metadata = image.metadata
    color_rank = (
        3
        if metadata.filter in _COLOR_FILTERS
        else 0
        if metadata.filter in _BAND_FILTERS
        else 1
        if metadata.filter in _BAYER_FILTERS
        else 2
    )
    area = image.width * image.height
    return (
        not metadata.thumbnail,
        color_rank,
        metadata.eye != "right",
        area,
        metadata.quality,
        metadata.received,
        metadata.taken,
    )


def _find_best(images: Sequence[ObservedImage], rank: Callable[[ObservedImage], tuple[Hashable, ...]]) -> ObservedImage:
    """The first of the best."""
    best = images[0]
    for image in images[1:]:
        if rank(image) > rank(best):
            best = image
    return best


def _find_multispectral_pairs(images: Iterable[ObservedImage]) -> list[tuple[str, str]]:
    """Pairs of keys of consecutive images of one multispectral set."""
    series: dict[tuple[object, ...], list[tuple[float, str, ImageMetadata]]] = {}
    for image in images:
        metadata = image.metadata
        if (
            metadata.sequence
            and metadata.sclk is not None
            and metadata.mast_az is not None
            and metadata.mast_el is not None
        ):
            camera = "_".join(word for word in metadata.instrument.split("_") if word not in ("LEFT", "RIGHT"))
            pointing_key = (metadata.mission, camera, metadata.sequence, metadata.sol, metadata.site, metadata.drive)
            series.setdefault(pointing_key, []).append((metadata.sclk, image.key, metadata))
    pairs = []
    for frames in series.values():
        frames.sort(key=lambda frame: frame[:2])
        for (first_time, first_key, before), (second_time, second_key, after) in itertools.pairwise(frames):
            # Two consecutive broad-band frames may be a film, whose moving objects must not be hidden.
            is_narrow = before.filter in _NARROW_FILTERS or after.filter in _NARROW_FILTERS
            if is_narrow and second_time - first_time <= FILTER_CHANGE_S and _is_same_pointing(before, after):
                pairs.append((first_key, second_key))
    return pairs


def _is_same_pointing(first: ImageMetadata, second: ImageMetadata) -> bool:
    if first.mast_az is None or second.mast_az is None or first.mast_el is None or second.mast_el is None:
        return False
    azimuth_difference = abs(first.mast_az - second.mast_az) % 360
    return (
        min(azimuth_difference, 360 - azimuth_difference) <= POINTING_TOLERANCE
        and abs(first.mast_el - second.mast_el) <= POINTING_TOLERANCE
    )


class _UnionFind:
    """Disjoint sets of keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.parent = {key: key for key in keys}

    def find(self, key: str) -> str:
        while self.parent[key] != key:
            self.parent[key] = self.parent[self.parent[key]]
            key = self.parent[key]
        return key

    def union(self, first: str, second: str) -> None:
        low, high = sorted((self.find(first), self.find(second)))
        self.parent[high] = low

    def groups(self) -> list[list[str]]:
        groups_by_root: dict[str, list[str]] = {}
        for key in self.parent:
            groups_by_root.setdefault(self.find(key), []).append(key)
        return list(groups_by_root.values())
