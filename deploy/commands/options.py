"""The options that commands share, each declared once."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer

WHERE_IT_RUNS = "Where it runs, and what it prints"
"""Heading of the shared options in the help of a command."""

ArchiveArgument = Annotated[
    str, typer.Argument(help="Folder or s3:// prefix of an archive.", show_default=False, metavar="ARCHIVE")
]
EnvArchiveArgument = Annotated[
    str,
    typer.Argument(
        help="Folder or s3:// prefix of an archive.",
        show_default=False,
        metavar="ARCHIVE",
        envvar="INTERPDISC_ARCHIVE",
    ),
]
"""For commands without another argument: only there an archive can be left out without ambiguity."""
ArchiveOption = Annotated[
    str, typer.Option(help="Folder or s3:// prefix that keeps everything computed.", envvar="INTERPDISC_ARCHIVE")
]
SourceArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folders, globs, CSV lists, tar or zip shards, or s3:// prefixes of images. Default: $INTERPDISC_DATA.",
        metavar="SOURCE",
        show_default=False,
    ),
]
LabelsOption = Annotated[
    str,
    typer.Option(
        help="CSV file with a class for each image, to score the discovery; or `folder`, if the name of an image's "
        "folder is its class.",
        metavar="FILE|folder",
        show_default=False,
    ),
]
OutOption = Annotated[
    str,
    typer.Option(help="Folder for a copy of the report and the tables; the archive keeps one too.", show_default=False),
]
BlockOption = Annotated[int, typer.Option(help="Most images that one task reads.", min=1)]
MaxOutstandingOption = Annotated[
    float | None,
    typer.Option(
        help="Largest share of the inputs that a run goes on without, since they cannot be got at (no right, no answer); "
        "the same command tries them again. One never stops it.  [default: 0.1]",
        min=0.0,
        max=1.0,
        show_default=False,
        envvar="INTERPDISC_MAX_OUTSTANDING",
    ),
]
WhereOption = Annotated[
    str, typer.Option(help="Use only a part, e.g. \"sol > 800 and instrument == 'MAST_LEFT'\".", show_default=False)
]
AuthorOption = Annotated[
    str,
    typer.Option(help="Your name.  [default: your user name]", show_default=False, envvar="INTERPDISC_AUTHOR"),
]
NoteOption = Annotated[str, typer.Option(help="The reason; it is kept and shown.", show_default=False)]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else there.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only print what there is to do; change nothing.")]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a flow runs and what the terminal shows: the same options for every command that runs one."""

    scheduler: Annotated[
        str,
        typer.Option(
            help="Address of a running Dask scheduler, such as tls://10.0.0.5:8786. Default: workers on this machine, "
            "for this run.",
            show_default=False,
            envvar="INTERPDISC_SCHEDULER",
            rich_help_panel=WHERE_IT_RUNS,
        ),
    ] = ""
    workers: Annotated[
        int,
        typer.Option(
            help="Worker processes on this machine; 0: one for each core, if there is memory for that.",
            min=0,
            max=4096,
            envvar="INTERPDISC_WORKERS",
            rich_help_panel=WHERE_IT_RUNS,
        ),
    ] = 0
    keep_ui: Annotated[
        bool,
        typer.Option(
            "--keep-ui",
            help="Leave the Prefect UI running at the end; `interpdisc stop-ui` stops it.",
            rich_help_panel=WHERE_IT_RUNS,
        ),
    ] = False
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the result as JSON on standard output, and nothing else there.",
            rich_help_panel=WHERE_IT_RUNS,
        ),
    ] = False
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print the result and errors, no progress.", rich_help_panel=WHERE_IT_RUNS),
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show Prefect's log, and tracebacks of errors.", rich_help_panel=WHERE_IT_RUNS
        ),
    ] = False


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `RunOptions`; it gets them together, as its argument `options`."""
    hints = get_type_hints(RunOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[item.name],
            default=inspect.Parameter.empty if item.default is MISSING else item.default,
        )
        for item in fields(RunOptions)
    ]
    own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "options"]

    @functools.wraps(command)
    def run_command(**values: Any) -> None:
        options = RunOptions(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        command(**values, options=options)

    run_command.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
    return run_command
