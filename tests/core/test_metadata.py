"""What is told of an image, by feeds, labels, tables and names; whatever a record holds, reading it never fails."""

import json
import math
import pickle
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.metadata import Told, columns, told
from interpdisc_core.subset import matching

M2020: dict[str, Any] = {
    "imageid": "ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J", "sol": 1484, "site": "73", "drive": "12",
    "title": "Mars Perseverance Sol 1484: Left Mastcam-Z Camera", "caption": "NASA's Mars rover …", "credit": "NASA/JPL-Caltech",
    "link": "https://mars.nasa.gov/mars2020/multimedia/raw-images/?id=ZL6", "json_link": "https://mars.nasa.gov/rss/api/?id=ZL6",
    "sample_type": "Full", "date_taken_utc": "2025-04-24T02:16:26.5", "date_taken_mars": "Sol-01484M15:18:15.133",
    "date_received": "2025-04-24T23:12:58Z", "attitude": "(0.4,0,0,0.9)",
    "image_files": {"small": "https://mars.nasa.gov/a_320.jpg", "full_res": "https://mars.nasa.gov/a.png"},
    "camera": {"instrument": "MCZ_LEFT", "filter_name": "UNK", "camera_vector": "(0.1,0.2,0.3)"},
    "extended": {"mastAz": "156.098", "mastEl": "-10.1652", "sclk": "798697293.098", "scaleFactor": "1",
                 "subframeRect": "(1,1,1648,1200)", "dimension": "(1648,1200)"},
}  # fmt: skip
MSL: dict[str, Any] = {
    "id": 1523343, "imageid": "CR0_813038955PRC_F1191344CCAM02163M_", "sol": 4681, "instrument": "CHEMCAM_RMI",
    "url": "http://mars.nasa.gov/a.JPG", "https_url": "https://mars.nasa.gov/a.JPG", "site": 119, "drive": 1344,
    "spacecraft_clock": 813038955.646, "scale_factor": None, "camera_vector": None, "date_taken": "2025-10-06T17:16:46",
    "date_received": "2025-10-07T11:12:08.001Z", "created_at": "2025-10-08T00:00:00Z", "mission": "msl", "is_thumbnail": False,
    "title": "Sol 4681: ChemCam", "link": "/raw_images/1523343",
    "extended": {"lmst": "Sol-04681M07:00:00", "mast_az": "UNK", "mast_el": None, "filter_name": None, "sample_type": "full"},
}  # fmt: skip
PDS3 = {
    "MISSION_NAME": "MARS SCIENCE LABORATORY", "INSTRUMENT_HOST_ID": "MSL", "INSTRUMENT_ID": "MAST_RIGHT", "PLANET_DAY_NUMBER": 17,
    "SPACECRAFT_CLOCK_START_COUNT": "1/398998881.1234", "FILTER_NAME": "MASTCAM_R3_805NM", "IMAGE_TYPE": "THUMBNAIL",
    "START_TIME": "2012-236T10:20:30.5", "ROVER_MOTION_COUNTER": "(5, 388, 16, 0)", "PRODUCT_ID": "0017MR0000500310100103I01_XXXX",
    "MSL:LOCAL_MEAN_SOLAR_TIME": "Sol-00017M15:21:43.976", "EARTH_RECEIVED_START_TIME": "2012-08-25T01:02:03",
}  # fmt: skip


def test_mars_2020_feed() -> None:
    """Every field of the view from a record as that feed sends it, numbers as texts."""
    assert told("a.png", M2020) == Told(
        mission="mars2020", sol=1484, instrument="MCZ_LEFT", filter="L6", eye="left", thumbnail=False,
        product="mars2020 ZL6_1484_0798697293_098ECM_0730000ZCAM01022_034", quality=2464000,
        observation="mars2020 MCZ sclk 798697293 site 73", sclk=798697293.098, site=73, drive=12,
        taken="2025-04-24T02:16:26.500Z", received="2025-04-24T23:12:58.000Z", lmst="Sol-01484M15:18:15.133", mast_az=156.098,
        mast_el=-10.1652, title="Mars Perseverance Sol 1484: Left Mastcam-Z Camera",
        link="https://mars.nasa.gov/mars2020/multimedia/raw-images/?id=ZL6", sequence="ZCAM01022",
    )  # fmt: skip


