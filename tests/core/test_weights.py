"""Weights that a representation names: what counts of them, and how they are read."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from interpdisc_core import plan, storage
from interpdisc_core.errors import WeightsError
from interpdisc_core.representations import (
    EfficientNetLite0,
    Learns,
    PixelValues,
    SiftWords,
    TorchvisionLayer,
    features_of,
)
from interpdisc_core.representations.weights import in_package, read_weights, weights_file
from interpdisc_core.storage import Place


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (EfficientNetLite0(), "79dd752098ae"),
        (EfficientNetLite0(output="grid"), "027b696d6255"),
        (EfficientNetLite0(output="logits"), "46588ad55613"),
        (PixelValues(), "4ab710068589"),
        (TorchvisionLayer(), "231981ce3813"),
        (TorchvisionLayer(weights="random"), "c44baab106be"),
    ],
)
def test_names_of_features_stay(spec: object, name: str) -> None:
    """Archives and the checkpoints that ship are found by these names: they must never change."""
    assert features_of(spec) == name


def test_a_given_file_counts_by_content_and_name(tmp_path: Path) -> None:
    """Another content of the same file is another representation; what is no file is a name like any other."""
    path = tmp_path / "weights.pth"
    spec = TorchvisionLayer(weights=str(path))
    assert weights_file(spec) == str(path)
    names = [features_of(spec)]
    for content in (b"one", b"two", b"one"):
        path.write_bytes(content)
        names.append(features_of(spec))
    assert len(set(names)) == 3
    assert names[1] == names[3]


def test_what_was_learned_counts_by_content_alone(tmp_path: Path) -> None:
    """The same content at two addresses is one representation; another is another; none is one that has not learned."""
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    for path, content in ((first, b"words"), (second, b"words"), (other, b"others")):
        path.write_bytes(content)
    fresh = SiftWords()
    names = [features_of(fresh.having(str(path))) for path in (first, second, other)]
    assert names[0] == names[1]
    assert len({*names, features_of(fresh)}) == 3
    assert features_of(SiftWords(words=7).having(str(first))) != names[0]
    whole = plan.parse(plan.to_json(plan.Plan(representation=fresh.having(str(first)))))
    assert whole.features == names[0]


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    """What was read is kept for the next call, but not when the file has changed since."""
    path = tmp_path / "weights.safetensors"
    for content in (b"one", b"another"):
        path.write_bytes(content)
        assert read_weights(str(path)) == content
        assert read_weights(f"file://{path}") is read_weights(str(path))
    assert read_weights(str(path)) == b"another"


def test_an_address_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local path is meant from the working folder, like every path."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"a")
    monkeypatch.chdir(tmp_path)
    assert read_weights("folder/a") == b"a"
    monkeypatch.chdir(tmp_path / "folder")
    assert read_weights("a") == b"a"


@pytest.mark.parametrize("name", ["nothing", "nowhere/nothing", "."])
def test_what_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    """An address without a file is refused with the address, by reading and by naming the features alike."""
    address = f"{tmp_path}/{name}"
    with pytest.raises(WeightsError, match=r"no weights can be read at .*interpdisc learn"):
        read_weights(address)
    with pytest.raises(WeightsError, match="no weights can be read at"):
        features_of(SiftWords().having(address))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address in a real S3 protocol server (moto) on loopback."""
    moto = pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    storage._s3.cache_clear()
    storage.s3_filesystem().mkdir("bucket")
    yield "s3://bucket/learned"
    storage._s3.cache_clear()
    server.stop()


def test_weights_in_an_object_store(bucket: str, tmp_path: Path) -> None:
    """Read and counted as those in a folder are; an object that is not there is said."""
    place = Place.of(bucket)
    place.write("words.safetensors", b"words")
    (tmp_path / "words").write_bytes(b"words")
    assert read_weights(f"{bucket}/words.safetensors") == b"words"
    here, there = (SiftWords().having(address) for address in (str(tmp_path / "words"), f"{bucket}/words.safetensors"))
    assert features_of(here) == features_of(there)
    with pytest.raises(WeightsError, match="s3://bucket/learned/none"):
        read_weights(f"{bucket}/none")


def test_who_learns() -> None:
    """The protocol is met by what learns and by nothing else, and `having` is undone by `having('')`."""
    spec = SiftWords()
    assert isinstance(spec, Learns)
    assert not isinstance(EfficientNetLite0(), Learns)
    assert not isinstance(TorchvisionLayer(), Learns)
    assert not spec.learned
    assert spec.having("somewhere").learned == "somewhere"
    assert spec.having("somewhere").having("") == spec


def test_packages_are_looked_into() -> None:
    """A file in an installed package is found without importing it; no file, no package: None."""
    found = in_package("interpdisc_core", "errors.py")
    assert found is not None
    assert found.name == "errors.py"
    assert in_package("interpdisc_core", "no_such_file") is None
    assert in_package("interpdisc_core", "selectors") is None
    assert in_package("no_such_package", "errors.py") is None
