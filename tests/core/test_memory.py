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

from interpdisc_core import memory
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.memory import FLOOR, Memory, Record
from interpdisc_core.selectors.rows import BLOCK, ArrayRows, blocks
from interpdisc_core.selectors.seen import Seen
from interpdisc_core.storage import Place
from tests.strategies import KINDS, matrix

FROM = {"run": "r1", "features": "0123456789ab"}
SEEDS = st.integers(0, 2**32 - 1)
NAMES = ["..", ".", "../../etc/passwd", "/", "a/b", "~", "~" + "0" * 64, "%2F", "火星-🪐", "new\nline", "nul\0", " ",
         "\ud800", "\ud83d\ude00", "x" * 5000, "é" * 100, "con.txt", "*[1]?", "-rf", "9" * 6000]  # fmt: skip


@contextmanager
def somewhere() -> Iterator[Memory]:
    """An empty memory in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Memory(Place.of(folder), "left")


def bits(seen: Seen | None) -> tuple[Any, ...]:
    """All that a horizon consists of, exactly."""
    assert seen is not None
    arrays = (seen.mean, seen.values, seen.axes)
    return (seen.count, *((a.shape, a.dtype.str, a.flags.c_contiguous, a.tobytes()) for a in arrays))


def sols(rows: npt.NDArray[Any], cuts: list[int]) -> list[Record]:
    """Rows cut into a record a sol; some may be empty."""
    parts = np.split(rows, sorted(cuts))
    return [Record.of(f"sol-{number:04d}", part, FROM) for number, part in enumerate(parts, 97)]


def fill(where: Memory, records: list[Record]) -> Memory:
    """All of them added."""
    for record in records:
        where.add(record)
    return where


def files(where: Memory, folder: str) -> list[Path]:
    """The files of a stratum's folder."""
    return sorted(Path(where._place.url, folder).glob("*"))


@st.composite
def batches(draw: st.DrawFn) -> tuple[npt.NDArray[Any], list[Record]]:
    """Items (n, d), and them as records."""
    n, d = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    rows = matrix(draw(st.sampled_from(KINDS)), n, d, draw(SEEDS))
    return rows, sols(rows, draw(st.lists(st.integers(0, n), max_size=5)))


# ------------------------------------------------------------------------------------------- a horizon is its rows


@given(batches())
def test_a_horizon_equals_its_rows(given_as: tuple[npt.NDArray[Any], list[Record]]) -> None:
    """Same count, mean, values and second moments as the SVD of all rows, however they were cut into records."""
    rows, records = given_as
    exact = rows.astype(np.float64)
    wanted = Seen.of(exact)
    with somewhere() as where:
        found = fill(where, records).horizon()
    assert found is not None
    assert found.count == len(rows)
    size = np.abs(exact).max(initial=0.0)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-9, atol=1e-12 * size)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(len(found.axes)), atol=1e-10)
    assert (np.diff(found.values) <= 0).all()
    top = wanted.values.max(initial=0.0)
    if top <= 1e-9 * size:  # equal rows: their means differ by rounding
        assert found.values.max(initial=0.0) <= 1e-9 * size
        return
    scatter = [seen.axes.T @ np.diag(seen.values**2) @ seen.axes for seen in (found, wanted)]
    np.testing.assert_allclose(*scatter, atol=1e-9 * top**2)
    count = len(found.values)
    np.testing.assert_allclose(found.values**2, wanted.values[:count] ** 2, atol=1e-9 * top**2)
    assert wanted.values[count:].max(initial=0.0) <= 2 * FLOOR * top
    if wanted.values[-1] > 1e-4 * top:  # far from rounding, the span itself is certain
        assert count == len(wanted.values)
        np.testing.assert_allclose(found.axes.T @ found.axes, wanted.axes.T @ wanted.axes, atol=1e-9)


