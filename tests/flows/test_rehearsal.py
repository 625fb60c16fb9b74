"""The processes of the compose file, run by hand: PostgreSQL, S3, Prefect, Dask, pages, and a deployment that runs by itself."""

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from deploy.rehearsal import database, processes
from interpdisc_core.errors import PlanError


def test_a_database_that_is_not_installed_is_one_sentence() -> None:
    """It says what to install."""
    with pytest.raises(PlanError, match="install PostgreSQL"):
        database.program("no-such-program-of-postgresql")


@pytest.mark.slow
def test_every_process_comes_up_and_the_schedule_does_the_rest(tiles: tuple[Path, Path], tmp_path: Path) -> None:
    """A daily run that nobody started makes its day's page, although a worker is killed; then everything is gone."""
    try:
        database.program("initdb")
    except PlanError as error:
        pytest.skip(str(error))
    sources = tmp_path / "downlink"
    sources.mkdir()
    for number, tile in enumerate(sorted(tiles[0].rglob("*.*"))[:12]):
        shutil.copy(tile, sources / f"0007ML000000{number:03d}0100031E01_DRCL{tile.suffix}")
    daily = {
        "source": {"kind": "folder", "path": str(sources)},
        "plan": {"representation": {"kind": "pixels", "side": 8}, "picks": 3, "explain": 0},
    }
    with processes.rehearsed(tmp_path / "rehearsal", json.dumps(daily)) as made:
        assert "made  work pool interpdisc" in (made.folder / "register.log").read_text()
        assert "left  work pool interpdisc" in made.register(), "once more changes nothing"
        made.run("prefect", "deployment", "schedule", "create", "daily/daily", "--interval", "20")
        made.kill_worker(0)
        page = waited_for(f"{made.pages}/days/sol-00007/")
        assert b"0007ML0000000" in page
        assert waited_for(made.ui)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{made.api}/admin/version", timeout=10)
        running = dict(made.running)
        assert all(process.alive() for process in running.values())
        assert (made.cluster.data / "cluster" / "PG_VERSION").is_file()
    assert not any(process.alive() for process in running.values())
    assert not made.cluster.data.exists()


def waited_for(address: str, patience: float = 240) -> bytes:
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                data: bytes = answer.read()
                return data
        except urllib.error.HTTPError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)
