"""What a call of a backfill came to, for people and programs."""

from dataclasses import asdict
from typing import Any

from interpdisc_core.backfill.pace import Pace
from interpdisc_core.backfill.planning import Planned
from interpdisc_core.backfill.proving import Proof
from interpdisc_core.backfill.remembering import Remembered
from interpdisc_core.backfill.settling import Settled
from interpdisc_core.storage import Place


def write(
    url: str, planned: Planned, pace: Pace, settled: Settled, remembered: Remembered, proof: Proof, stopped: str,
    died: dict[str, str],
) -> str:  # fmt: skip
    """Keep the account of one call as `result.json`; returns its address.

    stopped: why it ended before all shards were done, or empty. died: shards whose worker died, with what is known of it.
    """
    place = Place.of(url) / f"backfills/{planned.name}"
    value: dict[str, Any] = {
        "name": planned.name, "complete": proof.complete and not died, "stopped": stopped,
        "call": {
            "shards": pace.done, "images": pace.images, "seconds": round(pace.elapsed, 1),
            "images_per_second": round(pace.rate, 1),
        },
        "proof": asdict(proof) | {"faults": proof.faults | died}, "settled": asdict(settled), "remembered": asdict(remembered),
    }  # fmt: skip
    place.write_json("result.json", value)
    return f"{place.url}/result.json"
