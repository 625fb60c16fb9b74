"""What people said: nothing is lost, the last word counts, and a word that cannot be meant is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core import catalog, feedback
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.feedback import VERDICTS, Mark, latest, mark, trail, verdicts
from interpdisc_core.sources import Listed
from interpdisc_core.storage import Place

HOSTILE = "<script>\u202e'\"; ../../x\n"


def entry(id: str, stamp: str = "1", uri: str = "") -> catalog.Entry:
    listed = Listed(id=id, uri=uri or f"file:///images/{id}", size=1, stamp=stamp, skipped="", label=None, record={})
    return catalog.Entry.of(listed)


@pytest.fixture
def archive(tmp_path: Path) -> Place:
    place = Place.of(tmp_path / "archive")
    catalog.write_part(place, 0, "list", [entry("a.jpg"), entry("b.jpg"), entry(HOSTILE), entry("naïve 火星.jpg")])
    return place


def key(archive: Place, id: str) -> str:
    return catalog.find(archive, "id", [id])[0].key


def test_the_last_word_counts_and_none_takes_it_back(archive: Place) -> None:
    first = mark(archive, "a.jpg", "interesting", "Ann")
    assert verdicts(archive) == {key(archive, "a.jpg"): first}
    second = mark(archive, key(archive, "a.jpg"), "boring", "Bob", "seen often")
    assert verdicts(archive) == {first.key: second}
    mark(archive, "b.jpg", "known", "Ann")
    mark(archive, "a.jpg", "none", "Ann")
    assert {one.id: one.verdict for one in verdicts(archive).values()} == {"b.jpg": "known"}
    assert [(one.id, one.verdict, one.by) for one in trail(archive)] == [
        ("a.jpg", "interesting", "Ann"), ("a.jpg", "boring", "Bob"), ("b.jpg", "known", "Ann"), ("a.jpg", "none", "Ann"),
    ]  # fmt: skip


def test_events_are_never_changed(archive: Place) -> None:
    mark(archive, "a.jpg", "interesting", "Ann")
    before = {name: archive.read(f"feedback/{name}") for name in archive.names("feedback")}
    mark(archive, "a.jpg", "none", "Ann")
    assert len(archive.names("feedback")) == 2
    assert all(archive.read(f"feedback/{name}") == data for name, data in before.items())


def test_two_people_at_once_lose_nothing(archive: Place) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: mark(archive, "a.jpg", "known", f"person {i}"), range(40)))
    assert sorted(one.by for one in trail(archive)) == sorted(one.by for one in made)
    assert verdicts(archive)[made[0].key] == trail(archive)[-1]


def test_the_last_to_speak_has_the_last_word_whatever_the_clocks_say(archive: Place) -> None:
    """An event from a machine whose clock is ahead does not outlive what is said after it."""
    first = mark(archive, "a.jpg", "interesting", "Ann")
    ahead = replace(first, at="2999-01-01T00:00:00.000000+00:00", verdict="boring")
    archive.write_json("feedback/29990101T000000.000000Z-00000000.json", {**json.loads(archive.read(
        f"feedback/{archive.names('feedback')[0]}")), "at": ahead.at, "verdict": "boring", "token": "00000000"})  # fmt: skip
    last = mark(archive, "a.jpg", "known", "Ann")
    assert last.at > ahead.at
    assert verdicts(archive)[first.key] == last


@given(st.permutations(range(6)), st.data())
def test_order_of_reading_is_irrelevant(order: list[int], data: st.DataObject) -> None:
    said = [
        Mark(f"2026-01-01T00:00:0{data.draw(st.integers(0, 3))}.000000+00:00", f"{i:08d}", "x", data.draw(st.sampled_from("ab")),
             data.draw(st.sampled_from(VERDICTS)), "Ann")
        for i in range(6)
    ]  # fmt: skip
    assert latest(said[i] for i in order) == latest(said)
    assert set(latest(said).values()) <= set(said)


@pytest.mark.parametrize(
    ("id", "verdict", "by", "note", "said"),
    [
        ("nowhere.jpg", "known", "Ann", "", "has no image 'nowhere.jpg'"),
        ("", "known", "Ann", "", "has no image"),
        ("lone \udce9", "known", "Ann", "", "has no image"),
        ("a.jpg", "great", "Ann", "", "known, interesting, boring, artefact"),
        ("a.jpg", "known", "  ", "", "--by is empty"),
        ("a.jpg", "known", "x" * 81, "", "at most 80"),
        ("a.jpg", "known", "Ann\x1b[2J", "", "cannot be shown"),
        ("a.jpg", "known", "Ann", "x" * 2001, "at most 2,000"),
    ],
)
def test_what_cannot_be_meant_is_refused(archive: Place, id: str, verdict: str, by: str, note: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        mark(archive, id, verdict, by, note)
    assert archive.names("feedback") == []


def test_an_id_of_several_images_is_refused_with_their_keys(archive: Place) -> None:
    catalog.write_part(archive, 1, "list", [entry("a.jpg", uri="s3://other/a.jpg")])
    keys = sorted(one.key for one in catalog.find(archive, "id", ["a.jpg"]))
    assert len(keys) == 2
    with pytest.raises(PlanError, match=f"{keys[0]}, {keys[1]}"):
        mark(archive, "a.jpg", "known", "Ann")
    assert mark(archive, keys[1], "known", "Ann").key == keys[1]


def test_an_id_means_the_current_version(archive: Place) -> None:
    old, new = entry("a.jpg"), entry("a.jpg", stamp="2")
    catalog.write_part(archive, 1, "list", [new, old.now("superseded-by", new.key)])
    assert mark(archive, "a.jpg", "known", "Ann").key == new.key
    assert mark(archive, old.key, "boring", "Ann").key == old.key


@pytest.mark.parametrize("id", [HOSTILE, "naïve 火星.jpg"])
def test_names_and_notes_come_back_as_they_were(archive: Place, id: str) -> None:
    made = mark(archive, id, "artefact", "Åse <b>", f"note {HOSTILE}".strip())
    assert trail(archive) == [made]
    assert (made.id, made.by, made.note) == (id, "Åse <b>", f"note {HOSTILE}".strip())
    assert all(name.endswith(".json") for name in archive.names("feedback"))


def test_a_reader_that_comes_back_reads_only_what_is_new(archive: Place) -> None:
    kept: dict[str, Mark] = {}
    first = mark(archive, "a.jpg", "known", "Ann")
    assert trail(archive, kept) == [first]
    archive.write(f"feedback/{next(iter(kept))}", b"damaged now, and not read again")
    second = mark(archive, "b.jpg", "boring", "Ann")
    assert trail(archive, kept) == [first, second]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"at": 1}', b'{"at":"x","token":"x","id":"x","key":"x","verdict":"odd","by":"x"}']
)
def test_a_damaged_event_is_named(archive: Place, data: bytes) -> None:
    archive.write("feedback/20260101T000000.000000Z-0a0b0c0d.json", data)
    with pytest.raises(StoreError, match="20260101T000000"):
        verdicts(archive)


def test_what_is_no_event_is_left_alone(archive: Place) -> None:
    archive.write("feedback/README.txt", b"hello")
    archive.write("feedback/20260101T000000.000000Z-0a0b0c0d.json.tmp", b"")
    assert feedback.trail(archive) == []
