"""A mission replayed: the scheduled deployment runs by itself, sol after sol, while things go wrong.

    python -m deploy.rehearsal.replay IMAGES --sols 15 --out OUT [--most 40] [--explain 2] [--faults all] [--every 45]

A feed on loopback serves the Mars images of a folder sol by sol, with faults: late, twice, sent again, truncated, errors,
slow, changed fields. PostgreSQL, a Prefect server on it, a Dask scheduler, two workers, an S3 store and the page server are
the processes of `compose.yaml`. The deployment's own schedule starts the runs; after each that ends the next sol comes
down; after some of them a worker is killed in the middle of the next. At the end everything that was ever sent must be in
the inbox, the ledger must add up, each sol must have its page, and the memory must be, to the bit, that of a straight run: the
same images at once, without faults, in a folder, by one process. OUT/replay.json has the account.
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

from deploy.rehearsal.composed import CHECKOUT
from deploy.rehearsal.downlink import Downlink, Faults
from deploy.rehearsal.feed_server import FeedServer
from deploy.rehearsal.processes import Rehearsal, RehearsalError, rehearsed
from interpdisc_core.daily import commit, log
from interpdisc_core.errors import InterpdiscError
from interpdisc_core.storage import Place

_CALM = {"pause_s": 0.0, "backoff_s": 0.05, "longest_wait_s": 2.0, "timeout_s": 10.0}
"""The feed is ours: nobody needs to be spared."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to replay. sols: that have images; most: images of each, 0 for all. schema: msl or mars2020.

    representation: as in a plan. explain: picks that are rendered. kill_every: of so many runs, one has a worker killed.
    every: seconds between scheduled runs. patience: seconds that one run may take.
    """

    images: Path
    out: Path
    sols: int = 15
    most: int = 40
    schema: str = "msl"
    faults: str = "all"
    seed: int = 0
    representation: str = ""
    picks: int = 10
    explain: int = 2
    kill_every: int = 4
    every: int = 45
    patience: float = 1200.0


def replay(
    asked: Asked, tell: Callable[[str], None] = print, look: Callable[[Rehearsal], None] | None = None
) -> dict[str, Any]:
    """Replay, compare, and write `replay.json`; what it says. look: is called with the processes before the first run.

    Raises RehearsalError where something is not as it must be.
    """
    asked.out.mkdir(parents=True, exist_ok=True)
    downlink = Downlink.of(asked.images, Faults.of(asked.faults, asked.seed), sols=asked.sols, most=asked.most)
    with FeedServer(downlink, wait_s=0.3).running() as feed:
        settings = _settings(asked, feed)
        with rehearsed(asked.out / "processes", json.dumps(settings)) as made:
            tell(
                f"Prefect UI: {made.ui} (sign in with {made.environment['PREFECT_API_AUTH_STRING']}); pages: {made.pages}"
            )
            os.environ.update({name: made.environment[name] for name in made.environment if name.startswith("AWS_")})
            if look is not None:
                look(made)
            told = _disturbed(asked, feed, made, tell)
            there = commit.memory(Place.of(made.archive))
            told |= _checked(asked, feed, made)
            straight = _straight(asked, feed, settings)
        told["records"] = sum(len(days) for days in there.values())
        told["strata"] = len(there)
        told["same_memory_as_a_straight_run"] = there == straight and bool(told["records"])
    told["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    (asked.out / "replay.json").write_text(json.dumps(told, indent=1) + "\n")
    if not told["same_memory_as_a_straight_run"]:
        raise RehearsalError(f"the memory is another than that of a straight run; see {asked.out}/replay.json.")
    return told


def _settings(asked: Asked, feed: FeedServer) -> dict[str, Any]:
    kind = {"msl": "msl-feed", "mars2020": "mars2020-feed"}[asked.schema]
    source = {
        "kind": kind,
        "url": feed.feed_url(asked.schema),
        "name": asked.schema,
        "manners": _CALM,
        "patience": 1000,
    }
    plan: dict[str, Any] = {"picks": asked.picks, "explain": asked.explain}
    if asked.representation:
        plan["representation"] = json.loads(asked.representation)
    return {"source": source, "plan": plan}


def _disturbed(asked: Asked, feed: FeedServer, made: Rehearsal, tell: Callable[[str], None]) -> dict[str, Any]:
    """Let the schedule do the work until the feed has nothing more to give; an account of the runs."""
    archive, began = Place.of(made.archive), time.monotonic()
    feed.downlink.advance()
    made.run("prefect", "deployment", "schedule", "create", "daily/daily", "--interval", str(asked.every))
    runs: list[dict[str, Any]] = []
    seen: set[str] = set()
    kills = quiet = 0
    while quiet < 2:
        # Two runs after the end that found nothing: late, outstanding and interrupted ones are all done.
        kill = asked.kill_every and len(runs) % asked.kill_every == asked.kill_every - 1
        name, killed = _next_run(asked, made, archive, seen, bool(kill))
        kills += killed
        account = archive.read_json(f"{log.FOLDER}/{name}")
        days = [f"{day['day']}.{day['revision']}" for day in account["days"]]
        runs.append({"days": days, "polled": account["polled"], "timings": account["timings"], "killed": killed})
        tell(
            f"run {len(runs)}: sol {feed.state()['sol']}, {account['polled']['new']} new, {', '.join(days) or 'nothing'}"
        )
        idle = not account["polled"]["new"] and not account["polled"]["resent"] and not account["days"]
        done = feed.state()["done"] and not account["polled"]["outstanding"]
        quiet = quiet + 1 if done and idle else 0
        feed.downlink.advance()
    return {
        "sols": asked.sols, "images": len(feed.downlink.shots), "schema": asked.schema, "runs": runs,
        "workers_killed": kills, "faults": feed.downlink.happened(), "requests": feed.requests,
        "downloads_resumed": feed.resumed, "wall_s": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _next_run(asked: Asked, made: Rehearsal, archive: Place, seen: set[str], kill: bool) -> tuple[str, int]:
    """Wait for the account of the next run that ends; a worker is killed on the way. The account's name, kills."""
    deadline, kills = time.monotonic() + asked.patience, 0
    while True:
        names = [name for name in archive.names(log.FOLDER) if name not in seen]
        if names:
            seen.add(names[0])
            return names[0], kills
        if time.monotonic() > deadline:
            raise RehearsalError(f"no run ended in {asked.patience:.0f} s; the logs are in {made.folder}.")
        if kill and not kills and archive.exists("lock.json"):
            time.sleep(2.0 + (len(seen) % 3))  # at one stage or another
            made.kill_worker(len(seen) % 2)
            kills += 1
        time.sleep(1.0)


