"""A mission replayed: the scheduled deployment runs by itself, sol after sol, while things go wrong.

    python -m tests.rehearsal.replay IMAGES --sols 15 --out OUT [--max-images 40] [--explain 2] [--faults all]

A feed on loopback serves the Mars images of a folder sol by sol, with faults: late, twice, sent again, truncated, errors,
slow, changed fields. PostgreSQL, a Prefect server on it, a Dask scheduler, two workers, an S3 store and the page server are
the processes of `compose.yaml`. The deployment's own schedule starts the runs; after each run the next sol is published;
in some runs a worker is killed. At the end, everything that was ever sent must be in the inbox, the ledger must add up,
each sol must have its page, and the memory must be, to the bit, that of an undisturbed run: the same images at once, without
faults, in a folder, by one process. OUT/replay.json has the log.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interpdisc_core.errors import InterpdiscError
from interpdisc_core.operations.daily import commit, finish
from interpdisc_core.storage.location import Location
from tests.rehearsal.composed import CHECKOUT
from tests.rehearsal.downlink import Downlink, FaultRates
from tests.rehearsal.feed_server import FeedServer
from tests.rehearsal.processes import Rehearsal, RehearsalError, start_rehearsal

_FAST_HTTP_SETTINGS = {"pause_s": 0.0, "backoff_s": 0.05, "max_wait_s": 2.0, "timeout_s": 10.0}
"""The feed is on this machine: no need to spare it."""


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """What to replay.

    Attributes:
        sols: Number of sols that have images.
        max_images: Images of each sol; 0: all.
        schema: msl or mars2020.
        representation: JSON, as in a plan; empty: the default network.
        explain: Picks that are rendered.
        kill_every: In one of this many runs a worker is killed; 0: never.
        interval_s: Seconds between scheduled runs.
        timeout_s: Seconds that one run may take.
    """

    images: Path
    out: Path
    sols: int = 15
    max_images: int = 40
    schema: str = "msl"
    faults: str = "all"
    seed: int = 0
    representation: str = ""
    picks: int = 10
    explain: int = 2
    kill_every: int = 4
    interval_s: int = 45
    timeout_s: float = 1200.0


def replay_mission(
    options: ReplayOptions, report: Callable[[str], None] = print, on_ready: Callable[[Rehearsal], None] | None = None
) -> dict[str, Any]:
    """Replay, compare, and write `replay.json`; returns its content.

    Args:
        options: What to replay.
        report: Gets a line for each run.
        on_ready: Called with the processes before the first run.

    Raises:
        RehearsalError: If the outcome is not as it must be.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    downlink = Downlink.from_folder(
        options.images, FaultRates.parse(options.faults, options.seed), sols=options.sols, max_images=options.max_images
    )
    with FeedServer(downlink, retry_after_s=0.3).serve_in_thread() as feed:
        settings = _build_settings(options, feed)
        with start_rehearsal(options.out / "processes", json.dumps(settings)) as rehearsal:
            report(
                f"Prefect UI: {rehearsal.ui} (sign in with {rehearsal.environment['PREFECT_API_AUTH_STRING']}); pages: {rehearsal.pages}"
            )
            os.environ.update(
                {name: rehearsal.environment[name] for name in rehearsal.environment if name.startswith("AWS_")}
            )
            if on_ready is not None:
                on_ready(rehearsal)
            account = _run_with_faults(options, feed, rehearsal, report)
            memory = commit.load_record_digests(Location.parse(rehearsal.archive))
            account |= _check_outcome(options, feed, rehearsal)
            undisturbed_memory = _run_undisturbed(options, feed, settings)
        account["records"] = sum(len(days) for days in memory.values())
        account["strata"] = len(memory)
        account["same_memory_as_an_undisturbed_run"] = memory == undisturbed_memory and bool(account["records"])
    account["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    (options.out / "replay.json").write_text(json.dumps(account, indent=1) + "\n")
    if not account["same_memory_as_an_undisturbed_run"]:
        raise RehearsalError(f"the memory differs from that of an undisturbed run; see {options.out}/replay.json.")
    return account


def _build_settings(options: ReplayOptions, feed: FeedServer) -> dict[str, Any]:
    kind = {"msl": "msl-feed", "mars2020": "mars2020-feed"}[options.schema]
    source = {
        "kind": kind,
        "url": feed.feed_url(options.schema),
        "name": options.schema,
        "http_policy": _FAST_HTTP_SETTINGS,
        "patience": 1000,
    }
    plan: dict[str, Any] = {"picks": options.picks, "explain": options.explain}
    if options.representation:
        plan["representation"] = json.loads(options.representation)
    return {"source": source, "plan": plan}


def _run_with_faults(
    options: ReplayOptions, feed: FeedServer, rehearsal: Rehearsal, report: Callable[[str], None]
) -> dict[str, Any]:
    """Let the schedule run until the feed has nothing more; returns a log of the runs."""
    archive, start = Location.parse(rehearsal.archive), time.monotonic()
    feed.downlink.advance()
    rehearsal.run("prefect", "deployment", "schedule", "create", "daily/daily", "--interval", str(options.interval_s))
    runs: list[dict[str, Any]] = []
    read_accounts: set[str] = set()
    kills = idle_runs = 0
    while idle_runs < 2:
        # Two runs that found nothing after the end: late, outstanding and interrupted images are all done.
        kill = options.kill_every and len(runs) % options.kill_every == options.kill_every - 1
        name, run_kills = _wait_for_run(options, rehearsal, archive, read_accounts, bool(kill))
        kills += run_kills
        account = archive.read_json(f"{finish.RUN_LOG_FOLDER}/{name}")
        days = [f"{day['day']}.{day['revision']}" for day in account["days"]]
        runs.append({"days": days, "polled": account["polled"], "timings": account["timings"], "killed": run_kills})
        report(
            f"run {len(runs)}: sol {feed.describe_state()['sol']}, {account['polled']['new']} new, {', '.join(days) or 'nothing'}"
        )
        is_idle = not account["polled"]["new"] and not account["polled"]["resent"] and not account["days"]
        is_finished = feed.describe_state()["done"] and not account["polled"]["outstanding"]
        idle_runs = idle_runs + 1 if is_finished and is_idle else 0
        feed.downlink.advance()
    return {
        "sols": options.sols,
        "images": len(feed.downlink.shots),
        "schema": options.schema,
        "runs": runs,
        "workers_killed": kills,
        "faults": feed.downlink.count_faults(),
        "requests": feed.request_count,
        "downloads_resumed": feed.resumed_downloads,
        "wall_s": round(time.monotonic() - start, 1),
    }


def _wait_for_run(
    options: ReplayOptions, rehearsal: Rehearsal, archive: Location, read_accounts: set[str], kill: bool
) -> tuple[str, int]:
    """Wait for the log of the next run that ends, and perhaps kill a worker; returns the log's name and the kills."""
    deadline, kills = time.monotonic() + options.timeout_s, 0
    while True:
        names = [name for name in archive.list_names(finish.RUN_LOG_FOLDER) if name not in read_accounts]
        if names:
            read_accounts.add(names[0])
            return names[0], kills
        if time.monotonic() > deadline:
            raise RehearsalError(f"no run ended in {options.timeout_s:.0f} s; the logs are in {rehearsal.folder}.")
        if kill and not kills and archive.exists("lock.json"):
            time.sleep(2.0 + (len(read_accounts) % 3))  # at one stage or another
            rehearsal.kill_worker(len(read_accounts) % 2)
            kills += 1
        time.sleep(1.0)


def _check_outcome(options: ReplayOptions, feed: FeedServer, rehearsal: Rehearsal) -> dict[str, Any]:
    """Check what must hold at the end. Raises RehearsalError if it does not."""
    verification = json.loads(_run_command(["verify", rehearsal.archive, "--json"]))
    if not verification["sound"]:
        raise RehearsalError(f"the archive is not sound: {verification['faults'][:3]}")
    expected_versions = {
        name: image["versions"] for name, image in feed.describe_images(options.schema)["images"].items()
    }
    stored_hashes = _list_hashes(rehearsal.archive, options.schema)
    missing = [name for name, versions in expected_versions.items() if versions[-1] not in stored_hashes]
    if missing:
        raise RehearsalError(f"{len(missing)} images never arrived, such as {missing[0]}.")
    sols = sorted({shot.sol for shot in feed.downlink.shots})
    for sol in sols:
        with urllib.request.urlopen(f"{rehearsal.pages}/days/sol-{sol:05d}/", timeout=60) as page:
            page.read()
    return {"inputs": verification["inputs"], "ledger": verification["counts"], "sound": True, "pages": len(sols)}


def _list_hashes(archive: str, feed: str) -> set[str]:
    from interpdisc_core.archive import catalog

    return {
        entry.sha256
        for entry in catalog.load_entries(Location.parse(archive)).values()
        if f"/inbox/{feed}/" in entry.uri
    }


def _run_undisturbed(options: ReplayOptions, feed: FeedServer, settings: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The memory of a run over all images at once, of a feed without faults, into a folder, by one worker."""
    base = options.out / "undisturbed"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    downlink = Downlink.from_folder(
        options.images, FaultRates.parse("none"), sols=options.sols, max_images=options.max_images
    )
    downlink.advance(downlink.last_step)
    with FeedServer(downlink).serve_in_thread() as calm_feed:
        source = settings["source"] | {"url": calm_feed.feed_url(options.schema)}
        (base / "settings.json").write_text(json.dumps(settings | {"source": source, "most_days": 1}))
        _run_command(
            [
                "daily",
                "--settings",
                str(base / "settings.json"),
                "--archive",
                str(base / "archive"),
                "--workers",
                "1",
                "--json",
            ]
        )
    return commit.load_record_digests(Location.parse(base / "archive"))


def _run_command(command: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.run(
        [str(Path(sys.executable).with_name("interpdisc")), *command],
        cwd=CHECKOUT,
        env=environment,
        text=True,
        check=False,
        capture_output=True,
    )
    if process.returncode:
        raise RehearsalError(
            f"`interpdisc {' '.join(command)}` failed ({process.returncode}): {process.stderr[-2000:]}"
        )
    return process.stdout


def main(arguments: list[str]) -> int:
    """Replay by the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.rehearsal.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", type=Path, help="a folder of images named as MSL products")
    parser.add_argument("--out", type=Path, required=True, help="a folder for logs")
    parser.add_argument("--sols", type=int, default=15)
    parser.add_argument("--max-images", type=int, default=40, help="images of a sol; 0: all")
    parser.add_argument("--schema", choices=("msl", "mars2020"), default="msl")
    parser.add_argument("--faults", default="all", help="none, all, or rates: late=0.1,resent=0.05")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--representation", default="", help="JSON, as in a plan; default: the network")
    parser.add_argument("--picks", type=int, default=10)
    parser.add_argument("--explain", type=int, default=2)
    parser.add_argument(
        "--kill-every", type=int, default=4, help="in one of this many runs a worker is killed; 0: never"
    )
    parser.add_argument("--interval-s", type=int, default=45, help="seconds between scheduled runs")
    options = vars(parser.parse_args(arguments))
    try:
        account = replay_mission(ReplayOptions(**options))
    except InterpdiscError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(json.dumps({name: value for name, value in account.items() if name != "runs"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
