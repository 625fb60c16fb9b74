"""Names in an object store are taken as they are: no character of them is a pattern, a version or a fragment."""

import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from fsspec.registry import _registry as fsspec_registry

from interpdisc_core.errors import InterpdiscError, PlanError, StoreError, Unreadable
from interpdisc_core.images.uri_fragments import split_bayer_pattern, split_tile_uri, tile_uri
from interpdisc_core.pipeline.preconditions import check_archive, check_sources
from interpdisc_core.sources import list_entries, parse_source, read_input, shards
from interpdisc_core.storage import remote_files
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.zarr_store import get_zarr_store
from tests.helpers.ports import find_free_ports

HARD_NAMES = ["run[2]", "what?", "all*", "a#b", "{x}", "50%25 +", "a::b", "v?versionId=1", "**", "[!a]", "[]"]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a bucket in a real S3 protocol server on loopback, in this process."""
    moto_server = pytest.importorskip("moto.server", reason="the S3 server of the tests is not installed here")

    [port] = find_free_ports(1)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        remote_files._make_s3_filesystem.cache_clear()
        remote_files.get_s3_filesystem().mkdir("names")
        yield "s3://names"
        remote_files._make_s3_filesystem.cache_clear()
    server.stop()


@pytest.mark.parametrize("name", HARD_NAMES)
def test_a_prefix_of_any_name_is_listed_and_read(s3: str, name: str) -> None:
    """As a source, with keys of the same kind; what a pattern would match beside it is not taken."""
    files = remote_files.get_s3_filesystem()
    keys = [f"{name}/{part}.jpg" for part in HARD_NAMES]
    for key in [*keys, "run2/other.jpg", "whatX/other.jpg", "allX/other.jpg", "b/other.jpg"]:
        files.pipe_file(f"names/listed/{key}", key.encode())
    source = f"{s3}/listed/{name}"
    check_sources([source])
    entries = list_entries([source])
    assert sorted(entry.id for entry in entries) == sorted(key.removeprefix(f"{name}/") for key in keys)
    assert {read_input(entry.uri).decode() for entry in entries} == set(keys)


def test_a_pattern_is_one_where_nothing_has_its_name(s3: str) -> None:
    """Of a folder, of one file, and of one file taken literally."""
    for key in ("sol-1/a.jpg", "sol-2/b.jpg", "sol-2/c[1].jpg"):
        remote_files.get_s3_filesystem().pipe_file(f"names/patterns/{key}", b"x")
    for pattern, ids in {
        "sol-*/*.jpg": ["sol-1/a.jpg", "sol-2/b.jpg", "sol-2/c[1].jpg"],
        "sol-[2]/b.jpg": ["sol-2/b.jpg"],
        "sol-2/c[1].jpg": ["c[1].jpg"],
    }.items():
        assert sorted(entry.id for entry in list_entries([f"{s3}/patterns/{pattern}"])) == ids


@pytest.mark.parametrize("key", ["h#xywh=0,0,10,10", "m&mosaic=RGGB", "t#xywh=1,2,3,4#", "p#xywh=1,2,3,4.jpg", "q#"])
def test_a_key_that_reads_as_a_part_of_an_image_is_a_whole_one(s3: str, key: str) -> None:
    """Listed, read, and cut into tiles like any other."""
    remote_files.get_s3_filesystem().pipe_file(f"names/fragments-{len(key)}/{key}", key.encode())
    (entry,) = list_entries([f"{s3}/fragments-{len(key)}"])
    assert entry.id == key
    assert split_tile_uri(entry.uri) == (entry.uri, None)
    assert split_bayer_pattern(entry.uri) == (entry.uri, "")
    assert read_input(entry.uri) == key.encode()
    assert split_tile_uri(tile_uri(entry.uri, (0, 0, 5, 5))) == (entry.uri, (0, 0, 5, 5))


@pytest.mark.parametrize("name", HARD_NAMES)
def test_removing_takes_no_other_name(s3: str, name: str) -> None:
    """A file, a folder, and an array that is made anew: what a pattern of that name would match stays."""
    bystanders = ["run2", "whatX", "allX", "a", "b", "x", "v", "deep/er"]
    location = Location.parse(f"{s3}/removed")
    for other in bystanders:
        location.write(f"{other}/file", b"kept")
    folder = location / name
    for file in (name, "deep/file"):
        folder.write_checked(file, b"gone")
    assert folder.read_checked(name) == b"gone"
    zarr.create_array(**get_zarr_store(folder, "array"), data=np.arange(6.0), chunks=(2,))
    zarr.create_array(**get_zarr_store(folder, "array"), data=np.arange(4.0), chunks=(2,), overwrite=True)
    assert zarr.open_array(**get_zarr_store(folder, "array"), mode="r")[:].tolist() == [0, 1, 2, 3]
    assert len([file for file in folder.list_tree() if file.startswith("array/c/")]) == 2
    folder.remove("deep")
    location.remove(name)
    assert folder.list_tree() == []
    assert [other for other in bystanders if not location.exists(f"{other}/file")] == []


def test_addresses_without_a_bucket_and_buckets_that_are_not_there_are_sentences(s3: str) -> None:
    """As a source, as shards, and as an archive."""
    for text in (
        "s3://",
        "s3:///key",
        "s3://*",
        "s3://*/a.tar",
        "s3://nobucket/run[2]",
        "s3://nobucket",
        "shards:s3://",
    ):
        expected = "there is no bucket 'nobucket'|NoSuchBucket" if "nobucket" in text else "names no bucket"
        for check in (lambda text: check_sources([text]), lambda text: list_entries([text])):
            with pytest.raises(InterpdiscError, match=expected):
                check(text)
    with pytest.raises(StoreError, match="names no bucket"):
        Location.parse("s3://")
    with pytest.raises(PlanError, match="no files found"):
        list_entries([f"{s3}/nothing[1]"])
    assert parse_source("s3://b/{0..9}.zip").kind == "shards"
    with pytest.raises(Unreadable, match="vanished"):
        read_input(f"{s3}/gone[1].jpg")


def test_a_process_that_used_an_array_ends_in_silence(s3: str) -> None:
    """Connections are closed: nothing is written to standard error."""
    script = (
        "import sys, zarr\nfrom interpdisc_core.storage.location import Location\n"
        "from interpdisc_core.storage.zarr_store import get_zarr_store\n"
        "zarr.create_array(**get_zarr_store(Location.parse(sys.argv[1]), 'v'), shape=4, dtype='f4', overwrite=True)[:] = 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"{s3}/silent"], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------------------------------- other stores and settings

READ_WITHOUT_KEYS = """
import sys
from interpdisc_core.errors import InterpdiscError
from interpdisc_core.sources import list_entries
try:
    print([entry.id for entry in list_entries(["s3://public/images"])])
