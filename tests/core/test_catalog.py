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

from interpdisc_core import catalog, parts
from interpdisc_core.catalog import STATUSES, Entry
from interpdisc_core.compaction import compact
from interpdisc_core.errors import StoreError
from interpdisc_core.storage import Place


def entry(key: str, number: int = 0, **more: object) -> Entry:
    """An input; another number, another event of it."""
    return replace(
        Entry(
            key, f"{key}.png", f"file:///{key}", 1, "s", STATUSES[number % 2], sha256=f"{key}-{number % 3}", row=number
        ),
        **more,  # type: ignore[arg-type]
    )


def written(archive: Place, number: int, keys: str, what: str = "list") -> list[Entry]:
    """A part with an event of each key."""
    events = [entry(key, number) for key in keys]
    catalog.write_part(archive, catalog.next_turn(archive), what, events)
    return events


class Killed(BaseException):
    """In the place of kill −9: nothing catches it."""


def killed_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """From now on the `step`-th write or removal, and all after it, do not happen."""
    left = [step]
    for name in ("write", "remove"):
        real: Callable[..., None] = getattr(Place, name)

        def counted(self: Place, *given: object, real: Callable[..., None] = real) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            real(self, *given)

        patch.setattr(Place, name, counted)


STEPS = st.lists(
    st.one_of(
        st.text("abcdefg", min_size=1, max_size=4).map(lambda keys: "".join(dict.fromkeys(keys))),
        st.integers(-1, 12),  # compaction, killed after so many writes and removals; -1: not killed
    ),
    max_size=9,
)


@settings(max_examples=60)  # each writes some dozen files
@given(steps=STEPS, beyond=st.integers(0, 3))
def test_compaction_changes_nothing_wherever_it_is_killed(
    steps: list[str | int], beyond: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = Place.of(tmp_path_factory.mktemp("archive"))
    expected: dict[str, Entry] = {}
    history: list[tuple[str, int]] = []
    for number, step in enumerate(steps):
        if isinstance(step, str):
            events = written(archive, number, step)
            history += [(event.key, event.row) for event in events]
            expected |= {event.key: event for event in events}
        elif step < 0:
            compact(archive, beyond)
            assert len(archive.names("catalog")) <= max(beyond, 1)
        else:
            with pytest.MonkeyPatch.context() as patch:
                killed_at(patch, step)
                with contextlib.suppress(Killed):
                    compact(archive, beyond)
        assert list(catalog.load(archive).items()) == list(expected.items())
        assert catalog.latest(archive, ("row",)).to_pylist() == [
            {"key": e.key, "row": e.row} for e in expected.values()
        ]
    assert catalog.find(archive, "key", "acd") == [e for e in expected.values() if e.key in "acd"]
    compact(archive, 0)
    assert len(archive.names("catalog")) == bool(expected)
    told = [
        (row["key"], row["row"])
        for name in archive.names("catalog-history")
        for row in catalog.table_of(archive, f"catalog-history/{name}").to_pylist()
    ]
    assert told == history


def test_a_part_that_was_compacted_and_is_written_again_is_not_read_twice(tmp_path: Path) -> None:
    """A straggler writes what it wrote before; another brings what nobody had seen: only that counts."""
    archive = Place.of(tmp_path)
    written(archive, 0, "abc")
    before = archive.read("catalog/00000000-list.parquet")
    written(archive, 1, "ab")
    assert compact(archive, 1)
    archive.write("catalog/00000000-list.parquet", before)
    assert {key: e.row for key, e in catalog.load(archive).items()} == {"a": 1, "b": 1, "c": 0}
    catalog.write_part(archive, 1, "extract", [entry("c", 5)])
    assert {key: e.row for key, e in catalog.load(archive).items()} == {"a": 1, "b": 1, "c": 5}
    assert catalog.next_turn(archive) == 3
    assert compact(archive, 1)
    archive.write("catalog/00000000-list.parquet", before)
    assert catalog.load(archive)["a"].row == 1
    assert not compact(archive, 1)
    assert archive.names("catalog") == ["00000003-compact.parquet"]


def test_who_reads_while_parts_are_compacted_sees_each_input_once(tmp_path: Path) -> None:
    archive = Place.of(tmp_path)
    for number, keys in enumerate(("ab", "cd", "ef", "a")):
        written(archive, number, keys)
    rows = []
    for number, (_, table) in enumerate(catalog.finals(archive, ("key", "row"))):
        rows += table.to_pylist()
        if not number:
            assert compact(archive, 1)
    assert sorted((row["key"], row["row"]) for row in rows) == [
        ("a", 3), ("b", 0), ("c", 1), ("d", 1), ("e", 2), ("f", 2)
    ]  # fmt: skip


@settings(max_examples=100)
@given(
    events=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5)), max_size=30),
    group=st.integers(1, 4),
)
def test_row_groups_do_not_matter(
    events: list[tuple[str, int]], group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = Place.of(tmp_path_factory.mktemp("archive"))
    table = pa.Table.from_pylist([asdict(entry(*event)) for event in events], schema=parts.SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group)
    archive.write("catalog/00000000-list.parquet", sink.getvalue())
    expected = {key: entry(key, number) for key, number in events}
    assert list(catalog.load(archive).values()) == [expected[key] for key in dict.fromkeys(key for key, _ in events)]
    wanted = {"a-1", "b-0"}
    assert {e.key for e in catalog.find(archive, "sha256", wanted)} == {
        key for key, e in expected.items() if e.sha256 in wanted
    }


def test_what_version_1_did_not_have_has_its_default(tmp_path: Path) -> None:
    archive = Place.of(tmp_path)
    old = pa.Table.from_pylist([asdict(entry("a"))], schema=parts.SCHEMA).drop_columns(["header", "radiometry"])
    archive.write("catalog/00000000-list.parquet", catalog.parquet(old))
    catalog.write_part(archive, 1, "check", [entry("b", header='{"x": 1}', radiometry="display8 grey")])
    assert [(e.header, e.radiometry) for e in catalog.load(archive).values()] == [
        ("{}", ""), ('{"x": 1}', "display8 grey")
    ]  # fmt: skip


def test_an_empty_catalog(tmp_path: Path) -> None:
    archive = Place.of(tmp_path)
    assert catalog.load(archive) == {}
    assert len(catalog.latest(archive)) == 0
    assert catalog.find(archive, "key", ["a"]) == []
    assert not compact(archive, 0)
    catalog.write_part(archive, 0, "list", [])
    assert catalog.load(archive) == {}
    assert compact(archive, 0)
    assert catalog.load(archive) == {}


@pytest.mark.parametrize("how", ["cut", "other", "no key"])
def test_a_damaged_part_is_a_sentence(tmp_path: Path, how: str) -> None:
    archive = Place.of(tmp_path)
    written(archive, 0, "ab")
    name = "catalog/00000000-list.parquet"
    whole = archive.read(name)
    table = catalog.table_of(archive, name).drop_columns(["key"])
    archive.write(name, {"cut": whole[:-9], "other": b"what", "no key": catalog.parquet(table)}[how])
    with pytest.raises(StoreError, match=r"00000000-list.parquet is damaged"):
        catalog.load(archive)
    with pytest.raises(StoreError, match="is damaged"):
        compact(archive, 0)
    assert archive.names("catalog") == ["00000000-list.parquet"]
