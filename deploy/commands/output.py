"""What commands print."""

import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from interpdisc_core.reporting.escaping import escape_controls

EXIT_FAILED, EXIT_USAGE, EXIT_FAULTS, EXIT_INTERRUPTED = 1, 2, 3, 130
stderr = Console(stderr=True)


def print_line(text: str, *, flush: bool = False) -> None:
    """Print one line of text for people: everything in it that is no letter, such as a terminal's controls, as escapes."""
    print(escape_controls(text), flush=flush)


def print_error(sentence: str) -> None:
    """Print one line on standard error, as `print_line`."""
    stderr.print(escape_controls(sentence), markup=False, highlight=False, soft_wrap=True)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: fitted to the terminal, or with whole cells if the output is no terminal."""
    if sys.stdout.isatty():
        table = Table(*headers, box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*map(escape_controls, row))
        Console(markup=False, highlight=False).print(table)
        return
    lines = [[escape_controls(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_discovery_score(result: dict[str, Any]) -> None:
    """Print how well the classes of a result were found; nothing if it has no labels."""
    if nauc := result["nauc"]:
        classes = result["classes"]
        print_line(
            f"nAUC (t = {nauc['t']}): {nauc['exact']:.2f} (random {nauc['random']:.2f}); "
            f"{len(classes['found'])} of {classes['total']} classes found"
        )


def print_discovery(result: dict[str, Any]) -> None:
    """Print the result of a run."""
    counts = ", ".join(f"{count} {status}" for status, count in result["counts"].items() if count)
    print_line(f"{sum(result['counts'].values())} inputs: {counts}")
    picks, candidates = result["picks"], result["candidates"]
    exhausted = "; nothing new was left after them" if result["exhausted"] else ""
    print_line(f"{len(picks)} picks of {candidates} images{exhausted}")
    for note in result.get("notes", []):
        print_line(f"note: {escape_controls(note, 400)}")
    for pick in picks[:5]:
        label = f"  ({escape_controls(pick['label'], 40)})" if pick["label"] else ""
        print_line(f"  {pick['rank']:>3}. {escape_controls(pick['id'], 60)}  score {pick['score']:.4g}{label}")
    print_discovery_score(result)
    print_line(f"report: {result['report']}")
