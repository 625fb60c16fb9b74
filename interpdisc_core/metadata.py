"""What is known of an image, in one typed view, whatever said it: the feed's record, the file's label, its name.

Records are kept verbatim elsewhere and may hold anything: absent fields, `"UNK"`, nulls, wrong types, cameras of
which nobody has heard. What cannot be understood is missing here, and never an error.

Fields are found by the last part of their path, whatever its case and punctuation: `extended.mastAz` (Mars 2020),
`extended.mast_az` (MSL), `mast az` (a CSV column) are one. First the record counts, then the label, then the name.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from interpdisc_core.product_ids import Named, named

FIELDS = 4096
"""Fields of one record that are looked at, in its own order; more are no metadata."""
DEPTH = 6
"""Levels of nesting that are looked at."""
LENGTH = 300
"""Characters of a text that are kept."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of one image. Empty text and None: nobody said it.

    mission: `mars2020`, `msl`, `mer-a`, `mer-b`, or as the label calls it. sol: Martian day of the mission.
    instrument: as the mission's raw-image feed calls it (`MCZ_LEFT`). filter: `L0` … `R7`, or the product's colour
    letter (`F` colour, `E` raw Bayer, `R` `G` `B` bands, `M` grey). eye: `left`, `right`. sclk: spacecraft clock,
    seconds. site, drive: rover motion counters. taken, received: UTC, `2021-02-21T02:16:26.000Z`. lmst: local mean
    solar time as given. mast_az, mast_el: degrees. link: http(s) only. sequence: of commands, by the product's name.

    product: one exposure of one camera and filter, in one processing. Of images of one product the best supersedes the
    others: full over thumbnail, then the higher `quality`, then the later `received`.
    observation: the exposure, whatever the camera's eye, filter, tile, processing.
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


