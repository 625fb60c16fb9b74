"""Extraction: the images of a block to features. Images are decoded while the network runs."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from interpdisc_core._types import PixelArray
from interpdisc_core.archive import catalog
from interpdisc_core.archive.batches import Batch, BlockId
from interpdisc_core.archive.catalog import pixel_uri
from interpdisc_core.archive.crashes import KnownCrashes
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.errors import Unreadable
from interpdisc_core.images.artefacts import find_artefacts
from interpdisc_core.images.isolated_map import ProcessDeath, map_isolated
from interpdisc_core.images.uri_fragments import split_tile_uri
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations.batching import (
    embed_minibatches,
    load_network_input,
    measure_dimension,
    prefetch_map,
)
from interpdisc_core.representations.runtime import describe_runtime
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BlockResult:
    """Outcome of the extraction of one block.

    Attributes:
        block: The block.
        images: Number of its images.
        failed_count: Number of images that could not be read.
        unread_count: Number of those that could not be got at.
        seconds: Wall time; 0 if the block was complete before.
        runtime: What computed the features.
    """

    block: BlockId
    images: int
    failed_count: int
    unread_count: int
    seconds: float
    runtime: str


def extract_block(
    url: str, plan: Plan, block: BlockId, sequence: int, reporter: ProgressReporter, *, is_isolated: bool = False
) -> BlockResult:
    """Compute and store the features of one block of images; a complete block is skipped.

    An image that cannot be read or decoded gets a row of NaN; it is quarantined with the reason, or tried again later.

    Args:
        url: The archive's address.
        plan: The plan, which has the representation.
        block: The block.
        sequence: Number of the catalog's step in which unreadable images are logged.
        reporter: Is given the number of images done.
        is_isolated: A worker died of the block: its images are decoded one at a time in a process of their own. One that
            kills it is quarantined and remembered. The features are the same, bit for bit.

    Raises:
        WeightsError: If the network's weights are missing.
        AccessError: If the store of the images cannot be got at; then nothing of the block is written.
        StoreError: If the archive cannot be read or written.
    """
    archive = Location.parse(url)
    store, batch = FeatureStore(archive, plan.features_digest), Batch.read(archive, block.batch)
    start, stop = batch.row_range(block.number)
    if block.number in store.list_complete_blocks(block.batch):
        record = store.read_record(block)
        return BlockResult(block, stop - start, len(record.failed), 0, 0.0, record.runtime)
    start_time = time.monotonic()
    embed = plan.representation.load()
    meter = reporter.open_meter("extract", f"{block.batch}-{block.number}")
    rows = batch.table.slice(start, stop - start).to_pylist()
    values: np.ndarray | None = None
    errors_by_row: dict[int, Unreadable] = {}
    alternates = _AlternateSources(archive, plan, rows)
    artefacts: dict[int, str] = {}
    crashes = KnownCrashes.load(archive)

    def load_images() -> Iterator[PixelArray | Unreadable]:
        load = partial(_load_or_error, plan)
        items = ((row, crashes.find(row["uri"], row["sha256"])) for row in rows)
        return map_isolated(load, items, remember_crash) if is_isolated else prefetch_map(load, items)

    def remember_crash(item: tuple[dict[str, str], str], death: ProcessDeath) -> Unreadable:
        crashes.add(item[0]["uri"], item[0]["sha256"], str(death))
        return death

    def iter_images() -> Iterator[PixelArray | Unreadable]:
        for row, image in enumerate(load_images()):
            image = alternates.substitute(rows[row], image)
            if not isinstance(image, Unreadable) and (
                artefact_reasons := find_artefacts(image, is_frame=split_tile_uri(rows[row]["uri"])[1] is None)
            ):
                artefacts[start + row] = ", ".join(artefact_reasons)
            yield image

    for row, vector in enumerate(embed_minibatches(embed, iter_images())):
        if isinstance(vector, Unreadable):
            errors_by_row[row] = vector
        else:
            if values is None:
                values = np.full((len(rows), len(vector)), np.nan, dtype=np.float32)
            values[row] = vector
        meter.add(1)
    if values is None:  # not one image of the block could be read
        values = np.full((len(rows), measure_dimension(plan.representation, embed)), np.nan, dtype=np.float32)
    unread_count = 0
    if errors_by_row:
        unread_count = _log_errors(
            archive, plan, block, sequence, {rows[row]["sha256"]: error for row, error in errors_by_row.items()}
        )
    store.create_array(batch, values.shape[1])
    reasons_by_row = {start + row: str(error) for row, error in errors_by_row.items()}
    store.write(batch, block.number, values, reasons_by_row, describe_runtime(embed), artefacts)
    meter.flush()
    seconds = time.monotonic() - start_time
    log.info("block %d.%d: %d images in %.1f s (%.0f images/s)", *block, len(rows), seconds, len(rows) / seconds)
    return BlockResult(block, len(rows), len(errors_by_row), unread_count, seconds, describe_runtime(embed))


def _load_or_error(plan: Plan, item: tuple[dict[str, str], str]) -> PixelArray | Unreadable:
    row, crash_reason = item
    if crash_reason:
        return Unreadable(crash_reason)
    try:
        return load_network_input(plan.representation, row["uri"], row["sha256"])
    except Unreadable as error:
        return error


class _AlternateSources:
    """Other inputs that hold, or held, the contents of a block; the catalog is read when the first is asked for."""

    def __init__(self, archive: Location, plan: Plan, rows: list[dict[str, str]]) -> None:
        self.archive, self.plan, self.rows = archive, plan, rows
        self._uris_by_content: dict[str, set[str]] | None = None

    def substitute(self, row: dict[str, str], image: PixelArray | Unreadable) -> PixelArray | Unreadable:
        """The image; where it cannot be got at, the same content from elsewhere."""
        if not isinstance(image, Unreadable) or not image.retryable:
            return image
        if self._uris_by_content is None:
            self._uris_by_content = {}
            for entry in catalog.load_entries(self.archive).values():
                if entry.sha256:
                    self._uris_by_content.setdefault(entry.sha256, set()).add(pixel_uri(entry))
        for uri in sorted(self._uris_by_content.get(row["sha256"], set()) - {row["uri"]}):
            try:
                return load_network_input(self.plan.representation, uri, row["sha256"])
            except Unreadable as error:
                if not error.retryable:
                    return error
        return image


def _log_errors(
    archive: Location, plan: Plan, block: BlockId, sequence: int, errors_by_content: dict[str, Unreadable]
) -> int:
    """Every input of these contents (by sha256), none of which could be read; the contents lose their rows.

    Returns:
        The number of contents that could not be got at; those of superseded inputs do not count.
    """
    events = []
    for entry in catalog.find_entries(archive, "sha256", errors_by_content):
        error = errors_by_content[entry.sha256]
        # All of them whatever they are by now: after a kill this part is written again, and must be the same.
        if entry.status == "superseded-by":
            events.append(replace(entry, batch=-1, row=-1))
        else:
            events.append(entry.with_error(error, batch=-1, row=-1))
    catalog.write_part(
        archive, sequence, f"extract-{plan.features_digest}-{block.batch:06d}-{block.number:06d}", events
    )
    return len({event.sha256 for event in events if event.is_unread})