@pytest.mark.parametrize("n", [1, 5, 59, 60, 61, 300])
@pytest.mark.parametrize("cuts", [[], [1], [30, 31], [59], [60], [61, 62, 150], list(range(10, 300, 10))], ids=str)
def test_values_and_projector(n: int, cuts: list[int]) -> None:
    """To 1e-9, for fewer rows than dimensions and for more, through rows, scatters and both."""
    rows = matrix("offset", n, 60, 3)
    wanted = Seen.of(rows)
    with somewhere() as where:
        found = fill(where, sols(rows, [cut for cut in cuts if cut < n])).horizon()
    assert found is not None
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-9)
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-9)
    np.testing.assert_allclose(found.axes.T @ found.axes, wanted.axes.T @ wanted.axes, atol=1e-9)


@pytest.mark.parametrize("rank", [0, 1, 7, 150])
@pytest.mark.parametrize("offset", [0, 1, 1000])
def test_rounding_is_no_direction(rank: int, offset: int) -> None:
    """Null directions of a scatter are left out, also far from the origin, over many records."""
    rng = np.random.default_rng(rank)
    rows = rng.integers(-8, 9, (6000, rank)) @ rng.integers(-8, 9, (rank, 200)) + float(offset)
    with somewhere() as where:
        found = fill(where, sols(rows, list(range(250, 6000, 250)))).horizon()
    assert found is not None
    assert len(found.values) == rank
    if rank:
        assert found.values[-1] > 1e-3 * found.values[0]


def test_few_rows_are_exact() -> None:
    """While there are fewer rows than dimensions, a direction of 1e-9 · S_max is told, through any records."""
    rows = np.diag([1.0, 1e-3, 1e-6, 1e-9, 1e-12, 0, 0, 0])[:7]
    with somewhere() as where:
        found = fill(where, sols(rows, [2, 3])).horizon()
    assert found is not None
    assert bits(found)[:2] == bits(Seen.of(rows))[:2]
    np.testing.assert_array_equal(found.values, Seen.of(rows).values)
    assert len(found.values) == 4


def test_signs_are_fixed() -> None:
    """The largest entry of each axis is positive, by either way."""
    for n in (5, 50):
        with somewhere() as where:
            found = fill(where, sols(-matrix("normal", n, 9, 1), [3])).horizon()
        assert found is not None
        assert all(axis[np.abs(axis).argmax()] > 0 for axis in found.axes)


# ------------------------------------------------------------------------------- the same bits, however it came about


@given(batches(), st.randoms(use_true_random=False))
def test_order_of_adding(given_as: tuple[npt.NDArray[Any], list[Record]], random: Any) -> None:
    """Late batches, removed ones, repeated ones, with or without looks in between: the same bits."""
    _, records = given_as
    with somewhere() as plain, somewhere() as busy:
        wanted = bits(fill(plain, records).horizon())
        extra = Record.of("sol-0098x", np.full((3, records[0].dimension), 7.5), FROM)
        for record in random.sample([*records, extra], len(records) + 1):
            busy.add(record)
            if random.random() < 0.3:
                busy.horizon()
            if random.random() < 0.3:
                busy.remove(record.name)
                busy.add(record)
        assert bits(busy.horizon(without=["sol-0098x"])) == wanted
        assert bits(busy.horizon(random.sample([r.name for r in records] * 2, 2 * len(records)))) == wanted
        busy.remove("sol-0098x")
        assert bits(busy.horizon()) == wanted
        assert bits(busy.horizon()) == wanted
        assert busy.names() == plain.names()
        assert [p.name for p in files(busy, "records")] == [p.name for p in files(plain, "records")]


