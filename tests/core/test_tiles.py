"""Tiles cover their frame and nothing else; their addresses and contents are their own; a frame is decoded once."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from interpdisc_core import digest, frames, sources
from interpdisc_core.errors import Unreadable
from interpdisc_core.extraction import pixels
from interpdisc_core.images import decode, identify
from interpdisc_core.sources import file_uri
from interpdisc_core.tiles import ELONGATED, LARGE, MOST, address, boxes, content, cut, parted, upright

_SIDES = st.sampled_from([8, 64, 224, 600])
_LENGTHS = st.one_of(st.integers(0, 3000), st.integers(0, 2_000_000))
_BOX = st.tuples(*[st.integers(0, 10**9 - 1)] * 4)


@given(_LENGTHS, _LENGTHS, _SIDES)
def test_tiles_cover_the_frame(width: int, height: int, side: int) -> None:
    """Every pixel is in one, none reaches out, they overlap, and there are few of them."""
    tiles = boxes(width, height, side)
    assert len(tiles) <= MOST
    assert len(set(tiles)) == len(tiles)
    assert all(x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height for x, y, w, h in tiles)
    columns = {(x, x + w) for x, _, w, _ in tiles}
    rows = {(y, y + h) for _, y, _, h in tiles}
    assert len(tiles) == len(columns) * len(rows)  # a grid, so it covers the frame when its sides are covered
    for spans, length in ((sorted(columns), width), (sorted(rows), height)):
        reached = 0
        for start, stop in spans:
            assert start <= reached
            reached = stop
        assert reached == length or not tiles
    if max(width, height) <= MOST / 2 * min(width, height):
        assert all(w == h for _, _, w, h in tiles)


@given(_LENGTHS, _LENGTHS, _SIDES)
def test_a_turned_frame_has_the_turned_tiles(width: int, height: int, side: int) -> None:
    """Nothing depends on which side is the long one."""
    assert sorted(boxes(height, width, side)) == sorted((y, x, h, w) for x, y, w, h in boxes(width, height, side))


@pytest.mark.parametrize(
    ("size", "count"),
    [((1600, 1200), 0), ((1344, 1200), 0), ((1648, 1200), 0), ((1024, 1024), 0), ((64, 64), 0), ((1024, 40), 0), ((1024, 256), 5),
     ((5120, 3840), 20), ((10_000, 800), 15), ((20_000, 8_000), 60)],
)  # fmt: skip
def test_which_frames_are_tiled(size: tuple[int, int], count: int) -> None:
    """A rover's full frames are not; strips, panoramas and mosaics are."""
    assert len(boxes(*size, 224)) == count


