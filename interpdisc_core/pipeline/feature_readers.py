"""Reads the feature table of any source: an archive, or a file or Zarr folder of features that a user brings.

The rows stay where they are and are read when needed, but for CSV and .npz, which are read at once.
"""

import glob
from pathlib import Path

from interpdisc_core.errors import PlanError
from interpdisc_core.pipeline.archive_features import read_archive_features
from interpdisc_core.pipeline.array_features import read_numpy, read_zarr
from interpdisc_core.pipeline.feature_table import FeatureTable
from interpdisc_core.pipeline.table_features import read_csv_features, read_parquet_features
from interpdisc_core.storage.location import Location

FEATURE_FILE_SUFFIXES = (".npy", ".npz", ".parquet", ".pq", ".csv")
"""Suffixes of files of features; a Zarr folder is recognized by its files."""
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def read_feature_table(source: str, features: str = "") -> FeatureTable:
    """Open the features of a source.

    Args:
        source: Path or s3:// address of an archive, of a Zarr array or group, or path of a file of features.
        features: The representation of an archive: its name, the beginning of its name, or its kind; empty if there is
            only one.

    Raises:
        PlanError: If the source is none of these, or its content is not usable.
        StoreError: If an archive is damaged.

    Example:
        >>> import tempfile, numpy
        >>> path = Path(tempfile.mkdtemp()) / "features.npy"
        >>> numpy.save(path, numpy.eye(3))
        >>> read_feature_table(str(path)).rows.shape
        (3, 3)
    """
    location = Location.parse(source)
    if not location.is_remote and Path(location.url).is_file():
        suffix = Path(location.url).suffix.lower()
        if suffix not in FEATURE_FILE_SUFFIXES:
            raise PlanError(
                f"{source}: features are files that end in {', '.join(FEATURE_FILE_SUFFIXES)}, Zarr, or an archive."
            )
        table = {".csv": read_csv_features, ".parquet": read_parquet_features, ".pq": read_parquet_features}.get(
            suffix, read_numpy
        )(source, location.url)
    elif location.exists("archive.json"):
        return read_archive_features(source, location, features)
    elif any(location.exists(name) for name in _ZARR_FILES):
        table = read_zarr(source, location)
    elif location.is_remote:
        raise PlanError(
            f"{source}: neither an archive nor Zarr; only these are read from S3, so copy a file here first."
        )
    elif Path(location.url).is_dir():
        raise PlanError(
            f"{source}: neither an archive (archive.json) nor Zarr; `interpdisc discover` computes the features of images."
        )
    else:
        raise PlanError(
            f"{source}: no such file or folder{'; give a single SOURCE' if glob.has_magic(source) else ''}."
        )
    if features:
        raise PlanError(f"{source}: --features chooses a representation of an archive, and this is no archive.")
    return table
