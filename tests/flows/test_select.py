"""`interpdisc select` as a user gives it: on bare features, over the workers of a real Dask cluster, and with a memory."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.task_runners import MALLOC_ENVIRONMENT
from tests.flows.conftest import CHECKOUT, COMMAND, wait_until

ENV = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
    "PYTHONPATH": str(CHECKOUT),
    "OMP_NUM_THREADS": "1",
    **MALLOC_ENVIRONMENT,
}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 rows of 64 features in clusters, float32."""
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(40, 64))[rng.integers(0, 40, 5000)] * 2 + rng.normal(size=(5000, 64))
    path = tmp_path_factory.mktemp("features") / "rows.npy"
    np.save(path, rows.astype(np.float32))
    return path


def select(*args: object) -> dict[str, Any]:
    """The result of a selection."""
    command = [*COMMAND, "select", *map(str, args), "--json"]
    done = subprocess.run(command, cwd=CHECKOUT, env=ENV, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def told(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What must be the same, to the last bit."""
    return [(pick["id"], pick["score"], pick["near_ties"]) for pick in result["picks"]]


def test_a_memory_counts_as_known_and_can_be_taken_back(features: Path, tmp_path: Path) -> None:
    """A horizon of batches gives the picks of the same rows as a background; a batch that is forgotten never was."""
    archive = tmp_path / "archive"

    def call(*args: str) -> str:
        command = [*COMMAND, *args]
        return subprocess.run(command, cwd=CHECKOUT, env=ENV, capture_output=True, text=True, check=True).stdout

    for name, where in (("sol-9", "row < 900"), ("sol-10", "row >= 900 and row < 1500"), ("bad", "row >= 1500")):
        call("remember", str(features), "mast", name, "--where", where, "--memory", str(archive))
    call("forget", str(archive), "mast", "bad")
    some = [features, "-n", 25, "-k", 10, "--where", "row >= 4000"]
    horizon = select(*some, "--stratum", "mast", "--memory", archive, "--out", tmp_path / "a")
    known = select(*some, "--background", features, "--background-where", "row < 1500", "--out", tmp_path / "b")
    assert [pick["id"] for pick in horizon["picks"]] == [pick["id"] for pick in known["picks"]]
    np.testing.assert_allclose(*([pick["score"] for pick in one["picks"]] for one in (horizon, known)), rtol=1e-9)
    assert horizon["horizon"] == {"stratum": "mast", "batches": ["sol-9", "sol-10"], "count": 1500}
    last = select(*some, "--stratum", "mast", "--memory", archive, "--last", 1, "--out", tmp_path / "c")
    assert last["horizon"]["batches"] == ["sol-10"]
    alone = select(
        *some, "--background", features, "--background-where", "row >= 900 and row < 1500", "--out", tmp_path / "d"
    )
    assert [pick["id"] for pick in last["picks"]] == [pick["id"] for pick in alone["picks"]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """The address of a scheduler, and two workers of one thread."""
    file = tmp_path / "scheduler.json"
    here = ["--host", "127.0.0.1", "--no-dashboard"]
    run = [sys.executable, "-m"]
    log = (tmp_path / "cluster.log").open("w")
    processes = [
        subprocess.Popen(
            [*run, "distributed.cli.dask_scheduler", *here, "--port", "0", "--scheduler-file", file],
            env=ENV,
            stdout=log,
            stderr=log,
        )
    ]
    try:
        wait_until(file.exists)
        address = json.loads(file.read_text())["address"]
        for _ in range(2):
            command = [*run, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", *here]
            processes.append(subprocess.Popen(command, env=ENV, stdout=log, stderr=log))
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        log.close()


@pytest.mark.slow
def test_workers_look_at_the_rows_and_one_dies(
    features: Path, cluster: tuple[str, list["subprocess.Popen[bytes]"]], tmp_path: Path
) -> None:
    """Over two workers the picks are those of one process, to the bit, also where one is killed −9 on the way."""
    address, workers = cluster
    wanted = select(features, "-n", 120, "-k", 12, "--out", tmp_path / "alone")
    spread = select(features, "-n", 120, "-k", 12, "--scheduler", address, "--out", tmp_path / "spread")
    assert told(spread) == told(wanted)

    out = tmp_path / "killed"
    command = [
        *COMMAND,
        "select",
        str(features),
        "-n",
        "120",
        "-k",
        "12",
        "--scheduler",
        address,
        "--out",
        str(out),
        "--json",
    ]
    running = subprocess.Popen(command, cwd=CHECKOUT, env=ENV, stdout=subprocess.PIPE, text=True)

    def made() -> int:
        state = out / "selection.json"
        return len(json.loads(state.read_text()).get("rows", [])) if state.exists() else 0

    wait_until(made)
    workers[0].send_signal(signal.SIGKILL)
    then = made()
    answer, _ = running.communicate(timeout=240)
    assert running.returncode == 0
    assert then < 120, "it was over before the worker was killed"
    assert told(json.loads(answer)) == told(wanted)


def test_a_scheduler_that_is_not_there_is_one_sentence(features: Path, tmp_path: Path) -> None:
    """Exit code 2."""
    command = [*COMMAND, "select", str(features), "--scheduler", "tcp://127.0.0.1:9", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, env=ENV, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in done.stderr
