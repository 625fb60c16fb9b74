"""Tiles cover their frame; their URIs and digests are their own; a frame is decoded once for all of its tiles."""

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

from interpdisc_core import digest, sources
from interpdisc_core.errors import Unreadable
from interpdisc_core.images import load
from interpdisc_core.images.decode import decode, identify
from interpdisc_core.images.load import load_input_image
from interpdisc_core.images.tiles import (
    ELONGATED_ASPECT,
    LARGE_PIXELS,
    MAX_TILES,
    compute_upright_size,
    crop_tile,
    digest_tile,
    tile_grid,
)
from interpdisc_core.images.uri_fragments import add_bayer_pattern, split_bayer_pattern, split_tile_uri, tile_uri
from interpdisc_core.sources import file_uri

_SIDES = st.sampled_from([8, 64, 224, 600])
_LENGTHS = st.one_of(st.integers(0, 3000), st.integers(0, 2_000_000))
_BOX = st.tuples(*[st.integers(0, 10**9 - 1)] * 4)


@given(_LENGTHS, _LENGTHS, _SIDES)
def test_tiles_cover_the_frame(width: int, height: int, side: int) -> None:
    """Every pixel is in a tile, none reaches out of the frame, they overlap, and their number is limited."""
    tiles = tile_grid(width, height, side)
    assert len(tiles) <= MAX_TILES
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
    if max(width, height) <= MAX_TILES / 2 * min(width, height):
        assert all(w == h for _, _, w, h in tiles)


@given(_LENGTHS, _LENGTHS, _SIDES)
def test_tiles_of_a_transposed_frame_are_transposed(width: int, height: int, side: int) -> None:
    """Nothing depends on which side is the long one."""
    assert sorted(tile_grid(height, width, side)) == sorted(
        (y, x, h, w) for x, y, w, h in tile_grid(width, height, side)
    )


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((1600, 1200), 0),
        ((1344, 1200), 0),
        ((1648, 1200), 0),
        ((1024, 1024), 0),
        ((64, 64), 0),
        ((1024, 40), 0),
        ((1024, 256), 5),
        ((5120, 3840), 20),
        ((10_000, 800), 15),
        ((20_000, 8_000), 60),
    ],
)
def test_which_frames_are_tiled(size: tuple[int, int], count: int) -> None:
    """A rover's full frames are not; strips, panoramas and mosaics are."""
    assert len(tile_grid(*size, 224)) == count


