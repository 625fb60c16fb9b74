"""Memory of what was seen before: an immutable record a batch, and models of any sum of them.

    memory/<stratum>/records/<batch>.<d>.<digest>.bin   one record, written whole or not at all
    memory/<stratum>/cache/<digests>.bin                a horizon's model; may be deleted at any time

A horizon ("the last 30 sols", "all but sol 812") is always the sum of its records in canonical order and never a
subtraction, so it has the same bits however it came about. A file begins with a line that holds the SHA-256 of the
rest: a line of JSON, then arrays, little-endian. A record's file name holds it too, so one listing names a horizon.
"""

import contextlib
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

from interpdisc_core import digest
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.selectors.choice import Features, Floats
from interpdisc_core.selectors.rows import BLOCK
from interpdisc_core.selectors.seen import Seen
from interpdisc_core.storage import Place

FLOOR = 1e-7
"""A direction of a scatter whose singular value is at most FLOOR · S_max is left out: it is only rounding.

Sums and `eigh` leave an error of some ε · λ_max, ε = 2.2e-16, in each eigenvalue λ = S², hence of sqrt(ε) · S_max =
1.5e-8 · S_max in the S of a null direction; measured, 2e-8 to 4e-8 (d up to 4096, up to 3000 records, far from the
origin). FLOOR² = 1e-14 is 45 ε. On items themselves, null is told at `NULL`.
"""

