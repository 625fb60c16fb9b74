"""Images of one exposure are one observation, in whatever order they arrive; the best represents it."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.metadata.image_metadata import ImageMetadata, parse_metadata
from interpdisc_core.metadata.observations import ObservedImage, find_superseded, group_observations


def make_image(name: str, width: int = 100, height: int = 100, **record: Any) -> ObservedImage:
    """An image called by its product id."""
    return ObservedImage(name, parse_metadata(name, record), width, height)


def group(*images: ObservedImage) -> list[tuple[str, ...]]:
    return [observation.members for observation in group_observations(images)]


def representative_of(*images: ObservedImage) -> str:
    (observation,) = group_observations(images)
    return observation.representative


FULL, THUMB = "0003ML0000000110100031E01_DRCL", "0003ML0000000110100031I01_DRCL"


def test_a_frame_supersedes_its_thumbnail() -> None:
    """Also if the thumbnail has more pixels and was received later."""
    versions = [make_image(FULL, 10, 10), make_image(THUMB, 999, 999, date_received="2030-01-01T00:00:00Z")]
    assert group(*versions) == [(FULL, THUMB)]
    assert find_superseded(versions) == {THUMB: FULL}
    assert representative_of(*versions) == FULL
    assert representative_of(versions[1]) == THUMB


def test_a_repeated_counter_is_another_exposure() -> None:
    """The cameras' counters recur on other sols and in other cameras."""
    names = [FULL, FULL.replace("0003", "0034"), FULL.replace("ML", "MH"), FULL.replace("0100031", "0200031")]
    assert sorted(group(*map(make_image, names))) == sorted((name,) for name in names)


STEREO = [f"{camera}_0100_0675828717_276ECM_N0040218NCAM00503_01_295J01" for camera in ("NLF", "NRF")]
TILES = [f"NLE_0100_0675828717_276ECM_N0040218NCAM00503_0{tile}_295J01" for tile in range(1, 4)]


def test_eyes_tiles_and_planes_of_one_clock_are_one_observation() -> None:
    """Color represents it before a Bayer plane, the left eye before the right; no tile supersedes another."""
    images = [*map(make_image, [*STEREO, *TILES])]
    assert group(*images) == [tuple(sorted([*STEREO, *TILES]))]
    assert representative_of(*images) == STEREO[0]
    assert find_superseded(images) == {}


def test_another_camera_second_or_site_is_another_exposure() -> None:
    """At one clock, front and rear cameras show different scenes."""
    names = [
        "NLF_0100_0675828717_276ECM_N0040218NCAM00503_01_295J01",
        "RLF_0100_0675828717_276ECM_N0040218NCAM00503_01_295J01",
        "NLF_0100_0675828718_276ECM_N0040218NCAM00503_01_295J01",
        "NLF_0100_0675828717_276ECM_N0050218NCAM00503_01_295J01",
    ]
    assert len(group(*map(make_image, names))) == 4


def filters(pointing: float = 10.0, start: int = 798697293) -> list[ObservedImage]:
    """A multispectral set of both eyes: filters 0 to 6, ten seconds each."""
    return [
        make_image(
            f"Z{eye}{number}_1484_0{start + 10 * number}_098ECM_N0730000ZCAM01022_034080J01",
            extended={"mastAz": pointing, "mastEl": -5.0},
        )
        for number, eye in itertools.product(range(7), "LR")
    ]


def test_consecutive_filters_are_one_observation() -> None:
    """Of one pointing, represented by the color image; the next pointing is another observation."""
    first, second = filters(), filters(pointing=14.0, start=798697393)
    assert representative_of(*first) == first[0].key
    assert sorted(map(len, group(*first, *second))) == [14, 14]
    assert find_superseded([*first, *second]) == {}


def test_a_film_is_not_one_observation() -> None:
    """Color frames of one sequence and pointing, seconds apart: moving objects must be seen."""
    film = [
        make_image(
            f"ZLF_1484_079869729{second}_098ECM_N0730000ZCAM01022_034080J01", extended={"mastAz": 1, "mastEl": 1}
        )
        for second in range(5)
    ]
    assert len(group(*film)) == 5


