"""What `pip install` gives: two distributions, a command that needs no checkout and runs nothing of the current folder."""

import json
import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.flows.conftest import CHECKOUT, server_environment

APPLICATION = {"deploy", "flows", "tasks"}
TRAPS = (
    "random.py",
    "logging.py",
    "deploy/__init__.py",
    "flows/__init__.py",
    "tasks/__init__.py",
    "prefect.py",
    "torch.py",
)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both distributions, built from the checkout: by name, the wheel's path."""
    folder = tmp_path_factory.mktemp("dist")
    for source in (CHECKOUT / "interpdisc_core", CHECKOUT):
        command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, source]
        subprocess.run(command, check=True, capture_output=True)
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment with both wheels, and the dependencies of this one, but not the checkout."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    packages = next((home / "lib").glob("python*")) / "site-packages"
    # A path in a .pth file: the editable installations of that folder are not followed.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        home / "bin" / "python",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    subprocess.run([*pip, "--ignore-installed", *wheels.values()], check=True, env=clean_environment())
    return home / "bin"


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what points Python or the program elsewhere."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "INTERPDISC", "PREFECT"))
    } | more


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder of images whose other files would run if the current folder were on the module path."""
    for name in TRAPS:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'sprung')!r}).write_text({name!r})\n")
    return tmp_path


def test_the_library_brings_no_package_of_the_application(wheels: dict[str, Path]) -> None:
    """Who wants only the library gets one package; the application has the three others and all of their data."""
    tops = {name: {entry.split("/")[0] for entry in zipfile.ZipFile(path).namelist()} for name, path in wheels.items()}
    assert {top for top in tops["interpdisc_core"] if not top.endswith(".dist-info")} == {"interpdisc_core"}
    assert {top for top in tops["interpdisc"] if not top.endswith(".dist-info")} == APPLICATION
    contents = {name: set(zipfile.ZipFile(path).namelist()) for name, path in wheels.items()}
    tracked = subprocess.run(
        ["git", "ls-files", "interpdisc_core", *APPLICATION], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.split()
    left_out = {"interpdisc_core/pyproject.toml", "interpdisc_core/README.md", "interpdisc_core/LICENSE"}
    missing = (
        {path for path in tracked if (CHECKOUT / path).exists()}
        - left_out
        - contents["interpdisc"]
        - contents["interpdisc_core"]
    )
    assert missing == set()


def test_the_command_needs_no_checkout(installed: Path, trap: Path) -> None:
    """Version and help in a folder of traps, with the modules of the wheels."""
    env = clean_environment()
    version = subprocess.run(
        [installed / "interpdisc", "--version"], cwd=trap, env=env, capture_output=True, text=True, check=True
    )
    assert version.stdout.split()[0] == "interpdisc"
    help_text = subprocess.run(
        [installed / "interpdisc", "--help"], cwd=trap, env=env, capture_output=True, text=True, check=True
    )
    assert "discover" in help_text.stdout
    assert not (trap / "sprung").exists()
    program = "import deploy, interpdisc_core; print(deploy.__file__, interpdisc_core.__file__)"
    where = subprocess.run(
        [installed / "python", "-P", "-c", program], cwd=trap, env=env, capture_output=True, text=True, check=True
    ).stdout
    assert str(CHECKOUT) not in where


@pytest.mark.slow
def test_the_installed_command_runs_the_whole_job(
    installed: Path, trap: Path, server: str, tiles: tuple[Path, Path], pixel_plan: Path
) -> None:
    """`discover` with its workers, in a folder of traps; no process runs one of them."""
    env = clean_environment(**server_environment(server), COLUMNS="200")
    command = [
        installed / "interpdisc",
        "discover",
        tiles[0],
        "--plan",
        pixel_plan,
        "-n",
        "5",
        "--workers",
        "1",
        "--json",
    ]
    run = subprocess.run(command, cwd=trap, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len(json.loads(run.stdout)["picks"]) == 5
    assert not (trap / "sprung").exists(), (trap / "sprung").read_text()


@pytest.mark.slow
def test_the_installed_demo_runs(installed: Path, tmp_path: Path, server: str) -> None:
    """`interpdisc demo`, few picks, one rendered."""
    env = clean_environment(**server_environment(server), COLUMNS="200")
    command = [installed / "interpdisc", "demo", "-n", "4", "--explain", "1", "--json"]
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert Path(json.loads(run.stdout)["report"]).exists()
