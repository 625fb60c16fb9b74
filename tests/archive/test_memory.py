"""What was seen before: a horizon is the sum of its records, whatever happened on the way."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.archive import memory, memory_record
from interpdisc_core.archive.memory import Memory
from interpdisc_core.archive.memory_record import SINGULAR_VALUE_RTOL, MemoryRecord
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.selectors.rows import BLOCK_ROWS, ArrayRows, iter_blocks
from interpdisc_core.storage.file_names import make_file_name
from interpdisc_core.storage.location import Location
from tests.helpers.strategies import KINDS, make_matrix

FROM = {"run": "r1", "features": "0123456789ab"}
SEEDS = st.integers(0, 2**32 - 1)
NAMES = [
    "..",
    ".",
    "../../etc/passwd",
    "/",
    "a/b",
    "~",
    "~" + "0" * 64,
    "%2F",
    "火星-🪐",
    "new\nline",
    "nul\0",
    " ",
    "\ud800",
    "\ud83d\ude00",
    "x" * 5000,
    "é" * 100,
    "con.txt",
    "*[1]?",
    "-rf",
    "9" * 6000,
]


@contextmanager
def temporary_memory() -> Iterator[Memory]:
    """An empty memory in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Memory(Location.parse(folder), "left")


def bits(seen: Prior | None) -> tuple[Any, ...]:
    """All that a horizon consists of, exactly."""
    assert seen is not None
    arrays = (seen.mean, seen.values, seen.axes)
    return (seen.count, *((a.shape, a.dtype.str, a.flags.c_contiguous, a.tobytes()) for a in arrays))


def sols(rows: npt.NDArray[Any], cuts: list[int]) -> list[MemoryRecord]:
    """Rows cut into a record a sol; some may be empty."""
    parts = np.split(rows, sorted(cuts))
    return [MemoryRecord.from_rows(f"sol-{number:04d}", part, FROM) for number, part in enumerate(parts, 97)]


def fill(stratum_memory: Memory, records: list[MemoryRecord]) -> Memory:
    """All of them added."""
    for record in records:
        stratum_memory.add(record)
    return stratum_memory


def files(stratum_memory: Memory, folder: str) -> list[Path]:
    """The files of a stratum's folder."""
    return sorted(Path(stratum_memory._location.url, folder).glob("*.bin"))


@st.composite
def batches(draw: st.DrawFn) -> tuple[npt.NDArray[Any], list[MemoryRecord]]:
    """Items (n, d), and them as records."""
    n, d = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    rows = make_matrix(draw(st.sampled_from(KINDS)), n, d, draw(SEEDS))
    return rows, sols(rows, draw(st.lists(st.integers(0, n), max_size=5)))


# ------------------------------------------------------------------------------------------- a horizon is its rows


@given(batches())
def test_a_horizon_equals_its_rows(given_as: tuple[npt.NDArray[Any], list[MemoryRecord]]) -> None:
    """Same count, mean, values and second moments as the SVD of all rows, however they were cut into records."""
    rows, records = given_as
    exact = rows.astype(np.float64)
    expected = Prior.from_items(exact)
    with temporary_memory() as stratum_memory:
        actual = fill(stratum_memory, records).load_horizon()
    assert actual is not None
    assert actual.count == len(rows)
    size = np.abs(exact).max(initial=0.0)
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=1e-9, atol=1e-12 * size)
    np.testing.assert_allclose(actual.axes @ actual.axes.T, np.eye(len(actual.axes)), atol=1e-10)
    assert (np.diff(actual.values) <= 0).all()
    top = expected.values.max(initial=0.0)
    if top <= 1e-9 * size:  # equal rows: their means differ by rounding
        assert actual.values.max(initial=0.0) <= 1e-9 * size
        return
    scatter = [seen.axes.T @ np.diag(seen.values**2) @ seen.axes for seen in (actual, expected)]
    np.testing.assert_allclose(*scatter, atol=1e-9 * top**2)
    count = len(actual.values)
    np.testing.assert_allclose(actual.values**2, expected.values[:count] ** 2, atol=1e-9 * top**2)
    assert expected.values[count:].max(initial=0.0) <= 2 * SINGULAR_VALUE_RTOL * top
    if expected.values[-1] > 1e-4 * top:  # far from rounding, the span itself is certain
        assert count == len(expected.values)
        np.testing.assert_allclose(actual.axes.T @ actual.axes, expected.axes.T @ expected.axes, atol=1e-9)


