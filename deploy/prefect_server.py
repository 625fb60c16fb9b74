"""The Prefect server of a run: the one that is configured, one that was kept, or one started on loopback for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from deploy.health import wait_until_healthy
from interpdisc_core.errors import InterpdiscError

_START_TIMEOUT_S, _ANSWER_TIMEOUT_S, _KEPT_TIMEOUT_S = 180.0, 20.0, 2.0
"""Seconds to wait for the first answer: of a server that was started now, of a configured one, of a kept one."""


class ServerError(InterpdiscError):
    """A Prefect server that does not start or answer."""


@dataclass(frozen=True)
class PrefectServer:
    """A server that answers.

    Attributes:
        api: Address for flow and workers.
        is_owned: Whether this run started it.
    """

    api: str
    is_owned: bool

    @property
    def ui(self) -> str:
        """Address of the UI, for people."""
        return self.api.removesuffix("/api")


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


def find_running_url() -> str | None:
    """The API address of a server that a run would use: the configured one, or one that an earlier run kept."""
    return find_configured_url() or _find_kept_url()


@contextmanager
def open_prefect_server(*, keep: bool) -> Iterator[PrefectServer]:
    """A server to run with; PREFECT_API_URL is set for this process and its children.

    A server that was started here is stopped at the end, also if this process is killed, unless `keep`.

    Raises:
        ServerError: If it does not answer.
    """
    if api_url := find_running_url():
        if not _answers(api_url, _ANSWER_TIMEOUT_S):
            raise ServerError(f"the Prefect server at {api_url} does not answer; check PREFECT_API_URL.")
        with _api_environment(api_url):
            yield PrefectServer(api_url, is_owned=False)
        return
    home = _kept_file().parent
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # also one that an earlier version made: its database and logs name images and folders
    reservation = _reserve_port()
    port = reservation.getsockname()[1]
    if sys.platform != "linux":
        reservation.close()
    api_url = f"http://127.0.0.1:{port}/api"
    serve = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_API_URL": api_url,  # else the UI asks the usual port, whoever listens there
        # The default lets any web page read what the server answers.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
    }
    with reservation, (home / f"server-{port}.log").open("ab") as log:
        watchdog = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.parent_watchdog", sys.executable, "-P", "-m", *serve],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            cwd=home,  # Prefect takes settings, and with them code, from .env and prefect.toml of its current folder
            umask=0o077,
            env=os.environ | environment,
        )
        try:
            if not _answers(api_url, _START_TIMEOUT_S, watchdog):
                raise ServerError(f"the Prefect server at {api_url} does not answer; its log is {log.name}.")
            if keep:
                pid = int(watchdog.stdout.readline()) if watchdog.stdout else 0
                _kept_file().write_text(json.dumps({"api": api_url, "pid": pid}))
            with _api_environment(api_url):
                yield PrefectServer(api_url, is_owned=True)
        finally:
            watchdog.communicate("keep" if keep else "")


@contextmanager
def _api_environment(address: str) -> Iterator[None]:
    previous = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = address
    try:
        yield
    finally:
        os.environ.pop("PREFECT_API_URL") if previous is None else os.environ.update(PREFECT_API_URL=previous)


def stop_kept_server() -> str | None:
    """Stop the server that an earlier run kept; returns its address, or None if there is none."""
    address = _find_kept_url()
    if address is None:
        return None
    os.killpg(int(json.loads(_kept_file().read_text())["pid"]), signal.SIGTERM)
    _kept_file().unlink(missing_ok=True)
    return address


def _kept_file() -> Path:
    return Path(platformdirs.user_state_dir("interpdisc"), "prefect", "kept.json")


def _find_kept_url() -> str | None:
    """The address of a server that an earlier run left with --keep-ui, if it still answers."""
    if not _kept_file().is_file():
        return None
    address = str(json.loads(_kept_file().read_text())["api"])
    if not _answers(address, _KEPT_TIMEOUT_S):
        _kept_file().unlink(missing_ok=True)
        return None
    return address


def _answers(api_url: str, timeout_s: float, process: "subprocess.Popen[str] | None" = None) -> bool:
    return wait_until_healthy(f"{api_url}/health", timeout_s, lambda: process is None or process.poll() is None)


def _reserve_port() -> socket.socket:
    """A socket that is bound to Prefect's usual port on loopback if it is free, else to any free port.

    While it is open, no other run reserves the same port, although its server may take a minute to listen there. The
    server itself can bind it: on Linux two sockets share a port if both have SO_REUSEADDR and none listens yet.
    """
    for port in (4200, 0):
        reservation = socket.socket()
        try:
            reservation.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return reservation
    raise ServerError("no free port on 127.0.0.1 for the Prefect server.")
