"""The Prefect server of a run: the one that is configured, one that was kept, or one started on loopback for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from interpdisc_core.errors import InterpdiscError

_PATIENCE = 180.0
"""Seconds that a server may take to answer."""


class ServerError(InterpdiscError):
    """A Prefect server that does not start or answer."""


@dataclass(frozen=True)
class Server:
    """api: the address that flow and workers use; ui: the one for people; ours: whether this run started it."""

    api: str
    ours: bool

    @property
    def ui(self) -> str:
        """The address of the UI."""
        return self.api.removesuffix("/api")


def configured() -> str | None:
    """The API address from the environment or from the active Prefect profile."""
    if "PREFECT_API_URL" in os.environ:
        return os.environ["PREFECT_API_URL"] or None
    profiles = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"), "profiles.toml")
    if not profiles.is_file():
        return None
    import tomllib

    told = tomllib.loads(profiles.read_text())
    active = os.environ.get("PREFECT_PROFILE") or told.get("active")
    url = told.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(url) if url else None


@contextmanager
def prefect_server(*, keep: bool) -> Iterator[Server]:
    """A server to run against; PREFECT_API_URL is set for this process and its children.

    One that was started here is stopped at the end, and also if this process is killed, unless `keep`.
    Raises ServerError where it does not come up.
    """
    # Workers must never start temporary servers of their own, and nothing is reported to anyone.
    os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    address = configured() or _kept()
    if address:
        _answers(address, 20.0)
        with _api(address):
            yield Server(address, ours=False)
        return
    home = Path(platformdirs.user_state_dir("interpdisc"), "prefect")
    home.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    address = f"http://127.0.0.1:{port}/api"
    with open(home / "server.log", "wb") as log:
        leash = subprocess.Popen(
            [sys.executable, "-m", "deploy.leash", sys.executable, "-m", "prefect", "server", "start",
             "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            env=os.environ | {"PREFECT_HOME": str(home), "PREFECT_LOGGING_SERVER_LEVEL": "WARNING", "PYTHONPATH": _checkout(),
                              "PREFECT_SERVER_UI_API_URL": address},  # else the UI asks the usual port, whoever is there
        )  # fmt: skip
        try:
            _answers(address, _PATIENCE, leash, home / "server.log")
            if keep:
                pid = int(leash.stdout.readline()) if leash.stdout else 0
                (home / "kept.json").write_text(json.dumps({"api": address, "pid": pid}))
            with _api(address):
                yield Server(address, ours=True)
        finally:
            leash.communicate("keep" if keep else "")


@contextmanager
def _api(address: str) -> Iterator[None]:
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = address
    try:
        yield
    finally:
        os.environ.pop("PREFECT_API_URL") if before is None else os.environ.update(PREFECT_API_URL=before)


def stop_kept() -> str | None:
    """Stop the server that an earlier run left; returns its address, or None where there is none."""
    address = _kept()
    if address is None:
        return None
    note = Path(platformdirs.user_state_dir("interpdisc"), "prefect", "kept.json")
    os.killpg(int(json.loads(note.read_text())["pid"]), signal.SIGTERM)
    note.unlink(missing_ok=True)
    return address


def _kept() -> str | None:
    """The address of a server that an earlier run left with --keep-ui, if it still answers."""
    note = Path(platformdirs.user_state_dir("interpdisc"), "prefect", "kept.json")
    if not note.is_file():
        return None
    address = str(json.loads(note.read_text())["api"])
    try:
        _answers(address, 2.0)
    except ServerError:
        note.unlink(missing_ok=True)
        return None
    return address


def _answers(
    address: str, patience: float, process: "subprocess.Popen[str] | None" = None, log: Path | None = None
) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process is not None and process.poll() is not None:
                break
        time.sleep(0.2)
    more = f"; its log is {log}" if log else "; check PREFECT_API_URL"
    raise ServerError(f"the Prefect server at {address} does not answer{more}.")


def _free_port() -> int:
    """Prefect's usual port where it is free, else any."""
    for port in (4200, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServerError("no free port on 127.0.0.1 for the Prefect server.")


def _checkout() -> str:
    here = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
