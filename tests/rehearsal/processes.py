"""Every process of `compose.yaml`, run by hand on loopback: `python -m tests.rehearsal.processes FOLDER`.

PostgreSQL, an S3 store (moto's server in MinIO's place), the Prefect server with its deployments, a Dask scheduler with
its workers, a Prefect worker, the page server. Each has a watchdog: when this process ends, in whatever way, they all do.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.health import is_healthy
from deploy.task_runners import MALLOC_ENVIRONMENT
from interpdisc_core.errors import InterpdiscError
from tests.helpers.ports import find_free_ports
from tests.rehearsal import database
from tests.rehearsal.composed import CHECKOUT, SERVICE_PORTS, ComposeService, Translation, load_services

START_TIMEOUT_S = 240.0
"""Seconds that a process may take to answer on a busy machine."""
_OWN_PREFIXES = ("PREFECT_", "AWS_", "DASK_", "INTERPDISC_", "POSTGRES_", "S3_")


class RehearsalError(InterpdiscError):
    """A process that does not come up."""


@dataclass
class ServiceProcess:
    """A process with a watchdog; `pid` is its own, and leads a process group."""

    name: str
    watchdog: "subprocess.Popen[str]"
    pid: int
    log: Path

    def is_alive(self) -> bool:
        """Whether it still runs."""
        import psutil

        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def send_signal(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def stop(self) -> None:
        """Stop it: by SIGTERM, and by SIGKILL ten seconds later."""
        self.watchdog.communicate("")


@dataclass
class Rehearsal:
    """The running processes; `environment` is for clients, such as `interpdisc`; logs are in `folder`."""

    folder: Path
    translation: Translation
    services: dict[str, ComposeService]
    environment: dict[str, str]
    cluster: database.PostgresCluster
    processes: dict[str, ServiceProcess] = field(default_factory=dict)

    @property
    def api(self) -> str:
        """The address of Prefect's API."""
        return self.environment["PREFECT_API_URL"]

    @property
    def ui(self) -> str:
        """The address of Prefect's UI."""
        return self.api.removesuffix("/api")

    @property
    def pages(self) -> str:
        """The address of the page server."""
        return f"http://127.0.0.1:{self.translation.ports['pages', '8000']}"

    @property
    def scheduler(self) -> str:
        """The address of Dask's scheduler."""
        return f"tls://127.0.0.1:{self.translation.ports['scheduler', '8786']}"

    @property
    def archive(self) -> str:
        """The archive of the daily run."""
        return f"{self.environment['INTERPDISC_STORE']}/archive"

    def start(self, name: str) -> ServiceProcess:
        """Start a service of the file (`workers-0`, `workers-1`, … are its replicas), or start it again."""
        if (previous := self.processes.pop(name, None)) is not None:
            previous.stop()
        service = self.services[name.rpartition("-")[0] if name.startswith("workers-") else name]
        extra = {"PREFECT_HOME": str(self.folder / name / "prefect")} | self._build_environment(service, name)
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        process = self._start_process(name, self._build_command(service, name), extra)
        self._wait_until_ready(process, service, extra)
        return process

    def register(self) -> str:
        """Run the service that registers everything, and return its output. Raises RehearsalError if it fails."""
        return self.run_once("register")

    def run_once(self, name: str) -> str:
        """Run a service that ends by itself, and return its output. Raises RehearsalError if it fails."""
        service = self.services[name]
        return self._run_to_end(
            self.translation.translate_command(service), self._build_environment(service, name), START_TIMEOUT_S
        )

    def kill_worker(self, number: int, with_nanny: bool = False) -> None:
        """kill −9 of a Dask worker; its nanny starts another one, unless it is killed too."""
        import psutil

        nanny = psutil.Process(self.processes[f"workers-{number}"].pid)
        for process in [*nanny.children(recursive=True), *([nanny] if with_nanny else [])]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def run(self, *command: str, timeout: float = START_TIMEOUT_S) -> str:
        """Run a command of the image as a client, and return its output. Raises RehearsalError if it fails."""
        return self._run_to_end(
            self.translation.translate_command(ComposeService("", command, {}, 1)), self.environment, timeout
        )

    def _run_to_end(self, command: list[str], extra: dict[str, str], timeout: float) -> str:
        process = subprocess.run(
            command,
            env=self._base_environment() | extra,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if process.returncode:
            raise RehearsalError(f"`{' '.join(command)}` failed ({process.returncode}):\n{process.stdout}")
        return process.stdout

    def _build_command(self, service: ComposeService, name: str) -> list[str]:
        if service.name == "database":
            return self.cluster.build_command()
        if service.name == "store":
            port = self.translation.ports["store", "9000"]
            return [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        command = self.translation.translate_command(service)
        if name.startswith("workers-"):
            # Replicas have an address each there; here, a port.
            port = self.translation.ports["workers", "8788"] if name == "workers-0" else 0
            at = command.index("--dashboard-address") + 1
            command[at] = f"127.0.0.1:{port}"
            command += ["--name", name]
        return command

    def _build_environment(self, service: ComposeService, name: str) -> dict[str, str]:
        if service.name in ("database", "store"):
            return {}
        environment = self.translation.translate_environment(service)
        if name.startswith("workers-") and name != "workers-0":
            environment.pop("HEALTH_URL", None)
        return environment

    def _start_process(self, name: str, command: list[str], extra: dict[str, str]) -> ServiceProcess:
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            watchdog = subprocess.Popen(
                [sys.executable, "-P", "-m", "deploy.parent_watchdog", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
                start_new_session=True,
                env=self._base_environment() | extra,
                cwd=CHECKOUT,
            )
        assert watchdog.stdout is not None
        self.processes[name] = ServiceProcess(name, watchdog, int(watchdog.stdout.readline()), log)
        return self.processes[name]

    def _base_environment(self) -> dict[str, str]:
        """The environment of the image, and this machine's without variables that would contradict it."""
        inherited_variables = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_PREFIXES)}
        image = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
        quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "AWS_EC2_METADATA_DISABLED": "true"}
        return inherited_variables | image | quiet | MALLOC_ENVIRONMENT

    def _wait_until_ready(
        self, process: ServiceProcess, service: ComposeService, environment: Mapping[str, str]
    ) -> None:
        def is_ready() -> bool:
            if service.name == "database":
                return _is_listening(self.cluster.port)
            if service.name == "store":
                return _is_listening(self.translation.ports["store", "9000"])
            return is_healthy(environment.get("HEALTH_URL", ""), 2.0)

        wait_until_ready(is_ready, process)


