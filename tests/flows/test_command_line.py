"""The command line without a server: help, settings, exit codes, what it prints, and what it checks first."""

import ast
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

import tasks
from deploy import task_runners
from deploy.cli import COMMANDS, app
from deploy.commands import exit_on_error
from deploy.commands.checks import check_scheduler
from deploy.commands.config import CONFIG_SETTINGS, load_config
from deploy.commands.daily import print_daily_result
from deploy.commands.evaluate import print_evaluation
from deploy.commands.output import print_discovery, print_table
from deploy.progress import ProgressBars
from interpdisc_core.errors import DiskFullError, InterpdiscError, PlanError, StoreError
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.reporting.escaping import escape_controls

NAMES = [
    function.__name__.removesuffix("_command").replace("_", "-") for group in COMMANDS.values() for function in group
]


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "120", "TERM": "dumb"})


def test_help_lists_every_command_in_groups() -> None:
    for option in ("-h", "--help"):
        result = call(option)
        assert result.exit_code == 0
        assert all(group in result.output for group in COMMANDS)
        assert all(f" {name} " in result.output for name in NAMES)
        assert all(f"{name} (" in result.output for name in CONFIG_SETTINGS), "every setting is explained"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself(name: str) -> None:
    """With its arguments; an unknown option is exit code 2."""
    result = call(name, "-h")
    assert result.exit_code == 0
    assert f"interpdisc {name}" in result.output or f"root {name}" in result.output
    assert call(name, "--no-such-option").exit_code == 2


