"""Kill −9 at the worst moments: the same command goes on, and the picks are the same to the last bit."""

import json
import os
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.flows.conftest import CliProcess, CliRunner, get_command_line, have_ended, list_picks, wait_until

pytestmark = pytest.mark.slow

PICKS = "380"
"""So many that the selection takes seconds and passes the truncation at pick 53."""


@pytest.fixture(scope="module")
def straight(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a run that nobody disturbs picks."""
    return interpdisc.run_discover(
        tiles[0], "--archive", tmp_path_factory.mktemp("straight"), "-n", PICKS, "--explain", "0"
    )


def _start(interpdisc: CliRunner, tiles: tuple[Path, Path], archive: Path, **env: str) -> CliProcess:
    return interpdisc.start(
        "discover",
        tiles[0],
        "--archive",
        archive,
        "-n",
        PICKS,
        "--explain",
        "0",
        "--workers",
        "2",
        "--block",
        "16",
        "--json",
        **env,
    )


def _records(archive: Path) -> list[Path]:
    return list(archive.glob("features/*/*/records/*.json"))


def _selected(archive: Path) -> int:
    states = list(archive.glob("runs/*/selection.json"))
    return len(json.loads(states[0].read_text())["rows"]) if states else 0


def _workers(job: CliProcess) -> list[psutil.Process]:
    return [child for child in job.list_descendants() if "spawn_main" in get_command_line(child)]


def _has_begun(archive: Path, stage: str) -> bool:
    return len(_records(archive)) >= 3 if stage == "extraction" else _selected(archive) >= 60


def _has_finished(archive: Path, stage: str) -> bool:
    return len(_records(archive)) >= 26 if stage == "extraction" else _selected(archive) >= int(PICKS)


def _goes_on(interpdisc: CliRunner, tiles: tuple[Path, Path], archive: Path, straight: dict[str, Any]) -> None:
    """The same command ends well, with the same picks, in a sound archive."""
    code, out, err = _start(interpdisc, tiles, archive).wait()
    assert code == 0, err
    assert list_picks(json.loads(out)) == list_picks(straight)
    assert "sound" in interpdisc("verify", archive)[0]


def test_a_worker_dies(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, straight: dict[str, Any]
) -> None:
    """The run itself goes on: what the worker had not finished is done by another."""
    job = _start(interpdisc, tiles, tmp_path)
    wait_until(lambda: len(_records(tmp_path)) >= 2)
    _workers(job)[0].send_signal(signal.SIGKILL)
    code, out, err = job.wait()
    assert code == 0, err
    assert list_picks(json.loads(out)) == list_picks(straight)
    assert "sound" in interpdisc("verify", tmp_path)[0]


@pytest.mark.parametrize("moment", ["extraction", "selection"])
@pytest.mark.parametrize("who", ["flow", "tree"])
def test_the_run_dies(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, straight: dict[str, Any], moment: str, who: str
) -> None:
    """The flow's process alone, or all of its processes, in the middle of extraction or of selection."""
    for attempt in range(3):  # on a busy machine the kill may come after the stage: repeat it with a new archive
        archive = tmp_path / str(attempt)
        job = _start(interpdisc, tiles, archive)
        wait_until(partial(_has_begun, archive, moment))
        if who == "flow":
            descendants = job.list_descendants()
            job.process.kill()
            job.process.wait()
            wait_until(partial(have_ended, descendants), 90)
        else:
            job.kill_tree()
        if _has_begun(archive, moment) and not _has_finished(archive, moment):
            break
    else:
        pytest.fail(f"three runs finished {moment} before the kill")
    done = {path: path.stat().st_mtime_ns for path in _records(archive)}
    assert "FAULT" not in interpdisc("verify", archive)[0], "what was acknowledged is there and sound"
    _goes_on(interpdisc, tiles, archive, straight)
    assert {path: path.stat().st_mtime_ns for path in done} == done, "what was done was not done again"


def test_a_dead_run_leaves_no_server(interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path) -> None:
    """The Prefect server that a run started ends with it, however the run ends."""
    job = _start(interpdisc, tiles, tmp_path / "archive", PREFECT_API_URL="", XDG_STATE_HOME=str(tmp_path / "state"))
    wait_until(lambda: len(_records(tmp_path / "archive")) >= 1, 240)
    descendants = job.list_descendants()
    servers = [p for p in descendants if "deploy.prefect_app" in get_command_line(p)]
    assert servers
    job.process.kill()
    job.process.wait()
    wait_until(lambda: have_ended(descendants), 90)


def test_control_c_says_how_to_go_on(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, straight: dict[str, Any]
) -> None:
    """Exit code 130, one sentence, no traceback, no process left; the same command goes on."""
    job = _start(interpdisc, tiles, tmp_path)
    wait_until(lambda: len(_records(tmp_path)) >= 3)
    descendants = job.list_descendants()
    os.killpg(job.process.pid, signal.SIGINT)  # as a terminal does: to all processes of the job
    code, _out, err = job.wait(120)
    assert code == 130, err
    assert "Run the same command again to resume" in err
    assert "Traceback" not in err
    wait_until(lambda: have_ended(descendants), 60)
    _goes_on(interpdisc, tiles, tmp_path, straight)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_one_sentence(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, straight: dict[str, Any]
) -> None:
    """Where the disk fills up, the run says so; with room again, the same command goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode()}")
    try:
        code, _out, err = _start(interpdisc, tiles, disk / "archive").wait()
        assert code == 1
        assert "the disk is full" in err
        assert "Traceback" not in err
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        _goes_on(interpdisc, tiles, disk / "archive", straight)
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_two_runs_do_not_write_one_archive(interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path) -> None:
    """The second is refused with a sentence; when the first is killed, its lock is gone."""
    job = _start(interpdisc, tiles, tmp_path)
    wait_until(lambda: len(_records(tmp_path)) >= 1)
    _, err = interpdisc("discover", tiles[0], "--archive", tmp_path, expect=2)
    assert "another run is writing to this archive" in err
    job.kill_tree()
    time.sleep(0.5)
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    assert _start(interpdisc, tiles, tmp_path).wait()[0] == 0
