"""Dataclasses to JSON and back. Reading never fails: what is missing or of another kind becomes the field's empty value.

For records that pages show, which may be old, damaged or hostile. Records that decide something are read strictly.
"""

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache, partial
from typing import Any, TypeVar

from interpdisc_core.archive.disk_names import use_current_names

_Record = TypeVar("_Record")
_Reader = Callable[[Any], Any]
"""Converts a JSON value; None if it is not of the kind."""
_MAX_EXACT_INTEGER = 2**53
"""Beyond this a float does not hold every integer."""


def read_record(cls: type[_Record], value: object, old_names: Mapping[str, str] | None = None) -> _Record:
    """An object of a dataclass from a JSON value. Never raises.

    Args:
        cls: A dataclass whose fields are texts, numbers, booleans, tuples, dictionaries or such dataclasses. A nested
            class with a `from_json` is read by it.
        value: Any JSON value. A field that is missing, null or of another kind gets its default, else the empty value
            of its type: "", 0, False, (), {} or None. Numbers that are not finite count as missing.
        old_names: Today's field names by those of older files. Today's name is used if an object has both.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Neighbor:
        ...     id: str
        ...     distance: float | None
        >>> read_record(Neighbor, {"name": "a.png", "distance": "far"}, {"name": "id"})
        Neighbor(id='a.png', distance=None)
    """
    values = use_current_names(value, old_names or {}) if isinstance(value, Mapping) else {}
    record = {}
    for name, (read, empty) in _field_readers(cls).items():  # type: ignore[arg-type]
        converted = None if values.get(name) is None else read(values[name])
        record[name] = empty() if converted is None else converted
    return cls(**record)


def record_to_json(value: Any) -> Any:
    """The JSON value that `read_record` reads back to an equal object. Fields that have their default are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: record_to_json(getattr(value, item.name))
            for item in fields(value)
            if getattr(value, item.name) != _default(item)
        }
    if isinstance(value, Mapping):
        return {str(name): record_to_json(item) for name, item in value.items()}
    return [record_to_json(item) for item in value] if isinstance(value, list | tuple) else value


def _default(item: "Field[Any]") -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


@cache
def _field_readers(cls: type) -> dict[str, tuple[_Reader, Callable[[], Any]]]:
    """Of each field: how it is read, and what makes its empty value."""
    hints = typing.get_type_hints(cls)
    readers = {}
    for item in fields(cls):
        read, make_empty = _make_reader(hints[item.name])
        has_default = _default(item) is not MISSING
        readers[item.name] = (read, partial(_default, item) if has_default else make_empty)
    return readers


def _make_reader(hint: Any) -> tuple[_Reader, Callable[[], Any]]:
    """How a type is read, and what makes its empty value."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return _make_optional_reader(inner), lambda: None
    if origin is tuple and arguments[-1] is Ellipsis:
        read_item, make_empty = _make_reader(arguments[0])
        return lambda value: _read_items(value, read_item, make_empty, is_dataclass(arguments[0])), tuple
    if origin is tuple:
        read_item, _ = _make_reader(arguments[0])
        return lambda value: _read_fixed(value, read_item, len(arguments)), lambda: None
    if origin is dict:
        read_value, _ = _make_reader(arguments[1])
        return lambda value: _read_values(value, read_value, keep_null=arguments[1] is Any), dict
    if isinstance(hint, type) and is_dataclass(hint):
        read = getattr(hint, "from_json", lambda value: read_record(hint, value))
        return lambda value: read(value) if isinstance(value, Mapping) else None, lambda: read({})
    simple: dict[Any, tuple[_Reader, Callable[[], Any]]] = {
        str: (str, str),
        int: (_read_integer, int),
        float: (_read_number, float),
        bool: (bool, bool),
        Any: (lambda value: value, lambda: None),
    }
    return simple[hint]


def _make_optional_reader(hint: Any) -> _Reader:
    """As the type itself, but an empty text is None, and only true and false are booleans."""
    if hint is bool:
        return lambda value: value if isinstance(value, bool) else None
    read, _ = _make_reader(hint)
    return (lambda value: str(value) or None) if hint is str else read


def _read_items(value: Any, read: _Reader, make_empty: Callable[[], Any], drop_others: bool) -> tuple[Any, ...] | None:
    """The items of a list. Those of another kind are dropped where objects are expected, else empty."""
    if not isinstance(value, list | tuple):
        return None
    items = [None if item is None else read(item) for item in value]
    return tuple(make_empty() if item is None else item for item in items if item is not None or not drop_others)


def _read_fixed(value: Any, read: _Reader, length: int) -> tuple[Any, ...] | None:
    """A list of that many items, each of the right kind."""
    items = tuple(read(item) for item in value) if isinstance(value, list | tuple) and len(value) == length else ()
    return items if items and all(item is not None for item in items) else None


def _read_values(value: Any, read: _Reader, keep_null: bool) -> dict[str, Any] | None:
    """The members of an object that are of the right kind."""
    if not isinstance(value, Mapping):
        return None
    converted = {str(name): None if item is None else read(item) for name, item in value.items()}
    return {name: item for name, item in converted.items() if keep_null or item is not None}


def _read_integer(value: Any) -> int | None:
    """Without what is after the point."""
    number = _read_number(value)
    return None if number is None or abs(number) > _MAX_EXACT_INTEGER else int(number)


def _read_number(value: Any) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
