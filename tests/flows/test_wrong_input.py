"""What is wrong with a command's input is said before anything starts, through the real command line.

No server, no worker and no network can start here: their libraries cannot even be imported, and neither an archive nor
a state folder may be left behind.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from deploy.cli import app
from flows.daily import daily
from flows.discover import discover
from flows.evaluate import evaluate
from flows.train_inverter import train_inverter
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.errors import InterpdiscError
from interpdisc_core.operations.daily.settings import Daily
from interpdisc_core.sources import Folder

HEAVY_PACKAGES = ("prefect", "prefect_dask", "dask", "distributed", "torch", "deploy.prefect_server", "deploy.run_flow")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with images and with what people name by mistake; no heavy package can be imported."""
    work = tmp_path / "work"
    for name in ("photos", "empty/below", "zarr"):
        (work / name).mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (number * 9, 0, 0)).save(work / f"photos/{number}.png")
    (work / "zarr/zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    (work / "file").write_text("x")
    (work / "list.csv").write_text("path\n")
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in HEAVY_PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("INTERPDISC_ARCHIVE", "INTERPDISC_DATA", "INTERPDISC_WORKERS", "INTERPDISC_SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    before = {path: path.read_bytes() if path.is_file() else b"" for path in work.rglob("*")}
    yield work
    left = {path for path in work.rglob("*") if not path.name.endswith(".json") or path in before}
    assert left == set(before), "nothing may be left behind"
    assert not (tmp_path / "state").exists()


DAILY = {"source": {"kind": "folder", "path": "photos"}}
LEARNED = {"representation": {"kind": "learned-network"}}
WRONG = [
    ("discover phots", "phots: no such file or folder"),
    ("discover empty", "empty: no files found"),
    ("discover 'none-*.png'", "none-*.png: no files found"),
    ("discover list.csv", "list.csv: the list has no rows"),
    ("discover none-{0..3}.tar", "none-{0..3}.tar: no shards found"),
    ("discover photos --labels none.csv", "none.csv: there is no such file"),
    ("discover photos --labels photos", "photos: there is no such file"),
    ("discover photos --background none", "none: no such file or folder"),
    ("discover photos --background empty", "empty: no files found"),
    ("discover photos --plan none.json", "none.json: cannot be read"),
    ("discover photos --out file", "file is a file; name a folder"),
    ("discover photos --out file/report", "file is a file; name a folder"),
    ("discover photos --archive file", "file is a file; name a folder"),
    ("discover photos --archive photos/archive", "lies in the source"),
    ("discover photos --archive photos", "lies in the source"),
    ("discover 'photos/*.png' --archive photos", "is not an archive, and it is not empty"),
    ("discover photos --archive zarr", "is not an archive, and it is not empty"),
    ("discover photos --scheduler nonsense", "give an address with a port"),
    ("discover photos --workers -1", "Invalid value for '--workers'"),
    ("discover hf://data/set", "hf://"),
    ("discover photos --plan PLAN:" + json.dumps({"pick": 10}), "no field 'pick'; did you mean 'picks'"),
    ("discover photos --plan PLAN:" + json.dumps({"selector": {"kind": "demud", "rnk": 1}}), "did you mean 'rank'"),
    ("discover photos --plan PLAN:" + json.dumps(LEARNED), "must be learned from a collection first"),
    (
        "discover photos --plan PLAN:" + json.dumps({"inverter": {"kind": "upconv", "checkpoint": "none.safetensors"}}),
        "none.safetensors: no checkpoint can be read there",
    ),
    (
        "discover photos --plan PLAN:"
        + json.dumps({"representation": LEARNED["representation"] | {"weights": "none.safetensors"}}),
        "no weights can be read at",
    ),
    ("daily phots", "phots: no such file or folder"),
    ("daily empty", "empty: no files found"),
    ("daily photos --archive photos/archive", "lies in the source"),
    ("daily photos --stratum 'sol >'", "invalid syntax"),
    ("daily --settings PLAN:" + json.dumps(DAILY) + " --archive photos/archive", "lies in the source"),
    ("daily --settings PLAN:" + json.dumps(DAILY | {"artefacts": {"bad": "sol =="}}), "artefacts: expression 'sol =='"),
    ("daily --settings PLAN:" + json.dumps(DAILY | {"strata": ["sol >"]}), "strata: expression 'sol >'"),
    ("daily --settings PLAN:" + json.dumps({"source": {"kind": "folder", "path": "empty"}}), "empty: no files found"),
    ("daily --settings PLAN:" + json.dumps(DAILY | {"horizn": "sols"}), "did you mean 'horizon'"),
    ("backfill none.tar", "none.tar: no"),
    ("backfill photos", "photos: "),
    ("backfill none-{0..3}.tar", "none-{0..3}.tar: no shards found"),
    ("select none.npy", "none.npy"),
    ("select empty", "empty"),
    ("select photos/0.png --out file", "file is a file"),
    ("select photos --where 'sol >'", "invalid syntax"),
    ("explain none", "is not a run"),
    ("evaluate phots --labels folder", "phots: no such file or folder"),
    ("evaluate photos --labels none.csv", "none.csv: there is no such file"),
    ("evaluate photos --labels folder --where 'sol >'", "invalid syntax"),
    ("evaluate photos --labels folder --study none", "no study of this name"),
    ("evaluate photos --labels folder --archive photos/a", "lies in the source"),
    ("train-inverter phots --out a.safetensors", "phots: no such file or folder"),
    ("train-inverter photos --out file/a.safetensors", "file is a file"),
    ("train-inverter photos --out a.safetensors --where 'sol >'", "invalid syntax"),
    ("train-inverter photos --out a.safetensors --held-out 'late=sol >'", "invalid syntax"),
    ("train-inverter photos --out a.safetensors --start none.safetensors", "no checkpoint can be read there"),
    ("serve none", "is not an archive"),
]


def call(command: str) -> Any:
    """The result of a command; PLAN:{…} is the name of a file with that content."""
    arguments = split_command(command)
    for position, argument in enumerate(arguments):
        if argument.startswith("PLAN:"):
            Path("given.json").write_text(argument.removeprefix("PLAN:"))
            arguments[position] = "given.json"
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "TERM": "dumb"})


