"""Finish a day: write its result, publish its pages, and commit it to the memory. Also the log of a whole run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from interpdisc_core.archive.day_result import write_day_result
from interpdisc_core.archive.memory import Memory
from interpdisc_core.operations.daily.commit import commit_day
from interpdisc_core.operations.daily.days import stratum_key
from interpdisc_core.operations.daily.ingest import IngestSummary, PollSummary
from interpdisc_core.operations.daily.prepare import load_prepared_day, load_snapshot
from interpdisc_core.operations.daily.result import build_day_result
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.reporting import site
from interpdisc_core.storage.location import Location

RUN_LOG_FOLDER = "accounts"


@dataclass(frozen=True, slots=True)
class PickSummary:
    """A pick of a finished day; the fields are those of `DayPick`."""

    rank: int
    id: str
    key: str
    instrument: str
    score: float
    tail_probability: float | None
    new: bool


@dataclass(frozen=True, slots=True)
class FinishedDay:
    """What a run reports of a day.

    Attributes:
        page: Address of its page.
        thumbs: Pictures of its picks by key, as addresses relative to the site.
        ledger: Inputs by status; `instruments`: images by instrument.
        spikes: Names of strata with clearly more novelty than usual.
        coverage: Share (0 to 1) of its inputs that were read.
    """

    day: str
    revision: int
    page: str
    picks: tuple[PickSummary, ...]
    thumbs: Mapping[str, str]
    ledger: Mapping[str, int]
    instruments: Mapping[str, int]
    spikes: tuple[str, ...]
    coverage: float


def finish_day(url: str, settings: Daily, day: str, timings: Mapping[str, float], site_url: str = "") -> FinishedDay:
    """Write a day's result and pages, and commit it to the memory. Its runs must be selected and explained.

    Repeating it with the same images changes nothing but times.

    Args:
        url: Address of the archive.
        settings: Settings of the daily run.
        day: Name of the day.
        timings: Seconds by stage, for the page.
        site_url: Address at which the site is served, for the links of its feed; empty if it is not.
    """
    archive = Location.parse(url)
    snapshot, prepared_day = load_snapshot(archive, settings, day), load_prepared_day(archive, day)
    result = build_day_result(archive, settings, day, snapshot, prepared_day, timings)
    write_day_result(archive, result)
    publication = site.publish_day(archive, day, site_url)
    commit_day(archive, settings, day, snapshot.items, snapshot.triage, result.revision, result.run)
    for stratum in prepared_day.runs:  # no other day has the same horizon
        Memory(archive, stratum_key(stratum, settings.memory_digest)).clear_cache()
    return FinishedDay(
        day,
        result.revision,
        publication.page,
        tuple(
            PickSummary(pick.rank, pick.id, pick.key, pick.instrument, pick.score, pick.tail_probability, pick.new)
            for pick in result.picks
        ),
        publication.thumbs,
        result.ledger,
        result.instruments,
        tuple(stratum.name for stratum in result.spikes),
        1.0 if result.coverage is None else result.coverage,
    )


def remember_day(url: str, settings: Daily, day: str) -> str:
    """Commit a day to the memory without a list of picks; returns the day."""
    archive = Location.parse(url)
    snapshot = load_snapshot(archive, settings, day)
    commit_day(archive, settings, day, snapshot.items, snapshot.triage, revision=0, run="")
    return day


def write_run_log(
    url: str,
    poll_summary: PollSummary,
    ingest_summary: IngestSummary,
    finished_days: Sequence[FinishedDay],
    timings: Mapping[str, float],
) -> str:
    """Write the log of a run as a JSON file of its own; returns its address."""
    archive, now = Location.parse(url), datetime.now(UTC)
    name = f"{RUN_LOG_FOLDER}/{now:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}.json"
    run_log = build_run_log(poll_summary, ingest_summary, finished_days, timings)
    archive.write_checked_json(name, run_log | {"at": now.isoformat(timespec="seconds")})
    return f"{archive.url}/{name}"


def build_run_log(
    poll_summary: PollSummary,
    ingest_summary: IngestSummary,
    finished_days: Sequence[FinishedDay],
    timings: Mapping[str, float],
) -> dict[str, Any]:
    """The log of a run as a JSON value."""
    return {
        "polled": asdict(poll_summary),
        "days": [asdict(finished_day) for finished_day in finished_days],
        "remembered": [day for day in ingest_summary.days if day not in ingest_summary.days_with_picks],
        "images": ingest_summary.images,
        "superseded": ingest_summary.superseded,
        "timings": dict(timings),
    }
