"""The metadata of an image in one typed view, from its feed's record, its file's label and its name.

Records are kept verbatim elsewhere and may hold anything: absent fields, `"UNK"`, nulls, wrong types, unknown
cameras. What cannot be read is missing here, and never an error.

Fields are found by the last part of their path, in any case and punctuation: `extended.mastAz` (Mars 2020),
`extended.mast_az` (MSL) and `mast az` (a CSV column) are the same. The record comes first, then the label, then the name.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from interpdisc_core.metadata.field_index import LIST_MARK, FieldIndex, clean_text, clean_value, iter_record_leaves
from interpdisc_core.metadata.product_ids import ProductId, parse_product_id


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """The metadata of one image. An empty text or None: unknown.

    Args:
        mission: `mars2020`, `msl`, `mer-a`, `mer-b`, or as the label names it.
        sol: Martian day of the mission.
        instrument: As the mission's raw-image feed names it, such as `MCZ_LEFT`.
        filter: `L0` … `R7`, or the product's color letter (`F` color, `E` raw Bayer, `R` `G` `B` bands, `M` gray).
        eye: `left` or `right`.
        product: One exposure of one camera and filter, in one processing. The best image of a product supersedes the
            others: full frame over thumbnail, then the higher `quality`, then the later `received`.
        quality: Orders the versions of a product; higher is better.
        thumbnail: Whether it is a thumbnail.
        observation: The exposure, whatever the camera's eye, filter, tile and processing.
        sclk: Spacecraft clock in seconds.
        site: Rover motion counter.
        drive: Rover motion counter.
        taken: UTC, as `2021-02-21T02:16:26.000Z`.
        received: UTC, in the same form.
        lmst: Local mean solar time, as given.
        mast_az: Azimuth of the mast in degrees.
        mast_el: Elevation of the mast in degrees.
        title: Of the image.
        link: http or https only.
        sequence: Of commands, by the product's name.
    """

    mission: str = ""
    sol: int | None = None
    instrument: str = ""
    filter: str = ""
    eye: str = ""
    product: str = ""
    quality: int = 0
    thumbnail: bool = False
    observation: str = ""
    sclk: float | None = None
    site: int | None = None
    drive: int | None = None
    taken: str = ""
    received: str = ""
    lmst: str = ""
    mast_az: float | None = None
    mast_el: float | None = None
    title: str = ""
    link: str = ""
    sequence: str = ""


def parse_metadata(id: str, record: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> ImageMetadata:
    """The typed view of one image. Never raises.

    Args:
        id: Of the image; a product name in it is read.
        record: Its source's record.
        header: Its file's label or header.

    Example:
        >>> parse_metadata("0003ML0000000110100031E01_DRCL.JPG", {"sol": "UNK"}).instrument
        'MAST_LEFT'
    """
    fields = FieldIndex([record, header or {}])
    product_id = _parse_name(id, fields)
    mission_text = fields.get_text(_MISSION_KEYS).lower()
    mission = product_id.mission if product_id else _MISSION_ALIASES.get(mission_text, mission_text)
    instrument = fields.get_text(_INSTRUMENT_KEYS) or (product_id.instrument if product_id else "")
    words = re.split(r"[^A-Z0-9]+", instrument.upper())
    eye = "left" if "LEFT" in words else "right" if "RIGHT" in words else ""
    sclk = fields.get_number(_CLOCK_KEYS, 0, 1e12)
    if sclk is None and product_id:
        sclk = product_id.sclk
    sol, lmst = fields.get_integer(_SOL_KEYS, -10_000, 1_000_000), fields.get_text(_LMST_KEYS)
    if sol is None:
        sol = (
            int(match[1]) if (match := re.match(r"Sol-([0-9]{1,6})M", lmst)) else product_id.sol if product_id else None
        )
    site, drive = _find_site_and_drive(fields, product_id)
    product, quality = _find_product(fields, product_id, mission)
    return ImageMetadata(
        mission=mission,
        sol=sol,
        instrument=instrument,
        filter=_find_filter(fields, product_id, words),
        eye=eye,
        product=product,
        quality=quality,
        thumbnail=fields.matches_any(_SIZE_KEYS, ("thumbnail", "thumb"))
        or fields.matches_any(_THUMBNAIL_KEYS, ("true", "yes", "1"))
        or bool(product_id and product_id.thumbnail),
        observation=_find_observation(product_id, mission, words, sclk, site) or product,
        sclk=sclk,
        site=site,
        drive=drive,
        taken=fields.get_utc_time(_TAKEN_KEYS),
        received=fields.get_utc_time(_RECEIVED_KEYS),
        lmst=lmst,
        mast_az=fields.get_number(_AZIMUTH_KEYS, -720, 720),
        mast_el=fields.get_number(_ELEVATION_KEYS, -360, 360),
        title=fields.get_text(_TITLE_KEYS),
        link=fields.get_link(_LINK_KEYS),
        sequence=(product_id.sequence if product_id else "") or fields.get_text(_SEQUENCE_KEYS),
    )


def flatten_metadata(
    id: str, record: Mapping[str, Any], header: Mapping[str, Any] | None = None, metadata: ImageMetadata | None = None
) -> dict[str, object]:
    """All metadata of an image under flat names, for `interpdisc_core.metadata.expressions`. Never raises.

    Names of nested fields are joined by `_` (`extended_mastAz`). The fields of `metadata` come before those of the record, and
    these before those of the header. Missing values are left out.

    Args:
        id: Of the image.
        record: Its source's record.
        header: Its file's label or header.
        metadata: Its `parse_metadata`.

    Returns:
        Texts, numbers and booleans by name.
    """
    flat: dict[str, object] = {}
    for source in (record, header or {}):
        for path, value in iter_record_leaves(source):
            if (cleaned := clean_value(value)) is not None:
                flat.setdefault("_".join(path), cleaned)
    flat["id"] = clean_text(id)
    if metadata is not None:
        flat.update({name: value for name, value in asdict(metadata).items() if value is not None and value != ""})
    return flat


# -------------------------------------------------------------------------------- names of fields

_MISSION_KEYS = ("mission", "missionname", "spacecraftname", "instrumenthostname", "instrumenthostid")
_MISSION_ALIASES = {
    "mars 2020": "mars2020",
    "m2020": "mars2020",
    "perseverance": "mars2020",
    "mars science laboratory": "msl",
    "curiosity": "msl",
    "mars exploration rover 1": "mer-b",
    "mars exploration rover 2": "mer-a",
    "mer1": "mer-b",
    "mer2": "mer-a",
    "opportunity": "mer-b",
    "spirit": "mer-a",
}
_SOL_KEYS = ("sol", "planetdaynumber", "solnumber", "startsolnumber", "localtruesolarsol", "sols")
_INSTRUMENT_KEYS = ("instrument", "instrumentid", "camera", "cameraname", "instrumentname", "sensor")
_FILTER_KEYS = ("filter", "filtername", "filterid", "filternumber")
_CLOCK_KEYS = (
    "sclk",
    "spacecraftclock",
    "spacecraftclockstartcount",
    "spacecraftclockstart",
    "spacecraftclockcount",
    "clockstartcount",
)
_SITE_KEYS, _DRIVE_KEYS = ("site", "siteindex"), ("drive", "driveindex")
_COUNTER_KEYS = ("rovermotioncounter", "rovermotioncounter" + LIST_MARK)
_TAKEN_KEYS = (
    "datetakenutc",
    "datetaken",
    "taken",
    "starttime",
    "startdatetime",
    "imagetime",
    "datetimeoriginal",
    "timestamp",
    "date",
)
_RECEIVED_KEYS = ("datereceived", "received", "earthreceivedstarttime", "earthreceivedstoptime", "createdat")
_LMST_KEYS = ("lmst", "datetakenmars", "localmeansolartime", "startlocalmeansolartime")
_AZIMUTH_KEYS = ("mastaz", "mastazimuth", "instrumentazimuth", "azimuth")
_ELEVATION_KEYS = ("mastel", "mastelevation", "instrumentelevation", "elevation")
_TITLE_KEYS = ("title",)
_LINK_KEYS = ("link", "httpsurl", "url", "imgsrc")
_SEQUENCE_KEYS = ("sequenceid", "sequence")
_SIZE_KEYS, _THUMBNAIL_KEYS = ("sampletype", "imagetype"), ("isthumbnail", "thumbnail")
_PRODUCT_KEYS = ("productid", "logicalidentifier")


def _parse_name(id: str, fields: FieldIndex) -> ProductId | None:
    for text in (fields.get_text(("imageid",)), id, fields.get_text(_PRODUCT_KEYS).rpartition(":")[2]):
        if isinstance(text, str) and (product_id := parse_product_id(text)):
            return product_id
    return None


def _find_product(fields: FieldIndex, product_id: ProductId | None, mission: str) -> tuple[str, int]:
    if product_id:
        return product_id.product, product_id.quality
    version = fields.get_text(("productversionid", "versionid"))
    quality = int(digits[0]) if (digits := re.findall(r"[0-9]{1,6}", version)) else 0
    # A label's own id names a product. An `imageid` does only in a feed's record: in a table many crops may share it.
    label_id = fields.get_text(_PRODUCT_KEYS)
    feed_id = fields.get_text(("imageid",)) if fields.get_text(("datereceived",)) else ""
    return (f"{mission} {label_id or feed_id}".strip(), quality) if label_id or feed_id else ("", quality)


def _find_observation(
    product_id: ProductId | None, mission: str, words: list[str], sclk: float | None, site: int | None
) -> str:
    # Eyes, filters, Bayer planes and tiles of an exposure share the camera system, the second and the site.
    system = "_".join(word for word in words if word not in ("LEFT", "RIGHT", "A", "B", ""))
    if sclk is not None and system:
        return f"{mission} {system} sclk {math.floor(sclk)}{'' if site is None else f' site {site}'}".strip()
    return product_id.observation if product_id else ""


def _find_filter(fields: FieldIndex, product_id: ProductId | None, words: list[str]) -> str:
    if product_id and product_id.filter:
        return product_id.filter
    text = fields.get_text(_FILTER_KEYS).upper()
    match = re.search(r"(?:^|[^A-Z0-9])([LR][0-7])(?:[^A-Z0-9]|$)", text)
    if text in tuple("01234567") and words[0] in ("MAST", "MCZ"):
        return ("R" if "RIGHT" in words else "L") + text
    return match[1] if match else text


def _find_site_and_drive(fields: FieldIndex, product_id: ProductId | None) -> tuple[int | None, int | None]:
    counters = re.findall(r"-?[0-9]{1,9}", fields.get_text(_COUNTER_KEYS))
    site, drive = (int(counters[0]), int(counters[1])) if len(counters) >= 2 else (None, None)
    return (
        _first_known(fields.get_integer(_SITE_KEYS, 0, 10**9), site, product_id.site if product_id else None),
        _first_known(fields.get_integer(_DRIVE_KEYS, 0, 10**9), drive, product_id.drive if product_id else None),
    )


def _first_known(*choices: int | None) -> int | None:
    return next((choice for choice in choices if choice is not None), None)
