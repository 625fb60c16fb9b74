"""Dask between containers: who has no certificate of the cluster neither runs anything in it nor reads anything."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from deploy import make_certificates as certificates
from deploy.make_certificates import CERTIFICATE_FILE, KEY_FILE, make_certificates
from interpdisc_core.errors import PlanError
from tests.flows.conftest import wait_until
from tests.flows.test_deployment import GIVEN
from tests.helpers.ports import find_free_ports
from tests.rehearsal.composed import Translation, load_services


def test_certificates_are_made_once_and_are_the_owner_s(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    assert make_certificates(folder)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(files) == {CERTIFICATE_FILE, KEY_FILE}
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())
    assert x509.load_pem_x509_certificate(files[CERTIFICATE_FILE]).not_valid_after_utc > datetime.now(UTC) + timedelta(
        90
    )
    assert not make_certificates(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files


@pytest.mark.parametrize("damage", ["ends soon", "another key", "no key", "cut"])
def test_certificates_that_do_not_serve_are_made_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificates(tmp_path)
    before = (tmp_path / CERTIFICATE_FILE).read_bytes()
    if damage == "ends soon":
        monkeypatch.setattr(certificates, "_MIN_VALIDITY", timedelta(days=100_000))
    elif damage == "another key":
        make_certificates(tmp_path / "other")
        (tmp_path / KEY_FILE).write_bytes((tmp_path / "other" / KEY_FILE).read_bytes())
    elif damage == "no key":
        (tmp_path / KEY_FILE).unlink()
    else:
        (tmp_path / CERTIFICATE_FILE).write_bytes(before[:300])
    assert make_certificates(tmp_path)
    assert (tmp_path / CERTIFICATE_FILE).read_bytes() != before
    monkeypatch.undo()
    assert not make_certificates(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlanError, match="cannot be written there"):
        make_certificates(tmp_path / "file" / "tls")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The compose file's own scheduler and worker, by its commands, and its runner's variables for Dask."""
    folder = tmp_path_factory.mktemp("tls")
    ports = [("scheduler", "8786"), ("scheduler", "8787"), ("workers", "8788")]
    translation = Translation(dict(zip(ports, find_free_ports(3), strict=True)), folder)
    services = load_services(GIVEN)
    subprocess.run(translation.translate_command(services["certificates"]), check=True, cwd=folder)
    processes = []
    for name in ("scheduler", "workers"):
        own = {key: value for key, value in translation.translate_environment(services[name]).items() if "DASK" in key}
        with (folder / f"{name}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    translation.translate_command(services[name]),
                    env=os.environ | own,
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                )
            )
    runner = translation.translate_environment(services["runner"])
    try:
        wait_until(lambda: b"Registered to" in (folder / "workers.log").read_bytes(), 120)
        yield runner["DASK_SCHEDULER_ADDRESS"], {key: value for key, value in runner.items() if "COMM" in key}
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(30)


PROGRAM = """
import sys
from deploy.dask_cluster import connect_scheduler
with connect_scheduler(sys.argv[1], 10) as client:
    print("ran:", client.submit(lambda: 6 * 7).result(timeout=60))
"""


def run_client(address: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Submit a function to a scheduler, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, address],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_only_who_has_the_certificate_reaches_the_cluster(cluster: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = cluster
    assert address.startswith("tls://")
    served = run_client(address, environment)
    assert "ran: 42" in served.stdout, served.stderr
    plain = run_client(address.replace("tls://", "tcp://"), {})
    assert plain.returncode
    assert "no Dask scheduler answers" in plain.stderr
    without = run_client(address, {})
    assert without.returncode
    assert "TLS needs certificates" in without.stderr
    make_certificates(tmp_path)
    foreign = {
        key: str(tmp_path / Path(value).name) if value.startswith("/") else value for key, value in environment.items()
    }
    other = run_client(address, foreign)
    assert other.returncode
    assert "ran:" not in other.stdout
