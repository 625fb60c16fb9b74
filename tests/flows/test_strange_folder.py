"""A whole run in somebody else's folder: it runs nothing of it, takes no settings from it, and talks to nobody outside."""

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from tests.flows.conftest import COMMAND
from tests.helpers import science_files

TRAPS = (
    *(f"{name}.py" for name in ("random", "json", "logging", "socket", "numpy", "yaml", "torch", "prefect", "dask")),
    *(f"{name}.py" for name in ("distributed", "rasterio", "onnxruntime", "sitecustomize", "usercustomize")),
    *(f"{name}/__init__.py" for name in ("deploy", "flows", "tasks", "interpdisc_core")),
)
PREFECT_FILES = {
    ".env": 'PREFECT_LOGGING_SETTINGS_PATH="{trap}/logging.yml"\nPREFECT_API_URL="http://203.0.113.7/api"\n',
    "prefect.toml": '[logging]\nconfig_path = "{trap}/logging.yml"\n[api]\nurl = "http://203.0.113.7/api"\n',
    "pyproject.toml": '[tool.prefect.logging]\nconfig_path = "{trap}/logging.yml"\n'
    '[tool.prefect.api]\nurl = "http://203.0.113.7/api"\n',
    "logging.yml": "version: 1\nhandlers: {{trap: {{class: logging.FileHandler, filename: {sprung}/settings}}}}\n"
    "root: {{handlers: [trap]}}\n",
}
SYSTEM_CALLS = "connect,sendto,sendmsg,sendmmsg"


@dataclass(frozen=True)
class TrapRun:
    """A finished run in the folder of traps.

    Attributes:
        exit_code: Of the command.
        output: What it printed.
        sprung: The traps that were run.
        calls: What strace recorded; None without it.
    """

    exit_code: int
    output: str
    sprung: list[str]
    calls: str | None


@pytest.fixture(scope="module")
def trap_run(tmp_path_factory: pytest.TempPathFactory) -> TrapRun:
    """`discover` with its own Prefect server, a worker, a network, and a product that a reader's process decodes."""
    folder = tmp_path_factory.mktemp("trap")
    home, trap = folder / "home", folder / "images"
    home.mkdir()
    trap.mkdir()
    (folder / "sprung").mkdir()
    for name in TRAPS:
        path = trap / name
        path.parent.mkdir(exist_ok=True)
        marker = folder / "sprung" / name.replace("/", ".")
        path.write_text(f"open({str(marker)!r}, 'w').close()\nraise ImportError('a trap')\n")
    for name, text in PREFECT_FILES.items():
        (trap / name).write_text(text.format(trap=trap, sprung=folder / "sprung"))
    draws = np.random.default_rng(7)
    for number in range(4):
        Image.fromarray(draws.integers(0, 255, (64, 64, 3), dtype="u1")).save(trap / f"{number}.png")
    (trap / "product.vic").write_bytes(science_files.make_vicar(draws.integers(0, 255, (1, 64, 64), dtype="u1")))
    own = ("PYTHON", "INTERPDISC", "PREFECT", "XDG_", "ORT_", "DO_NOT_TRACK", "DASK_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    env |= {"HOME": str(home), "COLUMNS": "200"}
    command = [*COMMAND, "discover", str(trap), "-n", "3", "--explain", "0", "--workers", "1", "--json"]
    command += ["--archive", str(folder / "archive"), "--out", str(folder / "report")]
    record = folder / "calls"
    strace = shutil.which("strace")
    if strace:
        command = [strace, "-f", "--seccomp-bpf", "-qq", "-e", f"trace={SYSTEM_CALLS}", "-o", str(record), *command]
    process = subprocess.Popen(
        command, cwd=trap, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    sprung = sorted(path.name for path in (folder / "sprung").iterdir())
    calls = record.read_text(errors="replace") if strace else None
    if process.returncode == 0:
        result = json.loads(out)
        assert result["candidates"] == 5, "the product was not read: its reader's process is part of the test"
    return TrapRun(process.returncode, out + err, sprung, calls)


@pytest.mark.slow
def test_nothing_of_the_current_folder_is_run(trap_run: TrapRun) -> None:
    """Neither by the command nor by the server, its watchdog, the worker, or the reader of planetary products."""
    assert trap_run.sprung == []
    assert trap_run.exit_code == 0, trap_run.output
    assert "203.0.113.7" not in trap_run.output


@pytest.mark.slow
def test_a_run_talks_to_nobody_outside(trap_run: TrapRun) -> None:
    """No connection beyond loopback, and no name looked up, of any process of a run."""
    if trap_run.calls is None:
        pytest.skip("strace is not installed: connections cannot be counted")
    assert trap_run.exit_code == 0, trap_run.output
    assert list_loopback_ports(trap_run.calls), "strace recorded no connection at all: not even the server's"
    assert list_outside_calls(trap_run.calls) == []


def list_outside_calls(record: str) -> list[str]:
    """The lines of a record of strace that name an address beyond loopback, or the port of name servers."""
    outside = []
    for line in record.splitlines():
        port = re.search(r"sin6?_port=htons\((\d+)\)", line)
        address = re.search(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
        if port and address:
            host = address[1] or address[2]
            is_loopback = host.startswith(("127.", "::ffff:127.")) or host == "::1"
            if port[1] == "53" or not is_loopback:
                outside.append(line)
    return outside


def list_loopback_ports(record: str) -> set[str]:
    """Ports of 127.0.0.1 that a record of strace names."""
    return set(re.findall(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("127\.0\.0\.1"\)', record))


def test_an_outside_call_is_recognised() -> None:
    """Of connections and lookups in strace's own words, in both families."""
    inside = (
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(4200), sin_addr=inet_addr("127.0.0.1")}, 16) = 0\n'
        '7 connect(6, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110) = -1 ENOENT (No such file)\n'
        "7 connect(5, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0\n'
    )
    outside = (
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0\n'
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("20.42.65.84")}, 16) = 0\n'
        "7 connect(5, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "2606:4700::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH\n'
    )
    assert list_outside_calls(inside + outside) == outside.splitlines()
    assert list_loopback_ports(inside) == {"4200"}
