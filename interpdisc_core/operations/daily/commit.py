"""Commits: which days the archive's memory holds. Commit, undo and redo a day, and apply verdicts to committed days.

`days/<day>/commit.json` is written last and names the day's records, so to every horizon a day is in the memory wholly or
not at all. An interrupted commit is repeated: the same images give the same bits. `undone.json` says who took the day
out of the memory, when and why; daily runs then skip the day.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np

from interpdisc_core import digest
from interpdisc_core._types import FloatArray
from interpdisc_core.archive import catalog
from interpdisc_core.archive.disk_names import COMMIT_KEYS, use_current_names
from interpdisc_core.archive.feature_store import FeatureStore, gather_features
from interpdisc_core.archive.feedback import find_hashes_with_verdicts, load_latest_verdicts
from interpdisc_core.archive.memory import Memory, canonical_sort_key
from interpdisc_core.archive.memory_record import MemoryRecord
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.operations.daily import days
from interpdisc_core.operations.daily.days import DayImage, split_strata, stratum_key
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.operations.daily.triage import Triage, triage_images
from interpdisc_core.provenance import utc_now
from interpdisc_core.selectors.rows import l2_normalize
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecordRef:
    """A record of the memory: the digest of its content, and its number of images."""

    digest: str
    count: int


@dataclass(frozen=True, slots=True)
class DayCommit:
    """That a day is in the memory.

    Attributes:
        images_digest: Names the day's images, see `digest_day_images`.
        remembered_digest: Names the images that are remembered, see `digest_remembered`.
        memory_digest: `Daily.memory_digest` of the settings that the records were made with.
        site: Number of the rover's site, as text; empty if unknown.
        revision: Of the day's result; 0 if the day has no list.
        run: The selection run over all images; empty if there is none.
        records: By stratum.
        at: When it was committed, UTC, ISO 8601.
    """

    day: str
    images_digest: str
    remembered_digest: str
    memory_digest: str
    site: str
    revision: int
    run: str
    records: Mapping[str, RecordRef]
    at: str

    @classmethod
    def from_json(cls, payload: Any) -> "DayCommit":
        """From the value of a `commit.json`, also of an older version.

        Raises:
            TypeError, AttributeError, KeyError: If it is damaged.
        """
        fields = use_current_names(payload, COMMIT_KEYS)
        records = {name: RecordRef(**reference) for name, reference in fields["records"].items()}
        return cls(**fields | {"records": records})


def load_commits(archive: Location) -> list[DayCommit]:
    """The committed days, in order."""
    commits = [load_commit(archive, day) for day in archive.list_folders("days")]
    return sorted(
        (commit for commit in commits if commit is not None), key=lambda commit: canonical_sort_key(commit.day)
    )


def load_commit(archive: Location, day: str, ignore_damage: bool = False) -> DayCommit | None:
    """A day's commit; None if it is not in the memory.

    Args:
        archive: The archive.
        day: Name of the day.
        ignore_damage: Return None for a damaged file too.

    Raises:
        StoreError: If its file is damaged.
    """
    try:
        return DayCommit.from_json(archive.read_checked_json(f"days/{day}/commit.json"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (TypeError, KeyError, AttributeError, StoreError) as error:
        if ignore_damage:
            return None
        raise StoreError(
            f"{archive.url}/days/{day}/commit.json is damaged; `interpdisc rebuild` repairs it."
        ) from error


def needs_run(archive: Location, day: str, items: list[DayImage], settings: Daily) -> bool:
    """Whether a day has to be processed: it is not committed with these images, and nobody undid it.

    Raises:
        StoreError: If it was committed with settings that make other records.
    """
    if is_undone(archive, day):
        return False
    day_commit = load_commit(archive, day)
    if day_commit is not None and day_commit.memory_digest != settings.memory_digest:
        raise StoreError(
            f"{archive.url}: its memory was made with another representation, normalisation, strata or artefact rules. "
            f"Run `interpdisc rebuild` with these settings to rebuild it, or name another archive."
        )
    return day_commit is None or day_commit.images_digest != days.digest_day_images(items, settings.memory_digest)


def is_undone(archive: Location, day: str) -> bool:
    """Whether somebody took the day out of the memory.

    Raises:
        DamageError: If the file that says so is damaged or lost.
    """
    try:
        archive.read_checked(f"days/{day}/undone.json")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def load_day_features(archive: Location, settings: Daily, items: Sequence[DayImage]) -> FloatArray:
    """The features of images (n, d) float64, normalised as the plan says; a row of zeros stays zero."""
    store = FeatureStore(archive, settings.plan.features_digest)
    values: FloatArray = gather_features(store, [item.position for item in items]).astype(np.float64)
    return l2_normalize(values) if settings.plan.normalise == "l2" and len(values) else values


def write_day_records(archive: Location, settings: Daily, day: str, triage: Triage) -> dict[str, RecordRef]:
    """Write a day's records into the memory, one per stratum, and remove those that they replace.

    Records hold the candidates for picks, without those that somebody marked as interesting: more like them may come.
    """
    previous = load_commit(archive, day)
    record_refs = {}
    for stratum, items in split_strata(settings, list_remembered(triage)).items():
        made_from = {
            "images": days.list_contents(items),
            "features": settings.plan.features_digest,
            "normalise": settings.plan.normalise,
        }
        record = MemoryRecord.from_rows(day, load_day_features(archive, settings, items), made_from)
        _replace_record(Memory(archive, stratum_key(stratum, settings.memory_digest)), record)
        record_refs[stratum] = RecordRef(record.digest, record.count)
    if previous is not None and previous.memory_digest == settings.memory_digest:
        for stratum in sorted(previous.records.keys() - record_refs.keys()):
            _drop_record(Memory(archive, stratum_key(stratum, settings.memory_digest)), day)
    return record_refs


def _replace_record(memory: Memory, record: MemoryRecord) -> None:
    current_digests = memory.list_horizon_batches([record.name]) if record.name in memory.list_names() else {}
    if current_digests.get(record.name) not in (None, record.digest):
        memory.remove(record.name)
    memory.add(record)


def _drop_record(memory: Memory, day: str) -> None:
    if day in memory.list_names():
        memory.remove(day)


def commit_day(
    archive: Location, settings: Daily, day: str, items: Sequence[DayImage], triage: Triage, revision: int, run: str
) -> DayCommit:
    """Add a day to the memory. Repeating it changes nothing but the time."""
    record_refs = write_day_records(archive, settings, day, triage)
    day_commit = DayCommit(
        day,
        days.digest_day_images(items, settings.memory_digest),
        digest_remembered(triage),
        settings.memory_digest,
        find_majority_site(items),
        revision,
        run,
        record_refs,
        utc_now(),
    )
    archive.write_checked_json(f"days/{day}/commit.json", asdict(day_commit))
    return day_commit


def list_remembered(triage: Triage) -> list[DayImage]:
    """The images of a day that the memory learns."""
    return [item for item in triage.science if item.entry.key not in triage.interesting_keys]


def digest_remembered(triage: Triage) -> str:
    """Twelve hexadecimal digits that name which images are remembered; verdicts may change them."""
    return digest.digest_json(days.list_contents(list_remembered(triage)))


def find_majority_site(items: Sequence[DayImage]) -> str:
    """The site of most of a day's images, as text; empty if no site is known."""
    sites = sorted(str(item.metadata.site) for item in items if item.metadata.site is not None)
    return max(sorted(set(sites)), key=sites.count) if sites else ""


