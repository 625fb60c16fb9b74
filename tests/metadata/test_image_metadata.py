"""Metadata of feeds, labels, tables and names in one typed view; reading any record never raises."""

import json
import math
import pickle
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.metadata.expressions import match_expression
from interpdisc_core.metadata.image_metadata import ImageMetadata, flatten_metadata, parse_metadata

M2020: dict[str, Any] = {
    "imageid": "ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J",
    "sol": 1484,
    "site": "73",
    "drive": "12",
    "title": "Mars Perseverance Sol 1484: Left Mastcam-Z Camera",
    "caption": "NASA's Mars rover …",
    "credit": "NASA/JPL-Caltech",
    "link": "https://mars.nasa.gov/mars2020/multimedia/raw-images/?id=ZL6",
    "json_link": "https://mars.nasa.gov/rss/api/?id=ZL6",
    "sample_type": "Full",
    "date_taken_utc": "2025-04-24T02:16:26.5",
    "date_taken_mars": "Sol-01484M15:18:15.133",
    "date_received": "2025-04-24T23:12:58Z",
    "attitude": "(0.4,0,0,0.9)",
    "image_files": {"small": "https://mars.nasa.gov/a_320.jpg", "full_res": "https://mars.nasa.gov/a.png"},
    "camera": {"instrument": "MCZ_LEFT", "filter_name": "UNK", "camera_vector": "(0.1,0.2,0.3)"},
    "extended": {
        "mastAz": "156.098",
        "mastEl": "-10.1652",
        "sclk": "798697293.098",
        "scaleFactor": "1",
        "subframeRect": "(1,1,1648,1200)",
        "dimension": "(1648,1200)",
    },
}
MSL: dict[str, Any] = {
    "id": 1523343,
    "imageid": "CR0_813038955PRC_F1191344CCAM02163M_",
    "sol": 4681,
    "instrument": "CHEMCAM_RMI",
    "url": "http://mars.nasa.gov/a.JPG",
    "https_url": "https://mars.nasa.gov/a.JPG",
    "site": 119,
    "drive": 1344,
    "spacecraft_clock": 813038955.646,
    "scale_factor": None,
    "camera_vector": None,
    "date_taken": "2025-10-06T17:16:46",
    "date_received": "2025-10-07T11:12:08.001Z",
    "created_at": "2025-10-08T00:00:00Z",
    "mission": "msl",
    "is_thumbnail": False,
    "title": "Sol 4681: ChemCam",
    "link": "/raw_images/1523343",
    "extended": {
        "lmst": "Sol-04681M07:00:00",
        "mast_az": "UNK",
        "mast_el": None,
        "filter_name": None,
        "sample_type": "full",
    },
}
PDS3 = {
    "MISSION_NAME": "MARS SCIENCE LABORATORY",
    "INSTRUMENT_HOST_ID": "MSL",
    "INSTRUMENT_ID": "MAST_RIGHT",
    "PLANET_DAY_NUMBER": 17,
    "SPACECRAFT_CLOCK_START_COUNT": "1/398998881.1234",
    "FILTER_NAME": "MASTCAM_R3_805NM",
    "IMAGE_TYPE": "THUMBNAIL",
    "START_TIME": "2012-236T10:20:30.5",
    "ROVER_MOTION_COUNTER": "(5, 388, 16, 0)",
    "PRODUCT_ID": "0017MR0000500310100103I01_XXXX",
    "MSL:LOCAL_MEAN_SOLAR_TIME": "Sol-00017M15:21:43.976",
    "EARTH_RECEIVED_START_TIME": "2012-08-25T01:02:03",
}


def test_a_record_of_the_mars2020_feed() -> None:
    """Every field, from a record as that feed sends it, numbers as texts."""
    assert parse_metadata("a.png", M2020) == ImageMetadata(
        mission="mars2020",
        sol=1484,
        instrument="MCZ_LEFT",
        filter="L6",
        eye="left",
        thumbnail=False,
        product="mars2020 ZL6_1484_0798697293_098ECM_0730000ZCAM01022_034",
        quality=2464000,
        observation="mars2020 MCZ sclk 798697293 site 73",
        sclk=798697293.098,
        site=73,
        drive=12,
        taken="2025-04-24T02:16:26.500Z",
        received="2025-04-24T23:12:58.000Z",
        lmst="Sol-01484M15:18:15.133",
        mast_az=156.098,
        mast_el=-10.1652,
        title="Mars Perseverance Sol 1484: Left Mastcam-Z Camera",
        link="https://mars.nasa.gov/mars2020/multimedia/raw-images/?id=ZL6",
        sequence="ZCAM01022",
    )


