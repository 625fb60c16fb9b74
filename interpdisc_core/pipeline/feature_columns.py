"""Which columns of a table are features, and why the others are not."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from interpdisc_core import sources
from interpdisc_core.errors import PlanError
from interpdisc_core.metadata.untrusted import load_untrusted_json

_INDEX_NAME = re.compile(
    r"(unnamed: \d+(_level_\d+)?|__index_level_\d+__|index|idx|row|rowid|row_?(number|num|nr|index|idx)|)",
    re.IGNORECASE,
)
_ID_NAME = re.compile(
    r"(?i:(.*[_ .-])?(id|uuid|guid))|.*[a-z]I[dD]|(?i:(sample|file|image|observation|frame)_?(number|nr|num|no|index|idx))"
)
_TIME_NAME = re.compile(
    r"((.*[_ .-])?(time_?stamp|datetime|date|utc|sclk)|time|epoch|[cm]time|(created|updated|modified|ingested)(_(at|on))?)",
    re.IGNORECASE,
)
"""Names that are bookkeeping as a whole: `exposure_time` and `refractive_index` may be features."""
_MAX_SHOWN_NAMES = 8


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """The columns of a table that are its features.

    Attributes:
        taken: Their names, in order; a single name of a column of lists, or of an array.
        left_out: Why each other column is none, by name; without the columns of ids and labels.
    """

    taken: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """A sentence for people; empty if the features have no names.

        Example:
            >>> FeatureColumns(("f0", "f1"), {"Unnamed: 0": "an index"}).describe()
            'features are the 2 columns f0, f1; left out: Unnamed: 0 (an index)'
        """
        if not self.taken:
            return ""
        count = f"the {len(self.taken):,} columns" if len(self.taken) > 1 else "the column"
        reasons = [f"{name or repr(name)} ({reason})" for name, reason in self.left_out.items()]
        left_out = f"; left out: {_abbreviate(reasons, _MAX_SHOWN_NAMES)}" if reasons else ""
        return f"features are {count} {_abbreviate(self.taken, _MAX_SHOWN_NAMES)}{left_out}"

    def check_background(self, name: str, background: "FeatureColumns", background_name: str) -> None:
        """Check that a background has the same columns in the same order: else other features would be compared.

        Raises:
            PlanError: If it has not; tables without named columns fit all.
        """
        if len(self.taken) < 2 or len(background.taken) < 2:
            return
        for mine, other in zip(self.taken, background.taken, strict=False):
            if mine != other:
                raise PlanError(
                    f"{background_name}: its columns of features are not those of {name}: where that has {mine!r}, it has "
                    f"{other!r}; give both tables the same columns in the same order."
                )


NO_COLUMNS = FeatureColumns()
"""Of features without names."""


def find_feature_columns(source: str, schema: Any, excluded_columns: set[str | None]) -> FeatureColumns:
    """The columns of features of a Parquet table: one of lists of numbers, or all of numbers that are no bookkeeping.

    Bookkeeping is an index (named by pandas' metadata, or by its name), an id or a time, a label or a path.

    Args:
        source: The table as the user gave it.
        schema: Its Arrow schema.
        excluded_columns: The columns of ids and labels.

    Raises:
        PlanError: If there are none, or several columns of lists.
    """
    lists = [f.name for f in schema if is_list(f.type) and _is_numeric(f.type.value_type)]
    if lists:
        if "features" not in lists and len(lists) > 1:
            raise PlanError(f"{source}: has several columns of lists ({', '.join(lists)}); call one `features`.")
        taken = "features" if "features" in lists else lists[0]
        others = [name for name in schema.names if name not in excluded_columns and name != taken]
        return FeatureColumns((taken,), dict.fromkeys(others, "beside the column of lists"))
    if len(set(schema.names)) < len(schema.names):
        repeated = next(name for name in schema.names if schema.names.count(name) > 1)
        raise PlanError(f"{source}: has several columns named {repeated!r}; give each its own name.")
    index_names = _read_pandas_index(schema.metadata or {})
    numbers, left_out = list[str](), dict[str, str]()
    for column in schema:
        if column.name in excluded_columns:
            continue
        if reason := _find_bookkeeping_reason(column, index_names):
            left_out[column.name] = reason
        else:
            numbers.append(column.name)
    if not numbers:
        raise PlanError(
            f"{source}: has no column of lists of numbers and no column of numbers that are features; it has "
            f"{_describe_columns(schema.names, left_out)}."
        )
    return FeatureColumns(tuple(numbers), left_out)


def is_list(kind: Any) -> bool:
    """Whether an Arrow type is one of lists."""
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_numeric(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _find_bookkeeping_reason(column: Any, index_names: set[str]) -> str:
    """Why a column is no feature; empty if it is one."""
    name = column.name.strip()
    if column.name in index_names:
        return "an index by pandas' metadata"
    if pa.types.is_temporal(column.type):
        return "a time"
    if not _is_numeric(column.type):
        return f"no numbers, {column.type}"
    if _INDEX_NAME.fullmatch(name):
        return "an index by its name"
    if _ID_NAME.fullmatch(name) or name.lower() in sources.ID_COLUMNS:
        return "an id by its name"
    if _TIME_NAME.fullmatch(name):
        return "a time by its name"
    if name.lower() in (*sources.LABEL_COLUMNS, *sources.PATH_COLUMNS):
        return "a label or path by its name"
    return ""


def _read_pandas_index(metadata: Mapping[bytes, bytes]) -> set[str]:
    """The columns that pandas' metadata call an index; none if there are no such metadata, or damaged ones."""
    try:
        value = load_untrusted_json(metadata.get(b"pandas", b"{}"))
    except ValueError:
        return set()
    names = value.get("index_columns") if isinstance(value, dict) else None
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _describe_columns(names: Sequence[str], left_out: Mapping[str, str]) -> str:
    return _abbreviate([f"{name} ({left_out[name]})" if name in left_out else name for name in names], 16) or "none"


def _abbreviate(names: Sequence[str], most: int) -> str:
    """Names as text, those in the middle left out if there are many."""
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join([*names[: most - 1], "…", names[-1]])