def test_the_two_limits() -> None:
    """A frame at the limits is a normal one, beyond them it is not."""
    assert boxes(int(400 * ELONGATED), 400, 224) == []
    assert boxes(int(400 * ELONGATED) + 1, 400, 224) != []
    assert boxes(2000, LARGE // 2000, 224) == []
    assert boxes(2000, LARGE // 2000 + 1, 224) != []


@given(st.text() | st.from_regex(r"(file|s3|shard\+file)://[a-z/%#&=,0-9]*", fullmatch=True), _BOX, _BOX)
def test_an_address_comes_apart_again(
    uri: str, box: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> None:
    """Whatever the frame's address, also one with a fragment of its own, or a tile's."""
    assert parted(address(uri, box)) == (uri, box)
    assert parted(address(address(uri, box), other)) == (address(uri, box), other)
    assert address(uri, box) != uri
    shard = "shard+s3://b/a.tar#offset=512&size=9&name=a%23.png"
    assert address(shard, box).startswith(shard + "&xywh=")


@pytest.mark.parametrize(
    "uri",
    ["", "file:///a.png", "s3://b/a#b", "shard+s3://b/a.tar#offset=0&size=9", "file:///a#xywh=1,2,3", "a#xywh=1,2,3,x"],
)
def test_an_address_without_a_box_is_a_frames(uri: str) -> None:
    """It stays as it is."""
    assert parted(uri) == (uri, None)


@given(_BOX, _BOX, st.binary())
def test_contents_differ(one: tuple[int, int, int, int], two: tuple[int, int, int, int], data: bytes) -> None:
    """Between a frame and its tiles, between tiles, between frames."""
    frame = digest.of_bytes(data)
    names = {frame, content(frame, one), content(frame, two), content(digest.of_bytes(data + b"x"), one)}
    assert len(names) == (4 if one != two else 3)
    assert all(len(name) == 64 for name in names)


def png(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture
def strip(tmp_path: Path) -> tuple[str, str, np.ndarray]:
    """A panorama: its address, its digest, its pixels."""
    array = np.random.default_rng(0).integers(0, 256, (60, 400, 3)).astype(np.uint8)
    (tmp_path / "a#b&xywh=1.png").write_bytes(data := png(array))
    return file_uri(str(tmp_path / "a#b&xywh=1.png")), digest.of_bytes(data), array


def test_a_tile_is_a_cut_of_its_frame(strip: tuple[str, str, np.ndarray]) -> None:
    """At the frame's own scale, whatever the network takes; and the pieces put together are the frame."""
    uri, sha256, array = strip
    seen = np.zeros_like(array)
    for box in boxes(400, 60, 32):
        x, y, w, h = box
        tile = pixels(address(uri, box), content(sha256, box), at_least=8)
        np.testing.assert_array_equal(tile, cut(array, box))
        seen[y : y + h, x : x + w] = tile
    np.testing.assert_array_equal(seen, array)


def test_a_frame_is_decoded_once_for_its_tiles(
    strip: tuple[str, str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By however many threads; another frame is decoded when it is asked for; what is too large is not kept."""
    uri, sha256, _ = strip
    calls: list[int] = []
    monkeypatch.setattr(frames, "_LAST", frames._Last())
    monkeypatch.setattr(
        frames, "decode", lambda data, **how: calls.append(threading.get_ident()) or decode(data, **how)
    )
    asked = [(address(uri, box), content(sha256, box)) for box in boxes(400, 60, 32)] * 3
    with ThreadPoolExecutor(8) as pool:
        tiles = list(pool.map(lambda one: pixels(*one), asked))
    assert len(calls) == 1
    tiles[0][:] = 0  # a tile is its owner's
    np.testing.assert_array_equal(pixels(*asked[0]), tiles[len(asked) // 3])
    assert len(calls) == 1
    monkeypatch.setattr(frames, "KEPT", 10)
    monkeypatch.setattr(frames, "_LAST", frames._Last())
    for one in asked[:3]:
        pixels(*one)
    assert len(calls) == 4


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_a_frame_that_is_stored_on_its_side(tmp_path: Path, kind: str) -> None:
    """Tiles are of the frame as it is decoded: upright."""
    array = np.random.default_rng(0).integers(0, 256, (60, 400, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(array).save(tmp_path / f"a.{kind}", exif=exif)
    data = (tmp_path / f"a.{kind}").read_bytes()
    facts, frame = identify(data), decode(data)
    width, height = upright(facts.width, facts.height, facts.format, json.loads(facts.header))
    assert (height, width) == frame.shape[:2] == (400, 60)
    box = boxes(width, height, 32)[-1]
    tile = pixels(address(file_uri(str(tmp_path / f"a.{kind}")), box), content(digest.of_bytes(data), box))
    np.testing.assert_array_equal(tile, frame[-60:])


def test_a_tile_of_a_changed_frame_is_refused(strip: tuple[str, str, np.ndarray], tmp_path: Path) -> None:
    """As a frame is, and as one that may be had again; also after the old frame was kept."""
    uri, sha256, array = strip
    box = (0, 0, 60, 60)
    good = address(uri, box), content(sha256, box)
    pixels(*good)
    (tmp_path / "other.png").write_bytes(png(array[:, ::-1]))
    for where, name in ((uri, content("0" * 64, box)), (file_uri(str(tmp_path / "other.png")), good[1]), (uri, sha256)):
        with pytest.raises(Unreadable, match="changed since it was listed") as caught:
            pixels(address(where, box), name)
        assert caught.value.access
    np.testing.assert_array_equal(pixels(*good), array[:60, :60])


@pytest.mark.parametrize(
    "box", [(0, 0, 401, 1), (400, 0, 1, 1), (0, 60, 1, 1), (0, 0, 0, 5), (5, 5, 999_999_999, 999_999_999)]
)
def test_a_box_outside_its_frame_is_refused(strip: tuple[str, str, np.ndarray], box: tuple[int, int, int, int]) -> None:
    """With a sentence, and for good."""
    uri, sha256, _ = strip
    with pytest.raises(Unreadable, match="no such tile") as caught:
        pixels(address(uri, box), content(sha256, box))
    assert not caught.value.access


def test_what_cannot_be_read_is_said_as_for_a_frame(tmp_path: Path) -> None:
    """Vanished, and damaged."""
    (tmp_path / "bad.png").write_bytes(
        data := png(np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8))[:-999]
    )
    bad, box = file_uri(str(tmp_path / "bad.png")), (0, 0, 1, 1)
    with pytest.raises(Unreadable, match="truncated"):
        pixels(address(bad, box), content(digest.of_bytes(data), box))
    with pytest.raises(Unreadable, match="vanished"):
        pixels(address(bad + "x", box), content(digest.of_bytes(data), box))
    assert sources.read(bad) == data
