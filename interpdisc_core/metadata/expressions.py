"""The filter language of `--where`: expressions on the images' metadata, such as `sol > 800 and instrument == 'MAST_LEFT'`.

The syntax is Python's, but nothing is ever executed: comparisons (`==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`), `and`,
`or`, `not`, numbers, texts, True and False, lists of these, and names of fields. Two sides that are numbers, or texts of
numbers, compare as numbers; two texts as texts; a number and another text are only `!=`. `'a' in name` is true if the
field contains the text. A comparison with a missing field (absent, empty, NaN) is false, also `!=`.
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
"""Values (N,) by the name of the field; None, an empty text and NaN are missing."""


class _Operand(NamedTuple):
    """A value as text and, if possible, as a number; `is_text` if it was given as text."""

    text: str
    number: int | float | None
    is_text: bool


_ValueGetter = Callable[[int], _Operand | None]
"""Returns a row's value; None if it is missing."""
_RowTest = Callable[[int], bool]

_OPERATORS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_MAX_SHOWN = 40


def match_expression(expression: str, columns: Columns) -> npt.NDArray[np.bool_]:
    """Which rows an expression selects.

    Args:
        expression: See the module's docstring.
        columns: Values (N,) by field; the expression names fields as `to_identifier` does.

    Returns:
        (N,) True where the expression holds.

    Raises:
        PlanError: If the expression is invalid or names an unknown field.

    Example:
        >>> match_expression("sol > 9.5", {"sol": ["9", "10", None]}).tolist()
        [False, True, False]
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        test = _ExpressionCompiler(expression, columns).compile_test(tree)
        count = len(next(iter(columns.values()), ()))
        return np.fromiter((test(row) for row in range(count)), dtype=bool, count=count)
    except SyntaxError as error:
        raise PlanError(
            f"expression {expression!r}: invalid syntax ({error.msg}); write for example "
            "sol > 800 and instrument == 'MAST_LEFT'."
        ) from None
    except (RecursionError, MemoryError):
        raise PlanError(f"expression {expression[:_MAX_SHOWN]!r}…: nested too deeply.") from None
    except ValueError as error:  # a zero byte
        raise error if isinstance(error, PlanError) else PlanError(f"expression {expression!r}: {error}.") from None


def check_expression(expression: str) -> None:
    """Check an expression without images: all but whether its fields exist. An empty one is valid.

    Raises:
        PlanError: If it is invalid.

    Example:
        >>> check_expression("sol >")
        Traceback (most recent call last):
        ...
        interpdisc_core.errors.PlanError: expression 'sol >': invalid syntax (...); write for example ...
    """
    if expression:
        match_expression(expression, dict.fromkeys(find_fields(expression), ()) or {"": ()})


def find_fields(expression: str) -> set[str]:
    """The names in an expression; none if it cannot be parsed, which `match_expression` reports."""
    try:
        return {node.id for node in ast.walk(ast.parse(expression.strip(), mode="eval")) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


def to_identifier(field: str) -> str:
    """The name of a field in an expression.

    Example:
        >>> [to_identifier(field) for field in ("Site Drive", "class", "2d")]
        ['Site_Drive', 'class_', '_2d']
    """
    name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", field))
    name = name if name and not name[0].isdigit() else f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


class _ExpressionCompiler:
    """Turns the parts of an expression into functions of a row."""

    def __init__(self, expression: str, columns: Columns) -> None:
        self.expression, self.columns = expression, columns
        self.fields: dict[str, list[str]] = {}
        for field in columns:
            self.fields.setdefault(to_identifier(field), []).append(field)
        self.operands: dict[str, list[_Operand | None]] = {}

    def compile_test(self, node: ast.expr) -> _RowTest:
        """The test of a condition."""
        if isinstance(node, ast.BoolOp):
            tests, is_and = [self.compile_test(value) for value in node.values], isinstance(node.op, ast.And)
            return lambda row: all(t(row) for t in tests) if is_and else any(t(row) for t in tests)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.compile_test(node.operand)
            return lambda row: not inner(row)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = [
                self.compile_comparison(left, op, right)
                for left, op, right in zip(sides, node.ops, sides[1:], strict=False)
            ]
            return lambda row: all(pair(row) for pair in pairs)
        raise self.build_error(node, "a comparison is needed here")

    def compile_comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _RowTest:
        """The test of one comparison."""
        if isinstance(op, ast.In | ast.NotIn):
            return self.compile_membership(left, right, isinstance(op, ast.In))
        if type(op) not in _OPERATORS:
            raise self.build_error(right, "`is` is not a comparison of values; use == or !=")
        left_value, right_value, compare = self.compile_value(left), self.compile_value(right), _OPERATORS[type(op)]
        unequal = isinstance(op, ast.NotEq)
        return lambda row: _compare(left_value(row), right_value(row), compare, unequal)

    def compile_membership(self, left: ast.expr, right: ast.expr, is_in: bool) -> _RowTest:
        """The test of `in` or `not in`, in a list or a text."""
        item = self.compile_value(left)
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            choices = [self.compile_value(element) for element in right.elts]

            def test_member(row: int) -> bool:
                value = item(row)
                is_member = any(_compare(value, choice(row), operator.eq, False) for choice in choices)
                return value is not None and is_member is is_in

            return test_member
        text = self.compile_value(right)

        def test_substring(row: int) -> bool:
            content, container = item(row), text(row)
            return content is not None and container is not None and (content.text in container.text) is is_in

        return test_substring

    def compile_value(self, node: ast.expr) -> _ValueGetter:
        """The value of a field or constant."""
        if isinstance(node, ast.Name):
            column = self.read_field(node.id)
            return lambda row: column[row]
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            sign, node = (-1 if isinstance(node.op, ast.USub) else 1), node.operand
            if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
                raise self.build_error(node, "a sign needs a number")
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
            literal = node.value if isinstance(node.value, str) else sign * node.value
            constant = _Operand("", None, True) if literal == "" else _make_operand(literal)
            return lambda row: constant
        raise self.build_error(node, "only fields, numbers, texts and lists of these can be compared")

    def read_field(self, name: str) -> list[_Operand | None]:
        """A field's operands (N,)."""
        if name not in self.operands:
            matches = self.fields.get(name, [])
            if not matches:
                raise PlanError(
                    f"expression {self.expression!r}: there is no field {name!r}; choose from {_join_names(list(self.fields))}."
                )
            if len(matches) > 1:
                raise PlanError(
                    f"expression {self.expression!r}: {name!r} is ambiguous: {' or '.join(map(repr, matches))}."
                )
            self.operands[name] = [_make_operand(value) for value in self.columns[matches[0]]]
        return self.operands[name]

    def build_error(self, node: ast.expr, reason: str) -> PlanError:
        source_text = ast.get_source_segment(self.expression.strip(), node) or "this"
        return PlanError(f"expression {self.expression!r}: {source_text[:_MAX_SHOWN]!r} is not allowed here; {reason}.")


def _make_operand(value: object) -> _Operand | None:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float):
        return _Operand(str(value), value, False)
    isoformat = getattr(value, "isoformat", None)  # dates and times compare as ISO 8601 writes them
    text = isoformat() if isoformat else str(value)
    return _Operand(text, _parse_number(text), True)


def _parse_number(text: str) -> int | float | None:
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else None


def _compare(left: _Operand | None, right: _Operand | None, compare: Callable[[Any, Any], bool], unequal: bool) -> bool:
    if left is None or right is None:
        return False
    if left.number is not None and right.number is not None:
        return compare(left.number, right.number)
    return compare(left.text, right.text) if left.is_text and right.is_text else unequal


def _join_names(names: list[str]) -> str:
    return ", ".join(names[:_MAX_SHOWN]) + (f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else "")
