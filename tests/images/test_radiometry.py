"""What values mean is recognized by label and name; a scene looks the same in each of its products."""

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy.ndimage import gaussian_filter

from interpdisc_core.errors import PlanError
from interpdisc_core.images import demosaic, radiometry
from interpdisc_core.images.decode import decode, identify
from interpdisc_core.images.stretch import fit_linear_stretch
from interpdisc_core.metadata.image_metadata import ImageMetadata, parse_metadata
from tests.helpers import science_files

Array = npt.NDArray[Any]


# ------------------------------------------------------------------------------------------- recognized


def radiometry_name(
    mode: str, header: dict[str, Any] | None = None, metadata: ImageMetadata | None = None, id: str = ""
) -> str:
    return radiometry.classify_radiometry(mode, "", header or {}, metadata, id).name


@pytest.mark.parametrize(
    ("mode", "header", "expected"),
    [
        ("RGB", {}, "display8 colour"),
        ("L", {}, "display8 grey"),
        ("P", {}, "display8 colour"),
        ("1", {}, "display8 grey"),
        ("CMYK", {}, "display8 colour"),
        ("LA", {}, "display8 grey"),
        ("I;16", {}, "linear16 grey"),
        ("I;16B", {"icc_profile": 300}, "display8 grey"),
        ("I;16", {"gamma": 0.45455}, "display8 grey"),
        ("I;16", {"gamma": 1.0}, "linear16 grey"),
        ("I;16", {"srgb": 0}, "display8 grey"),
        ("F", {}, "float grey"),
        ("I", {}, "unknown grey"),
        ("float32x3", {}, "float colour"),
        ("uint16x3", {}, "linear16 colour"),
        ("int16x1", {}, "linear16 grey"),
        ("uint32x1", {}, "unknown grey"),
        ("uint16x3", {"IMAGE": {"SAMPLE_BIT_MASK": "2#0000111111111111#"}}, "linear12 colour"),
        ("int16x1", {"sample_bit_mask": "2#0000111111111111#"}, "linear12 grey"),
        ("uint16x1", {"IMAGE": {"SAMPLE_BIT_MASK": "2#1111111111111111#"}}, "linear16 grey"),
        ("uint8x1", {"IMAGE": {"SAMPLE_BIT_MODE_ID": "SQROOT"}}, "companded8 grey"),
        ("uint8x3", {"IMAGE": {"SAMPLE_BIT_MODE_ID": "MMM_LUT0"}}, "companded8 colour"),
        ("uint16x3", {"IMAGE": {"SAMPLE_BIT_MODE_ID": "SQROOT"}}, "linear16 colour"),
        ("uint8x3", {"companding_state": "Companded"}, "companded8 colour"),
        ("uint8x3", {"companding_state": "Expanded", "SAMPLE_BIT_MODE_ID": "LUT2"}, "display8 colour"),
        ("uint8x1", {"color_filter_array_state": "Encoded", "companding_state": "Companded"}, "companded8 bayer"),
        ("uint16x1", {"color_filter_array_state": "Encoded"}, "linear16 bayer"),
        ("uint8x3", {"color_filter_array_state": "Decoded"}, "display8 colour"),
        ("uint8x3", {"color_filter_array_state": "Encoded"}, "display8 colour"),
    ],
)
def test_radiometry_by_type_and_label(mode: str, header: dict[str, Any], expected: str) -> None:
    """Bits, profiles, companding and color filter array, as PDS3, VICAR and PDS4 labels spell them."""
    assert radiometry_name(mode, header) == expected


@pytest.mark.parametrize(
    ("id", "mode", "expected"),
    [
        ("ZL0_1484_0798697293_098ECM_N0730000ZCAM01022_034080J", "RGB", "companded8 colour"),
        ("ZLF_1484_0798697293_098ECM_N0730000ZCAM01022_034080J.png", "RGB", "companded8 colour"),
        ("NLE_0629_0722782785_631ECM_N0301344NCAM00427_06_095J", "L", "companded8 bayer"),
        ("NLM_0629_0722782785_631EDR_N0301344NCAM00427_06_095J", "int16x1", "linear12 grey"),
        ("ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J", "L", "companded8 filter"),
        ("NLR_0629_0722782785_631RAD_N0301344NCAM00427_06_095J", "float32x1", "float filter"),
        ("0003ML0000000110100031E01_DRCL.JPG", "RGB", "display8 colour"),
        ("0003ML0000000110100031E01_DXXX.JPG", "RGB", "companded8 colour"),
        ("0003ML0000000110100031C00_DXXX", "uint8x1", "companded8 bayer"),
        ("0003ML0000000110100031C00_DRXX", "uint16x3", "linear16 colour"),
        ("a/photo.jpg", "RGB", "display8 colour"),
    ],
)
def test_radiometry_by_product_name(id: str, mode: str, expected: str) -> None:
    """Raw feeds have no labels: the product types of Mars 2020 and MSL are used."""
    assert radiometry_name(mode, {}, parse_metadata(id, {}), id) == expected


