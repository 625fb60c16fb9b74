"""The catalog: the latest event of each input counts, whatever parts it lies in and whatever becomes of compacting them."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpdisc_core.archive import catalog, catalog_parts
from interpdisc_core.archive.catalog import ENTRY_STATUSES, CatalogEntry
from interpdisc_core.archive.catalog_compaction import compact_catalog
from interpdisc_core.errors import StoreError
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet, read_parquet


def entry(key: str, number: int = 0, **more: object) -> CatalogEntry:
    """An input; another number, another event of it."""
    return replace(
        CatalogEntry(
            key,
            f"{key}.png",
            f"file:///{key}",
            1,
            "s",
            ENTRY_STATUSES[number % 2],
            sha256=f"{key}-{number % 3}",
            row=number,
        ),
        **more,  # type: ignore[arg-type]
    )


def write_events(archive: Location, number: int, keys: str, what: str = "list") -> list[CatalogEntry]:
    """A part with an event of each key."""
    events = [entry(key, number) for key in keys]
    catalog.write_part(archive, catalog.next_sequence(archive), what, events)
    return events


class Killed(BaseException):
    """In the place of kill −9: nothing catches it."""


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """From now on the `step`-th write or removal, and all after it, do not happen."""
    remaining = [step]
    for name in ("write", "remove"):
        real: Callable[..., None] = getattr(Location, name)

        def counted(self: Location, *given: object, real: Callable[..., None] = real, **options: bool) -> None:
            remaining[0] -= 1
            if remaining[0] < 0:
                raise Killed
            real(self, *given, **options)

        patch.setattr(Location, name, counted)


STEPS = st.lists(
    st.one_of(
        st.text("abcdefg", min_size=1, max_size=4).map(lambda keys: "".join(dict.fromkeys(keys))),
        st.integers(-1, 12),  # compaction, killed after so many writes and removals; -1: not killed
    ),
    max_size=9,
)


@settings(max_examples=60)  # each writes some dozen files
@given(steps=STEPS, max_parts=st.integers(0, 3))
def test_a_compaction_killed_anywhere_changes_no_result(
    steps: list[str | int], max_parts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = Location.parse(tmp_path_factory.mktemp("archive"))
    expected: dict[str, CatalogEntry] = {}
    history: list[tuple[str, int]] = []
    for number, step in enumerate(steps):
        if isinstance(step, str):
            events = write_events(archive, number, step)
            history += [(event.key, event.row) for event in events]
            expected |= {event.key: event for event in events}
        elif step < 0:
            compact_catalog(archive, max_parts)
            assert len(archive.list_names("catalog")) <= max(max_parts, 1)
        else:
            with pytest.MonkeyPatch.context() as patch:
                kill_at(patch, step)
                with contextlib.suppress(Killed):
                    compact_catalog(archive, max_parts)
        assert list(catalog.load_entries(archive).items()) == list(expected.items())
        assert catalog.read_latest(archive, ("row",)).to_pylist() == [
            {"key": e.key, "row": e.row} for e in expected.values()
        ]
    assert catalog.find_entries(archive, "key", "acd") == [e for e in expected.values() if e.key in "acd"]
    compact_catalog(archive, 0)
    assert len(archive.list_names("catalog")) == bool(expected)
    history_rows = [
        (row["key"], row["row"])
        for name in archive.list_names("catalog-history")
        for row in read_parquet(archive, f"catalog-history/{name}").to_pylist()
    ]
    assert history_rows == history


def test_a_part_that_was_compacted_and_is_written_again_is_not_read_twice(tmp_path: Path) -> None:
    """A straggler writes what it wrote before; another brings what nobody had seen: only that counts."""
    archive = Location.parse(tmp_path)
    write_events(archive, 0, "abc")
    before = archive.read("catalog/00000000-list.parquet")
    write_events(archive, 1, "ab")
    assert compact_catalog(archive, 1)
    archive.write("catalog/00000000-list.parquet", before)
    assert {key: e.row for key, e in catalog.load_entries(archive).items()} == {"a": 1, "b": 1, "c": 0}
    catalog.write_part(archive, 1, "extract", [entry("c", 5)])
    assert {key: e.row for key, e in catalog.load_entries(archive).items()} == {"a": 1, "b": 1, "c": 5}
    assert catalog.next_sequence(archive) == 3
    assert compact_catalog(archive, 1)
    archive.write("catalog/00000000-list.parquet", before)
    assert catalog.load_entries(archive)["a"].row == 1
    assert not compact_catalog(archive, 1)
    assert archive.list_names("catalog") == ["00000003-compact.parquet"]


def test_reading_during_a_compaction_gives_each_input_once(tmp_path: Path) -> None:
    archive = Location.parse(tmp_path)
    for number, keys in enumerate(("ab", "cd", "ef", "a")):
        write_events(archive, number, keys)
    rows = []
    for number, (_, table) in enumerate(catalog.iter_latest(archive, ("key", "row"))):
        rows += table.to_pylist()
        if not number:
            assert compact_catalog(archive, 1)
    assert sorted((row["key"], row["row"]) for row in rows) == [
        ("a", 3),
        ("b", 0),
        ("c", 1),
        ("d", 1),
        ("e", 2),
        ("f", 2),
    ]


@settings(max_examples=100)
@given(
    events=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5)), max_size=30),
    group=st.integers(1, 4),
)
def test_the_size_of_row_groups_does_not_matter(
    events: list[tuple[str, int]], group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = Location.parse(tmp_path_factory.mktemp("archive"))
    table = pa.Table.from_pylist([asdict(entry(*event)) for event in events], schema=catalog_parts.CATALOG_SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group)
    archive.write("catalog/00000000-list.parquet", sink.getvalue())
    expected = {key: entry(key, number) for key, number in events}
    assert list(catalog.load_entries(archive).values()) == [
        expected[key] for key in dict.fromkeys(key for key, _ in events)
    ]
    hashes = {"a-1", "b-0"}
    assert {e.key for e in catalog.find_entries(archive, "sha256", hashes)} == {
        key for key, e in expected.items() if e.sha256 in hashes
    }


def test_columns_missing_in_version_1_have_defaults(tmp_path: Path) -> None:
    archive = Location.parse(tmp_path)
    old = pa.Table.from_pylist([asdict(entry("a"))], schema=catalog_parts.CATALOG_SCHEMA).drop_columns(
        ["header", "radiometry"]
    )
    archive.write("catalog/00000000-list.parquet", encode_parquet(old))
    catalog.write_part(archive, 1, "check", [entry("b", header='{"x": 1}', radiometry="display8 grey")])
    assert [(e.header, e.radiometry) for e in catalog.load_entries(archive).values()] == [
        ("{}", ""),
        ('{"x": 1}', "display8 grey"),
    ]


def test_parts_of_version_2_are_read_and_compacted(tmp_path: Path) -> None:
    """Its columns `why` and `access` are `reason` and `retryable`; the compacted part has today's names."""
    archive = Location.parse(tmp_path)
    expected = [entry("a", status="quarantined", reason="empty file"), entry("b", retryable=True)]
    table = pa.Table.from_pylist([item.as_row() for item in expected], schema=catalog_parts.CATALOG_SCHEMA)
    names = {"reason": "why", "retryable": "access"}
    old = table.rename_columns([names.get(name, name) for name in table.column_names])
    archive.write("catalog/00000000-list.parquet", encode_parquet(old))
    assert [CatalogEntry.from_row(row) for row in old.to_pylist()] == expected
    assert list(catalog.load_entries(archive).values()) == expected
    assert catalog.find_entries(archive, "reason", ["empty file"]) == expected[:1]
    catalog.write_part(archive, 1, "check", [entry("c")])
    assert compact_catalog(archive, 0)
    (name,) = archive.list_names("catalog")
    assert read_parquet(archive, f"catalog/{name}").column_names == catalog_parts.CATALOG_SCHEMA.names
    assert list(catalog.load_entries(archive).values()) == [*expected, entry("c")]


