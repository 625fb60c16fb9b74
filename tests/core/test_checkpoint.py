"""Checkpoints: nothing is unpickled, whatever is wrong is one sentence with the file's name, and those that ship are whole."""

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
from interpdisc_core.inverters.checkpoint import Card, card_of, content, fitting, network, pack, read, shipped
from interpdisc_core.inverters.generators import LightGenerator, PaperGenerator
from interpdisc_core.inverters.upconv import UpConv
from interpdisc_core.representations import EfficientNetLite0, PixelValues, features_of

torch = pytest.importorskip("torch")

SPEC = PixelValues(side=8)
GENERATOR = LightGenerator(cells=8, size=64)
CARD = Card(
    features=features_of(SPEC), representation=asdict(SPEC), generator=GENERATOR, dimension=192, length=7.0,
    threshold=0.25, recipe={"seed": 3}, command="interpdisc train-inverter 'photos é'", data={"images": 5},
    licence="CC0", training={"epochs": 2}, scores={"mars": {"psnr": 20.5}}, date="2026-01-31",
    environment={"torch": "2"},
)  # fmt: skip
PACKAGED = sorted(checkpoint.SHIPPED.glob("*.safetensors"))


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
WHOLE = pack(TENSORS, CARD)
HEAD = 8 + int.from_bytes(WHOLE[:8], "little")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    shipped.cache_clear()
    yield
    shipped.cache_clear()


def kept(path: Path, data: bytes = WHOLE) -> str:
    """A file of these bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def opened(path: str, representation: Any = SPEC) -> Any:
    """The network of a file, as `UpConv` loads it."""
    data, card = fitting(path, representation)
    return network(data, card, path)


def sentence(error: BaseException, *named: str) -> None:
    """One line that names what is to be named."""
    said = str(error)
    assert "\n" not in said
    assert all(name in said for name in named), said


# ------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize(
    "card", [CARD, replace(CARD, threshold=None, generator=PaperGenerator())], ids=["full", "other"]
)
def test_a_card_comes_back(card: Card) -> None:
    """Equal, from the first bytes alone."""
    data = pack({"mean": torch.zeros(2)}, card)
    assert card_of(data, "x") == card
    assert card_of(data[: 8 + int.from_bytes(data[:8], "little")], "x") == card


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.floats(allow_nan=False)), st.text())
def test_a_card_says_what_it_was_told(data: dict[str, Any], command: str) -> None:
    """Any text."""
    card = replace(CARD, data=data, command=command.encode("utf-8", "replace").decode())
    assert card_of(pack({"mean": torch.zeros(2)}, card), "x") == card


def test_a_network_comes_back(tmp_path: Path) -> None:
    """The pictures of the network that was packed; evaluated, and without gradients."""
    whole = opened(kept(tmp_path / "a.safetensors"))
    own = GENERATOR.build(192).eval()
    own.load_state_dict({name.removeprefix("generator."): TENSORS[name] for name in TENSORS if "generator" in name})
    codes = torch.rand((3, 192), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = own((codes - TENSORS["mean"]) / TENSORS["spread"])
        torch.testing.assert_close(whole(codes), wanted, atol=1e-5, rtol=0)
    assert not whole.training
    assert not any(weights.requires_grad for weights in whole.parameters())
    assert all(weights.dtype == torch.float32 for weights in whole.parameters())


def test_packing_is_repeatable() -> None:
    """The same weights and card: the same bytes; and other weights or another card, another content."""
    assert pack(tensors_of(), CARD) == WHOLE
    assert pack(TENSORS, replace(CARD, date="2026-02-01")) != WHOLE


def test_the_content_names_a_file(tmp_path: Path) -> None:
    """By its bytes, wherever it is; empty where there is none, and no error."""
    one, other = kept(tmp_path / "a"), kept(tmp_path / "b/c")
    assert content(one) == content(other) != ""
    assert content(kept(tmp_path / "d", WHOLE[:-1])) != content(one)
    for nothing in (str(tmp_path / "none"), str(tmp_path), "ftp://host/file"):
        assert content(nothing) == ""
    assert UpConv(checkpoint=one).identity(SPEC) == content(one)


# ---------------------------------------------------------------------------------------------------- what is wrong


class Mine:
    """Says it when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a checkpoint was unpickled",))


