"""A scheduler and two workers started by hand, one of them with nothing but the core installed."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import CHECKOUT, CliRunner, list_picks, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def core_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the built wheel of the core and the libraries it needs, and neither `tasks` nor `flows`."""
    folder = tmp_path_factory.mktemp("core-only")
    pip = [sys.executable, "-m", "pip"]
    wheel = [
        *pip,
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        CHECKOUT / "interpdisc_core",
    ]
    subprocess.run(wheel, check=True, cwd=folder)
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True
        ).strip()
    )
    (built,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", site, built], check=True)
    # Its libraries are those of this environment, by path: a plain line in a .pth file does not bring along that
    # environment's own .pth files, so the editable checkout stays out.
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    probe = "import importlib.util as u; print([n for n in ('interpdisc_core', 'tasks', 'flows', 'deploy') if u.find_spec(n)])"
    packages = subprocess.check_output([python, "-c", probe], text=True, cwd=folder)
    assert packages.strip() == "['interpdisc_core']"
    return python


@pytest.fixture(scope="module")
def scheduler(
    core_only: Path, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, Path]]]:
    """The address of a scheduler with one worker of the checkout and one of the core alone, and the workers' logs."""
    folder = tmp_path_factory.mktemp("cluster")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    from deploy.run_flow import LOGGING_ENVIRONMENT

    env |= LOGGING_ENVIRONMENT | {"PREFECT_API_URL": server}
    address_file = folder / "scheduler.json"
    dask = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    processes = [
        subprocess.Popen(
            [sys.executable, *dask, "--scheduler-file", address_file], env=env, cwd=folder, stderr=subprocess.DEVNULL
        )
    ]
    try:
        wait_until(address_file.exists)
        import json

        address = json.loads(address_file.read_text())["address"]
        logs = {}
        for name, python, path in (("checkout", sys.executable, str(CHECKOUT)), ("core", str(core_only), "")):
            logs[name] = folder / f"{name}.log"
            with logs[name].open("w") as log:
                command = [
                    python,
                    "-m",
                    "distributed.cli.dask_worker",
                    address,
                    "--nthreads",
                    "1",
                    "--no-nanny",
                    "--name",
                    name,
                    "--no-dashboard",
                ]
                processes.append(
                    subprocess.Popen(
                        command, env=env | ({"PYTHONPATH": path} if path else {}), cwd=folder, stdout=log, stderr=log
                    )
                )
        yield address, logs
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:  # a Dask worker now and then waits for ever for tasks of its own to end
                process.kill()
                process.wait()


def test_workers_started_by_hand_make_the_same_picks(
    interpdisc: CliRunner, tiles: tuple[Path, Path], scheduler: tuple[str, dict[str, Path]], tmp_path: Path
) -> None:
    """The picks are those of a local cluster, and the worker that has only the core did its part of the blocks."""
    address, _ = scheduler
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        args = [tiles[0], "-n", "40", "--explain", "2", "--block", "32"]
        by_hand = interpdisc.run_discover(*args, "--archive", tmp_path / "by-hand", "--scheduler", address)
        local = interpdisc.run_discover(*args[:-4], "--explain", "0", "--archive", tmp_path / "local")
        assert list_picks(by_hand) == list_picks(local)

        def worked() -> dict[str, bool]:
            return client.run(lambda: "interpdisc_core.pipeline.extract" in __import__("sys").modules)

        assert len(worked()) == 2
        assert all(worked().values()), "both workers extracted blocks"
        without = client.run(lambda: [n for n in ("tasks", "flows") if __import__("importlib").util.find_spec(n)])
        assert [] in without.values(), "one of them has neither tasks nor flows"


def test_an_unreachable_scheduler_is_one_sentence(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path
) -> None:
    """Exit code 2 and a sentence where nothing answers at the address."""
    _, err = interpdisc("discover", tiles[0], "--archive", tmp_path, "--scheduler", "tcp://127.0.0.1:9", expect=2)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in err


def test_network_tasks_go_to_gpu_workers(server: str, tmp_path: Path) -> None:
    """Where a worker offers GPU, extraction and rendering run there and nowhere else, one a GPU at a time."""
    script = tmp_path / "placed.py"
    script.write_text(PLACED)
    env = os.environ | {"PREFECT_API_URL": server, "PYTHONPATH": str(CHECKOUT)}
    out = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, timeout=240, check=True
    ).stdout
    assert "extract block ['gpu']" in out
    assert "check ['cpu', 'gpu']" in out


PLACED = """
import time
from distributed import Client, Nanny, SpecCluster, Scheduler
from prefect import flow, task
from deploy.task_runners import make_remote_runner

def where():
    from distributed import get_worker
    time.sleep(0.5)
    return get_worker().name

extract = task(name="extract block")(where)
check = task(name="check")(where)

@flow
def placed():
    for one in (extract, check):
        print(one.name, sorted(set(future.result() for future in [one.submit() for _ in range(6)])))

if __name__ == "__main__":
    local = {"host": "127.0.0.1", "dashboard_address": None}
    workers = {
        "cpu": {"cls": Nanny, "options": {"nthreads": 1, **local}},
        "gpu": {"cls": Nanny, "options": {"nthreads": 1, "resources": {"GPU": 1}, **local}},
    }
    with SpecCluster(workers, scheduler={"cls": Scheduler, "options": local}) as cluster:
        with Client(cluster) as client:
            client.wait_for_workers(2)
        placed.with_options(task_runner=make_remote_runner(cluster.scheduler_address))()
"""
