"""Records of feeds: any record can be read, and none makes a poll fail."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from interpdisc_core.errors import PlanError
from interpdisc_core.sources.feeds import HttpPolicy, Mars2020Feed, MslFeed
from interpdisc_core.sources.feeds.inbox import image_name, outstanding_name, record_name, sol_folder
from interpdisc_core.sources.feeds.record import ArrivalRecord, parse_feed_page, parse_utc, sanitize_id

MARS2020: dict[str, Any] = {
    "imageid": "ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J",
    "sol": 1484,
    "site": 73,
    "drive": "0",
    "title": "Mars Perseverance Sol 1484",
    "caption": "…",
    "credit": "NASA/JPL-Caltech/ASU",
    "link": "https://mars.nasa.gov/x",
    "json_link": "https://mars.nasa.gov/y",
    "sample_type": "Full",
    "date_taken_utc": "2025-04-23T14:31:37.000",
    "date_taken_mars": "Sol-01484M10:44:21.133",
    "date_received": "2025-04-23T21:10:05Z",
    "attitude": "(0.1,0.2,0.3,0.9)",
    "image_files": {
        "small": "https://mars.nasa.gov/s_320.jpg",
        "medium": "https://mars.nasa.gov/m_800.jpg",
        "large": "https://mars.nasa.gov/l_1200.jpg",
        "full_res": "https://mars.nasa.gov/f.png",
    },
    "camera": {"instrument": "MCZ_LEFT", "filter_name": "UNK", "camera_vector": "UNK"},
    "extended": {"mastAz": "156.1", "mastEl": "UNK", "sclk": "798697293.098", "subframeRect": "(1,1,1648,1200)"},
}
MSL: dict[str, Any] = {
    "id": 1214093,
    "imageid": "0003ML0000000110100031E01_DRCL",
    "sol": 3,
    "instrument": "MAST_LEFT",
    "url": "http://mars.jpl.nasa.gov/msl-raw-images/msss/00003/mcam/0003ML0000000110100031E01_DRCL.JPG",
    "https_url": "https://mars.nasa.gov/msl-raw-images/msss/00003/mcam/0003ML0000000110100031E01_DRCL.JPG",
    "site": 31,
    "date_received": "2012-08-09T16:28:19.000Z",
    "created_at": "2019-07-22T06:11:08.543Z",
    "is_thumbnail": False,
    "extended": {"lmst": "Sol-00003M13:02:11.114", "mast_az": None, "sample_type": "full"},
}
M2020_FEED, MSL_FEED = Mars2020Feed(), MslFeed()
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("UNK"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def test_usual_records_of_both_feeds() -> None:
    """As the feeds document them."""
    arrival = M2020_FEED.parse_arrival(MARS2020)
    assert (arrival.name, arrival.sol, arrival.instrument, arrival.url) == (
        MARS2020["imageid"],
        1484,
        "MCZ_LEFT",
        "https://mars.nasa.gov/f.png",
    )
    assert (arrival.received_day, arrival.received_stamp) == ("2025-04-23", "20250423T211005")
    msl_arrival = MSL_FEED.parse_arrival(MSL)
    assert (msl_arrival.name, msl_arrival.sol, msl_arrival.instrument) == (MSL["imageid"], 3, "MAST_LEFT")
    assert (msl_arrival.url, msl_arrival.received_stamp) == (MSL["https_url"], "20190722T061108")
    assert all(M2020_FEED.is_known_field(name) for name in (*MARS2020, "camera.instrument", "extended.mastEl"))
    assert all(MSL_FEED.is_known_field(name) for name in (*MSL, "extended.lmst"))
    assert not MSL_FEED.is_known_field("extended.novel")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sol": "1484"}, {}),
        ({"sol": 1484.0}, {}),
        ({"sol": " 01484 "}, {}),
        ({"sol": "UNK"}, {"sol": None}),
        ({"sol": None}, {"sol": None}),
        ({"sol": -3}, {"sol": None}),
        ({"sol": True}, {"sol": None}),
        ({"sol": 10**30}, {"sol": None}),
        ({"sol": [1484]}, {"sol": None}),
        ({"camera": None}, {"instrument": ""}),
        ({"camera": "MCZ"}, {"instrument": ""}),
        ({"camera": {"instrument": "UNK"}}, {"instrument": ""}),
        ({"camera": {"instrument": "BRAND_NEW_CAM"}}, {"instrument": "BRAND_NEW_CAM"}),
        ({"image_files": None}, {"url": ""}),
        ({"image_files": {}}, {"url": ""}),
        ({"image_files": []}, {"url": ""}),
        (
            {"image_files": {"full_res": "UNK", "large": "https://mars.nasa.gov/l.jpg"}},
            {"url": "https://mars.nasa.gov/l.jpg"},
        ),
        ({"image_files": {"full_res": "http://[::1"}}, {"url": "http://[::1"}),
        ({"image_files": {"fullRes": "/f.png"}}, {"url": "https://mars.nasa.gov/f.png"}),
        ({"date_received": "UNK"}, {"received_day": "undated", "received_stamp": "undated"}),
        ({"date_received": None}, {"received_day": "undated", "received_stamp": "undated"}),
        ({"date_received": 20250423}, {"received_stamp": "20250423T000000"}),
        ({"date_received": "0001-01-01T00:00:00Z"}, {"received_day": "undated", "received_stamp": "undated"}),
        ({"date_received": "9999-12-31T23:59:59-12:00"}, {"received_day": "undated", "received_stamp": "undated"}),
        ({"date_received": "2025-04-23 23:10:05+02:00"}, {"received_stamp": "20250423T211005"}),
        ({"date_received": "2025-04-23T21:10:05.999 UTC"}, {"received_stamp": "20250423T211005"}),
        ({"attitude": {"deep": [None]}, "unheard": 1}, {}),
    ],
)
def test_changed_records_are_still_read(change: dict[str, Any], expected: dict[str, Any]) -> None:
    """Missing, null, "UNK", other types, other spellings: unknown, or read as meant."""
    usual, changed = M2020_FEED.parse_arrival(MARS2020), M2020_FEED.parse_arrival(MARS2020 | change)
    for name in ("name", "sol", "instrument", "url", "received_day", "received_stamp"):
        assert getattr(changed, name) == expected.get(name, getattr(usual, name)), name
    assert changed.record == MARS2020 | change
    assert changed.digest != usual.digest


def test_ids_under_other_names_are_found() -> None:
    """A record without an id gets one from its digest."""
    renamed = {("imageID" if key == "imageid" else key): value for key, value in MSL.items()}
    assert MSL_FEED.parse_arrival(renamed).name == MSL["imageid"]
    assert MSL_FEED.parse_arrival({"id": 7}).name == "7"
    nameless = MSL_FEED.parse_arrival({"sol": 3})
    assert nameless.name.startswith("unnamed-")
    assert nameless.name != MSL_FEED.parse_arrival({"sol": 4}).name


@given(record=st.dictionaries(st.sampled_from([*MARS2020, *MSL]) | st.text(max_size=10), ANY, max_size=8))
def test_any_record_gives_safe_names(record: dict[str, Any]) -> None:
    """Whatever JSON: names that fit into any file system and stay in their folders."""
    for feed in (M2020_FEED, MSL_FEED):
        arrival = feed.parse_arrival(record)
        assert feed.parse_arrival(json.loads(json.dumps(record))) == arrival
        assert_names(arrival)
        feed.is_wanted(arrival)


@given(
    imageid=st.text(max_size=600)
    | st.sampled_from(["../../etc/passwd", "a/b", "<img src=x>", "a\0b", "\ud800", ".", "..", "-"])
)
def test_hostile_ids_give_safe_names(imageid: str) -> None:
    """Path parts, markup, control characters, length; different ids have different names."""
    assert_names(MSL_FEED.parse_arrival(MSL | {"imageid": imageid}))
    assert sanitize_id(imageid) != sanitize_id(imageid + "/")
    assert sanitize_id(sanitize_id(imageid)) == sanitize_id(imageid) or "~" in sanitize_id(imageid)


def assert_names(arrival: ArrivalRecord) -> None:
    """The names made of an arrival are single, plain, short parts of a path."""
    names = (
        record_name(arrival),
        outstanding_name(arrival),
        image_name(arrival, b"\xff\xd8\xff", "f" * 64),
        arrival.received_day,
    )
    for name in (*names, sol_folder(arrival.sol), arrival.name):
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set("/\\<>&\"' :*?|")
        assert 0 < len(name) < 200
        assert not name.startswith((".", "-"))


@pytest.mark.parametrize(
    ("payload", "records", "more"),
    [
        ({"images": [], "total_images": 0}, 0, None),
        ({"images": [MARS2020], "total_images": 1, "new": {}}, 1, None),
        ({"images": None}, 0, None),
        ({"pictures": [MARS2020, MARS2020]}, 2, None),
        ([MARS2020], 1, None),
        ({"images": ["odd", 3]}, 2, None),
        ({"images": [MARS2020], "more": False}, 1, False),
        ({"images": [MARS2020], "more": "perhaps"}, 1, None),
        ({"type": "error", "mission": "msl", "error_message": "No more images."}, 0, None),
    ],
)
def test_pages_of_records(payload: Any, records: int, more: bool | None) -> None:
    """An empty answer is a page; a list under another name is found."""
    page = M2020_FEED.parse_page(payload)
    assert page is not None
    assert (len(page.records), page.has_more) == (records, more)


@pytest.mark.parametrize("payload", ["text", 3, None, {}, {"error": "internal"}, {"a": [{}], "b": [{}]}])
def test_an_answer_without_records_is_not_an_empty_page(payload: Any) -> None:
    """What has no unambiguous list of records."""
    assert parse_feed_page(payload, "images") is None


@given(st.text(max_size=50))
def test_any_text_is_a_time_or_none(text: str) -> None:
    """Never an error."""
    moment = parse_utc(text)
    assert moment is None or moment.utcoffset() is not None


# --------------------------------------------------------------------------------------------------- settings


def test_settings_are_read_from_json() -> None:
    """A misspelled field is refused with its name."""
    for kind, feed in ((Mars2020Feed, Mars2020Feed(since_sol=800)), (MslFeed, MslFeed(cameras=("MAHLI",)))):
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        assert adapter.validate_json(adapter.dump_json(feed)) == feed
        with pytest.raises(ValidationError, match="since_soll"):
            adapter.validate_python({"since_soll": 3})
    assert M2020_FEED.page_url(2).startswith(
        "https://mars.nasa.gov/rss/api/?feed=raw_images&category=mars2020&feedtype=json&"
    )
    assert "page=2&order=date_received+desc" in M2020_FEED.page_url(2)
    assert Mars2020Feed(since_sol=812).page_url(0).endswith("condition_2=812%3Asol%3Agte")
    assert "order=created_at+desc&per_page=100&page=0&condition_1=msl%3Amission" in MSL_FEED.page_url(0)


@pytest.mark.parametrize(
    "field",
    [
        {"url": "ftp://mars.nasa.gov/"},
        {"url": "mars.nasa.gov"},
        {"url": "https://"},
        {"url": "http://[::1"},
        {"name": "../up"},
        {"name": "a b"},
        {"page_size": 0},
        {"page_size": 500},
        {"overlap_days": -1},
        {"patience": 0},
        {"since_sol": -1},
    ],
)
def test_invalid_feed_settings_are_refused(field: dict[str, Any]) -> None:
    """Each with a sentence."""
    for kind in (Mars2020Feed, MslFeed):
        with pytest.raises(PlanError, match=r"\.$"):
            kind(**field)


@pytest.mark.parametrize(
    "field", [{"max_connections": 0}, {"tries": 0}, {"timeout_s": 0}, {"pause_s": -1}, {"backoff_s": float("nan")}]
)
def test_invalid_http_policies_are_refused(field: dict[str, Any]) -> None:
    """Each with a sentence."""
    with pytest.raises(PlanError, match=r"\.$"):
        HttpPolicy(**field)