def _headed(header: object, rest: bytes = WHOLE[HEAD:], length: int | None = None) -> bytes:
    data = json.dumps(header).encode()
    return (len(data) if length is None else length).to_bytes(8, "little") + data + rest


def _header() -> dict[str, Any]:
    return dict(json.loads(WHOLE[8:HEAD]))


def _carded(**changes: object) -> bytes:
    return _headed(_header() | {"__metadata__": {"interpdisc": json.dumps(asdict(CARD) | changes)}})


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
    "claims 2^60 bytes, and is its header only": lambda: _headed(_header(), b"", 2**60),
    "cut in its header": lambda: WHOLE[: HEAD // 2],
    "cut after its header": lambda: WHOLE[:HEAD],
    "cut in its weights": lambda: WHOLE[:-1],
    "too long": lambda: WHOLE + b"\0",
    "a header that is a list": lambda: _headed([1]),
    "a header nested deeply": lambda: (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "no metadata": lambda: _headed({k: v for k, v in _header().items() if k != "__metadata__"}),
    "another's metadata": lambda: _headed(_header() | {"__metadata__": {"format": "pt"}}),
    "a card that is no JSON": lambda: _headed(_header() | {"__metadata__": {"interpdisc": "{"}}),
    "a card of fewer fields": lambda: _headed(_header() | {"__metadata__": {"interpdisc": '{"format": 1}'}}),
    "a card of more fields": lambda: _carded(more=1),
    "another version": lambda: _carded(format=2),
    "a generator that there is not": lambda: _carded(generator={"kind": "wide"}),
    "a generator of another size": lambda: _carded(generator={"kind": "light", "cells": 8, "size": 65}),
    "a generator of other cells": lambda: _carded(generator={"kind": "light", "cells": 4, "size": 64}),
    "a grid that this is not": lambda: _carded(generator={"kind": "light", "cells": 5, "size": 64}),
    "another dimension": lambda: _carded(dimension=384),
    "no dimension": lambda: _carded(dimension=-1),
    "a dimension beyond memory": lambda: _carded(dimension=2**50),
    "weights of another shape": lambda: pack(TENSORS | {"generator.layers.0.0.weight": torch.zeros(2, 2)}, CARD),
    "weights that are missing": lambda: pack({k: v for k, v in TENSORS.items() if "layers.1" not in k}, CARD),
    "no mean": lambda: pack({k: v for k, v in TENSORS.items() if k != "mean"}, CARD),
    "a mean of another shape": lambda: pack(TENSORS | {"mean": torch.zeros(192, 1)}, CARD),
    "a spread of another shape": lambda: pack(TENSORS | {"spread": torch.zeros(3)}, CARD),
    "weights that are too many": lambda: pack(TENSORS | {"more": torch.zeros(2)}, CARD),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_no_checkpoint(what: str, tmp_path: Path) -> None:
    """Refused with one sentence that names it; nothing in it is run, and no memory is asked for that it claims."""
    path = kept(tmp_path / "wrong.safetensors", WRONG[what]())
    with pytest.raises(WeightsError) as raised:
        opened(path)
    sentence(raised.value, "wrong.safetensors")
    if what == "another version":
        sentence(raised.value, "version 2", "version 1")
    with pytest.raises(InterpdiscError):
        UpConv(checkpoint=path).load(SPEC, "none")


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_byte_that_is_another(place: int, value: int) -> None:
    """A checkpoint, or a sentence: never another error."""
    place = place % (2 * HEAD) if place % 2 else place  # half of them in the header
    data = WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :]
    try:
        network(data, card_of(data, "a file"), "a file")
    except WeightsError as error:
        sentence(error, "a file")


@pytest.mark.parametrize("name", ["none.safetensors", "", "none/none.safetensors"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    """Nor a folder in its place."""
    with pytest.raises(WeightsError, match="no checkpoint can be read there") as raised:
        read(str(tmp_path / name))
    sentence(raised.value, str(tmp_path / name))


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before it is read."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(checkpoint.MAX_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    with pytest.raises(WeightsError, match="larger than 2 GB"):
        read(str(path))


@pytest.mark.parametrize(
    "other", [PixelValues(side=9), EfficientNetLite0(), EfficientNetLite0(output="grid")], ids=repr
)
def test_a_checkpoint_for_other_features(other: Any, tmp_path: Path) -> None:
    """A sentence that names both representations, and what to do."""
    path = kept(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="train one for it") as raised:
        UpConv(checkpoint=path).load(other, "none")
    sentence(raised.value, path, "pixels", "side 8", features_of(SPEC), other.kind, features_of(other))
    with pytest.raises(WeightsError):
        UpConv(checkpoint=path).card(other)


# ------------------------------------------------------------------------------------------------------ what ships


def test_what_ships_is_found_by_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the digest that its card says; other files are no matter."""
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path / "shipped")
    assert shipped() == {}
    shipped.cache_clear()
    path = Path(kept(tmp_path / "shipped/a.safetensors"))
    other = replace(CARD, features=features_of(PixelValues(side=9)))
    kept(tmp_path / "shipped/b.safetensors", pack({"mean": torch.zeros(1)}, other))
    kept(tmp_path / "shipped/readme.md", b"no checkpoint")
    assert shipped() == {CARD.features: path, other.features: path.with_name("b.safetensors")}
    assert checkpoint.found_for(SPEC) == path
    assert checkpoint.found_for(EfficientNetLite0()) is None
    assert UpConv().path(SPEC) == str(path)
    assert UpConv().card(SPEC) == CARD
    assert UpConv().load(SPEC, "none")(np.zeros((1, 192))).shape == (1, 64, 64, 3)
    assert UpConv(checkpoint="mine").path(SPEC) == "mine"


def test_none_ships_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence that says how to make one."""
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path)
    with pytest.raises(PlanError, match="no network ships that inverts these features of pixels: train one") as raised:
        UpConv().load(SPEC, "none")
    sentence(raised.value, "gradient")


@pytest.mark.parametrize("what", ["claims 2^60 bytes", "claims 2^64 - 1 bytes", "empty", "another version"])
def test_what_ships_is_damaged(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence with the file's name."""
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path)
    kept(tmp_path / "a.safetensors", WRONG[what]())
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        shipped()


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.name)
def test_a_shipped_checkpoint_is_whole(path: Path) -> None:
    """It loads, gives pictures, and its card says what people ask first."""
    data = read(str(path))
    card = card_of(data, path.name)
    made = network(data, card, path.name)
    assert all(weights.isfinite().all() for weights in made.state_dict().values())
    with torch.inference_mode():
        pictures = made(made.mean[None])
    assert pictures.shape == (1, 3, card.generator.size, card.generator.size)
    assert pictures.isfinite().all()
    assert shipped()[card.features] == path
    assert card.data.get("what")
    assert card.data["images"] > 0
    for told in (card.licence, card.date, card.command, card.recipe, card.scores, card.training):
        assert told
    assert not card.licence.startswith("unknown")
    assert card.length > 0
    assert card.threshold is not None
    assert -1 <= card.threshold <= 1
    for scores in card.scores.values():
        assert scores["images"] > 0
        assert all(np.isfinite(value) for value in scores.values())


def test_what_ships_is_small() -> None:
    """All together at most 20 MB."""
    assert sum(path.stat().st_size for path in PACKAGED) <= 20e6