def test_msl_feed() -> None:
    """The other schema: numbers as numbers, nulls, a relative link."""
    assert told("a.jpg", MSL) == Told(
        mission="msl", sol=4681, instrument="CHEMCAM_RMI", product="msl CR0_813038955PRC_1191344CCAM02163", quality=5036,
        observation="msl CHEMCAM_RMI sclk 813038955 site 119", sclk=813038955.646, site=119, drive=1344,
        taken="2025-10-06T17:16:46.000Z", received="2025-10-07T11:12:08.001Z", lmst="Sol-04681M07:00:00",
        title="Sol 4681: ChemCam", link="https://mars.nasa.gov/a.JPG", sequence="CCAM02163",
    )  # fmt: skip


def test_a_label_of_pds() -> None:
    """PDS3 names: clock with a partition, day of the year, motion counters, a filter's name; PDS4 paths say the same."""
    known = told("0017MR0000500310100103I01_XXXX_00.IMG", {}, PDS3)
    assert known == told(
        "x.img", {}, {f"Product_Observational.Observation_Area/{key}": value for key, value in PDS3.items()}
    )
    assert (known.mission, known.instrument, known.eye, known.filter) == ("msl", "MAST_RIGHT", "right", "R3")
    assert told("x.img", {}, PDS3 | {"ROVER_MOTION_COUNTER": [5, 388, 16]}).drive == 388
    assert (known.sol, known.site, known.drive, known.sclk, known.thumbnail) == (17, 5, 388, 398998881.1234, True)
    lid = {
        "Product_Observational": {
            "logical_identifier": "urn:nasa:pds:mars2020:data:zl0_0180_0682919878_394iof_n0062666zcam03014_048085a02"
        }
    }
    assert told("x.xml", {}, lid).instrument == "MCZ_LEFT"
    assert (known.taken, known.received) == ("2012-08-23T10:20:30.000Z", "2012-08-25T01:02:03.000Z")
    assert known.observation == "msl MAST sclk 398998881 site 5"


def test_a_table_and_a_name() -> None:
    """CSV columns in their usual names; a file's name alone; nothing at all."""
    assert told("a.jpg", {"Sol": "12", "Camera": "NAVCAM_LEFT", "mast az": "1e2"}) == Told(
        sol=12, instrument="NAVCAM_LEFT", eye="left", mast_az=100.0
    )
    alone = told("sols/0003ML0000000110100031E01_DRCL.JPG", {})
    assert (alone.sol, alone.instrument, alone.product) == (3, "MAST_LEFT", "msl 0003ML0000000110100031-0 DRCL")
    assert alone.observation == told("0003ML0000000110100031I01_DRCL.JPG", {}).observation != ""
    assert told("photo.jpg", {}) == Told()


def test_the_record_comes_before_the_label_and_the_label_before_the_name() -> None:
    """Three sources, three sols."""
    name = "0003ML0000000110100031E01_DRCL.JPG"
    assert told(name, {"sol": 5}, {"PLANET_DAY_NUMBER": 4}).sol == 5
    assert told(name, {"sol": "UNK"}, {"PLANET_DAY_NUMBER": 4}).sol == 4
    assert told(name, {"sol": None}, {}).sol == 3


@pytest.mark.parametrize("nothing", ["UNK", "", None, "N/A", "null", [], {}, "NaN", float("nan"), True])
def test_unknown_is_missing(nothing: object) -> None:
    """No word for nothing becomes a value, and what the name says stays."""
    record = {key: nothing for key in M2020} | {
        "camera": {"instrument": nothing},
        "extended": {"sclk": nothing, "mastAz": nothing},
    }
    assert told("ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J.png", record) == told(
        "ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J.png", {}
    )


