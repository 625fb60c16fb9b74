"""Where bytes are kept: whole or not at all, under any name, and what goes wrong is one sentence."""

import errno
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import StoreError
from interpdisc_core.storage.location import Location, is_remote_url

NAMES = [
    "plain",
    "with space",
    "new\nline",
    "quo'te\"",
    "<b>&amp;",
    "火星-🪐",
    os.fsdecode(b"latin1-\xe9"),
    "100%25",
    "*[1]?",
    "a#b;c",
    "back\\slash",
    "-rf",
    ".hidden",
    "x" * 200,
    "deep/er/name",
    "\u202egnp",
]


def everything(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------------ places


def test_a_location_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, with a slash, as a file:// address: the same place."""
    monkeypatch.chdir(tmp_path)
    expected = Location(str(tmp_path / "a"))
    for given_as in ("a", "./a/", "b/../a", tmp_path / "a", f"file://{tmp_path}/a", f"{tmp_path}//a"):
        assert Location.parse(given_as) == expected
    assert not expected.is_remote
    assert (expected / "b/c").url == f"{tmp_path}/a/b/c"


@pytest.mark.parametrize("url", ["ftp://host/x", "http://host/x", "gs://bucket/x", "S3://bucket", "://x"])
def test_other_schemes_are_refused(url: str) -> None:
    """One sentence with the address."""
    with pytest.raises(StoreError, match="only folders and s3://") as caught:
        Location.parse(url)
    assert url in str(caught.value)


def test_s3_is_remote() -> None:
    """Told by its scheme alone; a trailing slash is left out."""
    assert Location.parse("s3://bucket/prefix/").url == "s3://bucket/prefix"
    assert Location.parse("s3://bucket").is_remote
    assert not is_remote_url("s3:/bucket")
    assert not is_remote_url("/s3/bucket")


# --------------------------------------------------------------------------------------------- reading and writing


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_file_is_read_back(tmp_path: Path, name: str) -> None:
    """Under any name, also in folders that are not there yet; written again, it is replaced."""
    place = Location.parse(tmp_path / "archive")
    assert not place.exists(name)
    for data in (b"first", b"", bytes(range(256))):
        place.write(name, data)
        assert place.read(name) == data
        assert place.exists(name)
    assert place.list_names() == [name.split("/")[0]]
    assert everything(tmp_path / "archive") == [name]
    place.remove(name)
    assert not place.exists(name)


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 47} & set(name)), max_size=6))
def test_files_of_different_names_are_independent(names: list[bytes]) -> None:
    """Whatever names a file system allows: each has its own bytes, and all are listed, sorted."""
    text_by_name = {
        os.fsdecode(name): name for name in names if name not in (b".", b"..") and not name.endswith(b".partial")
    }
    with tempfile.TemporaryDirectory() as root:
        place = Location.parse(root)
        for name, data in text_by_name.items():
            place.write(name, data)
        assert place.list_names() == sorted(text_by_name)
        assert {name: place.read(name) for name in text_by_name} == text_by_name


def test_missing_files_and_folders(tmp_path: Path) -> None:
    """Reading says so, listing is empty, removing does nothing; a folder is no file."""
    place = Location.parse(tmp_path)
    with pytest.raises(FileNotFoundError):
        place.read("nothing")
    assert place.list_names("nothing") == []
    place.remove("nothing")
    place.write("folder/name", b"")
    assert not place.exists("folder")
    assert place.list_names("folder") == ["name"]
    place.remove("folder")
    assert place.list_names() == []


def test_partial_files_are_not_listed(tmp_path: Path) -> None:
    """What a killed process left is not listed."""
    place = Location.parse(tmp_path)
    place.write("part.parquet", b"1")
    (tmp_path / "part.parquet.12345678.partial").write_bytes(b"half")
    assert place.list_names() == ["part.parquet"]


def test_a_reader_never_sees_a_partial_file(tmp_path: Path) -> None:
    """While one writes, another reads the old bytes or the new ones."""
    place, sizes, stop = Location.parse(tmp_path), [50_000, 200_000], threading.Event()
    place.write("name", b"x" * sizes[0])

    def write() -> None:
        for number in range(100):
            place.write("name", b"x" * sizes[number % 2])
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    read_contents = set()
    while not stop.is_set():
        read_contents.add(len(place.read("name")))
    writer.join()
    assert read_contents <= set(sizes)
    assert everything(tmp_path) == ["name"]


# ------------------------------------------------------------------------------------------------------ failures


def failing(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """Every write gets as far as half, and then fails."""

    def broken(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        raise error

    monkeypatch.setattr(os, "fsync", broken)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "cannot be written"),
        (errno.EROFS, "cannot be written"),
    ],
)
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    """One sentence with the place; the old bytes are there, and nothing half-written is."""
    place = Location.parse(tmp_path)
    place.write("name", b"old")
    with monkeypatch.context() as patch:
        failing(patch, OSError(number, os.strerror(number)))
        for name in ("name", "other"):
            with pytest.raises(StoreError, match=message) as caught:
                place.write(name, b"the new bytes")
    assert place.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert everything(tmp_path) == ["name"]
    assert place.read("name") == b"old"


def test_the_removal_of_a_partial_file_may_fail_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only disk the partial file cannot be removed either: the sentence is still the one of the write."""
    failing(monkeypatch, OSError(errno.EROFS, "Read-only file system"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match="Read-only"):
        Location.parse(tmp_path).write("name", b"data")


@pytest.mark.parametrize("name", ["name", "folder/name"])
def test_an_archive_that_is_a_file(tmp_path: Path, name: str) -> None:
    """A file where a folder should be: a sentence, not a traceback."""
    (tmp_path / "file").write_bytes(b"here")
    place = Location.parse(tmp_path / "file")
    assert not place.exists(name)
    with pytest.raises(StoreError, match="cannot be written"):
        place.write(name, b"data")
    assert (tmp_path / "file").read_bytes() == b"here"


# ---------------------------------------------------------------------------------------------------------- JSON

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_json_is_read_back(value: Any) -> None:
    """Any value, every float to its last bit; what is written is UTF-8 and is the same every time."""
    with tempfile.TemporaryDirectory() as root:
        place = Location.parse(root)
        place.write_json("value", value)
        data = place.read("value")
        assert place.read_json("value") == value
        assert json.loads(data.decode("utf-8")) == value
        place.write_json("value", value)
        assert place.read("value") == data


def test_json_of_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    """A path with other bytes, as the command line hands it on: it comes back as it was, and the file is UTF-8."""
    place, name = Location.parse(tmp_path), os.fsdecode(b"/data/caf\xe9")
    place.write_json("inputs.json", {"sources": [name]})
    assert place.read_json("inputs.json") == {"sources": [name]}
    place.read("inputs.json").decode("utf-8")


def test_the_order_of_keys_does_not_matter(tmp_path: Path) -> None:
    """The same value, the same bytes."""
    place = Location.parse(tmp_path)
    place.write_json("a", {"x": 1, "y": [2]})
    place.write_json("b", {"y": [2], "x": 1})
    assert place.read("a") == place.read("b")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe\x00", b"nope", b"{}{}"], ids=repr)
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    """One sentence with the file."""
    place = Location.parse(tmp_path)
    place.write("value.json", content)
    with pytest.raises(StoreError, match="damaged") as caught:
        place.read_json("value.json")
    assert f"{tmp_path}/value.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        place.read_json("nothing.json")
