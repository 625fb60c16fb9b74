"""A day is closed: its result is written, its pages made, and then the memory takes it in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interpdisc_core import site
from interpdisc_core.daily.commit import take_in
from interpdisc_core.daily.opening import look
from interpdisc_core.daily.settings import Daily
from interpdisc_core.daily.strata import memory_of
from interpdisc_core.daily.telling import told as telling
from interpdisc_core.memory import Memory
from interpdisc_core.storage import Place


@dataclass(frozen=True, slots=True)
class Closed:
    """What a day came to. page: its address; thumbs: pictures of its first picks, as addresses relative to the site.

    spikes: strata with more novelty than is usual. coverage: share of its inputs that could be looked at.
    """

    day: str
    revision: int
    page: str
    picks: tuple[dict[str, Any], ...]
    thumbs: Mapping[str, str]
    ledger: Mapping[str, int]
    instruments: Mapping[str, int]
    spikes: tuple[str, ...]
    coverage: float


def close_day(url: str, settings: Daily, day: str, timings: Mapping[str, float], pages: str = "") -> Closed:
    """Write a day's result and pages, and take it into the memory. Its runs must be selected and explained.

    timings: seconds by stage. pages: the address at which the site is served, for links in its feed. Doing it again
    with the same images leaves what is there.
    """
    archive = Place.of(url)
    seen, opened = look(archive, settings, day), archive.read_json(f"days/{day}/opened.json")
    told = telling(archive, settings, day, seen, opened, timings)
    _keep(archive, day, told)
    published = site.publish(archive, day, pages)
    take_in(archive, settings, day, list(seen.items), seen.parted, told["revision"], told["run"])
    for stratum in opened["runs"]:
        Memory(archive, memory_of(settings, stratum)).tidy()  # no other day has this one's horizon
    few = tuple({key: pick[key] for key in ("rank", "id", "key", "instrument", "score", "novelty_rank", "new")}
                for pick in told["picks"])  # fmt: skip
    return Closed(
        day, told["revision"], published.page, few, published.thumbs, told["ledger"], told["instruments"],
        tuple(one["name"] for one in told["strata"] if one["spike"]), told["coverage"],
    )  # fmt: skip


def remember_day(url: str, settings: Daily, day: str) -> str:
    """Take a day into the memory without a list: it is one of many that came at once."""
    archive = Place.of(url)
    seen = look(archive, settings, day)
    take_in(archive, settings, day, list(seen.items), seen.parted, 0, "")
    return day


def _keep(archive: Place, day: str, told: dict[str, Any]) -> None:
    """Write the result; one that it replaces is kept beside it."""
    name = f"days/{day}/day.json"
    if archive.exists(name) and (before := archive.read_json(name))["revision"] < told["revision"]:
        archive.write_json(f"days/{day}/day-{before['revision']:03d}.json", before)
    archive.write_json(name, told)