@pytest.mark.parametrize("n", [1, 5, 59, 60, 61, 300])
@pytest.mark.parametrize("cuts", [[], [1], [30, 31], [59], [60], [61, 62, 150], list(range(10, 300, 10))], ids=str)
def test_a_horizon_has_the_singular_values_and_span_of_its_rows(n: int, cuts: list[int]) -> None:
    """To 1e-9, for fewer rows than dimensions and for more, through rows, scatters and both."""
    rows = make_matrix("offset", n, 60, 3)
    expected = Prior.from_items(rows)
    with temporary_memory() as stratum_memory:
        actual = fill(stratum_memory, sols(rows, [cut for cut in cuts if cut < n])).load_horizon()
    assert actual is not None
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(actual.values, expected.values, rtol=1e-9)
    np.testing.assert_allclose(actual.axes.T @ actual.axes, expected.axes.T @ expected.axes, atol=1e-9)


@pytest.mark.parametrize("rank", [0, 1, 7, 150])
@pytest.mark.parametrize("offset", [0, 1, 1000])
def test_directions_of_rounding_are_left_out(rank: int, offset: int) -> None:
    """Null directions of a scatter are left out, also far from the origin, over many records."""
    rng = np.random.default_rng(rank)
    rows = rng.integers(-8, 9, (6000, rank)) @ rng.integers(-8, 9, (rank, 200)) + float(offset)
    with temporary_memory() as stratum_memory:
        actual = fill(stratum_memory, sols(rows, list(range(250, 6000, 250)))).load_horizon()
    assert actual is not None
    assert len(actual.values) == rank
    if rank:
        assert actual.values[-1] > 1e-3 * actual.values[0]


def test_few_rows_are_exact() -> None:
    """While there are fewer rows than dimensions, a direction of 1e-9 · S_max is told, through any records."""
    rows = np.diag([1.0, 1e-3, 1e-6, 1e-9, 1e-12, 0, 0, 0])[:7]
    with temporary_memory() as stratum_memory:
        actual = fill(stratum_memory, sols(rows, [2, 3])).load_horizon()
    assert actual is not None
    assert bits(actual)[:2] == bits(Prior.from_items(rows))[:2]
    np.testing.assert_array_equal(actual.values, Prior.from_items(rows).values)
    assert len(actual.values) == 4


def test_the_largest_entry_of_an_axis_is_positive() -> None:
    """The largest entry of each axis is positive, by either way."""
    for n in (5, 50):
        with temporary_memory() as stratum_memory:
            actual = fill(stratum_memory, sols(-make_matrix("normal", n, 9, 1), [3])).load_horizon()
        assert actual is not None
        assert all(axis[np.abs(axis).argmax()] > 0 for axis in actual.axes)


# ------------------------------------------------------------------------------- the same bits, however it came about


@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter(
    given_as: tuple[npt.NDArray[Any], list[MemoryRecord]], random: Any
) -> None:
    """Late batches, removed ones, repeated ones, with or without looks in between: the same bits."""
    _, records = given_as
    with temporary_memory() as plain, temporary_memory() as busy:
        expected = bits(fill(plain, records).load_horizon())
        extra = MemoryRecord.from_rows("sol-0098x", np.full((3, records[0].dimension), 7.5), FROM)
        for record in random.sample([*records, extra], len(records) + 1):
            busy.add(record)
            if random.random() < 0.3:
                busy.load_horizon()
            if random.random() < 0.3:
                busy.remove(record.name)
                busy.add(record)
        assert bits(busy.load_horizon(exclude=["sol-0098x"])) == expected
        assert bits(busy.load_horizon(random.sample([r.name for r in records] * 2, 2 * len(records)))) == expected
        busy.remove("sol-0098x")
        assert bits(busy.load_horizon()) == expected
        assert bits(busy.load_horizon()) == expected
        assert busy.list_names() == plain.list_names()
        assert [p.name for p in files(busy, "records")] == [p.name for p in files(plain, "records")]


