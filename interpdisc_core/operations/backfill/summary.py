"""The summary of one call of a backfill."""

from dataclasses import asdict
from typing import Any

from interpdisc_core.operations.backfill.budget import WorkBudget
from interpdisc_core.operations.backfill.deduplicate import DeduplicationResult
from interpdisc_core.operations.backfill.plan import BackfillPlan
from interpdisc_core.operations.backfill.prove import CompletenessProof
from interpdisc_core.operations.backfill.remember import RememberResult
from interpdisc_core.storage.location import Location


def write_backfill_summary(
    url: str,
    backfill_plan: BackfillPlan,
    budget: WorkBudget,
    deduplication: DeduplicationResult,
    memory_result: RememberResult,
    proof: CompletenessProof,
    stop_reason: str,
    worker_deaths: dict[str, str],
) -> str:
    """Write the summary of a call as `result.json`.

    Args:
        url: Address of the archive.
        backfill_plan: What the call had to do.
        budget: What it did.
        deduplication: Which inputs got another status.
        memory_result: What was added to the memory.
        proof: Whether everything is complete.
        stop_reason: Why the call stopped before all shards were read; empty if it did not.
        worker_deaths: The reason for each shard whose worker died, by the shard's id.

    Returns:
        The address of the file.
    """
    folder = Location.parse(url) / f"backfills/{backfill_plan.name}"
    value: dict[str, Any] = {
        "name": backfill_plan.name,
        "complete": proof.is_complete and not worker_deaths,
        "stopped": stop_reason,
        "call": {
            "shards": budget.shards_done,
            "images": budget.images,
            "seconds": round(budget.elapsed, 1),
            "images_per_second": round(budget.images_per_second, 1),
        },
        "proof": asdict(proof) | {"faults": proof.faults | worker_deaths},
        "settled": asdict(deduplication),
        "remembered": asdict(memory_result),
    }
    folder.write_checked_json("result.json", value)
    return f"{folder.url}/result.json"
