"""The commands of the command line, a module for each group; `deploy.cli` names them all.

A command reads options, checks them before anything is started, and calls the core or runs a flow. It may import
everything; nothing imports it.
"""

import json
import logging
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import typer
from rich.console import Console

from deploy.commands.checks import check_scheduler
from deploy.commands.options import RunOptions
from deploy.commands.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, print_error, stderr
from interpdisc_core.errors import AccessError, DiskFullError, InterpdiscError, PlanError, StoreError
from interpdisc_core.storage.access_errors import classify_store_error


class exit_on_error:
    """Ends the program with one sentence and an exit code if something went wrong that has a sentence."""

    def __enter__(self) -> None:
        logging.raiseExceptions = False  # a log line that cannot be delivered is no matter for the terminal
        logging.getLogger("distributed").setLevel(logging.CRITICAL)

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            stderr.print("\nInterrupted. Run the same command again to resume.")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        is_usage_error = isinstance(error, PlanError | StoreError) and not isinstance(
            error, AccessError | DiskFullError
        )
        if isinstance(error, InterpdiscError):
            self._fail(str(error), EXIT_USAGE if is_usage_error else EXIT_FAILED)
        if isinstance(error, Exception) and (fault := classify_store_error(error)):
            self._fail(f"{fault.reason}.", EXIT_FAILED)
        if isinstance(error, OSError):
            self._fail(f"{error}.", EXIT_FAILED)

    def _fail(self, sentence: str, code: int) -> None:
        print_error(f"interpdisc: {sentence}")
        raise typer.Exit(code) from None


def run_and_print(
    print_result: Callable[[dict[str, Any]], None],
    options: RunOptions,
    *,
    flow: Any,
    parameters: dict[str, Any],
    tags: tuple[str, ...],
    archive: str,
) -> dict[str, Any]:
    """Run a flow to its end and print its result, by `print_result` or as JSON; returns the result.

    Args:
        print_result: Prints a result for people.
        options: Where to run, and what to show.
        flow, parameters, tags, archive: See `deploy.run_flow.FlowRequest`.
    """
    check_scheduler(options.scheduler)
    from deploy.run_flow import FlowRequest, run_flow

    request = FlowRequest(
        flow=flow,
        parameters=parameters,
        tags=tags,
        archive=archive,
        scheduler=options.scheduler,
        workers=options.workers,
        keep_ui=options.keep_ui,
        verbose=options.verbose,
    )
    result = run_flow(request, Console(stderr=True, quiet=options.quiet))
    sys.stdout.flush()
    print(json.dumps(result)) if options.as_json else print_result(result)
    return result


def override(settings: Any, **values: Any) -> Any:
    """Settings with the values that are not None put in: those that the command line names."""
    from dataclasses import replace

    given = {name: value for name, value in values.items() if value is not None}
    return replace(settings, **given) if given else settings


def name_share(max_outstanding: float | None) -> dict[str, Any]:
    """The parameter of a flow for --max-outstanding; none for the flow's own default."""
    return {} if max_outstanding is None else {"max_outstanding": max_outstanding}