@given(st.integers(0, 3 * BLOCK_ROWS), st.integers(1, 4), st.data())
def test_any_chunking_is_the_same_record(n: int, d: int, data: st.DataObject) -> None:
    """Pieces of any size, any layout in memory: the same digest, hence the same bits."""
    rows = make_matrix("offset", n, d, 5).astype(np.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=8)))
    expected = MemoryRecord.from_rows("sol", rows, FROM)
    assert MemoryRecord.from_rows("sol", iter(np.split(rows, cuts)), FROM).digest == expected.digest
    assert MemoryRecord.from_rows("sol", np.asfortranarray(rows), FROM).digest == expected.digest
    assert MemoryRecord.from_rows("sol", rows.astype(">f4"), FROM).digest == expected.digest
    if n:
        assert (
            MemoryRecord.from_rows("sol", (values for _, values in iter_blocks(ArrayRows(rows))), FROM).digest
            == expected.digest
        )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_any_layout_is_the_same_record(kind: type) -> None:
    """Columns first, strided, reversed: BLAS takes one path."""
    rows = make_matrix("offset", 700, 90, 5).astype(kind)
    expected = MemoryRecord.from_rows("sol", rows, FROM).digest
    for same in (np.asfortranarray(rows), np.repeat(rows, 2, axis=1)[:, ::2], rows[::-1].copy()[::-1]):
        assert MemoryRecord.from_rows("sol", same, FROM).digest == expected
        assert MemoryRecord.from_rows("sol", iter(np.split(same, [1, 300])), FROM).digest == expected


def test_the_number_of_threads_does_not_matter() -> None:
    """BLAS sums on one thread here, whatever it is set to."""
    from threadpoolctl import threadpool_limits

    rows = make_matrix("normal", 700, 300, 2)
    actual = set()
    for threads in (1, 2):
        with threadpool_limits(threads), temporary_memory() as stratum_memory:
            actual.add(bits(fill(stratum_memory, sols(rows, [350])).load_horizon()))
    assert len(actual) == 1


# ------------------------------------------------------------------------------------------------- which horizon


def test_a_horizon_holds_the_selected_batches() -> None:
    """The last ones, the named ones, without some; in the order of their numbers, not of their letters."""
    rows = make_matrix("normal", 80, 6, 4)
    parts = {f"sol-{number}": rows[2 * number : 2 * number + 2] for number in range(40)}
    with temporary_memory() as stratum_memory:
        fill(stratum_memory, [MemoryRecord.from_rows(name, part, FROM) for name, part in reversed(parts.items())])
        assert stratum_memory.list_names() == list(parts)

        def of(*numbers: int) -> tuple[Any, ...]:
            with temporary_memory() as other:
                return bits(
                    fill(
                        other, [MemoryRecord.from_rows(n, parts[n], FROM) for n in (f"sol-{i}" for i in numbers)]
                    ).load_horizon()
                )

        assert bits(stratum_memory.load_horizon(last=30)) == of(*range(10, 40))
        assert bits(stratum_memory.load_horizon(last=1)) == of(39)
        assert bits(stratum_memory.load_horizon(last=99)) == bits(stratum_memory.load_horizon()) == of(*range(40))
        assert bits(stratum_memory.load_horizon(exclude=["sol-39", "never was"])) == of(*range(39))
        assert bits(stratum_memory.load_horizon(last=3, exclude={"sol-38"})) == of(36, 37, 39)
        assert bits(stratum_memory.load_horizon(["sol-9", "sol-12", "sol-3"], last=2)) == of(9, 12)
        with pytest.raises(StoreError, match="no record of 'sol-40'"):
            stratum_memory.load_horizon(["sol-1", "sol-40"])