def _checked(asked: Asked, feed: FeedServer, made: Rehearsal) -> dict[str, Any]:
    """What must be so at the end. Raises RehearsalError where it is not."""
    found = json.loads(_cli(["verify", made.archive, "--json"]))
    if not found["sound"]:
        raise RehearsalError(f"the archive is not sound: {found['faults'][:3]}")
    truth = {name: of["versions"] for name, of in feed.truth(asked.schema)["images"].items()}
    there = _contents(made.archive, asked.schema)
    missing = [name for name, versions in truth.items() if versions[-1] not in there]
    if missing:
        raise RehearsalError(f"{len(missing)} images never arrived, such as {missing[0]}.")
    sols = sorted({shot.sol for shot in feed.downlink.shots})
    for sol in sols:
        with urllib.request.urlopen(f"{made.pages}/days/sol-{sol:05d}/", timeout=60) as page:
            page.read()
    return {"inputs": found["inputs"], "ledger": found["counts"], "sound": True, "pages": len(sols)}


def _contents(archive: str, feed: str) -> set[str]:
    from interpdisc_core import catalog

    return {entry.sha256 for entry in catalog.load(Place.of(archive)).values() if f"/inbox/{feed}/" in entry.uri}


def _straight(asked: Asked, feed: FeedServer, settings: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The memory of a run over all images at once, of a feed without faults, into a folder, by one worker."""
    base = asked.out / "straight"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    whole = Downlink.of(asked.images, Faults.of("none"), sols=asked.sols, most=asked.most)
    whole.advance(whole.end)
    with FeedServer(whole).running() as calm:
        source = settings["source"] | {"url": calm.feed_url(asked.schema)}
        (base / "settings.json").write_text(json.dumps(settings | {"source": source, "most_days": 1}))
        _cli(["daily", "--settings", str(base / "settings.json"), "--archive", str(base / "archive"), "--workers", "1", "--json"])  # fmt: skip
    return commit.memory(Place.of(base / "archive"))


def _cli(command: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "deploy", *command], cwd=CHECKOUT, env=environment, text=True, check=False, capture_output=True,
    )  # fmt: skip
    if done.returncode:
        raise RehearsalError(f"`interpdisc {' '.join(command)}` failed ({done.returncode}): {done.stderr[-2000:]}")
    return done.stdout


def main(arguments: list[str]) -> int:
    """Replay by the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.rehearsal.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", type=Path, help="a folder of images named as MSL products")
    parser.add_argument("--out", type=Path, required=True, help="a folder for logs and the account")
    parser.add_argument("--sols", type=int, default=15)
    parser.add_argument("--most", type=int, default=40, help="images of a sol; 0 for all")
    parser.add_argument("--schema", choices=("msl", "mars2020"), default="msl")
    parser.add_argument("--faults", default="all", help="none, all, or rates: late=0.1,resent=0.05")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--representation", default="", help="JSON, as in a plan; default: the network")
    parser.add_argument("--picks", type=int, default=10)
    parser.add_argument("--explain", type=int, default=2)
    parser.add_argument("--kill-every", type=int, default=4, help="of so many runs, one has a worker killed; 0: none")
    parser.add_argument("--every", type=int, default=45, help="seconds between scheduled runs")
    given = vars(parser.parse_args(arguments))
    try:
        told = replay(Asked(**given))
    except InterpdiscError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(json.dumps({name: value for name, value in told.items() if name != "runs"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
