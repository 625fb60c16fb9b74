"""Memory of what was seen before: one immutable record for each batch, and a model of any set of records.

    memory/<stratum>/records/<batch>.<d>.<digest>.bin   one record, written atomically
    memory/<stratum>/cache/<digests>.bin                the model of a horizon; may be deleted at any time

A horizon is a set of batches ("the last 30 sols", "all but sol 812"). Its model is always the sum of its records in
canonical order and never a subtraction, so it has the same bits whatever was added or removed before. The first line of
a file has the SHA-256 of the rest: a line of JSON, then arrays, little-endian. The file name has it, too, so one listing
of the folder identifies a horizon.
"""

import contextlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

from interpdisc_core import digest
from interpdisc_core.archive.memory_record import MemoryRecord, ScatterSum, decode_prior, encode_prior, fit_prior
from interpdisc_core.archive.packed_file import PACKED_FORMAT, DamagedFileError, read_packed_digest
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.selectors.prior import Prior
from interpdisc_core.storage.file_names import make_file_name
from interpdisc_core.storage.location import Location

_FILE_PATTERN = re.compile(r"([\w%-]+|~[0-9a-f]{64})\.([0-9]+)\.([0-9a-f]{64})\.bin", re.ASCII)


@dataclass(frozen=True, slots=True)
class Memory:
    """The records of one stratum, such as an instrument; all have the same dimension d.

    Names of batches are any text that is not empty. Canonical order: numbers within names are compared as numbers
    (sol-99, sol-100); names that differ only in leading zeros are ordered as text.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> memory = Memory(Location.parse(tempfile.mkdtemp()), "mastcam")
        >>> memory.add(MemoryRecord.from_rows("sol-1", np.eye(3, 8), {}))
        >>> memory.load_horizon().count
        3
    """

    archive: Location
    stratum: str

    def __post_init__(self) -> None:
        make_file_name(self.stratum)

    def list_names(self) -> list[str]:
        """The names of its batches, in canonical order."""
        return list(self._files_by_name())

    def add(self, record: MemoryRecord) -> None:
        """Add a record. Adding the same record again changes nothing.

        Raises:
            StoreError: If the name has another record, or if the stratum has another dimension.
        """
        data = record._encode()
        file, others = (
            _RecordFile(make_file_name(record.name), record.dimension, read_packed_digest(data)),
            self._list_files(),
        )
        self._check_dimension([*others, file])
        if file in others and self._is_intact(file):
            return
        conflict_message = (
            f"{self._context} has another record of {record.name!r}; records do not change, so remove it first."
        )
        if any(other.batch == file.batch and other != file for other in others):
            raise StoreError(conflict_message)
        self._location.write_checked(file.path, data)
        if any(other.batch == file.batch and other != file for other in self._list_files()):
            self._location.remove(file.path)  # another process added one at the same time: neither may win silently
            raise StoreError(conflict_message)

    def _is_intact(self, file: "_RecordFile") -> bool:
        try:
            self._read_record(file)
        except StoreError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a record.

        Raises:
            StoreError: If there is no such record.
        """
        files = self._find_files(name)
        if not files:
            raise StoreError(f"{self._context} has no record of {name!r}.")
        for file in files:
            self._location.remove(file.path)

    def clear_cache(self) -> None:
        """Remove the cached models of horizons. Each has up to d × d numbers."""
        self._location.remove("cache")

    def clear(self) -> None:
        """Remove all records of the stratum."""
        self.archive.remove(f"memory/{make_file_name(self.stratum)}")

    def read(self, name: str) -> MemoryRecord:
        """The record of a batch.

        Raises:
            StoreError: If there is none, or if it is damaged.
        """
        files = self._find_files(name)
        if len(files) > 1:
            raise StoreError(self._duplicate_message(name))
        if not files:
            raise StoreError(f"{self._context} has no record of {name!r}.")
        return self._read_record(files[0])

    def find_faults(self) -> list[str]:
        """Read every record and compare it with its file name. Returns one sentence for each damaged one."""
        return list(self._find_damage().values())

    def list_damaged_files(self) -> list[str]:
        """The files of the damaged records, as paths in the stratum's folder."""
        return list(self._find_damage())

    def _find_damage(self) -> dict[str, str]:
        faults = {}
        for file in self._list_files():
            try:
                self._read_record(file)
            except StoreError as error:
                faults[file.path] = str(error)
        return faults

    def load_horizon(
        self, names: Sequence[str] | None = None, *, last: int | None = None, exclude: Collection[str] = ()
    ) -> Prior | None:
        """The model of a horizon, as a prior.

        With fewer than d items it is their exact SVD. Else it comes from the eigenvectors of their scatter matrix,
        without directions of S ≤ `SINGULAR_VALUE_RTOL` · S_max. The largest entry of each axis is positive.

        Args:
            names: The batches; all of them by default.
            last: Use only this many of them, the last ones in canonical order; at least 1.
            exclude: Batches that are left out before `last` counts, whether or not they exist.

        Returns:
            The prior, or None if no batch is left.

        Raises:
            PlanError: If an argument is not valid.
            StoreError: If a batch has no record, or if a record is damaged.
        """
        files = self._select_files(names, last, exclude)
        self._check_dimension(files)
        return self._load_model(files) if files else None

    def list_horizon_batches(
        self, names: Sequence[str] | None = None, *, last: int | None = None, exclude: Collection[str] = ()
    ) -> dict[str, str]:
        """The digests of the records of a horizon, by batch, in canonical order; for the arguments see `load_horizon`."""
        return {self._read_name(file): file.digest for file in self._select_files(names, last, exclude)}

    def _select_files(
        self, names: Sequence[str] | None, last: int | None, exclude: Collection[str]
    ) -> "list[_RecordFile]":
        if isinstance(names, str) or isinstance(exclude, str):
            raise PlanError("a horizon takes a list of batches, not the name of one.")
        if last is not None and last < 1:
            raise PlanError(f"a horizon's last batches must be at least 1, not {last}.")
        files_by_name = self._files_by_name()
        if missing := sorted(set(names or ()) - set(files_by_name)):
            raise StoreError(f"{self._context} has no record of {missing[0]!r}.")
        selected_names = set(files_by_name if names is None else names) - set(exclude)
        return [file for name, file in files_by_name.items() if name in selected_names][-(last or 0) :]

    def _load_model(self, files: "list[_RecordFile]") -> Prior:
        """The model of records in canonical order, from the cache if it is there and not damaged."""
        key = digest.digest_bytes("\n".join([PACKED_FORMAT, *(file.digest for file in files)]).encode())
        path = f"cache/{key}.bin"
        with contextlib.suppress(FileNotFoundError, DamagedFileError):
            return decode_prior(key, self._location.read(path))
        scatter_sum = ScatterSum(files[0].dimension)
        for file in files:
            record = self._read_record(file)
            if record.rows is not None:
                scatter_sum.add_rows(record.rows)
            elif record.scatter is not None:
                scatter_sum.add_scatter(record.count, record.mean, record.scatter)
        data = encode_prior(key, fit_prior(scatter_sum))
        # The cache cannot be written without write permission; the model is the same.
        with contextlib.suppress(StoreError, OSError):
            self._location.write(path, data, durable=False)
        return decode_prior(key, data)  # the same memory layout as from the cache

    @property
    def _location(self) -> Location:
        return self.archive / f"memory/{make_file_name(self.stratum)}"

    @property
    def _context(self) -> str:
        return f"{self.archive.url}: memory of {self.stratum!r}"

    def _list_files(self) -> "list[_RecordFile]":
        file_names = [name for name in self._location.list_checked_names("records") if not name.startswith(".")]
        matches = {name: _FILE_PATTERN.fullmatch(name) for name in file_names}
        if unknown_files := [name for name, match in matches.items() if match is None]:
            raise StoreError(
                f"{self._location.url}/records/{unknown_files[0]} is not a record: move it to another folder."
            )
        return [_RecordFile(match[1], int(match[2]), match[3]) for match in matches.values() if match is not None]

    def _find_files(self, name: str) -> "list[_RecordFile]":
        file_name = make_file_name(name)
        return [file for file in self._list_files() if file.batch == file_name]

    def _files_by_name(self) -> "dict[str, _RecordFile]":
        """The record files by batch, in canonical order."""
        files: dict[str, _RecordFile] = {}
        for file in self._list_files():
            name = self._read_name(file)
            if name in files:
                raise StoreError(self._duplicate_message(name))
            files[name] = file
        return dict(sorted(files.items(), key=lambda item: canonical_sort_key(item[0])))

    def _duplicate_message(self, name: str) -> str:
        return f"{self._context} has two records of {name!r}: remove it, and add the right one again."

    def _read_name(self, file: "_RecordFile") -> str:
        """The batch's name; a long one is only in the record itself."""
        return self._read_record(file).name if file.batch[0] == "~" else unquote(file.batch, errors="surrogatepass")

    def _read_record(self, file: "_RecordFile") -> MemoryRecord:
        context = f"{self._location.url}/{file.path}"
        try:
            data = self._location.read_checked(file.path)
            record = MemoryRecord._decode(data)
        except FileNotFoundError:
            raise StoreError(f"{context} was removed while it was read.") from None
        except DamagedFileError as error:
            raise StoreError(f"{context} is damaged: {error}; remove it and add it again.") from error
        if (make_file_name(record.name), record.dimension, read_packed_digest(data)) != file:
            raise StoreError(f"{context} is damaged: it is not the record that its file name says.")
        return record

    def _check_dimension(self, files: "list[_RecordFile]") -> None:
        if len(dimensions := sorted({file.dimension for file in files})) > 1:
            raise StoreError(
                f"{self._context} cannot mix features of {dimensions[0]} and {dimensions[1]} dimensions: "
                "another representation is another stratum."
            )


class _RecordFile(NamedTuple):
    """The parts of a record's file name: the batch's name as a file name, d, and the digest of the content."""

    batch: str
    dimension: int
    digest: str

    @property
    def path(self) -> str:
        return f"records/{self.batch}.{self.dimension}.{self.digest}.bin"


def canonical_sort_key(name: str) -> tuple[list[Any], str]:
    """Sort key of the canonical order. Numbers are compared by their digits, since `int` refuses very long ones.

    Example:
        >>> sorted(["sol-100", "sol-99"], key=canonical_sort_key)
        ['sol-99', 'sol-100']
    """
    parts: list[Any] = re.split("([0-9]+)", name)
    parts[1::2] = [(len(number.lstrip("0")), number.lstrip("0")) for number in parts[1::2]]
    return parts, name
