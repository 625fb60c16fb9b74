"""TIFFs are shown as their tags say; other libraries' first page and stored values are not always the picture."""

import struct

import numpy as np
import numpy.typing as npt
import pytest

from interpdisc_core.errors import Unreadable
from interpdisc_core.images.decode import decode
from interpdisc_core.images.tiff_tags import read_first_page, select_picture_page
from tests.helpers.science_files import make_pds3, make_pds3_data, make_pds3_label, make_tiff, make_zip

Y, X = np.mgrid[:12, :20]
SCENE = (10 * Y + 3 * X + 5)[None]


def set_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF of `make_tiff` with another value of a short tag that it has."""
    position = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
    return data[:position] + struct.pack("<HH", value, 0) + data[position + 4 :]


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_white_is_zero_is_no_negative(dtype: str) -> None:
    """At all widths."""
    values = SCENE.astype(dtype) * (257 if dtype == "u2" else 1)
    inverted = -values if dtype == "f4" else np.iinfo(dtype).max - values
    shown = decode(set_tag(make_tiff(inverted), 262, 0))
    assert np.abs(shown.astype(int) - decode(make_tiff(values))).max() <= 1


def test_inks_of_sixteen_bits_are_no_negative() -> None:
    """No ink is white, all of it is black."""
    inks = np.zeros((4, 12, 20), "u2")
    inks[3, :, 10:] = 65535
    shown = decode(
        set_tag(make_tiff(inks), 262, 5).replace(struct.pack("<HHI", 338, 3, 3), struct.pack("<HHI", 33885, 3, 3))
    )
    assert (shown[:, :10] == 255).all()
    assert (shown[:, 10:] == 0).all()


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_nodata_of_gray_is_black(dtype: str) -> None:
    """And does not count for the full scale."""
    values = SCENE.astype(dtype)
    values[0, 2, 3] = top = np.iinfo(dtype).max
    shown = decode(make_tiff(values, ascii_tags={42113: str(top).encode()}))
    assert (shown[2, 3] == 0).all()
    values[0, 2, 3] = 0
    np.testing.assert_array_equal(shown, decode(make_tiff(values)))


def test_the_picture_is_taken_and_not_its_thumbnail() -> None:
    """The first page that is not marked as reduced."""
    picture = make_tiff(SCENE.astype("u1"))
    thumbnail = struct.pack("<HHHII", 1, 254, 4, 1, 1)  # a directory of one tag, NewSubfileType
    data = picture + thumbnail + struct.pack("<I", 8)
    data = data[:4] + struct.pack("<I", len(picture)) + data[8:]
    assert read_first_page(select_picture_page(data)).offset == 8
    np.testing.assert_array_equal(decode(data), decode(picture))


@pytest.mark.parametrize("name", ["0047MR0002220070200254E01_DRXX.IMG", "1P134.IMG", "X.IMG"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_data_of_a_pds3_label_may_begin_with_a_digit(name: str, quote: str) -> None:
    """As all products of MSL's Mastcam, MAHLI and MARDI do."""
    values: npt.NDArray[np.uint8] = SCENE.astype("u1")
    label = make_pds3_label(values, f"({quote}{name}{quote}, 1)")
    shown = decode(make_zip({"x.lbl": label, name: make_pds3_data(values)}))
    np.testing.assert_array_equal(shown[..., 0], values[0])


def test_encoded_pds3_samples_are_refused_by_name() -> None:
    """They would be noise."""
    with pytest.raises(Unreadable, match="MSLMMM-COMPRESSED"):
        decode(make_pds3(SCENE.astype("u1"), extra='  ENCODING_TYPE = "MSLMMM-COMPRESSED"\r\n'))


def test_a_pds3_keyword_may_have_no_value() -> None:
    """Labels of MER have such keywords."""
    head = 'DATA_SET_ID = \r\nPRODUCT_NAME = "A"\r\nGROUP = PARMS\r\n  IMAGE_TYPE = \r\nEND_GROUP = PARMS\r\n'
    np.testing.assert_array_equal(decode(make_pds3(SCENE.astype("u1"), head=head))[..., 0], SCENE[0])
