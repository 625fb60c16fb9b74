"""Tasks of the flow `backfill`: each calls the function of the same name in `operations.backfill`."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.operations.backfill import deduplicate, process_shard, prove, remember
from interpdisc_core.operations.backfill import plan as planning
from interpdisc_core.operations.backfill.records import ShardVersion
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter


@task(name="plan shards", task_run_name="plan shards", cache_policy=NO_CACHE)
def plan_backfill(archive: str, sources: tuple[str, ...], plan: Plan, dtype: Any, block: int) -> planning.BackfillPlan:
    """See `interpdisc_core.operations.backfill.plan.plan_backfill`."""
    return planning.plan_backfill(archive, sources, plan, dtype, block)


@task(name="process shards", task_run_name="process shards from {shards[0].id}", cache_policy=NO_CACHE)
def process_shards(
    archive: str,
    name: str,
    plan: Plan,
    shards: tuple[ShardVersion, ...],
    sequence: int,
    watch: ProgressReporter,
    is_isolated: bool = False,
) -> tuple[process_shard.ShardResult, ...]:
    """See `interpdisc_core.operations.backfill.process_shard.process_shards`."""
    return process_shard.process_shards(archive, name, plan, shards, sequence, watch, is_isolated=is_isolated)


@task(name="deduplicate inputs", task_run_name="deduplicate inputs", cache_policy=NO_CACHE)
def deduplicate_shards(archive: str, name: str) -> deduplicate.DeduplicationResult:
    """See `interpdisc_core.operations.backfill.deduplicate.deduplicate_shards`."""
    return deduplicate.deduplicate_shards(archive, name)


@task(name="remember images", task_run_name="remember images", cache_policy=NO_CACHE)
def remember_shards(archive: str, name: str, stratum: str, normalize: Any) -> remember.RememberResult:
    """See `interpdisc_core.operations.backfill.remember.remember_shards`."""
    return remember.remember_shards(archive, name, stratum, normalize)


@task(name="prove completeness", task_run_name="prove completeness", cache_policy=NO_CACHE)
def prove_completeness(archive: str, name: str) -> prove.CompletenessProof:
    """See `interpdisc_core.operations.backfill.prove.prove_completeness`."""
    return prove.prove_completeness(archive, name)