def test_images_without_metadata_are_not_grouped() -> None:
    """Also if two sources give them the same name."""
    first, second = ObservedImage("k1", parse_metadata("1.jpg", {})), ObservedImage("k2", parse_metadata("1.jpg", {}))
    assert [(o.name, o.members) for o in group_observations([second, first])] == [("k1", ("k1",)), ("k2", ("k2",))]
    assert find_superseded([first, second]) == {}
    assert group_observations([]) == []


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (ImageMetadata(), ImageMetadata(thumbnail=True)),
        (ImageMetadata(filter="L0"), ImageMetadata(filter="L3")),
        (ImageMetadata(filter="F"), ImageMetadata(filter="E")),
        (ImageMetadata(filter=""), ImageMetadata(filter="E")),
        (ImageMetadata(filter="E"), ImageMetadata(filter="G")),
        (ImageMetadata(filter="R0", eye="right"), ImageMetadata(filter="L1", eye="left")),
        (ImageMetadata(eye="left"), ImageMetadata(eye="right", quality=9)),
        (ImageMetadata(quality=2), ImageMetadata(quality=1, received="2")),
        (ImageMetadata(received="2"), ImageMetadata(received="1", taken="9")),
    ],
)
def test_criteria_of_the_representative(better: ImageMetadata, worse: ImageMetadata) -> None:
    """Each criterion against the next; a larger image comes before one of higher quality."""
    better_metadata, worse_metadata = (replace(view, observation="o") for view in (better, worse))
    assert representative_of(ObservedImage("b", better_metadata), ObservedImage("a", worse_metadata)) == "b"
    assert (
        representative_of(
            ObservedImage("b", better_metadata, 9, 9), ObservedImage("a", replace(better_metadata, quality=9), 8, 8)
        )
        == "b"
    )
    assert representative_of(ObservedImage("b", better_metadata), ObservedImage("a", better_metadata)) == "a"


_METADATA = st.builds(
    ImageMetadata,
    mission=st.just("m"),
    instrument=st.sampled_from(["A_LEFT", "A_RIGHT"]),
    filter=st.sampled_from(["", "F", "L0", "L1", "R2", "E"]),
    eye=st.sampled_from(["", "left", "right"]),
    product=st.sampled_from(["", "p", "q", "r"]),
    quality=st.integers(0, 2),
    thumbnail=st.booleans(),
    observation=st.sampled_from(["", "x", "y", "z"]),
    sclk=st.none() | st.integers(0, 400).map(float),
    received=st.sampled_from(["", "1", "2"]),
    mast_az=st.sampled_from([None, 0.1, 359.9, 3.0]),
    mast_el=st.sampled_from([None, 1.0]),
    sequence=st.sampled_from(["", "s"]),
)
_IMAGES = st.lists(
    st.builds(
        ObservedImage, st.text("abcdef", min_size=1, max_size=2), _METADATA, st.integers(0, 2), st.integers(1, 2)
    ),
    max_size=9,
    unique_by=lambda s: s.key,
)


@given(_IMAGES, st.randoms())
def test_observations_are_a_partition(images: list[ObservedImage], random: Any) -> None:
    """Independent of order; the best version is not superseded; the representative is a member."""
    observations, better = group_observations(images), find_superseded(images)
    assert sorted(key for o in observations for key in o.members) == sorted(s.key for s in images)
    assert all(o.representative in o.members and o.representative not in better for o in observations)
    shuffled = random.sample(images, len(images))
    assert group_observations(shuffled) == observations
    assert find_superseded(iter(shuffled)) == better
    assert not set(better) & set(better.values())
    group_of = {key: o.members for o in observations for key in o.members}
    assert all(group_of[worse] == group_of[best] for worse, best in better.items())


@given(_IMAGES.filter(bool), st.data())
def test_a_worse_version_changes_nothing(images: list[ObservedImage], data: st.DataObject) -> None:
    """A thumbnail of a known product arrives: the same groups with the same representatives."""
    image = data.draw(st.sampled_from(images))
    product = image.metadata.product or "new"
    present = [replace(s, metadata=replace(s.metadata, product=product)) if s is image else s for s in images]
    late = ObservedImage("zz", replace(image.metadata, product=product, thumbnail=True, quality=-1), 99, 99)
    before, after = group_observations(present), group_observations([*present, late])
    assert {o.representative for o in before} == {o.representative for o in after}
    assert [tuple(key for key in o.members if key != "zz") for o in after] == [o.members for o in before]


@given(_IMAGES)
def test_superseding_is_transitive(images: list[ObservedImage]) -> None:
    """As versions arrive one after another, the best so far supersedes all others."""
    arrived: list[ObservedImage] = []
    for item in images:
        before = find_superseded(arrived)
        arrived.append(item)
        after = find_superseded(arrived)
        assert all(after[worse] in (best, after.get(best)) for worse, best in before.items())