def test_odd_headers_never_raise() -> None:
    """A gray picture of unknown origin is not a Bayer mosaic."""
    for header in (
        {"SAMPLE_BIT_MASK": [1, None, {}]},
        {"gamma": "UNK", "COMPANDING_STATE": 7},
        {"a": {"b": {}}},
        {"": None},
    ):
        assert radiometry_name("uint8x1", header) == "display8 grey"  # type: ignore[arg-type]
    assert radiometry.find_bayer_pattern("display8 grey", {}) == ""


@given(
    st.text(max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=9,
    ),
)
def test_any_header_gives_a_radiometry(mode: str, value: Any) -> None:
    """Any JSON under the names that are read."""
    names = (
        "gamma",
        "icc_profile",
        "srgb",
        "COMPANDING_STATE",
        "SAMPLE_BIT_MASK",
        "SAMPLE_BIT_MODE_ID",
        "FIRST_LINE",
        "PRODUCT_ID",
    )
    header = dict.fromkeys(names, value)
    radiometry.classify_radiometry(mode, "", header)
    assert radiometry.find_bayer_pattern("x bayer", header, {"subframeRect": value}) in demosaic.BAYER_PATTERNS


@pytest.mark.parametrize(
    ("header", "record", "expected"),
    [
        ({}, {}, "RGGB"),
        ({"color_filter_array_type": "Bayer GBRG"}, {}, "GBRG"),
        ({"CFA_TYPE": "BAYER_RGGB"}, None, "RGGB"),
        ({"first_line": 953, "first_sample": 1273}, {}, "RGGB"),
        ({"IMAGE": {"FIRST_LINE": 17, "FIRST_LINE_SAMPLE": 161}}, {}, "RGGB"),
        ({"FIRST_LINE": 18, "FIRST_LINE_SAMPLE": 161}, {}, "GBRG"),
        ({"FIRST_LINE": 17, "FIRST_LINE_SAMPLE": 162}, {}, "GRBG"),
        ({}, {"extended": {"subframeRect": "(2,2,1280,960)"}}, "BGGR"),
        ({}, {"subframe_rect": "(1, 1, 12, 12)"}, "RGGB"),
        ({}, {"extended": {"subframeRect": "UNK"}}, "RGGB"),
    ],
)
def test_the_bayer_pattern_of_a_subframe(header: dict[str, Any], record: dict[str, Any], expected: str) -> None:
    """By the label's filter array and its first line and sample, or by the feed's rectangle, counted from 1."""
    assert radiometry.find_bayer_pattern("companded8 bayer", header, record) == expected


# ------------------------------------------------------------------------------------ one scene in several products


def scene() -> Array:
    """A dune field by day, (256, 320) linear light in 0..4095: smooth, textured, mostly dark as such images are."""
    rng = np.random.default_rng(7)
    texture = sum(gaussian_filter(rng.standard_normal((256, 320)), width) * width for width in (2, 6, 20))
    light = np.exp(texture / np.std(texture) * 0.5) * 500
    return np.rint(light.clip(0, 4095)).astype("u2")


def companded(values: Array, dark: float) -> Array:
    """As on board: a table of 4096 entries near the square root; `dark` levels at the bottom are nearly linear."""
    x = np.arange(4096)
    table = np.rint(255 * (np.sqrt(x + dark) - np.sqrt(dark)) / (np.sqrt(4095 + dark) - np.sqrt(dark))).astype("u1")
    return table[values]


def make_products(dark: float) -> dict[str, bytes]:
    """Files of one scene."""
    linear = scene()[None]
    eight = companded(linear, dark)
    browse = io.BytesIO()
    Image.fromarray(eight[0]).save(browse, "JPEG", quality=90)
    return {
        "companded8": science_files.make_pds3(eight, extra="  SAMPLE_BIT_MODE_ID = SQROOT\r\n"),
        "browse": browse.getvalue(),
        "linear12": science_files.make_pds3(linear, extra="  SAMPLE_BIT_MASK = 2#0000111111111111#\r\n"),
        "vicar": science_files.make_vicar(linear.astype("i2")),
        "linear16": science_files.make_tiff(linear * 16),
        "png": science_files.make_png16(linear),
    }


def mean_difference(first: Array, second: Array) -> float:
    """Mean absolute difference in levels of 255."""
    return float(np.abs(first.astype(float) - second).mean())


@pytest.mark.parametrize(("dark", "max_difference"), [(1, 4), (16, 12)])
def test_products_of_one_scene_look_alike(dark: float, max_difference: float) -> None:
    """Companded, 12 and 16 linear bits and browse differ by a few levels; without the root by more than 40."""
    files = make_products(dark)
    shown = {way: decode(data) for way, data in files.items()}
    differences = {(first, second): mean_difference(a, b) for first, a in shown.items() for second, b in shown.items()}
    assert max(differences.values()) < max_difference, differences
    without_root = np.rint(scene() / 4095 * 255)[..., None]
    assert mean_difference(shown["companded8"], without_root) > 40
    kinds = {way: identify(data) for way, data in files.items()}
    names = {
        way: radiometry.classify_radiometry(f.mode, f.format, json.loads(f.header)).name for way, f in kinds.items()
    }
    assert names == {
        "companded8": "companded8 grey",
        "browse": "display8 grey",
        "linear12": "linear12 grey",
        "vicar": "linear16 grey",
        "linear16": "linear16 grey",
        "png": "linear16 grey",
    }


