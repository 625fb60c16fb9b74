"""What a daily run leaves in the Prefect UI: an operations console, and the events that automations wait for."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from interpdisc_core.daily.arrivals import Arrived, Polled
from interpdisc_core.daily.closing import Closed
from interpdisc_core.storage import Place

COVERAGE = 0.99
"""Below this share of inputs that could be looked at, a run says so by an event."""
_PICTURES = 12


def show(
    archive: str, polled: Polled, arrived: Arrived, closed: Sequence[Closed], timings: Mapping[str, float], name: str,
    pages: str,
) -> None:  # fmt: skip
    """Ledger, throughput, counts by instrument, pictures of the first picks, links; and the events."""
    _tell(archive, polled, arrived, closed, timings)
    if closed:
        _ledger(closed)
        _instruments(closed)
        _picks(closed, pages)
    for one in closed[-3:]:
        if pages:
            link = f"{pages.rstrip('/')}/days/{one.day}/"
            create_link_artifact(link, link_text=f"{one.day}, revision {one.revision}", key="day", description=one.page)
    _events(name, polled, closed)


def _tell(
    archive: str, polled: Polled, arrived: Arrived, closed: Sequence[Closed], timings: Mapping[str, float]
) -> None:
    seconds = timings.get("extract", 0.0)
    rate = f"{arrived.images / seconds:.1f} images/s" if seconds > 0.05 and arrived.images else "nothing to extract"
    took = "\n".join(f"| {stage} | {seconds:.1f} s |" for stage, seconds in timings.items())
    days = ", ".join(f"{one.day} (revision {one.revision})" for one in closed) or "none: nothing is new"
    spikes = [f"{stratum} on {one.day}" for one in closed for stratum in one.spikes]
    stopped = f" The poll did not get to its end; the next goes on: {_plain(polled.trouble)}" if polled.trouble else ""
    create_markdown_artifact(
        f"**Feed**: {polled.new} new, {polled.resent} sent again, {polled.outstanding} outstanding.{stopped}\n\n"
        f"**Days**: {days}.\n\n**Extraction**: {arrived.images} images, {rate}. "
        f"{arrived.superseded} superseded by better versions.\n\n"
        + (f"**Novelty spike**: {', '.join(spikes)}.\n\n" if spikes else "")
        + f"| stage | wall |\n|---|---:|\n{took}\n",
        key="daily", description=f"Daily run of {archive if '://' in archive else Place.of(archive).url.rpartition('/')[2]}",
    )  # fmt: skip


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: servers' words may be in it."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|])", r"\\\1", " ".join(text.split()))[:300]


def _ledger(closed: Sequence[Closed]) -> None:
    statuses = sorted({status for one in closed for status in one.ledger})
    rows = [
        {"day": one.day, "revision": one.revision, **{s: one.ledger.get(s, 0) for s in statuses},
         "all": sum(one.ledger.values()), "coverage": f"{100 * one.coverage:.2f} %"}
        for one in closed
    ]  # fmt: skip
    create_table_artifact(rows, key="ledger", description="Every input of the days, accounted for")


def _instruments(closed: Sequence[Closed]) -> None:
    total = sum((Counter(one.instruments) for one in closed), Counter[str]())
    rows = [{"instrument": instrument, "images": count} for instrument, count in total.most_common()]
    create_table_artifact(rows, key="instruments", description="Images of these days by instrument")


def _picks(closed: Sequence[Closed], pages: str) -> None:
    rows = [
        {"day": one.day, "rank": pick["rank"], "image": pick["id"], "instrument": pick["instrument"],
         "score": f"{pick['score']:.5g}", "unusual": _unusual(pick["novelty_rank"]), "new": "yes" if pick["new"] else ""}
        for one in closed for pick in one.picks
    ]  # fmt: skip
    create_table_artifact(rows, key="picks", description="Picks of these days, most novel first")
    last = closed[-1]
    if pages and last.thumbs:
        shown = [(pick, last.thumbs[pick["key"]]) for pick in last.picks if pick["key"] in last.thumbs][:_PICTURES]
        # Names are hostile: the text of a picture is its rank, and its address is quoted.
        pictures = " ".join(f"![{pick['rank']}]({pages.rstrip('/')}/{quote(address)})" for pick, address in shown)
        create_markdown_artifact(
            f"[{last.day}]({pages.rstrip('/')}/days/{quote(last.day)}/)\n\n{pictures}\n", key="newest",
            description=f"The first picks of {last.day}",
        )  # fmt: skip


def _unusual(share: float | None) -> str:
    return "no calibration yet" if share is None else f"{100 * share:.2g} % scored as high"


def _events(name: str, polled: Polled, closed: Sequence[Closed]) -> None:
    resource = {"prefect.resource.id": f"interpdisc.archive.{name}", "prefect.resource.name": name}
    if polled.new or polled.resent or closed:
        emit_event("interpdisc.feed.received", resource=resource, payload={"new": polled.new, "resent": polled.resent})
    for one in closed:
        if one.coverage < COVERAGE:
            payload = {"day": one.day, "coverage": one.coverage}
            emit_event("interpdisc.coverage.low", resource=resource, payload=payload)
        if one.spikes:
            payload = {"day": one.day, "strata": list(one.spikes)}
            emit_event("interpdisc.novelty.spike", resource=resource, payload=payload)
