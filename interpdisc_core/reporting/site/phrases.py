"""The numbers of a day in words, for its page, the index and the feed."""

import math
import re

from interpdisc_core.archive.day_result import DayResult, StratumResult
from interpdisc_core.reporting.html import format_count, format_fixed, format_number


def format_day_title(day: str, sol: int | None) -> str:
    """The name of a day for people.

    Args:
        day: Name of the day.
        sol: Its sol, if known; else the name is parsed.

    Example:
        >>> format_day_title("date-2026-11-24", None), format_day_title("sol-00812", None)
        ('24 November 2026', 'Sol 812')
    """
    if sol is not None:
        return f"Sol {sol}"
    if match := re.fullmatch(r"sol-0*(\d{1,9})", day):
        return f"Sol {match[1]}"
    if match := re.fullmatch(r"date-(\d{4})-(\d{2})-(\d{2})", day):
        month = int(match[2])
        return f"{int(match[3])} {_MONTHS[month - 1]} {match[1]}" if 1 <= month <= 12 else day
    return "Undated images" if day == "undated" else day


_MAX_ROUNDED = 10**15
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def describe_horizon(day: DayResult) -> str:
    """What a day is compared with: "the last 30 sols", "sol 811", "nothing yet"."""
    days = day.horizon.days
    if not days:
        return "nothing yet"
    if len(days) == 1:
        return format_day_title(days[0], None).replace("Sol", "sol")
    kind = "sols" if all(name.startswith("sol-") for name in days) else "days"
    earlier = {
        "site": f"the {format_count(len(days))} earlier {kind} at this site",
        "mission": f"all {format_count(len(days))} earlier {kind}",
    }
    return earlier.get(day.horizon.kind, f"the last {format_count(len(days))} {kind}")


def describe_rarity(probability: float | None, day: DayResult) -> str:
    """How rare an image with at least this score is in the horizon.

    Args:
        probability: Share (0 to 1) of the horizon's images that scored as high; None if unknown.
        day: The day whose horizon it is.
    """
    if probability is None:
        return "no calibration yet"
    horizon_text = describe_horizon(day)
    if probability <= 0:
        images = f"{format_count(day.horizon.images)} images of " if day.horizon.images else ""
        return f"newer than any of the {images}{horizon_text}" if images else f"newer than anything of {horizon_text}"
    if probability >= 0.2:
        return f"{100 * min(probability, 1):.0f} % of the images of {horizon_text} scored this high"
    return f"1 in {format_count(_round_significant(1 / probability))} of the images of {horizon_text} scored this high"


def describe_stratum_rarity(probability: float) -> str:
    """The same for the images of a stratum's horizon, shorter."""
    if probability <= 0:
        return "newer than any of these"
    return (
        f"{100 * min(probability, 1):.0f} % of these scored this high"
        if probability >= 0.2
        else f"1 in {format_count(_round_significant(1 / probability))} of these"
    )


def describe_expected_rate(alarms: float | None) -> str:
    """How often an image with at least this score is expected.

    Args:
        alarms: Such images per day; None if unknown.
    """
    if alarms is None:
        return ""
    if alarms <= 0:
        return "none is expected on any day"
    if alarms >= 1:
        return f"about {format_number(alarms, 2)} a day are expected"
    return f"one in {format_count(max(_round_significant(1 / alarms), 2))} days is expected"


def describe_spike(stratum: StratumResult) -> str:
    """How many alarms a stratum has, and how many are usual."""
    usual = "" if stratum.expected_alarms is None else f", where {format_number(stratum.expected_alarms, 2)} are usual"
    images = "image is" if stratum.alarms == 1 else "images are"
    return f"{format_count(stratum.alarms)} {images} beyond the threshold{usual}"


def count_rare_picks(day: DayResult) -> int | None:
    """Number of picks rarer than one per day; None without calibration."""
    rates = [pick.alarms_a_day for pick in day.picks if pick.alarms_a_day is not None]
    return sum(alarms < 1 for alarms in rates) if rates else None


def format_timestamp(text: str) -> str:
    """An ISO time to the minute; other text unchanged."""
    match = re.match(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(?::\d{2}(?:\.\d+)?)?(Z|\+00:00)?$", text)
    return f"{match[1]} {match[2]}{' UTC' if match[3] else ''}" if match else text


def format_degrees(angle: float) -> str:
    """An angle in degrees with one decimal."""
    return f"{format_fixed(angle, 1)}°"


def _round_significant(value: float) -> int:
    """Rounded to two significant digits; at most 10¹⁵."""
    if not value < _MAX_ROUNDED:
        return _MAX_ROUNDED
    places = max(math.floor(math.log10(value)) - 1, 0) if value >= 1 else 0
    unit = int(10**places)
    return round(value / unit) * unit


def format_percent(share: float) -> str:
    """A share in percent; 100 % only if it is exactly 1."""
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{'99.9' if text == '100' and share < 1 else text} %"


def format_signed(value: int) -> str:
    """A difference with its sign."""
    return format_fixed(value, 0, signed=True) if value else "0"


def verdict_css_class(verdict: str) -> str:
    """The CSS class of a verdict; empty for other text."""
    return verdict if verdict in ("known", "interesting", "boring", "artefact") else ""
