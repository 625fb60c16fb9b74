"""What a backfill keeps of itself in the archive; the one module that knows how it lies there."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from interpdisc_core.errors import StoreError
from interpdisc_core.storage import Place

_READERS = 16


@dataclass(frozen=True, slots=True)
class Shard:
    """One version of a shard, as it was listed. batch: its rows are those of this batch, `block` rows a chunk."""

    uri: str
    id: str
    size: int
    stamp: str
    batch: int
    block: int


def names(archive: Place) -> list[str]:
    """The backfills of an archive."""
    return archive.names("backfills")


def planned(archive: Place, name: str) -> list[Shard]:
    """The shards of a backfill, all versions, in order of batch. Raises StoreError where the plan is damaged."""
    try:
        told = archive.read_json(f"backfills/{name}/plan.json")
        return [Shard(**shard) for shard in told["shards"]]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError) as error:
        raise StoreError(f"{archive.url}/backfills/{name}/plan.json is damaged: it is not a list of shards.") from error


def write_plan(archive: Place, name: str, shards: Iterable[Shard]) -> None:
    """Keep the shards of a backfill."""
    archive.write_json(f"backfills/{name}/plan.json", {"shards": [asdict(shard) for shard in shards]})


def current(shards: Iterable[Shard]) -> dict[str, Shard]:
    """The last version of each shard, by its address."""
    return {shard.uri: shard for shard in sorted(shards, key=lambda shard: shard.batch)}


def done(archive: Place, name: str) -> set[int]:
    """The batches of the shards that are there and sound."""
    return _numbers(archive, name, "shards") - _numbers(archive, name, "faults")


def read(archive: Place, name: str) -> set[int]:
    """The batches of the shards that were read, the damaged ones too."""
    return _numbers(archive, name, "shards")


def completed(archive: Place, name: str, wanted: Iterable[int]) -> Iterator[dict[str, Any]]:
    """What is told of these shards, which were read; in order of batch."""
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(lambda number: archive.read_json(_file(name, "shards", number)), sorted(wanted))


def complete(archive: Place, name: str, batch: int, told: dict[str, Any]) -> None:
    """Say that a shard was read, after everything that came of it was written."""
    archive.write_json(_file(name, "shards", batch), told)
    if not told["fault"]:
        archive.remove(_file(name, "faults", batch))


def fault(archive: Place, name: str, shard: Shard, why: str) -> None:
    """Say what is wrong with a shard; it is tried again next time."""
    archive.write_json(_file(name, "faults", shard.batch), {"shard": shard.id, "uri": shard.uri, "why": why})


def faults(archive: Place, name: str) -> dict[int, dict[str, str]]:
    """What is wrong, by batch."""
    return {number: archive.read_json(_file(name, "faults", number)) for number in _numbers(archive, name, "faults")}


def is_done(archive: Place, name: str, batch: int) -> bool:
    """Whether one shard is there and sound."""
    return archive.exists(_file(name, "shards", batch)) and not archive.exists(_file(name, "faults", batch))


def catalogued(archive: Place, name: str, batch: int) -> bool:
    """Whether another backfill has logged the members of this batch, so that what became of them is decided."""
    return any(archive.exists(_file(other, "shards", batch)) for other in names(archive) if other != name)


def settled(archive: Place, name: str) -> set[int]:
    """The batches whose contents were compared with all others."""
    try:
        return set(archive.read_json(f"backfills/{name}/settled.json"))
    except FileNotFoundError:
        return set()


def settle(archive: Place, name: str, batches: Iterable[int]) -> None:
    """Say that these were compared."""
    archive.write_json(f"backfills/{name}/settled.json", sorted(batches))


def unsettle(archive: Place, name: str, batches: set[int]) -> None:
    """These will be logged anew."""
    if (before := settled(archive, name)) & batches:
        settle(archive, name, before - batches)


def unsettled(archive: Place) -> set[int]:
    """Batches of backfills that are not over, whose contents may be ready twice until they are."""
    return set().union(
        *({shard.batch for shard in planned(archive, name)} - settled(archive, name) for name in names(archive))
    )


def _numbers(archive: Place, name: str, what: str) -> set[int]:
    return {int(file.removesuffix(".json")) for file in archive.names(f"backfills/{name}/{what}")}


def _file(name: str, what: str, batch: int) -> str:
    return f"backfills/{name}/{what}/{batch:06d}.json"
