"""The labeled collection of a study: its images, their classes, and their metadata."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from interpdisc_core import digest
from interpdisc_core._types import IndexArray
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import BlockId
from interpdisc_core.archive.feature_store import FeatureStore, open_feature_rows
from interpdisc_core.archive.run import RunInputs, RunMember
from interpdisc_core.errors import PlanError
from interpdisc_core.evaluation.sampling import ImageTable
from interpdisc_core.pipeline.assign_rows import find_missing_blocks, members_of_listing
from interpdisc_core.pipeline.labels import load_label_rows
from interpdisc_core.plan import Plan
from interpdisc_core.representations import digest_features
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import encode_parquet, read_parquet


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A collection in an archive.

    Attributes:
        name: In the archive.
        images: Different contents.
        labeled: Images with a label.
        classes: Different labels.
        sequence: Number of the catalog's next part, for images that are quarantined later.
    """

    name: str
    images: int
    labeled: int
    classes: int
    sequence: int


@dataclass(frozen=True)
class LabeledDataset:
    """A study's images, each content once, in order of id, and the metadata of each by field (records)."""

    name: str
    members: list[RunMember]
    records: list[dict[str, str]]

    @cached_property
    def table(self) -> ImageTable:
        """Ids, labels, and the columns of expressions."""
        columns: dict[str, Any] = {
            field: [record.get(field) for record in self.records]
            for field in dict.fromkeys(field for record in self.records for field in record)
        }
        ids, labels = [member.id for member in self.members], [member.label for member in self.members]
        return ImageTable(ids, labels, columns | {"uri": [m.uri for m in self.members], "id": ids, "label": labels})


def collect_images(url: str, listing: str, inputs: RunInputs, block: int, workers: int) -> DatasetSummary:
    """Assign rows to the images of a listing, and write them with labels and metadata as a collection.

    Args:
        url: The archive.
        listing: Name of the listing; see `interpdisc_core.pipeline.ingest.list_inputs`.
        inputs: What was listed, and its labels.
        block: Images of a block of features.
        workers: How many workers the images are spread over.

    Raises:
        PlanError: If none of the inputs is an image.
    """
    archive = Location.parse(url)
    members = [member for member in members_of_listing(url, listing, block, workers) if member.role == "candidate"]
    if not members:
        raise PlanError(f"{', '.join(inputs.sources)}: none of the inputs is an image; `interpdisc verify` says why.")
    rows_by_id = load_label_rows(inputs.labels, [m.id for m in members], [m.uri for m in members]).by_id
    records = [json.loads(m.record or "{}") | _merge_rows(rows_by_id.get(m.id, [])) for m in members]
    classes = {member.label for member in members if member.label}
    name = digest.digest_json([[[m.id, m.sha256, m.label, record] for m, record in zip(members, records, strict=True)]])
    rows = [asdict(member) | {"record": json.dumps(record)} for member, record in zip(members, records, strict=True)]
    (archive / "lab").write(f"collections/{name}.parquet", encode_parquet(pa.Table.from_pylist(rows)))
    return DatasetSummary(
        name, len(members), sum(bool(m.label) for m in members), len(classes), catalog.next_sequence(archive)
    )


def read_dataset(url: str, name: str) -> LabeledDataset:
    """Read a collection by its name; see `DatasetSummary`."""
    rows = read_parquet(Location.parse(url) / "lab", f"collections/{name}.parquet").to_pylist()
    return LabeledDataset(name, [RunMember(**row) for row in rows], [json.loads(row["record"]) for row in rows])


def list_missing_blocks(url: str, name: str, representations: Iterable[Any]) -> tuple[list[tuple[Plan, BlockId]], int]:
    """The blocks whose features are missing, each with a plan to extract it by; and their number of images."""
    members, missing, total = read_dataset(url, name).members, [], 0
    for representation in {digest_features(spec): spec for spec in representations}.values():
        store = _open_feature_store(url, representation)
        store.write_spec(representation)
        blocks, images = find_missing_blocks(store, members)
        missing += [(Plan(representation=representation), block) for block in blocks]
        total += images
    return missing, total


def has_features(url: str, members: list[RunMember], representation: Any) -> npt.NDArray[np.bool_]:
    """Which members have features (n,).

    Raises:
        StoreError: If a block is not extracted yet.
    """
    return open_feature_rows(_open_feature_store(url, representation), [(m.batch, m.row) for m in members])[1]


def read_features(url: str, members: list[RunMember], representation: Any) -> npt.NDArray[np.float32]:
    """The features (n, d) float32 of members that all have features."""
    rows, _ = open_feature_rows(_open_feature_store(url, representation), [(m.batch, m.row) for m in members])
    values: npt.NDArray[np.float32] = rows.get(np.arange(rows.shape[0]))
    return values


def rows_with_all_features(url: str, dataset: LabeledDataset, representations: dict[str, Any]) -> IndexArray:
    """Rows (n,) of the collection with features in all representations, so that all are compared on the same images."""
    has_all = np.ones(len(dataset.members), dtype=bool)
    for representation in representations.values():
        has_all &= has_features(url, dataset.members, representation)
    return np.flatnonzero(has_all)


def _open_feature_store(url: str, representation: Any) -> FeatureStore:
    return FeatureStore(Location.parse(url), digest_features(representation))


def _merge_rows(rows: list[dict[str, str]]) -> dict[str, str]:
    """The values on which all rows of an image agree."""
    return {key: value for key, value in rows[0].items() if all(row[key] == value for row in rows)} if rows else {}
