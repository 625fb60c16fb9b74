"""Reads the names of rovers' image files: camera, sol, clock, size and quality, by the missions' naming rules.

    MSL Mastcam, MAHLI, MARDI   0003ML0000000110100031E01_DRCL               MMM EDR/RDR Data Product SIS
    MSL, other cameras          NLB_486265257EDR_F0481570NCAM00323M_         MSL Camera & LIBS EDR/RDR SIS
    Mars 2020                   ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J   M2020 Camera SIS
    MER                         1N128455831EFF0200P1505L0M1                  MER Camera SIS

Names are read in either case; a name that follows none of these rules is not a product's.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProductId:
    """The contents of a product's name. An empty text or None: not in the name.

    Args:
        mission: `mars2020`, `msl`, `mer-a` or `mer-b`.
        instrument: As the mission's raw-image feed names it.
        product: One exposure of one camera and filter in one processing, whatever its size, compression and version.
        quality: Orders the versions of a product; higher is better.
        thumbnail: Whether it is a thumbnail.
        sol: Martian day of the mission.
        filter: As in `ImageMetadata`.
        sclk: Spacecraft clock in seconds.
        site: Rover motion counter.
        drive: Rover motion counter.
        sequence: Of commands.
        observation: The exposure, in names that have it but no clock.
    """

    mission: str
    instrument: str
    product: str
    quality: int
    thumbnail: bool
    sol: int | None = None
    filter: str = ""
    sclk: float | None = None
    site: int | None = None
    drive: int | None = None
    sequence: str = ""
    observation: str = ""


def parse_product_id(name: str) -> ProductId | None:
    """Read a file name or product id; folders and suffixes such as `.JPG` or `_1200.jpg` are ignored.

    Returns:
        None if it is not a product's name.

    Example:
        >>> parse_product_id("sols/3/0003ML0000000110100031E01_DRCL.JPG").instrument
        'MAST_LEFT'
    """
    if len(name) > 4096:
        return None
    stem = re.split(r"[/\\]", name)[-1].partition(".")[0].upper()
    for pattern, parse_match in _PARSERS:
        if match := pattern.fullmatch(stem):
            return parse_match(match)
    return None


def _parse_int(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


# ------------------------------------------------------------------------- MSL: Mastcam, MAHLI, MARDI

_MMM_PATTERN = re.compile(
    r"(?P<sol>\d{4}|[A-Z]{3}_)(?P<camera>M[LRHD])(?P<sequence>\d{6})(?P<line>\d{3})(?P<times>\d{2})(?P<number>\d{5})"
    r"(?P<type>[A-U])(?P<gop>[0-9A-F])(?P<version>[0-9A-Z])(?:_(?P<processing>[A-Z]{4}))?(?:_(?P<again>\d))?",
    re.ASCII,
)
_MMM_CAMERA = {"ML": "MAST_LEFT", "MR": "MAST_RIGHT", "MH": "MAHLI", "MD": "MARDI"}
_MMM_THUMBNAILS = "GHIOPQTU"
_MMM_DERIVED = dict.fromkeys("RT", "merged") | dict.fromkeys("SU", "range")
"""A focus merge and its range map are products of their own, not versions of an exposure."""
_MMM_GRADE = {
    kind: grade
    for grade, kinds in enumerate(["HPU", "IQT", "GO", "DL", "EM", "FNRS", "CK", "BJ", "A"])
    for kind in kinds
}
"""Thumbnails < gray JPEG < JPEG 4:2:2 < JPEG 4:4:4 < lossless < raster of 8 bits < of 16 bits."""


def _parse_mmm(match: re.Match[str]) -> ProductId:
    groups = match.groupdict()
    kind = groups["type"]
    exposure = "{sol}{camera}{sequence}{line}{times}{number}".format(**groups)
    derived_kind = _MMM_DERIVED.get(kind, "")
    product = " ".join(["msl", f"{exposure}-{groups['gop']}", groups["processing"] or "", derived_kind]).split()
    version = 36 * int(groups["again"] or 0) + int(groups["version"], 36)
    return ProductId(
        mission="msl",
        instrument=_MMM_CAMERA[groups["camera"]],
        product=" ".join(product),
        quality=1000 * _MMM_GRADE[kind] + version,
        thumbnail=kind in _MMM_THUMBNAILS,
        sol=_parse_int(groups["sol"]),
        sequence=groups["sequence"],
        observation=f"msl {exposure}",
    )


# ------------------------------------------------------------------------------ MSL: the other cameras

_OPGS_PATTERN = re.compile(
    r"(?P<camera>[A-Z]{2})(?P<side>[AB0-9])(?P<special>[A-Z_])(?P<sclk>\d{9})(?P<type>[A-Z]{3})(?P<geometry>[A-Z_])"
    r"(?P<sample>[A-Z])(?P<site>[0-9A-Z]{3})(?P<drive>[0-9A-Z]{4})(?P<sequence>[0-9A-Z_]{9})(?P<who>[A-Z_])"
    r"(?P<version>[0-9A-Z_])",
    re.ASCII,
)
_OPGS_CAMERA = {
    "NL": "NAV_LEFT_{}",
    "NR": "NAV_RIGHT_{}",
    "FL": "FHAZ_LEFT_{}",
    "FR": "FHAZ_RIGHT_{}",
    "RL": "RHAZ_LEFT_{}",
    "RR": "RHAZ_RIGHT_{}",
    "CR": "CHEMCAM_RMI",
    "ML": "MAST_LEFT",
    "MR": "MAST_RIGHT",
    "MH": "MAHLI",
    "MD": "MARDI",
}
_OPGS_GRADE = {"F": 5, "S": 4, "M": 3, "D": 2, "B": 1}
"""Full frame > subframe > mixed > downsampled > Bayer extraction."""


def _parse_opgs(match: re.Match[str]) -> ProductId:
    groups = match.groupdict()
    version = 36 if groups["version"] == "_" else int(groups["version"], 36)
    exposure = "{camera}{side}{special}{sclk}{type}{geometry}{site}{drive}{sequence}".format(**groups)
    return ProductId(
        mission="msl",
        instrument=_OPGS_CAMERA.get(groups["camera"], groups["camera"]).format(groups["side"]),
        product=f"msl {exposure}",
        quality=1000 * _OPGS_GRADE.get(groups["sample"], 0) + version,
        thumbnail=groups["sample"] in "TY",
        sclk=float(groups["sclk"]),
        site=_parse_int(groups["site"]),
        drive=_parse_int(groups["drive"]),
        sequence=groups["sequence"].strip("_"),
    )


# ------------------------------------------------------------------------------------------- Mars 2020

_M2020_PATTERN = re.compile(
    r"(?P<camera>[A-Z]{2})(?P<filter>[0-9A-Z_])(?P<special>[0-9A-Z_])(?P<sol>\d{4}|[A-Z]\d{3})(?P<venue>[A-Z_])"
    r"(?P<sclk>\d{10})_(?P<fraction>\d{3})(?P<type>[A-Z0-9]{3})(?P<geometry>[A-Z_])(?P<sample>[NT])"
    r"(?P<site>[0-9A-Z]{3})(?P<drive>[0-9A-Z]{4})(?P<sequence>[0-9A-Z_]{9})(?P<view>[0-9A-Z_]{4})"
    r"(?P<reduced>[0-9_])(?P<squeezed>[0-9A-Z_]{2})(?P<who>[A-Z_])(?P<version>[0-9A-Z_]{2})?(?:_(?:320|800|1200))?",
    re.ASCII,
)
_M2020_CAMERA = {
    "FL": "FRONT_HAZCAM_LEFT_A",
    "FR": "FRONT_HAZCAM_RIGHT_A",
    "BL": "FRONT_HAZCAM_LEFT_B",
    "BR": "FRONT_HAZCAM_RIGHT_B",
    "RL": "REAR_HAZCAM_LEFT",
    "RR": "REAR_HAZCAM_RIGHT",
    "NL": "NAVCAM_LEFT",
    "NR": "NAVCAM_RIGHT",
    "ZL": "MCZ_LEFT",
    "ZR": "MCZ_RIGHT",
    "CC": "CACHECAM",
    "EA": "EDL_PUCAM1",
    "EB": "EDL_PUCAM2",
    "EC": "EDL_PUCAM3",
    "ED": "EDL_RDCAM",
    "EL": "LCAM",
    "ES": "EDL_DDCAM",
    "EU": "EDL_RUCAM",
    "HN": "HELI_NAV",
    "HS": "HELI_RTE",
    "LR": "SUPERCAM_RMI",
    "PC": "PIXL_MCC",
    "SC": "SHERLOC_ACI",
    "SI": "SHERLOC_WATSON",
    "SL": "SHERLOC_WATSON",
    "SR": "SHERLOC_WATSON",
    "WS": "SKYCAM",
}


def _parse_m2020(match: re.Match[str]) -> ProductId:
    groups = match.groupdict()
    filter_code = "" if groups["filter"] == "_" else groups["filter"]
    if groups["camera"] in ("ZL", "ZR") and filter_code in tuple("01234567"):
        filter_code = groups["camera"][1] + filter_code
    # The view distinguishes the tiles of a frame (and is the zoom of Mastcam-Z): a tile is not a version of another.
    exposure = (
        "{camera}{filter}{special}{sol}{venue}{sclk}_{fraction}{type}{geometry}{site}{drive}{sequence}{view}".format(
            **groups
        )
    )
    downsampling = int(groups["reduced"]) if groups["reduced"] != "_" else 0
    version = 0 if groups["version"] is None else int(groups["version"].replace("_", "0"), 36)
    return ProductId(
        mission="mars2020",
        instrument=_M2020_CAMERA.get(groups["camera"], groups["camera"]),
        product=f"mars2020 {exposure}",
        quality=(128 * (9 - downsampling) + _compression_quality(groups["squeezed"])) * 2000 + version,
        thumbnail=groups["sample"] == "T",
        sol=_parse_int(groups["sol"]),
        filter=filter_code,
        sclk=float(f"{groups['sclk']}.{groups['fraction']}"),
        site=_parse_int(groups["site"]),
        drive=_parse_int(groups["drive"]),
        sequence=groups["sequence"].strip("_"),
    )


def _compression_quality(code: str) -> int:
    """Compression as 0..127, higher is better: JPEG quality `01`..`99`, `A0`; ICER bits a pixel `I0`..`I9`; lossless `L?`."""
    if code[0] == "L":
        return 101
    if code == "A0":
        return 100
    if code[0] == "I":
        return min(99, 60 + 4 * (_parse_int(code[1]) or 0))
    return _parse_int(code) or 0


# ------------------------------------------------------------------------------------------------- MER

_MER_PATTERN = re.compile(
    r"(?P<rover>[12])(?P<camera>[EFMNPR])(?P<sclk>\d{9})(?P<type>[A-Z]{3})(?P<site>[0-9A-Z#]{2})(?P<drive>[0-9A-Z#]{2})"
    r"(?P<sequence>[A-Z]\d{4})(?P<eye>[LRBMN])(?P<filter>[0-9A-Z])(?P<who>[A-Z])(?P<version>[0-9A-Z_])",
    re.ASCII,
)
_MER_CAMERA = {"E": "EDL", "F": "FHAZ", "M": "MI", "N": "NAVCAM", "P": "PANCAM", "R": "RHAZ"}
_MER_EYE = {"L": "_LEFT", "R": "_RIGHT"}
_MER_SIZE = {"EFF": 3, "ESF": 2, "EDN": 1, "ETH": 0}
"""Full frame, subframe, downsampled, thumbnail: versions of one exposure."""


def _parse_mer(match: re.Match[str]) -> ProductId:
    groups = match.groupdict()
    groups["kind"] = "E" if groups["type"] in _MER_SIZE else groups["type"]
    version = 36 if groups["version"] == "_" else int(groups["version"], 36)
    mission = "mer-b" if groups["rover"] == "1" else "mer-a"
    exposure = "{rover}{camera}{sclk}{kind}{site}{drive}{sequence}{eye}{filter}".format(**groups)
    return ProductId(
        mission=mission,
        instrument=_MER_CAMERA[groups["camera"]] + _MER_EYE.get(groups["eye"], ""),
        product=f"{mission} {exposure}",
        quality=1000 * _MER_SIZE.get(groups["type"], 0) + version,
        thumbnail=groups["type"] == "ETH",
        filter=groups["eye"] + groups["filter"] if groups["camera"] == "P" else "",
        sclk=float(groups["sclk"]),
        site=_parse_int(groups["site"]),
        drive=_parse_int(groups["drive"]),
        sequence=groups["sequence"],
    )


_PARSERS = (
    (_MMM_PATTERN, _parse_mmm),
    (_M2020_PATTERN, _parse_m2020),
    (_OPGS_PATTERN, _parse_opgs),
    (_MER_PATTERN, _parse_mer),
)
