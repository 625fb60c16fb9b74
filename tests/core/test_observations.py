"""Images of one exposure are one observation, whatever the order in which they come; the best of them is shown."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.metadata import Told, told
from interpdisc_core.observations import Sight, grouped, superseded


def sight(name: str, width: int = 100, height: int = 100, **record: Any) -> Sight:
    """An image called by its product id."""
    return Sight(name, told(name, record), width, height)


def parts(*sights: Sight) -> list[tuple[str, ...]]:
    return [observation.members for observation in grouped(sights)]


def shown(*sights: Sight) -> str:
    (observation,) = grouped(sights)
    return observation.representative


FULL, THUMB = "0003ML0000000110100031E01_DRCL", "0003ML0000000110100031I01_DRCL"


def test_a_thumbnail_and_its_frame_are_one_and_the_frame_supersedes() -> None:
    """Also where the thumbnail has more pixels and came later."""
    one = [sight(FULL, 10, 10), sight(THUMB, 999, 999, date_received="2030-01-01T00:00:00Z")]
    assert parts(*one) == [(FULL, THUMB)]
    assert superseded(one) == {THUMB: FULL}
    assert shown(*one) == FULL
    assert shown(one[1]) == THUMB


def test_a_number_that_is_used_again_is_another_exposure() -> None:
    """The cameras' counters recur on other sols and in other cameras."""
    names = [FULL, FULL.replace("0003", "0034"), FULL.replace("ML", "MH"), FULL.replace("0100031", "0200031")]
    assert sorted(parts(*map(sight, names))) == sorted((name,) for name in names)


STEREO = [f"{camera}_0100_0675828717_276ECM_N0040218NCAM00503_01_295J01" for camera in ("NLF", "NRF")]
TILES = [f"NLE_0100_0675828717_276ECM_N0040218NCAM00503_0{tile}_295J01" for tile in range(1, 4)]


def test_eyes_tiles_and_planes_of_one_clock_are_one() -> None:
    """Colour is shown before a Bayer plane, the left eye before the right; no tile supersedes another."""
    everything = [*map(sight, [*STEREO, *TILES])]
    assert parts(*everything) == [tuple(sorted([*STEREO, *TILES]))]
    assert shown(*everything) == STEREO[0]
    assert superseded(everything) == {}


def test_another_camera_second_or_site_is_another_exposure() -> None:
    """At one clock, front and rear cameras look elsewhere."""
    names = ["NLF_0100_0675828717_276ECM_N0040218NCAM00503_01_295J01", "RLF_0100_0675828717_276ECM_N0040218NCAM00503_01_295J01",
             "NLF_0100_0675828718_276ECM_N0040218NCAM00503_01_295J01", "NLF_0100_0675828717_276ECM_N0050218NCAM00503_01_295J01"]  # fmt: skip
    assert len(parts(*map(sight, names))) == 4


def filters(pointing: float = 10.0, start: int = 798697293) -> list[Sight]:
    """A multispectral set of both eyes: filters 0 to 6, ten seconds each."""
    return [
        sight(f"Z{eye}{number}_1484_0{start + 10 * number}_098ECM_N0730000ZCAM01022_034080J01",
              extended={"mastAz": pointing, "mastEl": -5.0})
        for number, eye in itertools.product(range(7), "LR")
    ]  # fmt: skip


def test_filters_that_follow_each_other_are_one_observation() -> None:
    """One pointing, filter after filter: one observation, shown in colour; the next pointing is another."""
    first, second = filters(), filters(pointing=14.0, start=798697393)
    assert shown(*first) == first[0].key
    assert sorted(map(len, parts(*first, *second))) == [14, 14]
    assert superseded([*first, *second]) == {}


def test_a_film_is_not_one_observation() -> None:
    """Colour frames of one sequence and pointing, seconds apart: what moves through must be seen."""
    film = [
        sight(f"ZLF_1484_079869729{second}_098ECM_N0730000ZCAM01022_034080J01", extended={"mastAz": 1, "mastEl": 1})
        for second in range(5)
    ]
    assert len(parts(*film)) == 5


