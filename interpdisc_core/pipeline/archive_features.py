"""The features of an archive as a table for a selection without images."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core import digest
from interpdisc_core.archive import catalog
from interpdisc_core.archive.feature_store import FeatureStore, find_row_blocks, open_feature_rows
from interpdisc_core.archive.layout import check_format
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.metadata.expressions import Columns
from interpdisc_core.pipeline.feature_table import FeatureTable
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import read_parquet


class _ReadyImage(NamedTuple):
    """What a selection needs of an input. Its record, which is larger, stays in the catalog."""

    id: str
    key: str
    uri: str
    sha256: str
    batch: int
    row: int


def read_archive_features(source: str, archive: Location, features: str) -> FeatureTable:
    """The features of an archive's ready images, in order of id.

    Args:
        source: The archive as the user gave it, for messages.
        archive: The archive.
        features: The representation: its name, the beginning of its name, or its kind; empty if there is only one.

    Raises:
        PlanError: If the representation is not clear, or no image has its features yet.
        StoreError: If there is no archive, or it is damaged.
    """
    check_format(archive)
    catalog_table = catalog.read_latest(archive, [*_ReadyImage._fields, "status"])
    store = FeatureStore(archive, _find_store_name(source, archive, features))
    ready_rows = catalog_table.filter(
        pc.and_(pc.equal(catalog_table["status"], "ready"), pc.greater_equal(catalog_table["row"], 0))
    )
    values = (ready_rows[name].to_pylist() for name in _ReadyImage._fields)
    ready_images = sorted(_ReadyImage(*fields) for fields in zip(*values, strict=True))
    row_blocks = find_row_blocks(archive, [(entry.batch, entry.row) for entry in ready_images])
    complete_blocks = row_blocks.find_complete(store)
    candidates = [
        entry for entry, block in zip(ready_images, row_blocks.block_of_row, strict=True) if block in complete_blocks
    ]
    rows, has_vector = open_feature_rows(store, [(e.batch, e.row) for e in candidates])
    images = [e for e, is_present in zip(candidates, has_vector, strict=True) if is_present]
    if not images:
        raise PlanError(f"{source}: none of its {len(ready_images)} ready images has features of {store.name[:8]} yet.")
    blocks = find_row_blocks(archive, [(entry.batch, entry.row) for entry in images]).blocks
    labels = _read_archive_labels(archive, catalog_table, images)
    ids = _make_unique_ids(images)
    identity = digest.digest_json(
        [store.name, [e.sha256 for e in images], [store.read_record(block).sha256 for block in blocks]]
    )
    missing = len(ready_images) - len(images)
    note = f"{missing} of {len(ready_images)} ready images have no such features and are left out"
    return FeatureTable(
        name=source,
        rows=rows,
        ids=ids,
        labels=labels,
        numbers=np.arange(len(images)),
        identity=identity,
        identity_source="hashes of images and feature blocks",
        columns=lambda: _read_archive_columns(archive, images, ids, labels),
        features=store.name,
        notes=(note,) if missing else (),
    )


def _find_store_name(source: str, archive: Location, prefix: str) -> str:
    """The name of one of an archive's feature folders."""
    specs: dict[str, dict[str, Any]] = {}
    for name in archive.list_folders("features"):
        try:
            specs[name] = archive.read_checked_json(f"features/{name}/spec.json")
        except FileNotFoundError:
            raise StoreError(f"{source}: features/{name} has no spec.json; `interpdisc verify` says more.") from None
    descriptions = "; ".join(f"{name} ({_format_spec(spec)})" for name, spec in specs.items())
    if not specs:
        raise PlanError(f"{source}: has no features yet; `interpdisc discover` computes them.")
    matches = [
        name for name, spec in specs.items() if not prefix or name.startswith(prefix) or spec.get("kind") == prefix
    ]
    matches = [prefix] if prefix in specs else matches  # the name of float16 features begins with that of float32
    if len(matches) != 1:
        problem = f"{prefix!r} names {len(matches)} of its" if prefix else "choose with --features NAME one of its"
        raise PlanError(f"{source}: {problem} {len(specs)} representations: {descriptions}.")
    return matches[0]


def _format_spec(spec: dict[str, Any]) -> str:
    rest = [f"{key} {value}" for key, value in sorted(spec.items()) if key != "kind" and value not in ("", None)]
    return ", ".join([str(spec.get("kind", "?")), *rest])


def _make_unique_ids(entries: list[_ReadyImage]) -> list[str]:
    """Ids; if two sources use the same id for different images, the later one gets a suffix, as in a run."""
    used_ids: set[str] = set()
    ids = []
    for entry in entries:
        ids.append(
            entry.id if entry.id not in used_ids else f"{entry.id}@{digest.digest_bytes(entry.uri.encode())[:8]}"
        )
        used_ids.add(ids[-1])
    return ids


def _read_archive_labels(archive: Location, latest: pa.Table, entries: list[_ReadyImage]) -> list[str | None]:
    """The class that all runs give an image, or else its duplicates; None if there is none or they disagree."""
    by_key: dict[str, set[str]] = defaultdict(set)
    by_content: dict[str, set[str]] = defaultdict(set)
    content_by_key: dict[str, str] = {}
    for listing in archive.list_folders("listings"):
        listing_table = read_parquet(archive, f"listings/{listing}/listing.parquet").select(["key", "label"])
        for key, label in zip(*(column.to_pylist() for column in listing_table.columns), strict=True):
            if label:
                content_by_key = content_by_key or dict(
                    zip(latest["key"].to_pylist(), latest["sha256"].to_pylist(), strict=True)
                )
                by_key[key].add(label)
                by_content[content_by_key.get(key, "")].add(label)
    label_sets = (by_key.get(entry.key) or by_content.get(entry.sha256, set()) for entry in entries)
    return [next(iter(names)) if len(names) == 1 else None for names in label_sets]


def _read_archive_columns(
    archive: Location, images: list[_ReadyImage], ids: Sequence[str], labels: Sequence[str | None]
) -> Columns:
    """The fields for expressions: the catalog's facts, the source's own record, id and label."""
    entries_by_key = {
        entry.key: entry for entry in catalog.find_entries(archive, "key", [image.key for image in images])
    }
    entries = [entries_by_key[image.key] for image in images]
    records = [json.loads(entry.record) for entry in entries]
    facts = [asdict(entry) for entry in entries]
    columns: dict[str, Sequence[object]] = {
        name: [fact[name] for fact in facts] for name in ("uri", "size", "sha256", "format", "width", "height", "mode")
    }
    for name in dict.fromkeys(key for record in records for key in record):
        columns[name] = [record.get(name) for record in records]
    return columns | {"row": range(len(ids)), "id": ids, "label": labels}
