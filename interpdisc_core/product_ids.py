"""What the name of a rover's image file says: camera, sol, clock, size and quality, by the missions' naming rules.

    MSL Mastcam, MAHLI, MARDI   0003ML0000000110100031E01_DRCL               MMM EDR/RDR Data Product SIS
    MSL, other cameras          NLB_486265257EDR_F0481570NCAM00323M_         MSL Camera & LIBS EDR/RDR SIS
    Mars 2020                   ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J   M2020 Camera SIS
    MER                         1N128455831EFF0200P1505L0M1                  MER Camera SIS

Letters are read in either case. A name that follows none of these says nothing.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Named:
    """What a name says. Empty text and None: it does not.

    instrument: as the missions' raw-image feeds call it. sclk: spacecraft clock, seconds. product: one exposure of one
    camera and filter in one kind of processing, whatever its size, compression and version; `quality` orders these.
    observation: the exposure, for a name that tells it but not the clock.
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


def named(name: str) -> Named | None:
    """Read a file name or product id; folders before it and suffixes such as `.JPG` or `_1200.jpg` do not matter."""
    if len(name) > 4096:
        return None
    stem = re.split(r"[/\\]", name)[-1].partition(".")[0].upper()
    for pattern, read in _RULES:
        if match := pattern.fullmatch(stem):
            return read(match)
    return None


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


# ------------------------------------------------------------------------- MSL: Mastcam, MAHLI, MARDI

_MMM = re.compile(
    r"(?P<sol>\d{4}|[A-Z]{3}_)(?P<camera>M[LRHD])(?P<sequence>\d{6})(?P<line>\d{3})(?P<times>\d{2})(?P<number>\d{5})"
    r"(?P<type>[A-U])(?P<gop>[0-9A-F])(?P<version>[0-9A-Z])(?:_(?P<processing>[A-Z]{4}))?(?:_(?P<again>\d))?",
    re.ASCII,
)
_MMM_CAMERA = {"ML": "MAST_LEFT", "MR": "MAST_RIGHT", "MH": "MAHLI", "MD": "MARDI"}
_MMM_THUMBNAILS = "GHIOPQTU"
_MMM_MADE = dict.fromkeys("RT", "merged") | dict.fromkeys("SU", "range")
"""A focus merge and its range map are pictures of their own, not versions of an exposure."""
_MMM_GRADE = {kind: grade for grade, kinds in enumerate(
    ["HPU", "IQT", "GO", "DL", "EM", "FNRS", "CK", "BJ", "A"]) for kind in kinds}  # fmt: skip
"""Grey JPEG < JPEG 4:2:2 < JPEG 4:4:4 < lossless < raster of 8 bits < of 16; thumbnails below."""


def _mmm(match: re.Match[str]) -> Named:
    part = match.groupdict()
    kind = part["type"]
    exposure = "{sol}{camera}{sequence}{line}{times}{number}".format(**part)
    made = _MMM_MADE.get(kind, "")
    product = " ".join(["msl", f"{exposure}-{part['gop']}", part["processing"] or "", made]).split()
    version = 36 * int(part["again"] or 0) + int(part["version"], 36)
    return Named(
        mission="msl", instrument=_MMM_CAMERA[part["camera"]], product=" ".join(product),
        quality=1000 * _MMM_GRADE[kind] + version, thumbnail=kind in _MMM_THUMBNAILS, sol=_whole(part["sol"]),
        sequence=part["sequence"], observation=f"msl {exposure}",
    )  # fmt: skip


# ------------------------------------------------------------------------------ MSL: the other cameras

_OPGS = re.compile(
    r"(?P<camera>[A-Z]{2})(?P<side>[AB0-9])(?P<special>[A-Z_])(?P<sclk>\d{9})(?P<type>[A-Z]{3})(?P<geometry>[A-Z_])"
    r"(?P<sample>[A-Z])(?P<site>[0-9A-Z]{3})(?P<drive>[0-9A-Z]{4})(?P<sequence>[0-9A-Z_]{9})(?P<who>[A-Z_])"
    r"(?P<version>[0-9A-Z_])",
    re.ASCII,
)
_OPGS_CAMERA = {
    "NL": "NAV_LEFT_{}", "NR": "NAV_RIGHT_{}", "FL": "FHAZ_LEFT_{}", "FR": "FHAZ_RIGHT_{}", "RL": "RHAZ_LEFT_{}",
    "RR": "RHAZ_RIGHT_{}", "CR": "CHEMCAM_RMI", "ML": "MAST_LEFT", "MR": "MAST_RIGHT", "MH": "MAHLI", "MD": "MARDI",
}  # fmt: skip
_OPGS_GRADE = {"F": 5, "S": 4, "M": 3, "D": 2, "B": 1}
"""Full frame > subframe > mixed > downsampled > Bayer extraction."""