except InterpdiscError as error:
    print(error)
"""


class _Store(http.server.BaseHTTPRequestHandler):
    """Answers every listing with one object, and keeps the headers of requests."""

    requests: list[dict[str, str]] = []  # noqa: RUF012 - of the class on purpose

    def do_GET(self) -> None:
        self.requests.append({name.lower(): value for name, value in self.headers.items()})
        body = (
            b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>public</Name>'
            b"<IsTruncated>false</IsTruncated><Contents><Key>images/a.jpg</Key><Size>3</Size>"
            b"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;1&quot;</ETag></Contents></ListBucketResult>"
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_public_buckets_are_read_without_keys_and_requesters_pay_if_they_say_so(tmp_path: Path) -> None:
    """By fsspec's settings in the environment: what goes over the wire is unsigned, or says who pays."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def read(settings: dict[str, bool], **variables: str) -> tuple[str, list[dict[str, str]]]:
        _Store.requests.clear()
        done = subprocess.run(
            [sys.executable, "-c", READ_WITHOUT_KEYS],
            env=environment | {"FSSPEC_S3": json.dumps(settings)} | variables,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        return done.stdout, list(_Store.requests)

    text, requests = read({})
    assert "FSSPEC_S3=" in text
    assert requests == []
    text, requests = read({"anon": True})
    assert text == "['a.jpg']\n"
    assert all("authorization" not in headers and "x-amz-request-payer" not in headers for headers in requests)
    text, requests = read({"requester_pays": True}, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    assert text == "['a.jpg']\n"
    assert [(headers["x-amz-request-payer"], "authorization" in headers) for headers in requests] == [
        ("requester", True)
    ]
    server.shutdown()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """Google's client and a server of its protocol on loopback, with the bucket `bucket`."""
    pytest.importorskip("gcsfs", reason="Google's client is not installed here")
    from deploy.health import wait_until_healthy

    [port] = find_free_ports(1)
    command = [shutil.which("gcp-storage-emulator", path=str(Path(sys.executable).parent)), "start", "-M", "-q"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--default-bucket", "bucket"]
    server = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert wait_until_healthy(f"http://127.0.0.1:{port}/storage/v1/b/bucket", 60, lambda: server.poll() is None)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})  # as FSSPEC_GS
        remote_files._make_object_filesystem.cache_clear()
        yield remote_files.get_object_filesystem("gs://bucket")
    finally:
        remote_files._make_object_filesystem.cache_clear()
        server.terminate()
        server.wait(20)


def test_images_and_shards_are_read_from_other_stores(google: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    """Folders, patterns, tars and their members; archives there are a sentence."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("7.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    for name, data in {"p/a.jpg": b"a", "p/run[2]/b.jpg": b"b", "s/0.tar": buffer.getvalue()}.items():
        google.pipe_file(f"bucket/{name}", data)
    check_sources(["gs://bucket/p", "shards:gs://bucket/s"])
    check_archive(str(tmp_path / "archive"), ["gs://bucket/p"])
    for source, contents in {
        "gs://bucket/p": {"a.jpg": b"a", "run[2]/b.jpg": b"b"},
        "gs://bucket/p/run[2]": {"b.jpg": b"b"},
        "gs://bucket/p/*.jpg": {"a.jpg": b"a"},
        "gs://bucket/s/0.tar": {"7.jpg": b"abc"},
        "gs://bucket/s/{0..0}.tar": {"7.jpg": b"abc"},
    }.items():
        entries = list_entries([source])
        assert {entry.id: read_input(entry.uri) for entry in entries} == contents
        assert all(entry.stamp for entry in entries)
    (shard,) = shards.list_shard_entries(parse_source("gs://bucket/s/0.tar"))
    assert [data for _, data in shards.iter_members(shard.uri)] == [b"abc"]
    with pytest.raises(Unreadable, match="vanished"):
        read_input("gs://bucket/gone.jpg")
    with pytest.raises(PlanError, match="no files found"):
        check_sources(["gs://bucket/nothing"])
    with pytest.raises(PlanError, match="there is no bucket 'other'"):
        check_sources(["gs://other/p"])
    with pytest.raises(StoreError, match="only folders and s3://"):
        Location.parse("gs://bucket/archive")


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("az", "adlfs")])
def test_a_missing_package_is_named(scheme: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    monkeypatch.delitem(fsspec_registry, scheme, raising=False)  # nor used by another test
    remote_files._make_object_filesystem.cache_clear()
    for check in (check_sources, list_entries):
        with pytest.raises(StoreError, match=rf"needs the package {package}: pip install .interpdisc-core\[{scheme}\]"):
            check([f"{scheme}://bucket/images"])
    with pytest.raises(StoreError, match="names no bucket"):
        list_entries([f"{scheme}://"])


def test_settings_of_another_store_that_do_not_fit_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's client, without an account."""
    pytest.importorskip("adlfs", reason="Azure's client is not installed here")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    remote_files._make_object_filesystem.cache_clear()
    with pytest.raises(StoreError, match=r"az://: its store cannot be opened: .* check its variables"):
        check_sources(["az://container/p"])
