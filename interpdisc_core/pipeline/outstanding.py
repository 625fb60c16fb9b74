"""Inputs that could not be got at: a run goes on without a few of them, and fails if there are many.

A worker that cannot get at an input leaves it `pending` with the reason. At the end of the step `accept_outstanding` makes
all of them `outstanding`, or fails if their share is too large; then they stay pending, so that the same command reads
them again and counts them again. An input that was accepted once does not count a second time: a key that nobody may read
does not stop the runs of every day.
"""

from interpdisc_core.archive import catalog
from interpdisc_core.errors import AccessError
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import read_parquet

DEFAULT_MAX_OUTSTANDING = 0.1
"""Largest share of the inputs to be read that a run may go on without."""


def count_allowed(inputs: int, max_share: float) -> int:
    """How many of `inputs` may stay outstanding: the share, and one always."""
    return max(1, int(max_share * inputs))


def refuse_outstanding(unread: int, inputs: int, max_share: float, reason: str) -> None:
    """Check that not too many inputs could not be got at.

    Args:
        unread: Number of inputs that could not be got at.
        inputs: Number of inputs that were to be read.
        max_share: Largest share that is accepted.
        reason: Why the first of them could not be got at.

    Raises:
        AccessError: If there are more.
    """
    if unread > count_allowed(inputs, max_share):
        raise AccessError(
            f"{unread:,} of {inputs:,} inputs could not be got at (the first: {reason}). Once they can be, the same command "
            f"reads them; to go on without them, allow a larger share than --max-outstanding {max_share:g}."
        )


def accept_outstanding(url: str, unread: int, inputs: int, max_share: float, listing: str = "") -> None:
    """End a step that reads inputs: make those that could not be got at `outstanding`, or fail if they are too many.

    Args:
        url: The archive's address.
        unread: Number of inputs that the step could not get at.
        inputs: Number of inputs that it had to read.
        max_share: Largest share that is accepted.
        listing: Name of a listing; only its inputs count. A block may also hold images of other runs, whose files are
            gone. Empty: all count.

    Raises:
        AccessError: If there are more than that; with the first reason.
    """
    if not unread:
        return
    archive = Location.parse(url)
    entries = [entry for entry in catalog.find_entries(archive, "status", ["pending"]) if entry.is_unread]
    counted = entries
    if listing:
        keys = set(read_parquet(archive, f"listings/{listing}/listing.parquet", ["key"])["key"].to_pylist())
        counted = [entry for entry in entries if entry.key in keys]
    if counted:
        refuse_outstanding(min(unread, len(counted)), inputs, max_share, counted[0].reason)
    events = [entry.with_status("outstanding", entry.reason, retryable=True) for entry in entries]
    catalog.write_part(archive, catalog.next_sequence(archive), "outstanding", events)