def test_an_empty_memory_has_no_horizon() -> None:
    """None, since no dimension is known; of a batch that was empty, Seen.none."""
    with temporary_memory() as stratum_memory:
        assert stratum_memory.load_horizon() is None
        assert stratum_memory.load_horizon([], last=3) is None
        assert stratum_memory.list_names() == []
        stratum_memory.add(MemoryRecord.from_rows("cloudy", np.empty((0, 5), dtype=np.float32), FROM))
        assert bits(stratum_memory.load_horizon()) == bits(Prior.empty(5))
        assert stratum_memory.load_horizon(exclude=["cloudy"]) is None


@pytest.mark.parametrize(
    "ask", [{"last": 0}, {"last": -3}, {"names": "sol-1"}, {"exclude": "sol-1"}], ids=lambda ask: next(iter(ask))
)
def test_arguments_of_a_horizon_that_are_not_valid_are_refused(ask: dict[str, Any]) -> None:
    """One sentence."""
    with temporary_memory() as stratum_memory, pytest.raises(PlanError, match="a horizon"):
        stratum_memory.load_horizon(**ask)


@given(
    st.permutations(
        ["sol-1", "sol-01", "sol-2", "sol-99", "sol-0100", "sol-100", "sol-100b", "sun", "sol-" + "9" * 5000]
    )
)
def test_numbers_in_names_are_ordered_as_numbers(names: list[str]) -> None:
    """Numbers count as numbers, of any length; it does not depend on how the names arrive."""
    expected = ["sol-01", "sol-1", "sol-2", "sol-99", "sol-0100", "sol-100", "sol-100b", "sol-" + "9" * 5000, "sun"]
    assert sorted(names, key=memory.canonical_sort_key) == expected


# ------------------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16, np.bool_])
@pytest.mark.parametrize("n", [0, 4, 5, 30])
def test_a_record_is_read_back(n: int, kind: type) -> None:
    """Few rows as they were stored, many as a scatter; provenance as JSON; with the same digest."""
    rows = np.random.default_rng(n).integers(0, 9, (n, 5)).astype(kind)
    record = MemoryRecord.from_rows("sol-1", rows, {"run": "r1", "ids": ("a", "b"), "by": {1: None}})
    with temporary_memory() as stratum_memory:
        stratum_memory.add(record)
        actual = stratum_memory.read("sol-1")
    assert (actual.name, actual.count, actual.dimension, actual.digest) == ("sol-1", n, 5, record.digest)
    assert actual.made_from == {"run": "r1", "ids": ["a", "b"], "by": {"1": None}}
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(actual.mean, exact.mean(axis=0) if n else np.zeros(5), rtol=1e-12)
    if n < 5:
        assert actual.scatter is None
        np.testing.assert_array_equal(actual.rows, rows)
        assert actual.rows is not None
        assert actual.rows.dtype == (kind if np.dtype(kind).kind == "f" else np.float64)
    else:
        assert actual.rows is None
        centred = exact - exact.mean(axis=0)
        np.testing.assert_allclose(actual.scatter, centred.T @ centred, rtol=1e-12, atol=1e-10)


def test_records_do_not_change() -> None:
    """The same again is nothing; any other under the name is refused, be it only of other provenance."""
    rows = make_matrix("normal", 20, 5, 6)
    with temporary_memory() as stratum_memory:
        stratum_memory.add(MemoryRecord.from_rows("sol-1", rows, FROM))
        (file,) = files(stratum_memory, "records")
        before = file.stat().st_mtime_ns
        stratum_memory.add(MemoryRecord.from_rows("sol-1", rows, dict(reversed(FROM.items()))))
        assert file.stat().st_mtime_ns == before
        for other in (
            MemoryRecord.from_rows("sol-1", rows[:19], FROM),
            MemoryRecord.from_rows("sol-1", rows, {**FROM, "run": "r2"}),
        ):
            with pytest.raises(StoreError, match="another record of 'sol-1'"):
                stratum_memory.add(other)
        assert files(stratum_memory, "records") == [file]
        stratum_memory.remove("sol-1")
        with pytest.raises(StoreError, match="no record of 'sol-1'"):
            stratum_memory.remove("sol-1")
        with pytest.raises(StoreError, match="no record of 'sol-1'"):
            stratum_memory.read("sol-1")
        stratum_memory.add(MemoryRecord.from_rows("sol-1", rows[:19], FROM))
        assert stratum_memory.read("sol-1").count == 19


