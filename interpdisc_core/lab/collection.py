"""The labelled collection of a study: its images, their classes, and what else is known of them."""

import json
import posixpath
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from interpdisc_core import catalog, digest, sources
from interpdisc_core.errors import PlanError
from interpdisc_core.features import Block, FeatureStore, rows_of
from interpdisc_core.ingest import admitted, unextracted
from interpdisc_core.lab.trials import Index, Labelled
from interpdisc_core.plan import Plan
from interpdisc_core.representations import features_of
from interpdisc_core.runs import Inputs, Member
from interpdisc_core.storage import Place


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` found. name: of the collection in the archive. turn: of the catalog, for what is quarantined later."""

    name: str
    images: int
    labelled: int
    classes: int
    turn: int


@dataclass(frozen=True)
class Collection:
    """A study's images, each content once, in order of id. records: what is known of each, by field."""

    name: str
    members: list[Member]
    records: list[dict[str, str]]

    @cached_property
    def about(self) -> Labelled:
        """Ids, labels and columns for expressions."""
        columns: dict[str, Any] = {
            field: [record.get(field) for record in self.records]
            for field in dict.fromkeys(field for record in self.records for field in record)
        }
        ids, labels = [member.id for member in self.members], [member.label for member in self.members]
        return Labelled(ids, labels, columns | {"uri": [m.uri for m in self.members], "id": ids, "label": labels})


def collect(url: str, listing: str, inputs: Inputs, block: int, workers: int) -> Collected:
    """Settle a listing and keep who is in it. Raises PlanError where none of the inputs is an image."""
    archive = Place.of(url)
    members = [member for member in admitted(url, listing, block, workers) if member.role == "candidate"]
    told = _told(inputs.labels)
    records = [
        json.loads(member.record or "{}") | (told.get(member.id) or told.get(posixpath.basename(member.id)) or {})
        for member in members
    ]
    if not members:
        raise PlanError(f"{', '.join(inputs.sources)}: none of the inputs is an image; `interpdisc verify` says why.")
    classes = {member.label for member in members if member.label}
    name = digest.of_json([[[m.id, m.sha256, m.label, record] for m, record in zip(members, records, strict=True)]])
    rows = [
        asdict(member) | {"record": json.dumps(record)} for member, record in zip(members, records, strict=True)
    ]  # fmt: skip
    (archive / "lab").write(f"collections/{name}.parquet", catalog.parquet(pa.Table.from_pylist(rows)))
    return Collected(
        name, len(members), sum(bool(m.label) for m in members), len(classes), catalog.next_turn(archive)
    )  # fmt: skip


def read(url: str, name: str) -> Collection:
    """The collection of that name."""
    rows = catalog.table_of(Place.of(url) / "lab", f"collections/{name}.parquet").to_pylist()
    return Collection(name, [Member(**row) for row in rows], [json.loads(row["record"]) for row in rows])


def left(url: str, name: str, representations: Iterable[Any]) -> tuple[list[tuple[Plan, Block]], int]:
    """The blocks of which features are not there yet, each with a plan to extract it by; and how many images these are."""
    members, parts, total = read(url, name).members, [], 0
    for representation in {features_of(spec): spec for spec in representations}.values():
        store = _store(url, representation)
        store.describe(representation)
        blocks, images = unextracted(store, members)
        parts += [(Plan(representation=representation), block) for block in blocks]
        total += images
    return parts, total


def has_features(url: str, members: list[Member], representation: Any) -> npt.NDArray[np.bool_]:
    """Which members have features (n,). Raises StoreError where a block is not extracted yet."""
    return rows_of(_store(url, representation), [(m.batch, m.row) for m in members])[1]


def features(url: str, members: list[Member], representation: Any) -> npt.NDArray[np.float32]:
    """The features (n, d) float32 of members that all have some."""
    rows, _ = rows_of(_store(url, representation), [(m.batch, m.row) for m in members])
    values: npt.NDArray[np.float32] = rows.get(np.arange(rows.shape[0]))
    return values


def everyone(url: str, collection: Collection, representations: dict[str, Any]) -> Index:
    """Rows of the collection that have features in all of the representations, so that all are compared on the same."""
    there = np.ones(len(collection.members), dtype=bool)
    for representation in representations.values():
        there &= has_features(url, collection.members, representation)
    return np.flatnonzero(there)


def _store(url: str, representation: Any) -> FeatureStore:
    return FeatureStore(Place.of(url), features_of(representation))


def _told(labels: str) -> dict[str, dict[str, str]]:
    """The other columns of a table of labels, by the name of the image."""
    if labels in ("", "folder"):
        return {}
    table = [{sources.shown(k): sources.shown(v) for k, v in row.items()} for row in sources.read_table(labels)]
    name = sources.column(table, sources.ID_COLUMNS + sources.PATH_COLUMNS)
    return {row[name]: row for row in table} if name else {}
