"""Fields of a JSON object as what they should be, or as nothing: a page comes out whatever is in there."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of a frame, from its top left corner."""


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of which nothing is certain."""

    of: Mapping[str, Any]

    def text(self, name: str) -> str:
        """As text; empty where there is nothing."""
        return _text(self.of.get(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty where it is no list."""
        value = self.of.get(name)
        return tuple(_text(one) for one in value) if isinstance(value, list | tuple) else ()

    def listed(self, name: str) -> str:
        """A list of texts, or one text, on one line."""
        return ", ".join(self.texts(name)) if isinstance(self.of.get(name), list | tuple) else self.text(name)

    def number(self, name: str) -> float | None:
        """A finite number, or None."""
        return _number(self.of.get(name))

    def whole(self, name: str) -> int | None:
        """A number without what is after its point, or None; also None where a float does not hold it exactly."""
        return _whole(self.of.get(name))

    def count(self, name: str) -> int:
        """The same, 0 where there is none."""
        return self.whole(name) or 0

    def wholes(self, name: str, many: int) -> tuple[int, ...] | None:
        """That many whole numbers, or None."""
        value = self.of.get(name)
        if not isinstance(value, list | tuple) or len(value) != many:
            return None
        numbers = [number for one in value if (number := _whole(one)) is not None]
        return tuple(numbers) if len(numbers) == many else None

    def box(self, name: str) -> Box | None:
        """A box of at least one pixel, or None."""
        found = self.wholes(name, 4)
        return (found[0], found[1], found[2], found[3]) if found and found[2] > 0 and found[3] > 0 else None

    def table(self, name: str) -> dict[str, Any]:
        """An object as it is; empty where it is none."""
        value = self.of.get(name)
        return {str(key): one for key, one in value.items()} if isinstance(value, Mapping) else {}

    def numbers(self, name: str) -> dict[str, float]:
        """The fields of an object that are numbers."""
        return {key: number for key, value in self.table(name).items() if (number := _number(value)) is not None}

    def counts(self, name: str) -> dict[str, int]:
        """The fields of an object as whole numbers."""
        return {key: _whole(value) or 0 for key, value in self.table(name).items()}

    def within(self, name: str) -> "Fields":
        """An object's fields."""
        return Fields(self.table(name))

    def each(self, name: str) -> list["Fields"]:
        """The objects of a list."""
        value = self.of.get(name)
        return [Fields(one) for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or abs(number) > 2**53 else int(number)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