def split_command(command: str) -> list[str]:
    words, rest = [], command
    while rest:
        if rest.startswith("PLAN:"):
            value, end = json.JSONDecoder().raw_decode(rest.removeprefix("PLAN:"))
            word, rest = "PLAN:" + json.dumps(value), rest.removeprefix("PLAN:")[end:].strip()
        elif rest.startswith("'"):
            word, _, rest = rest[1:].partition("'")
        else:
            word, _, rest = rest.partition(" ")
        words.append(word)
        rest = rest.strip()
    return words


@pytest.mark.parametrize(("command", "sentence"), WRONG)
def test_a_command_says_what_is_wrong_before_anything_starts(folder: Path, command: str, sentence: str) -> None:
    result = call(command)
    assert result.exit_code in (1, 2), result.exception
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_right_input_would_start(folder: Path) -> None:
    """Else the test above could pass for another reason: here the first heavy import is reached."""
    for command in ("discover photos", "daily photos", "evaluate photos --labels folder"):
        result = call(command)
        assert isinstance(result.exception, ImportError), result.output


def test_an_archive_in_a_linked_folder_is_found(folder: Path) -> None:
    (folder / "link.json").symlink_to(folder / "photos")
    assert "lies in the source" in call("discover photos --archive link.json/archive").output


def test_a_wrong_command_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys; from deploy.cli import app; app(['discover', 'none'], standalone_mode=False)"
    check = f"import atexit, sys; atexit.register(lambda: print([m for m in {HEAVY_PACKAGES!r} if m in sys.modules])); "
    process = subprocess.run(
        [sys.executable, "-c", check + code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "none: no such file or folder" in process.stderr
    assert process.stdout.strip() == "[]"


def test_flows_of_a_deployment_refuse_the_same(tmp_path: Path) -> None:
    """Before they create or lock an archive, or submit a task."""
    (tmp_path / "empty").mkdir()
    archive, empty = str(tmp_path / "archive"), str(tmp_path / "empty")
    calls = [
        lambda: discover.fn(RunInputs(sources=(empty,)), archive),
        lambda: discover.fn(RunInputs(sources=(__file__,), background=(empty,)), archive),
        lambda: discover.fn(RunInputs(sources=(__file__,), labels=f"{empty}/none.csv"), archive),
        lambda: discover.fn(RunInputs(sources=(__file__,)), archive, out=__file__),
        lambda: evaluate.fn(RunInputs(sources=(empty,)), archive),
        lambda: daily.fn(archive, Daily(source=Folder(path=empty))),
        lambda: train_inverter.fn((empty,), archive, "a.safetensors"),
    ]
    for refused in calls:
        with pytest.raises(InterpdiscError, match=r"no files found|no such file|is a file"):
            refused()
    assert not Path(archive).exists()