def told(id: str, record: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> Told:
    """The typed view of one image, from its id, its source's record and its file's own label. Never raises."""
    facts = _Facts([record, header or {}])
    name = _name(id, facts)
    spoken = facts.text(_MISSION).lower()
    mission = name.mission if name else _MISSIONS.get(spoken, spoken)
    instrument = facts.text(_INSTRUMENT) or (name.instrument if name else "")
    words = re.split(r"[^A-Z0-9]+", instrument.upper())
    eye = "left" if "LEFT" in words else "right" if "RIGHT" in words else ""
    sclk = facts.number(_CLOCK, 0, 1e12)
    if sclk is None and name:
        sclk = name.sclk
    sol, lmst = facts.whole(_SOL, -10_000, 1_000_000), facts.text(_LMST)
    if sol is None:
        sol = int(match[1]) if (match := re.match(r"Sol-([0-9]{1,6})M", lmst)) else name.sol if name else None
    site, drive = _place(facts, name)
    product, quality = _product(facts, name, mission)
    return Told(
        mission=mission,
        sol=sol,
        instrument=instrument,
        filter=_filter(facts, name, words),
        eye=eye,
        product=product,
        quality=quality,
        thumbnail=facts.says(_SIZE, ("thumbnail", "thumb"))
        or facts.says(_THUMBNAIL, ("true", "yes", "1"))
        or bool(name and name.thumbnail),
        observation=_observation(name, mission, words, sclk, site) or product,
        sclk=sclk,
        site=site,
        drive=drive,
        taken=facts.moment(_TAKEN),
        received=facts.moment(_RECEIVED),
        lmst=lmst,
        mast_az=facts.number(_AZIMUTH, -720, 720),
        mast_el=facts.number(_ELEVATION, -360, 360),
        title=facts.text(_TITLE),
        link=facts.link(_LINK),
        sequence=(name.sequence if name else "") or facts.text(_SEQUENCE),
    )


def columns(
    id: str, record: Mapping[str, Any], header: Mapping[str, Any] | None = None, told: Told | None = None
) -> dict[str, object]:
    """Everything known under flat names, for expressions of `interpdisc_core.subset`: text, numbers, True and False.

    Nested fields are joined by `_` (`extended_mastAz`); a field of the label that the record has too is the record's;
    what `told` understood comes before both. Missing values are left out. Never raises.
    """
    flat: dict[str, object] = {}
    for source in (record, header or {}):
        for path, value in _walk(source):
            if (plain := _plain(value)) is not None:
                flat.setdefault("_".join(path), plain)
    flat["id"] = _clean(id)
    if told is not None:
        flat.update({name: value for name, value in asdict(told).items() if value is not None and value != ""})
    return flat


# -------------------------------------------------------------------------------- how things are called

_MISSION = ("mission", "missionname", "spacecraftname", "instrumenthostname", "instrumenthostid")
_MISSIONS = {
    "mars 2020": "mars2020", "m2020": "mars2020", "perseverance": "mars2020", "mars science laboratory": "msl",
    "curiosity": "msl", "mars exploration rover 1": "mer-b", "mars exploration rover 2": "mer-a", "mer1": "mer-b",
    "mer2": "mer-a", "opportunity": "mer-b", "spirit": "mer-a",
}  # fmt: skip
_SOL = ("sol", "planetdaynumber", "solnumber", "startsolnumber", "localtruesolarsol", "sols")
_INSTRUMENT = ("instrument", "instrumentid", "camera", "cameraname", "instrumentname", "sensor")
_FILTER = ("filter", "filtername", "filterid", "filternumber")
_CLOCK = (
    "sclk", "spacecraftclock", "spacecraftclockstartcount", "spacecraftclockstart", "spacecraftclockcount",
    "clockstartcount",
)  # fmt: skip
_SITE, _DRIVE = ("site", "siteindex"), ("drive", "driveindex")
_LIST = "[]"
_COUNTERS = ("rovermotioncounter", "rovermotioncounter" + _LIST)
_TAKEN = (
    "datetakenutc", "datetaken", "taken", "starttime", "startdatetime", "imagetime", "datetimeoriginal", "timestamp",
    "date",
)  # fmt: skip
_RECEIVED = ("datereceived", "received", "earthreceivedstarttime", "earthreceivedstoptime", "createdat")
_LMST = ("lmst", "datetakenmars", "localmeansolartime", "startlocalmeansolartime")
_AZIMUTH = ("mastaz", "mastazimuth", "instrumentazimuth", "azimuth")
_ELEVATION = ("mastel", "mastelevation", "instrumentelevation", "elevation")
_TITLE = ("title",)
_LINK = ("link", "httpsurl", "url", "imgsrc")
_SEQUENCE = ("sequenceid", "sequence")
_SIZE, _THUMBNAIL = ("sampletype", "imagetype"), ("isthumbnail", "thumbnail")
_PRODUCT = ("productid", "logicalidentifier")
_ABSENT = {"", "unk", "unknown", "n/a", "na", "null", "none", "nan", "nil", "-", "--", "undefined", "not applicable"}


def _name(id: str, facts: "_Facts") -> Named | None:
    for text in (facts.text(("imageid",)), id, facts.text(_PRODUCT).rpartition(":")[2]):
        if isinstance(text, str) and (name := named(text)):
            return name
    return None


def _product(facts: "_Facts", name: Named | None, mission: str) -> tuple[str, int]:
    if name:
        return name.product, name.quality
    version = facts.text(("productversionid", "versionid"))
    quality = int(digits[0]) if (digits := re.findall(r"[0-9]{1,6}", version)) else 0
    # A label's own id names a product; an `imageid` does only where a feed sends it: a table's may name many crops.
    of_label = facts.text(_PRODUCT)
    of_feed = facts.text(("imageid",)) if facts.text(("datereceived",)) else ""
    return (f"{mission} {of_label or of_feed}".strip(), quality) if of_label or of_feed else ("", quality)


def _observation(name: Named | None, mission: str, words: list[str], sclk: float | None, site: int | None) -> str:
    # One camera system at one second and place: eyes, filters, Bayer planes and tiles of an exposure share these.
    system = "_".join(word for word in words if word not in ("LEFT", "RIGHT", "A", "B", ""))
    if sclk is not None and system:
        return f"{mission} {system} sclk {math.floor(sclk)}{'' if site is None else f' site {site}'}".strip()
    return name.observation if name else ""


def _filter(facts: "_Facts", name: Named | None, words: list[str]) -> str:
    if name and name.filter:
        return name.filter
    text = facts.text(_FILTER).upper()
    match = re.search(r"(?:^|[^A-Z0-9])([LR][0-7])(?:[^A-Z0-9]|$)", text)
    if text in tuple("01234567") and words[0] in ("MAST", "MCZ"):
        return ("R" if "RIGHT" in words else "L") + text
    return match[1] if match else text


def _place(facts: "_Facts", name: Named | None) -> tuple[int | None, int | None]:
    counters = re.findall(r"-?[0-9]{1,9}", facts.text(_COUNTERS))
    site, drive = (int(counters[0]), int(counters[1])) if len(counters) >= 2 else (None, None)
    return (
        _first(facts.whole(_SITE, 0, 10**9), site, name.site if name else None),
        _first(facts.whole(_DRIVE, 0, 10**9), drive, name.drive if name else None),
    )


def _first(*choices: int | None) -> int | None:
    return next((choice for choice in choices if choice is not None), None)


# ---------------------------------------------------------------------------------- reading anything


class _Facts:
    """Values by the last part of their path, of several sources; the first source that has one counts."""

    def __init__(self, sources: Iterable[Mapping[str, Any]]) -> None:
        self.found: dict[str, object] = {}
        for source in sources:
            depth: dict[str, int] = {}
            for path, value in _walk(source):
                key = re.sub(r"[^a-z0-9]", "", re.split(r"[./:]", path[-1].lower())[-1])
                key += _LIST if isinstance(value, list | tuple) else ""
                if (plain := _plain(value)) is None or (key in self.found and key not in depth):
                    continue
                if len(path) < depth.get(key, DEPTH + 1):  # an outer field says more than one within
                    self.found[key], depth[key] = plain, len(path)

    def _values(self, names: tuple[str, ...]) -> Iterator[object]:
        return (self.found[name] for name in names if name in self.found)

    def text(self, names: tuple[str, ...]) -> str:
        return next((str(value) for value in self._values(names) if not isinstance(value, bool)), "")

    def number(self, names: tuple[str, ...], least: float, most: float) -> float | None:
        """The first value within [least, most]; of a clock with a partition, `1/397506434.12`, what is after it."""
        for value in self._values(names):
            if isinstance(value, bool):
                continue
            try:
                number = float(str(value).rpartition("/")[2])
            except ValueError:
                continue
            if least <= number <= most:  # not of NaN
                return number
        return None

    def whole(self, names: tuple[str, ...], least: int, most: int) -> int | None:
        number = self.number(names, least, most)
        return int(number) if number is not None and number.is_integer() else None

    def says(self, names: tuple[str, ...], words: tuple[str, ...]) -> bool:
        return any(str(value).lower() in words for value in self._values(names))

    def moment(self, names: tuple[str, ...]) -> str:
        """A time, as UTC to the millisecond, so that texts compare as times do."""
        for value in self._values(names):
            text = str(value)
            text = re.sub(r"^(\d{4}):(\d\d):(\d\d)", r"\1-\2-\3", text, flags=re.ASCII)  # as EXIF writes days
            if not re.match(r"\d{4}-\d", text, flags=re.ASCII):
                continue
            try:
                of_year = re.match(r"\d{4}-\d{3}T\d\d:\d\d:\d\d", text, flags=re.ASCII)
                when = datetime.strptime(of_year[0], "%Y-%jT%H:%M:%S") if of_year else datetime.fromisoformat(text)
                when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
            except (ValueError, OverflowError):
                continue
            return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return ""

    def link(self, names: tuple[str, ...]) -> str:
        texts = (str(value) for value in self._values(names))
        return next((text for text in texts if re.fullmatch(r"https?://[^\s\"'<>\\]+", text)), "")


def _walk(source: object) -> Iterator[tuple[tuple[str, ...], object]]:
    """The leaves of nested mappings with their paths, at most FIELDS of them."""
    left = FIELDS
    stack: list[tuple[tuple[str, ...], Iterator[tuple[object, object]]]] = []
    if isinstance(source, Mapping):
        stack.append(((), iter(source.items())))
    while stack:
        path, items = stack[-1]
        item = next(items, None)
        if item is None:
            stack.pop()
            continue
        left -= 1
        if left < 0:
            return
        key, value = item
        if not isinstance(key, str) or not (key := _clean(key[-LENGTH:])):
            continue
        if isinstance(value, Mapping):
            if len(path) + 1 < DEPTH:
                stack.append(((*path, key), iter(value.items())))
        else:
            yield (*path, key), value


def _plain(value: object) -> str | int | float | bool | None:
    """A value as text, number or truth; None where it says nothing. Lists become JSON text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 10**18 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        try:
            value = json.dumps(value) if 0 < len(value) <= 64 else None
        except (TypeError, ValueError, RecursionError):
            return None
    if not isinstance(value, str):
        return None
    text = _clean(value)
    return None if text.lower() in _ABSENT else text


def _clean(text: object) -> str:
    """Text without control characters, lone surrogates and the like, no longer than LENGTH."""
    part = str(text)[: 4 * LENGTH]
    return (
        (part if part.isprintable() else "".join(c if c.isprintable() else " " for c in part)).strip()[:LENGTH].strip()
    )
