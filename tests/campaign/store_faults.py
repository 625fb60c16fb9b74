"""Faults of an object store: a proxy before a real S3 server answers a share of the requests wrongly."""

import json
import random
from pathlib import Path

from tests.campaign.commands import AttackInputs
from tests.campaign.table import CampaignRow
from tests.flows.conftest import CliRunner, list_picks
from tests.helpers.s3_proxy import BreakOff, S3Answer, open_s3_proxy

_FAULTS: tuple[S3Answer | BreakOff, ...] = (
    S3Answer(503, "SlowDown", "try again"),
    S3Answer(500, "InternalError", "try again"),
    "reset",
    "cut",
)
_MAX_CALLS = 6


class _FaultRule:
    """`rate` of the requests meet a fault."""

    def __init__(self, rate: float, seed: int) -> None:
        self.rate, self.faults, self._draws = rate, 0, random.Random(seed)

    def __call__(self, method: str, path: str) -> S3Answer | BreakOff | None:
        if self._draws.random() >= self.rate:
            return None
        self.faults += 1
        return self._draws.choice(_FAULTS)


def attack_by_store_faults(
    interpdisc: CliRunner, inputs: AttackInputs, s3: dict[str, str], folder: Path, seed: int
) -> list[CampaignRow]:
    """Images and archive in the store, at 2, 5, 10 and 20 % of faulty answers; called again until it ends well."""
    from interpdisc_core.storage.remote_files import get_s3_filesystem

    for image in sorted((inputs.folder / "few").iterdir()):
        get_s3_filesystem().pipe_file(f"rover/few/{image.name}", image.read_bytes())
    plan: list[str | Path] = ["--plan", inputs.folder / "plan.json", "--explain", "2", "--workers", "2"]
    expected = list_picks(interpdisc.run_discover(inputs.folder / "few", "--archive", folder / "straight", *plan))
    rows = []
    for rate in (0.02, 0.05, 0.1, 0.2):
        row = CampaignRow("faults of the store", f"{rate:.0%} of requests")
        rows.append(row)
        archive = f"s3://rover/faulty-{rate}"
        rule = _FaultRule(rate, seed)
        with open_s3_proxy(s3["AWS_ENDPOINT_URL"], rule) as address:
            fault, calls = "it never ended well", 0
            while calls < _MAX_CALLS:
                calls += 1
                job = interpdisc.start(
                    "discover",
                    "s3://rover/few",
                    "--archive",
                    archive,
                    *plan,
                    "--json",
                    **s3 | {"AWS_ENDPOINT_URL": address},
                )
                code, out, err = job.wait(900)
                if "Traceback" in err:
                    fault = f"a traceback: {err[-300:]}"
                    break
                if not code:
                    result = json.loads(out)
                    fault = "" if list_picks(result) == expected else f"other picks; counts {result['counts']}"
                    break
        row.record(fault, f"calls {calls}")
        row.notes["faulty answers"] += rule.faults
        if not fault:
            check, told, said = interpdisc.start("verify", archive, **s3).wait(300)
            row.record(f"verify: {(told + said)[-300:]}" if check else "")
    return rows