@given(st.integers(0, 3 * BLOCK), st.integers(1, 4), st.data())
def test_any_chunking_is_the_same_record(n: int, d: int, data: st.DataObject) -> None:
    """Pieces of any size, any layout in memory: the same digest, hence the same bits."""
    rows = matrix("offset", n, d, 5).astype(np.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=8)))
    wanted = Record.of("sol", rows, FROM)
    assert Record.of("sol", iter(np.split(rows, cuts)), FROM).digest == wanted.digest
    assert Record.of("sol", np.asfortranarray(rows), FROM).digest == wanted.digest
    assert Record.of("sol", rows.astype(">f4"), FROM).digest == wanted.digest
    if n:
        assert Record.of("sol", (values for _, values in blocks(ArrayRows(rows))), FROM).digest == wanted.digest


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_any_layout_is_the_same_record(kind: type) -> None:
    """Columns first, strided, reversed: BLAS takes one path."""
    rows = matrix("offset", 700, 90, 5).astype(kind)
    wanted = Record.of("sol", rows, FROM).digest
    for same in (np.asfortranarray(rows), np.repeat(rows, 2, axis=1)[:, ::2], rows[::-1].copy()[::-1]):
        assert Record.of("sol", same, FROM).digest == wanted
        assert Record.of("sol", iter(np.split(same, [1, 300])), FROM).digest == wanted


def test_how_many_threads_does_not_matter() -> None:
    """BLAS sums on one thread here, whatever it is set to."""
    from threadpoolctl import threadpool_limits

    rows = matrix("normal", 700, 300, 2)
    found = set()
    for threads in (1, 2):
        with threadpool_limits(threads), somewhere() as where:
            found.add(bits(fill(where, sols(rows, [350])).horizon()))
    assert len(found) == 1


# ------------------------------------------------------------------------------------------------- which horizon


def test_which_batches_a_horizon_holds() -> None:
    """The last ones, the named ones, without some; in the order of their numbers, not of their letters."""
    rows = matrix("normal", 80, 6, 4)
    parts = {f"sol-{number}": rows[2 * number : 2 * number + 2] for number in range(40)}
    with somewhere() as where:
        fill(where, [Record.of(name, part, FROM) for name, part in reversed(parts.items())])
        assert where.names() == list(parts)

        def of(*numbers: int) -> tuple[Any, ...]:
            with somewhere() as other:
                return bits(
                    fill(other, [Record.of(n, parts[n], FROM) for n in (f"sol-{i}" for i in numbers)]).horizon()
                )

        assert bits(where.horizon(last=30)) == of(*range(10, 40))
        assert bits(where.horizon(last=1)) == of(39)
        assert bits(where.horizon(last=99)) == bits(where.horizon()) == of(*range(40))
        assert bits(where.horizon(without=["sol-39", "never was"])) == of(*range(39))
        assert bits(where.horizon(last=3, without={"sol-38"})) == of(36, 37, 39)
        assert bits(where.horizon(["sol-9", "sol-12", "sol-3"], last=2)) == of(9, 12)
        with pytest.raises(StoreError, match="no record of 'sol-40'"):
            where.horizon(["sol-1", "sol-40"])


def test_nothing_was_seen() -> None:
    """None, since no dimension is known; of a batch that was empty, Seen.none."""
    with somewhere() as where:
        assert where.horizon() is None
        assert where.horizon([], last=3) is None
        assert where.names() == []
        where.add(Record.of("cloudy", np.empty((0, 5), dtype=np.float32), FROM))
        assert bits(where.horizon()) == bits(Seen.none(5))
        assert where.horizon(without=["cloudy"]) is None


@pytest.mark.parametrize(
    "ask", [{"last": 0}, {"last": -3}, {"names": "sol-1"}, {"without": "sol-1"}], ids=lambda ask: next(iter(ask))
)
def test_horizons_that_were_not_meant(ask: dict[str, Any]) -> None:
    """One sentence."""
    with somewhere() as where, pytest.raises(PlanError, match="a horizon"):
        where.horizon(**ask)


@given(
    st.permutations(
        ["sol-1", "sol-01", "sol-2", "sol-99", "sol-0100", "sol-100", "sol-100b", "sun", "sol-" + "9" * 5000]
    )
)
def test_canonical_order(names: list[str]) -> None:
    """Numbers count as numbers, of any length; it does not depend on how the names arrive."""
    wanted = ["sol-01", "sol-1", "sol-2", "sol-99", "sol-0100", "sol-100", "sol-100b", "sol-" + "9" * 5000, "sun"]
    assert sorted(names, key=memory.canonical) == wanted


