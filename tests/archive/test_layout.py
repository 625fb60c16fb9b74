"""Which folders are archives, which of them this program reads, and which it writes to."""

import json
from pathlib import Path
from typing import Any

import pytest

from interpdisc_core.archive.layout import (
    ARCHIVE_FORMAT,
    check_format,
    check_writable,
    lock_archive,
    open_or_create_archive,
    refuse_if_not_writable,
)
from interpdisc_core.errors import PlanError, StoreError
from interpdisc_core.storage.location import Location

WRITERS = (open_or_create_archive, lock_archive, refuse_if_not_writable)


def make_archive(folder: Path, content: Any) -> Location:
    folder.mkdir(exist_ok=True)
    (folder / "archive.json").write_text(json.dumps(content))
    return Location.parse(folder)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_new_archive_has_this_version(tmp_path: Path, is_there: bool) -> None:
    """In a folder that is missing, or that has only what may be there before archive.json."""
    folder = tmp_path / "archive"
    if is_there:
        (folder / "progress" / "x").mkdir(parents=True)
        (folder / ".DS_Store").touch()
    with lock_archive(str(folder)):
        archive = open_or_create_archive(str(folder))
        assert archive.read_json("archive.json")["format"] == ARCHIVE_FORMAT
        assert open_or_create_archive(str(folder)) == archive
    check_format(archive)
    check_writable(archive)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", ["cat.jpg", ".git", ".zgroup"])
def test_a_folder_with_other_files_is_refused_and_not_changed(tmp_path: Path, write: Any, name: str) -> None:
    (tmp_path / name).write_bytes(b"image")
    with pytest.raises(StoreError, match=rf"is not an archive, and it is not empty \(it has '{name}'\): name an empty"):
        write(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": "zarr"}, r"is not an archive of interpdisc: .*\(format: 'zarr'\); name another folder"),
        ([], "is not an archive of interpdisc"),
        ({"format": True}, "is not an archive of interpdisc"),
        ({"format": 9}, r"version 9, of a later version of interpdisc; this one reads versions 2 to 3: install"),
        ({"format": 3, "migrating_from": 8}, "is damaged: it says that a migration started from version 8"),
        (
            {"format": 1},
            r"version 1, of an earlier version of interpdisc: `interpdisc migrate .*` brings it to version 3",
        ),
        ({"format": 2, "migrating from": 1}, r"version 1, of an earlier version"),
        ({"format": 3, "migrating_from": 1}, r"version 1, of an earlier version"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, content: Any, message: str) -> None:
    archive = make_archive(tmp_path, content)
    with pytest.raises(StoreError, match=message):
        check_format(archive)
    for write in WRITERS:
        with pytest.raises(StoreError, match=message):
            write(archive.url)


@pytest.mark.parametrize("content", [{"format": 2, "made by": "interpdisc 0.1.0"}, {"format": 3, "migrating_from": 2}])
def test_version_2_is_read_but_not_written_to(tmp_path: Path, content: Any) -> None:
    archive = make_archive(tmp_path, content)
    check_format(archive)
    for write in WRITERS:
        with pytest.raises(StoreError, match=r"version 2, .* can be read but not written to: `interpdisc migrate "):
            write(archive.url)


def test_a_missing_archive_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is not an archive: it has no archive\.json"):
        check_format(Location.parse(tmp_path / "none"))


def test_a_held_lock_is_refused_before_the_start(tmp_path: Path) -> None:
    import threading

    errors: list[str] = []

    def check() -> None:
        try:
            refuse_if_not_writable(str(tmp_path))
        except PlanError as error:
            errors.append(str(error))

    with lock_archive(str(tmp_path), owner="daily"):
        thread = threading.Thread(target=check)
        thread.start()
        thread.join()
    (error,) = errors
    assert "another run is writing to this archive ('daily" in error
