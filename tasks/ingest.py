"""Ingest: list, check, settle."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core import ingest
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Inputs


@task(name="enlist", cache_policy=NO_CACHE)
def enlist(archive: str, inputs: Inputs) -> ingest.Listing:
    """See `interpdisc_core.ingest.enlist`."""
    return ingest.enlist(archive, inputs)


@task(name="check", task_run_name="check inputs {rows[0]} to {rows[1]}", cache_policy=NO_CACHE)
def check(archive: str, listing: str, rows: tuple[int, int], turn: int, watch: Watch) -> dict[str, int]:
    """See `interpdisc_core.ingest.check`."""
    return ingest.check(archive, listing, rows, turn, watch)


@task(name="settle", cache_policy=NO_CACHE)
def settle(archive: str, listing: str, plan: Plan, inputs: Inputs, block: int, workers: int) -> ingest.Settled:
    """See `interpdisc_core.ingest.settle`."""
    return ingest.settle(archive, listing, plan, inputs, block, workers)
