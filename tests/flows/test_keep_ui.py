"""The Prefect UI that stays when it is asked to, and goes when it is told to."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from tests.flows.conftest import CliRunner, wait_until


def test_the_ui_stays_and_is_stopped(
    interpdisc: CliRunner, tiles: tuple[Path, Path], tmp_path: Path, pixel_plan: Path
) -> None:
    """With --keep-ui the server outlives its run, a second run uses it, and `stop-ui` ends it."""
    env = {"PREFECT_API_URL": "", "XDG_STATE_HOME": str(tmp_path / "state")}
    job = ["discover", tiles[0], "--archive", tmp_path / "archive", "--plan", pixel_plan]
    _, err = interpdisc(*job, "--keep-ui", **env)
    address = err.partition("Prefect UI: ")[2].split()[0]
    assert _answers(address)
    with urllib.request.urlopen(f"{address}/ui-settings", timeout=5) as answer:
        assert json.load(answer)["api_url"] == f"{address}/api", "the UI asks its own server, whatever its port"
    _, again = interpdisc(*job, **env)
    assert f"Prefect UI: {address}" in again
    assert _answers(address), "a run does not stop a server that it did not start"
    out, _ = interpdisc("stop-ui", **env)
    assert address in out
    wait_until(lambda: not _answers(address), 30)
    out, _ = interpdisc("stop-ui", **env)
    assert "no Prefect UI" in out


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