def test_of_what_nothing_is_known_stands_alone() -> None:
    """Two sources may call their images alike: they are not joined by that."""
    one, two = Sight("k1", told("1.jpg", {})), Sight("k2", told("1.jpg", {}))
    assert [(o.name, o.members) for o in grouped([two, one])] == [("k1", ("k1",)), ("k2", ("k2",))]
    assert superseded([one, two]) == {}
    assert grouped([]) == []


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Told(), Told(thumbnail=True)),
        (Told(filter="L0"), Told(filter="L3")),
        (Told(filter="F"), Told(filter="E")),
        (Told(filter=""), Told(filter="E")),
        (Told(filter="E"), Told(filter="G")),
        (Told(filter="R0", eye="right"), Told(filter="L1", eye="left")),
        (Told(eye="left"), Told(eye="right", quality=9)),
        (Told(quality=2), Told(quality=1, received="2")),
        (Told(received="2"), Told(received="1", taken="9")),
    ],
)
def test_what_is_shown(better: Told, worse: Told) -> None:
    """The order of the criteria, each beside the next; a larger image before a better one."""
    one, two = (replace(view, observation="o") for view in (better, worse))
    assert shown(Sight("b", one), Sight("a", two)) == "b"
    assert shown(Sight("b", one, 9, 9), Sight("a", replace(one, quality=9), 8, 8)) == "b"
    assert shown(Sight("b", one), Sight("a", one)) == "a"


_TOLD = st.builds(
    Told,
    mission=st.just("m"), instrument=st.sampled_from(["A_LEFT", "A_RIGHT"]), filter=st.sampled_from(["", "F", "L0", "L1", "R2", "E"]),
    eye=st.sampled_from(["", "left", "right"]), product=st.sampled_from(["", "p", "q", "r"]), quality=st.integers(0, 2),
    thumbnail=st.booleans(), observation=st.sampled_from(["", "x", "y", "z"]), sclk=st.none() | st.integers(0, 400).map(float),
    received=st.sampled_from(["", "1", "2"]), mast_az=st.sampled_from([None, 0.1, 359.9, 3.0]), mast_el=st.sampled_from([None, 1.0]),
    sequence=st.sampled_from(["", "s"]),
)  # fmt: skip
_SIGHTS = st.lists(
    st.builds(Sight, st.text("abcdef", min_size=1, max_size=2), _TOLD, st.integers(0, 2), st.integers(1, 2)),
    max_size=9, unique_by=lambda s: s.key,
)  # fmt: skip


@given(_SIGHTS, st.randoms())
def test_laws(sights: list[Sight], random: Any) -> None:
    """A partition; independent of order; superseding is by one that is not superseded; what is shown is of its own."""
    observations, better = grouped(sights), superseded(sights)
    assert sorted(key for o in observations for key in o.members) == sorted(s.key for s in sights)
    assert all(o.representative in o.members and o.representative not in better for o in observations)
    again = random.sample(sights, len(sights))
    assert grouped(again) == observations
    assert superseded(iter(again)) == better
    assert not set(better) & set(better.values())
    place = {key: o.members for o in observations for key in o.members}
    assert all(place[worse] == place[best] for worse, best in better.items())


@given(_SIGHTS.filter(bool), st.data())
def test_a_worse_version_changes_nothing(sights: list[Sight], data: st.DataObject) -> None:
    """Of a product that is there comes a thumbnail: the same groups, shown by the same."""
    of = data.draw(st.sampled_from(sights))
    product = of.told.product or "new"
    there = [replace(s, told=replace(s.told, product=product)) if s is of else s for s in sights]
    late = Sight("zz", replace(of.told, product=product, thumbnail=True, quality=-1), 99, 99)
    before, after = grouped(there), grouped([*there, late])
    assert {o.representative for o in before} == {o.representative for o in after}
    assert [tuple(key for key in o.members if key != "zz") for o in after] == [o.members for o in before]


@given(_SIGHTS)
def test_superseding_is_transitive(sights: list[Sight]) -> None:
    """Arriving one after the other, the best stays the best of all that came."""
    seen: list[Sight] = []
    for item in sights:
        before = superseded(seen)
        seen.append(item)
        after = superseded(seen)
        assert all(after[worse] in (best, after.get(best)) for worse, best in before.items())