def test_of_two_records_added_at_once_none_wins_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees the other's record takes its own away; records that were both left are told, and can be removed."""
    mine, other = (MemoryRecord.from_rows("sol-1", make_matrix("normal", 20, 5, seed), FROM) for seed in (1, 2))
    write = Location.write

    def meanwhile(place: Location, name: str, data: bytes, **options: bool) -> None:
        write(place, name, data, **options)
        write(place, f"records/sol-1.5.{other.digest}.bin", other._encode())

    with temporary_memory() as stratum_memory:
        monkeypatch.setattr(Location, "write", meanwhile)
        with pytest.raises(StoreError, match="another record of 'sol-1'"):
            stratum_memory.add(mine)
        monkeypatch.setattr(Location, "write", write)
        assert stratum_memory.read("sol-1").digest == other.digest
        write(stratum_memory._location, f"records/sol-1.5.{mine.digest}.bin", mine._encode())
        for look in (stratum_memory.list_names, stratum_memory.load_horizon, lambda: stratum_memory.read("sol-1")):
            with pytest.raises(StoreError, match="two records of 'sol-1'"):
                look()
        stratum_memory.remove("sol-1")
        assert stratum_memory.list_names() == []


def test_a_stratum_has_one_dimension() -> None:
    """Another is refused, also where two were added at once; another stratum is another matter."""
    with temporary_memory() as stratum_memory:
        stratum_memory.add(MemoryRecord.from_rows("sol-1", make_matrix("normal", 9, 5, 1), FROM))
        odd = MemoryRecord.from_rows("sol-2", make_matrix("normal", 9, 6, 1), FROM)
        with pytest.raises(StoreError, match="cannot mix features of 5 and 6 dimensions"):
            stratum_memory.add(odd)
        replace(stratum_memory, stratum="right").add(odd)
        stratum_memory._location.write(f"records/sol-2.6.{odd.digest}.bin", odd._encode())
        with pytest.raises(StoreError, match="cannot mix"):
            stratum_memory.load_horizon()
        assert stratum_memory.load_horizon(["sol-1"]) is not None


@pytest.mark.parametrize(
    "rows",
    [
        np.empty((3, 0)),
        np.zeros(3),
        np.full((2, 2), np.nan),
        np.array([[1.0, np.inf]]),
        np.array([["a"]]),
        iter([]),
        iter([np.zeros((2, 3)), np.zeros((2, 4))]),
        iter([np.zeros((0, 3)), np.zeros((2, 4))]),
        np.zeros((2, 2), complex),
    ],
)
def test_rows_that_cannot_be_summed_are_refused(rows: Any) -> None:
    """One sentence that names the batch."""
    with pytest.raises(PlanError, match="batch 'sol-1': "):
        MemoryRecord.from_rows("sol-1", rows, FROM)


# --------------------------------------------------------------------------------------------------------- names


def test_any_name_is_a_batch() -> None:
    """None leaves its folder, none is taken for another, and each is told again as it was."""
    with temporary_memory() as stratum_memory:
        for number, name in enumerate(NAMES):
            stratum_memory.add(MemoryRecord.from_rows(name, np.full((1, 2), float(number)), FROM))
        assert sorted(stratum_memory.list_names()) == sorted(NAMES)
        for number, name in enumerate(NAMES):
            assert stratum_memory.read(name).name == name
            assert stratum_memory.read(name).mean[0] == number
        root = Path(stratum_memory.archive.url)
        assert {path.parent for path in root.rglob("*.bin")} == {root / "memory/left/records"}
        for name in NAMES:
            stratum_memory.remove(name)
        assert stratum_memory.list_names() == []


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_names_are_kept_apart(name: str, other: str) -> None:
    """Safe names are short, of few letters, and differ where names do."""
    safe = make_file_name(name)
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%~")
    assert len(safe) <= 120
    assert (safe == make_file_name(other)) == (name == other)


