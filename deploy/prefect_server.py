"""The Prefect server of a run: the one that is configured, one that was kept, or one started on loopback for it.

A server that a run starts has a folder of its own, below the user's state folder, with its database, its log and
`server.json`: its address, its password and its process. Only the owner can read them. The folder is removed with the
server; those of servers that were killed are removed by later runs.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import platformdirs
import psutil

from deploy.health import wait_until_healthy
from interpdisc_core.errors import InterpdiscError

_START_TIMEOUT_S, _ANSWER_TIMEOUT_S = 180.0, 5.0
"""Seconds to wait for the first answer: of a server that was started now, of another one."""
_USER = "interpdisc"
_SERVER_FILE, _LOG_FILE, _DATABASE_FILE = "server.json", "server.log", "prefect.db"
_ORPHAN_AGE_S = 3600.0
"""Age from which a folder without a server file counts as left by a run that was killed."""


class ServerError(InterpdiscError):
    """A Prefect server that does not start or answer."""


@dataclass(frozen=True)
class PrefectServer:
    """A server that answers.

    Attributes:
        api: Address for flow and workers.
        is_owned: Whether this run started it.
        auth: What people sign in with at its UI, `user:password`; empty if this run does not know it.
        watchdog: What keeps it running, if this run started it: when this ends, the server is gone.
    """

    api: str
    is_owned: bool
    auth: str = ""
    watchdog: "subprocess.Popen[str] | None" = None

    @property
    def ui(self) -> str:
        """Address of the UI, for people."""
        return self.api.removesuffix("/api")


@dataclass(frozen=True)
class LocalServer:
    """A server that a run of this user started on this machine.

    Attributes:
        api: Its address for programs.
        auth: `user:password`.
        pid: Number of its process.
        started: When that process began, see `_read_start_time`: a number may be given to another process later.
        is_kept: Whether it was left running.
        folder: Its folder.
    """

    api: str
    auth: str
    pid: int
    started: float
    is_kept: bool
    folder: Path

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return _read_start_time(self.pid) == self.started

    def write(self) -> None:
        """Write its file, readable by the owner alone."""
        values = {name: value for name, value in asdict(self).items() if name != "folder"}
        descriptor, name = tempfile.mkstemp(dir=self.folder)  # mode 0600
        with open(descriptor, "w") as file:
            json.dump(values, file)
        os.replace(name, self.folder / _SERVER_FILE)


def find_configured_url() -> str | None:
    """The API address from the environment or from the active Prefect profile."""
    if "PREFECT_API_URL" in os.environ:
        return os.environ["PREFECT_API_URL"] or None
    profiles = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"), "profiles.toml")
    if not profiles.is_file():
        return None
    config = tomllib.loads(profiles.read_text())
    active_profile = os.environ.get("PREFECT_PROFILE") or config.get("active")
    url = config.get("profiles", {}).get(active_profile, {}).get("PREFECT_API_URL")
    return str(url) if url else None


def list_local_servers() -> list[LocalServer]:
    """The servers of this user that run on this machine, the latest first."""
    return sorted(_scan_servers(), key=lambda server: -server.started)


def find_running_url() -> str | None:
    """The API address of a server that a run would use: the configured one, or one that an earlier run kept."""
    kept = _find_kept()
    return find_configured_url() or (kept.api if kept else None)


@contextmanager
def open_prefect_server(*, keep: bool) -> Iterator[PrefectServer]:
    """A server to run with; the variables that lead this process and its children to it are set.

    A server that was started here is stopped at the end, also if this process is killed, unless `keep`. If it ends
    before, it is started again with the same address and database.

    Raises:
        ServerError: If it does not answer.
    """
    if url := find_configured_url():
        if not wait_until_healthy(f"{url}/health", _ANSWER_TIMEOUT_S):
            raise ServerError(f"the Prefect server at {url} does not answer; check PREFECT_API_URL.")
        with _environment(PREFECT_API_URL=url):
            yield PrefectServer(url, is_owned=False)
        return
    if kept := _find_kept():
        if not wait_until_healthy(f"{kept.api}/health", 4 * _ANSWER_TIMEOUT_S, lambda: kept.is_alive):
            raise ServerError(
                f"the Prefect server at {kept.api}, which an earlier run left running, does not answer; "
                "`interpdisc stop-ui` stops it."
            )
        with _environment(PREFECT_API_URL=kept.api, PREFECT_API_AUTH_STRING=kept.auth):
            yield PrefectServer(kept.api, is_owned=False, auth=kept.auth)
        return
    folder = _make_server_folder()
    template = get_servers_folder() / f"database-{version('prefect')}.db"
    with suppress(OSError):
        shutil.copy(template, folder / _DATABASE_FILE)  # making its tables takes longer than all else
    auth = f"{_USER}:{secrets.token_urlsafe(12)}"
    with _open_listener() as listener, _open_log(folder / _LOG_FILE) as log:
        port, handle = listener.getsockname()[1], listener.fileno()
        api_url = f"http://127.0.0.1:{port}/api"
        serve = [sys.executable, "-P", "-m", "deploy.prefect_app", str(handle)]
        watchdog = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.parent_watchdog", "--socket", str(handle), *serve],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            cwd=folder,  # Prefect takes settings, and with them code, from .env and prefect.toml of its current folder
            umask=0o077,
            pass_fds=(handle,),
            env=os.environ | _build_server_environment(folder, port, auth),
        )
        listener.close()  # if the server and its watchdog are gone, nobody should wait for an answer
        is_started = False
        try:
            if not wait_until_healthy(f"{api_url}/health", _START_TIMEOUT_S, lambda: watchdog.poll() is None):
                template.unlink(missing_ok=True)  # in case it is what is wrong
                raise ServerError(
                    f"the Prefect server at {api_url} does not start; its log is {folder / _LOG_FILE}. Try again."
                )
            is_started = True
            if not template.exists():
                _copy_database(folder / _DATABASE_FILE, template)
            # The watchdog stands for the server, whose number changes if it is started again.
            server = LocalServer(api_url, auth, watchdog.pid, _read_start_time(watchdog.pid), False, folder)
            server.write()
            with _environment(PREFECT_API_URL=api_url, PREFECT_API_AUTH_STRING=auth):
                yield PrefectServer(api_url, is_owned=True, auth=auth, watchdog=watchdog)
        finally:
            numbers = watchdog.communicate("keep" if keep and is_started else "")[0].split()
            if keep and is_started:
                pid = int(numbers[-1])
                replace(server, pid=pid, started=_read_start_time(pid), is_kept=True).write()
            elif is_started:
                shutil.rmtree(folder, ignore_errors=True)  # one that did not start leaves its log


def stop_kept_servers() -> list[str]:
    """Stop the servers that earlier runs left running; returns their addresses."""
    kept = [server for server in _scan_servers() if server.is_kept]
    for server in kept:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            psutil.Process(server.pid).wait(10)
        shutil.rmtree(server.folder, ignore_errors=True)
    return [server.api for server in kept]


def get_servers_folder() -> Path:
    """Where the folders of this user's servers are."""
    return Path(platformdirs.user_state_dir("interpdisc"), "prefect")