# ------------------------------------------------------------------------------------------ the stretch


@given(arrays.arrays(st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]), st.integers(1, 60)))
def test_a_stretch_keeps_the_order(values: Array) -> None:
    """A brighter value is not shown darker; for all values, infinities and NaN too, the result is 0 to 255."""
    shown = fit_linear_stretch(values)(values)
    assert shown.dtype == np.uint8
    finite = np.isfinite(values)
    order = np.argsort(values[finite], kind="stable")
    assert (np.diff(shown[finite][order].astype(int)) >= 0).all()
    assert (shown[~finite] == 0).all()


@given(st.sampled_from(["u2", "i2", "u1", "i1"]), st.integers(0, 2**32 - 1))
def test_the_stretch_by_table_equals_the_formula(dtype: str, seed: int) -> None:
    """Large images use a table."""
    info = np.iinfo(dtype)
    values = np.random.default_rng(seed).integers(info.min, info.max, 2**17 + 2, endpoint=True).astype(dtype)
    stretch = fit_linear_stretch(values)
    np.testing.assert_array_equal(stretch(values)[:5000], stretch(values[:5000]))


# ------------------------------------------------------------------------------------------- the mosaic


def make_mosaic(color: Array, pattern: str) -> Array:
    """What a sensor with such filters sees of (h, w, 3)."""
    out = np.empty(color.shape[:2], color.dtype)
    for place, letter in enumerate(pattern):
        y, x = divmod(place, 2)
        out[y::2, x::2] = color[y::2, x::2, "RGB".index(letter)]
    return out


@pytest.mark.parametrize("pattern", demosaic.BAYER_PATTERNS)
def test_a_linear_ramp_is_demosaiced_exactly(pattern: str) -> None:
    """Except at the edge; measured values are kept."""
    y, x = np.mgrid[:20, :24].astype(np.float32)
    color = np.dstack([100 + 3 * x + 2 * y, 400 + 3 * x + 2 * y, 900 + 3 * x + 2 * y])
    mosaic = make_mosaic(color, pattern)
    demosaiced = demosaic.demosaic(mosaic, pattern)
    np.testing.assert_allclose(demosaiced[2:-2, 2:-2], color[2:-2, 2:-2], atol=1e-3)
    np.testing.assert_array_equal(make_mosaic(demosaiced, pattern), mosaic)


@pytest.mark.parametrize("pattern", demosaic.BAYER_PATTERNS)
def test_demosaicing_beats_the_mean_of_neighbors(pattern: str) -> None:
    """By a quarter of the error or more."""
    light = scene().astype(np.float32)
    color = np.dstack([light, 0.8 * light + 50, 0.5 * light + 20])
    demosaiced = demosaic.demosaic(make_mosaic(color, pattern), pattern)
    ones = make_mosaic(np.ones_like(color), pattern)
    plain = np.dstack([_mean_of_neighbors(make_mosaic(color, pattern), ones, pattern, letter) for letter in "RGB"])
    inner = np.s_[4:-4, 4:-4]
    assert np.abs(demosaiced - color)[inner].mean() < 0.75 * np.abs(plain - color)[inner].mean()


def _mean_of_neighbors(values: Array, ones: Array, pattern: str, letter: str) -> Array:
    from scipy.ndimage import convolve

    mask = make_mosaic(np.dstack([np.full(values.shape, float(letter == own)) for own in "RGB"]), pattern)
    weights = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=float)
    return convolve(values * mask, weights) / convolve(ones * mask, weights)


@given(st.sampled_from(demosaic.BAYER_PATTERNS), st.integers(0, 5), st.integers(0, 5))
def test_cropping_and_demosaicing_commute(pattern: str, x: int, y: int) -> None:
    """Except at the edge."""
    mosaic = np.random.default_rng(0).integers(0, 4095, (18, 18)).astype(np.float32)
    whole = demosaic.demosaic(mosaic, pattern)[y + 2 : -2, x + 2 : -2]
    part = demosaic.demosaic(mosaic[y:, x:], demosaic.shift_pattern(pattern, x, y))[2:-2, 2:-2]
    np.testing.assert_allclose(part, whole, atol=1e-2)


def test_an_unknown_bayer_pattern_is_refused() -> None:
    """The message lists the known ones."""
    with pytest.raises(PlanError, match="RGGB, BGGR, GRBG, GBRG"):
        demosaic.demosaic(np.zeros((4, 4)), "XTRANS")
