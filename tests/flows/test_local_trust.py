"""What other users and strangers' folders cannot do to a run: reach its workers, or bring code or settings into it."""

import ast
import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import CHECKOUT


def test_every_started_python_ignores_the_current_folder() -> None:
    """Wherever a command begins with this interpreter, `-P` follows."""
    found = 0
    for folder in ("deploy", "flows", "tasks", "interpdisc_core", "tests/rehearsal", "benchmarks"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                items = node.elts if isinstance(node, ast.List | ast.Tuple) else []
                for item, after in zip(items, [*items[1:], None], strict=False):
                    if ast.unparse(item) == "sys.executable":
                        found += 1
                        assert isinstance(after, ast.Constant), f"{path}:{item.lineno}"
                        assert after.value == "-P", f"{path}:{item.lineno}"
    assert found >= 4


def test_a_stranger_does_not_reach_a_local_cluster() -> None:
    """Neither without encryption nor with a certificate of its own."""
    from distributed import Client, LocalCluster
    from distributed.security import Security

    from deploy.task_runners import make_local_runner

    wanted = make_local_runner(1).cluster_kwargs | {"preload": []}
    with LocalCluster(**wanted) as cluster, Client(cluster, set_as_default=False) as owner:
        workers = owner.scheduler_info()["workers"]
        addresses = [cluster.scheduler_address, *workers, *(worker["nanny"] for worker in workers.values())]
        assert len(set(addresses)) == 3
        assert owner.submit(sum, [1, 2]).result(60) == 3
        for address in addresses:
            assert address.startswith("tls://")
        import urllib.error
        import urllib.request

        info = owner.scheduler_info()
        ports = [info["services"]["dashboard"], *(w["services"]["dashboard"] for w in info["workers"].values())]
        for port in ports:
            for page in ("info/main/workers.html", "json/identity.json", "metrics", "status"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)
        for security in (None, Security.temporary()):
            address = cluster.scheduler_address if security else cluster.scheduler_address.replace("tls", "tcp")
            with pytest.raises((OSError, TimeoutError)):
                Client(address, security=security, timeout=2, set_as_default=False)
            for address in addresses:
                asyncio.run(_refuses(address if security else address.replace("tls", "tcp"), security))
        asyncio.run(_admits(addresses, cluster.security))


async def _refuses(address: str, security: Any) -> None:
    """A stranger's connection fails, or its first question gets no answer."""
    from distributed.core import rpc

    stranger = rpc(address, timeout=2, connection_args=security.get_connection_args("client") if security else {})
    try:
        with pytest.raises((OSError, TimeoutError)):
            await asyncio.wait_for(stranger.identity(), 4)
    finally:
        await stranger.close_rpc()


async def _admits(addresses: list[str], security: Any) -> None:
    """The same question of the owner is answered, so that a refusal above means something."""
    from distributed.core import rpc

    for address in addresses:
        owner = rpc(address, timeout=5, connection_args=security.get_connection_args("client"))
        try:
            assert (await asyncio.wait_for(owner.identity(), 10))["type"]
        finally:
            await owner.close_rpc()


def test_only_the_owner_enters_the_folders_of_workers(tmp_path: Path) -> None:
    """What workers spill is unpickled when it is read back: its folder is private, and gone after the run."""
    program = (
        "import os, stat\n"
        "from deploy.task_runners import make_local_runner\n"
        "from distributed import Client, LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    wanted = make_local_runner(1).cluster_kwargs | {'preload': []}\n"
        "    with LocalCluster(**wanted) as cluster, Client(cluster) as client:\n"
        "        where = list(client.run(lambda dask_worker: dask_worker.local_directory).values())[0]\n"
        "        folder = wanted['local_directory']\n"
        "        assert where.startswith(folder + '/'), where\n"
        "        print(folder, oct(stat.S_IMODE(os.stat(folder).st_mode)))\n"
    )
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, "-P", str(tmp_path / "program.py")]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    folder, mode = done.stdout.split()
    assert (Path(folder).parent, mode) == (tmp_path, "0o700")
    assert not Path(folder).exists()


def test_settings_of_prefect_do_not_come_from_the_current_folder(tmp_path: Path) -> None:
    """A `.env` beside the images would choose Prefect's logging settings, which may call anything."""
    (tmp_path / ".env").write_text(f"PREFECT_LOGGING_SETTINGS_PATH={tmp_path}/logging.yml\n")
    program = (
        "import deploy.workers; from prefect.settings import get_current_settings as s; print(s().logging.config_path)"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert str(tmp_path) not in done.stdout
