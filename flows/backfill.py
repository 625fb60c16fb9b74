"""The flow `backfill`: plan → process shard by shard → deduplicate → prove → remember."""

import time
from collections import deque
from typing import Any, Literal

from prefect import flow
from prefect.futures import PrefectFuture

from flows.artifacts import is_worker_death, wait_for_result
from flows.backfill_artifacts import BackfillProgress, create_backfill_artifacts
from interpdisc_core.archive.layout import lock_archive
from interpdisc_core.operations.backfill import summary
from interpdisc_core.operations.backfill.budget import WorkBudget
from interpdisc_core.operations.backfill.deduplicate import DeduplicationResult
from interpdisc_core.operations.backfill.plan import ROWS_PER_BLOCK, BackfillPlan
from interpdisc_core.operations.backfill.prove import CompletenessProof
from interpdisc_core.operations.backfill.records import ShardVersion
from interpdisc_core.operations.backfill.remember import RememberResult
from interpdisc_core.pipeline.preconditions import check_backfill
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from tasks.backfill import deduplicate_shards, plan_backfill, process_shards, prove_completeness, remember_shards


@flow(name="backfill", flow_run_name="backfill {name}", validate_parameters=True)
def backfill(
    sources: tuple[str, ...],
    archive: str,
    plan: Plan | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    budget_s: float | None = None,
    max_images: int | None = None,
    stratum: str = "",
    block: int = ROWS_PER_BLOCK,
    workers: int = 1,
    name: str = "shards",
    progress_token: str = "",
) -> str:
    """Compute the features of the images in many shards, such as the tars of a mission's archive.

    If interrupted, the same call resumes; a call with more shards adds them.

    Args:
        sources: Shards, patterns, folders or s3:// prefixes of them.
        archive: A folder or s3:// prefix that keeps what is computed.
        plan: Its representation is computed.
        dtype: Of the stored features.
        budget_s: No new shard is started after this wall time in seconds; None for no limit.
        max_images: No new shard is started after this many images; None for no limit.
        stratum: Of the memory that learns the images as seen, once all shards are read; empty for none.
        block: Rows of a block.
        workers: Number of workers that the work is spread over.
        name: Of the shards in the Prefect UI.
        progress_token: Where progress is marked; empty for nowhere.

    Returns:
        The address of the backfill's result.json.
    """
    plan, progress, start = plan or Plan(), ProgressReporter(archive, progress_token), time.monotonic()
    check_backfill(archive, sources, plan)
    with lock_archive(archive, owner=f"backfill {name}") as lock:
        backfill_plan: BackfillPlan = plan_backfill(archive, sources, plan, dtype, block)
        budget, progress_artifact = WorkBudget(workers, budget_s, max_images), BackfillProgress(backfill_plan, progress)
        queue, worker_deaths, stop_reason = deque(backfill_plan.pending_shards), dict[str, str](), ""
        dead_shards: list[ShardVersion] = []
        in_flight: deque[tuple[tuple[ShardVersion, ...], PrefectFuture[Any]]] = deque()
        while in_flight or (queue and not stop_reason):
            while queue and not stop_reason and not budget.is_saturated(in_flight):
                group = budget.next_group(queue, [shards for shards, _ in in_flight])
                if not group:
                    stop_reason = "its budget is used up"
                    break
                lock.check()
                in_flight.append(
                    (
                        group,
                        process_shards.submit(
                            archive, backfill_plan.name, plan, group, backfill_plan.sequence, progress
                        ),
                    )
                )
                for _ in group:
                    queue.popleft()
            if not in_flight:
                break
            group, future = in_flight.popleft()
            try:
                results = wait_for_result(future)
            except Exception as error:
                if not is_worker_death(error):
                    raise
                dead_shards += group
                continue
            budget = budget.with_results(results, time.monotonic() - start)
            progress_artifact.update(budget, len(worker_deaths))

        for shard in dead_shards:  # one of their images ends its worker: alone, when nothing else takes memory
            lock.check()
            try:
                results = wait_for_result(
                    process_shards.submit(
                        archive, backfill_plan.name, plan, (shard,), backfill_plan.sequence, progress, is_isolated=True
                    )
                )
            except Exception as error:
                if not is_worker_death(error):
                    raise
                worker_deaths[shard.id] = f"the worker that read it died ({type(error).__name__})"
                continue
            budget = budget.with_results(results, time.monotonic() - start)
            progress_artifact.update(budget, len(worker_deaths))

        lock.check()
        deduplication: DeduplicationResult = deduplicate_shards(archive, backfill_plan.name)
        proof: CompletenessProof = prove_completeness(archive, backfill_plan.name)
        remembered_batch = RememberResult("", 0)
        if stratum and proof.is_complete:
            remembered_batch = remember_shards(archive, backfill_plan.name, stratum, plan.normalise)
        address = summary.write_backfill_summary(
            archive, backfill_plan, budget, deduplication, remembered_batch, proof, stop_reason, worker_deaths
        )
        create_backfill_artifacts(backfill_plan, budget, proof, worker_deaths, stop_reason)
    return address
