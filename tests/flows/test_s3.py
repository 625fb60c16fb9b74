"""Images and archive in S3: a real S3 protocol server (moto) on loopback, the same picks as from a folder."""

import json
import os
from pathlib import Path

from tests.flows.conftest import CliRunner, list_picks


def test_the_same_job_in_s3(
    interpdisc: CliRunner, tiles: tuple[Path, Path], s3: dict[str, str], tmp_path: Path, pixel_plan: Path
) -> None:
    """Source and archive under s3://, hard names included: same ids, same scores; verify and show work there."""
    from interpdisc_core.storage.remote_files import get_s3_filesystem

    folder = tmp_path / "images"
    folder.mkdir()
    names = [
        "two words.png",
        "<b>bold</b>".replace("/", "") + ".png",
        "naïve-漢字.png",
        "quote\"s'.png",
        "percent%20+.png",
    ]
    for number, tile in enumerate(sorted(tiles[0].iterdir())[:60]):
        os.link(tile, folder / (names[number] if number < len(names) else tile.name))
    (folder / "broken.jpg").write_bytes(b"no image")
    for path in folder.iterdir():
        get_s3_filesystem().pipe_file(f"rover/sol-1/{path.name}", path.read_bytes())

    local = interpdisc.run_discover(folder, "--archive", tmp_path / "archive", "--plan", pixel_plan)
    remote = interpdisc.run_discover(
        "s3://rover/sol-1", "--archive", "s3://rover/archive", "--plan", pixel_plan, "--out", tmp_path / "out", **s3
    )
    assert list_picks(remote) == list_picks(local)
    assert remote["counts"] == local["counts"]
    assert (tmp_path / "out" / "report.html").is_file()
    out, _ = interpdisc("verify", "s3://rover/archive", **s3)
    assert "sound" in out
    out, _ = interpdisc("show", "s3://rover/archive", "--json", **s3)
    assert json.loads(out)["runs"][0]["run"] == remote["run"]

    again = interpdisc.run_discover("s3://rover/sol-1", "--archive", "s3://rover/archive", "--plan", pixel_plan, **s3)
    assert list_picks(again) == list_picks(remote)
    assert again["run"] == remote["run"]

    key = next(k for k in get_s3_filesystem().find("rover/archive/features") if "/values/c/" in k)
    get_s3_filesystem().rm(key)
    out, _ = interpdisc("verify", "s3://rover/archive", expect=3, **s3)
    assert "its chunk is missing" in out


def test_a_bucket_that_is_not_there_is_one_sentence(interpdisc: CliRunner, s3: dict[str, str], tmp_path: Path) -> None:
    """Exit code 2 and a sentence, whatever the S3 client raises."""
    _, err = interpdisc("discover", "s3://nowhere/images", "--archive", tmp_path / "archive", expect=2, **s3)
    assert "s3://nowhere/images" in err
    assert "Traceback" not in err