def _opgs(match: re.Match[str]) -> Named:
    part = match.groupdict()
    version = 36 if part["version"] == "_" else int(part["version"], 36)
    exposure = "{camera}{side}{special}{sclk}{type}{geometry}{site}{drive}{sequence}".format(**part)
    return Named(
        mission="msl", instrument=_OPGS_CAMERA.get(part["camera"], part["camera"]).format(part["side"]),
        product=f"msl {exposure}", quality=1000 * _OPGS_GRADE.get(part["sample"], 0) + version,
        thumbnail=part["sample"] in "TY", sclk=float(part["sclk"]), site=_whole(part["site"]),
        drive=_whole(part["drive"]), sequence=part["sequence"].strip("_"),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- Mars 2020

_M2020 = re.compile(
    r"(?P<camera>[A-Z]{2})(?P<filter>[0-9A-Z_])(?P<special>[0-9A-Z_])(?P<sol>\d{4}|[A-Z]\d{3})(?P<venue>[A-Z_])"
    r"(?P<sclk>\d{10})_(?P<fraction>\d{3})(?P<type>[A-Z0-9]{3})(?P<geometry>[A-Z_])(?P<sample>[NT])"
    r"(?P<site>[0-9A-Z]{3})(?P<drive>[0-9A-Z]{4})(?P<sequence>[0-9A-Z_]{9})(?P<view>[0-9A-Z_]{4})"
    r"(?P<reduced>[0-9_])(?P<squeezed>[0-9A-Z_]{2})(?P<who>[A-Z_])(?P<version>[0-9A-Z_]{2})?(?:_(?:320|800|1200))?",
    re.ASCII,
)
_M2020_CAMERA = {
    "FL": "FRONT_HAZCAM_LEFT_A", "FR": "FRONT_HAZCAM_RIGHT_A", "BL": "FRONT_HAZCAM_LEFT_B",
    "BR": "FRONT_HAZCAM_RIGHT_B", "RL": "REAR_HAZCAM_LEFT", "RR": "REAR_HAZCAM_RIGHT", "NL": "NAVCAM_LEFT",
    "NR": "NAVCAM_RIGHT", "ZL": "MCZ_LEFT", "ZR": "MCZ_RIGHT", "CC": "CACHECAM", "EA": "EDL_PUCAM1",
    "EB": "EDL_PUCAM2", "EC": "EDL_PUCAM3", "ED": "EDL_RDCAM", "EL": "LCAM", "ES": "EDL_DDCAM", "EU": "EDL_RUCAM",
    "HN": "HELI_NAV", "HS": "HELI_RTE", "LR": "SUPERCAM_RMI", "PC": "PIXL_MCC", "SC": "SHERLOC_ACI",
    "SI": "SHERLOC_WATSON", "SL": "SHERLOC_WATSON", "SR": "SHERLOC_WATSON", "WS": "SKYCAM",
}  # fmt: skip


def _m2020(match: re.Match[str]) -> Named:
    part = match.groupdict()
    seen = "" if part["filter"] == "_" else part["filter"]
    if part["camera"] in ("ZL", "ZR") and seen in tuple("01234567"):
        seen = part["camera"][1] + seen
    # The view tells the tiles of one frame apart (and is the zoom of Mastcam-Z): a tile is no version of another.
    exposure = (
        "{camera}{filter}{special}{sol}{venue}{sclk}_{fraction}{type}{geometry}{site}{drive}{sequence}{view}".format(**part)
    )  # fmt: skip
    reduced = int(part["reduced"]) if part["reduced"] != "_" else 0
    version = 0 if part["version"] is None else int(part["version"].replace("_", "0"), 36)
    return Named(
        mission="mars2020", instrument=_M2020_CAMERA.get(part["camera"], part["camera"]),
        product=f"mars2020 {exposure}", quality=(128 * (9 - reduced) + _squeezed(part["squeezed"])) * 2000 + version,
        thumbnail=part["sample"] == "T", sol=_whole(part["sol"]), filter=seen,
        sclk=float(f"{part['sclk']}.{part['fraction']}"), site=_whole(part["site"]), drive=_whole(part["drive"]),
        sequence=part["sequence"].strip("_"),
    )  # fmt: skip


def _squeezed(code: str) -> int:
    """Compression as 0..127, better is more: JPEG quality `01`..`99`, `A0`; ICER bits a pixel `I0`..`I9`; lossless `L?`."""
    if code[0] == "L":
        return 101
    if code == "A0":
        return 100
    if code[0] == "I":
        return min(99, 60 + 4 * (_whole(code[1]) or 0))
    return _whole(code) or 0


# ------------------------------------------------------------------------------------------------- MER

_MER = re.compile(
    r"(?P<rover>[12])(?P<camera>[EFMNPR])(?P<sclk>\d{9})(?P<type>[A-Z]{3})(?P<site>[0-9A-Z#]{2})(?P<drive>[0-9A-Z#]{2})"
    r"(?P<sequence>[A-Z]\d{4})(?P<eye>[LRBMN])(?P<filter>[0-9A-Z])(?P<who>[A-Z])(?P<version>[0-9A-Z_])",
    re.ASCII,
)
_MER_CAMERA = {"E": "EDL", "F": "FHAZ", "M": "MI", "N": "NAVCAM", "P": "PANCAM", "R": "RHAZ"}
_MER_EYE = {"L": "_LEFT", "R": "_RIGHT"}
_MER_SIZE = {"EFF": 3, "ESF": 2, "EDN": 1, "ETH": 0}
"""Full frame, subframe, downsampled, thumbnail: one exposure, as it came down."""


def _mer(match: re.Match[str]) -> Named:
    part = match.groupdict()
    part["kind"] = "E" if part["type"] in _MER_SIZE else part["type"]
    version = 36 if part["version"] == "_" else int(part["version"], 36)
    mission = "mer-b" if part["rover"] == "1" else "mer-a"
    exposure = "{rover}{camera}{sclk}{kind}{site}{drive}{sequence}{eye}{filter}".format(**part)
    return Named(
        mission=mission, instrument=_MER_CAMERA[part["camera"]] + _MER_EYE.get(part["eye"], ""),
        product=f"{mission} {exposure}", quality=1000 * _MER_SIZE.get(part["type"], 0) + version,
        thumbnail=part["type"] == "ETH", filter=part["eye"] + part["filter"] if part["camera"] == "P" else "",
        sclk=float(part["sclk"]), site=_whole(part["site"]), drive=_whole(part["drive"]), sequence=part["sequence"],
    )  # fmt: skip


_RULES = ((_MMM, _mmm), (_M2020, _m2020), (_OPGS, _opgs), (_MER, _mer))
