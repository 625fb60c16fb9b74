"""A daily run by the core's own functions, in the order of the flow, without an orchestrator; and images for it."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from interpdisc_core.operations.daily import commit, finish, ingest, prepare
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.pipeline import select
from interpdisc_core.pipeline.explain import explain_picks, partition_ranks
from interpdisc_core.pipeline.extract import extract_block
from interpdisc_core.pipeline.ingest import check_inputs
from interpdisc_core.pipeline.outstanding import DEFAULT_MAX_OUTSTANDING, accept_outstanding
from interpdisc_core.pipeline.partition import split_range
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.representations import PixelValues
from interpdisc_core.selectors import Demud
from interpdisc_core.sources import parse_source
from interpdisc_core.storage.location import Location


def make_settings(folder: Path, **overrides: object) -> Daily:
    """Cheap settings over a folder."""
    plan = Plan(representation=PixelValues(side=8), selector=Demud(rank=3), picks=4, explain=0)
    return Daily(**{"source": parse_source(str(folder)), "plan": plan, "stratum_picks": 2} | overrides)  # type: ignore[arg-type]


def run_daily(archive: Path | str, daily_settings: Daily) -> list[finish.FinishedDay]:
    """One daily run; the days that got lists."""
    url = str(archive)
    watch = ProgressReporter(url)
    ingest.poll_source(url, daily_settings)
    commit.apply_verdicts(url, daily_settings)
    listing = ingest.list_daily_inputs(url, daily_settings)
    for rows in split_range(listing.unchecked, 64, 1):
        check_result = check_inputs(url, listing.name, rows, listing.sequence, watch)
        accept_outstanding(url, check_result.unread, check_result.inputs, DEFAULT_MAX_OUTSTANDING)
    ingest_summary = ingest.ingest_days(url, listing.name, daily_settings, 16, 1)
    block_results = [
        extract_block(url, daily_settings.plan, block, ingest_summary.sequence, watch)
        for block in ingest_summary.blocks
    ]
    unread_count = sum(result.unread_count for result in block_results)
    accept_outstanding(url, unread_count, ingest_summary.images, DEFAULT_MAX_OUTSTANDING)
    finished_days = []
    for day in ingest_summary.days:
        if day not in ingest_summary.days_with_picks:
            finish.remember_day(url, daily_settings, day)
            continue
        prepared_day = prepare.prepare_day(url, daily_settings, day)
        for run_id in prepared_day.runs.values():
            select.select_picks(url, run_id, watch)
        overall_run = next(iter(prepared_day.runs.values()), "")
        for ranks in partition_ranks(daily_settings.plan.rendering, prepared_day.picks, 1)[0]:
            if overall_run:
                explain_picks(url, overall_run, ranks, watch)
        finished_days.append(finish.finish_day(url, daily_settings, day, {}))
    return finished_days


def list_memory_records(archive: Path | str) -> dict[str, dict[str, str]]:
    """What the memory holds: by stratum, what names the content of each day's record."""
    return commit.load_record_digests(Location.parse(str(archive)))


def make_file_name(sol: int, number: int, camera: str = "ML", version: str = "E01") -> str:
    """A file name as those of Mars Science Laboratory's colour cameras."""
    return f"{sol:04d}{camera}{sol:06d}{number:03d}{number:07d}{version}_DRCL.png"


def make_scene_png(seed: int, kind: int = 0, side: int = 24) -> bytes:
    """A small PNG: smooth, one of a few kinds, and none like another."""
    rng = np.random.default_rng([seed, kind])
    ramp = np.linspace(0, 1, side)
    base = np.outer(np.sin(ramp * (2 + kind)), np.cos(ramp * (1 + kind)))[:, :, None] * np.array(
        [1.0, 0.8, 0.5 + 0.1 * kind]
    )
    noise = rng.normal(0, 0.15, (4, 4, 3)).repeat(side // 4, 0).repeat(side // 4, 1)
    values = (90 + 110 * np.abs(base + noise)).clip(5, 250).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(values).save(sink, "PNG")
    return sink.getvalue()


def make_images(folder: Path, sols: range, images_per_sol: int = 8) -> dict[str, bytes]:
    """Names and contents of images of some sols; each sol has one of a kind that was not there before."""
    files = {}
    for sol in sols:
        for number in range(images_per_sol):
            kind = sol if number == 0 else number % 3
            camera = "ML" if number % 2 else "MR"
            files[make_file_name(sol, number, camera)] = make_scene_png(100 * sol + number, kind)
    folder.mkdir(parents=True, exist_ok=True)
    return files
