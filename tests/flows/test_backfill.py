"""A backfill as a user gives it: shards and archive in S3, all its processes killed three times, every row exact."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from interpdisc_core.archive import catalog
from interpdisc_core.archive.feature_store import FeatureStore, gather_features
from interpdisc_core.images.decode import decode
from interpdisc_core.representations import PixelValues
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.remote_files import get_s3_filesystem
from tests.flows.conftest import CliRunner, wait_until
from tests.helpers.shard_files import make_members, make_noise_png, write_tar

ARCHIVE = "s3://rover/backfilled"


@pytest.mark.slow
def test_killed_three_times(interpdisc: CliRunner, s3: dict[str, str], tmp_path: Path, pixel_plan: Path) -> None:
    """The same command goes on each time, does no shard twice, and ends as a run that nobody disturbed."""
    count = 20
    for number in range(count):
        members = make_members(40 * number, 40 * number + 42)  # two of which the next shard has too
        made = write_tar(
            tmp_path / "shards" / f"m-{number:02d}.tar", [*members, ("cut.png", make_noise_png(number)[:-50])]
        )
        get_s3_filesystem().put_file(str(made), f"rover/shards/{made.name}")

    def done() -> list[str]:
        names = Location.parse(ARCHIVE).list_names("backfills")
        return [file for name in names for file in Location.parse(ARCHIVE).list_names(f"backfills/{name}/shards")]

    command = (
        "backfill",
        "s3://rover/shards",
        "--archive",
        ARCHIVE,
        "--plan",
        pixel_plan,
        "--workers",
        "2",
        "--block",
        "16",
        "--json",
    )
    for goal in (1, 6, 12):
        job = interpdisc.start(*command, **s3)
        wait_until(lambda goal=goal, job=job: len(done()) >= goal or job.process.poll() is not None, 240)
        assert job.process.poll() is None, job.wait()
        job.kill_tree()
        assert len(done()) < count, "it was killed in the middle"
    assert "FAULT" not in interpdisc("verify", ARCHIVE, **s3)[0], "what was acknowledged is there and sound"
    before = len(done())
    out, err = interpdisc(*command, **s3)
    result = json.loads(out)
    assert result["complete"], err
    assert result["call"]["shards"] == count - before, "what was done was not done again"
    assert result["proof"]["headers"] == sum(result["proof"]["statuses"].values()) == count * 43
    assert result["proof"]["vectors"] == 40 * count + 2
    assert "sound" in interpdisc("verify", ARCHIVE, **s3)[0]

    # Each member of each shard that is no duplicate, and its row, from its own bytes.
    archive, representation = Location.parse(ARCHIVE), PixelValues(side=8)
    ready = [entry for entry in catalog.load_entries(archive).values() if entry.status == "ready"]
    assert {entry.id for entry in ready} == {f"{seed:04d}.png" for seed in range(40 * count + 2)}
    rows = gather_features(FeatureStore(archive, result["name"]), [(entry.batch, entry.row) for entry in ready])
    images = np.stack([representation.prepare(decode(make_noise_png(int(entry.id[:4])))) for entry in ready])
    assert np.array_equal(representation.load()(images).astype(np.float16).astype(np.float32), rows)


def test_limits_end_a_call_and_a_bad_shard_is_reported(interpdisc: CliRunner, tmp_path: Path, pixel_plan: Path) -> None:
    """A limit ends the call with a count of what is left; a truncated shard is a fault and exit code 1, until it is whole."""
    shards = tmp_path / "shards"
    for number in range(4):
        write_tar(shards / f"m-{number}.tar", make_members(5 * number, 5 * number + 5))
    whole = (shards / "m-3.tar").read_bytes()
    (shards / "m-3.tar").write_bytes(whole[:6000])
    command = ("backfill", shards, "--archive", tmp_path / "a", "--plan", pixel_plan, "--workers", "1", "--block", "16")
    out, _ = interpdisc(*command, "--max-images", "7")
    assert "10 images in" in out
    assert "2 of 4 shards are left; run the same command to resume" in out
    out, _ = interpdisc(*command, expect=1)
    assert "FAULT" in out
    assert "m-3.tar" in out
    (shards / "m-3.tar").write_bytes(whole)
    out, _ = interpdisc(*command)
    assert "complete: all 4 shards are in the archive, 20 images with features" in out
    assert "sound" in interpdisc("verify", tmp_path / "a")[0]
    shutil.rmtree(shards)
    out, _ = interpdisc("select", tmp_path / "a", "-n", "5", "-k", "3", "--out", tmp_path / "picks", "--json")
    assert json.loads(out)["n"] == 20
