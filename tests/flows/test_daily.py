"""The daily command as its users give it: a folder that grows, people's word, a day taken back, another backbone."""

import json
import shutil
from pathlib import Path

import pytest

from interpdisc_core.operations.daily import settings
from tests.flows.conftest import CHECKOUT, CliRunner
from tests.helpers.daily_runs import list_memory_records, make_file_name


@pytest.mark.parametrize("path", sorted((CHECKOUT / "deploy" / "daily").glob("*.json")), ids=lambda path: path.name)
def test_the_examples_are_settings(path: Path) -> None:
    """Each file that ships is read."""
    assert settings.read_daily(str(path)).source.kind.endswith("-feed")


@pytest.mark.slow
def test_days_by_the_command_line(interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path) -> None:
    """Two days, twice nothing, a mark that is obeyed, undo and redo to the same bits, refusal and rebuild."""
    images, archive = tmp_path / "downlink", tmp_path / "archive"
    images.mkdir()
    every = sorted(tiles[0].rglob("*.*"))
    asked = tmp_path / "settings.json"
    plan = {"representation": {"kind": "pixels", "side": 8}, "picks": 4, "explain": 0}
    asked.write_text(json.dumps({"source": {"kind": "folder", "path": str(images)}, "plan": plan}))

    def sol(number: int, some: list[Path]) -> None:
        for place, tile in enumerate(some):
            shutil.copy(tile, images / make_file_name(number, place))

    def daily(**env: str) -> dict:
        out, _ = interpdisc("daily", "--settings", asked, "--archive", archive, "--json", **env)
        return json.loads(out)

    sol(5, every[:8])
    first = daily()
    assert [day["day"] for day in first["days"]] == ["sol-00005"]
    sol(6, every[8:16])
    second = daily()
    assert [day["day"] for day in second["days"]] == ["sol-00006"]
    assert daily()["days"] == []
    before = list_memory_records(archive)

    best = second["days"][0]["picks"][0]["id"]
    interpdisc("mark", archive, best, "known", "--by", "ann")
    interpdisc("undo", archive, "sol-00006", "--by", "ann", "--note", "wrong exposure")
    assert "wrong exposure" in (archive / "site/days/sol-00006/index.html").read_text()
    assert daily()["days"] == []
    interpdisc("redo", archive, "sol-00006")
    again = daily()["days"][0]
    assert best not in {pick["id"] for pick in again["picks"]}
    assert list_memory_records(archive) == before
    interpdisc("verify", archive)

    asked.write_text(asked.read_text().replace('"side": 8', '"side": 6'))
    _, said = interpdisc("daily", "--settings", asked, "--archive", archive, expect=2)
    assert "interpdisc rebuild" in said
    interpdisc("rebuild", archive, "--settings", asked)
    assert daily()["days"] == []
    assert {day for of in list_memory_records(archive).values() for day in of} == {"sol-00005", "sol-00006"}
    interpdisc("verify", archive)
