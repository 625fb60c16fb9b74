"""Reads and writes the files of backfills in an archive."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location

_READERS = 16
"""Files that are read at a time."""


@dataclass(frozen=True, slots=True)
class ShardVersion:
    """One version of a shard.

    Attributes:
        uri: Its address; `id`: its name for people.
        size: In bytes.
        stamp: Changes with its content: modification time or ETag.
        batch: The batch of the archive that its rows are.
        block: Rows of a block.
    """

    uri: str
    id: str
    size: int
    stamp: str
    batch: int
    block: int


def list_backfills(archive: Location) -> list[str]:
    """The names of an archive's backfills."""
    return archive.list_folders("backfills")


def load_shard_plan(archive: Location, name: str) -> list[ShardVersion]:
    """All versions of a backfill's shards, in order of batch.

    Raises:
        StoreError: If the plan is damaged.
    """
    try:
        with name_damage(f"{archive.url}/backfills/{name}/plan.json"):
            payload = archive.read_checked_json(f"backfills/{name}/plan.json")
            return [ShardVersion(**shard) for shard in payload["shards"]]
    except FileNotFoundError:
        return []


def write_shard_plan(archive: Location, name: str, shards: Iterable[ShardVersion]) -> None:
    """Write the shards of a backfill."""
    archive.write_checked_json(f"backfills/{name}/plan.json", {"shards": [asdict(shard) for shard in shards]})


def select_current_versions(shards: Iterable[ShardVersion]) -> dict[str, ShardVersion]:
    """The latest version of each shard, by its address."""
    return {shard.uri: shard for shard in sorted(shards, key=lambda shard: shard.batch)}


def load_done_batches(archive: Location, name: str) -> set[int]:
    """The batches of the shards that were read without a fault."""
    return _list_batches(archive, name, "shards") - _list_batches(archive, name, "faults")


def load_read_batches(archive: Location, name: str) -> set[int]:
    """The batches of the shards that were read, including damaged ones."""
    return _list_batches(archive, name, "shards")


def read_shard_records(archive: Location, name: str, batches: Iterable[int]) -> Iterator[dict[str, Any]]:
    """The records of shards that were read, in order of batch."""
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(
            lambda number: archive.read_checked_json(_record_path(name, "shards", number)), sorted(batches)
        )


def write_shard_record(archive: Location, name: str, batch: int, record: dict[str, Any]) -> None:
    """Record that a shard was read; written after everything else of it."""
    archive.write_checked_json(_record_path(name, "shards", batch), record)
    if not record["fault"]:
        archive.remove(_record_path(name, "faults", batch))


def write_shard_fault(archive: Location, name: str, shard: ShardVersion, reason: str) -> None:
    """Record what is wrong with a shard; the next call tries it again."""
    archive.write_checked_json(
        _record_path(name, "faults", shard.batch), {"shard": shard.id, "uri": shard.uri, "why": reason}
    )


def read_shard_faults(archive: Location, name: str) -> dict[int, dict[str, str]]:
    """What is wrong with shards, by batch."""
    return {
        number: archive.read_checked_json(_record_path(name, "faults", number))
        for number in _list_batches(archive, name, "faults")
    }


def is_shard_done(archive: Location, name: str, batch: int) -> bool:
    """Whether a shard was read without a fault."""
    return archive.exists(_record_path(name, "shards", batch)) and not archive.exists(
        _record_path(name, "faults", batch)
    )


def is_logged_by_another(archive: Location, name: str, batch: int) -> bool:
    """Whether another backfill has cataloged the members of this batch, so that their status is decided."""
    return any(
        archive.exists(_record_path(other, "shards", batch)) for other in list_backfills(archive) if other != name
    )


def load_deduplicated_batches(archive: Location, name: str) -> set[int]:
    """The batches whose contents were compared with all others."""
    try:
        with name_damage(f"{archive.url}/backfills/{name}/settled.json"):
            return {int(number) for number in archive.read_checked_json(f"backfills/{name}/settled.json")}
    except FileNotFoundError:
        return set()


def write_deduplicated_batches(archive: Location, name: str, batches: Iterable[int]) -> None:
    """Record the batches whose contents were compared with all others."""
    archive.write_checked_json(f"backfills/{name}/settled.json", sorted(batches))


def remove_deduplicated_batches(archive: Location, name: str, batches: set[int]) -> None:
    """Record that some batches have to be compared again."""
    if (deduplicated := load_deduplicated_batches(archive, name)) & batches:
        write_deduplicated_batches(archive, name, deduplicated - batches)


def find_undeduplicated_batches(archive: Location) -> set[int]:
    """Batches of unfinished backfills: a content of theirs may be `ready` twice until they are compared."""
    return set().union(
        *(
            {shard.batch for shard in load_shard_plan(archive, name)} - load_deduplicated_batches(archive, name)
            for name in list_backfills(archive)
        )
    )


def get_shard_uris(member_uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """The shard in each URI of a shard's member, with its scheme, whose name may have a `#` too; other URIs as they are."""
    return pc.replace_substring_regex(member_uris, r"(?s)^(.*)#offset=\d+&size=\d+&name=.*$", r"\1")


def _list_batches(archive: Location, name: str, folder: str) -> set[int]:
    return set(archive.list_numbers(f"backfills/{name}/{folder}", ".json"))


def _record_path(name: str, folder: str, batch: int) -> str:
    return f"backfills/{name}/{folder}/{batch:06d}.json"