def test_a_record_of_the_msl_feed() -> None:
    """The other schema: numbers as numbers, nulls, a relative link."""
    assert parse_metadata("a.jpg", MSL) == ImageMetadata(
        mission="msl",
        sol=4681,
        instrument="CHEMCAM_RMI",
        product="msl CR0_813038955PRC_1191344CCAM02163",
        quality=5036,
        observation="msl CHEMCAM_RMI sclk 813038955 site 119",
        sclk=813038955.646,
        site=119,
        drive=1344,
        taken="2025-10-06T17:16:46.000Z",
        received="2025-10-07T11:12:08.001Z",
        lmst="Sol-04681M07:00:00",
        title="Sol 4681: ChemCam",
        link="https://mars.nasa.gov/a.JPG",
        sequence="CCAM02163",
    )


def test_a_pds_label() -> None:
    """PDS3 names: clock with a partition, day of the year, motion counters, a filter's name; PDS4 paths give the same."""
    metadata = parse_metadata("0017MR0000500310100103I01_XXXX_00.IMG", {}, PDS3)
    assert metadata == parse_metadata(
        "x.img", {}, {f"Product_Observational.Observation_Area/{key}": value for key, value in PDS3.items()}
    )
    assert (metadata.mission, metadata.instrument, metadata.eye, metadata.filter) == (
        "msl",
        "MAST_RIGHT",
        "right",
        "R3",
    )
    assert parse_metadata("x.img", {}, PDS3 | {"ROVER_MOTION_COUNTER": [5, 388, 16]}).drive == 388
    assert (metadata.sol, metadata.site, metadata.drive, metadata.sclk, metadata.thumbnail) == (
        17,
        5,
        388,
        398998881.1234,
        True,
    )
    lid = {
        "Product_Observational": {
            "logical_identifier": "urn:nasa:pds:mars2020:data:zl0_0180_0682919878_394iof_n0062666zcam03014_048085a02"
        }
    }
    assert parse_metadata("x.xml", {}, lid).instrument == "MCZ_LEFT"
    assert (metadata.taken, metadata.received) == ("2012-08-23T10:20:30.000Z", "2012-08-25T01:02:03.000Z")
    assert metadata.observation == "msl MAST sclk 398998881 site 5"


def test_a_table_row_and_a_file_name() -> None:
    """CSV columns with their usual names; a file name alone; nothing at all."""
    assert parse_metadata("a.jpg", {"Sol": "12", "Camera": "NAVCAM_LEFT", "mast az": "1e2"}) == ImageMetadata(
        sol=12, instrument="NAVCAM_LEFT", eye="left", mast_az=100.0
    )
    by_name = parse_metadata("sols/0003ML0000000110100031E01_DRCL.JPG", {})
    assert (by_name.sol, by_name.instrument, by_name.product) == (3, "MAST_LEFT", "msl 0003ML0000000110100031-0 DRCL")
    assert by_name.observation == parse_metadata("0003ML0000000110100031I01_DRCL.JPG", {}).observation != ""
    assert parse_metadata("photo.jpg", {}) == ImageMetadata()


def test_the_record_comes_before_the_label_and_the_label_before_the_name() -> None:
    """Three sources, three sols."""
    name = "0003ML0000000110100031E01_DRCL.JPG"
    assert parse_metadata(name, {"sol": 5}, {"PLANET_DAY_NUMBER": 4}).sol == 5
    assert parse_metadata(name, {"sol": "UNK"}, {"PLANET_DAY_NUMBER": 4}).sol == 4
    assert parse_metadata(name, {"sol": None}, {}).sol == 3


@pytest.mark.parametrize("missing", ["UNK", "", None, "N/A", "null", [], {}, "NaN", float("nan"), True])
def test_words_for_unknown_are_missing_values(missing: object) -> None:
    """And what the name says is kept."""
    record = {key: missing for key in M2020} | {
        "camera": {"instrument": missing},
        "extended": {"sclk": missing, "mastAz": missing},
    }
    assert parse_metadata("ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J.png", record) == parse_metadata(
        "ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J.png", {}
    )


