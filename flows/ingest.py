"""The first steps of every flow over images: list the inputs, and check those that are new."""

from flows.artifacts import gather_results
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.pipeline.ingest import CheckResult, ListingResult
from interpdisc_core.pipeline.outstanding import DEFAULT_MAX_OUTSTANDING, accept_outstanding
from interpdisc_core.pipeline.partition import split_range
from interpdisc_core.progress import ProgressReporter
from tasks.ingest import check_inputs, list_inputs


def ingest_inputs(
    archive: str,
    inputs: RunInputs,
    block: int,
    workers: int,
    progress: ProgressReporter,
    max_outstanding: float = DEFAULT_MAX_OUTSTANDING,
) -> ListingResult:
    """List `inputs`, and check those that are new; for the other arguments see `check_listing`."""
    listing: ListingResult = list_inputs(archive, inputs)
    check_listing(archive, listing, block, workers, progress, max_outstanding)
    return listing


def check_listing(
    archive: str,
    listing: ListingResult,
    block: int,
    workers: int,
    progress: ProgressReporter,
    max_outstanding: float = DEFAULT_MAX_OUTSTANDING,
) -> None:
    """Check the new inputs of a listing in tasks of at most `block` images for `workers` workers.

    Raises:
        AccessError: If more than the share `max_outstanding` of them cannot be got at.
    """
    progress.begin_stage("ingest", listing.unchecked, "images")
    row_ranges = split_range(listing.unchecked, block, workers)
    results: list[CheckResult] = gather_results(
        "ingest",
        [
            check_inputs.submit(archive, listing.name, rows, listing.sequence, progress, max_outstanding)
            for rows in row_ranges
        ],
        lambda index: check_inputs.submit(
            archive, listing.name, row_ranges[index], listing.sequence, progress, max_outstanding, is_isolated=True
        ),
    )
    unread, inputs = sum(result.unread for result in results), sum(result.inputs for result in results)
    accept_outstanding(archive, unread, inputs, max_outstanding)
