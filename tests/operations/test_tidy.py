"""Tidy removes what killed runs left, by its age, and nothing else."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from interpdisc_core.errors import PlanError
from interpdisc_core.operations.tidy import CACHES, LISTINGS, PROGRESS, UNFINISHED_FILES, find_untidy, tidy_archive
from interpdisc_core.operations.verify import verify_archive
from interpdisc_core.storage.lock import archive_lock
from tests.pipeline.test_ingest import write_photos
from tests.storage.test_power_cut import run_discovery

CHECKOUT = Path(__file__).resolve().parents[2]
DAY_S = 86_400.0

HOLD_LOCK = """
import sys, time
from interpdisc_core.storage.lock import archive_lock
with archive_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
KILLED_RUN = """
import os, signal, stat, sys
from pathlib import Path
fsync, left = os.fsync, [int(sys.argv[3])]
def fsync_or_die(descriptor):
    left[0] -= stat.S_ISREG(os.fstat(descriptor).st_mode)  # a content, not the names in a folder
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = fsync_or_die
from tests.storage.test_power_cut import run_discovery
run_discovery(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def make_older(folder: Path, seconds: float) -> None:
    """As if everything in `folder` had been written that long before it was."""
    for path in folder.rglob("*"):
        status = path.lstat()
        os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds), follow_symlinks=False)


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_kills_left_is_removed_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """Runs killed at several writes; then nothing but their leftovers goes, and the archive ends as an undisturbed one."""
    images, archive = write_photos(tmp_path / "in", 14), tmp_path / "archive"
    for sync_count in (4, 9, 6):
        command = [sys.executable, "-c", KILLED_RUN, str(archive), str(images), str(sync_count)]
        assert subprocess.run(command, cwd=CHECKOUT, check=False).returncode == -9
    (archive / "cache").mkdir()
    (archive / "cache" / "old.npz").write_bytes(b"x" * 10)
    (archive / "inbox/feed/partial").mkdir(parents=True)
    (archive / "inbox/feed/partial/a-1").write_bytes(b"half")
    make_older(archive, 8 * DAY_S)
    before = list_files(archive)
    assert find_untidy(str(archive), 9 * DAY_S) == []
    planned = find_untidy(str(archive), 7 * DAY_S)
    assert list_files(archive) == before, "a dry run changed something"
    with archive_lock(str(archive)):
        removed = tidy_archive(str(archive), 7 * DAY_S)
    assert removed == planned
    kinds = Counter(item.kind for item in removed)
    assert kinds[UNFINISHED_FILES] == 3, "kills left no unfinished files: nothing was tested"
    assert kinds[LISTINGS] >= 1
    assert kinds[CACHES] == 1
    assert sum(item.bytes for item in removed if item.kind == CACHES) == 10
    gone = before - list_files(archive)
    swept = ("cache/", "listings/", "progress/", "inbox/feed/partial/")
    assert all(name.startswith(swept) or name.endswith(".partial") for name in gone), gone
    assert verify_archive(str(archive)).is_sound
    assert run_discovery(archive, images) == run_discovery(tmp_path / "undisturbed", images)


def test_a_finished_run_keeps_its_listing_and_the_young_stay(tmp_path: Path) -> None:
    images, archive = write_photos(tmp_path / "in", 6), tmp_path / "archive"
    run_discovery(archive, images)
    make_older(archive, 8 * DAY_S)
    (archive / "a.json.12345678.partial").write_bytes(b"a write that goes on")
    assert {item.kind for item in find_untidy(str(archive), 7 * DAY_S)} == {PROGRESS}
    tidy_archive(str(archive), 7 * DAY_S)
    assert (archive / "a.json.12345678.partial").exists()
    assert verify_archive(str(archive)).is_sound
    (next((archive / "runs").iterdir()) / "ledger.json").write_bytes(b"{")
    (archive / "listings" / "other").mkdir()
    (archive / "listings" / "other" / "listing.parquet").touch()
    assert {item.kind for item in find_untidy(str(archive), -1.0)} == {UNFINISHED_FILES}, "which are named is unknown"


def test_a_living_run_is_not_disturbed(tmp_path: Path) -> None:
    """The command refuses while another process holds the archive's lock, and removes nothing."""
    images, archive = write_photos(tmp_path / "in", 6), tmp_path / "archive"
    run_discovery(archive, images)
    make_older(archive, 8 * DAY_S)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLD_LOCK,
            str(archive),
        ],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = list_files(archive)
        with pytest.raises(PlanError, match="another run is writing"), archive_lock(str(archive), owner="tidy"):
            tidy_archive(str(archive), time.time())
        assert list_files(archive) == before
    finally:
        holder.kill()
        holder.wait()
