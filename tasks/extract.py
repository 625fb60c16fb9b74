"""Extract: a block of images to features."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.archive.batches import BlockId
from interpdisc_core.pipeline import extract
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter


@task(name="extract block", task_run_name="extract block {block.batch}.{block.number}", cache_policy=NO_CACHE)
def extract_block(
    archive: str, plan: Plan, block: BlockId, sequence: int, reporter: ProgressReporter, is_isolated: bool = False
) -> extract.BlockResult:
    """See `interpdisc_core.pipeline.extract.extract_block`."""
    return extract.extract_block(archive, plan, block, sequence, reporter, is_isolated=is_isolated)
