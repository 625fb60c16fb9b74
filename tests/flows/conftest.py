"""Real runs: the command as a user gives it, against one real Prefect server for the whole session."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "deploy"]


@dataclass
class Job:
    """One call of the command line, running or over."""

    process: "subprocess.Popen[str]"

    def finish(self, timeout: float = 300) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def kill_tree(self) -> None:
        """kill −9 of the command and of every process below it, at once."""
        import psutil

        everyone = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for process in everyone:
            process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Command:
    """Calls the command line with an environment of its own."""

    env: dict[str, str]

    def start(self, *args: str | Path, **env: str) -> Job:
        return Job(
            subprocess.Popen(
                [*COMMAND, *map(str, args)], cwd=CHECKOUT, env=self.env | env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )
        )  # fmt: skip

    def __call__(self, *args: str | Path, expect: int = 0, **env: str) -> tuple[str, str]:
        code, out, err = self.start(*args, **env).finish()
        assert code == expect, f"exit code {code}, not {expect}\n{out}\n{err}"
        return out, err

    def discover(self, *args: str | Path, **env: str) -> dict[str, Any]:
        """The result of a run."""
        out, _ = self("discover", *args, "--json", **env)
        result: dict[str, Any] = json.loads(out)
        return result


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a real Prefect server on loopback, with a database of its own."""
    home = tmp_path_factory.mktemp("state")
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(home)
    from deploy.server import prefect_server

    with prefect_server(keep=False) as running:
        yield running.api
    os.environ.pop("XDG_STATE_HOME") if before is None else os.environ.update(XDG_STATE_HOME=before)


@pytest.fixture(scope="session")
def interpdisc(server: str) -> Command:
    """The command line, told to use the session's server."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return Command(env | {"PREFECT_API_URL": server, "PYTHONPATH": str(CHECKOUT), "COLUMNS": "200"})


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo's tiles of real photos, and their labels."""
    from deploy.demo import make_tiles

    return make_tiles(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that points AWS clients to the server; bucket `rover` exists."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(env["AWS_ENDPOINT_URL"], timeout=2)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        os.environ.update(env)
        from interpdisc_core import storage

        storage._s3.cache_clear()  # another module's client knows another server
        storage.s3_filesystem().mkdir("rover")
        yield env
        storage._s3.cache_clear()
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


def picked(result: dict[str, Any]) -> list[tuple[str, float]]:
    """What must be the same in two runs: ids and scores, to the last bit."""
    return [(pick["id"], pick["score"]) for pick in result["picks"]]


def until(condition: Callable[[], object], patience: float = 120) -> None:
    """Wait until something is the case."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