def _build_server_environment(folder: Path, port: int, auth: str) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": auth,  # its services are clients of its own API
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",  # else the UI asks the usual port, whoever is there
        # The default lets any web page read what the server answers.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
    }


def _find_kept() -> LocalServer | None:
    """The latest server that an earlier run left with --keep-ui and whose process runs."""
    return next((server for server in list_local_servers() if server.is_kept), None)


def _scan_servers() -> list[LocalServer]:
    """The servers of this user that run. Folders of others are removed when they are old: a log may be wanted for a while."""
    servers = []
    for folder in sorted(get_servers_folder().glob("server-*")):
        server = _read_server(folder)
        if server is not None and server.is_alive:
            servers.append(server)
        else:
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _ORPHAN_AGE_S:
                    shutil.rmtree(folder, ignore_errors=True)
    return servers


def _read_server(folder: Path) -> LocalServer | None:
    try:
        return LocalServer(**json.loads((folder / _SERVER_FILE).read_text()), folder=folder)
    except (OSError, ValueError, TypeError):
        return None


def _read_start_time(pid: int) -> float:
    """When a process began, in a unit of the system; 0 if there is none of this number."""
    try:
        process = psutil.Process(pid)
        if not sys.platform.startswith("linux"):
            return process.create_time()
        # Since the machine's start: seconds since 1970 change when the clock is set.
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (psutil.Error, OSError):
        return 0.0


def _make_server_folder() -> Path:
    parent = get_servers_folder()
    parent.mkdir(parents=True, exist_ok=True)
    parent.chmod(0o700)  # also one that an earlier version made: databases and logs name images and folders
    _scan_servers()
    return Path(tempfile.mkdtemp(prefix="server-", dir=parent))


def _open_log(path: Path) -> BinaryIO:
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


def _copy_database(source: Path, target: Path) -> None:
    """Keep a copy of a new database, whose tables are made, for later servers; without it they only start later."""
    with suppress(OSError, sqlite3.Error), tempfile.TemporaryDirectory(dir=target.parent) as folder:
        copy = Path(folder, target.name)
        with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(copy)) as new_database:
            database.backup(new_database)
        copy.chmod(0o600)
        os.replace(copy, target)


def _open_listener() -> socket.socket:
    """A listening socket on loopback, at Prefect's usual port if it is free, else at any free port."""
    for port in (4200, 0):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port), backlog=128)
    raise ServerError("no free port on 127.0.0.1 for the Prefect server.")


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    previous = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in previous.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
