"""Artefacts are told from dim, grey and plain scenes; rules by metadata; what is there of a cut file is shown."""

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

from interpdisc_core.artefacts import RULES, by_rule, check_rules, partial, reasons
from interpdisc_core.errors import PlanError, Unreadable
from interpdisc_core.extraction import extract
from interpdisc_core.features import Batch, Block, FeatureStore
from interpdisc_core.images import decode, square
from interpdisc_core.progress import Watch
from interpdisc_core.storage import Place
from tests.core.test_ingest import PLAN, ingested, put

Array = npt.NDArray[np.uint8]


def saved(picture: Array, kind: str = "JPEG", **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, kind, **options)
    return sink.getvalue()


def ground(height: int = 600, width: int = 800, mean: float = 120, spread: float = 25, seed: int = 0) -> Array:
    """Something like soil: noise on several scales, in brown."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((height, width))
    for scale in (4, 16, 64):
        coarse = rng.normal(size=(height // scale + 2, width // scale + 2)).astype(np.float32)
        grey += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    grey = mean + spread * grey / grey.std()
    return np.clip(grey[:, :, None] * [1.1, 0.95, 0.75], 0, 255).astype(np.uint8)


def sky(seed: int = 0) -> Array:
    """A gradient with a ridge at its foot: rows of it are nearly plain."""
    rows = np.linspace(179, 165, 600)[:, None, None] * np.array([1.05, 0.95, 0.8])
    image = np.broadcast_to(rows, (600, 800, 3)).astype(np.uint8).copy()
    image[400:] = ground(seed=seed)[400:]
    return image


def prepared(data: bytes) -> Array:
    """As extraction sees an image."""
    return square(decode(data, at_least=224), crop=224, of=256)


def seen(picture: Array, quality: int = 85) -> tuple[str, ...]:
    return reasons(prepared(saved(picture, quality=quality)))


def test_scenes_are_no_artefacts() -> None:
    """Soil, dim soil, grey soil of a tenth of the contrast, sky, the sun on black, a disc on white, a page."""
    sun = np.zeros((600, 800, 3), dtype=np.uint8)
    y, x = np.mgrid[:600, :800]
    sun[(y - 300) ** 2 + (x - 400) ** 2 < 60**2] = 200
    assert seen(ground()) == seen(ground(mean=30, spread=8)) == seen(sun) == seen(sky()) == seen(255 - sun) == ()
    grey = np.repeat(ground(spread=3)[:, :, :1], 3, axis=2)
    assert seen(grey) == seen(grey, quality=30) == ()
    page = np.full((600, 800, 3), 255, dtype=np.uint8)
    page[200:400, 200:600] = ground()[200:400, 200:600]
    assert seen(page) == ()


def test_black_saturated_and_flat() -> None:
    """With the noise of a dark frame, hot pixels, JPEG's levels."""
    rng = np.random.default_rng(1)
    dark = np.abs(rng.normal(0, 3, (600, 800, 3))).astype(np.uint8)
    dark[7, 9] = dark[300, 400] = 255
    assert reasons(dark) == seen(dark) == ("black",)
    over = np.clip(ground().astype(int) * 6 + 150, 0, 255).astype(np.uint8)
    assert seen(over) == ("saturated",)
    for level in (60, 128, 200):
        flat = np.full((600, 800, 3), (level, level - 10, level - 30), dtype=np.uint8)
        assert seen(flat) == ("flat",)
        assert reasons(flat) == ("flat",)


@pytest.mark.parametrize("fill", [0, 200])
@pytest.mark.parametrize(("start", "stop"), [(0, 180), (200, 330), (380, 600)])
def test_missing_rows_and_columns(fill: int, start: int, stop: int) -> None:
    """At the top, amid, at the foot; black and grey; left, amid, right."""
    for seed, scene in enumerate((ground(), sky())):
        lost = scene.copy()
        lost[start:stop] = fill
        if not (fill == 200 and seed):  # a plain grey band in a grey sky is no straight edge
            assert seen(lost) == ("missing rows",)
            assert seen(lost.transpose(1, 0, 2).copy()) == ("missing columns",)
            assert reasons(prepared(saved(lost)), whole=False) == ()


@given(st.integers(1, 40), st.integers(1, 40), st.binary(min_size=4, max_size=4), st.booleans())
def test_any_pixels_have_an_answer(height: int, width: int, seed: bytes, coarse: bool) -> None:
    """Of any size: of the known reasons, the same in a mirror, and the pixels are left as they are."""
    rng = np.random.default_rng(list(seed))
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if coarse:
        image = (image > 128).astype(np.uint8) * np.uint8(255)
    before = image.copy()
    found = reasons(image)
    assert set(found) <= {"black", "saturated", "flat", "missing rows", "missing columns"}
    assert reasons(np.ascontiguousarray(image[:, :, ::-1])) is not None
    np.testing.assert_array_equal(image, before)


# ------------------------------------------------------------------------------------------ by rule


