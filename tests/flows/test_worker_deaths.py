"""An image that kills whatever process decodes it, with SIGKILL: each flow ends well, and only that image is quarantined."""

import json
import shutil
from pathlib import Path

import pytest

from interpdisc_core.archive import catalog
from interpdisc_core.storage.location import Location
from tests.flows.conftest import CliRunner, list_picks
from tests.helpers.daily_runs import make_file_name
from tests.helpers.killers import KILLER_SIZE, count_deaths, make_killer_environment
from tests.helpers.shard_files import make_members, make_noise_png, write_tar

pytestmark = pytest.mark.slow


@pytest.fixture
def killer_env(tmp_path: Path) -> dict[str, str]:
    """The environment in which a marked image kills every process that decodes it."""
    return make_killer_environment(tmp_path / "killer", "pixels")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images, the eighth of which kills."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        size = KILLER_SIZE if number == 7 else (30, 20)
        (folder / make_file_name(5, number)).write_bytes(make_noise_png(number, *size))
    return folder


def check_quarantine(archive: Path, count: int, killer: str) -> None:
    """Only the killer is quarantined, as such; every other image is ready."""
    entries = list(catalog.load_entries(Location.parse(archive)).values())
    (quarantined,) = (entry for entry in entries if entry.status == "quarantined")
    assert quarantined.id.endswith(killer)
    assert "kills the process that decodes it" in quarantined.reason
    assert "SIGKILL" in quarantined.reason
    assert sum(entry.status == "ready" for entry in entries) == count - 1


def test_discover(
    interpdisc: CliRunner, photos: Path, tmp_path: Path, pixel_plan: Path, killer_env: dict[str, str]
) -> None:
    """The picks are those of a run without the killer, and a second run with new images does not try it again."""
    archive, options = tmp_path / "archive", ("--plan", pixel_plan, "--workers", "2", "--block", "8")
    result = interpdisc.run_discover(photos, "--archive", archive, *options, **killer_env)
    check_quarantine(archive, 20, make_file_name(5, 7))
    deaths = count_deaths(killer_env)
    clean = tmp_path / "clean"
    shutil.copytree(photos, clean)
    (clean / make_file_name(5, 7)).unlink()
    expected = interpdisc.run_discover(clean, "--archive", tmp_path / "other", *options)
    assert list_picks(result) == list_picks(expected)
    assert "sound" in interpdisc("verify", archive)[0]

    for record in archive.glob("features/*/*/records/*"):  # as if the run had been killed before it wrote them
        record.unlink()
    (photos / "copy.png").write_bytes((photos / make_file_name(5, 7)).read_bytes())
    again = interpdisc.run_discover(photos, "--archive", archive, *options, **killer_env)
    assert list_picks(again) == list_picks(expected)
    assert count_deaths(killer_env) == deaths, "it was remembered"


def test_daily(interpdisc: CliRunner, photos: Path, tmp_path: Path, killer_env: dict[str, str]) -> None:
    """The day is committed without it."""
    settings, archive = tmp_path / "settings.json", tmp_path / "archive"
    plan = {"representation": {"kind": "pixels", "side": 8}, "picks": 4, "explain": 0}
    settings.write_text(json.dumps({"source": {"kind": "folder", "path": str(photos)}, "plan": plan}))
    out, _ = interpdisc("daily", "--settings", settings, "--archive", archive, "--workers", "2", "--json", **killer_env)
    (day,) = json.loads(out)["days"]
    assert len(day["picks"]) == 4
    check_quarantine(archive, 20, make_file_name(5, 7))
    assert "sound" in interpdisc("verify", archive)[0]


def test_backfill(interpdisc: CliRunner, tmp_path: Path, pixel_plan: Path, killer_env: dict[str, str]) -> None:
    """The shard with the killer is complete like the others; a shard with the same content does not kill again."""
    killer, shards, archive = make_noise_png(99, *KILLER_SIZE), tmp_path / "shards", tmp_path / "archive"
    for number in range(3):
        members = make_members(10 * number, 10 * number + 10)
        write_tar(
            shards / f"m-{number}.tar", [*members[:4], *([("killer.png", killer)] if number == 1 else []), *members[4:]]
        )
    command = ("backfill", str(shards), "--archive", archive, "--plan", pixel_plan, "--workers", "2", "--json")
    result = json.loads(interpdisc(*command, **killer_env)[0])
    assert result["complete"]
    check_quarantine(archive, 31, "killer.png")
    assert "sound" in interpdisc("verify", archive)[0]
    deaths = count_deaths(killer_env)
    write_tar(shards / "m-3.tar", [("again.png", killer), *make_members(30, 35)])
    assert json.loads(interpdisc(*command, **killer_env)[0])["complete"]
    assert count_deaths(killer_env) == deaths
