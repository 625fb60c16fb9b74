"""What days, inboxes and backfills say is in an archive, held against what is there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow.compute as pc

from interpdisc_core import catalog
from interpdisc_core.backfill import records
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.feeds.inbox import Inbox
from interpdisc_core.feeds.listing import uri_of
from interpdisc_core.memory import Memory
from interpdisc_core.storage import Place


@dataclass(frozen=True, slots=True)
class Promised:
    """What there is of it.

    days: in the memory; remembered: its records, each read. arrived: records of feeds; waiting: of these, those that no
    run has taken in yet. shards: of backfills, that were read; shards_left: that are only planned.
    """

    days: int = 0
    remembered: int = 0
    arrived: int = 0
    waiting: int = 0
    shards: int = 0
    shards_left: int = 0


def promised(archive: Place, sizes: Mapping[int, int], faults: list[str]) -> Promised:
    """Read every record of the memory, and look for everything that is named; what is wrong is added to `faults`.

    sizes: rows of each batch.
    """
    remembered = _memory(archive, faults)
    days = _days(archive, remembered, faults)
    arrived, waiting = _inboxes(archive, faults)
    shards, left = _backfills(archive, sizes, faults)
    count = sum(len(names) for names in remembered.values())
    return Promised(days, count, arrived, waiting, shards, left)


def _memory(archive: Place, faults: list[str]) -> dict[str, dict[str, str]]:
    """By stratum, what names the content of each batch's record."""
    known = {}
    for quoted in archive.names("memory"):
        if quoted.startswith("~"):  # the name is too long to be a file's, and only who knows it finds it
            continue
        memory = Memory(archive, unquote(quoted, errors="surrogatepass"))
        try:
            known[memory.stratum] = memory.chosen()
            faults += memory.faults()
        except (StoreError, PlanError) as error:
            faults.append(str(error))
    return known


def _days(archive: Place, remembered: Mapping[str, Mapping[str, str]], faults: list[str]) -> int:
    """Every committed day is in the memory as its commit names it."""
    count = 0
    for day in archive.names("days"):
        where = f"days/{day}/commit.json"
        try:
            told = archive.read_json(where)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except StoreError as error:
            faults.append(str(error))
            continue
        count += 1
        for stratum, digest in _named(told):
            if stratum.startswith("~"):
                continue
            there = remembered.get(stratum, {}).get(day)
            if there is None:
                faults.append(
                    f"{where}: the memory of {stratum!r} has no record of the day; `interpdisc rebuild` makes it anew"
                )
            elif there != digest:
                faults.append(f"{where}: the memory of {stratum!r} has another record of the day than it names")
    return count


def _named(told: Any) -> Iterator[tuple[str, str]]:
    """The strata of a commit by their names in the memory, and the digests of their records."""
    if isinstance(told, dict) and isinstance(told.get("records"), dict):
        suffix = f" @{told['remembers']}" if told.get("remembers") else ""
        for stratum, kept in told["records"].items():
            yield f"{stratum}{suffix}", str(kept.get("digest")) if isinstance(kept, dict) else str(kept)


def _inboxes(archive: Place, faults: list[str]) -> tuple[int, int]:
    """Every record that a feed brought has its image; how many there are, and how many are in no catalog yet."""
    inbox = archive / "inbox"
    feeds = archive.names("inbox")
    if not feeds:
        return 0, 0
    uris = catalog.latest(archive, ("uri",))["uri"]
    known = set(uris.filter(pc.starts_with(uris, uri_of(inbox, "x")[:-1])).to_pylist())
    arrived = waiting = 0
    for feed in feeds:
        box = Inbox(inbox, feed)
        images = {
            f"{feed}/images/{sol}/{name}"
            for sol in inbox.names(f"{feed}/images") for name in inbox.names(f"{feed}/images/{sol}")
        }  # fmt: skip
        for day in box.days():
            try:
                kept = box.of_day(day)
            except StoreError as error:
                faults.append(str(error))
                continue
            arrived += len(kept)
            waiting += sum(uri_of(inbox, item.image.name) not in known for item in kept)
            faults += [
                f"inbox/{feed}: the image of {item.id!r} is missing ({item.image.name})"
                for item in kept if item.image.name not in images
            ]  # fmt: skip
    return arrived, waiting


def _backfills(archive: Place, sizes: Mapping[int, int], faults: list[str]) -> tuple[int, int]:
    """Every shard that was read has its batch, with as many rows as it gave."""
    read = left = 0
    for name in records.names(archive):
        try:
            planned = {shard.batch for shard in records.current(records.planned(archive, name)).values()}
            done = records.read(archive, name)
            for told in records.completed(archive, name, done):
                there = sizes.get(told["batch"])
                if there != told["rows"]:
                    faults.append(
                        f"backfills/{name}: {told['id']!r} gave {told['rows']} rows, and its batch has {there or 0}"
                    )
        except (StoreError, KeyError, TypeError, ValueError) as error:
            faults.append(f"backfills/{name}: its records are damaged: {error}")
            continue
        read, left = read + len(done), left + len(planned - done)
    return read, left