COLUMNS = {
    "title": ["Mastcam-Z Calibration Target", "Left Navcam", None], "sol": [1, 2, 3], "seq uence": ["A", "B", "C"],
    "seq_uence": ["X", "Y", "Z"],
}  # fmt: skip


def test_rules_by_metadata() -> None:
    """The names of the rules that hold for each image, in order; fields that are absent make a comparison false."""
    rules = {"late": "sol >= 2", "never": "temperature > 5 or not_there == 'x'", "b": "seq_uence == 'B'", **RULES}
    assert by_rule(COLUMNS, rules) == [("calibration target",), ("late", "b"), ("late",)]
    assert by_rule(COLUMNS, {"unless": "not (temperature > 5)"}) == [("unless",)] * 3
    assert by_rule({}, rules) == []
    assert by_rule(COLUMNS, {}) == [()] * 3


@pytest.mark.parametrize(
    "expression", ["sol >", "sol", "__import__('os')", "sol is 3", "\0", "(" * 500 + "sol" + ")" * 500]
)
def test_a_rule_that_cannot_be_read_is_a_mistake(expression: str) -> None:
    """At once, not when the first image comes."""
    with pytest.raises(PlanError):
        check_rules({"bad": expression})
    with pytest.raises(PlanError):
        by_rule(COLUMNS, {"bad": expression})


def test_a_rule_needs_a_name() -> None:
    """It is what people read."""
    with pytest.raises(PlanError, match="needs a name"):
        check_rules({" ": "sol == 1"})
    check_rules(RULES)


# ---------------------------------------------------------------------------------------- cut files


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_what_is_there_of_a_cut_file(kind: str) -> None:
    """The upper rows are the picture's, the lower ones black; the missing rows are told; nothing global changes."""
    picture = ground()
    whole = saved(picture, kind)
    cut = whole[: len(whole) * 55 // 100]
    with pytest.raises(Unreadable, match="truncated"):
        decode(cut)
    shown = partial(cut)
    assert shown is not None
    assert shown.shape == picture.shape
    np.testing.assert_array_equal(shown[:200], decode(whole)[:200])
    assert not shown[-100:].any()
    assert reasons(square(shown, crop=224, of=256)) == ("missing rows",)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    np.testing.assert_array_equal(partial(whole), decode(whole))


def test_of_what_there_is_nothing_nothing_is_shown() -> None:
    """A header alone, a progressive JPEG, no image, nothing."""
    whole = saved(ground(), progressive=True)
    for data in (whole[: len(whole) // 2], saved(ground())[:700], b"", b"\x89PNG\r\n\x1a\n", os.urandom(500)):
        assert partial(data) is None


@given(
    st.sampled_from(["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"]),
    st.floats(0, 1),
    st.binary(max_size=12),
    st.integers(0, 5000),
)
def test_no_bytes_raise(kind: str, part: float, noise: bytes, at: int) -> None:
    """Cut and overwritten anywhere."""
    data = bytearray(saved(ground(40, 60), kind))
    data[at : at + len(noise)] = noise
    shown = partial(bytes(data[: int(len(data) * part)]))
    assert shown is None or (shown.ndim == 3 and shown.shape[2] == 3)


# ------------------------------------------------------------------------------------ in extraction


def test_a_blocks_record_tells_its_artefacts(tmp_path: Path) -> None:
    """By row, beside features that are computed all the same; the same record when it is written again."""
    folder = tmp_path / "in"
    for name, picture in {
        "a": ground(90, 90),
        "b": np.zeros((90, 90, 3), dtype=np.uint8),
        "c": ground(90, 90, seed=3),
    }.items():
        put(folder / f"{name}.png", saved(picture, "PNG"))
    put(folder / "d.png", saved(ground(90, 90, seed=4), "PNG")[:-300])
    settled = ingested(tmp_path / "archive", folder)
    archive = Place.of(tmp_path / "archive")
    (block,) = settled.blocks
    extract(archive.url, PLAN, block, 90, Watch(archive.url))
    store = FeatureStore(archive, PLAN.features)
    record = store.record(block)
    assert list(record.artefacts.values()) == ["black"]
    assert len(record.failed) == 1
    values = store.read(Batch.read(archive, block.batch), block.number)
    assert np.isfinite(values[int(next(iter(record.artefacts)))]).all()
    path = tmp_path / "archive/features" / PLAN.features / f"{block.batch:06d}/records/{block.number:06d}.json"
    written = path.read_bytes()
    path.unlink()
    extract(archive.url, PLAN, block, 90, Watch(archive.url))
    assert path.read_bytes() == written


def test_records_from_before_have_none(tmp_path: Path) -> None:
    """An archive of an earlier version is read as it is."""
    archive = Place.of(tmp_path)
    archive.write_json(
        "features/x/000000/records/000000.json", {"rows": [0, 1], "sha256": "", "failed": {}, "runtime": ""}
    )
    assert FeatureStore(archive, "x").record(Block(0, 0)).artefacts == {}
