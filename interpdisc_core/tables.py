"""What a selection can be made of without any image: an archive's features, or features that a user brings.

Bare features are rows of a file: .npy (memory-mapped), .npz, a Zarr array or group, Parquet, or CSV in the form of the
original DEMUD (label first). They stay where they are and are read as they are needed, but for CSV and .npz. Nothing is
ever unpickled.
"""

import csv
import glob
import json
import os
import threading
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core import catalog, digest, sources
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.features import Batch, Block, FeatureStore, rows_of, zarr_options
from interpdisc_core.ingest import check_format, labels_of
from interpdisc_core.selectors.rows import ArrayRows, ChunkedRows, Features, Index, PartRows, Rows, UnitRows, zarr_rows
from interpdisc_core.storage import Place, s3_filesystem
from interpdisc_core.subset import Columns, matching

SUFFIXES = (".npy", ".npz", ".parquet", ".pq", ".csv")
"""How names of files with bare features end; Zarr is told by what is in its folder."""
_ZARR = ("zarr.json", ".zarray", ".zgroup")
_FILES = "sizes and times of its files"
_READERS = 8


@dataclass(frozen=True, slots=True)
class Table:
    """Feature rows with what is known of them.

    name: the SOURCE. rows: (n, d). ids, labels: of each row, a label may be None. numbers (n,): each row's number in
    the source, rising. identity: a digest that changes when the data may have; identified_by: of what it is one.
    columns: gives the fields that an expression can name. features: the digest of an archive's representation, else
    empty. left_out: a sentence about rows that are not here, or empty.
    """

    name: str
    rows: Rows
    ids: Sequence[str]
    labels: Sequence[str | None]
    numbers: Index
    identity: str
    identified_by: str
    columns: Callable[[], Columns]
    features: str = ""
    left_out: str = ""

    def where(self, expression: str) -> "Table":
        """The rows for which `expression` is true. Raises PlanError where it cannot be read, or is true of none."""
        which = np.flatnonzero(matching(expression, self.columns()))
        places = which.tolist()
        if not places:
            raise PlanError(f"{self.name}: {expression!r} is true of none of its {len(self.numbers)} rows.")

        def columns() -> Columns:
            return {name: [values[place] for place in places] for name, values in self.columns().items()}

        return replace(
            self, rows=_part(self.rows, which), ids=[self.ids[place] for place in places],
            labels=[self.labels[place] for place in places], numbers=self.numbers[which], columns=columns,
        )  # fmt: skip

    def normalised(self) -> "Table":
        """The same with every row divided by its length, as the plan's `l2` does it; float16 becomes float32."""
        return replace(self, rows=UnitRows(self.rows))

    def labelled(self, given: str) -> "Table":
        """The same with the labels of a CSV file, or `folder`; a row that has none there keeps its own.

        Raises PlanError as `labels_of` does.
        """
        found = labels_of(given, self.ids)
        labels = [found.get(name, label) for name, label in zip(self.ids, self.labels, strict=True)]
        return replace(self, labels=labels, columns=lambda: {**self.columns(), "label": labels})

    def find(self, wanted: Iterable[str]) -> list[int]:
        """The places (from 0, in this table) of ids, rising. Raises PlanError for one that is not there, or there twice."""
        places: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(self.ids):
            places[name].append(place)
        found = set()
        for name in wanted:
            if len(places.get(name, [])) != 1:
                how = f"{len(places[name])} times" if name in places else "not"
                raise PlanError(f"{self.name}: the id {name!r} is {how} among its {len(self.ids)} rows.")
            found.add(places[name][0])
        return sorted(found)


