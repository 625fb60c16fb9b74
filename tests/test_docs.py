"""What the documentation shows exists: commands with their options, files that are linked, packages on the map."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from deploy.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = typer.main.get_command(app)


def iter_commands(text: str) -> Iterator[str]:
    """Calls of the command in blocks of shell code, without comments."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.partition(" #")[0].split("&&"):
                call = part.strip().rstrip("&").strip()
                if call.startswith(("interpdisc ", ".venv/bin/interpdisc ")):
                    yield call


def check_call(call: str) -> None:
    """Parse a call as the command does, and run nothing."""
    name, *arguments = shlex.split(call)[1:]
    if not name.startswith("-"):
        COMMAND.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


CALLS = [(page.name, call) for page in PAGES for call in iter_commands(page.read_text())]


@pytest.mark.parametrize(("page", "call"), CALLS)
def test_a_command_exists(page: str, call: str) -> None:
    """Parsing raises for an unknown command, option or choice."""
    check_call(call)


def test_an_option_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(Exception, match="--pickz"):
        check_call("interpdisc discover photos/ --pickz 3")
    assert len(CALLS) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_map_names_every_package() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == ["interpdisc_core"])
    names = {name.strip() for layer in layers for name in layer.split("|")}
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert {name for name in names if f"`{name}/`" not in page and f"`{name}`" not in page} == set()
    tops = {path.stem for path in (ROOT / "interpdisc_core").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert tops - names - {"__init__", "__pycache__"} == set(), "each is in the import contract"
