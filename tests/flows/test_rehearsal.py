"""The processes of the compose file, run by hand: PostgreSQL, S3, Prefect, Dask, pages, and a deployment that runs by itself."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from deploy.rehearsal import database, processes
from deploy.rehearsal.replay import Asked, replay
from interpdisc_core.errors import PlanError


def test_a_database_that_is_not_installed_is_one_sentence() -> None:
    """It says what to install."""
    with pytest.raises(PlanError, match="install PostgreSQL"):
        database.program("no-such-program-of-postgresql")


@pytest.mark.slow
def test_a_mission_in_small(tiles: tuple[Path, Path], tmp_path: Path) -> None:
    """The schedule runs by itself, the feed errs, a worker is killed: the memory is that of a straight run, to the bit."""
    try:
        database.program("initdb")
    except PlanError as error:
        pytest.skip(str(error))
    images = tmp_path / "downlink"
    images.mkdir()
    for number, tile in enumerate(sorted(tiles[0].rglob("*.*"))[:16]):
        name = f"{7 + number % 2:04d}ML000000{number:03d}{number:07d}E01_DRCL.JPG"
        Image.open(tile).convert("RGB").save(images / name, "JPEG")
    there: list[processes.Rehearsal] = []

    def look(made: processes.Rehearsal) -> None:
        there.append(made)
        assert "made  work pool interpdisc" in (made.folder / "register.log").read_text()
        assert "left  work pool interpdisc" in made.register(), "once more changes nothing"
        assert urllib.request.urlopen(made.ui, timeout=30).status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{made.api}/admin/version", timeout=30)
        assert all(process.alive() for process in made.running.values())

    told = replay(
        Asked(images=images, out=tmp_path / "out", sols=2, representation='{"kind": "pixels", "side": 8}', picks=3,
              explain=0, kill_every=3, every=10),
        lambda _: None, look,
    )  # fmt: skip
    assert told["same_memory_as_a_straight_run"]
    assert told["workers_killed"] >= 1
    assert told["faults"]
    assert told["pages"] == 2
    assert sum(told["ledger"].values()) == told["inputs"] >= 16
    assert not any(process.alive() for process in there[0].running.values())
    assert not there[0].cluster.data.exists()