def test_an_empty_catalog(tmp_path: Path) -> None:
    archive = Location.parse(tmp_path)
    assert catalog.load_entries(archive) == {}
    assert len(catalog.read_latest(archive)) == 0
    assert catalog.find_entries(archive, "key", ["a"]) == []
    assert not compact_catalog(archive, 0)
    catalog.write_part(archive, 0, "list", [])
    assert catalog.load_entries(archive) == {}
    assert compact_catalog(archive, 0)
    assert catalog.load_entries(archive) == {}


@pytest.mark.parametrize("how", ["cut", "other", "no key"])
def test_a_damaged_part_is_reported(tmp_path: Path, how: str) -> None:
    archive = Location.parse(tmp_path)
    write_events(archive, 0, "ab")
    name = "catalog/00000000-list.parquet"
    whole = archive.read(name)
    table = read_parquet(archive, name).drop_columns(["key"])
    archive.write(name, {"cut": whole[:-9], "other": b"what", "no key": encode_parquet(table)}[how])
    with pytest.raises(StoreError, match=r"00000000-list.parquet is damaged"):
        catalog.load_entries(archive)
    with pytest.raises(StoreError, match="is damaged"):
        compact_catalog(archive, 0)
    assert archive.list_names("catalog") == ["00000000-list.parquet"]
