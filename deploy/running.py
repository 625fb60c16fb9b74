"""One run of a flow: its server, its workers, its progress."""

import json
import os
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal
from urllib.parse import urlsplit

from rich.console import Console

from deploy.interrupting import in_body, insisting
from deploy.server import prefect_server
from interpdisc_core.errors import InterpdiscError, PlanError
from interpdisc_core.lease import refuse_if_held
from interpdisc_core.progress import Watch
from interpdisc_core.storage import Place

LOGGING = {"PREFECT_LOGGING_EXTRA_LOGGERS": "interpdisc_core", "PREFECT_LOGGING_ROOT_LEVEL": "INFO"}
"""What makes the core's own log lines appear in the Prefect UI; workers started by hand need it too."""


class RunFailed(InterpdiscError):
    """A run that ended with an error that is nobody's input."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run, where, and with what.

    flow: the name of a module of `flows` and of the flow in it. given: its parameters but archive, workers and watch.
    tags: of the run in Prefect's UI. scheduler: empty for a local cluster. workers: 0 for one a core.
    """

    flow: Literal["discover", "explain", "train_inverter", "evaluate", "learn", "daily", "rebuild", "backfill"]
    given: dict[str, Any]
    tags: tuple[str, ...]
    archive: str
    scheduler: str
    workers: int
    keep_ui: bool
    verbose: bool
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])


def run(request: Request, told: Console) -> dict[str, Any]:
    """Run the flow to its end and return its result. The terminal `told` gets addresses and progress.

    Raises InterpdiscError with a sentence, and KeyboardInterrupt.
    """
    if request.scheduler and not _on_loopback(request.scheduler) and not os.environ.get("PREFECT_API_URL"):
        raise PlanError(
            f"workers of {request.scheduler} cannot reach a Prefect server on this machine's loopback: "
            "set PREFECT_API_URL to a server that they reach."
        )
    quiet = {} if request.verbose else {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
    os.environ |= LOGGING | quiet
    with ExitStack() as stack:
        refuse_if_held(request.archive)  # the flow holds it: here it is only told before the server starts
        told.print("starting Prefect's server and the workers …", style="dim")
        server = stack.enter_context(prefect_server(keep=request.keep_ui))
        stays = " (stays; `interpdisc stop-ui` stops it)" if request.keep_ui and server.ours else ""
        told.print(f"Prefect UI: {server.ui}{stays}", highlight=False)
        try:
            return _flow(request, told)
        finally:
            _drain()


def _drain() -> None:
    """Let Prefect send its last logs and events while the server is there; without it, the exit takes a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=10)


def _flow(request: Request, told: Console) -> dict[str, Any]:
    # Prefect reads its settings when it is imported, so that must wait for the server's address.
    from prefect import tags

    from deploy import runners
    from deploy.progress import Bars

    flow = getattr(import_module(f"flows.{request.flow}"), request.flow)
    workers = request.workers or runners.cores()
    runner: Any = runners.by_address(request.scheduler) if request.scheduler else runners.local(workers)
    if request.scheduler:
        workers = runners.workers_of(request.scheduler)
    with insisting(in_body(flow.fn)), Bars(Watch(request.archive, request.token), told), tags(*request.tags):
        try:
            address = flow.with_options(task_runner=runner)(
                archive=request.archive, workers=workers, watch=request.token, **request.given
            )
        except InterpdiscError:
            raise
        except Exception as error:
            if request.verbose:
                raise
            kind = type(error).__name__
            raise RunFailed(
                f"the run failed ({kind}: {error}); `--verbose` shows where. The same command goes on."
            ) from error
    place, _, file = address.rpartition("/")
    result: dict[str, Any] = json.loads(Place.of(place).read(file))
    return result


def _on_loopback(address: str) -> bool:
    host = urlsplit(address if "://" in address else f"tcp://{address}").hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
