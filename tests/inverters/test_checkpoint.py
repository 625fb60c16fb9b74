"""Checkpoints: nothing is unpickled, every error is one line with the name of the file, and those that ship are complete."""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.errors import InterpdiscError, PlanError, WeightsError
from interpdisc_core.inverters import checkpoint
from interpdisc_core.inverters.checkpoint import (
    CheckpointMetadata,
    digest_checkpoint,
    list_shipped_checkpoints,
    load_generator,
    load_matching_checkpoint,
    pack_checkpoint,
    parse_checkpoint_metadata,
    read_checkpoint,
)
from interpdisc_core.inverters.generators import LightGenerator, PaperGenerator
from interpdisc_core.inverters.upconv import UpConv
from interpdisc_core.representations import EfficientNetLite0, PixelValues, digest_features

torch = pytest.importorskip("torch")

SPEC = PixelValues(side=8)
GENERATOR = LightGenerator(cells=8, size=64)
METADATA = CheckpointMetadata(
    features=digest_features(SPEC),
    representation=asdict(SPEC),
    generator=GENERATOR,
    dimension=192,
    length=7.0,
    threshold=0.25,
    recipe={"seed": 3},
    command="interpdisc train-inverter 'photos é'",
    data={"images": 5},
    licence="CC0",
    training={"epochs": 2},
    scores={"mars": {"psnr": 20.5}},
    date="2026-01-31",
    environment={"torch": "2"},
)
PACKAGED = sorted(checkpoint.SHIPPED_FOLDER.glob("*.safetensors"))


def tensors_of(generator: Any = GENERATOR, dimension: int = 192) -> dict[str, Any]:
    """An untrained network's weights by name, in half precision where a training writes them so."""
    torch.manual_seed(0)
    state = {f"generator.{name}": value for name, value in generator.build(dimension).state_dict().items()}
    state |= {"mean": torch.linspace(0, 1, dimension), "spread": torch.full((dimension,), 0.5)}
    half = {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value for name, value in state.items()
    }
    return {name: value.contiguous() for name, value in half.items()}


TENSORS = tensors_of()
WHOLE = pack_checkpoint(TENSORS, METADATA)
HEAD = 8 + int.from_bytes(WHOLE[:8], "little")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    list_shipped_checkpoints.cache_clear()
    yield
    list_shipped_checkpoints.cache_clear()