_FORMAT = "interpdisc-memory-1"  # count up where a file's layout or a horizon's arithmetic changes
_LONGEST = 120
_FILE = re.compile(r"([\w%-]+|~[0-9a-f]{64})\.([0-9]+)\.([0-9a-f]{64})\.bin", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What a batch of `count` items leaves behind.

    mean (d,). One of: rows (count, d), the items as they were stored, where count < d; scatter (d, d) float64,
    Σ (x − mean)(x − mean)ᵀ, else. made_from: JSON; what produced it.
    """

    name: str
    count: int
    mean: Floats
    rows: Features | None
    scatter: Floats | None
    made_from: dict[str, Any]

    def __post_init__(self) -> None:
        _safe(self.name)
        # As it is read again, so that its digest is then the same: tuples are lists, keys are text.
        object.__setattr__(self, "made_from", json.loads(json.dumps(self.made_from)))

    @classmethod
    def of(cls, name: str, rows: "Features | Iterable[Features]", made_from: dict[str, Any]) -> "Record":
        """Of items (n, d), or of pieces of them in order, such as the values of `selectors.rows.blocks`.

        n may be 0. Summed in blocks of BLOCK rows in order, so the bits do not depend on how the pieces are cut.
        Raises PlanError for items that are not finite numbers (n, d), and for no pieces at all.
        """
        total: Sum | None = None
        with threadpool_limits(limits=1, user_api="blas"):
            for block in _blocks(name, (rows,) if isinstance(rows, np.ndarray) else rows):
                total = Sum(block.shape[1]) if total is None else total
                total.include(block)
            if total is None:
                raise PlanError(f"batch {name!r}: no rows were given, so their dimension is not known.")
            held = total.rows()
            mean = total.mean if held is None else _mean(held)
        return cls(name, total.count, mean, held, total.scatter, made_from)

    @property
    def dimension(self) -> int:
        """D, the number of features."""
        return len(self.mean)

    @property
    def digest(self) -> str:
        """SHA-256 of all that it holds, name and provenance too; 64 hexadecimal digits."""
        return _digest_of(self._packed())

    def _packed(self) -> bytes:
        about = {"name": _quoted(self.name), "count": self.count, "made_from": self.made_from}
        arrays = {"mean": self.mean, "rows": self.rows, "scatter": self.scatter}
        return _pack(about, {kind: array for kind, array in arrays.items() if array is not None})

    @classmethod
    def _unpacked(cls, data: bytes) -> "Record":
        about, arrays = _unpack(data)
        name, mean = unquote(about["name"], errors="surrogatepass"), arrays["mean"]
        return cls(name, about["count"], mean, arrays.get("rows"), arrays.get("scatter"), about["made_from"])


@dataclass(frozen=True, slots=True)
class Memory:
    """The records of one stratum, such as an instrument; all of one dimension d.

    Batch names are any text but none at all. Canonical order: numbers within names count as numbers (sol-99, sol-100),
    names that differ only in leading zeros are ordered as text.
    """

    archive: Place
    stratum: str

    def __post_init__(self) -> None:
        _safe(self.stratum)

    def names(self) -> list[str]:
        """The batches that there are, in canonical order."""
        return list(self._known())

    def add(self, record: Record) -> None:
        """Keep a record; the same record again changes nothing.

        Raises StoreError where the name has another record, or the stratum another dimension.
        """
        data = record._packed()
        mine, others = _File(_safe(record.name), record.dimension, _digest_of(data)), self._files()
        self._one_dimension([*others, mine])
        if mine in others:
            return
        taken = f"{self._where} has another record of {record.name!r}; records do not change, so remove it first."
        if any(other.batch == mine.batch for other in others):
            raise StoreError(taken)
        self._place.write(mine.path, data)
        if any(other.batch == mine.batch and other != mine for other in self._files()):
            self._place.remove(mine.path)  # added at the same time by someone else: neither may silently win
            raise StoreError(taken)

    def remove(self, name: str) -> None:
        """Undo `add`. Raises StoreError where there is no such record."""
        found = self._of(name)
        if not found:
            raise StoreError(f"{self._where} has no record of {name!r}.")
        for file in found:
            self._place.remove(file.path)

    def tidy(self) -> None:
        """Remove the models of horizons that are kept for speed: each holds up to d x d numbers."""
        self._place.remove("cache")

    def clear(self) -> None:
        """Remove the stratum with all its records."""
        self.archive.remove(f"memory/{_safe(self.stratum)}")

    def read(self, name: str) -> Record:
        """A batch's record. Raises StoreError where there is none, and where it is damaged."""
        found = self._of(name)
        if len(found) > 1:
            raise StoreError(self._twice(name))
        if not found:
            raise StoreError(f"{self._where} has no record of {name!r}.")
        return self._read(found[0])

    def faults(self) -> list[str]:
        """What is wrong with its records, each read and held against what names it; a sentence each."""
        found = []
        for file in self._files():
            try:
                self._read(file)
            except StoreError as error:
                found.append(str(error))
        return found

    def horizon(
        self, names: Sequence[str] | None = None, *, last: int | None = None, without: Collection[str] = ()
    ) -> Seen | None:
        """What the named batches hold together, all of them by default; None where that is no batch at all.

        last: only so many of them, the last in canonical order, at least 1. without: batches that are left out before
        `last` counts, whether or not they are there. While there are fewer than d items, their exact SVD; else by
        the eigenvectors of their scatter, from which directions with S ≤ FLOOR · S_max are left out. The largest
        entry of an axis is positive. Raises StoreError for a name that is not there and for a damaged record.
        """
        files = self._chosen(names, last, without)
        self._one_dimension(files)
        return self._sum(files) if files else None

    def chosen(
        self, names: Sequence[str] | None = None, *, last: int | None = None, without: Collection[str] = ()
    ) -> dict[str, str]:
        """The batches of the `horizon` of the same arguments, in canonical order, and what names each one's content."""
        return {self._name(file): file.digest for file in self._chosen(names, last, without)}

    def _chosen(
        self, names: Sequence[str] | None, last: int | None, without: Collection[str]
    ) -> "list[_File]":  # fmt: skip
        if isinstance(names, str) or isinstance(without, str):
            raise PlanError("a horizon takes a list of batches, not the name of one.")
        if last is not None and last < 1:
            raise PlanError(f"a horizon's last batches must be at least 1, not {last}.")
        known = self._known()
        if missing := sorted(set(names or ()) - set(known)):
            raise StoreError(f"{self._where} has no record of {missing[0]!r}.")
        wanted = set(known if names is None else names) - set(without)
        return [file for name, file in known.items() if name in wanted][-(last or 0) :]

    def _sum(self, files: "list[_File]") -> Seen:
        """The model of records in canonical order, from the cache where it is there and sound."""
        key = digest.of_bytes("\n".join([_FORMAT, *(file.digest for file in files)]).encode())
        path = f"cache/{key}.bin"
        with contextlib.suppress(FileNotFoundError, _Damaged):
            return _unpack_seen(key, self._place.read(path))
        with threadpool_limits(limits=1, user_api="blas"):
            total = Sum(files[0].dimension)
            for file in files:
                record = self._read(file)
                if record.rows is not None:
                    total.include(record.rows)
                elif record.scatter is not None:
                    total.merge(record.count, record.mean, record.scatter)
            data = _pack_seen(key, model_of(total))
        # Who may only read the archive has its horizons all the same.
        with contextlib.suppress(StoreError, OSError):
            self._place.write(path, data)
        return _unpack_seen(key, data)  # the layout in memory, too, is then as from the cache

    @property
    def _place(self) -> Place:
        return self.archive / f"memory/{_safe(self.stratum)}"

    @property
    def _where(self) -> str:
        return f"{self.archive.url}: memory of {self.stratum!r}"

    def _files(self) -> "list[_File]":
        found = [name for name in self._place.names("records") if not name.startswith(".")]
        parts = {name: _FILE.fullmatch(name) for name in found}
        if strange := [name for name, part in parts.items() if part is None]:
            raise StoreError(f"{self._place.url}/records/{strange[0]} is not a record: move it elsewhere.")
        return [_File(part[1], int(part[2]), part[3]) for part in parts.values() if part is not None]

    def _of(self, name: str) -> "list[_File]":
        safe = _safe(name)
        return [file for file in self._files() if file.batch == safe]

    def _known(self) -> "dict[str, _File]":
        """Records by the names of their batches, in canonical order."""
        known: dict[str, _File] = {}
        for file in self._files():
            name = self._name(file)
            if name in known:
                raise StoreError(self._twice(name))
            known[name] = file
        return dict(sorted(known.items(), key=lambda item: canonical(item[0])))

    def _twice(self, name: str) -> str:
        return f"{self._where} has two records of {name!r}: remove it, and add the right one again."

    def _name(self, file: "_File") -> str:
        """A long name is told only by the record itself."""
        return self._read(file).name if file.batch[0] == "~" else unquote(file.batch, errors="surrogatepass")

    def _read(self, file: "_File") -> Record:
        where = f"{self._place.url}/{file.path}"
        try:
            data = self._place.read(file.path)
            record = Record._unpacked(data)
        except FileNotFoundError:
            raise StoreError(f"{where} is gone: it was removed in the meantime.") from None
        except _Damaged as error:
            raise StoreError(f"{where} is damaged: {error}; remove it and add it again.") from error
        if (_safe(record.name), record.dimension, _digest_of(data)) != file:
            raise StoreError(f"{where} is damaged: it is another record than its name says.")
        return record

    def _one_dimension(self, files: "list[_File]") -> None:
        if len(found := sorted({file.dimension for file in files})) > 1:
            raise StoreError(
                f"{self._where} cannot mix features of {found[0]} and {found[1]} dimensions: "
                "another representation is another stratum."
            )


class _File(NamedTuple):
    """A record by its file: the batch's safe name, d, and the digest of its content."""

    batch: str
    dimension: int
    digest: str

    @property
    def path(self) -> str:
        return f"records/{self.batch}.{self.dimension}.{self.digest}.bin"


class Sum:
    """The sum of items that come in a fixed order: held as they are while they are fewer than d, then as a scatter.

    count: of items. mean (d,) and scatter (d, d) about it are theirs once there are d; until then `rows` has all.
    """

    def __init__(self, dimension: int) -> None:
        self.count, self.mean = 0, np.zeros(dimension)
        self.scatter: Floats | None = None
        self._held: list[Features] = []

    def rows(self) -> Features | None:
        """The items (count, d), or None where they are d or more."""
        return None if self.scatter is not None else np.concatenate(self._held)

    def include(self, rows: Features) -> None:
        """Add items (n, d)."""
        self._held.append(rows)
        if self.scatter is not None or sum(map(len, self._held)) >= len(self.mean):
            self._spread()
        else:
            self.count += len(rows)

    def merge(self, count: int, mean: Floats, scatter: Floats) -> None:
        """Add `count` items by their mean (d,) and centred scatter (d, d)."""
        self._spread()
        self._merge(count, mean, scatter)

    def _spread(self) -> None:
        """Turn what is held into a scatter, in order."""
        if self.scatter is None:
            self.count, self.scatter = 0, np.zeros((len(self.mean), len(self.mean)))
        for rows in self._held:
            if len(rows):
                mean = _mean(rows)
                centred = np.ascontiguousarray(rows, dtype=np.float64) - mean  # one layout, one path through BLAS
                self._merge(len(rows), mean, centred.T @ centred)
        self._held = []

    def _merge(self, count: int, mean: Floats, scatter: Floats) -> None:
        """Chan, Golub & LeVeque 1983; nothing large is ever subtracted."""
        assert self.scatter is not None
        total = self.count + count
        step = mean - self.mean
        between = math.sqrt(self.count / max(total, 1) * count) * step
        self.scatter += scatter
        self.scatter += np.outer(between, between)
        self.mean = self.mean + step * (count / max(total, 1))
        self.count = total


def _mean(rows: Features) -> Floats:
    """Mean (d,) of items (n, d), row after row whatever their layout in memory; 0 where there are none."""
    total: Floats = np.ascontiguousarray(rows, dtype=np.float64).sum(axis=0)
    return total / max(len(rows), 1)


def model_of(total: Sum) -> Seen:
    """What a sum of at least one item holds, as `Memory.horizon` says; the sum is not changed and may go on."""
    held, scatter = total.rows(), total.scatter
    if held is not None:
        seen = Seen.of(np.asarray(held, dtype=np.float64))
        mean, values, axes = seen.mean, seen.values, seen.axes
    else:
        powers, vectors = eigh(scatter, driver="evd")
        values, mean = np.sqrt(np.maximum(powers[::-1], 0)), total.mean
        kept = int((values > FLOOR * values[0]).sum())
        values, axes = values[:kept], vectors.T[::-1][:kept]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return Seen(total.count, mean, values, axes * np.sign(largest))


def _blocks(name: str, pieces: "Iterable[Features]") -> Iterator[Features]:
    """Rows in blocks of BLOCK (m, d), however they were cut; the last may be smaller, and empty."""
    waiting: list[Features] = []
    for piece in pieces:
        waiting.append(_checked(name, piece, waiting[0].shape[1] if waiting else None))
        if sum(map(len, waiting)) >= BLOCK:
            rows = np.concatenate(waiting)
            whole = len(rows) // BLOCK * BLOCK
            yield from (rows[first : first + BLOCK] for first in range(0, whole, BLOCK))
            waiting = [rows[whole:]]
    if waiting:
        yield np.concatenate(waiting)


def _checked(name: str, rows: Features, dimension: int | None) -> Features:
    """`rows` in a float type that holds them exactly. Raises PlanError where they cannot be summed."""
    if rows.ndim != 2 or rows.dtype.kind not in "fiub" or rows.shape[1] != (dimension or rows.shape[1] or -1):
        wanted = "d" if dimension is None else str(dimension)
        raise PlanError(f"batch {name!r}: rows must be numbers (n, {wanted}), not {rows.shape} {rows.dtype}.")
    exact = rows.dtype.kind == "f" and rows.dtype.itemsize <= 8
    rows = rows.astype(rows.dtype.newbyteorder("=") if exact else np.float64, copy=False)
    if not np.isfinite(rows).all():
        raise PlanError(f"batch {name!r}: a row holds values that are not finite; leave out rows without a vector.")
    return rows


def _quoted(name: str) -> str:
    """Any text in the letters A–Z a–z 0–9 _ - %, reversibly."""
    return quote(name, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")


def _safe(name: str) -> str:
    """A file name for any text: reversible, or ~ and a digest where that would be too long. PlanError for none."""
    if not name:
        raise PlanError("a batch and its stratum must each have a name that is not empty.")
    quoted = _quoted(name)
    return quoted if len(quoted) <= _LONGEST else f"~{digest.of_bytes(quoted.encode())}"


def canonical(name: str) -> tuple[list[Any], str]:
    """Canonical order. Numbers are compared by their digits: `int` refuses very long ones."""
    parts: list[Any] = re.split("([0-9]+)", name)
    parts[1::2] = [(len(number.lstrip("0")), number.lstrip("0")) for number in parts[1::2]]
    return parts, name


class _Damaged(ValueError):
    """Bytes that are not what was written; the message says why."""


def _pack(about: dict[str, Any], arrays: dict[str, Features]) -> bytes:
    """A file of JSON and arrays: the same values give the same bytes."""
    little = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}
    layout = [[name, array.dtype.str, array.shape] for name, array in little.items()]
    line = json.dumps({"about": about, "arrays": layout}, sort_keys=True).encode()
    body = b"".join([line, b"\n", *(array.tobytes() for array in little.values())])
    return f"{_FORMAT} {digest.of_bytes(body)}\n".encode() + body


def _digest_of(data: bytes) -> str:
    """The digest that a packed file holds."""
    return data[: data.index(b"\n")].decode().rpartition(" ")[2]


def _unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was packed. Raises _Damaged where the bytes are not those."""
    first, _, body = data.partition(b"\n")
    if not first.startswith(f"{_FORMAT} ".encode()):
        raise _Damaged(f"it does not begin with {_FORMAT}")
    if first != f"{_FORMAT} {digest.of_bytes(body)}".encode():
        raise _Damaged("its bytes do not match its digest")
    line, _, values = body.partition(b"\n")
    known = json.loads(line)
    arrays, start = {}, 0
    for name, kind, shape in known["arrays"]:
        dtype, count = np.dtype(kind), math.prod(shape)
        found = np.frombuffer(values, dtype, count, start).reshape(shape)
        arrays[name] = found.astype(dtype.newbyteorder("="))  # a copy, so it is aligned and can be written to
        start += count * dtype.itemsize
    return known["about"], arrays


def _pack_seen(key: str, seen: Seen) -> bytes:
    arrays = {"mean": seen.mean, "values": seen.values, "axes": seen.axes}
    return _pack({"key": key, "count": seen.count}, arrays)


def _unpack_seen(key: str, data: bytes) -> Seen:
    about, arrays = _unpack(data)
    if about.get("key") != key:
        raise _Damaged("it is another horizon than its name says")
    return Seen(about["count"], **arrays)
