"""Every process of `compose.yaml`, run by hand on loopback: `python -m deploy.rehearsal.processes FOLDER`.

PostgreSQL, an S3 store (moto's server in MinIO's place), the Prefect server with its deployments, a Dask scheduler with
its workers, a Prefect worker, the page server. Each is on a leash: when this process ends, however, they all do.
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

from deploy.healthy import healthy
from deploy.rehearsal import database
from deploy.rehearsal.composed import CHECKOUT, LISTENS, Service, Translation, services
from deploy.runners import MEMORY
from interpdisc_core.errors import InterpdiscError

PATIENCE = 240.0
"""Seconds that a process may take to answer on a busy machine."""
_OURS = ("PREFECT_", "AWS_", "DASK_", "INTERPDISC_", "POSTGRES_", "S3_")


class RehearsalError(InterpdiscError):
    """A process that does not come up."""


@dataclass
class Running:
    """A process on a leash. pid: its own number; it leads a process group of its own."""

    name: str
    leash: "subprocess.Popen[str]"
    pid: int
    log: Path

    def alive(self) -> bool:
        """Whether it still runs; its leash outlives it."""
        import psutil

        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def stop(self) -> None:
        """Ask it to end; ten seconds later it is made to."""
        self.leash.communicate("")


@dataclass
class Rehearsal:
    """The processes that run. environment: what a client needs, such as `interpdisc` or a script. logs are in `folder`."""

    folder: Path
    translation: Translation
    services: dict[str, Service]
    environment: dict[str, str]
    cluster: database.Cluster
    running: dict[str, Running] = field(default_factory=dict)

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
        return f"tcp://127.0.0.1:{self.translation.ports['scheduler', '8786']}"

    @property
    def archive(self) -> str:
        """The archive of the daily run."""
        return f"{self.environment['INTERPDISC_STORE']}/archive"

    def start(self, name: str) -> Running:
        """Start a service of the file (`workers-0`, `workers-1`, … are its replicas), or start it again."""
        if (before := self.running.pop(name, None)) is not None:
            before.stop()
        service = self.services[name.rpartition("-")[0] if name.startswith("workers-") else name]
        extra = {"PREFECT_HOME": str(self.folder / name / "prefect")} | self._environment(service, name)
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        process = self._leashed(name, self._command(service, name), extra)
        self._answers(process, service, extra)
        return process

    def register(self) -> str:
        """Run the service that registers everything, to its end; what it printed. Raises RehearsalError."""
        service = self.services["register"]
        return self._ran(self.translation.command(service), self._environment(service, "register"), PATIENCE)

    def kill_worker(self, number: int, everything: bool = False) -> None:
        """kill −9 of a Dask worker; its nanny starts another one, unless that is killed too (`everything`)."""
        import psutil

        nanny = psutil.Process(self.running[f"workers-{number}"].pid)
        for process in [*nanny.children(recursive=True), *([nanny] if everything else [])]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def run(self, *command: str, timeout: float = PATIENCE) -> str:
        """Run one of the image's commands as a client to its end; what it printed. Raises RehearsalError."""
        return self._ran(self.translation.command(Service("", command, {}, 1)), self.environment, timeout)

    def _ran(self, command: list[str], extra: dict[str, str], timeout: float) -> str:
        done = subprocess.run(
            command, env=self._base() | extra, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RehearsalError(f"`{' '.join(command)}` failed ({done.returncode}):\n{done.stdout}")
        return done.stdout

    def _command(self, service: Service, name: str) -> list[str]:
        if service.name == "database":
            return self.cluster.command()
        if service.name == "store":
            port = self.translation.ports["store", "9000"]
            return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        command = self.translation.command(service)
        if name.startswith("workers-"):
            # Replicas have an address each there; here, a port.
            port = self.translation.ports["workers", "8788"] if name == "workers-0" else 0
            at = command.index("--dashboard-address") + 1
            command[at] = f"127.0.0.1:{port}"
            command += ["--name", name]
        return command

    def _environment(self, service: Service, name: str) -> dict[str, str]:
        if service.name in ("database", "store"):
            return {}
        environment = self.translation.environment(service)
        if name.startswith("workers-") and name != "workers-0":
            environment.pop("HEALTH_URL", None)
        return environment

    def _leashed(self, name: str, command: list[str], extra: dict[str, str]) -> Running:
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            leash = subprocess.Popen(
                [sys.executable, "-m", "deploy.leash", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out,
                text=True, start_new_session=True, env=self._base() | extra, cwd=CHECKOUT,
            )  # fmt: skip
        assert leash.stdout is not None
        self.running[name] = Running(name, leash, int(leash.stdout.readline()), log)
        return self.running[name]

    def _base(self) -> dict[str, str]:
        """What the image's own environment has, and this machine's without what would say something else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        image = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
        quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "AWS_EC2_METADATA_DISABLED": "true"}
        return kept | image | quiet | MEMORY

    def _answers(self, process: Running, service: Service, environment: Mapping[str, str]) -> None:
        def there() -> bool:
            if service.name == "database":
                return _listens(self.cluster.port)
            if service.name == "store":
                return _listens(self.translation.ports["store", "9000"])
            return healthy(environment.get("HEALTH_URL", ""), 2.0)

        waited(there, process)


def waited(there: Callable[[], bool], process: Running) -> None:
    """Return when `there`. Raises RehearsalError when the process ends first or patience does."""
    deadline = time.monotonic() + PATIENCE
    while not there():
        if not process.alive() or time.monotonic() > deadline:
            tail = process.log.read_text(errors="replace")[-1500:]
            raise RehearsalError(f"{process.name} does not answer; the end of {process.log}:\n{tail}")
        time.sleep(0.2)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def rehearsed(folder: Path, daily: str, workers: int = 2, without: tuple[str, ...] = ()) -> Iterator[Rehearsal]:
    """All processes, up and registered; they are stopped at the end.

    folder: for logs and what the processes keep. daily: the daily run's settings, JSON or a file. workers: Dask's.
    without: services to leave out. Raises RehearsalError for a process that does not come up, with the end of its log.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    given = {
        "POSTGRES_PASSWORD": secrets.token_urlsafe(16), "PREFECT_AUTH": f"rehearsal:{secrets.token_urlsafe(16)}",
        "S3_ACCESS_KEY": "rehearsal", "S3_SECRET_KEY": secrets.token_urlsafe(16), "INTERPDISC_DAILY": daily,
        "INTERPDISC_WORKERS": str(workers),
    }  # fmt: skip
    names = [(name, port) for name, ports in LISTENS.items() for port in ports]
    translation = Translation(dict(zip(names, _free(len(names)), strict=True)), folder)
    given["INTERPDISC_PAGES"] = f"http://127.0.0.1:{translation.ports['pages', '8000']}"
    told = services(given)
    # PostgreSQL's own user must get through to its data, which it would not below a folder of ours.
    data = Path(tempfile.mkdtemp(prefix="interpdisc-database-"))
    cluster = database.Cluster(data, translation.ports["database", "5432"], "prefect", given["POSTGRES_PASSWORD"])
    client = translation.environment(told["runner"])
    made = Rehearsal(folder, translation, told, client, cluster)
    try:
        cluster.make()
        for name in ("database", "store"):
            made.start(name)
        waited(lambda: _created(cluster), made.running["database"])
        made.start("server")
        (folder / "register.log").write_text(made.register())
        for name in ("scheduler", *(f"workers-{number}" for number in range(workers)), "runner", "pages"):
            if name not in without:
                made.start(name)
        yield made
    finally:
        for process in reversed(list(made.running.values())):
            process.stop()
        shutil.rmtree(data, ignore_errors=True)


def _created(cluster: database.Cluster) -> bool:
    try:
        cluster.create("prefect")
    except OSError:
        return False
    return True


def main() -> None:
    """Bring everything up, say where it is, and keep it until Control-C."""
    if len(sys.argv) != 3:
        sys.exit(
            "usage: python -m deploy.rehearsal.processes FOLDER DAILY, settings of the daily run as JSON or a file"
        )
    try:
        with rehearsed(Path(sys.argv[1]), sys.argv[2]) as made:
            print(f"Prefect UI: {made.ui}   (sign in with {made.environment['PREFECT_API_AUTH_STRING']})")
            print(
                f"pages: {made.pages}\nscheduler: {made.scheduler}\nlogs: {made.folder}\nControl-C stops all of it.",
                flush=True,
            )
            signal.pause()
    except KeyboardInterrupt:
        pass
    except InterpdiscError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