def apply_verdicts(url: str, settings: Daily) -> tuple[str, ...]:
    """Rebuild the memory's records of committed days that verdicts given since then have changed.

    Their lists and pages stay as they are.

    Returns:
        The days whose records changed.
    """
    archive = Location.parse(url)
    entries = catalog.load_entries(archive)
    hashes = find_hashes_with_verdicts(archive, entries)
    if not hashes:
        return ()
    commit_by_day, changed_days = {day_commit.day: day_commit for day_commit in load_commits(archive)}, []
    for day, items in days.group_by_day(entries).items():
        day_commit = commit_by_day.get(day)
        if day_commit is None or day_commit.images_digest != days.digest_day_images(items, settings.memory_digest):
            continue
        if hashes.isdisjoint(item.entry.sha256 for item in items):
            continue
        triage = triage_images(archive, settings, items, load_latest_verdicts(archive, entries))
        if digest_remembered(triage) != day_commit.remembered_digest:
            commit_day(archive, settings, day, items, triage, day_commit.revision, day_commit.run)
            changed_days.append(day)
    return tuple(changed_days)


def undo_day(url: str, day: str, by: str, reason: str) -> DayCommit:
    """Take a day out of the memory: horizons are, to the bit, as if it had never been there.

    Daily runs skip the day until `redo_day`.

    Raises:
        PlanError: If the day is not in the memory.
    """
    archive = Location.parse(url)
    day_commit = load_commit(archive, day)
    if day_commit is None:
        committed_days = [commit.day for commit in load_commits(archive)]
        raise PlanError(
            f"{archive.url} has no day {day!r} in its memory; "
            + (f"it has {committed_days[0]} to {committed_days[-1]}." if committed_days else "its memory is empty.")
        )
    at = utc_now()
    # Written before anything is removed: if this is interrupted, no daily run may commit the day again.
    archive.write_checked_json(
        f"days/{day}/undone.json", {"by": by, "why": reason, "at": at, "commit": asdict(day_commit)}
    )
    archive.remove(f"days/{day}/commit.json")
    for stratum in day_commit.records:
        _drop_record(Memory(archive, stratum_key(stratum, day_commit.memory_digest)), day)
    return day_commit


def redo_day(url: str, day: str) -> None:
    """Let the next daily run process an undone day again.

    Raises:
        PlanError: If the day was not undone.
    """
    archive = Location.parse(url)
    if not is_undone(archive, day):
        raise PlanError(f"{archive.url}: day {day!r} was not undone.")
    archive.write_checked_json(f"days/{day}/redone.json", archive.read_checked_json(f"days/{day}/undone.json"))
    archive.remove(f"days/{day}/undone.json")


def load_record_digests(archive: Location) -> dict[str, dict[str, str]]:
    """What daily runs have in the memory: by stratum, the digest of each day's record."""
    return {stratum: Memory(archive, stratum).list_horizon_batches() for stratum in list_daily_strata(archive)}


def list_daily_strata(archive: Location) -> list[str]:
    """The strata of the memory that daily runs made."""
    names = (unquote(quoted) for quoted in archive.list_folders("memory"))
    return [name for name in names if days.is_daily_stratum_key(name)]