@pytest.mark.parametrize("stratum", NAMES, ids=lambda name: repr(name)[:12])
def test_any_name_is_a_stratum(tmp_path: Path, stratum: str) -> None:
    """It stays within the archive's memory."""
    stratum_memory = Memory(Location.parse(tmp_path), stratum)
    stratum_memory.add(MemoryRecord.from_rows("sol-1", np.zeros((1, 2)), FROM))
    (file,) = tmp_path.rglob("*.bin")
    assert file.parent.parent.parent == tmp_path / "memory"
    assert stratum_memory.list_names() == ["sol-1"]
    assert Memory(Location.parse(tmp_path), "right").list_names() == []


def test_a_name_is_not_empty(tmp_path: Path) -> None:
    """One sentence."""
    stratum_memory = Memory(Location.parse(tmp_path), "left")
    for ask in (
        lambda: Memory(Location.parse(tmp_path), ""),
        lambda: MemoryRecord.from_rows("", np.zeros((1, 2)), FROM),
        lambda: stratum_memory.read(""),
        lambda: stratum_memory.remove(""),
    ):
        with pytest.raises(PlanError, match="not empty"):
            ask()


# ---------------------------------------------------------------------------------------------- what goes wrong


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def half(descriptor: int) -> None:
    os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
    raise KeyboardInterrupt


def late(path: Path, target: Path) -> None:
    os.rename(path, target)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("owner", "step", "killed", "is_added"),
    [
        (Path, "mkdir", stop, False),
        (os, "fsync", half, False),
        (Path, "replace", stop, False),
        (Path, "replace", late, True),
    ],
)
def test_a_kill_while_adding_leaves_a_whole_record_or_none(
    monkeypatch: pytest.MonkeyPatch, owner: object, step: str, killed: Callable[..., None], is_added: bool
) -> None:
    """No record or a whole one; the same command again ends as if nothing had happened."""
    first, second = sols(make_matrix("normal", 40, 6, 8), [20])
    with temporary_memory() as stratum_memory, temporary_memory() as calm:
        stratum_memory.add(first)
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, lambda *at, **_: killed(*at))
            with pytest.raises(KeyboardInterrupt):
                stratum_memory.add(second)
        assert stratum_memory.list_names() == [first.name, second.name][: 1 + is_added]
        assert bits(stratum_memory.load_horizon()) == bits(fill(calm, [first, second][: 1 + is_added]).load_horizon())
        stratum_memory.add(second)
        assert bits(stratum_memory.load_horizon()) == bits(fill(calm, [second]).load_horizon())


