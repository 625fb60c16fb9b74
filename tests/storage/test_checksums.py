"""Files with a checksum: damage is told, and a process may be killed at any write."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interpdisc_core.errors import DamageError
from interpdisc_core.storage import remote_files
from interpdisc_core.storage.location import Location
from tests.helpers.ports import find_free_ports


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An address in a real S3 protocol server on loopback, in this process."""
    moto = pytest.importorskip("moto.server")
    import boto3

    [port] = find_free_ports(1)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="checksums")
        remote_files._make_s3_filesystem.cache_clear()
        yield "s3://checksums/a"
        remote_files._make_s3_filesystem.cache_clear()
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location.parse(tmp_path if request.param == "folder" else f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def test_a_file_is_compared_with_its_checksum(location: Location) -> None:
    location.write_checked_json("deep/file.json", {"a": 1})
    digest = hashlib.sha256(location.read("deep/file.json")).hexdigest()
    assert location.read("deep/file.json.sha256") == f"{digest}  file.json\n".encode()
    assert location.read_checked_json("deep/file.json") == {"a": 1}
    assert location.list_names("deep") == location.list_checked_names("deep") == ["file.json"]
    location.write("deep/file.json", b'{"a": 2}')
    with pytest.raises(DamageError, match=r"deep/file\.json is damaged: its content is not that of its checksum"):
        location.read_checked_json("deep/file.json")
    location.write_checked_json("deep/file.json", {"a": 2})
    assert location.read_checked_json("deep/file.json") == {"a": 2}
    content, checksum = location.read("deep/file.json"), location.read("deep/file.json.sha256")
    location.remove("deep/file.json")
    with pytest.raises(FileNotFoundError):
        location.read_checked("deep/file.json")
    location.write("deep/file.json.sha256", checksum)
    with pytest.raises(DamageError, match="it is missing, though its checksum is there"):
        location.read_checked("deep/file.json")
    assert location.list_names("deep") == []
    assert location.list_checked_names("deep") == ["file.json"]
    location.write("deep/other.json", content)
    location.write("deep/other.json.sha256", checksum)
    with pytest.raises(DamageError, match="is not a checksum of other"):
        location.read_checked("deep/other.json")
    assert location.list_tree() == ["deep/file.json.sha256", "deep/other.json", "deep/other.json.sha256"]


def test_a_file_without_a_checksum_is_read(location: Location) -> None:
    """One of an earlier version, and one whose checksum a power cut left empty."""
    location.write("old", b"old")
    assert location.read_checked("old") == b"old"
    location.write("old.sha256", b"")
    assert location.read_checked("old") == b"old"


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_kill_at_any_write_leaves_a_whole_file(
    tmp_path: Path, before: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old content or the new one, each as right as its checksum; the same write again ends well."""
    write, calls = Location.write, 0
    for count in range(10):
        location = Location.parse(tmp_path / str(count))
        if before is not None:
            location.write_checked("file", before)
        calls = 0

        def write_until_killed(
            self: Location, name: str, data: bytes, *, durable: bool = True, count: int = count
        ) -> None:
            nonlocal calls
            if calls == count:
                raise Killed
            calls += 1
            write(self, name, data, durable=durable)

        with monkeypatch.context() as patch:
            patch.setattr(Location, "write", write_until_killed)
            try:
                location.write_checked("file", b"new")
                break
            except Killed:
                pass
        if before is not None or location.exists("file"):
            assert location.read_checked("file") in (before, b"new")
        location.write_checked("file", b"new")
        assert location.read_checked("file") == b"new"
        assert len(location.read("file.sha256").splitlines()) == 1
    assert count == (2 if before is None else 3)


def test_two_workers_that_write_one_file_damage_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever content is there last, a checksum has it."""
    location, write = Location.parse(tmp_path), Location.write
    others: list[Callable[[], None]] = [lambda: location.write_checked("file", b"other")]

    def write_meanwhile(self: Location, name: str, data: bytes, *, durable: bool = True) -> None:
        write(self, name, data, durable=durable)
        if name == "file" and data == b"mine" and others:
            others.pop()()

    monkeypatch.setattr(Location, "write", write_meanwhile)
    location.write_checked("file", b"mine")
    assert location.read_checked("file") == b"other"


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    """So people can check an archive without this program."""
    for name in ("plain.json", "with space", "\N{GREEK SMALL LETTER MU}", os.fsdecode(b"latin1-\xe9")):
        Location.parse(tmp_path).write_checked(name, name.encode("utf-8", "surrogateescape"))
        command = ["sha256sum", "-c", f"{name}.sha256"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