# ------------------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16, np.bool_])
@pytest.mark.parametrize("n", [0, 4, 5, 30])
def test_what_is_added_is_read(n: int, kind: type) -> None:
    """Few rows as they were stored, many as a scatter; provenance as JSON; with the same digest."""
    rows = np.random.default_rng(n).integers(0, 9, (n, 5)).astype(kind)
    made = Record.of("sol-1", rows, {"run": "r1", "ids": ("a", "b"), "by": {1: None}})
    with somewhere() as where:
        where.add(made)
        found = where.read("sol-1")
    assert (found.name, found.count, found.dimension, found.digest) == ("sol-1", n, 5, made.digest)
    assert found.made_from == {"run": "r1", "ids": ["a", "b"], "by": {"1": None}}
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0) if n else np.zeros(5), rtol=1e-12)
    if n < 5:
        assert found.scatter is None
        np.testing.assert_array_equal(found.rows, rows)
        assert found.rows is not None
        assert found.rows.dtype == (kind if np.dtype(kind).kind == "f" else np.float64)
    else:
        assert found.rows is None
        centred = exact - exact.mean(axis=0)
        np.testing.assert_allclose(found.scatter, centred.T @ centred, rtol=1e-12, atol=1e-10)


def test_records_do_not_change() -> None:
    """The same again is nothing; any other under the name is refused, be it only of other provenance."""
    rows = matrix("normal", 20, 5, 6)
    with somewhere() as where:
        where.add(Record.of("sol-1", rows, FROM))
        (file,) = files(where, "records")
        before = file.stat().st_mtime_ns
        where.add(Record.of("sol-1", rows, dict(reversed(FROM.items()))))
        assert file.stat().st_mtime_ns == before
        for other in (Record.of("sol-1", rows[:19], FROM), Record.of("sol-1", rows, {**FROM, "run": "r2"})):
            with pytest.raises(StoreError, match="another record of 'sol-1'"):
                where.add(other)
        assert files(where, "records") == [file]
        where.remove("sol-1")
        with pytest.raises(StoreError, match="no record of 'sol-1'"):
            where.remove("sol-1")
        with pytest.raises(StoreError, match="no record of 'sol-1'"):
            where.read("sol-1")
        where.add(Record.of("sol-1", rows[:19], FROM))
        assert where.read("sol-1").count == 19


def test_two_that_add_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees the other's record takes its own away; records that were both left are told, and can be removed."""
    mine, other = (Record.of("sol-1", matrix("normal", 20, 5, seed), FROM) for seed in (1, 2))
    write = Place.write

    def meanwhile(place: Place, name: str, data: bytes) -> None:
        write(place, name, data)
        write(place, f"records/sol-1.5.{other.digest}.bin", other._packed())

    with somewhere() as where:
        monkeypatch.setattr(Place, "write", meanwhile)
        with pytest.raises(StoreError, match="another record of 'sol-1'"):
            where.add(mine)
        monkeypatch.setattr(Place, "write", write)
        assert where.read("sol-1").digest == other.digest
        write(where._place, f"records/sol-1.5.{mine.digest}.bin", mine._packed())
        for look in (where.names, where.horizon, lambda: where.read("sol-1")):
            with pytest.raises(StoreError, match="two records of 'sol-1'"):
                look()
        where.remove("sol-1")
        assert where.names() == []


def test_one_dimension_a_stratum() -> None:
    """Another is refused, also where two were added at once; another stratum is another matter."""
    with somewhere() as where:
        where.add(Record.of("sol-1", matrix("normal", 9, 5, 1), FROM))
        odd = Record.of("sol-2", matrix("normal", 9, 6, 1), FROM)
        with pytest.raises(StoreError, match="cannot mix features of 5 and 6 dimensions"):
            where.add(odd)
        replace(where, stratum="right").add(odd)
        where._place.write(f"records/sol-2.6.{odd.digest}.bin", odd._packed())
        with pytest.raises(StoreError, match="cannot mix"):
            where.horizon()
        assert where.horizon(["sol-1"]) is not None


