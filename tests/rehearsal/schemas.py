"""The same images in the words of two feeds, with the quirks of both."""

import re
from collections.abc import Callable
from typing import Any

from tests.rehearsal.downlink import Downlink, FaultRates, ImageVersion, Shot

FeedRecord = dict[str, Any]
MAX_PAGE_SIZE = 100
"""Records a page; both feeds ignore a wish for more."""
_CAMERAS = {
    "ML": ("MAST_LEFT", "MCZ_LEFT", "ZL0"),
    "MR": ("MAST_RIGHT", "MCZ_RIGHT", "ZR0"),
    "MH": ("MAHLI", "SHERLOC_WATSON", "SI0"),
    "MD": ("MARDI", "EDL_RDCAM", "EA0"),
}
_PRODUCT_TYPES = {"C": "EDR", "D": "EBY", "B": "EJP", "M": "ECV"}
_CAHV = "(1.1,0.4,-1.9);(0.85,0.46,0.22);(-2.1,1.7,0.4);(0.9,0.3,2.4)"


def make_mars2020_id(name: str) -> str:
    """An image id in the manner of Mars 2020, one to one for each name in that of MSL."""
    sol, camera, sequence, times, number = int(name[:4]), name[4:6], name[6:15], name[15:17], int(name[17:22])
    kind, group, version = name[22], int(name[23], 16), name[24]
    thumbnail = kind in "GHIOPQTU"
    product = _PRODUCT_TYPES.get(kind, "ECM" if kind in "EI" else f"E{kind}Z")
    sclk = 397_446_000 + sol * 88_775 + number % 88_000
    return (
        f"{_CAMERAS[camera][2]}_{sol:04d}_{sclk:010d}_{number // 100 % 1000:03d}{product}_{'T' if thumbnail else 'N'}"
        f"0310000{sequence}_0{times}{group % 10}80J0{version}"
    )


def make_msl_record(shot: Shot, version: ImageVersion, base: str, faults: FaultRates) -> FeedRecord:
    """A record of `raw_image_items`."""
    name, camera = shot.name, _CAMERAS[shot.name[4:6]][0]
    received_at, taken_at = (
        f"{version.received_at:%Y-%m-%dT%H:%M:%S}.000Z",
        f"{version.received_at:%Y-%m-%d}T01:23:45.000Z",
    )
    record: FeedRecord = {
        "id": faults.draw("id", name) % 10**7,
        "imageid": name,
        "sol": shot.sol,
        "instrument": camera,
        "url": f"{base}/msl-raw-images/msss/{shot.sol:05d}/{name[4:6].lower()}/{shot.path.name}",
        "https_url": None,
        "site": 31,
        "drive": 1294,
        "spacecraft_clock": 397_446_000.0 + shot.sol * 88_775 + int(name[17:22]),
        "subframe_rect": None,
        "scale_factor": None,
        "camera_vector": None,
        "camera_position": None,
        "camera_model_type": "CAHVOR",
        "camera_model_component_list": _CAHV,
        "attitude": "(0.1,0.0,-0.01,0.99)",
        "xyz": None,
        "date_taken": taken_at,
        "date_received": received_at,
        "created_at": received_at,
        "updated_at": received_at,
        "mission": "msl",
        "instrument_sort": 5,
        "sample_type_sort": 1,
        "is_thumbnail": version.thumbnail,
        "title": f"Sol {shot.sol}: {camera.replace('_', ' ').title()}",
        "description": "This image was taken by <b>Mastcam</b> & co",
        "link": f"/raw_images/{faults.draw('id', name) % 10**7}",
        "image_credit": "NASA/JPL-Caltech/MSSS",
        "extended": {
            "lmst": f"Sol-{shot.sol:05d}M13:02:11.114",
            "bucket": "msl-raws",
            "mast_az": "156.1",
            "mast_el": None,
            "url_list": None,
            "contributor": "Team MSLICE",
            "filter_name": None,
            "sample_type": "thumbnail" if version.thumbnail else "full",
        },
    }
    return _vary_fields(record, name, faults)


