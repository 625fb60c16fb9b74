"""What the Prefect server of a run lets others see and do, and that it outlives its own death."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from deploy import prefect_server
from deploy.prefect_server import LocalServer, ServerError, get_servers_folder, open_prefect_server
from tests.flows.conftest import CliRunner, have_ended, list_picks, wait_until


def ask(
    server: str, path: str = "flow_runs/count", data: bytes | None = b"{}", auth: str | None = None, **headers: str
) -> int:
    """The status of the server's answer; by default to a request with the password."""
    password = os.environ["PREFECT_API_AUTH_STRING"] if auth is None else auth
    request = urllib.request.Request(f"{server}/{path}", data, {"Content-Type": "application/json"})
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    if password:
        request.add_header("Authorization", f"Basic {base64.b64encode(password.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_who_knows_the_password_is_answered(server: str) -> None:
    assert ask(server) == 200
    assert ask(server, auth="") == 401
    assert ask(server, auth="interpdisc:guess") == 401
    assert ask(server, "variables/", b'{"name": "a", "value": 1}', auth="") == 401


def test_pages_of_other_addresses_are_refused(server: str) -> None:
    """Whatever password a browser may have stored."""
    own = server.removesuffix("/api")
    for origin in (own, own.replace("127.0.0.1", "localhost")):
        assert ask(server, Origin=origin) == 200
    for origin in ("http://foreign.example", "http://127.0.0.1:1", "null", f"{own}.foreign.example"):
        assert ask(server, Origin=origin) == 403
        assert ask(server, "health", None, Origin=origin) == 403
    assert ask(server, "health", None, Sec_Fetch_Site="cross-site") == 403
    assert ask(server, "health", None, Sec_Fetch_Site="same-site") == 403
    assert ask(server, "health", None, Sec_Fetch_Site="same-origin") == 200
    # A link from elsewhere to the UI opens it.
    navigation = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask(own, "", None, **navigation) == 200


@pytest.mark.parametrize(
    "host", ["foreign.example", "foreign.example:4200", "", "127.0.0.1.foreign.example", "[", "1:x"]
)
def test_another_host_is_refused(server: str, host: str) -> None:
    """A name of another site that is made to point here."""
    assert ask(server, Host=host) in (400, 421)


def test_a_web_socket_of_a_foreign_page_is_refused(server: str) -> None:
    address = urlsplit(server)
    for origin, status in (("http://foreign.example", b" 403"), (f"http://{address.netloc}", b" 101")):
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            lines = [
                "GET /api/events/in HTTP/1.1",
                f"Host: {address.netloc}",
                f"Origin: {origin}",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Protocol: prefect",
            ]
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            assert status in connection.recv(200).split(b"\r\n")[0]


def test_database_log_and_password_are_the_owner_s(server: str) -> None:
    """Other users of the machine can neither enter the server's folder nor read its files."""
    folder = get_servers_folder()
    assert folder.stat().st_mode & 0o077 == 0
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"prefect.db", "server.json", "server.log"} <= {file.name for file in files}
    assert [file for file in files if file.stat().st_mode & 0o077] == []
    (found,) = prefect_server.list_local_servers()
    command_lines = [" ".join(process.cmdline()) for process in _find_processes(found.folder)]
    assert command_lines
    assert not any(found.auth.partition(":")[2] in line for line in command_lines)


def test_a_killed_server_is_started_again(server: str) -> None:
    """With its address and its database: whoever asks in the meantime waits."""
    count = ask(server, "variables/", b'{"name": "before_the_end", "value": 1}')
    assert count == 201
    (found,) = prefect_server.list_local_servers()
    (process,) = [each for each in _find_processes(found.folder) if "deploy.prefect_app" in each.cmdline()[3:4]]
    wait_until(lambda: time.time() - process.create_time() > 6)
    process.kill()
    assert ask(server, "variables/name/before_the_end", None) == 200
    assert [each.pid for each in prefect_server.list_local_servers()] == [found.pid]


def test_a_configured_server_that_is_silent_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", url)
        with (
            pytest.raises(ServerError, match="does not answer; check PREFECT_API_URL"),
            open_prefect_server(keep=False),
        ):
            pass