@pytest.mark.parametrize("rows", [
    np.empty((3, 0)), np.zeros(3), np.full((2, 2), np.nan), np.array([[1.0, np.inf]]), np.array([["a"]]), iter([]),
    iter([np.zeros((2, 3)), np.zeros((2, 4))]), iter([np.zeros((0, 3)), np.zeros((2, 4))]), np.zeros((2, 2), complex),
])  # fmt: skip
def test_rows_that_cannot_be_summed(rows: Any) -> None:
    """One sentence that names the batch."""
    with pytest.raises(PlanError, match="batch 'sol-1': "):
        Record.of("sol-1", rows, FROM)


# --------------------------------------------------------------------------------------------------------- names


def test_any_name_is_a_batch() -> None:
    """None leaves its folder, none is taken for another, and each is told again as it was."""
    with somewhere() as where:
        for number, name in enumerate(NAMES):
            where.add(Record.of(name, np.full((1, 2), float(number)), FROM))
        assert sorted(where.names()) == sorted(NAMES)
        for number, name in enumerate(NAMES):
            assert where.read(name).name == name
            assert where.read(name).mean[0] == number
        root = Path(where.archive.url)
        assert {path.parent for path in root.rglob("*.bin")} == {root / "memory/left/records"}
        for name in NAMES:
            where.remove(name)
        assert where.names() == []


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_names_are_kept_apart(name: str, other: str) -> None:
    """Safe names are short, of few letters, and differ where names do."""
    safe = memory._safe(name)
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%~")
    assert len(safe) <= 120
    assert (safe == memory._safe(other)) == (name == other)


@pytest.mark.parametrize("stratum", NAMES, ids=lambda name: repr(name)[:12])
def test_any_name_is_a_stratum(tmp_path: Path, stratum: str) -> None:
    """It stays within the archive's memory."""
    where = Memory(Place.of(tmp_path), stratum)
    where.add(Record.of("sol-1", np.zeros((1, 2)), FROM))
    (file,) = tmp_path.rglob("*.bin")
    assert file.parent.parent.parent == tmp_path / "memory"
    assert where.names() == ["sol-1"]
    assert Memory(Place.of(tmp_path), "right").names() == []


def test_a_name_is_not_empty(tmp_path: Path) -> None:
    """One sentence."""
    where = Memory(Place.of(tmp_path), "left")
    for ask in (
        lambda: Memory(Place.of(tmp_path), ""),
        lambda: Record.of("", np.zeros((1, 2)), FROM),
        lambda: where.read(""),
        lambda: where.remove(""),
    ):
        with pytest.raises(PlanError, match="not empty"):
            ask()


# ---------------------------------------------------------------------------------------------- what goes wrong


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def half(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
    raise KeyboardInterrupt


def late(path: Path, target: Path) -> None:
    os.rename(path, target)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("step", "killed", "there"),
    [("mkdir", stop, False), ("write_bytes", half, False), ("replace", stop, False), ("replace", late, True)],
)
def test_killed_while_adding(
    monkeypatch: pytest.MonkeyPatch, step: str, killed: Callable[..., None], there: bool
) -> None:
    """No record or a whole one; the same command again ends as if nothing had happened."""
    first, second = sols(matrix("normal", 40, 6, 8), [20])
    with somewhere() as where, somewhere() as calm:
        where.add(first)
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, lambda *at, **_: killed(*at))
            with pytest.raises(KeyboardInterrupt):
                where.add(second)
        assert where.names() == [first.name, second.name][: 1 + there]
        assert bits(where.horizon()) == bits(fill(calm, [first, second][: 1 + there]).horizon())
        where.add(second)
        assert bits(where.horizon()) == bits(fill(calm, [second]).horizon())


