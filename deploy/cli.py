"""The command line: `interpdisc`.

It alone chooses where a run takes place. Exit codes: 0 done; 1 failed; 2 invalid argument or input; 3 `verify` found
faults; 130 interrupted.
"""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from deploy.commands import exit_on_error
from deploy.commands.archive import (
    migrate_command,
    repair_command,
    show_command,
    show_ui_command,
    stop_ui_command,
    tidy_command,
    verify_command,
)
from deploy.commands.backfill import backfill_command
from deploy.commands.config import CONFIG_SETTINGS, find_config_file, load_config
from deploy.commands.daily import daily_command, rebuild_command, redo_command, undo_command
from deploy.commands.discover import demo_command, discover_command
from deploy.commands.evaluate import evaluate_command, learn_command
from deploy.commands.explain import explain_command
from deploy.commands.select import forget_command, remember_command, select_command
from deploy.commands.serve import mark_command, marks_command, serve_command
from deploy.commands.train import train_inverter_command
from interpdisc_core.provenance import package_version

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start here": (demo_command, discover_command, show_command, explain_command, select_command),
    "Every day": (daily_command, serve_command, mark_command, marks_command, undo_command, redo_command),
    "Archives": (backfill_command, verify_command, remember_command, forget_command),
    "Studies": (evaluate_command, learn_command, train_inverter_command),
    "Maintenance": (repair_command, rebuild_command, tidy_command, migrate_command, show_ui_command, stop_ui_command),
}
"""All commands, by the heading in the help. A command is called as its function, without `_command`."""

_SETTINGS_HELP = ", ".join(f"`{name}` ({meaning})" for name, meaning in CONFIG_SETTINGS.items())
_CONFIG_FILE = str(find_config_file()).replace(str(Path.home()), "~", 1)
_EPILOG = f"""\
**Exit codes**: 0 done · 1 failed · 2 invalid argument or input · 3 `verify` found faults · 130 interrupted. Run an
interrupted command again to resume it.

**Settings**, once for all commands: {_SETTINGS_HELP}. Each is an environment variable, such as INTERPDISC_ARCHIVE,
or a line such as `archive = "/data/archive"` in `{_CONFIG_FILE}`. An option of a command overrides the variable,
and the variable the file. Keys for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_ENDPOINT_URL.
"""


def _print_version(wanted: bool) -> None:
    if wanted:
        core, python = package_version("interpdisc-core"), platform.python_version()
        print(f"interpdisc {package_version('interpdisc')} (interpdisc-core {core}, Python {python})")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The application with all commands."""
    new_app = typer.Typer(
        name="interpdisc",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=_EPILOG,
    )

    @new_app.callback()
    def describe_program(
        version: Annotated[
            bool,
            typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
        ] = False,
    ) -> None:
        """Find the images that are new compared with everything seen so far, and show why they are."""

    for group, commands in COMMANDS.items():
        for command in commands:
            name = command.__name__.removesuffix("_command").replace("_", "-")
            new_app.command(name, rich_help_panel=group)(command)
    return new_app


app = build_app()


def main() -> None:
    """Run the command of `sys.argv`; ends the process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with exit_on_error():
            load_config(find_config_file(), os.environ)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    app(prog_name="interpdisc")
