"""The step of every flow that turns images into features, block by block over the workers."""

from collections.abc import Sequence

from flows.artifacts import gather_results
from interpdisc_core.archive.batches import BlockId
from interpdisc_core.pipeline.extract import BlockResult
from interpdisc_core.pipeline.outstanding import DEFAULT_MAX_OUTSTANDING, accept_outstanding
from interpdisc_core.plan import Plan
from interpdisc_core.progress import ProgressReporter
from tasks.extract import extract_block


def extract_blocks(
    archive: str,
    blocks: Sequence[tuple[Plan, BlockId]],
    images: int,
    sequence: int,
    progress: ProgressReporter,
    max_outstanding: float = DEFAULT_MAX_OUTSTANDING,
    listing: str = "",
) -> None:
    """Compute the features of `blocks`, each by its plan.

    Args:
        archive: Address of the archive.
        blocks: Blocks whose features are missing.
        images: Number of images in them.
        sequence: Number of the catalog's step.
        progress: Where progress is marked.
        max_outstanding: Largest share of the images that the run may go on without, since they cannot be got at.
        listing: Name of the run's listing: only its inputs count. Empty: all images of the blocks do.

    Raises:
        AccessError: If there are more.
    """
    progress.begin_stage("extract", images, "images")
    results: list[BlockResult] = gather_results(
        "extract",
        [extract_block.submit(archive, plan, block, sequence, progress) for plan, block in blocks],
        lambda index: extract_block.submit(archive, *blocks[index], sequence, progress, is_isolated=True),
    )
    accept_outstanding(archive, sum(result.unread_count for result in results), images, max_outstanding, listing)
