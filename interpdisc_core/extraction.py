"""Extraction: the images of one block to their features. Decoding and the network overlap."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from interpdisc_core import catalog, frames
from interpdisc_core.artefacts import reasons
from interpdisc_core.embedding import ahead, dimension, vectors
from interpdisc_core.errors import Unreadable
from interpdisc_core.features import Batch, Block, FeatureStore
from interpdisc_core.images import Pixels
from interpdisc_core.ingest import looked_at
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.representations.runtime import describe
from interpdisc_core.storage import Place
from interpdisc_core.tiles import parted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one block. seconds: wall time it took; 0 where it was there already."""

    block: Block
    images: int
    failed: int
    seconds: float
    runtime: str


def extract(url: str, plan: Plan, block: Block, turn: int, watch: Watch) -> Receipt:
    """Compute and keep the features of one block of images; a block that is complete is left alone.

    An image that cannot be read or decoded gets a row of NaN and is quarantined with the reason; nothing about an
    image's content raises. Raises WeightsError and StoreError.
    """
    archive = Place.of(url)
    store, batch = FeatureStore(archive, plan.features), Batch.read(archive, block.batch)
    start, stop = batch.rows(block.number)
    if block.number in store.done(block.batch):
        record = store.record(block)
        return Receipt(block, stop - start, len(record.failed), 0.0, record.runtime)
    began = time.monotonic()
    embed = plan.representation.load()
    meter = watch.meter("extract", f"{block.batch}-{block.number}")
    rows = batch.table.slice(start, stop - start).to_pylist()
    values: np.ndarray | None = None
    failed: dict[int, Unreadable] = {}
    copies = _Copies(archive, plan, rows)
    artefacts: dict[int, str] = {}

    def images() -> Iterator[Pixels | Unreadable]:
        for row, image in enumerate(ahead(partial(_attempt, plan), rows)):
            image = copies.instead(rows[row], image)
            if not isinstance(image, Unreadable) and (why := reasons(image, whole=parted(rows[row]["uri"])[1] is None)):
                artefacts[start + row] = ", ".join(why)
            yield image

    for row, found in enumerate(vectors(embed, images())):
        if isinstance(found, Unreadable):
            failed[row] = found
        else:
            if values is None:
                values = np.full((len(rows), len(found)), np.nan, dtype=np.float32)
            values[row] = found
        meter.add(1)
    if values is None:  # not one image of the block could be read
        values = np.full((len(rows), dimension(plan.representation, embed)), np.nan, dtype=np.float32)
    if failed:
        _quarantine(archive, plan, block, turn, {rows[row]["sha256"]: error for row, error in failed.items()})
    store.create(batch, values.shape[1])
    unread = {start + row: str(error) for row, error in failed.items()}
    store.write(batch, block.number, values, unread, describe(embed), artefacts)
    meter.close()
    seconds = time.monotonic() - began
    log.info("block %d.%d: %d images in %.1f s (%.0f images/s)", *block, len(rows), seconds, len(rows) / seconds)
    return Receipt(block, len(rows), len(failed), seconds, describe(embed))


def _attempt(plan: Plan, row: dict[str, str]) -> Pixels | Unreadable:
    try:
        return prepared(plan, row["uri"], row["sha256"])
    except Unreadable as error:
        return error


def pixels(uri: str, sha256: str, at_least: int | None = None) -> Pixels:
    """Read and decode an input, a frame or a tile (h, w, 3) uint8: see `interpdisc_core.frames`. Raises Unreadable."""
    return frames.pixels(uri, sha256, at_least)


def prepared(plan: Plan, uri: str, sha256: str) -> Pixels:
    """An input as the plan's representation takes it, (side, side, 3) uint8. Raises Unreadable."""
    side = plan.representation.side
    image: Pixels = plan.representation.prepare(pixels(uri, sha256, at_least=side))
    return image


class _Copies:
    """Other inputs that hold, or held, the contents of a block; the catalog is read when the first is asked for."""

    def __init__(self, archive: Place, plan: Plan, rows: list[dict[str, str]]) -> None:
        self.archive, self.plan, self.rows = archive, plan, rows
        self.uris: dict[str, set[str]] | None = None

    def instead(self, row: dict[str, str], image: Pixels | Unreadable) -> Pixels | Unreadable:
        """The image; where it cannot be got at, the same content from elsewhere."""
        if not isinstance(image, Unreadable) or not image.access:
            return image
        if self.uris is None:
            self.uris = {}
            for entry in catalog.load(self.archive).values():
                if entry.sha256:
                    self.uris.setdefault(entry.sha256, set()).add(looked_at(entry))
        for uri in sorted(self.uris.get(row["sha256"], set()) - {row["uri"]}):
            try:
                return prepared(self.plan, uri, row["sha256"])
            except Unreadable as error:
                if not error.access:
                    return error
        return image


def _quarantine(archive: Place, plan: Plan, block: Block, turn: int, failed: dict[str, Unreadable]) -> None:
    """Every input of these contents (by sha256), none of which could be read; the contents lose their rows."""
    events = []
    for entry in catalog.find(archive, "sha256", failed):
        error = failed[entry.sha256]
        # All of them whatever they are by now: after a kill this part is written again, and must be the same.
        if entry.status == "superseded-by":
            events.append(replace(entry, batch=-1, row=-1))
        else:
            events.append(entry.now("quarantined", str(error), access=error.access, batch=-1, row=-1))
    catalog.write_part(archive, turn, f"extract-{plan.features}-{block.batch:06d}-{block.number:06d}", events)
