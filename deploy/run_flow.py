"""One run of a flow: its server, its workers, its progress."""

import json
import os
import time
import uuid
from contextlib import ExitStack, chdir
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal
from urllib.parse import urlsplit

from rich.console import Console

from deploy.interrupts import ServerLoss, ignore_interrupts, make_inside_check, repeat_interrupt
from deploy.prefect_server import find_running_url, open_prefect_server
from deploy.request_guard import is_loopback
from interpdisc_core.archive.layout import refuse_if_not_writable
from interpdisc_core.errors import AccessError, InterpdiscError, PlanError
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.storage.access_errors import classify_store_error
from interpdisc_core.storage.location import Location

LOGGING_ENVIRONMENT = {"PREFECT_LOGGING_EXTRA_LOGGERS": "interpdisc_core", "PREFECT_LOGGING_ROOT_LEVEL": "INFO"}
"""Makes the core's log lines appear in the Prefect UI; workers started by hand need it too."""
_DRAIN_TIMEOUT_S = 10.0

FlowName = Literal["discover", "explain", "train_inverter", "evaluate", "learn", "daily", "rebuild", "backfill"]


class RunFailedError(InterpdiscError):
    """A run that failed for another reason than its arguments and inputs."""


@dataclass(frozen=True, kw_only=True)
class FlowRequest:
    """What to run, where, and with what.

    Attributes:
        flow: Name of a module of `flows`, and of the flow in it.
        parameters: Of the flow, except archive, workers and progress_token.
        tags: Of the run in Prefect's UI.
        archive: Absolute address of the archive.
        scheduler: Address of a Dask scheduler; empty: a local cluster.
        workers: Processes of the local cluster; 0: one for each core, if there is memory for that.
        keep_ui: Whether a server that this run starts is left running.
        verbose: Whether Prefect's log and tracebacks are shown.
        progress_token: Names the folder of the run's progress in the archive.
    """

    flow: FlowName
    parameters: dict[str, Any]
    tags: tuple[str, ...]
    archive: str
    scheduler: str = ""
    workers: int = 0
    keep_ui: bool = False
    verbose: bool = False
    progress_token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])


def run_flow(request: FlowRequest, console: Console) -> dict[str, Any]:
    """Run a flow to its end and return its result.

    Args:
        request: What to run.
        console: Gets addresses and progress.

    Raises:
        InterpdiscError: If it fails, with a sentence.
        KeyboardInterrupt: On Control-C, after the workers have stopped.
    """
    start = time.monotonic()
    os.environ |= LOGGING_ENVIRONMENT
    if not request.verbose:
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    workers = _count_remote_workers(request.scheduler) if request.scheduler else request.workers
    refuse_if_not_writable(request.archive)  # the flow checks it too: here, before anything is started
    with ExitStack() as stack:
        if not find_running_url():
            console.print("starting a Prefect server …", style="dim")
        server = stack.enter_context(open_prefect_server(keep=request.keep_ui))
        keep_note = " (stays; `interpdisc stop-ui` stops it)" if request.keep_ui and server.is_owned else ""
        console.print(f"Prefect UI: {server.ui}{keep_note}", highlight=False)
        if server.auth:
            # On a terminal only its user reads it; a log file may be open to others.
            sign_in = f"with {server.auth}" if console.is_terminal else "as `interpdisc show-ui` says"
            console.print(f"sign in there {sign_in}", style="dim", highlight=False)
        loss = ServerLoss(server.watchdog)
        try:
            with loss:
                result = _execute_flow(request, workers, console)
        except (KeyboardInterrupt, RunFailedError):
            if loss.is_lost:
                raise RunFailedError(
                    f"the Prefect server at {server.api} has ended, and could not be started again, so the run was "
                    "stopped. Run the same command again to resume."
                ) from None
            raise
        finally:
            if not loss.is_lost:
                with ignore_interrupts():
                    _drain_logs()
    from interpdisc_core.progress import format_duration

    console.print(f"finished in {format_duration(time.monotonic() - start)}, server and workers included", style="dim")
    return result


def _count_remote_workers(scheduler: str) -> int:
    from deploy.dask_cluster import count_cluster_workers

    host = urlsplit(scheduler if "://" in scheduler else f"tcp://{scheduler}").netloc
    if not is_loopback(host) and not os.environ.get("PREFECT_API_URL"):
        raise PlanError(
            f"workers of {scheduler} cannot reach a Prefect server on this machine's loopback: "
            "set PREFECT_API_URL to a server that they reach."
        )
    return count_cluster_workers(scheduler)


def _drain_logs() -> None:
    """Let Prefect send its last logs and events while the server runs; without it, the exit takes a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging import handlers

    for worker in (handlers.APILogWorker, EventsWorker):
        worker.drain_all(timeout=_DRAIN_TIMEOUT_S)
    # What is logged from here on has no server to go to.
    handlers.set_api_log_sink(lambda _: None)


def _execute_flow(request: FlowRequest, workers: int, console: Console) -> dict[str, Any]:
    # Prefect reads its settings when it is imported, so that must wait for the server's address.
    with chdir("/"):  # where it would also find .env and prefect.toml: the current folder may be somebody else's
        import prefect  # noqa: F401
    from prefect import tags
    from prefect.logging import handlers

    from deploy import task_runners
    from deploy.progress import ProgressBars

    handlers.set_api_log_sink(None)
    flow = getattr(import_module(f"flows.{request.flow}"), request.flow)
    workers = workers or task_runners.choose_worker_count()
    if request.scheduler:
        runner = task_runners.make_remote_runner(request.scheduler)
    else:
        console.print(f"starting {workers} worker{'s' if workers > 1 else ''} …", style="dim", highlight=False)
        runner = task_runners.make_local_runner(workers)
    with (
        repeat_interrupt(make_inside_check(flow.fn)),
        ProgressBars(ProgressReporter(request.archive, request.progress_token), console),
        tags(*request.tags),
    ):
        try:
            address = flow.with_options(task_runner=runner)(
                archive=request.archive,
                workers=workers,
                progress_token=request.progress_token,
                **request.parameters,
            )
        except InterpdiscError:
            raise
        except Exception as error:
            if request.verbose:
                raise
            if fault := classify_store_error(error):
                raise AccessError(f"{fault.reason}. The same command goes on.") from error
            raise RunFailedError(
                f"the run failed ({type(error).__name__}: {error}); `--verbose` shows where. "
                "Run the same command again to resume."
            ) from error
    folder, _, file = address.rpartition("/")
    result: dict[str, Any] = json.loads(Location.parse(folder).read(file))
    return result
