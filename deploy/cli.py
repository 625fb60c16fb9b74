"""The command line: `interpdisc`.

It alone chooses where a run takes place. Exit codes: 0 done; 1 it failed; 2 something that was given cannot be right;
3 `verify` found faults; 130 interrupted.
"""

from deploy.commands import (
    app,
    backfilling,
    days,
    discovering,
    evaluating,
    explaining,
    keeping,
    selecting,
    serving,
    training,
)

__all__ = [
    "app",
    "backfilling",
    "days",
    "discovering",
    "evaluating",
    "explaining",
    "keeping",
    "main",
    "selecting",
    "serving",
    "training",
]


def main() -> None:
    """The entry point."""
    app(prog_name="interpdisc")