def test_an_unknown_camera_with_a_clock_is_grouped_by_it() -> None:
    """A camera of which nobody has heard, in a name that nobody can read."""
    one = told(
        "x",
        {
            "imageid": "NEW-1",
            "camera": {"instrument": "PANO9_LEFT"},
            "sol": 7,
            "extended": {"sclk": "12.75"},
            "date_received": "UNK",
        },
    )
    two = told("y", {"imageid": "NEW-2", "camera": {"instrument": "PANO9_RIGHT"}, "sol": 7, "extended": {"sclk": 12.5}})
    assert one.observation == two.observation == "PANO9 sclk 12"
    assert (one.eye, two.eye, one.product, two.product) == ("left", "right", "", "")


def test_a_feeds_unreadable_id_is_a_product_and_a_tables_is_not() -> None:
    """What is sent again under one id supersedes; crops of one image in a table do not."""
    sent = {"imageid": "NEW-1", "date_received": "2025-01-01T00:00:00Z"}
    assert told("a", sent).product == told("b", sent | {"date_received": "2026-01-01T00:00:00Z"}).product == "NEW-1"
    assert told("a", {"imageid": "NEW-1", "crop": 3}).product == ""


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "https://a b", 'https://a/"onclick="', "ftp://a", "//a", "https://a/\x00"]
)
def test_only_web_addresses_are_links(link: str) -> None:
    """Nothing else gets onto a page as one."""
    assert told("a", {"link": link}).link in ("", "https://a/")  # a control character is dropped


def test_times_compare_as_texts() -> None:
    """Zones and precisions of all kinds in one form."""
    times = ["2025-01-01T00:00:00+02:00", "2025-01-01 00:00:00.5", "2025-01-01T00:00:00.250Z", "2024-366T23:59:59"]
    read = [told("a", {"date_received": time}).received for time in times]
    assert sorted(read) == [read[0], read[3], read[2], read[1]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in read)
    assert told("a", {"date_received": "yesterday"}).received == ""


def test_columns_for_expressions() -> None:
    """Nested fields by flat names, understood values typed, and an expression over them."""
    flat = columns("a.png", M2020, {"EXPOSURE": 5, "sol": 9}, told("a.png", M2020))
    assert (flat["extended_mastAz"], flat["sol"], flat["EXPOSURE"], flat["id"]) == ("156.098", 1484, 5, "a.png")
    table = {name: [value] for name, value in flat.items()}
    assert matching(
        "instrument == 'MCZ_LEFT' and extended_mastAz > 100 and filter in ['L6', 'L5'] and site == 73", table
    ).all()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["UNK", "1/2", "(1,2)", "Sol-7M", "٣"])
    | st.just(10**400) | st.just("9" * 5000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.sampled_from(sorted(M2020)), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
_RECORDS = st.dictionaries(
    st.text(max_size=8) | st.sampled_from(sorted({*M2020, *MSL, *PDS3, "instrument", "sclk", "mastAz"})),
    _JSON,
    max_size=12,
)


@given(st.text(), _RECORDS, _RECORDS)
def test_no_record_raises(id: str, record: dict[str, Any], header: dict[str, Any]) -> None:
    """Arbitrary JSON: the view has the types that it says, nothing unprintable, and pickles; so do the columns."""
    known = told(id, record, header)
    for field in fields(known):
        value = getattr(known, field.name)
        if isinstance(value, str):
            assert value.isprintable()
            value.encode()
        elif isinstance(value, float):
            assert math.isfinite(value)
        else:
            assert value is None or type(value) in (int, bool)
    assert pickle.loads(pickle.dumps(known)) == known
    flat = columns(id, record, header, known)
    json.dumps(flat, allow_nan=False).encode()
    assert all(name.isprintable() for name in flat)
    for name, value in flat.items():
        assert not isinstance(value, list | dict), name


def test_what_is_no_mapping_and_what_is_too_deep() -> None:
    """Not even these raise: lists for records, keys that are no texts, a thousand levels, a million fields."""
    deep: dict[str, Any] = {"sol": 1}
    for _ in range(1000):
        deep = {"a": deep}
    assert told("a", deep) == told("a", [1, 2]) == told("a", {1: 2, None: 3, "": 4}) == Told()  # type: ignore[arg-type, dict-item]
    wide = {"sol": 4} | {f"field {number}": number for number in range(100_000)}
    assert told("a", wide).sol == 4
    assert len(columns("a", wide)) < 5000
