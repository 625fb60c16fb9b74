"""Real runs: the command as a user gives it, against one real Prefect server for the whole session."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.health import wait_until_healthy
from tests.helpers.ports import find_free_ports

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = [str(Path(sys.executable).with_name("interpdisc"))]


@dataclass
class CliProcess:
    """One call of the command line, running or over."""

    process: "subprocess.Popen[str]"

    def wait(self, timeout: float = 300) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def kill_tree(self) -> None:
        """Send SIGKILL to the command and all its descendants at once; returns when all of them have ended."""
        descendants = self.list_descendants()
        self.process.kill()
        for process in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):  # workers end with the command, perhaps sooner
                process.kill()
        self.process.wait()
        wait_until(lambda: have_ended(descendants))

    def list_descendants(self) -> list[psutil.Process]:
        """The running processes that the command started, directly or not."""
        return psutil.Process(self.process.pid).children(recursive=True)


@dataclass
class CliRunner:
    """Calls the command line with an environment of its own."""

    env: dict[str, str]

    def start(self, *args: str | Path, **env: str) -> CliProcess:
        return CliProcess(
            subprocess.Popen(
                [*COMMAND, *map(str, args)],
                cwd=CHECKOUT,
                env=self.env | env,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        )

    def __call__(self, *args: str | Path, expect: int = 0, **env: str) -> tuple[str, str]:
        code, out, err = self.start(*args, **env).wait()
        assert code == expect, f"exit code {code}, not {expect}\n{out}\n{err}"
        return out, err

    def run_discover(self, *args: str | Path, **env: str) -> dict[str, Any]:
        """The result of a run."""
        out, _ = self("discover", *args, "--json", **env)
        result: dict[str, Any] = json.loads(out)
        return result


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a real Prefect server on loopback, with a database of its own."""
    home = tmp_path_factory.mktemp("state")
    previous = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(home)
    from deploy.prefect_server import open_prefect_server

    with open_prefect_server(keep=False) as running:
        yield running.api
    os.environ.pop("XDG_STATE_HOME") if previous is None else os.environ.update(XDG_STATE_HOME=previous)


def server_environment(server: str) -> dict[str, str]:
    """The variables that lead a process to the session's server, with its password."""
    return {"PREFECT_API_URL": server, "PREFECT_API_AUTH_STRING": os.environ["PREFECT_API_AUTH_STRING"]}


def post_to_server(server: str, path: str, body: dict[str, Any]) -> Any:
    """The answer of the session's server, as JSON."""
    password = base64.b64encode(os.environ["PREFECT_API_AUTH_STRING"].encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {password}"}
    request = urllib.request.Request(f"{server}/{path}", json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="session")
def interpdisc(server: str, tmp_path_factory: pytest.TempPathFactory) -> CliRunner:
    """The command line, set to use the session's server, without settings of whoever runs the tests."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("INTERPDISC_", "PYTHONPATH"))}
    settings = {"PREFECT_API_URL": server, "COLUMNS": "200", "XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config"))}
    return CliRunner(env | settings)


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo's tiles of real photos, and their labels."""
    from deploy.demo import make_tiles

    return make_tiles(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment of an S3 store of the module's own."""
    with open_s3_store() as environment:
        yield environment


@contextlib.contextmanager
def open_s3_store() -> Iterator[dict[str, str]]:
    """An S3 server on loopback: the environment that points AWS clients to the server; bucket `rover` exists."""
    [port] = find_free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        assert wait_until_healthy(env["AWS_ENDPOINT_URL"], 60, lambda: process.poll() is None)
        os.environ.update(env)
        from interpdisc_core.storage import remote_files

        remote_files._make_s3_filesystem.cache_clear()  # another module's client knows another server
        remote_files.get_s3_filesystem().mkdir("rover")
        yield env
        remote_files._make_s3_filesystem.cache_clear()
    finally:
        process.terminate()
        process.wait(20)
        for name in env:
            os.environ.pop(name, None)


@pytest.fixture
def pixel_plan(tmp_path: Path) -> Path:
    """A plan whose representation needs no network: quick, where the network is not what is tested."""
    path = tmp_path / "pixels.json"
    path.write_text(json.dumps({"representation": {"kind": "pixels", "side": 8}, "picks": 12, "explain": 0}))
    return path


def have_ended(processes: list[psutil.Process]) -> bool:
    """Whether none of the processes runs any more; a zombie counts as ended."""

    def is_running(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:  # it ended between the two calls
            return False

    return not any(is_running(process) for process in processes)


def get_command_line(process: psutil.Process) -> str:
    """The command line of a process; empty if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def list_picks(result: dict[str, Any]) -> list[tuple[str, float]]:
    """What must be the same in two runs: ids and scores, to the last bit."""
    return [(pick["id"], pick["score"]) for pick in result["picks"]]


def wait_until(condition: Callable[[], object], timeout_s: float = 120) -> None:
    """Wait until something is the case."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