def test_frames_beyond_the_limits_are_tiled() -> None:
    """Frames at the limits are not."""
    assert tile_grid(int(400 * ELONGATED_ASPECT), 400, 224) == []
    assert tile_grid(int(400 * ELONGATED_ASPECT) + 1, 400, 224) != []
    assert tile_grid(2000, LARGE_PIXELS // 2000, 224) == []
    assert tile_grid(2000, LARGE_PIXELS // 2000 + 1, 224) != []


@given(st.text() | st.from_regex(r"(file|s3|shard\+file)://[a-z/%#&=,0-9]*", fullmatch=True), _BOX, _BOX)
def test_a_tile_uri_splits_into_frame_and_box(
    uri: str, box: tuple[int, int, int, int], other_box: tuple[int, int, int, int]
) -> None:
    """Also if the frame's URI has a fragment of its own, or is a tile's."""
    assert split_tile_uri(tile_uri(uri, box)) == (uri, box)
    assert split_tile_uri(tile_uri(tile_uri(uri, box), other_box)) == (tile_uri(uri, box), other_box)
    assert tile_uri(uri, box) != uri
    shard = "shard+s3://b/a.tar#offset=512&size=9&name=a%23.png"
    assert tile_uri(shard, box).startswith(shard + "&xywh=")


@given(st.text() | st.from_regex(r"file://[a-z/%#&=,0-9]*", fullmatch=True), _BOX)
def test_a_bayer_pattern_splits_from_any_uri(uri: str, box: tuple[int, int, int, int]) -> None:
    """A frame's or a tile's; an empty pattern leaves the URI unchanged."""
    for plain_uri in (uri, tile_uri(uri, box)):
        assert split_bayer_pattern(add_bayer_pattern(plain_uri, "GRBG")) == (plain_uri, "GRBG")
        assert add_bayer_pattern(plain_uri, "") == plain_uri
    assert add_bayer_pattern("file:///a.img", "RGGB") == "file:///a.img#mosaic=RGGB"


@pytest.mark.parametrize(
    "uri",
    ["", "file:///a.png", "s3://b/a#b", "shard+s3://b/a.tar#offset=0&size=9", "file:///a#xywh=1,2,3", "a#xywh=1,2,3,x"],
)
def test_a_uri_without_a_box_is_a_frames(uri: str) -> None:
    """It is returned unchanged."""
    assert split_tile_uri(uri) == (uri, None)


@given(_BOX, _BOX, st.binary())
def test_digests_of_frames_and_tiles_differ(
    first_box: tuple[int, int, int, int], second_box: tuple[int, int, int, int], data: bytes
) -> None:
    """Between a frame and its tiles, between tiles, between frames."""
    frame = digest.digest_bytes(data)
    names = {
        frame,
        digest_tile(frame, first_box),
        digest_tile(frame, second_box),
        digest_tile(digest.digest_bytes(data + b"x"), first_box),
    }
    assert len(names) == (4 if first_box != second_box else 3)
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
    return file_uri(str(tmp_path / "a#b&xywh=1.png")), digest.digest_bytes(data), array


def test_a_tile_is_a_crop_of_its_frame(strip: tuple[str, str, np.ndarray]) -> None:
    """At the frame's scale, whatever the network's input; the tiles assembled are the frame."""
    uri, sha256, array = strip
    assembled = np.zeros_like(array)
    for box in tile_grid(400, 60, 32):
        x, y, w, h = box
        tile = load_input_image(tile_uri(uri, box), digest_tile(sha256, box), at_least=8)
        np.testing.assert_array_equal(tile, crop_tile(array, box))
        assembled[y : y + h, x : x + w] = tile
    np.testing.assert_array_equal(assembled, array)


def test_a_frame_is_decoded_once_for_its_tiles(
    strip: tuple[str, str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by several threads; a frame that is too large is not kept."""
    uri, sha256, _ = strip
    calls: list[int] = []
    monkeypatch.setattr(load, "_frame_cache", load.FrameCache())
    monkeypatch.setattr(load, "decode", lambda data, **how: calls.append(threading.get_ident()) or decode(data, **how))
    tile_requests = [(tile_uri(uri, box), digest_tile(sha256, box)) for box in tile_grid(400, 60, 32)] * 3
    with ThreadPoolExecutor(8) as pool:
        tiles = list(pool.map(lambda request: load_input_image(*request), tile_requests))
    assert len(calls) == 1
    tiles[0][:] = 0  # a tile is its owner's
    np.testing.assert_array_equal(load_input_image(*tile_requests[0]), tiles[len(tile_requests) // 3])
    assert len(calls) == 1
    monkeypatch.setattr(load, "_frame_cache", load.FrameCache(max_bytes=10))
    for request in tile_requests[:3]:
        load_input_image(*request)
    assert len(calls) == 2, "it is kept in a file"


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_tiles_are_of_the_upright_frame(tmp_path: Path, kind: str) -> None:
    """With an EXIF orientation."""
    array = np.random.default_rng(0).integers(0, 256, (60, 400, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(array).save(tmp_path / f"a.{kind}", exif=exif)
    data = (tmp_path / f"a.{kind}").read_bytes()
    info, frame = identify(data), decode(data)
    width, height = compute_upright_size(info.width, info.height, info.format, json.loads(info.header))
    assert (height, width) == frame.shape[:2] == (400, 60)
    box = tile_grid(width, height, 32)[-1]
    tile = load_input_image(
        tile_uri(file_uri(str(tmp_path / f"a.{kind}")), box), digest_tile(digest.digest_bytes(data), box)
    )
    np.testing.assert_array_equal(tile, frame[-60:])


def test_a_tile_of_a_changed_frame_is_refused(strip: tuple[str, str, np.ndarray], tmp_path: Path) -> None:
    """It is retryable, as a changed frame is; also if the old frame is cached."""
    uri, sha256, array = strip
    box = (0, 0, 60, 60)
    good = tile_uri(uri, box), digest_tile(sha256, box)
    load_input_image(*good)
    (tmp_path / "other.png").write_bytes(png(array[:, ::-1]))
    for where, name in (
        (uri, digest_tile("0" * 64, box)),
        (file_uri(str(tmp_path / "other.png")), good[1]),
        (uri, sha256),
    ):
        with pytest.raises(Unreadable, match="changed since it was listed") as caught:
            load_input_image(tile_uri(where, box), name)
        assert caught.value.retryable
    np.testing.assert_array_equal(load_input_image(*good), array[:60, :60])


@pytest.mark.parametrize(
    "box", [(0, 0, 401, 1), (400, 0, 1, 1), (0, 60, 1, 1), (0, 0, 0, 5), (5, 5, 999_999_999, 999_999_999)]
)
def test_a_box_outside_its_frame_is_refused(strip: tuple[str, str, np.ndarray], box: tuple[int, int, int, int]) -> None:
    """It is not retryable."""
    uri, sha256, _ = strip
    with pytest.raises(Unreadable, match="no such tile") as caught:
        load_input_image(tile_uri(uri, box), digest_tile(sha256, box))
    assert not caught.value.retryable


def test_tiles_of_unreadable_frames_have_the_frames_reason(tmp_path: Path) -> None:
    """Missing and truncated files."""
    (tmp_path / "bad.png").write_bytes(
        data := png(np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8))[:-999]
    )
    bad, box = file_uri(str(tmp_path / "bad.png")), (0, 0, 1, 1)
    with pytest.raises(Unreadable, match="truncated"):
        load_input_image(tile_uri(bad, box), digest_tile(digest.digest_bytes(data), box))
    with pytest.raises(Unreadable, match="vanished"):
        load_input_image(tile_uri(bad + "x", box), digest_tile(digest.digest_bytes(data), box))
    assert sources.read_input(bad) == data