def test_version_names_both_distributions() -> None:
    result = call("--version")
    assert result.exit_code == 0
    assert result.output.startswith("interpdisc ")
    assert "interpdisc-core" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("discover", "-n", "0"),
        ("discover", "-k", "0"),
        ("discover", "--explain", "-1"),
        ("discover", "--workers", "-1"),
        ("backfill", "a.tar", "--dtype", "float8"),
        ("backfill", "a.tar", "--max-images", "0"),
        ("daily", "--horizon", "ever"),
        ("select", "a.npy", "--method", "fast"),
        ("select", "a.npy", "--variance", "1.5"),
        ("train-inverter", "a", "--out", "a.safetensors", "--batch-size", "0"),
        ("serve", "a", "--port", "70000"),
        ("mark", "a", "b", "funny"),
    ],
)
def test_choices_and_ranges_are_checked_by_the_parser(arguments: tuple[str, ...]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Invalid value" in result.output


@pytest.mark.parametrize(
    ("address", "is_valid"),
    [
        ("", True),
        ("tcp://127.0.0.1:8786", True),
        ("tls://dask.example:8786", True),
        ("localhost:8786", True),
        ("tcp://[::1]:8786", True),
        ("nonsense", False),
        ("tcp://localhost", False),
        ("two words:8786", False),
    ],
)
def test_the_address_of_a_scheduler_has_a_port(address: str, is_valid: bool) -> None:
    if is_valid:
        assert check_scheduler(address) == address
    else:
        with pytest.raises(PlanError, match="give an address with a port"):
            check_scheduler(address)


@pytest.mark.parametrize("address", ["tcp://10.0.0.5:8786", "dask.example:8786", "ws://[fe80::1]:8786"])
def test_a_scheduler_that_a_network_reaches_needs_tls(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches it runs code with the user's keys; only the user knows that nobody does."""
    monkeypatch.delenv("INTERPDISC_PRIVATE_NETWORK", raising=False)
    with pytest.raises(PlanError, match="name it by tls://"):
        check_scheduler(address)
    monkeypatch.setenv("INTERPDISC_PRIVATE_NETWORK", "1")
    assert check_scheduler(address) == address


def test_tls_without_certificates_has_a_sentence() -> None:
    """It names the settings."""
    import dask

    from deploy.dask_cluster import connect_scheduler

    with (
        dask.config.set({"distributed.comm.tls.ca-file": None}),
        pytest.raises(PlanError, match="CA_FILE"),
        connect_scheduler("tls://127.0.0.1:9"),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PlanError("no"), 2),
        (StoreError("no"), 2),
        (DiskFullError("the disk is full"), 1),
        (InterpdiscError("no"), 1),
        (FileExistsError(17, "File exists"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as stop, exit_on_error():
        raise error
    assert stop.value.exit_code == code
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_error_of_the_program_itself_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), exit_on_error():
        raise ZeroDivisionError


def test_missing_s3_keys_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    class NoCredentialsError(Exception): ...

    error = RuntimeError("while listing")
    error.__cause__ = NoCredentialsError("Unable to locate credentials")
    with pytest.raises(typer.Exit) as stop, exit_on_error():
        raise error
    assert stop.value.exit_code == 1
    assert "AWS_ACCESS_KEY_ID" in capsys.readouterr().err


def test_the_configuration_file_gives_defaults_of_variables(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('archive = "~/archive"\nworkers = 3\n')
    environment = {"INTERPDISC_WORKERS": "2"}
    load_config(file, environment)
    assert environment == {"INTERPDISC_WORKERS": "2", "INTERPDISC_ARCHIVE": os.path.expanduser("~/archive")}
    load_config(tmp_path / "missing.toml", environment)
    assert len(environment) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('archiv = "a"', "no setting 'archiv'; did you mean 'archive'"),
        ('colour = "red"', "there are archive"),
        ("workers = true", "workers must be a text or a number"),
        ("workers = [", "cannot be read as TOML"),
    ],
)
def test_a_wrong_configuration_file_is_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(PlanError, match=message) as error:
        load_config(file, {})
    assert str(file) in str(error.value)


def test_the_configuration_file_is_the_users_own(tmp_path: Path) -> None:
    """It is found in the user's configuration folder, and never in the current folder."""
    (tmp_path / "interpdisc").mkdir()
    (tmp_path / "interpdisc" / "config.toml").write_text('unknown = "a"')
    command = [str(Path(sys.executable).with_name("interpdisc")), "show", "."]
    for config_home, is_read in ((tmp_path, True), (tmp_path / "elsewhere", False)):
        process = subprocess.run(
            command,
            cwd=tmp_path / "interpdisc",
            env=os.environ | {"XDG_CONFIG_HOME": str(config_home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 2
        assert ("no setting 'unknown'" in process.stderr) == is_read


def test_an_archive_from_the_environment_needs_no_argument(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["show"], env={"INTERPDISC_ARCHIVE": str(tmp_path)})
    assert result.exit_code == 2
    assert "no archive.json" in result.output


@given(st.text())
def test_escaped_texts_are_printable_and_others_are_unchanged(text: str) -> None:
    escaped = escape_controls(text)
    assert escaped.isprintable()
    assert escaped == text or not text.isprintable()
    assert len(escape_controls(text, 10)) <= 10


HOSTILE_NAME = "a\x1b]0;title\x07\x1b[2J[red]b[/red]\rc\x9b1m\nd"
"""A name that would set a terminal's title, clear it, and write other lines, and has Rich's markup."""


def test_no_name_reaches_the_terminal_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In results, errors, messages and labels of progress bars; line ends are the program's own."""
    pick = {"rank": 1, "row": 0, "id": HOSTILE_NAME, "score": 1.0, "label": HOSTILE_NAME, "tail_probability": None}
    counts = {"counts": {"ready": 1}, "candidates": 1, "exhausted": False, "nauc": None, "notes": [HOSTILE_NAME]}
    print_discovery(counts | {"picks": [pick], "report": HOSTILE_NAME})
    print_table((HOSTILE_NAME,), [(HOSTILE_NAME,)])
    poll = {"is_feed": False, "new": 0, "resent": 0, "outstanding": 0, "trouble": HOSTILE_NAME}
    day = {"day": HOSTILE_NAME, "revision": 1, "ledger": {}, "picks": [pick], "spikes": [HOSTILE_NAME], "page": "p"}
    print_daily_result({"polled": poll, "remembered": [], "days": [day], "notes": [HOSTILE_NAME]})
    line = {"experiment": HOSTILE_NAME, "trials": "t", "t": 1, "nauc": 1.0, "nauc_random": 0.5, "draws": 1}
    line |= {"representation": HOSTILE_NAME, "treatment": "raw", "method": HOSTILE_NAME}
    study = {"images": 1, "classes": 1, "cells": 1, "lines": [line], "problems": [[HOSTILE_NAME, HOSTILE_NAME]]}
    print_evaluation(study | {"report": HOSTILE_NAME, "others": {HOSTILE_NAME: {"headline": HOSTILE_NAME}}})
    with pytest.raises(typer.Exit), exit_on_error():
        raise PlanError(HOSTILE_NAME)
    printed = capsys.readouterr()
    screen = StringIO()
    reporter = ProgressReporter(str(tmp_path), "token")
    reporter.begin_stage("explain", 1, "steps", label=HOSTILE_NAME)
    reporter.send_message(HOSTILE_NAME)
    with ProgressBars(reporter, Console(file=screen, width=400, color_system=None)):
        pass
    for text in (printed.out, printed.err, screen.getvalue()):
        assert "[red]b[/red]" in text
        assert all(letter == "\n" or letter.isprintable() for letter in text)
        assert "\nd" not in text


def test_one_function_prints_lines_for_people() -> None:
    """Else a name could reach the terminal raw."""
    deploy_folder = Path(__file__).parents[2] / "deploy"
    for path in (*deploy_folder.glob("commands/*.py"), deploy_folder / "show.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        printed = [ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "print"]
        raw = [text for text in printed if not text.startswith("json.dumps(")]
        assert raw == (["escape_controls(text)"] if path.name == "output.py" else []), path.name


def test_progress_ends_complete_and_shows_the_last_of_repeated_stages(tmp_path: Path) -> None:
    bars = ProgressBars(ProgressReporter(str(tmp_path), "token"), Console(file=StringIO()))
    first = [
        {"stage": "extract", "total": 10, "unit": "images", "done": 4.0},
        {"stage": "explain sol-1", "total": 5, "unit": "steps", "done": 1.0},
    ]
    bars.update_bars(first)
    bars.update_bars([*first, {"stage": "explain sol-2", "total": 7, "unit": "steps", "done": 2.0}])
    shown = {task.description: (task.completed, task.total) for task in bars.progress.tasks if task.visible}
    assert shown == {"extract": (10, 10.0), "explain sol-2": (2, 7.0)}
    bars.succeeded = True
    bars.update_bars([*first, {"stage": "explain sol-2", "total": 7, "unit": "steps", "done": 2.0}])
    assert bars.progress.tasks[-1].finished


def test_tasks_that_run_networks_exist() -> None:
    """The task runner knows them by name only."""
    names = set()
    for module in pkgutil.iter_modules(tasks.__path__):
        members = vars(importlib.import_module(f"tasks.{module.name}")).values()
        names |= {member.name for member in members if hasattr(member, "task_run_name")}
    assert names >= task_runners.NETWORK_TASKS


def test_the_watchdog_ends_with_its_command() -> None:
    """A server that cannot start is noticed at once, not when the time to wait for it is over."""
    command = [sys.executable, "-m", "deploy.parent_watchdog", sys.executable, "-c", "raise SystemExit(3)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watchdog:
        assert watchdog.wait(30) == 1


def test_the_watchdog_starts_a_server_again_on_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects while the server is away waits for the next one; the last one ends with the watchdog's parent."""
    program = tmp_path / "server.py"
    program.write_text(
        "import os, socket, sys\n"
        "with socket.socket(fileno=int(sys.argv[1])) as listener:\n"
        "    while True:\n"
        "        connection, _ = listener.accept()\n"
        "        connection.sendall(str(os.getpid()).encode())\n"
        "        connection.close()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        handle, address = listener.fileno(), listener.getsockname()
        code = "from deploy import parent_watchdog as w; w._MIN_LIFE_S = 0; w._MAX_STARTS = 3; w.main()"
        command = [sys.executable, "-c", code, "--socket", str(handle), sys.executable, str(program), str(handle)]
        watchdog = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(handle,)
        )
    pids = []
    for start in range(3):
        with socket.create_connection(address, timeout=60) as connection:
            pids.append(int(connection.recv(100)))
        if start < 2:
            os.kill(pids[-1], signal.SIGKILL)
    assert len(set(pids)) == 3
    out, _ = watchdog.communicate("", timeout=60)
    assert [int(line) for line in out.split()] == pids
    assert not psutil.pid_exists(pids[-1])
    assert watchdog.returncode == 0


def test_a_dry_run_of_a_backfill_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    archive = tmp_path / "archive"
    result = call("backfill", str(tmp_path / "empty.tar"), "--archive", str(archive), "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"shards": 1, "to_do": 1, "bytes": 10240}
    assert not archive.exists()


def test_a_selection_says_that_there_are_fewer_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.eye(3, 4))
    command = ("select", str(tmp_path / "features.npy"), "-k", "2", "--out", str(tmp_path / "out"))
    assert "9 picks were requested, but there are only 3 rows" in call(*command, "-n", "9").output
    assert "requested" not in call(*command, "-n", "3").output
