"""What a daily run shows in the Prefect UI: tables, links and pictures; and the events that automations wait for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from prefect.events import emit_event

from flows.artifacts import create_rows_artifact, create_text_artifact
from interpdisc_core.operations.daily.finish import FinishedDay
from interpdisc_core.operations.daily.ingest import IngestSummary, PollSummary
from interpdisc_core.reporting.escaping import (
    MarkdownText,
    format_link,
    format_markdown,
    format_markdown_table,
    format_picture,
    join_markdown,
)
from interpdisc_core.storage.location import Location

MIN_COVERAGE = 0.99
"""A day with a smaller share of readable inputs emits an event."""
_MAX_PICTURES = 12


def create_daily_artifacts(
    archive: str,
    poll_summary: PollSummary,
    ingest_summary: IngestSummary,
    finished_days: Sequence[FinishedDay],
    timings: Mapping[str, float],
    name: str,
    pages: str,
) -> None:
    """Create the artifacts of a run, and emit its events.

    Args:
        archive: Address of the archive.
        poll_summary: What the poll brought.
        ingest_summary: What the run had to do.
        finished_days: The days with lists.
        timings: Seconds by stage.
        name: Name of the archive in events.
        pages: Address at which the archive's pages are served; empty if they are not.
    """
    _create_summary_artifact(archive, poll_summary, ingest_summary, finished_days, timings)
    if finished_days:
        _create_ledger_artifact(finished_days)
        _create_instruments_artifact(finished_days)
        _create_picks_artifact(finished_days, pages)
    for day in finished_days[-3:]:
        if pages:
            link = format_link(f"{day.day}, revision {day.revision}", f"{pages.rstrip('/')}/days/{quote(day.day)}/")
            create_text_artifact(link, key="day", description=day.page)
    _emit_events(name, poll_summary, finished_days)


def _create_summary_artifact(
    archive: str,
    poll_summary: PollSummary,
    ingest_summary: IngestSummary,
    finished_days: Sequence[FinishedDay],
    timings: Mapping[str, float],
) -> None:
    seconds = timings.get("extract", 0.0)
    rate = (
        f"{ingest_summary.images / seconds:.1f} images/s"
        if seconds > 0.05 and ingest_summary.images
        else "nothing to extract"
    )
    parts = []
    if poll_summary.is_feed:
        counts = f"{poll_summary.new} new, {poll_summary.resent} sent again, {poll_summary.outstanding} outstanding."
        trouble = f" The poll stopped early: {poll_summary.trouble}" if poll_summary.trouble else ""
        parts.append(format_markdown("**Feed**: {}", counts + trouble))
    days = ", ".join(f"{day.day} (revision {day.revision})" for day in finished_days) or "none, nothing is new"
    superseded = f"{ingest_summary.superseded} superseded by better versions."
    parts += [
        format_markdown("**Days**: {}.", days),
        format_markdown("**Extraction**: {} images, {}. {}", ingest_summary.images, rate, superseded),
    ]
    if spikes := [f"{stratum} on {day.day}" for day in finished_days for stratum in day.spikes]:
        parts.append(format_markdown("**Novelty spike**: {}.", ", ".join(spikes)))
    parts.append(format_markdown_table(("stage", "time"), [(stage, f"{s:.1f} s") for stage, s in timings.items()]))
    create_text_artifact(
        join_markdown("\n\n", parts),
        key="daily",
        description=f"Daily run of {archive if '://' in archive else Location.parse(archive).url.rpartition('/')[2]}",
    )


def _create_ledger_artifact(finished_days: Sequence[FinishedDay]) -> None:
    statuses = sorted({status for day in finished_days for status in day.ledger})
    rows = [
        {
            "day": day.day,
            "revision": day.revision,
            **{status: day.ledger.get(status, 0) for status in statuses},
            "all": sum(day.ledger.values()),
            "coverage": f"{100 * day.coverage:.2f} %",
        }
        for day in finished_days
    ]
    create_rows_artifact(rows, key="ledger", description="Inputs of each day by status")


def _create_instruments_artifact(finished_days: Sequence[FinishedDay]) -> None:
    total = sum((Counter(day.instruments) for day in finished_days), Counter[str]())
    rows = [{"instrument": instrument, "images": count} for instrument, count in total.most_common()]
    create_rows_artifact(rows, key="instruments", description="Images of these days by instrument")


def _create_picks_artifact(finished_days: Sequence[FinishedDay], pages: str) -> None:
    rows = [
        {
            "day": day.day,
            "rank": pick.rank,
            "image": pick.id,
            "instrument": pick.instrument,
            "score": f"{pick.score:.5g}",
            "unusual": _format_novelty(pick.tail_probability),
            "new": "yes" if pick.new else "",
        }
        for day in finished_days
        for pick in day.picks
    ]
    create_rows_artifact(rows, key="picks", description="Picks of each day, in order of selection")
    last_day = finished_days[-1]
    if pages and last_day.thumbs:
        thumbnails = [(pick, last_day.thumbs[pick.key]) for pick in last_day.picks if pick.key in last_day.thumbs][
            :_MAX_PICTURES
        ]
        site = pages.rstrip("/")
        pictures: list[MarkdownText] = [
            format_picture(str(pick.rank), f"{site}/{quote(file)}") for pick, file in thumbnails
        ]
        create_text_artifact(
            format_markdown(
                "{}\n\n{}\n",
                format_link(last_day.day, f"{site}/days/{quote(last_day.day)}/"),
                join_markdown(" ", pictures),
            ),
            key="newest",
            description=f"The first picks of {last_day.day}",
        )


def _format_novelty(tail_probability: float | None) -> str:
    return "no calibration yet" if tail_probability is None else f"{100 * tail_probability:.2g} % scored as high"


def _emit_events(name: str, poll_summary: PollSummary, finished_days: Sequence[FinishedDay]) -> None:
    resource = {"prefect.resource.id": f"interpdisc.archive.{name}", "prefect.resource.name": name}
    if poll_summary.new or poll_summary.resent or finished_days:
        emit_event(
            "interpdisc.feed.received",
            resource=resource,
            payload={"new": poll_summary.new, "resent": poll_summary.resent},
        )
    for day in finished_days:
        if day.coverage < MIN_COVERAGE:
            payload = {"day": day.day, "coverage": day.coverage}
            emit_event("interpdisc.coverage.low", resource=resource, payload=payload)
        if day.spikes:
            payload = {"day": day.day, "strata": list(day.spikes)}
            emit_event("interpdisc.novelty.spike", resource=resource, payload=payload)