def make_mars2020_record(shot: Shot, version: ImageVersion, base: str, faults: FaultRates) -> FeedRecord:
    """A record of `rss/api`, category mars2020."""
    name = make_mars2020_id(shot.name)
    files = f"{base}/mars2020-raw-images/pub/ods/surface/sol/{shot.sol:05d}/ids/edr/browse/{name}"
    record: FeedRecord = {
        "imageid": name,
        "sol": shot.sol,
        "site": 31,
        "drive": "1294",
        "title": f"Mars Perseverance Sol {shot.sol}",
        "caption": "NASA's Mars Perseverance rover acquired this image <using> its cameras.",
        "credit": "NASA/JPL-Caltech",
        "link": f"https://mars.nasa.gov/mars2020/multimedia/raw-images/{name}",
        "json_link": "UNK",
        "sample_type": "Thumbnail" if version.thumbnail else "Full",
        "date_taken_utc": f"{version.received_at:%Y-%m-%d}T01:23:45.000",
        "date_taken_mars": f"Sol-{shot.sol:05d}M13:02:11.114",
        "date_received": f"{version.received_at:%Y-%m-%dT%H:%M:%S}Z",
        "attitude": "(0.1,0.0,-0.01,0.99)",
        "image_files": {
            "small": f"{files}_320{shot.path.suffix}",
            "medium": f"{files}_800{shot.path.suffix}",
            "large": f"{files}_1200{shot.path.suffix}",
            "full_res": f"{files}{shot.path.suffix}",
        },
        "camera": {
            "instrument": _CAMERAS[shot.name[4:6]][1],
            "filter_name": "UNK",
            "camera_vector": "(-0.5,0.8,0.1)",
            "camera_position": "(1.1,0.4,-1.9)",
            "camera_model_type": "CAHVORE",
            "camera_model_component_list": _CAHV,
        },
        "extended": {
            "mastAz": "156.1",
            "mastEl": "UNK",
            "sclk": str(397_446_000 + shot.sol * 88_775 + int(shot.name[17:22])),
            "scaleFactor": "1",
            "xyz": "(0.0,0.0,0.0)",
            "subframeRect": "(1,1,1648,1200)",
            "dimension": "(1648,1200)",
        },
    }
    return _vary_fields(record, name, faults)


def _vary_fields(record: FeedRecord, name: str, faults: FaultRates) -> FeedRecord:
    """What a feed may do to a record from one day to the next; what it means stays the same."""
    if not faults.occurs("fields", name):
        return record
    extra, kind = dict(record["extended"]), faults.draw("which field", name) % 5
    if kind == 0:
        return record | {"schema_version": "2.1", "extended": extra | {"illumination": {"azimuth": "UNK", "n": 3}}}
    if kind == 1:
        return record | {"sol": str(record["sol"]), "site": str(record["site"]), "attitude": None}
    if kind == 2:
        return {("dateReceived" if key == "date_received" else key): value for key, value in record.items()}
    if kind == 3:
        dropped_fields = ("title", "caption", "description", "image_credit", "credit", "link")
        return {key: value for key, value in record.items() if key not in dropped_fields}
    return record | {"extended": None, "camera_model_component_list": ["UNK"], "xyz": {"x": 0.0}}


RecordFactory = Callable[[Shot, ImageVersion, str, FaultRates], FeedRecord]
SCHEMAS: dict[str, RecordFactory] = {"msl": make_msl_record, "mars2020": make_mars2020_record}


def list_feed_records(downlink: Downlink, schema: str, base: str) -> list[FeedRecord]:
    """What is published by now in the words of one feed, the last received first; some records twice."""
    feed_records = []
    for shot, version in downlink.list_published():
        record = SCHEMAS[schema](shot, version, base, downlink.faults)
        feed_records += [record] * (2 if downlink.faults.occurs("duplicates", shot.name) else 1)
    return feed_records


def build_page(feed_records: list[FeedRecord], query: dict[str, str], schema: str) -> FeedRecord:
    """The answer to a question of either API."""
    size_field = "num" if schema == "mars2020" else "per_page"
    size, number = _parse_number(query.get(size_field), MAX_PAGE_SIZE), _parse_number(query.get("page"), 0)
    size = size if 1 <= size <= MAX_PAGE_SIZE else MAX_PAGE_SIZE
    for name, condition in query.items():
        if name.startswith("condition_") and (match := re.fullmatch(r"(\d+):sol:(gte|lte|in)", condition)):
            sol, test = int(match[1]), match[2]
            feed_records = [
                r
                for r in feed_records
                if {"gte": int(r["sol"]) >= sol, "lte": int(r["sol"]) <= sol, "in": int(r["sol"]) == sol}[test]
            ]
    if query.get("order", "").startswith("sol"):
        feed_records = sorted(feed_records, key=lambda record: int(record["sol"]), reverse=True)
    part = feed_records[number * size : (number + 1) * size]
    if schema == "mars2020":
        return {
            "images": part,
            "per_page": str(size),
            "total_results": len(part),
            "type": "mars2020-imagesonly",
            "query": str(query),
            "page": number,
            "mission": "mars2020",
            "total_images": len(feed_records),
        }
    return {
        "items": part,
        "more": (number + 1) * size < len(feed_records),
        "total": len(feed_records),
        "page": number,
        "per_page": size,
    }


def _parse_number(text: str | None, default: int) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,9}", text) else default
