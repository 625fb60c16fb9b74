"""The processes of the compose file, run by hand: PostgreSQL, S3, Prefect, Dask, pages, and a scheduled deployment."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from interpdisc_core.errors import PlanError
from tests.rehearsal import database, processes
from tests.rehearsal.replay import ReplayOptions, replay_mission


def test_a_missing_database_program_is_one_sentence() -> None:
    """It names what to install."""
    with pytest.raises(PlanError, match="install PostgreSQL"):
        database.find_program("no-such-program-of-postgresql")


@pytest.mark.slow
def test_a_small_mission_ends_with_the_memory_of_an_undisturbed_run(tiles: tuple[Path, Path], tmp_path: Path) -> None:
    """The schedule starts the runs, the feed has faults, a worker is killed: the memory is the same, to the bit."""
    try:
        database.find_program("initdb")
    except PlanError as error:
        pytest.skip(str(error))
    images = tmp_path / "downlink"
    images.mkdir()
    for number, tile in enumerate(sorted(tiles[0].rglob("*.*"))[:16]):
        name = f"{7 + number % 2:04d}ML000000{number:03d}{number:07d}E01_DRCL.JPG"
        Image.open(tile).convert("RGB").save(images / name, "JPEG")
    rehearsals: list[processes.Rehearsal] = []

    def check_processes(rehearsal: processes.Rehearsal) -> None:
        rehearsals.append(rehearsal)
        assert "created  work pool interpdisc" in (rehearsal.folder / "register.log").read_text()
        assert "unchanged  work pool interpdisc" in rehearsal.register(), "a second time changes nothing"
        assert urllib.request.urlopen(rehearsal.ui, timeout=30).status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{rehearsal.api}/admin/version", timeout=30)
        assert all(process.is_alive() for process in rehearsal.processes.values())

    result = replay_mission(
        ReplayOptions(
            images=images,
            out=tmp_path / "out",
            sols=2,
            representation='{"kind": "pixels", "side": 8}',
            picks=3,
            explain=0,
            kill_every=3,
            interval_s=10,
        ),
        lambda _: None,
        check_processes,
    )
    assert result["same_memory_as_an_undisturbed_run"]
    assert result["workers_killed"] >= 1
    assert result["faults"]
    assert result["pages"] == 2
    assert sum(result["ledger"].values()) == result["inputs"] >= 16
    assert not any(process.is_alive() for process in rehearsals[0].processes.values())
    assert not rehearsals[0].cluster.data.exists()
