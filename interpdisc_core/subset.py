"""A subset by what is known of the images: an expression such as `sol > 800 and instrument == 'MAST_LEFT'`.

It is read as Python writes it and never run: comparisons (`==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`), `and`, `or`,
`not`, numbers, text, True and False, lists of these, and the names of fields. Two sides that are both numbers, or text that
reads as one, compare as numbers; two texts as texts; of a number and another text only `!=` is true. `'a' in name`:
the text occurs in the field. A comparison in which a field is missing (absent, empty, NaN) is false, `!=` too.
"""

import ast
import keyword
import math
import operator
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from interpdisc_core.errors import PlanError

Columns = Mapping[str, Sequence[object]]
"""Values (N,) of each field by name; None, an empty text and NaN are missing."""


class _Operand(NamedTuple):
    """A value as text and, where it is or reads as one, as a number. written: it is text, whatever it reads as."""

    text: str
    number: int | float | None
    written: bool


_Value = Callable[[int], _Operand | None]
"""A row's value; None where it is missing."""
_Test = Callable[[int], bool]

_ORDER: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_WHOLE = re.compile(r"[+-]?[0-9]{1,4000}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_SHOWN = 40


def matching(expression: str, columns: Columns) -> npt.NDArray[np.bool_]:
    """Where `expression` is true, (N,). Raises PlanError for one that is not of the form above, or names no field."""
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        test = _Reader(expression, columns).test(tree)
        count = len(next(iter(columns.values()), ()))
        return np.fromiter((test(row) for row in range(count)), dtype=bool, count=count)
    except SyntaxError as error:
        raise PlanError(
            f"expression {expression!r}: cannot be read ({error.msg}); write for example "
            "sol > 800 and instrument == 'MAST_LEFT'."
        ) from None
    except (RecursionError, MemoryError):
        raise PlanError(f"expression {expression[:_SHOWN]!r}…: it is nested too deeply.") from None
    except ValueError as error:  # a zero byte
        raise error if isinstance(error, PlanError) else PlanError(f"expression {expression!r}: {error}.") from None


def identifier(field: str) -> str:
    """What a field is called in an expression: `Site Drive` is `Site_Drive`, `class` is `class_`, `2d` is `_2d`."""
    name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", field))
    name = name if name and not name[0].isdigit() else f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


class _Reader:
    """Turns the parts of one expression into functions of a row."""

    def __init__(self, expression: str, columns: Columns) -> None:
        self.expression, self.columns = expression, columns
        self.fields: dict[str, list[str]] = {}
        for field in columns:
            self.fields.setdefault(identifier(field), []).append(field)
        self.operands: dict[str, list[_Operand | None]] = {}

    def test(self, node: ast.expr) -> _Test:
        """A condition."""
        if isinstance(node, ast.BoolOp):
            tests, every = [self.test(value) for value in node.values], isinstance(node.op, ast.And)
            return lambda row: all(t(row) for t in tests) if every else any(t(row) for t in tests)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.test(node.operand)
            return lambda row: not inner(row)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = [
                self.comparison(left, op, right)
                for left, op, right in zip(sides, node.ops, sides[1:], strict=False)
            ]  # fmt: skip
            return lambda row: all(pair(row) for pair in pairs)
        raise self.refused(node, "a comparison is needed there")

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Test:
        """One comparison of two sides."""
        if isinstance(op, ast.In | ast.NotIn):
            return self.membership(left, right, isinstance(op, ast.In))
        if type(op) not in _ORDER:
            raise self.refused(right, "`is` is not a comparison of values; use == or !=")
        one, two, holds = self.value(left), self.value(right), _ORDER[type(op)]
        unequal = isinstance(op, ast.NotEq)
        return lambda row: _compared(one(row), two(row), holds, unequal)

    def membership(self, left: ast.expr, right: ast.expr, wanted: bool) -> _Test:
        """`in` and `not in`, of a list or of a text."""
        item = self.value(left)
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            choices = [self.value(element) for element in right.elts]

            def among(row: int) -> bool:
                value = item(row)
                found = any(_compared(value, choice(row), operator.eq, False) for choice in choices)
                return value is not None and found is wanted

            return among
        text = self.value(right)

        def within(row: int) -> bool:
            part, whole = item(row), text(row)
            return part is not None and whole is not None and (part.text in whole.text) is wanted

        return within

    def value(self, node: ast.expr) -> _Value:
        """A field or a constant."""
        if isinstance(node, ast.Name):
            column = self.field(node.id)
            return lambda row: column[row]
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            sign, node = (-1 if isinstance(node.op, ast.USub) else 1), node.operand
            if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
                raise self.refused(node, "a sign needs a number")
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
            given = node.value if isinstance(node.value, str) else sign * node.value
            constant = _Operand("", None, True) if given == "" else _operand(given)
            return lambda row: constant
        raise self.refused(node, "only fields, numbers, texts and lists of these can be compared")

    def field(self, name: str) -> list[_Operand | None]:
        """A field's operands (N,)."""
        if name not in self.operands:
            called = self.fields.get(name, [])
            if not called:
                raise PlanError(
                    f"expression {self.expression!r}: there is no field {name!r}; there are {_listed(list(self.fields))}."
                )
            if len(called) > 1:
                raise PlanError(f"expression {self.expression!r}: {name!r} could be {' or '.join(map(repr, called))}.")
            self.operands[name] = [_operand(value) for value in self.columns[called[0]]]
        return self.operands[name]

    def refused(self, node: ast.expr, why: str) -> PlanError:
        part = ast.get_source_segment(self.expression.strip(), node) or "it"
        return PlanError(f"expression {self.expression!r}: {part[:_SHOWN]!r} cannot stand there; {why}.")


def _operand(value: object) -> _Operand | None:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float):
        return _Operand(str(value), value, False)
    moment = getattr(value, "isoformat", None)  # dates and times compare as ISO 8601 writes them
    text = moment() if moment else str(value)
    return _Operand(text, _number(text), True)


def _number(text: str) -> int | float | None:
    text = text.strip()
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else None


def _compared(one: _Operand | None, two: _Operand | None, holds: Callable[[Any, Any], bool], unequal: bool) -> bool:
    if one is None or two is None:
        return False
    if one.number is not None and two.number is not None:
        return holds(one.number, two.number)
    return holds(one.text, two.text) if one.written and two.written else unequal


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
