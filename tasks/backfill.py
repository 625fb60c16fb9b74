"""Backfill: list the shards, take them in, settle what is there twice, remember it, prove that all is there."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.backfill import filling, planning, proving, remembering, settling
from interpdisc_core.backfill.records import Shard
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch


@task(name="plan shards", cache_policy=NO_CACHE)
def plan_shards(archive: str, sources: tuple[str, ...], plan: Plan, dtype: Any, block: int) -> planning.Planned:
    """See `interpdisc_core.backfill.planning.plan`."""
    return planning.plan(archive, sources, plan, dtype, block)


@task(name="backfill", task_run_name="backfill from shard {shards[0].id}", cache_policy=NO_CACHE)
def fill(
    archive: str, name: str, plan: Plan, shards: tuple[Shard, ...], turn: int, watch: Watch
) -> tuple[filling.Filled, ...]:  # fmt: skip
    """See `interpdisc_core.backfill.filling.fill`."""
    return filling.fill(archive, name, plan, shards, turn, watch)


@task(name="settle shards", cache_policy=NO_CACHE)
def settle(archive: str, name: str) -> settling.Settled:
    """See `interpdisc_core.backfill.settling.settle`."""
    return settling.settle(archive, name)


@task(name="remember shards", cache_policy=NO_CACHE)
def remember(archive: str, name: str, stratum: str, normalise: Any) -> remembering.Remembered:
    """See `interpdisc_core.backfill.remembering.remember`."""
    return remembering.remember(archive, name, stratum, normalise)


@task(name="prove", cache_policy=NO_CACHE)
def prove(archive: str, name: str) -> proving.Proof:
    """See `interpdisc_core.backfill.proving.prove`."""
    return proving.prove(archive, name)
