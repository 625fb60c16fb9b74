"""kill −9 at a random moment of each long command; the same command must then end as if nothing had happened."""

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import psutil

from tests.campaign.commands import AttackedCommand, AttackInputs
from tests.campaign.table import CampaignRow
from tests.flows.conftest import CliProcess, CliRunner, get_command_line, have_ended, wait_until

VICTIMS = ("tree", "flow", "worker")
"""All processes of the command at once; its first process; one of its Dask workers."""
_MAX_LATE_TRIES = 4


class _BrokenPromiseError(Exception):
    """A command that did not end as promised; its text says how."""


def attack_by_kills(
    interpdisc: CliRunner, inputs: AttackInputs, folder: Path, tries: int, seed: int
) -> list[CampaignRow]:
    """Kill each command `tries` / 6 times; each time another moment and victim."""
    rows = []
    commands = inputs.list_commands()
    for number, command in enumerate(commands):
        row = CampaignRow("kills", command.name)
        rows.append(row)
        straight_folder = folder / f"{command.name}-straight"
        try:
            expected, duration_s = _run_to_end(interpdisc, command, straight_folder)
        except _BrokenPromiseError as error:
            row.record(f"undisturbed, {error}")
            continue
        draws = random.Random(f"{seed} {command.name}")
        victims = VICTIMS if command.archive else VICTIMS[:2]
        for count in range(tries // len(commands) + (number < tries % len(commands))):
            try_folder = folder / f"{command.name}-{count}"
            fault, stage = _kill_once(
                interpdisc, command, try_folder, expected, duration_s, victims[count % len(victims)], draws
            )
            row.record(fault and f"try {count} of seed {seed}: {fault}", stage)
            if not fault:
                shutil.rmtree(try_folder, ignore_errors=True)
    return rows


def _kill_once(
    interpdisc: CliRunner,
    command: AttackedCommand,
    folder: Path,
    expected: Any,
    duration_s: float,
    victim: str,
    draws: random.Random,
) -> tuple[str, str]:
    """What went wrong, or empty; and the stage that was met."""
    latest = 0.95
    for _ in range(_MAX_LATE_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        job = interpdisc.start(command.name, *command.build_arguments(folder), "--json")
        wait_s = draws.uniform(0.1, latest) * duration_s
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and job.process.poll() is None:
            time.sleep(0.02)
        if job.process.poll() is None:
            break
        latest *= 0.7  # it was faster than the undisturbed run: kill earlier
    else:
        return "it always ended before it could be killed", ""
    stage = _find_stage(folder / command.archive) if command.archive else ""
    label = f"{stage or 'begin'} ({victim})"
    if victim == "worker":
        _kill_worker(job)
        code, out, err = job.wait(600)
        if code:
            return f"a worker was killed in {stage}, and the run ended with {code}: {err[-300:]}", label
        outcome = command.read_outcome(folder, json.loads(out))
        return ("" if outcome == expected else f"other results after a worker was killed in {stage}"), label
    descendants = job.list_descendants()
    if victim == "tree":
        job.kill_tree()
    else:
        job.process.kill()
        job.process.wait()
        try:
            wait_until(lambda: have_ended(descendants), 90)
        except AssertionError:
            left = [get_command_line(process)[:80] for process in descendants if not have_ended([process])]
            return f"processes outlive the killed run: {left}", label
    try:
        outcome, _ = _run_to_end(interpdisc, command, folder)
    except _BrokenPromiseError as error:
        return f"killed in {stage} ({victim}), {error}", label
    return ("" if outcome == expected else f"other results after a kill in {stage} ({victim})"), label


def _run_to_end(interpdisc: CliRunner, command: AttackedCommand, folder: Path) -> tuple[Any, float]:
    """The outcome of the command, in an archive that `verify` calls sound, and how many seconds it took."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    code, out, err = interpdisc.start(command.name, *command.build_arguments(folder), "--json").wait(900)
    duration_s = time.monotonic() - start
    if code or "Traceback" in err:
        raise _BrokenPromiseError(f"the command ends with exit code {code}: {err[-300:]}")
    if command.archive:
        check, told, said = interpdisc.start("verify", folder / command.archive).wait(300)
        if check:
            raise _BrokenPromiseError(f"verify ends with exit code {check}: {(told + said)[-300:]}")
    return command.read_outcome(folder, json.loads(out)), duration_s


def _find_stage(archive: Path) -> str:
    """The last stage whose progress was begun."""
    begun = sorted(archive.glob("progress/*/*/begin.json"), key=lambda path: path.stat().st_mtime_ns)
    return begun[-1].parent.name.partition("-")[2] if begun else ""


def _kill_worker(job: CliProcess) -> None:
    workers = [process for process in job.list_descendants() if "spawn_main" in get_command_line(process)]
    for process in workers[:1]:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
