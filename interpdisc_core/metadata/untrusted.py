"""Values of records and labels that anybody may have written: JSON, field names, times.

Nothing here raises more than the one error that its docstring names.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

MISSING_FEED_TEXTS = frozenset({"", "unk", "null", "none", "n/a"})
"""Texts, in lower case, that mean a missing value in a feed's record. Names in the inbox depend on these: keep them."""
MISSING_TEXTS = MISSING_FEED_TEXTS | {
    "unknown",
    "na",
    "nan",
    "nil",
    "-",
    "--",
    "undefined",
    "not applicable",
}
"""Texts, in lower case, that mean a missing value in any record or label."""


def load_untrusted_json(
    data: bytes | str,
    *,
    parse_constant: Callable[[str], Any] | None = str,
    parse_int: Callable[[str], Any] | None = None,
) -> Any:
    """A JSON value.

    Args:
        data: JSON text.
        parse_constant: Makes a value of `NaN`, `Infinity` and `-Infinity`; by default their text, None: a float.
        parse_int: Makes a value of an integer's digits; None: int.

    Raises:
        ValueError: If it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(data, parse_constant=parse_constant, parse_int=parse_int)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def normalize_field_name(name: str) -> str:
    """A field's name by its letters and digits alone.

    Example:
        >>> {normalize_field_name(name) for name in ("date_received", "dateReceived", "DATE-RECEIVED")}
        {'datereceived'}
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def parse_iso_time(text: str) -> datetime | None:
    """An ISO 8601 time in UTC; one without a zone is taken as UTC. None if it cannot be read."""
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def as_utc(time: datetime) -> datetime:
    """The same time in UTC; one without a zone is taken as UTC.

    Raises:
        OverflowError: If it is outside of the years 1 to 9999 in UTC.
    """
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
