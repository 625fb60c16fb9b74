"""What people said: nothing is lost, the last word counts, and a word that cannot be meant is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.archive import catalog, feedback
from interpdisc_core.archive.feedback import (
    VERDICTS,
    VerdictEvent,
    read_current_verdicts,
    read_verdict_history,
    record_verdict,
    select_current_verdicts,
)
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.sources import SourceEntry
from interpdisc_core.storage.location import Location

HOSTILE = "<script>\u202e'\"; ../../x\n"


def entry(id: str, stamp: str = "1", uri: str = "") -> catalog.CatalogEntry:
    listed = SourceEntry(
        id=id, uri=uri or f"file:///images/{id}", size=1, stamp=stamp, skip_reason="", label=None, record={}
    )
    return catalog.CatalogEntry.from_source_entry(listed)


@pytest.fixture
def archive(tmp_path: Path) -> Location:
    place = Location.parse(tmp_path / "archive")
    catalog.write_part(place, 0, "list", [entry("a.jpg"), entry("b.jpg"), entry(HOSTILE), entry("naïve 火星.jpg")])
    return place


def key(archive: Location, id: str) -> str:
    return catalog.find_entries(archive, "id", [id])[0].key


def test_the_last_verdict_counts_and_none_withdraws_it(archive: Location) -> None:
    first = record_verdict(archive, "a.jpg", "interesting", "Ann")
    assert read_current_verdicts(archive) == {key(archive, "a.jpg"): first}
    second = record_verdict(archive, key(archive, "a.jpg"), "boring", "Bob", "seen often")
    assert read_current_verdicts(archive) == {first.key: second}
    record_verdict(archive, "b.jpg", "known", "Ann")
    record_verdict(archive, "a.jpg", "none", "Ann")
    assert {one.id: one.verdict for one in read_current_verdicts(archive).values()} == {"b.jpg": "known"}
    assert [(one.id, one.verdict, one.by) for one in read_verdict_history(archive)] == [
        ("a.jpg", "interesting", "Ann"),
        ("a.jpg", "boring", "Bob"),
        ("b.jpg", "known", "Ann"),
        ("a.jpg", "none", "Ann"),
    ]


def test_events_are_never_changed(archive: Location) -> None:
    record_verdict(archive, "a.jpg", "interesting", "Ann")
    before = {name: archive.read(f"feedback/{name}") for name in archive.list_names("feedback")}
    record_verdict(archive, "a.jpg", "none", "Ann")
    assert len(archive.list_names("feedback")) == 2
    assert all(archive.read(f"feedback/{name}") == data for name, data in before.items())


def test_two_people_at_once_lose_nothing(archive: Location) -> None:
    with ThreadPoolExecutor(8) as pool:
        events_made = list(pool.map(lambda i: record_verdict(archive, "a.jpg", "known", f"person {i}"), range(40)))
    assert sorted(one.by for one in read_verdict_history(archive)) == sorted(one.by for one in events_made)
    assert read_current_verdicts(archive)[events_made[0].key] == read_verdict_history(archive)[-1]


def test_the_verdict_given_last_counts_whatever_the_clocks_say(archive: Location) -> None:
    """An event from a machine whose clock is ahead does not outlive what is said after it."""
    first = record_verdict(archive, "a.jpg", "interesting", "Ann")
    ahead = replace(first, at="2999-01-01T00:00:00.000000+00:00", verdict="boring")
    archive.write_json(
        "feedback/29990101T000000.000000Z-00000000.json",
        {
            **json.loads(archive.read(f"feedback/{archive.list_names('feedback')[0]}")),
            "at": ahead.at,
            "verdict": "boring",
            "token": "00000000",
        },
    )
    last = record_verdict(archive, "a.jpg", "known", "Ann")
    assert last.at > ahead.at
    assert read_current_verdicts(archive)[first.key] == last


@given(st.permutations(range(6)), st.data())
def test_the_order_of_reading_does_not_matter(order: list[int], data: st.DataObject) -> None:
    events = [
        VerdictEvent(
            f"2026-01-01T00:00:0{data.draw(st.integers(0, 3))}.000000+00:00",
            f"{i:08d}",
            "x",
            data.draw(st.sampled_from("ab")),
            data.draw(st.sampled_from(VERDICTS)),
            "Ann",
        )
        for i in range(6)
    ]
    assert select_current_verdicts(events[i] for i in order) == select_current_verdicts(events)
    assert set(select_current_verdicts(events).values()) <= set(events)


@pytest.mark.parametrize(
    ("id", "verdict", "by", "note", "message"),
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
def test_verdicts_that_are_not_valid_are_refused(
    archive: Location, id: str, verdict: str, by: str, note: str, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        record_verdict(archive, id, verdict, by, note)
    assert archive.list_names("feedback") == []


def test_an_id_of_several_images_is_refused_with_their_keys(archive: Location) -> None:
    catalog.write_part(archive, 1, "list", [entry("a.jpg", uri="s3://other/a.jpg")])
    keys = sorted(one.key for one in catalog.find_entries(archive, "id", ["a.jpg"]))
    assert len(keys) == 2
    with pytest.raises(PlanError, match=f"{keys[0]}, {keys[1]}"):
        record_verdict(archive, "a.jpg", "known", "Ann")
    assert record_verdict(archive, keys[1], "known", "Ann").key == keys[1]


def test_an_id_means_the_current_version(archive: Location) -> None:
    old, new = entry("a.jpg"), entry("a.jpg", stamp="2")
    catalog.write_part(archive, 1, "list", [new, old.with_status("superseded-by", new.key)])
    assert record_verdict(archive, "a.jpg", "known", "Ann").key == new.key
    assert record_verdict(archive, old.key, "boring", "Ann").key == old.key


@pytest.mark.parametrize("id", [HOSTILE, "naïve 火星.jpg"])
def test_names_and_notes_are_read_back_unchanged(archive: Location, id: str) -> None:
    event = record_verdict(archive, id, "artefact", "Åse <b>", f"note {HOSTILE}".strip())
    assert read_verdict_history(archive) == [event]
    assert (event.id, event.by, event.note) == (id, "Åse <b>", f"note {HOSTILE}".strip())
    assert all(name.endswith(".json") for name in archive.list_names("feedback"))


def test_events_in_the_cache_are_not_read_again(archive: Location) -> None:
    cache: dict[str, VerdictEvent] = {}
    first = record_verdict(archive, "a.jpg", "known", "Ann")
    assert read_verdict_history(archive, cache) == [first]
    archive.write(f"feedback/{next(iter(cache))}", b"damaged now, and not read again")
    second = record_verdict(archive, "b.jpg", "boring", "Ann")
    assert read_verdict_history(archive, cache) == [first, second]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"at": 1}', b'{"at":"x","token":"x","id":"x","key":"x","verdict":"odd","by":"x"}']
)
def test_a_damaged_event_is_named(archive: Location, data: bytes) -> None:
    archive.write("feedback/20260101T000000.000000Z-0a0b0c0d.json", data)
    with pytest.raises(StoreError, match="20260101T000000"):
        read_current_verdicts(archive)


def test_other_files_in_the_folder_are_ignored(archive: Location) -> None:
    archive.write("feedback/README.txt", b"hello")
    archive.write("feedback/20260101T000000.000000Z-0a0b0c0d.json.tmp", b"")
    assert feedback.read_verdict_history(archive) == []