def wait_until_ready(is_ready: Callable[[], bool], process: ServiceProcess) -> None:
    """Wait until `is_ready`. Raises RehearsalError if the process ends first, or START_TIMEOUT_S is over."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        if not process.is_alive() or time.monotonic() > deadline:
            tail = process.log.read_text(errors="replace")[-1500:]
            raise RehearsalError(f"{process.name} does not answer; the end of {process.log}:\n{tail}")
        time.sleep(0.2)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def start_rehearsal(folder: Path, daily: str, workers: int = 2, exclude: tuple[str, ...] = ()) -> Iterator[Rehearsal]:
    """Start all processes and register the deployments; stop them at the end.

    Args:
        folder: For logs and the files of the processes.
        daily: Settings of the daily run, JSON or a file.
        workers: Number of Dask workers.
        exclude: Services not to start.

    Raises:
        RehearsalError: If a process does not start, with the end of its log.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    variables = {
        "POSTGRES_PASSWORD": secrets.token_urlsafe(16),
        "PREFECT_AUTH": f"rehearsal:{secrets.token_urlsafe(16)}",
        "S3_ACCESS_KEY": "rehearsal",
        "S3_SECRET_KEY": secrets.token_urlsafe(16),
        "PAGES_ACCESS_KEY": "rehearsal-pages",
        "PAGES_SECRET_KEY": secrets.token_urlsafe(16),
        "INTERPDISC_DAILY": daily,
        "INTERPDISC_WORKERS": str(workers),
    }
    names = [(name, port) for name, ports in SERVICE_PORTS.items() for port in ports]
    translation = Translation(dict(zip(names, find_free_ports(len(names)), strict=True)), folder)
    variables["INTERPDISC_PAGES"] = f"http://127.0.0.1:{translation.ports['pages', '8000']}"
    compose_services = load_services(variables)
    # PostgreSQL's own user must have access to its data, which it may not have below our folder.
    data = Path(tempfile.mkdtemp(prefix="interpdisc-database-"))
    cluster = database.PostgresCluster(
        data, translation.ports["database", "5432"], "prefect", variables["POSTGRES_PASSWORD"]
    )
    client = translation.translate_environment(compose_services["runner"])
    rehearsal = Rehearsal(folder, translation, compose_services, client, cluster)
    try:
        cluster.initialize()
        for name in ("database", "store"):
            rehearsal.start(name)
        wait_until_ready(lambda: _try_create_database(cluster), rehearsal.processes["database"])
        rehearsal.start("server")
        (folder / "register.log").write_text(rehearsal.register())
        rehearsal.run_once("certificates")
        for name in ("scheduler", *(f"workers-{number}" for number in range(workers)), "runner", "pages"):
            if name not in exclude:
                rehearsal.start(name)
        yield rehearsal
    finally:
        for process in reversed(list(rehearsal.processes.values())):
            process.stop()
        shutil.rmtree(data, ignore_errors=True)


def _try_create_database(cluster: database.PostgresCluster) -> bool:
    try:
        cluster.create_database("prefect")
    except OSError:
        return False
    return True


def main() -> None:
    """Start everything, print the addresses, and wait for Control-C."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tests.rehearsal.processes FOLDER DAILY, settings of the daily run as JSON or a file")
    try:
        with start_rehearsal(Path(sys.argv[1]), sys.argv[2]) as rehearsal:
            print(f"Prefect UI: {rehearsal.ui}   (sign in with {rehearsal.environment['PREFECT_API_AUTH_STRING']})")
            print(
                f"pages: {rehearsal.pages}\nscheduler: {rehearsal.scheduler}\nlogs: {rehearsal.folder}\nControl-C stops all of it.",
                flush=True,
            )
            signal.pause()
    except KeyboardInterrupt:
        pass
    except InterpdiscError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
