"""The commands of the command line, a module for each concern; here is what they share."""

import json
import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from interpdisc_core.errors import InterpdiscError, PlanError, StoreError

FAILED, MISUSED, UNSOUND, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="interpdisc",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Finds the images that are new with respect to everything seen so far, and shows why.",
    epilog="Exit codes: 0 done · 1 failed · 2 something given cannot be right · 3 `verify` found faults · 130 interrupted. "
    "The same command again goes on where an interrupted one stopped.",
)
told = Console(stderr=True)

Archive = Annotated[str, typer.Argument(help="Folder or s3:// prefix of an archive.", show_default=False)]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else there.")
]
Scheduler = Annotated[str, typer.Option(
    help="Address of a running Dask scheduler. Default: a cluster on this machine, for this run.", show_default=False)]  # fmt: skip
Workers = Annotated[int, typer.Option(help="Worker processes of the local cluster; 0: one a core.")]
KeepUi = Annotated[bool, typer.Option("--keep-ui", help="Leave the Prefect UI running at the end.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's log.")]


class sentences:
    """Ends the program with one clear sentence where something went wrong that has one."""

    def __enter__(self) -> None:
        logging.getLogger("distributed").setLevel(logging.ERROR)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            told.print("\ninterrupted; the same command goes on where this one stopped.")
            raise typer.Exit(INTERRUPTED)
        if isinstance(error, InterpdiscError):
            told.print(f"interpdisc: {error}", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(MISUSED if isinstance(error, PlanError | StoreError) else FAILED)


def carry_out(tell: Callable[[dict[str, Any]], None], as_json: bool, **asked: Any) -> dict[str, Any]:
    """Run a flow to its end and print its result, by `tell` or as JSON; returns it. asked: the fields of a `Request`."""
    from deploy.running import Request, run

    result = run(Request(**asked), told)
    print(json.dumps(result)) if as_json else tell(result)
    return result


def absolute(address: str) -> str:
    """An address or a source for other processes, whatever folder they are in."""
    from interpdisc_core.sources import absolute as sources_absolute

    return sources_absolute(address)


def one_of(option: str, given: str, choices: tuple[str, ...], more: str = "") -> Any:
    """What was given to an option. Raises PlanError where it is none of the choices."""
    if given not in choices:
        raise PlanError(f"{option} is {', '.join(choices)}{more}, not {given!r}.")
    return given