def test_a_kept_server_that_is_busy_stays_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file stays, and the sentence says how to stop it; if its number was given to another process, it is none."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "")
    monkeypatch.setattr(prefect_server, "_ANSWER_TIMEOUT_S", 0.1)
    folder = get_servers_folder() / "server-kept"
    folder.mkdir(parents=True)
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
            started = prefect_server._read_start_time(sleeper.pid)
            LocalServer(url, "a:b", sleeper.pid, started, True, folder).write()
            with pytest.raises(ServerError, match="stop-ui"), open_prefect_server(keep=False):
                pass
            assert prefect_server.find_running_url() == url
            LocalServer(url, "a:b", sleeper.pid, started - 1, True, folder).write()
            assert prefect_server.find_running_url() is None
            assert prefect_server.stop_kept_servers() == []
        assert sleeper.poll() is None
    finally:
        sleeper.communicate(b"\n")


def test_folders_of_killed_servers_are_removed_when_they_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name, age in (("server-old", 7200), ("server-new", 60)):
        folder = get_servers_folder() / name
        folder.mkdir(parents=True)
        (folder / "server.json").write_text("{")
        before = folder.stat().st_mtime - age
        os.utime(folder, (before, before))
    assert prefect_server.list_local_servers() == []
    assert [folder.name for folder in get_servers_folder().iterdir()] == ["server-new"]


@pytest.mark.slow
def test_a_run_goes_on_when_its_server_is_killed(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, pixel_plan: Path
) -> None:
    """The work needs no server: it ends with the same picks, exit code 0, and without a page of errors."""
    env = {"PREFECT_API_URL": "", "XDG_STATE_HOME": str(tmp_path / "state")}
    arguments: list[str | Path] = [tiles[0], "--plan", pixel_plan, "--block", "20", "--workers", "1"]
    straight = interpdisc.run_discover(*arguments, "--archive", tmp_path / "straight", **env)
    job = interpdisc.start("discover", *arguments, "--archive", tmp_path / "killed", "--json", **env)
    wait_until(lambda: any((tmp_path / "killed").glob("features/*/*/records/*.json")), 240)
    servers = [p for p in job.list_descendants() if "deploy.prefect_app" in p.cmdline()[3:4]]
    assert servers
    for process in servers:
        process.kill()
    code, out, err = job.wait(400)
    assert code == 0, err
    assert "Traceback" not in err
    assert len(err) < 4000
    assert list_picks(json.loads(out)) == list_picks(straight)


@pytest.mark.slow
def test_two_runs_started_together_have_a_server_each(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, pixel_plan: Path
) -> None:
    env = {"PREFECT_API_URL": "", "XDG_STATE_HOME": str(tmp_path / "state")}
    command: list[str | Path] = ["discover", tiles[0], "--plan", pixel_plan, "--workers", "1", "-n", "5"]
    jobs = [interpdisc.start(*command, "--archive", tmp_path / name, **env) for name in "ab"]
    ended: list[tuple[int, str, str]] = []
    threads = [threading.Thread(target=lambda job=job: ended.append(job.wait(600))) for job in jobs]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [code for code, _, _ in ended] == [0, 0], ended
    addresses = {err.partition("Prefect UI: ")[2].split()[0] for _, _, err in ended}
    assert len(addresses) == 2
    assert not list((tmp_path / "state" / "interpdisc" / "prefect").glob("server-*"))


def _find_processes(folder: Path) -> list[psutil.Process]:
    """The processes whose current folder is that of a server."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_a_run_whose_server_cannot_be_started_again_stops_with_a_sentence(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, pixel_plan: Path
) -> None:
    """The watchdog is killed too: exit code 1, one sentence, nothing left running; the same command resumes."""
    env = {"PREFECT_API_URL": "", "XDG_STATE_HOME": str(tmp_path / "state")}
    arguments: list[str | Path] = [tiles[0], "--plan", pixel_plan, "--block", "10", "--workers", "1"]
    job = interpdisc.start("discover", *arguments, "--archive", tmp_path / "archive", "--json", **env)
    wait_until(lambda: any((tmp_path / "archive").glob("features/*/*/records/*.json")), 240)
    descendants = job.list_descendants()
    watchdogs = [p for p in descendants if "deploy.parent_watchdog" in p.cmdline()[3:4]]
    servers = [p for p in descendants if "deploy.prefect_app" in p.cmdline()[3:4]]
    for process in [*watchdogs, *servers]:
        process.kill()
    began = time.monotonic()
    code, _, err = job.wait(300)
    print(f"ended after {time.monotonic() - began:.0f} s")
    assert code == 1, err
    assert "has ended, and could not be started again" in err
    assert "Run the same command again to resume" in err
    assert "Traceback" not in err
    assert len(err) < 4000, err
    wait_until(lambda: have_ended(descendants), 60)
    interpdisc.run_discover(*arguments, "--archive", tmp_path / "archive", **env)
