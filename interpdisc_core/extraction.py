"""Extraction: the images of one block to their features. Decoding and the network overlap."""

import itertools
import logging
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from interpdisc_core import catalog, digest, sources
from interpdisc_core.errors import Unreadable
from interpdisc_core.features import Batch, Block, FeatureStore
from interpdisc_core.images import Pixels, decode
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.representations.runtime import describe
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

BATCH = 32
"""Images that go through the network at a time."""
_DECODERS = 2


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
    images, copies = enumerate(_prepared(plan, rows)), _Copies(archive, plan)
    while group := list(itertools.islice(images, BATCH)):
        group = [(row, copies.instead(rows[row], image)) for row, image in group]
        good = [(row, image) for row, image in group if not isinstance(image, Unreadable)]
        failed.update({row: image for row, image in group if isinstance(image, Unreadable)})
        features = embed(np.stack([image for _, image in good])) if good else None
        if features is not None:
            if values is None:
                values = np.full((len(rows), features.shape[1]), np.nan, dtype=np.float32)
            values[[row for row, _ in good]] = features
        meter.add(len(group))
    if values is None:  # not one image of the block could be read: the dimension must come from elsewhere
        blank = embed(np.zeros((1, plan.representation.side, plan.representation.side, 3), dtype=np.uint8))
        values = np.full((len(rows), blank.shape[1]), np.nan, dtype=np.float32)
    if failed:
        _quarantine(archive, plan, block, turn, {rows[row]["sha256"]: error for row, error in failed.items()})
    store.create(batch, values.shape[1])
    reasons = {start + row: str(error) for row, error in failed.items()}
    store.write(batch, block.number, values, reasons, describe(embed))
    meter.close()
    seconds = time.monotonic() - began
    log.info("block %d.%d: %d images in %.1f s (%.0f images/s)", *block, len(rows), seconds, len(rows) / seconds)
    return Receipt(block, len(rows), len(failed), seconds, describe(embed))


def _prepared(plan: Plan, rows: list[dict[str, str]]) -> Iterator[Pixels | Unreadable]:
    """Images in order, read and decoded ahead of their use by a few batches at most."""

    def one(row: dict[str, str]) -> Pixels | Unreadable:
        try:
            return prepared(plan, row["uri"], row["sha256"])
        except Unreadable as error:
            return error

    ahead: deque[Future[Pixels | Unreadable]] = deque()
    with ThreadPoolExecutor(_DECODERS) as pool:
        for row in rows:
            ahead.append(pool.submit(one, row))
            if len(ahead) > 3 * BATCH:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def pixels(uri: str, sha256: str, at_least: int | None = None) -> Pixels:
    """Read and decode an input (h, w, 3) uint8. Raises Unreadable, also where it is not the file that was listed."""
    data = sources.read(uri)
    if digest.of_bytes(data) != sha256:
        error = Unreadable("changed since it was listed")
        error.access = True  # listing it again takes it as a new version
        raise error
    return decode(data, at_least=at_least)


def prepared(plan: Plan, uri: str, sha256: str) -> Pixels:
    """An input as the plan's representation takes it, (side, side, 3) uint8. Raises Unreadable."""
    side = plan.representation.side
    image: Pixels = plan.representation.prepare(pixels(uri, sha256, at_least=side))
    return image


class _Copies:
    """Other inputs that hold, or held, the contents of a block; the catalog is read when the first is asked for."""

    def __init__(self, archive: Place, plan: Plan) -> None:
        self.archive, self.plan = archive, plan
        self.uris: dict[str, set[str]] | None = None

    def instead(self, row: dict[str, str], image: Pixels | Unreadable) -> Pixels | Unreadable:
        """The image; where it cannot be got at, the same content from elsewhere."""
        if not isinstance(image, Unreadable) or not image.access:
            return image
        if self.uris is None:
            self.uris = {}
            for entry in catalog.load(self.archive).values():
                if entry.sha256:
                    self.uris.setdefault(entry.sha256, set()).add(entry.uri)
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
    for entry in catalog.load(archive).values():
        if (error := failed.get(entry.sha256)) is None:
            continue
        # All of them whatever they are by now: after a kill this part is written again, and must be the same.
        if entry.status == "superseded-by":
            events.append(replace(entry, batch=-1, row=-1))
        else:
            events.append(entry.now("quarantined", str(error), access=error.access, batch=-1, row=-1))
    catalog.write_part(archive, turn, f"extract-{plan.features}-{block.batch:06d}-{block.number:06d}", events)
