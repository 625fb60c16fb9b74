"""What every flow over images begins with: list the inputs, and check those that are new."""

from flows.artifacts import gather
from interpdisc_core.ingest import Listing, ranges
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Inputs
from tasks.ingest import check, enlist


def ingest(archive: str, inputs: Inputs, block: int, workers: int, marks: Watch) -> Listing:
    """List `inputs` and check what is new among them, spread over the workers."""
    listing: Listing = enlist(archive, inputs)
    marks.begin("ingest", listing.unchecked, "images")
    parts = ranges(listing.unchecked, block, workers)
    gather("ingest", [check.submit(archive, listing.name, rows, listing.turn, marks) for rows in parts])
    return listing