def write_file(path: Path, data: bytes = WHOLE) -> str:
    """The path of a new file of these bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def load(path: str, representation: Any = SPEC) -> Any:
    """The network of a file, as `UpConv` loads it."""
    data, metadata = load_matching_checkpoint(path, representation)
    return load_generator(data, metadata, path)


def assert_one_line(error: BaseException, *parts: str) -> None:
    """The message is one line and contains all of `parts`."""
    message = str(error)
    assert "\n" not in message
    assert all(part in message for part in parts), message


# Round trip


@pytest.mark.parametrize(
    "metadata", [METADATA, replace(METADATA, threshold=None, generator=PaperGenerator())], ids=["full", "other"]
)
def test_metadata_are_read_back_from_the_first_bytes(metadata: CheckpointMetadata) -> None:
    data = pack_checkpoint({"mean": torch.zeros(2)}, metadata)
    assert parse_checkpoint_metadata(data, "x") == metadata
    assert parse_checkpoint_metadata(data[: 8 + int.from_bytes(data[:8], "little")], "x") == metadata


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.floats(allow_nan=False)), st.text())
def test_metadata_may_hold_any_text(data: dict[str, Any], command: str) -> None:
    metadata = replace(METADATA, data=data, command=command.encode("utf-8", "replace").decode())
    assert parse_checkpoint_metadata(pack_checkpoint({"mean": torch.zeros(2)}, metadata), "x") == metadata


def test_a_network_is_read_back(tmp_path: Path) -> None:
    """It draws the pictures of the network that was packed; in evaluation mode, without gradients."""
    whole = load(write_file(tmp_path / "a.safetensors"))
    own = GENERATOR.build(192).eval()
    own.load_state_dict({name.removeprefix("generator."): TENSORS[name] for name in TENSORS if "generator" in name})
    codes = torch.rand((3, 192), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = own((codes - TENSORS["mean"]) / TENSORS["spread"])
        torch.testing.assert_close(whole(codes), wanted, atol=1e-5, rtol=0)
    assert not whole.training
    assert not any(weights.requires_grad for weights in whole.parameters())
    assert all(weights.dtype == torch.float32 for weights in whole.parameters())


def test_the_same_weights_and_metadata_give_the_same_bytes() -> None:
    """Other weights or metadata give others."""
    assert pack_checkpoint(tensors_of(), METADATA) == WHOLE
    assert pack_checkpoint(TENSORS, replace(METADATA, date="2026-02-01")) != WHOLE


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    """Wherever it is; empty if it cannot be read, without an error."""
    path, copy = write_file(tmp_path / "a"), write_file(tmp_path / "b/c")
    assert digest_checkpoint(path) == digest_checkpoint(copy) != ""
    assert digest_checkpoint(write_file(tmp_path / "d", WHOLE[:-1])) != digest_checkpoint(path)
    for missing in (str(tmp_path / "none"), str(tmp_path), "ftp://host/file"):
        assert digest_checkpoint(missing) == ""
    assert UpConv(checkpoint=path).digest_weights(SPEC) == digest_checkpoint(path)


# What is wrong


class Mine:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a checkpoint was unpickled",))


def _with_header(header: object, rest: bytes = WHOLE[HEAD:], length: int | None = None) -> bytes:
    data = json.dumps(header).encode()
    return (len(data) if length is None else length).to_bytes(8, "little") + data + rest


def _header() -> dict[str, Any]:
    return dict(json.loads(WHOLE[8:HEAD]))


def _with_metadata(**changes: object) -> bytes:
    return _with_header(_header() | {"__metadata__": {"interpdisc": json.dumps(asdict(METADATA) | changes)}})


def _torch_file() -> bytes:
    import io

    sink = io.BytesIO()
    torch.save({"state": Mine()}, sink)
    return sink.getvalue()


WRONG: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "a few bytes": lambda: b"\x03\0\0",
    "random": lambda: np.random.default_rng(0).bytes(5000),
    "a pickle": lambda: pickle.dumps(Mine()),
    "a pickle of PyTorch": _torch_file,
    "claims 2^60 bytes": lambda: (2**60).to_bytes(8, "little") + WHOLE[8:],
    "claims 2^64 - 1 bytes": lambda: b"\xff" * 8 + WHOLE[8:],
    "claims 2^60 bytes, and is its header only": lambda: _with_header(_header(), b"", 2**60),
    "cut in its header": lambda: WHOLE[: HEAD // 2],
    "cut after its header": lambda: WHOLE[:HEAD],
    "cut in its weights": lambda: WHOLE[:-1],
    "too long": lambda: WHOLE + b"\0",
    "a header that is a list": lambda: _with_header([1]),
    "a header nested deeply": lambda: (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "no metadata": lambda: _with_header({k: v for k, v in _header().items() if k != "__metadata__"}),
    "another's metadata": lambda: _with_header(_header() | {"__metadata__": {"format": "pt"}}),
    "a metadata that is no JSON": lambda: _with_header(_header() | {"__metadata__": {"interpdisc": "{"}}),
    "a metadata of fewer fields": lambda: _with_header(_header() | {"__metadata__": {"interpdisc": '{"format": 1}'}}),
    "a metadata of more fields": lambda: _with_metadata(more=1),
    "another version": lambda: _with_metadata(format=2),
    "a generator that there is not": lambda: _with_metadata(generator={"kind": "wide"}),
    "a generator of another size": lambda: _with_metadata(generator={"kind": "light", "cells": 8, "size": 65}),
    "a generator of other cells": lambda: _with_metadata(generator={"kind": "light", "cells": 4, "size": 64}),
    "a grid that this is not": lambda: _with_metadata(generator={"kind": "light", "cells": 5, "size": 64}),
    "another dimension": lambda: _with_metadata(dimension=384),
    "no dimension": lambda: _with_metadata(dimension=-1),
    "a dimension beyond memory": lambda: _with_metadata(dimension=2**50),
    "weights of another shape": lambda: pack_checkpoint(
        TENSORS | {"generator.layers.0.0.weight": torch.zeros(2, 2)}, METADATA
    ),
    "weights that are missing": lambda: pack_checkpoint(
        {k: v for k, v in TENSORS.items() if "layers.1" not in k}, METADATA
    ),
    "no mean": lambda: pack_checkpoint({k: v for k, v in TENSORS.items() if k != "mean"}, METADATA),
    "a mean of another shape": lambda: pack_checkpoint(TENSORS | {"mean": torch.zeros(192, 1)}, METADATA),
    "a spread of another shape": lambda: pack_checkpoint(TENSORS | {"spread": torch.zeros(3)}, METADATA),
    "weights that are too many": lambda: pack_checkpoint(TENSORS | {"more": torch.zeros(2)}, METADATA),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_not_a_checkpoint_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    """Nothing in it is run, and the memory that it claims is not allocated."""
    path = write_file(tmp_path / "wrong.safetensors", WRONG[what]())
    with pytest.raises(WeightsError) as raised:
        load(path)
    assert_one_line(raised.value, "wrong.safetensors")
    if what == "another version":
        assert_one_line(raised.value, "version 2", "version 1")
    with pytest.raises(InterpdiscError):
        UpConv(checkpoint=path).load(SPEC, "none")


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_a_checkpoint_or_a_weights_error(place: int, value: int) -> None:
    """Never another error."""
    place = place % (2 * HEAD) if place % 2 else place  # half of them in the header
    data = WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :]
    try:
        load_generator(data, parse_checkpoint_metadata(data, "a file"), "a file")
    except WeightsError as error:
        assert_one_line(error, "a file")


@pytest.mark.parametrize("name", ["none.safetensors", "", "none/none.safetensors"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    """Also if a folder is in its place."""
    with pytest.raises(WeightsError, match="no checkpoint can be read there") as raised:
        read_checkpoint(str(tmp_path / name))
    assert_one_line(raised.value, str(tmp_path / name))


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(checkpoint.MAX_CHECKPOINT_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    with pytest.raises(WeightsError, match="larger than 2 GB"):
        read_checkpoint(str(path))


@pytest.mark.parametrize(
    "other", [PixelValues(side=9), EfficientNetLite0(), EfficientNetLite0(output="grid")], ids=repr
)
def test_a_checkpoint_for_other_features_is_refused(other: Any, tmp_path: Path) -> None:
    """The error names both representations, and what to do."""
    path = write_file(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="train one for it") as raised:
        UpConv(checkpoint=path).load(other, "none")
    assert_one_line(raised.value, path, "pixels", "side 8", digest_features(SPEC), other.kind, digest_features(other))
    with pytest.raises(WeightsError):
        UpConv(checkpoint=path).load_metadata(other)


# What ships


def test_a_shipped_checkpoint_is_found_by_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the digest in its metadata; other files are ignored."""
    monkeypatch.setattr(checkpoint, "SHIPPED_FOLDER", tmp_path / "shipped")
    assert list_shipped_checkpoints() == {}
    list_shipped_checkpoints.cache_clear()
    path = Path(write_file(tmp_path / "shipped/a.safetensors"))
    other = replace(METADATA, features=digest_features(PixelValues(side=9)))
    write_file(tmp_path / "shipped/b.safetensors", pack_checkpoint({"mean": torch.zeros(1)}, other))
    write_file(tmp_path / "shipped/readme.md", b"no checkpoint")
    assert list_shipped_checkpoints() == {METADATA.features: path, other.features: path.with_name("b.safetensors")}
    assert checkpoint.find_shipped_checkpoint(SPEC) == path
    assert checkpoint.find_shipped_checkpoint(EfficientNetLite0()) is None
    assert UpConv().find_checkpoint(SPEC) == str(path)
    assert UpConv().load_metadata(SPEC) == METADATA
    assert UpConv().load(SPEC, "none")(np.zeros((1, 192))).shape == (1, 64, 64, 3)
    assert UpConv(checkpoint="mine").find_checkpoint(SPEC) == "mine"


