"""A backfill as a user gives it: shards and archive in S3, all its processes killed three times, every row exact."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from interpdisc_core import catalog
from interpdisc_core.features import FeatureStore, gather
from interpdisc_core.images import decode
from interpdisc_core.representations import PixelValues
from interpdisc_core.storage import Place, s3_filesystem
from tests.core.shards import picture, pictures, tar
from tests.flows.conftest import Command, until

ARCHIVE = "s3://rover/backfilled"


@pytest.mark.slow
def test_killed_three_times(interpdisc: Command, s3: dict[str, str], tmp_path: Path, pixel_plan: Path) -> None:
    """The same command goes on each time, does no shard twice, and ends as a run that nobody disturbed."""
    count = 20
    for number in range(count):
        members = pictures(40 * number, 40 * number + 42)  # two of which the next shard has too
        made = tar(tmp_path / "shards" / f"m-{number:02d}.tar", [*members, ("cut.png", picture(number)[:-50])])
        s3_filesystem().put_file(str(made), f"rover/shards/{made.name}")

    def done() -> list[str]:
        names = Place.of(ARCHIVE).names("backfills")
        return [file for name in names for file in Place.of(ARCHIVE).names(f"backfills/{name}/shards")]

    command = (
        "backfill", "s3://rover/shards", "--archive", ARCHIVE, "--plan", pixel_plan, "--workers", "2", "--block", "16",
        "--json",
    )  # fmt: skip
    for goal in (1, 6, 12):
        job = interpdisc.start(*command, **s3)
        until(lambda goal=goal, job=job: len(done()) >= goal or job.process.poll() is not None, 240)
        assert job.process.poll() is None, job.finish()
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
    archive, representation = Place.of(ARCHIVE), PixelValues(side=8)
    ready = [entry for entry in catalog.load(archive).values() if entry.status == "ready"]
    assert {entry.id for entry in ready} == {f"{seed:04d}.png" for seed in range(40 * count + 2)}
    rows = gather(FeatureStore(archive, result["name"]), [(entry.batch, entry.row) for entry in ready])
    images = np.stack([representation.prepare(decode(picture(int(entry.id[:4])))) for entry in ready])
    assert np.array_equal(representation.load()(images).astype(np.float16).astype(np.float32), rows)


def test_a_budget_and_a_bad_shard(interpdisc: Command, tmp_path: Path, pixel_plan: Path) -> None:
    """A budget ends it well, with what is left; a shard that is cut off is told of, by the exit code too; then it is whole."""
    shards = tmp_path / "shards"
    for number in range(4):
        tar(shards / f"m-{number}.tar", pictures(5 * number, 5 * number + 5))
    whole = (shards / "m-3.tar").read_bytes()
    (shards / "m-3.tar").write_bytes(whole[:6000])
    command = ("backfill", shards, "--archive", tmp_path / "a", "--plan", pixel_plan, "--workers", "1", "--block", "16")
    out, _ = interpdisc(*command, "--most-images", "7")
    assert "10 images in" in out
    assert "2 of 4 shards are left; the same command goes on" in out
    out, _ = interpdisc(*command, expect=1)
    assert "FAULT" in out
    assert "m-3.tar" in out
    (shards / "m-3.tar").write_bytes(whole)
    out, _ = interpdisc(*command)
    assert "complete: all of 4 shards are there, 20 images with a vector" in out
    assert "sound" in interpdisc("verify", tmp_path / "a")[0]
    shutil.rmtree(shards)
    out, _ = interpdisc("select", tmp_path / "a", "-n", "5", "-k", "3", "--out", tmp_path / "picks", "--json")
    assert json.loads(out)["n"] == 20
