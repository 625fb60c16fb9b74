"""What the numbers of a day say, in words."""

import math
import re

from interpdisc_core.pages import count, number
from interpdisc_core.site.day import Day, Stratum


def title(day: str, sol: int | None) -> str:
    """`sol-00812` as Sol 812, `date-2026-11-24` as 24 November 2026; anything else as it is."""
    if sol is not None:
        return f"Sol {sol}"
    if found := re.fullmatch(r"sol-0*(\d{1,9})", day):
        return f"Sol {found[1]}"
    if found := re.fullmatch(r"date-(\d{4})-(\d{2})-(\d{2})", day):
        month = int(found[2])
        return f"{int(found[3])} {_MONTHS[month - 1]} {found[1]}" if 1 <= month <= 12 else day
    return "Undated images" if day == "undated" else day


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def span(day: Day) -> str:
    """What a day is compared with, in words: the last 30 sols, sol 811, nothing yet."""
    days = day.horizon_days
    if not days:
        return "nothing yet"
    if len(days) == 1:
        return title(days[0], None).replace("Sol", "sol")
    kind = "sols" if all(one.startswith("sol-") for one in days) else "days"
    earlier = {
        "site": f"the {count(len(days))} earlier {kind} at this site",
        "mission": f"all {count(len(days))} earlier {kind}",
    }
    return earlier.get(day.horizon_kind, f"the last {count(len(days))} {kind}")


def rarity(share: float | None, day: Day) -> str:
    """How rare an image that is at least this new is in the horizon. share: of the horizon's images, 0 to 1."""
    if share is None:
        return "no calibration yet"
    of = span(day)
    if share <= 0:
        images = f"{count(day.horizon_images)} images of " if day.horizon_images else ""
        return f"newer than any of the {images}{of}" if images else f"newer than anything of {of}"
    if share >= 0.2:
        return f"{100 * min(share, 1):.0f} % of the images of {of} scored this high"
    return f"1 in {count(_rounded(1 / share))} of the images of {of} scored this high"


def rarity_among(share: float) -> str:
    """The same beside the images of a stratum's horizon, in short."""
    if share <= 0:
        return "newer than any of these"
    return (
        f"{100 * min(share, 1):.0f} % of these scored this high"
        if share >= 0.2
        else f"1 in {count(_rounded(1 / share))} of these"
    )


def expected(alarms: float | None) -> str:
    """How often an image at least this new is to be expected. alarms: a day."""
    if alarms is None:
        return ""
    if alarms <= 0:
        return "none is expected on any day"
    if alarms >= 1:
        return f"about {number(alarms, 2)} a day are expected"
    return f"one in {count(max(_rounded(1 / alarms), 2))} days is expected"


def spike(one: Stratum) -> str:
    """More that is new than usual, with the numbers that say so."""
    usual = "" if one.expected_alarms is None else f", where {number(one.expected_alarms, 2)} are usual"
    images = "image is" if one.alarms == 1 else "images are"
    return f"{count(one.alarms)} {images} beyond the threshold{usual}"


def rare(day: Day) -> int | None:
    """How many picks are rarer than one a day; None where nothing is calibrated."""
    known = [pick.alarms_a_day for pick in day.picks if pick.alarms_a_day is not None]
    return sum(alarms < 1 for alarms in known) if known else None


def stamp(text: str) -> str:
    """An ISO time as people read it, to the minute; anything else as it is."""
    found = re.match(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(?::\d{2}(?:\.\d+)?)?(Z|\+00:00)?$", text)
    return f"{found[1]} {found[2]}{' UTC' if found[3] else ''}" if found else text


def degrees(angle: float) -> str:
    """An angle with one digit after the point."""
    return f"{angle:.1f}°".replace("-", "−")


def _rounded(value: float) -> int:
    """Two significant digits."""
    if not math.isfinite(value):
        return 10**15
    places = max(math.floor(math.log10(value)) - 1, 0) if value >= 1 else 0
    unit = int(10**places)
    return round(value / unit) * unit


def percent(share: float) -> str:
    """A share in percent; 100 % only where it is all of it."""
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{'99.9' if text == '100' and share < 1 else text} %"


def signed(value: int) -> str:
    """A difference with its sign."""
    return f"{value:+,}".replace("-", "−") if value else "0"


def verdict_class(verdict: str) -> str:
    """A verdict as the page's style knows it; nothing for any other word."""
    return verdict if verdict in ("known", "interesting", "boring", "artefact") else ""
