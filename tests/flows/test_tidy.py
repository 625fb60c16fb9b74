"""The command `tidy` on a folder and on an archive in S3, with an upload that was never completed."""

import json
import os
import time
from pathlib import Path

from interpdisc_core.storage.remote_files import get_s3_filesystem
from tests.flows.conftest import CliRunner
from tests.pipeline.test_ingest import write_photos
from tests.storage.test_power_cut import run_discovery


def test_tidy_names_what_it_removes(tmp_path: Path) -> None:
    """With --dry-run nothing is removed; a time that is none is a sentence."""
    archive = tmp_path / "archive"
    run_discovery(archive, write_photos(tmp_path / "in", 6))
    stray = archive / "a.json.12345678.partial"
    stray.write_bytes(b"half")
    os.utime(stray, (1, 1))
    runner = CliRunner({name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
    out, _ = runner("tidy", archive, "--dry-run")
    assert "unfinished files: 1, 0.0 MB would be removed" in out
    assert stray.exists()
    out, _ = runner("tidy", archive, "--older-than", "30d")
    assert "unfinished files: 1, 0.0 MB removed" in out
    assert not stray.exists()
    assert "nothing to remove" in runner("tidy", archive)[0]
    _, err = runner("tidy", archive, "--older-than", "old", expect=2)
    assert "--older-than is a time such as" in err
    _, err = runner("tidy", tmp_path / "in", expect=2)
    assert "is not an archive" in err


def test_tidy_in_s3(s3: dict[str, str], tmp_path: Path) -> None:
    """An upload that was never completed is aborted if it is below the archive's prefix, and old; others stay."""
    filesystem = get_s3_filesystem()
    run_discovery(Path(tmp_path / "local"), write_photos(tmp_path / "in", 6))
    filesystem.put(str(tmp_path / "local"), "rover/tidy", recursive=True)
    for key in ("tidy/features/x", "other/x"):
        filesystem.call_s3("create_multipart_upload", Bucket="rover", Key=key)
    runner = CliRunner({name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
    # The server of the tests dates every upload to 2010.
    out, _ = runner("tidy", "s3://rover/tidy", "--older-than", "20000d", "--json", **s3)
    assert json.loads(out)["items"] == []
    time.sleep(1.1)  # times in S3 have whole seconds
    out, _ = runner("tidy", "s3://rover/tidy", "--older-than", "1s", "--json", **s3)
    items = json.loads(out)["items"]
    assert {item["kind"] for item in items} == {"progress of runs", "unfinished uploads"}
    assert [upload["Key"] for upload in filesystem.list_multipart_uploads("rover")] == ["other/x"]
    assert runner("verify", "s3://rover/tidy", **s3)[0].endswith("sound\n")