def read(source: str, features: str = "") -> Table:
    """What SOURCE holds: an archive (folder or s3://), or bare features.

    features: which representation of an archive: the beginning of its name or its kind; empty: the only one.
    Raises PlanError where SOURCE is neither, or not in one of the forms above; StoreError for a damaged archive.
    """
    place = Place.of(source)
    if not place.remote and Path(place.url).is_file():
        kind = Path(place.url).suffix.lower()
        if kind not in SUFFIXES:
            raise PlanError(f"{source}: features are files that end in {', '.join(SUFFIXES)}, Zarr, or an archive.")
        table = {".csv": _csv, ".parquet": _parquet, ".pq": _parquet}.get(kind, _numpy)(source, place.url)
    elif place.exists("archive.json"):
        return _archive(source, place, features)
    elif any(place.exists(name) for name in _ZARR):
        table = _zarr(source, place)
    elif place.remote:
        raise PlanError(
            f"{source}: neither an archive nor Zarr; only these are read from S3, so copy a file here first."
        )
    elif Path(place.url).is_dir():
        raise PlanError(
            f"{source}: neither an archive (archive.json) nor Zarr; `interpdisc discover` computes the features of images."
        )
    else:
        raise PlanError(f"{source}: no such file or folder{'; give one SOURCE' if glob.has_magic(source) else ''}.")
    if features:
        raise PlanError(f"{source}: --features chooses among an archive's representations, and this is no archive.")
    return table


# Archives


class _Ready(NamedTuple):
    """What a selection needs of an input; its record, the larger part of it, stays in the catalog."""

    id: str
    key: str
    uri: str
    sha256: str
    batch: int
    row: int


