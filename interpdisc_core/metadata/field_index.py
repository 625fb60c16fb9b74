"""Fields of nested records and labels, found by name, with values that are clean or missing.

Records may hold anything. Fields are found by the last part of their path, in any case and punctuation. What cannot be
read is missing, and never an error.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from interpdisc_core.metadata.untrusted import MISSING_TEXTS, as_utc, normalize_field_name, parse_iso_time

MAX_FIELDS = 4096
"""Fields of a record that are read, in its own order."""
MAX_DEPTH = 6
"""Levels of nesting that are read."""
MAX_TEXT_LENGTH = 300
"""Longest text; longer ones are cut."""
LIST_MARK = "[]"
"""Ends the key of a field whose value is a list."""


class FieldIndex:
    """Values of several sources by the last part of their path; the first source that has a value counts."""

    def __init__(self, sources: Iterable[Mapping[str, Any]]) -> None:
        self.values: dict[str, object] = {}
        for source in sources:
            depth: dict[str, int] = {}
            for path, value in iter_record_leaves(source):
                key = normalize_field_name(re.split(r"[./:]", path[-1])[-1])
                key += LIST_MARK if isinstance(value, list | tuple) else ""
                if (cleaned := clean_value(value)) is None or (key in self.values and key not in depth):
                    continue
                if len(path) < depth.get(key, MAX_DEPTH + 1):  # outer fields come before inner ones
                    self.values[key], depth[key] = cleaned, len(path)

    def _values(self, names: tuple[str, ...]) -> Iterator[object]:
        return (self.values[name] for name in names if name in self.values)

    def get_text(self, names: tuple[str, ...]) -> str:
        """The first value as text; empty if there is none."""
        return next((str(value) for value in self._values(names) if not isinstance(value, bool)), "")

    def get_number(self, names: tuple[str, ...], minimum: float, maximum: float) -> float | None:
        """The first number within [minimum, maximum]; of a clock such as `1/397506434.12` the part after the partition."""
        for value in self._values(names):
            if isinstance(value, bool):
                continue
            try:
                number = float(str(value).rpartition("/")[2])
            except ValueError:
                continue
            if minimum <= number <= maximum:  # False for NaN
                return number
        return None

    def get_integer(self, names: tuple[str, ...], minimum: int, maximum: int) -> int | None:
        """As `get_number`, if it is a whole number."""
        number = self.get_number(names, minimum, maximum)
        return int(number) if number is not None and number.is_integer() else None

    def matches_any(self, names: tuple[str, ...], words: tuple[str, ...]) -> bool:
        """Whether a value, in lower case, is one of `words`."""
        return any(str(value).lower() in words for value in self._values(names))

    def get_utc_time(self, names: tuple[str, ...]) -> str:
        """A time in UTC to the millisecond, as text that compares as times do; empty if there is none."""
        for value in self._values(names):
            text = str(value)
            text = re.sub(r"^(\d{4}):(\d\d):(\d\d)", r"\1-\2-\3", text, flags=re.ASCII)  # a date as in EXIF
            if not re.match(r"\d{4}-\d", text, flags=re.ASCII):
                continue
            if time := _parse_day_of_year(text) or parse_iso_time(text):
                return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return ""

    def get_link(self, names: tuple[str, ...]) -> str:
        """The first http or https URL; empty if there is none."""
        texts = (str(value) for value in self._values(names))
        return next((text for text in texts if re.fullmatch(r"https?://[^\s\"'<>\\]+", text)), "")


def _parse_day_of_year(text: str) -> datetime | None:
    """A time such as 2012-236T10:20:30.5, to the second; None if the text is not one."""
    match = re.match(r"\d{4}-\d{3}T\d\d:\d\d:\d\d", text, flags=re.ASCII)
    try:
        return as_utc(datetime.strptime(match[0], "%Y-%jT%H:%M:%S")) if match else None
    except ValueError:
        return None


def iter_record_leaves(source: object) -> Iterator[tuple[tuple[str, ...], object]]:
    """The leaves of nested mappings with their paths, at most `MAX_FIELDS`."""
    fields_left = MAX_FIELDS
    stack: list[tuple[tuple[str, ...], Iterator[tuple[object, object]]]] = []
    if isinstance(source, Mapping):
        stack.append(((), iter(source.items())))
    while stack:
        path, items = stack[-1]
        item = next(items, None)
        if item is None:
            stack.pop()
            continue
        fields_left -= 1
        if fields_left < 0:
            return
        key, value = item
        if not isinstance(key, str) or not (key := clean_text(key[-MAX_TEXT_LENGTH:])):
            continue
        if isinstance(value, Mapping):
            if len(path) + 1 < MAX_DEPTH:
                stack.append(((*path, key), iter(value.items())))
        else:
            yield (*path, key), value


def clean_value(value: object) -> str | int | float | bool | None:
    """A value as text, number or boolean; None if it is missing. Lists become JSON text."""
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
    text = clean_text(value)
    return None if text.lower() in MISSING_TEXTS else text


def clean_text(text: object) -> str:
    """Printable text of at most `MAX_TEXT_LENGTH` characters: control characters and lone surrogates become spaces."""
    part = str(text)[: 4 * MAX_TEXT_LENGTH]
    return (
        (part if part.isprintable() else "".join(c if c.isprintable() else " " for c in part))
        .strip()[:MAX_TEXT_LENGTH]
        .strip()
    )
