"""What every flow over images begins with: list the inputs, and check those that are new."""

from flows.artifacts import gather
from interpdisc_core.ingest import Listing, ranges
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Inputs
from tasks.ingest import check, enlist


def ingest(archive: str, inputs: Inputs, block: int, workers: int, marks: Watch) -> Listing:
    """List `inputs` and check what is new among them, spread over the workers."""
    listing: Listing = enlist(archive, inputs)
    check_all(archive, listing, block, workers, marks)
    return listing


def check_all(archive: str, listing: Listing, block: int, workers: int, marks: Watch) -> None:
    """Check what is new in a listing, spread over the workers."""
    marks.begin("ingest", listing.unchecked, "images")
    parts = ranges(listing.unchecked, block, workers)
    gather("ingest", [check.submit(archive, listing.name, rows, listing.turn, marks) for rows in parts])
