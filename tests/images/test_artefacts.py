"""Artefacts are distinguished from dim, gray and plain scenes; rules match metadata; truncated files are decoded in part."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from interpdisc_core.archive.batches import Batch, BlockId
from interpdisc_core.archive.feature_store import FeatureStore
from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.images.artefacts import ARTEFACT_RULES, check_rules, decode_partial, find_artefacts, match_rules
from interpdisc_core.images.decode import decode
from interpdisc_core.images.resize import crop_center_square
from interpdisc_core.pipeline.extract import extract_block
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.storage.location import Location
from tests.pipeline.test_ingest import PLAN, run_ingest, write_file

Array = npt.NDArray[np.uint8]


def encode(picture: Array, kind: str = "JPEG", **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, kind, **options)
    return sink.getvalue()


def ground(height: int = 600, width: int = 800, mean: float = 120, spread: float = 25, seed: int = 0) -> Array:
    """Something like soil: noise on several scales, in brown."""
    rng = np.random.default_rng(seed)
    gray = np.zeros((height, width))
    for scale in (4, 16, 64):
        coarse = rng.normal(size=(height // scale + 2, width // scale + 2)).astype(np.float32)
        gray += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    gray = mean + spread * gray / gray.std()
    return np.clip(gray[:, :, None] * [1.1, 0.95, 0.75], 0, 255).astype(np.uint8)


def sky(seed: int = 0) -> Array:
    """A gradient with a ridge at its foot: rows of it are nearly plain."""
    rows = np.linspace(179, 165, 600)[:, None, None] * np.array([1.05, 0.95, 0.8])
    image = np.broadcast_to(rows, (600, 800, 3)).astype(np.uint8).copy()
    image[400:] = ground(seed=seed)[400:]
    return image


def prepare(data: bytes) -> Array:
    """As extraction sees an image."""
    return crop_center_square(decode(data, at_least=224), crop=224, short_side=256)


def find_in_jpeg(picture: Array, quality: int = 85) -> tuple[str, ...]:
    return find_artefacts(prepare(encode(picture, quality=quality)))


def test_ordinary_scenes_are_not_artefacts() -> None:
    """Soil, dim soil, low-contrast gray soil, sky, the sun on black, a disc on white, a page."""
    sun = np.zeros((600, 800, 3), dtype=np.uint8)
    y, x = np.mgrid[:600, :800]
    sun[(y - 300) ** 2 + (x - 400) ** 2 < 60**2] = 200
    assert (
        find_in_jpeg(ground())
        == find_in_jpeg(ground(mean=30, spread=8))
        == find_in_jpeg(sun)
        == find_in_jpeg(sky())
        == find_in_jpeg(255 - sun)
        == ()
    )
    gray = np.repeat(ground(spread=3)[:, :, :1], 3, axis=2)
    assert find_in_jpeg(gray) == find_in_jpeg(gray, quality=30) == ()
    page = np.full((600, 800, 3), 255, dtype=np.uint8)
    page[200:400, 200:600] = ground()[200:400, 200:600]
    assert find_in_jpeg(page) == ()


def test_black_saturated_and_flat_images_are_artefacts() -> None:
    """With the noise of a dark frame, hot pixels, and JPEG's levels."""
    rng = np.random.default_rng(1)
    dark = np.abs(rng.normal(0, 3, (600, 800, 3))).astype(np.uint8)
    dark[7, 9] = dark[300, 400] = 255
    assert find_artefacts(dark) == find_in_jpeg(dark) == ("black",)
    over = np.clip(ground().astype(int) * 6 + 150, 0, 255).astype(np.uint8)
    assert find_in_jpeg(over) == ("saturated",)
    for level in (60, 128, 200):
        flat = np.full((600, 800, 3), (level, level - 10, level - 30), dtype=np.uint8)
        assert find_in_jpeg(flat) == ("flat",)
        assert find_artefacts(flat) == ("flat",)


@pytest.mark.parametrize("fill", [0, 200])
@pytest.mark.parametrize(("start", "stop"), [(0, 180), (200, 330), (380, 600)])
def test_missing_rows_and_columns_are_found(fill: int, start: int, stop: int) -> None:
    """At the edges and in the middle, black and gray; not in a tile."""
    for seed, scene in enumerate((ground(), sky())):
        damaged = scene.copy()
        damaged[start:stop] = fill
        if not (fill == 200 and seed):  # a plain gray band in a gray sky has no straight edge
            assert find_in_jpeg(damaged) == ("missing rows",)
            assert find_in_jpeg(damaged.transpose(1, 0, 2).copy()) == ("missing columns",)
            assert find_artefacts(prepare(encode(damaged)), is_frame=False) == ()


@given(st.integers(1, 40), st.integers(1, 40), st.binary(min_size=4, max_size=4), st.booleans())
def test_any_pixels_give_known_reasons(height: int, width: int, seed: bytes, coarse: bool) -> None:
    """For any size; the pixels are not changed."""
    rng = np.random.default_rng(list(seed))
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if coarse:
        image = (image > 128).astype(np.uint8) * np.uint8(255)
    before = image.copy()
    reasons = find_artefacts(image)
    assert set(reasons) <= {"black", "saturated", "flat", "missing rows", "missing columns"}
    assert find_artefacts(np.ascontiguousarray(image[:, :, ::-1])) is not None
    np.testing.assert_array_equal(image, before)


