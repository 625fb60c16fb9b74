"""Weights that a representation names: how they are read, and what of them names features."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interpdisc_core import plan
from interpdisc_core.errors import WeightsError
from interpdisc_core.representations import (
    EfficientNetLite0,
    PixelValues,
    SiftWords,
    SqueezeNet,
    TorchvisionLayer,
    Trainable,
    digest_features,
)
from interpdisc_core.representations.runtime import load_embedder
from interpdisc_core.representations.weights import find_package_file, read_weights, weights_address
from interpdisc_core.storage import remote_files
from interpdisc_core.storage.location import Location
from tests.helpers.ports import find_free_ports


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
def test_digests_of_features_never_change(spec: object, name: str) -> None:
    """Archives and the checkpoints that ship are found by them."""
    assert digest_features(spec) == name


def test_a_given_file_counts_by_content_and_name(tmp_path: Path) -> None:
    """Another content of the same file is another representation; a name that is no file counts like any setting."""
    path = tmp_path / "weights.pth"
    spec = TorchvisionLayer(weights=str(path))
    assert weights_address(spec) == str(path)
    names = [digest_features(spec)]
    for content in (b"one", b"two", b"one"):
        path.write_bytes(content)
        names.append(digest_features(spec))
    assert len(set(names)) == 3
    assert names[1] == names[3]


def test_learned_weights_count_by_content_alone(tmp_path: Path) -> None:
    """The same content at two addresses is one representation; other content another; so is one without weights."""
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    for path, content in ((first, b"words"), (second, b"words"), (other, b"others")):
        path.write_bytes(content)
    fresh = SiftWords()
    names = [digest_features(fresh.with_weights(str(path))) for path in (first, second, other)]
    assert names[0] == names[1]
    assert len({*names, digest_features(fresh)}) == 3
    assert digest_features(SiftWords(words=7).with_weights(str(first))) != names[0]
    whole = plan.parse_plan(plan.plan_to_json(plan.Plan(representation=fresh.with_weights(str(first)))))
    assert whole.features_digest == names[0]


def test_a_rewritten_file_is_read_again(tmp_path: Path) -> None:
    """What was read is cached for the next call, unless the file has changed since."""
    path = tmp_path / "weights.safetensors"
    for content in (b"one", b"another"):
        path.write_bytes(content)
        assert read_weights(str(path)) == content
        assert read_weights(f"file://{path}") is read_weights(str(path))
    assert read_weights(str(path)) == b"another"


def test_an_address_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local path is relative to the working folder, like every path."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"a")
    monkeypatch.chdir(tmp_path)
    assert read_weights("folder/a") == b"a"
    monkeypatch.chdir(tmp_path / "folder")
    assert read_weights("a") == b"a"


@pytest.mark.parametrize("name", ["nothing", "nowhere/nothing", "."])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    """By reading and by naming the features alike."""
    address = f"{tmp_path}/{name}"
    with pytest.raises(WeightsError, match=r"no weights can be read at .*interpdisc learn"):
        read_weights(address)
    with pytest.raises(WeightsError, match="no weights can be read at"):
        digest_features(SiftWords().with_weights(address))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address in a real S3 protocol server (moto) on loopback."""
    moto = pytest.importorskip("moto.server")
    [port] = find_free_ports(1)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    remote_files._make_s3_filesystem.cache_clear()
    remote_files.get_s3_filesystem().mkdir("bucket")
    yield "s3://bucket/learned"
    remote_files._make_s3_filesystem.cache_clear()
    server.stop()


def test_weights_in_an_object_store(bucket: str, tmp_path: Path) -> None:
    """Read and counted like those in a folder; a missing object is named."""
    place = Location.parse(bucket)
    place.write("words.safetensors", b"words")
    (tmp_path / "words").write_bytes(b"words")
    assert read_weights(f"{bucket}/words.safetensors") == b"words"
    local, remote = (
        SiftWords().with_weights(address) for address in (str(tmp_path / "words"), f"{bucket}/words.safetensors")
    )
    assert digest_features(local) == digest_features(remote)
    with pytest.raises(WeightsError, match="s3://bucket/learned/none"):
        read_weights(f"{bucket}/none")


def test_only_trainable_representations_meet_the_protocol() -> None:
    """And `with_weights("")` undoes `with_weights`."""
    spec = SiftWords()
    assert isinstance(spec, Trainable)
    assert not isinstance(EfficientNetLite0(), Trainable)
    assert not isinstance(TorchvisionLayer(), Trainable)
    assert not spec.learned_weights
    assert spec.with_weights("somewhere").learned_weights == "somewhere"
    assert spec.with_weights("somewhere").with_weights("") == spec


def test_a_file_in_a_package_is_found_without_an_import() -> None:
    """No file, no package: None."""
    path = find_package_file("interpdisc_core", "errors.py")
    assert path is not None
    assert path.name == "errors.py"
    assert find_package_file("interpdisc_core", "no_such_file") is None
    assert find_package_file("interpdisc_core", "selectors") is None
    assert find_package_file("no_such_package", "errors.py") is None


def test_missing_weights_are_reported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install, not that an export failed."""
    pytest.importorskip("torch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = SqueezeNet()

    def find_no_weights(*_: object) -> Path:
        raise WeightsError("the weights are missing: install them.")

    monkeypatch.setattr(SqueezeNet, "build_network", find_no_weights)
    with pytest.raises(WeightsError, match="install them"):
        load_embedder.__wrapped__(spec, "cpu")


def test_without_pytorch_a_network_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match=r"install interpdisc-core\[torch\]"):
        load_embedder.__wrapped__(SqueezeNet(), "cpu")
