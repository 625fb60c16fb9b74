"""Rules of a repair for days, memory, verdicts, inboxes and pages."""

from typing import Any
from urllib.parse import unquote

from interpdisc_core import digest
from interpdisc_core.errors import StoreError
from interpdisc_core.operations.backfill import records
from interpdisc_core.operations.repair_log import RepairLog
from interpdisc_core.provenance import utc_now
from interpdisc_core.sources.feeds.inbox import Inbox
from interpdisc_core.storage.checksums import CHECKSUM_SUFFIX, parse_checksum
from interpdisc_core.storage.location import encode_json


def repeat_day(log: RepairLog, day: str) -> None:
    """Take a day out of the committed ones, so that the next daily run makes it again."""
    path = f"days/{day}/commit.json"
    if not log.is_settled(path):
        log.set_aside(path, "the next `interpdisc daily` makes the day again")


def drop_commit(log: RepairLog, path: str) -> None:
    """Set a damaged commit aside."""
    log.set_aside(path, "the next `interpdisc daily` makes the day again")


def drop_day_file(log: RepairLog, path: str) -> None:
    """Drop a file of a day, which is made again."""
    log.drop(path, "the next `interpdisc daily` makes the day again")
    repeat_day(log, path.split("/")[1])


def restore_day_result(log: RepairLog, path: str) -> None:
    """The day's pages have a copy."""
    archive, day = log.archive, path.split("/")[1]
    copy = f"site/days/{day}/day.json"
    try:
        data = archive.read_checked(copy)
        digests = parse_checksum(path, archive.read(f"{path}{CHECKSUM_SUFFIX}"))
    except (FileNotFoundError, StoreError, ValueError):
        data, digests = b"", set()
    if digest.digest_bytes(data) in digests:
        log.replace(path, data, f"was restored from {copy}")
    else:
        drop_day_file(log, path)


def set_revision_aside(log: RepairLog, path: str) -> None:
    """Set an earlier revision aside."""
    log.set_aside(path, "this earlier revision of the day's list is lost", is_lost=True)


def restore_undone(log: RepairLog, path: str) -> None:
    """A day that was undone stays undone."""
    day = path.split("/")[1]
    try:
        mark = log.archive.read_checked_json(f"site/days/{day}/withdrawn.json")
        record: dict[str, Any] = {name: str(mark[name]) for name in ("by", "why", "at")}
        sentence = "was restored from the day's page"
    except (FileNotFoundError, StoreError, KeyError, TypeError):
        record = {"by": "", "why": "the record of who undid the day, and why, was damaged", "at": utc_now()}
        sentence = "was written again: the day stays undone, but by whom and why is lost"
    log.replace(path, encode_json(record | {"commit": None}), sentence)
    if not record["by"]:
        log.note(path, "by whom and why the day was undone is lost", is_lost=True)


def set_trail_aside(log: RepairLog, path: str) -> None:
    """Set a log or a history aside."""
    log.set_aside(path, "it is only a trail of what was done; nothing reads it", is_lost=True)


def set_verdict_aside(log: RepairLog, path: str) -> None:
    """Set a verdict aside."""
    log.set_aside(path, "a verdict is lost: give it again with `interpdisc mark`", is_lost=True)


def drop_memory_record(log: RepairLog, path: str, stratum: str) -> None:
    """Drop a record of the memory, and what says that it is there.

    Args:
        log: The repair.
        path: Of the record.
        stratum: Its folder.
    """
    archive = log.archive
    batch = unquote(path.rpartition("/")[2].split(".")[0], errors="surrogatepass")
    name = unquote(stratum, errors="surrogatepass")
    if archive.exists(f"days/{batch}/commit.json"):
        log.set_aside(path, f"the next `interpdisc daily` makes {batch} again")
        repeat_day(log, batch)
        return
    for backfill in records.list_backfills(archive):
        remembered = f"backfills/{backfill}/remembered.json"
        try:
            payload = archive.read_checked_json(remembered)
        except (FileNotFoundError, StoreError):
            continue
        if payload.get(name, {}).pop(batch, None) is not None:
            log.set_aside(path, f"the same `interpdisc backfill` with the memory {name!r} remembers its images again")
            log.replace(remembered, encode_json(payload), f"does not name {batch!r} any more")
            return
    log.set_aside(
        path, f"the memory {name!r} has lost {batch!r}: add it again with `interpdisc remember`", is_lost=True
    )


def drop_memory_file(log: RepairLog, path: str) -> None:
    """Drop a damaged record of the memory."""
    drop_memory_record(log, path, path.split("/")[1])


def drop_inbox_file(log: RepairLog, path: str) -> None:
    """The next poll reads all pages of the feed again, and fetches what is missing."""
    feed = path.split("/")[1]
    if path.startswith(f"inbox/{feed}/images/"):
        name = path.removeprefix("inbox/")
        log.set_aside(path, "the next poll fetches it again, if the feed still has it")
        if not log.dry_run:
            Inbox(log.archive / "inbox", feed).forget_image(name)
    else:
        log.set_aside(path, "the next poll fetches it again, if the feed still has it")
    cursor = f"inbox/{feed}/cursor.json"
    if not log.is_settled(cursor) and path != cursor:
        log.drop(cursor, "the next poll reads all pages of the feed")


def drop_page(log: RepairLog, path: str) -> None:
    """Drop a published file; `repair` publishes it again."""
    parts = path.split("/")
    if len(parts) > 3 and parts[1] == "days":
        if parts[3] == "day.json" and not log.archive.exists(f"days/{parts[2]}/day.json"):
            log.drop(path, "the day's result is lost; the next `interpdisc daily` makes it again")
            return
        log.drop(path, "the day is published again")
        log.unpublished_days.add(parts[2])
    else:
        log.drop(path, "the index is made again")
        log.is_index_damaged = True