@pytest.mark.parametrize("n", [3, 20])
def test_damage_is_found(n: int) -> None:
    """Any changed byte, a lost end, nothing at all: one sentence with the file; the others can still be used."""
    good, bad = sols(matrix("normal", 2 * n, 5, 9), [n])
    with somewhere() as where:
        fill(where, [good, bad])
        (file,) = (path for path in files(where, "records") if path.name.startswith(bad.name))
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
            for look in (lambda: where.read(bad.name), where.horizon):
                with pytest.raises(StoreError, match=r"records/sol-0098\..* is damaged: ") as caught:
                    look()
                assert "\n" not in str(caught.value)
        assert where.horizon([good.name]) is not None
        file.write_bytes(files(where, "records")[0].read_bytes())
        with pytest.raises(StoreError, match="is damaged: it is another record"):
            where.read(bad.name)
        where.remove(bad.name)
        where.add(bad)
        assert where.horizon() is not None


def test_strange_files() -> None:
    """A file that is no record is told, since it may have been one; hidden ones are the system's."""
    with somewhere() as where:
        fill(where, sols(matrix("normal", 9, 5, 1), []))
        Path(where._place.url, "records", ".DS_Store").touch()
        assert len(where.names()) == 1
        Path(where._place.url, "records", "sol-0098.bin.tmp").touch()
        with pytest.raises(StoreError, match=r"sol-0098\.bin\.tmp is not a record"):
            where.horizon()


# ------------------------------------------------------------------------------------------------------- caching


@pytest.mark.parametrize("n", [4, 40])
def test_the_cache(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """One decomposition a horizon; it reads no record; damaged, missing or of another horizon, it is made again."""
    made: list[int] = []
    model = memory.model_of

    def counted(total: Any) -> Seen:
        made.append(total.count)
        return model(total)

    monkeypatch.setattr(memory, "model_of", counted)
    with somewhere() as where:
        fill(where, sols(matrix("normal", n, 6, 8), [n // 2]))
        wanted = bits(where.horizon())
        monkeypatch.setattr(Memory, "_read", stop)
        assert bits(where.horizon()) == wanted
        monkeypatch.undo()
        monkeypatch.setattr(memory, "model_of", counted)
        assert made == [n]
        (file,) = files(where, "cache")
        data = file.read_bytes()
        where.horizon(last=1)
        (other,) = (path for path in files(where, "cache") if path != file)
        made.clear()
        for damaged in (b"", data[:-1], data.replace(b"count", b"coumt"), b"\0" * len(data), other.read_bytes()):
            file.write_bytes(damaged)
            assert bits(where.horizon()) == wanted
            assert file.read_bytes() == data
        file.unlink()
        assert bits(where.horizon()) == wanted
        assert made == [n] * 6


def test_a_stale_cache_is_not_used() -> None:
    """Another record under the name of one that was removed is another horizon."""
    first, second = sols(matrix("normal", 40, 6, 8), [20])
    changed = replace(second, mean=second.mean + 1)
    with somewhere() as where, somewhere() as plain:
        before = bits(fill(where, [first, second]).horizon())
        where.remove(second.name)
        where.add(changed)
        assert bits(where.horizon()) == bits(fill(plain, [first, changed]).horizon()) != before


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may only read has the same horizon."""
    with somewhere() as where:
        fill(where, sols(matrix("normal", 40, 6, 8), [20]))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(PermissionError("no")))
            found = bits(where.horizon())
        assert files(where, "cache") == []
        assert bits(where.horizon()) == found


def test_a_horizon_is_the_callers_own() -> None:
    """Changing what was given changes nothing that is given later."""
    with somewhere() as where:
        fill(where, sols(matrix("normal", 40, 6, 8), [20]))
        found = where.horizon()
        wanted = bits(found)
        assert found is not None
        found.axes[:] = 0
        assert bits(where.horizon()) == wanted


def test_a_file_says_what_it_is() -> None:
    """Its second line is JSON that a person can read."""
    with somewhere() as where:
        where.add(Record.of("sol 1", np.zeros((1, 2), np.float32), FROM))
        (file,) = files(where, "records")
        about = json.loads(file.read_bytes().split(b"\n")[1])
    assert about == {
        "about": {"name": "sol%201", "count": 1, "made_from": FROM},
        "arrays": [["mean", "<f8", [2]], ["rows", "<f4", [1, 2]]],
    }