# ------------------------------------------------------------------------------------------ by rule


COLUMNS = {
    "title": ["Mastcam-Z Calibration Target", "Left Navcam", None],
    "sol": [1, 2, 3],
    "seq uence": ["A", "B", "C"],
    "seq_uence": ["X", "Y", "Z"],
}


def test_rules_match_metadata() -> None:
    """The names of the matching rules, in order; a comparison with a missing field is false."""
    rules = {
        "late": "sol >= 2",
        "never": "temperature > 5 or not_there == 'x'",
        "b": "seq_uence == 'B'",
        **ARTEFACT_RULES,
    }
    assert match_rules(COLUMNS, rules) == [("calibration target",), ("late", "b"), ("late",)]
    assert match_rules(COLUMNS, {"unless": "not (temperature > 5)"}) == [("unless",)] * 3
    assert match_rules({}, rules) == []
    assert match_rules(COLUMNS, {}) == [()] * 3


@pytest.mark.parametrize(
    "expression", ["sol >", "sol", "__import__('os')", "sol is 3", "\0", "(" * 500 + "sol" + ")" * 500]
)
def test_an_invalid_rule_is_refused(expression: str) -> None:
    """Also when there are no images."""
    with pytest.raises(PlanError):
        check_rules({"bad": expression})
    with pytest.raises(PlanError):
        match_rules(COLUMNS, {"bad": expression})


def test_a_rule_needs_a_name() -> None:
    """An empty name is refused; the default rules are valid."""
    with pytest.raises(PlanError, match="needs a name"):
        check_rules({" ": "sol == 1"})
    check_rules(ARTEFACT_RULES)


# ---------------------------------------------------------------------------------------- cut files


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_truncated_file_is_decoded_in_part(kind: str) -> None:
    """The upper rows are the picture's, the lower ones black and found as missing; no global state changes."""
    picture = ground()
    whole = encode(picture, kind)
    cut = whole[: len(whole) * 55 // 100]
    with pytest.raises(Unreadable, match="truncated"):
        decode(cut)
    partial = decode_partial(cut)
    assert partial is not None
    assert partial.shape == picture.shape
    np.testing.assert_array_equal(partial[:200], decode(whole)[:200])
    assert not partial[-100:].any()
    assert find_artefacts(crop_center_square(partial, crop=224, short_side=256)) == ("missing rows",)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    np.testing.assert_array_equal(decode_partial(whole), decode(whole))


def test_a_file_without_pixels_gives_none() -> None:
    """A header alone, a progressive JPEG, not an image, an empty file."""
    whole = encode(ground(), progressive=True)
    for data in (whole[: len(whole) // 2], encode(ground())[:700], b"", b"\x89PNG\r\n\x1a\n", os.urandom(500)):
        assert decode_partial(data) is None


@given(
    st.sampled_from(["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"]),
    st.floats(0, 1),
    st.binary(max_size=12),
    st.integers(0, 5000),
)
def test_decoding_part_of_any_bytes_never_raises(kind: str, part: float, noise: bytes, at: int) -> None:
    """Files truncated and overwritten anywhere."""
    data = bytearray(encode(ground(40, 60), kind))
    data[at : at + len(noise)] = noise
    partial = decode_partial(bytes(data[: int(len(data) * part)]))
    assert partial is None or (partial.ndim == 3 and partial.shape[2] == 3)


# ------------------------------------------------------------------------------------ in extraction


def test_a_blocks_record_has_its_artefacts(tmp_path: Path) -> None:
    """By row; features are computed all the same; writing the record again gives the same bytes."""
    folder = tmp_path / "in"
    for name, picture in {
        "a": ground(90, 90),
        "b": np.zeros((90, 90, 3), dtype=np.uint8),
        "c": ground(90, 90, seed=3),
    }.items():
        write_file(folder / f"{name}.png", encode(picture, "PNG"))
    write_file(folder / "d.png", encode(ground(90, 90, seed=4), "PNG")[:-300])
    ingested_rows = run_ingest(tmp_path / "archive", folder)
    archive = Location.parse(tmp_path / "archive")
    (block,) = ingested_rows.blocks
    extract_block(archive.url, PLAN, block, 90, ProgressReporter(archive.url))
    store = FeatureStore(archive, PLAN.features_digest)
    record = store.read_record(block)
    assert list(record.artefacts.values()) == ["black"]
    assert len(record.failed) == 1
    values = store.read(Batch.read(archive, block.batch), block.number)
    assert np.isfinite(values[int(next(iter(record.artefacts)))]).all()
    path = tmp_path / "archive/features" / PLAN.features_digest / f"{block.batch:06d}/records/{block.number:06d}.json"
    record_bytes = path.read_bytes()
    path.unlink()
    extract_block(archive.url, PLAN, block, 90, ProgressReporter(archive.url))
    assert path.read_bytes() == record_bytes


def test_records_of_earlier_versions_have_no_artefacts(tmp_path: Path) -> None:
    """An archive of an earlier version can be read."""
    archive = Location.parse(tmp_path)
    archive.write_json(
        "features/x/000000/records/000000.json", {"rows": [0, 1], "sha256": "", "failed": {}, "runtime": ""}
    )
    assert FeatureStore(archive, "x").read_record(BlockId(0, 0)).artefacts == {}