def _archive(source: str, archive: Place, features: str) -> Table:
    """The ready images of an archive whose features are there, in order of id."""
    check_format(archive)
    latest = catalog.latest(archive, [*_Ready._fields, "status"])
    store = FeatureStore(archive, _representation(source, archive, features))
    with_row = latest.filter(pc.and_(pc.equal(latest["status"], "ready"), pc.greater_equal(latest["row"], 0)))
    values = (with_row[name].to_pylist() for name in _Ready._fields)
    ready = sorted(_Ready(*each) for each in zip(*values, strict=True))
    known = {number: Batch.read(archive, number) for number in sorted({entry.batch for entry in ready})}
    done = {number: store.done(number) for number in known}
    extracted = [e for e in ready if e.row // known[e.batch].block in done[e.batch]]
    rows, has = rows_of(store, [(e.batch, e.row) for e in extracted])
    there = [e for e, kept in zip(extracted, has, strict=True) if kept]
    if not there:
        raise PlanError(f"{source}: none of its {len(ready)} ready images has features of {store.name[:8]} yet.")
    blocks = sorted({Block(e.batch, e.row // known[e.batch].block) for e in there})
    labels = _archive_labels(archive, latest, there)
    ids = _distinct(there)
    identity = digest.of_json([store.name, [e.sha256 for e in there], [store.record(block).sha256 for block in blocks]])
    missing = len(ready) - len(there)
    return Table(
        source, rows, ids, labels, np.arange(len(there)), identity, "hashes of images and feature blocks",
        lambda: _archive_columns(archive, there, ids, labels), store.name,
        f"{missing} of {len(ready)} ready images have no such features and are left out" if missing else "",
    )  # fmt: skip


def _representation(source: str, archive: Place, wanted: str) -> str:
    """The name of one of an archive's feature folders."""
    specs: dict[str, dict[str, Any]] = {}
    for name in archive.names("features"):
        try:
            specs[name] = archive.read_json(f"features/{name}/spec.json")
        except FileNotFoundError:
            raise StoreError(f"{source}: features/{name} has no spec.json; `interpdisc verify` says more.") from None
    told = "; ".join(f"{name} ({_spec(spec)})" for name, spec in specs.items())
    if not specs:
        raise PlanError(f"{source}: has no features yet; `interpdisc discover` computes them.")
    found = [
        name for name, spec in specs.items() if not wanted or name.startswith(wanted) or spec.get("kind") == wanted
    ]
    found = [wanted] if wanted in specs else found  # another may begin with it: float16's does with float32's
    if len(found) != 1:
        what = f"{wanted!r} names {len(found)} of its" if wanted else "choose with --features NAME one of its"
        raise PlanError(f"{source}: {what} {len(specs)} representations: {told}.")
    return found[0]


def _spec(spec: dict[str, Any]) -> str:
    rest = [f"{key} {value}" for key, value in sorted(spec.items()) if key != "kind" and value not in ("", None)]
    return ", ".join([str(spec.get("kind", "?")), *rest])


def _distinct(entries: list[_Ready]) -> list[str]:
    """Ids; two sources may use one for different images, then the later ones are told apart as a run does it."""
    seen: set[str] = set()
    ids = []
    for entry in entries:
        ids.append(entry.id if entry.id not in seen else f"{entry.id}@{digest.of_bytes(entry.uri.encode())[:8]}")
        seen.add(ids[-1])
    return ids


def _archive_labels(archive: Place, latest: pa.Table, entries: list[_Ready]) -> list[str | None]:
    """The class that all runs give an image, or else its duplicates; None where there is none, or they disagree."""
    by_key: dict[str, set[str]] = defaultdict(set)
    by_content: dict[str, set[str]] = defaultdict(set)
    content: dict[str, str] = {}
    for listing in archive.names("listings"):
        told = catalog.table_of(archive, f"listings/{listing}/listing.parquet").select(["key", "label"])
        for key, label in zip(*(column.to_pylist() for column in told.columns), strict=True):
            if label:
                content = content or dict(zip(latest["key"].to_pylist(), latest["sha256"].to_pylist(), strict=True))
                by_key[key].add(label)
                by_content[content.get(key, "")].add(label)
    found = (by_key.get(entry.key) or by_content.get(entry.sha256, set()) for entry in entries)
    return [next(iter(names)) if len(names) == 1 else None for names in found]


def _archive_columns(
    archive: Place, chosen: list[_Ready], ids: Sequence[str], labels: Sequence[str | None]
) -> Columns:  # fmt: skip
    """The catalog's facts, the source's own record, id and label."""
    found = {entry.key: entry for entry in catalog.find(archive, "key", [each.key for each in chosen])}
    entries = [found[each.key] for each in chosen]
    records = [json.loads(entry.record) for entry in entries]
    facts = [asdict(entry) for entry in entries]
    columns: dict[str, Sequence[object]] = {
        name: [fact[name] for fact in facts] for name in ("uri", "size", "sha256", "format", "width", "height", "mode")
    }
    for name in dict.fromkeys(key for record in records for key in record):
        columns[name] = [record.get(name) for record in records]
    return columns | {"row": range(len(ids)), "id": ids, "label": labels}


# Bare features


def _bare(
    source: str,
    place: Place,
    rows: Rows,
    ids: Sequence[str] | None,
    labels: Sequence[str | None] | None,
    columns: Callable[[], Columns] = dict,
) -> Table:
    """The table of bare features. Raises PlanError where ids or labels are of another number than the rows."""
    count, dimension = rows.shape
    if not count or not dimension:
        raise PlanError(f"{source}: has no features, its shape is {rows.shape}.")
    for what, values in (("ids", ids), ("labels", labels)):
        if values is not None and len(values) != count:
            raise PlanError(f"{source}: has {len(values)} {what} for {count} rows of features.")
    names = ids if ids is not None else [str(row) for row in range(count)]
    classes = labels if labels is not None else [None] * count
    return Table(
        source, rows, names, classes, np.arange(count), _files_digest(place, rows), _FILES,
        lambda: {**columns(), "row": range(count), "id": names, "label": classes},
    )  # fmt: skip


def _files_digest(place: Place, rows: Rows) -> str:
    """A digest of shape, type, and the names, sizes and times (in S3 the ETags) of a source's files."""
    found: list[list[object]] = []
    if place.remote:
        for key, facts in sorted(s3_filesystem().find(place.url, detail=True).items()):
            found.append([str(key).partition("/")[2], facts.get("size"), str(facts.get("ETag"))])
    else:
        for path in sorted(Path(place.url).rglob("*")) or [Path(place.url)]:
            if path.is_file():
                facts = path.stat()
                name = os.fsencode(path.relative_to(place.url)).decode("utf-8", "backslashreplace")
                found.append([name, facts.st_size, facts.st_mtime_ns])
    return digest.of_json([list(rows.shape), str(rows.dtype), found])


def _numpy(source: str, path: str) -> Table:
    """.npy, memory-mapped, or .npz."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays = None
        if not isinstance(loaded, np.ndarray):
            with loaded:
                arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise PlanError(f"{source}: cannot be read as NumPy's arrays: {_first_line(error)}.") from None
    if arrays is not None:
        return _of_arrays(source, Place.of(path), arrays, ArrayRows)
    return _bare(source, Place.of(path), _said(source, ArrayRows, loaded), None, None)


def _zarr(source: str, place: Place) -> Table:
    """A Zarr array, or a group of arrays."""
    import zarr

    try:
        found: Any = zarr.open(store=place.url, mode="r", storage_options=zarr_options(place))
        arrays = {"": found} if isinstance(found, zarr.Array) else dict(sorted(found.arrays()))
    except Exception as error:  # noqa: BLE001 - a foreign metadata document may make Zarr raise anything
        raise PlanError(f"{source}: cannot be read as Zarr: {_first_line(error)}.") from None
    for name, array in arrays.items():
        codecs = [*(getattr(array, "filters", None) or ()), *(getattr(array, "compressors", None) or ())]
        if any(getattr(codec, "codec_id", "") == "pickle" for codec in codecs):
            raise PlanError(f"{source}: {name or 'it'} is pickled, and nothing is ever unpickled.")

    def rows_of(array: Any, scale: npt.NDArray[Any] | None = None) -> Rows:
        rows = zarr_rows(array, scale)
        rows.read = _guarded(source, rows.read)
        return rows

    if "" in arrays:
        return _bare(source, place, _said(source, rows_of, arrays[""]), None, None)
    return _of_arrays(source, place, arrays, rows_of)


def _of_arrays(
    source: str, place: Place, arrays: Mapping[str, Any], rows_of: Callable[[Any, npt.NDArray[Any] | None], Rows]
) -> Table:
    """Arrays by name: `features` or the only one of two dimensions; `scale`, `ids`, `labels`, and fields (N,)."""
    flat = [name for name, array in arrays.items() if len(array.shape) == 2]
    if "features" not in arrays and len(flat) != 1:
        told = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items()) or "nothing"
        raise PlanError(
            f"{source}: needs an array `features` (N, d), or one and no more of two dimensions; it has {told}."
        )
    features = arrays["features" if "features" in arrays else flat[0]]
    scale = np.asarray(arrays["scale"][...]) if "scale" in arrays else None
    count = features.shape[0] if len(features.shape) else 0
    if scale is not None:
        if scale.dtype.kind not in "fiu" or scale.size not in (1, count) or not np.isfinite(scale).all():
            raise PlanError(
                f"{source}: `scale` must be {count} finite numbers or one, not {scale.shape} {scale.dtype}."
            )
        scale = np.broadcast_to(scale.reshape(-1), (count,))
    rest = [
        name for name, array in arrays.items()
        if tuple(array.shape) == (count,) and name not in ("features", "scale", "ids", "labels")
    ]  # fmt: skip
    return _bare(
        source, place, _said(source, lambda array: rows_of(array, scale), features),
        [text or "" for text in _texts(arrays["ids"])] if "ids" in arrays else None,
        _texts(arrays["labels"]) if "labels" in arrays else None,
        lambda: {name: np.asarray(arrays[name][...]).tolist() for name in rest},
    )  # fmt: skip


def _parquet(source: str, path: str) -> Table:
    """Parquet: a list column of features, or every numeric column; a chunk is a row group."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
        schema = file.schema_arrow
        header = [dict.fromkeys(schema.names, "")]
        identifier = sources.column(header, sources.ID_COLUMNS)
        if identifier is None:
            texts = [{f.name: "" for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)}]
            identifier = sources.column(texts, sources.PATH_COLUMNS)
        label = sources.column(header, sources.LABEL_COLUMNS)
        chosen, many = _feature_columns(source, schema, {identifier, label})

        def columns_of(names: Sequence[str]) -> dict[str, list[object]]:
            table = file.read(columns=list(names), use_threads=False)
            return {name: table.column(name).to_pylist() for name in names}

        known = columns_of([name for name in (identifier, label) if name])
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        dtype = _float_of(schema.field(name).type.value_type if many else schema.field(name).type for name in chosen)

        one = threading.Lock()  # a file is one reader, and a selection may ask from several threads

        def chunk(number: int) -> Features:
            with one:
                table = file.read_row_group(number, columns=chosen, use_threads=False)
            return _lists(table.column(0), dtype) if many else _columns(table, dtype)

        dimension = len(chosen)
        if many:
            kind = schema.field(chosen[0]).type
            fixed = pa.types.is_fixed_size_list(kind)
            dimension = kind.list_size if fixed else next((d for i in range(len(sizes)) if (d := chunk(i).shape[1])), 0)
    except PlanError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise PlanError(f"{source}: cannot be read as Parquet: {_first_line(error)}.") from None

    def read(number: int) -> Features:
        values = chunk(number)
        if not values.shape[1]:  # not one of its rows has a list
            return np.full((len(values), dimension), np.nan, dtype=dtype)
        if values.shape[1] != dimension:
            raise ValueError(f"its lists have {values.shape[1]} numbers, the first ones {dimension}")
        return values

    every = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes] or [np.empty(0, np.intp)])
    rows = ChunkedRows(dimension, dtype, every, place, _guarded(source, read))
    fields = [f.name for f in schema if not pa.types.is_nested(f.type) and not pa.types.is_binary(f.type)]
    return _bare(
        source, Place.of(path), rows, [_text(value) or "" for value in known[identifier]] if identifier else None,
        [_text(value) for value in known[label]] if label else None, lambda: columns_of(fields),
    )  # fmt: skip


def _feature_columns(source: str, schema: Any, told: set[str | None]) -> tuple[list[str], bool]:
    """The columns that are features, and whether it is one of lists."""
    lists = [
        f.name for f in schema
        if (pa.types.is_fixed_size_list(f.type) or pa.types.is_list(f.type) or pa.types.is_large_list(f.type))
        and _numeric(f.type.value_type)
    ]  # fmt: skip
    if lists:
        if "features" not in lists and len(lists) > 1:
            raise PlanError(f"{source}: has several columns of lists ({', '.join(lists)}); call one `features`.")
        return ["features" if "features" in lists else lists[0]], True
    numbers = [
        f.name for f in schema if _numeric(f.type) and f.name not in told and not f.name.startswith("__index_level_")
    ]
    if not numbers:
        raise PlanError(f"{source}: has no column of lists of numbers and no column of numbers; it has {schema.names}.")
    return numbers, False


def _numeric(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _float_of(kinds: Iterable[Any]) -> np.dtype[Any]:
    """A float type that holds them all; integers as float64."""
    names = ["float64" if pa.types.is_integer(kind) else kind.to_pandas_dtype() for kind in kinds]
    return np.result_type(*names)


def _lists(column: Any, dtype: np.dtype[Any]) -> Features:
    """Lists of equal length as an array (n, d); a row without a list, and a number that is null, are NaN."""
    array = column.combine_chunks()
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    lengths = np.asarray(array.value_lengths().to_numpy(zero_copy_only=False), dtype=np.float64)
    there = ~np.isnan(lengths)
    sizes = np.unique(lengths[there])
    if len(sizes) > 1:
        raise ValueError(f"its lists have different lengths, {int(sizes[0])} and {int(sizes[-1])} among them")
    dimension = int(sizes[0]) if len(sizes) else getattr(array.type, "list_size", 0)
    values = np.full((len(array), dimension), np.nan, dtype=dtype)
    flat = np.asarray(array.flatten().to_numpy(zero_copy_only=False), dtype=dtype)
    values[there] = flat.reshape(int(there.sum()), dimension)
    return values


def _columns(table: Any, dtype: np.dtype[Any]) -> Features:
    """Columns of numbers as an array (n, d); null is NaN."""
    values = np.empty((len(table), table.num_columns), dtype=dtype)
    for number, column in enumerate(table.columns):
        values[:, number] = column.to_numpy()
    return values


def _csv(source: str, path: str) -> Table:
    """CSV as the original reads it: comma separated, leading `#` lines are a header, a label, then numbers.

    An empty field is NaN. Labels that are all distinct are names: then they are the ids, and there are no classes.
    """
    from pyarrow import csv as arrow

    skipped, first = 0, ""
    try:
        with open(path, encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    first = line
                    break
                skipped += 1
        dimension = len(next(csv.reader([first]), [])) - 1
        if dimension < 1:
            raise PlanError(
                f"{source}: needs lines of a label and numbers, separated by commas; it has {first[:40]!r}."
            )
        numbers = [str(number) for number in range(1, dimension + 1)]
        table = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(
                use_threads=False, skip_rows=skipped, column_names=["label", *numbers],
                block_size=min(max(16 << 20, 8 * len(first)), 2**31 - 1),
            ),
            convert_options=arrow.ConvertOptions(
                column_types={"label": pa.binary(), **dict.fromkeys(numbers, pa.float64())},
                null_values=["", "nan", "NaN", "NAN"],
            ),
        )  # fmt: skip
    except (OSError, pa.ArrowException, csv.Error) as error:
        raise PlanError(
            f"{source}: cannot be read as lines of a label and numbers: {_first_line(error)[:200]}; "
            "header lines begin with #, and a list of images is for `interpdisc discover`."
        ) from None
    names = [bytes(label or b"").decode("utf-8", "backslashreplace").strip() for label in table.column(0).to_pylist()]
    values = _columns(table.select(numbers), np.dtype(np.float64))
    named = len(set(names)) == len(names)
    return _bare(
        source, Place.of(path), ArrayRows(values), names if named else None,
        None if named else [name or None for name in names],
    )  # fmt: skip


def _texts(array: Any) -> list[str | None]:
    return [_text(value) for value in np.asarray(array[...]).reshape(-1).tolist()]


def _text(value: object) -> str | None:
    """An id or a label as text; None where there is none."""
    if value is None or value != value or value in ("", b""):  # noqa: PLR0124 - NaN
        return None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _said(source: str, rows_of: Callable[[Any], Rows], array: Any) -> Rows:
    """The rows of an array; a PlanError says of which source."""
    try:
        return rows_of(array)
    except PlanError as error:
        raise PlanError(f"{source}: {error}") from None


def _guarded(source: str, read: Callable[[int], Features]) -> Callable[[int], Features]:
    """The same function, whose errors are sentences."""

    def guarded(number: int) -> Features:
        try:
            return read(number)
        except Exception as error:
            raise StoreError(f"{source}: chunk {number} cannot be read: {_first_line(error)}.") from error

    return guarded


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


# Rows of other rows


def _part(rows: Rows, which: Index) -> Rows:
    if isinstance(rows, ChunkedRows):  # so that what lies in one chunk is still read once
        return ChunkedRows(
            rows.shape[1], rows.dtype, rows.chunk_of[which], rows.row_of[which], rows.read, decode=rows.decode,
            keep=rows.keep,
        )  # fmt: skip
    return PartRows(rows, which)