def test_if_no_checkpoint_ships_the_error_says_how_to_train_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED_FOLDER", tmp_path)
    with pytest.raises(PlanError, match="no network ships that inverts these features of pixels: train one") as raised:
        UpConv().load(SPEC, "none")
    assert_one_line(raised.value, "gradient")


@pytest.mark.parametrize("what", ["claims 2^60 bytes", "claims 2^64 - 1 bytes", "empty", "another version"])
def test_a_damaged_shipped_checkpoint_is_named(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED_FOLDER", tmp_path)
    write_file(tmp_path / "a.safetensors", WRONG[what]())
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        list_shipped_checkpoints()


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.name)
def test_a_shipped_checkpoint_is_complete(path: Path) -> None:
    """It loads, draws pictures, and its metadata are filled in."""
    data = read_checkpoint(str(path))
    metadata = parse_checkpoint_metadata(data, path.name)
    generator = load_generator(data, metadata, path.name)
    assert all(weights.isfinite().all() for weights in generator.state_dict().values())
    with torch.inference_mode():
        pictures = generator(generator.mean[None])
    assert pictures.shape == (1, 3, metadata.generator.size, metadata.generator.size)
    assert pictures.isfinite().all()
    assert list_shipped_checkpoints()[metadata.features] == path
    assert metadata.data.get("what")
    assert metadata.data["images"] > 0
    for value in (
        metadata.licence,
        metadata.date,
        metadata.command,
        metadata.recipe,
        metadata.scores,
        metadata.training,
    ):
        assert value
    assert not metadata.licence.startswith("unknown")
    assert metadata.length > 0
    assert metadata.threshold is not None
    assert -1 <= metadata.threshold <= 1
    for scores in metadata.scores.values():
        assert scores["images"] > 0
        assert all(np.isfinite(value) for value in scores.values())


def test_shipped_checkpoints_are_small() -> None:
    """All together at most 20 MB."""
    assert sum(path.stat().st_size for path in PACKAGED) <= 20e6
