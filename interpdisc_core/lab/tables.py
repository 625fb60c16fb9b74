"""Tables of a study: tidy ones for programs, Markdown for people."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv

from interpdisc_core import catalog
from interpdisc_core.lab.results import NAMES, Line, Outcome

Row = dict[str, Any]


def cell_rows(found: Iterable[Outcome]) -> list[Row]:
    """One row a cell: its names and every single number of its outcome."""
    rows = []
    for outcome in found:
        row: Row = {name: outcome.get(name) for name in NAMES}
        for key, value in outcome.items():
            if isinstance(value, dict) and key in ("spread", "outliers"):
                row |= {name: number for name, number in value.items() if isinstance(number, int | float)}
            elif key not in row and isinstance(value, int | float | str | bool) and key != "setting":
                row[key] = value
        rows.append(row)
    return rows


def first_rows(found: Iterable[Outcome]) -> list[Row]:
    """One row a class of a discovery cell: its first pick, from 1; empty where it was not found among t."""
    return [
        {name: outcome.get(name) for name in NAMES} | {"class": label, "first": first}
        for outcome in found
        if not outcome["problem"] and "firsts" in outcome
        for label, first in [*sorted(outcome["firsts"].items()), *((label, None) for label in outcome["missed"])]
    ]


def line_rows(lines: Iterable[Line]) -> list[Row]:
    """One row a method on the draws of its trials."""
    return [
        {
            "experiment": line.experiment, "trials": line.trials, "representation": line.representation,
            "treatment": line.treatment, "method": line.method, "draws": line.draws, "t": line.t, "images": line.images,
            "classes": line.classes, "nauc": line.nauc.mean, "nauc_sd": line.nauc.sd, "nauc_low": line.nauc.low,
            "nauc_high": line.nauc.high, "nauc_whi2018": line.whi2018.mean if line.whi2018 else None,
            "nauc_whi2018_sd": line.whi2018.sd if line.whi2018 else None, "nauc_random": line.random,
            "classes_low": line.over_classes[0],
            "classes_high": line.over_classes[1],
            **{f"found_at_{at}": number for at, number in line.found.items()}, **line.spread, **line.outliers,
            "cpu_seconds": line.cpu, "near_ties": line.near_ties, "stopped_early": line.exhausted, "problem": line.problem,
        }
        for line in lines
    ]  # fmt: skip


def parquet(rows: Sequence[Row]) -> bytes:
    """Rows as Parquet; a column that a row lacks is null there."""
    return catalog.parquet(_table(rows))


def comma_separated(rows: Sequence[Row]) -> bytes:
    """The same rows as CSV, UTF-8, every text quoted."""
    sink = io.BytesIO()
    csv.write_csv(_table(rows), sink)
    return sink.getvalue()


def _table(rows: Sequence[Row]) -> pa.Table:
    columns = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in columns})


def _column(values: list[Any]) -> pa.Array:
    if any(isinstance(value, str) for value in values):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if any(isinstance(value, float) for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values)


def markdown(lines: Sequence[Line]) -> str:
    """For every experiment and trials: the paper's layout where there are several methods, and all that was measured."""
    parts = []
    for experiment in dict.fromkeys(line.experiment for line in lines):
        these = [line for line in lines if line.experiment == experiment]
        parts += [f"## {experiment}", "", *layout(these), ""]
        for trials in dict.fromkeys(line.trials for line in these):
            parts += [f"### {experiment}: {trials}", "", *_all([line for line in these if line.trials == trials]), ""]
    return "\n".join(parts)


def layout(lines: Sequence[Line]) -> list[str]:
    """nAUC_t in the `whi2018` form, mean ± standard deviation: representations down, trials and methods across."""
    down = list(dict.fromkeys((line.representation, line.treatment) for line in lines))
    across = list(dict.fromkeys((line.trials, line.method) for line in lines))
    at = {(line.representation, line.treatment, line.trials, line.method): line for line in lines}
    t = sorted({line.t for line in lines if line.t})
    head = "| features | " + " | ".join(f"{method}, {trials}" for trials, method in across) + " |"
    rows = [
        f"| {', '.join(key)} | " + " | ".join(_score(at.get((*key, *column))) for column in across) + " |" for key in down
    ]  # fmt: skip
    random = {line.trials: line.random for line in lines}
    last = "| *random, exact expectation (exact form)* | " + " | ".join(
        f"*{random[trials]:.2f}*" if place == 0 or across[place - 1][0] != trials else ""
        for place, (trials, _) in enumerate(across)
    )
    return [f"nAUC_t in the whi2018 form, t = {', '.join(map(str, t))}:", "", head, "|---|" + "---:|" * len(across),
            *rows, last + " |"]  # fmt: skip


def _score(line: Line | None) -> str:
    if line is None:
        return ""
    if not line.draws:
        return "failed"
    shown = line.whi2018 or line.nauc
    text = f"{shown.mean:.2f}" + (f" ± {shown.sd:.2f}" if line.draws > 1 else "")
    return text + (" (stopped early)" if line.exhausted else "")


def _all(lines: Sequence[Line]) -> list[str]:
    ats = list(dict.fromkeys(at for line in lines for at in line.found))
    extra = list(dict.fromkeys(name for line in lines for name in line.outliers))
    head = [
        "features", "treatment", "method", "draws", "nAUC exact", "whi2018", "95 % over classes", f"classes at {' / '.join(map(str, ats))}",
        "redundancy", "coverage", *extra, "CPU s",
    ]  # fmt: skip
    rows = []
    for line in sorted(lines, key=lambda line: -line.nauc.mean if line.draws else 0.0):
        if not line.draws:
            rows.append([line.representation, line.treatment, line.method, "0", line.problem])
            continue
        spread = f" ± {line.nauc.sd:.2f}" if line.draws > 1 else ""
        rows.append([
            line.representation, line.treatment, line.method, str(line.draws), f"{line.nauc.mean:.2f}{spread}", _score(line),
            f"{line.over_classes[0]:.1f} – {line.over_classes[1]:.1f}" if line.over_classes else "", " / ".join(f"{line.found[at]:.3g}" for at in ats),
            *(f"{line.spread.get(name, float('nan')):.3f}" for name in ("redundancy", "relative_radius")),
            *(f"{line.outliers.get(name, float('nan')):.3f}" for name in extra), f"{line.cpu:.2f}",
        ])  # fmt: skip
    return ["| " + " | ".join(head) + " |", "|---|---|---|" + "---:|" * (len(head) - 3),
            *("| " + " | ".join(row) + " |" for row in rows)]  # fmt: skip
