"""Extract: a block of images to features."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core import extraction
from interpdisc_core.features import Block
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch


@task(name="extract", task_run_name="extract block {block.batch}.{block.number}", cache_policy=NO_CACHE)
def extract(archive: str, plan: Plan, block: Block, turn: int, watch: Watch) -> extraction.Receipt:
    """See `interpdisc_core.extraction.extract`."""
    return extraction.extract(archive, plan, block, turn, watch)
