"""`python -m tests.campaign`: run the attacks, print one table, exit 1 if anything was not as promised."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.demo import make_tiles
from deploy.prefect_server import open_prefect_server
from tests.campaign.commands import AttackInputs
from tests.campaign.hostile_files import attack_by_files
from tests.campaign.kills import attack_by_kills
from tests.campaign.machines import attack_by_full_disk, attack_by_little_memory, attack_by_two_runs
from tests.campaign.store_faults import attack_by_store_faults
from tests.campaign.table import CampaignRow, format_table, save_rows
from tests.flows.conftest import CHECKOUT, CliRunner, open_s3_store

SECTIONS = ("kills", "files", "damages", "store", "two-runs", "disk", "memory")


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=(__doc__ or "").split(":")[1].strip())
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS, help="these attacks; default: all")
    parser.add_argument("--kills", type=int, default=100, help="number of kills, over all commands (default 100)")
    parser.add_argument("--files", type=int, default=1000, help="number of hostile files (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--out", type=Path, help="folder for the table (campaign.md, campaign.json); default: not kept")
    asked = parser.parse_args()
    rows: list[CampaignRow] = []
    with tempfile.TemporaryDirectory(prefix="interpdisc-campaign-") as name, _open_runner(Path(name)) as interpdisc:
        folder = Path(name)
        inputs = AttackInputs(folder / "inputs", make_tiles(folder / "demo")[0])
        inputs.prepare(interpdisc)
        attacks: dict[str, Callable[[Path], list[CampaignRow]]] = {
            "kills": lambda place: attack_by_kills(interpdisc, inputs, place, asked.kills, asked.seed),
            "files": lambda place: attack_by_files(interpdisc, place, asked.files, asked.seed),
            "damages": lambda _: _attack_by_damages(),
            "store": lambda place: _attack_store(interpdisc, inputs, place, asked.seed),
            "two-runs": lambda place: attack_by_two_runs(interpdisc, inputs, place, 3),
            "disk": lambda place: attack_by_full_disk(interpdisc, inputs, place),
            "memory": lambda place: attack_by_little_memory(interpdisc, inputs, place),
        }
        for section in SECTIONS:
            if section not in asked.only:
                continue
            start, place = time.monotonic(), folder / section
            place.mkdir()
            found = attacks[section](place)
            rows += found
            tries, right = sum(row.tries for row in found), sum(row.right for row in found)
            print(
                f"{section}: {right} of {tries} as promised, {time.monotonic() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
            shutil.rmtree(place, ignore_errors=True)
    print(format_table(rows))
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "campaign.md").write_text(format_table(rows))
        save_rows(asked.out / "campaign.json", rows)
    return 0 if all(row.is_right for row in rows) else 1


@contextmanager
def _open_runner(folder: Path) -> Iterator[CliRunner]:
    """The command line with a Prefect server, settings and state of the campaign's own."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    with open_prefect_server(keep=False):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("INTERPDISC_", "PYTHONPATH"))}
        yield CliRunner(kept | {"COLUMNS": "200", "XDG_CONFIG_HOME": str(folder / "config")})


def _attack_store(interpdisc: CliRunner, inputs: AttackInputs, folder: Path, seed: int) -> list[CampaignRow]:
    with open_s3_store() as s3:
        return attack_by_store_faults(interpdisc, inputs, s3, folder, seed)


def _attack_by_damages() -> list[CampaignRow]:
    """The tests of damaged archives, each kind of damage a test of its own."""
    row = CampaignRow("damaged archives", "each kind of file, each kind of damage")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        "tests/operations/test_repair.py",
    ]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        outcome, _, name = line.partition(" ")
        if outcome in ("PASSED", "FAILED", "ERROR"):
            row.record("" if outcome == "PASSED" else name)
    if not row.tries:
        row.record(f"the tests did not run: {done.stdout[-300:]}")
    return [row]


if __name__ == "__main__":
    sys.exit(main())
