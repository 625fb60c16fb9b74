"""How settings are declared: frozen dataclasses whose ranges are checked and whose unknown fields are refused."""

import difflib
import operator
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar, dataclass_transform

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from interpdisc_core.errors import PlanError

_Settings = TypeVar("_Settings")
_COMPARISONS: dict[type, tuple[Callable[[Any, Any], Any], str]] = {
    Ge: (operator.ge, "ge"),
    Gt: (operator.gt, "gt"),
    Le: (operator.le, "le"),
    Lt: (operator.lt, "lt"),
}


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def settings(cls: type[_Settings]) -> type[_Settings]:
    """Declare a class of settings: a frozen dataclass with keyword arguments only.

    A range in an annotation, such as ``Annotated[int, Field(ge=1)]``, is checked whenever an object is made, also
    without pydantic, and before the class's own ``__post_init__``. JSON with fields that the class does not have is
    refused by `parse_settings`.

    Raises:
        PlanError: When an object is made, if a value is outside of its range.

    Example:
        >>> from pydantic import Field
        >>> @settings
        ... class Smoothing:
        ...     radius: typing.Annotated[int, Field(ge=1)] = 3
        >>> Smoothing(radius=0)
        Traceback (most recent call last):
        ...
        interpdisc_core.errors.PlanError: smoothing: radius must be at least 1, not 0.
    """
    own: Callable[[Any], None] | None = getattr(cls, "__post_init__", None)

    def check(self: Any) -> None:
        _check_ranges(self)
        if own is not None:
            own(self)

    cls.__post_init__ = check  # type: ignore[attr-defined]
    cls.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


def parse_settings(adapter: TypeAdapter[_Settings], value: Any, context: str) -> _Settings:
    """Settings from their JSON value.

    Args:
        adapter: Of the class, or of the union of classes, that is expected.
        value: What `json.loads` returned.
        context: Where the value comes from, for error messages: a path, or what it is.

    Raises:
        PlanError: If the value is not one of these settings; names the field, and the nearest known one.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, PlanError):  # a class's own check, with a message of its own
            raise PlanError(f"{context}: {path}: {cause}" if path else f"{context}: {cause}") from error
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            raise PlanError(f"{context}: there is no field {path!r}{_suggest(adapter, first['loc'])}.") from error
        if first["type"] == "missing":
            raise PlanError(f"{context}: the field {path!r} is missing.") from error
        if first["type"] == "union_tag_invalid":
            kinds = first.get("ctx", {}).get("expected_tags", "")
            tag = first.get("ctx", {}).get("tag", "")
            raise PlanError(f"{context}: {path or 'it'}: there is no kind {tag!r}; choose from {kinds}.") from error
        raise PlanError(f"{context}: {path or 'the whole'}: {first['msg']} (given: {first.get('input')!r}).") from error


def _suggest(adapter: TypeAdapter[Any], location: tuple[int | str, ...]) -> str:
    """The nearest known field, as the end of a sentence, or nothing."""
    names = _field_names(adapter.json_schema(), str(location[-2]) if len(location) > 1 else "")
    close = difflib.get_close_matches(str(location[-1]), sorted(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}" if close else ""


def _field_names(schema: dict[str, Any], kind: str) -> set[str]:
    """The fields of the top class of a JSON schema, or of the class with this `kind`, if one has it."""
    definitions = schema.get("$defs", {})
    for definition in definitions.values():
        properties = definition.get("properties", {})
        if kind and properties.get("kind", {}).get("const") == kind:
            return set(properties)
    top = definitions.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return set(top.get("properties", {}))


def _check_ranges(value: Any) -> None:
    cls = type(value)
    for name, bounds in _ranges(cls).items():  # type: ignore[arg-type]
        number = getattr(value, name)
        if isinstance(number, int | float) and not all(_is_within(number, bound) for bound in bounds):
            label = getattr(cls, "kind", None) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()
            raise PlanError(f"{label}: {name} must be {_describe(bounds)}, not {number}.")


@cache
def _ranges(cls: type) -> dict[str, tuple[Any, ...]]:
    """The bounds of each field that has any."""
    hints = typing.get_type_hints(cls, include_extras=True)
    ranges = {item.name: tuple(_bounds(hints[item.name])) for item in fields(cls)}
    return {name: bounds for name, bounds in ranges.items() if bounds}


def _bounds(hint: Any) -> list[Any]:
    """The bounds in an annotation, also within a union such as ``Annotated[…] | None``."""
    if typing.get_origin(hint) is typing.Annotated:
        marks = [mark for item in hint.__metadata__ for mark in getattr(item, "metadata", [item])]
        return [mark for mark in marks if isinstance(mark, Ge | Gt | Le | Lt)]
    return [bound for part in typing.get_args(hint) for bound in _bounds(part)]


def _is_within(value: float, bound: Any) -> bool:
    compare, name = _COMPARISONS[type(bound)]
    return bool(compare(value, getattr(bound, name)))


def _describe(bounds: tuple[Any, ...]) -> str:
    words = {Ge: "at least {}", Gt: "above {}", Le: "at most {}", Lt: "below {}"}
    return " and ".join(words[type(bound)].format(getattr(bound, _COMPARISONS[type(bound)][1])) for bound in bounds)
