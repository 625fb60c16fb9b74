"""Features from arrays: NumPy's .npy (memory-mapped) and .npz, and Zarr. Nothing is ever unpickled."""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError, one_line
from interpdisc_core.pipeline.bare_features import build_bare_table, name_read_errors, to_text
from interpdisc_core.pipeline.feature_columns import FeatureColumns
from interpdisc_core.pipeline.feature_table import FeatureTable
from interpdisc_core.pipeline.zarr_chunks import ADVICE, MissingRows, check_chunk_reads, find_missing_rows
from interpdisc_core.selectors.rows import ArrayRows, Rows, open_zarr_rows
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.zarr_store import get_zarr_store


def read_numpy(source: str, path: str) -> FeatureTable:
    """.npy, memory-mapped, or .npz."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays = None
        if not isinstance(loaded, np.ndarray):
            with loaded:
                arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise PlanError(f"{source}: cannot be read as NumPy's arrays: {one_line(error)}.") from None
    if arrays is not None:
        return _read_arrays(source, Location.parse(path), arrays, ArrayRows)
    return build_bare_table(source, Location.parse(path), _open_array_rows(source, ArrayRows, loaded), None, None)


def read_zarr(source: str, location: Location) -> FeatureTable:
    """A Zarr array, or a group of arrays."""
    import zarr

    try:
        node: Any = zarr.open(**get_zarr_store(location), mode="r")
        arrays = {"": node} if isinstance(node, zarr.Array) else dict(sorted(node.arrays()))
    except Exception as error:  # noqa: BLE001 - a foreign metadata document may make Zarr raise anything
        raise PlanError(f"{source}: cannot be read as Zarr: {one_line(error)}.") from None
    for name, array in arrays.items():
        codecs = [*(getattr(array, "filters", None) or ()), *(getattr(array, "compressors", None) or ())]
        if any(getattr(codec, "codec_id", "") == "pickle" for codec in codecs):
            raise PlanError(f"{source}: {name or 'it'} is pickled; pickled data is never read.")

    def open_rows(array: Any, scale: npt.NDArray[Any] | None = None) -> Rows:
        rows = open_zarr_rows(array, scale)
        rows.read_chunk = name_read_errors(source, check_chunk_reads(array, rows.read_chunk))
        return rows

    names = set(location.list_tree())
    missing_rows = {
        name: is_missing
        for name, array in arrays.items()
        if array.shape and (is_missing := find_missing_rows(array, names)).any()
    }
    if "" not in arrays:
        return _read_arrays(source, location, arrays, open_rows, missing_rows)
    table = build_bare_table(source, location, _open_array_rows(source, open_rows, arrays[""]), None, None)
    return _drop_missing_rows(table, missing_rows[""]) if missing_rows else table


def _drop_missing_rows(table: FeatureTable, is_missing: MissingRows) -> FeatureTable:
    """The table without rows whose features are missing. Raises PlanError if none is left."""
    sentence = f"{is_missing.sum():,} of {len(is_missing):,} rows are in chunks that are missing"
    if is_missing.all():
        raise PlanError(f"{table.name}: {sentence}; {ADVICE}.")
    note = f"{table.name}: {sentence}, and are left out; {ADVICE}"
    return replace(table.take_rows(np.flatnonzero(~is_missing)), notes=(*table.notes, note))


def _read_arrays(
    source: str,
    location: Location,
    arrays: Mapping[str, Any],
    open_rows: Callable[[Any, npt.NDArray[Any] | None], Rows],
    missing_rows: Mapping[str, MissingRows] = {},
) -> FeatureTable:
    """The table of named arrays: `features` or the only 2-D array; optionally `scale`, `ids`, `labels` and fields (N,)."""
    matrix_names = [name for name, array in arrays.items() if len(array.shape) == 2]
    if "features" not in arrays and len(matrix_names) != 1:
        descriptions = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items()) or "nothing"
        raise PlanError(f"{source}: needs an array `features` (N, d), or exactly one 2-D array; it has {descriptions}.")
    features_name = "features" if "features" in arrays else matrix_names[0]
    features = arrays[features_name]
    for name in ("scale", "ids"):
        if name in missing_rows:
            raise PlanError(f"{source}: `{name}` is incomplete: some of its chunks are missing; {ADVICE}.")
    scale = np.asarray(arrays["scale"][...]) if "scale" in arrays else None
    count = features.shape[0] if len(features.shape) else 0
    if scale is not None:
        if scale.dtype.kind not in "fiu" or scale.size not in (1, count) or not np.isfinite(scale).all():
            raise PlanError(
                f"{source}: `scale` must be {count} finite numbers or one, not {scale.shape} {scale.dtype}."
            )
        scale = np.broadcast_to(scale.reshape(-1), (count,))
    field_names = [
        name
        for name, array in arrays.items()
        if tuple(array.shape) == (count,) and name not in ("features", "scale", "ids", "labels")
    ]
    table = build_bare_table(
        source,
        location,
        _open_array_rows(source, lambda array: open_rows(array, scale), features),
        [text or "" for text in _to_texts(arrays["ids"])] if "ids" in arrays else None,
        _to_texts(arrays["labels"]) if "labels" in arrays else None,
        lambda: {name: np.asarray(arrays[name][...]).tolist() for name in field_names},
        FeatureColumns((features_name,)),
    )
    notes = tuple(
        f"{source}: `{name}` of {is_missing.sum():,} rows is in chunks that are missing, and counts as its fill value"
        for name, is_missing in missing_rows.items()
        if name in (*field_names, "labels")
    )
    table = replace(table, notes=(*table.notes, *notes))
    return _drop_missing_rows(table, missing_rows[features_name]) if features_name in missing_rows else table


def _open_array_rows(source: str, open_rows: Callable[[Any], Rows], array: Any) -> Rows:
    """The rows of an array; a PlanError names the source."""
    try:
        return open_rows(array)
    except PlanError as error:
        raise PlanError(f"{source}: {error}") from None


def _to_texts(array: Any) -> list[str | None]:
    return [to_text(value) for value in np.asarray(array[...]).reshape(-1).tolist()]
