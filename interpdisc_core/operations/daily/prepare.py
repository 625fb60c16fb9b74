"""Prepare a day: start its selection runs, one over all of its images and a short one for each stratum."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from interpdisc_core import digest
from interpdisc_core.archive import catalog
from interpdisc_core.archive.catalog import CatalogEntry
from interpdisc_core.archive.constraints import SelectionConstraints
from interpdisc_core.archive.day_result import read_day_result
from interpdisc_core.archive.feedback import VerdictsByHash, load_latest_verdicts
from interpdisc_core.archive.run import Run, RunInputs, RunMember
from interpdisc_core.errors import StoreError
from interpdisc_core.operations.daily import days
from interpdisc_core.operations.daily.commit import find_majority_site, load_commit, load_day_features
from interpdisc_core.operations.daily.days import ALL_IMAGES, DayImage, split_strata, stratum_key
from interpdisc_core.operations.daily.horizon import Horizon, load_horizon_before, score_novelty, write_day_scores
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.operations.daily.triage import Triage, triage_images
from interpdisc_core.provenance import collect_environment
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.file_names import slugify
from interpdisc_core.storage.location import Location


@dataclass(frozen=True, slots=True)
class PreparedDay:
    """A day whose runs are ready for selection, as `days/<day>/opened.json` keeps it.

    Attributes:
        revision: Of its list, from 1; the same images again are the same revision.
        runs: Run ids by stratum, `all` first; empty if the day has no candidates for picks.
        picks: Maximum number of picks of `all`.
        images: Number of images of the day, the unreadable ones too.
    """

    day: str
    revision: int
    runs: Mapping[str, str]
    picks: int
    images: int


@dataclass(frozen=True, slots=True)
class DaySnapshot:
    """What a day is computed from, at one moment.

    Attributes:
        entries: The catalog's latest entries, by key.
        items_by_day: The catalog's images by day; `items`: those of this day.
        triage: Of this day's images.
        horizon: The earlier days that it is compared with.
        verdicts: The latest verdict by SHA-256.
        boring_items: Images of any day that somebody marked as boring, by SHA-256.
    """

    entries: Mapping[str, CatalogEntry]
    items_by_day: Mapping[str, list[DayImage]]
    items: tuple[DayImage, ...]
    triage: Triage
    horizon: Horizon
    verdicts: VerdictsByHash
    boring_items: tuple[DayImage, ...]


def load_snapshot(archive: Location, settings: Daily, day: str) -> DaySnapshot:
    """Gather what a day is computed from.

    Raises:
        StoreError: If the day has no image.
    """
    entries = catalog.load_entries(archive)
    items_by_day = days.group_by_day(entries)
    items = items_by_day.get(day, [])
    if not items:
        raise StoreError(f"{archive.url} has no image of {day}.")
    verdicts = load_latest_verdicts(archive, entries)
    item_by_hash = {
        item.entry.sha256: item for day_items in items_by_day.values() for item in day_items if item.is_readable
    }
    boring_hashes = {sha256 for sha256, event in verdicts.items() if event.verdict == "boring"}
    return DaySnapshot(
        entries,
        items_by_day,
        tuple(items),
        triage_images(archive, settings, items, verdicts),
        load_horizon_before(archive, day, settings, find_majority_site(items)),
        verdicts,
        tuple(item_by_hash[sha256] for sha256 in sorted(boring_hashes & item_by_hash.keys())),
    )


def prepare_day(url: str, settings: Daily, day: str) -> PreparedDay:
    """Start a day's runs, and write the novelty of its images against the earlier days. Repeating it changes nothing."""
    archive = Location.parse(url)
    snapshot = load_snapshot(archive, settings, day)
    items_by_stratum = split_strata(settings, snapshot.triage.science)
    write_day_scores(
        archive,
        day,
        {name: _score_images(archive, settings, snapshot, name, items) for name, items in items_by_stratum.items()},
    )
    runs, environment = {}, collect_environment()
    for name, items in items_by_stratum.items():
        plan = settings.plan if name == ALL_IMAGES else replace(settings.plan, picks=settings.stratum_picks, explain=0)
        constraints = _build_constraints(settings, name, items, snapshot)
        run_digest = digest.digest_json([plan.digest, days.list_contents(items), constraints.as_dict()])
        run = Run(archive, f"{day}-{slugify(name, 'stratum')}-{run_digest[:8]}")
        run.begin(plan, RunInputs(sources=(day,)), [_build_member(item) for item in items], environment, constraints)
        runs[name] = run.id
    prepared_day = PreparedDay(
        day,
        _next_revision(archive, settings, day, snapshot.items),
        runs,
        min(settings.plan.picks, len(snapshot.triage.science)),
        len(snapshot.items),
    )
    archive.write_checked_json(f"days/{day}/opened.json", asdict(prepared_day))
    return prepared_day


def load_prepared_day(archive: Location, day: str) -> PreparedDay:
    """What `prepare_day` wrote."""
    with name_damage(f"{archive.url}/days/{day}/opened.json"):
        return PreparedDay(**archive.read_checked_json(f"days/{day}/opened.json"))


def _build_constraints(
    settings: Daily, stratum: str, items: list[DayImage], snapshot: DaySnapshot
) -> SelectionConstraints:
    observations = {item.entry.key: snapshot.triage.observation_by_key[item.entry.key] for item in items}
    known_keys = {item.entry.key for item in snapshot.triage.known_images}
    return SelectionConstraints(
        stratum=stratum_key(stratum, settings.memory_digest),
        batches=snapshot.horizon.record_digests(stratum),
        absorbed=tuple(item.position for item in snapshot.boring_items),
        known=tuple(sorted(item.entry.key for item in items if item.entry.key in known_keys)),
        observations=observations,
        groups={item.entry.key: item.metadata.instrument for item in items}
        if stratum == ALL_IMAGES and settings.budget
        else {},
        budget=dict(settings.budget) if stratum == ALL_IMAGES else {},
    )


def _score_images(
    archive: Location, settings: Daily, snapshot: DaySnapshot, stratum: str, items: list[DayImage]
) -> list[tuple[str, str, float]]:
    """(id, key, score) of each image of a stratum against the earlier days; boring images are not absorbed."""
    values = load_day_features(archive, settings, items)
    scores = score_novelty(snapshot.horizon.load_prior(archive, settings, stratum), settings.selector.rank, values)
    return [(item.entry.id, item.entry.key, float(score)) for item, score in zip(items, scores, strict=True)]


def _build_member(item: DayImage) -> RunMember:
    entry = item.entry
    return RunMember(
        entry.id, entry.key, item.pixel_uri, entry.sha256, entry.batch, entry.row, "candidate", None, entry.record
    )


def _next_revision(archive: Location, settings: Daily, day: str, items: tuple[DayImage, ...]) -> int:
    """The revision of the list to be made: the last one, or one more if the day's images have changed since."""
    previous = read_day_result(archive, day)
    if previous is None:
        day_commit = load_commit(archive, day)
        return 1 if day_commit is None else max(1, day_commit.revision)
    is_same = previous.images_digest == days.digest_day_images(items, settings.memory_digest)
    return previous.revision + (0 if is_same else 1)
