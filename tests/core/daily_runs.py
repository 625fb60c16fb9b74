"""A daily run by the core's own functions, in the order of the flow, without an orchestrator; and images for it."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from interpdisc_core import selection
from interpdisc_core.daily import arrivals, closing, commit, opening
from interpdisc_core.daily.settings import Daily
from interpdisc_core.explanation import explain, spread
from interpdisc_core.extraction import extract
from interpdisc_core.ingest import check, ranges
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors import Demud
from interpdisc_core.sources import parse
from interpdisc_core.storage import Place


def settings(folder: Path, **given: object) -> Daily:
    """Cheap settings over a folder."""
    plan = Plan(representation=PixelValues(side=8), selector=Demud(rank=3), picks=4, explain=0)
    return Daily(**{"source": parse(str(folder)), "plan": plan, "listed": 2} | given)  # type: ignore[arg-type]


def run(archive: Path | str, asked: Daily) -> list[closing.Closed]:
    """One daily run; the days that got lists."""
    url = str(archive)
    watch = Watch(url)
    arrivals.poll(url, asked)
    commit.settled(url, asked)
    listing = arrivals.enlist(url, asked)
    for rows in ranges(listing.unchecked, 64, 1):
        check(url, listing.name, rows, listing.turn, watch)
    arrived = arrivals.arrive(url, listing.name, asked, 16, 1)
    for block in arrived.blocks:
        extract(url, asked.plan, block, arrived.turn, watch)
    closed = []
    for day in arrived.days:
        if day not in arrived.listed:
            closing.remember_day(url, asked, day)
            continue
        opened = opening.open_day(url, asked, day)
        for run_id in opened.runs.values():
            selection.select(url, run_id, watch)
        overall = next(iter(opened.runs.values()), "")
        for ranks in spread(asked.plan.rendering, opened.picks, 1)[0]:
            if overall:
                explain(url, overall, ranks, watch)
        closed.append(closing.close_day(url, asked, day, {}))
    return closed


def records(archive: Path | str) -> dict[str, dict[str, str]]:
    """What the memory holds: by stratum, what names the content of each day's record."""
    return commit.memory(Place.of(str(archive)))


def name(sol: int, number: int, camera: str = "ML", version: str = "E01") -> str:
    """A file name as those of Mars Science Laboratory's colour cameras."""
    return f"{sol:04d}{camera}{sol:06d}{number:03d}{number:07d}{version}_DRCL.png"


def picture(seed: int, kind: int = 0, side: int = 24) -> bytes:
    """A small PNG: smooth, one of a few kinds, and none like another."""
    chance = np.random.default_rng([seed, kind])
    ramp = np.linspace(0, 1, side)
    base = np.outer(np.sin(ramp * (2 + kind)), np.cos(ramp * (1 + kind)))[:, :, None] * np.array(
        [1.0, 0.8, 0.5 + 0.1 * kind]
    )
    noise = chance.normal(0, 0.15, (4, 4, 3)).repeat(side // 4, 0).repeat(side // 4, 1)
    values = (90 + 110 * np.abs(base + noise)).clip(5, 250).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(values).save(sink, "PNG")
    return sink.getvalue()


def downlink(folder: Path, sols: range, each: int = 8) -> dict[str, bytes]:
    """Names and contents of images of some sols; each sol has one of a kind that was not there before."""
    found = {}
    for sol in sols:
        for number in range(each):
            kind = sol if number == 0 else number % 3
            camera = "ML" if number % 2 else "MR"
            found[name(sol, number, camera)] = picture(100 * sol + number, kind)
    folder.mkdir(parents=True, exist_ok=True)
    return found