def test_an_unknown_camera_is_grouped_by_its_clock() -> None:
    """With a file name that follows no rule."""
    left = parse_metadata(
        "x",
        {
            "imageid": "NEW-1",
            "camera": {"instrument": "PANO9_LEFT"},
            "sol": 7,
            "extended": {"sclk": "12.75"},
            "date_received": "UNK",
        },
    )
    right = parse_metadata(
        "y", {"imageid": "NEW-2", "camera": {"instrument": "PANO9_RIGHT"}, "sol": 7, "extended": {"sclk": 12.5}}
    )
    assert left.observation == right.observation == "PANO9 sclk 12"
    assert (left.eye, right.eye, left.product, right.product) == ("left", "right", "", "")


def test_an_unreadable_id_is_a_product_in_a_feed_but_not_in_a_table() -> None:
    """An image sent again under one id supersedes; crops of one image in a table do not."""
    sent = {"imageid": "NEW-1", "date_received": "2025-01-01T00:00:00Z"}
    assert (
        parse_metadata("a", sent).product
        == parse_metadata("b", sent | {"date_received": "2026-01-01T00:00:00Z"}).product
        == "NEW-1"
    )
    assert parse_metadata("a", {"imageid": "NEW-1", "crop": 3}).product == ""


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "https://a b", 'https://a/"onclick="', "ftp://a", "//a", "https://a/\x00"]
)
def test_only_web_addresses_are_links(link: str) -> None:
    """Nothing else becomes a link on a page."""
    assert parse_metadata("a", {"link": link}).link in ("", "https://a/")  # a control character is dropped


def test_times_compare_as_texts() -> None:
    """All time zones and precisions in one form."""
    times = ["2025-01-01T00:00:00+02:00", "2025-01-01 00:00:00.5", "2025-01-01T00:00:00.250Z", "2024-366T23:59:59"]
    received_times = [parse_metadata("a", {"date_received": time}).received for time in times]
    assert sorted(received_times) == [received_times[0], received_times[3], received_times[2], received_times[1]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in received_times)
    assert parse_metadata("a", {"date_received": "yesterday"}).received == ""


def test_flat_metadata_is_for_expressions() -> None:
    """Nested fields by flat names, typed values, and an expression on them."""
    flat = flatten_metadata("a.png", M2020, {"EXPOSURE": 5, "sol": 9}, parse_metadata("a.png", M2020))
    assert (flat["extended_mastAz"], flat["sol"], flat["EXPOSURE"], flat["id"]) == ("156.098", 1484, 5, "a.png")
    table = {name: [value] for name, value in flat.items()}
    assert match_expression(
        "instrument == 'MCZ_LEFT' and extended_mastAz > 100 and filter in ['L6', 'L5'] and site == 73", table
    ).all()


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["UNK", "1/2", "(1,2)", "Sol-7M", "٣"])
    | st.just(10**400)
    | st.just("9" * 5000),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(sorted(M2020)), inner, max_size=4)
    ),
    max_leaves=12,
)
_RECORDS = st.dictionaries(
    st.text(max_size=8) | st.sampled_from(sorted({*M2020, *MSL, *PDS3, "instrument", "sclk", "mastAz"})),
    _JSON,
    max_size=12,
)


@given(st.text(), _RECORDS, _RECORDS)
def test_any_record_gives_typed_metadata(id: str, record: dict[str, Any], header: dict[str, Any]) -> None:
    """Arbitrary JSON: the types are as declared, texts are printable, and it pickles; also the flat form."""
    metadata = parse_metadata(id, record, header)
    for field in fields(metadata):
        value = getattr(metadata, field.name)
        if isinstance(value, str):
            assert value.isprintable()
            value.encode()
        elif isinstance(value, float):
            assert math.isfinite(value)
        else:
            assert value is None or type(value) in (int, bool)
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    flat = flatten_metadata(id, record, header, metadata)
    json.dumps(flat, allow_nan=False).encode()
    assert all(name.isprintable() for name in flat)
    for name, value in flat.items():
        assert not isinstance(value, list | dict), name


def test_other_types_and_deep_records_never_raise() -> None:
    """Lists for records, keys that are not texts, a thousand levels, 100,000 fields."""
    deep: dict[str, Any] = {"sol": 1}
    for _ in range(1000):
        deep = {"a": deep}
    assert (
        parse_metadata("a", deep)
        == parse_metadata("a", [1, 2])
        == parse_metadata("a", {1: 2, None: 3, "": 4})
        == ImageMetadata()
    )  # type: ignore[arg-type, dict-item]
    wide = {"sol": 4} | {f"field {number}": number for number in range(100_000)}
    assert parse_metadata("a", wide).sol == 4
    assert len(flatten_metadata("a", wide)) < 5000