@pytest.mark.parametrize("n", [3, 20])
def test_damage_is_found(n: int) -> None:
    """Any changed byte, a lost end, nothing at all: one sentence with the file; the others can still be used."""
    good, bad = sols(make_matrix("normal", 2 * n, 5, 9), [n])
    with temporary_memory() as stratum_memory:
        fill(stratum_memory, [good, bad])
        (file,) = (path for path in files(stratum_memory, "records") if path.name.startswith(bad.name))
        data = file.read_bytes()
        flips = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(0, len(data), 7)]
        for damaged in (
            *flips,
            data[:-1],
            data[: len(data) // 2],
            data + b"\0",
            b"",
            b"\n",
            b"interpdisc-memory-2 x\n",
        ):
            file.write_bytes(damaged)
            for look in (lambda: stratum_memory.read(bad.name), stratum_memory.load_horizon):
                with pytest.raises(StoreError, match=r"records/sol-0098\..* is damaged: ") as caught:
                    look()
                assert "\n" not in str(caught.value)
        assert stratum_memory.load_horizon([good.name]) is not None
        file.write_bytes(files(stratum_memory, "records")[0].read_bytes())
        with pytest.raises(StoreError, match="is damaged: its content is not that of its checksum"):
            stratum_memory.read(bad.name)
        file.with_name(f"{file.name}.sha256").unlink()  # as in an archive of an earlier version
        with pytest.raises(StoreError, match="is damaged: it is not the record"):
            stratum_memory.read(bad.name)
        stratum_memory.remove(bad.name)
        stratum_memory.add(bad)
        assert stratum_memory.load_horizon() is not None


def test_unknown_files_are_reported_except_hidden_ones() -> None:
    """A file that is no record is told, since it may have been one; hidden ones are the system's."""
    with temporary_memory() as stratum_memory:
        fill(stratum_memory, sols(make_matrix("normal", 9, 5, 1), []))
        Path(stratum_memory._location.url, "records", ".DS_Store").touch()
        assert len(stratum_memory.list_names()) == 1
        Path(stratum_memory._location.url, "records", "sol-0098.bin.tmp").touch()
        with pytest.raises(StoreError, match=r"sol-0098\.bin\.tmp is not a record"):
            stratum_memory.load_horizon()


# ------------------------------------------------------------------------------------------------------- caching


@pytest.mark.parametrize("n", [4, 40])
def test_a_horizon_is_computed_once_and_its_cache_is_checked(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """One decomposition a horizon; it reads no record; damaged, missing or of another horizon, it is made again."""
    fitted_counts: list[int] = []
    model = memory_record.fit_prior

    def counted(total: Any) -> Prior:
        fitted_counts.append(total.count)
        return model(total)

    monkeypatch.setattr(memory, "fit_prior", counted)
    with temporary_memory() as stratum_memory:
        fill(stratum_memory, sols(make_matrix("normal", n, 6, 8), [n // 2]))
        expected = bits(stratum_memory.load_horizon())
        monkeypatch.setattr(Memory, "_read_record", stop)
        assert bits(stratum_memory.load_horizon()) == expected
        monkeypatch.undo()
        monkeypatch.setattr(memory, "fit_prior", counted)
        assert fitted_counts == [n]
        (file,) = files(stratum_memory, "cache")
        data = file.read_bytes()
        stratum_memory.load_horizon(last=1)
        (other,) = (path for path in files(stratum_memory, "cache") if path != file)
        fitted_counts.clear()
        for damaged in (b"", data[:-1], data.replace(b"count", b"coumt"), b"\0" * len(data), other.read_bytes()):
            file.write_bytes(damaged)
            assert bits(stratum_memory.load_horizon()) == expected
            assert file.read_bytes() == data
        file.unlink()
        assert bits(stratum_memory.load_horizon()) == expected
        assert fitted_counts == [n] * 6


def test_a_stale_cache_is_not_used() -> None:
    """Another record under the name of one that was removed is another horizon."""
    first, second = sols(make_matrix("normal", 40, 6, 8), [20])
    changed = replace(second, mean=second.mean + 1)
    with temporary_memory() as stratum_memory, temporary_memory() as plain:
        before = bits(fill(stratum_memory, [first, second]).load_horizon())
        stratum_memory.remove(second.name)
        stratum_memory.add(changed)
        assert bits(stratum_memory.load_horizon()) == bits(fill(plain, [first, changed]).load_horizon()) != before


def test_a_cache_that_cannot_be_written_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may only read has the same horizon."""
    with temporary_memory() as stratum_memory:
        fill(stratum_memory, sols(make_matrix("normal", 40, 6, 8), [20]))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError("no")))
            actual = bits(stratum_memory.load_horizon())
        assert files(stratum_memory, "cache") == []
        assert bits(stratum_memory.load_horizon()) == actual


def test_changing_a_horizon_does_not_change_the_next_one() -> None:
    """Changing what was given changes nothing that is given later."""
    with temporary_memory() as stratum_memory:
        fill(stratum_memory, sols(make_matrix("normal", 40, 6, 8), [20]))
        actual = stratum_memory.load_horizon()
        expected = bits(actual)
        assert actual is not None
        actual.axes[:] = 0
        assert bits(stratum_memory.load_horizon()) == expected


def test_the_header_of_a_file_is_json() -> None:
    """Its second line is JSON that a person can read."""
    with temporary_memory() as stratum_memory:
        stratum_memory.add(MemoryRecord.from_rows("sol 1", np.zeros((1, 2), np.float32), FROM))
        (file,) = files(stratum_memory, "records")
        about = json.loads(file.read_bytes().split(b"\n")[1])
    assert about == {
        "about": {"name": "sol%201", "count": 1, "made_from": FROM},
        "arrays": [["mean", "<f8", [2]], ["rows", "<f4", [1, 2]]],
    }
