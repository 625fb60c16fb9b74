"""What a backfill shows in the Prefect UI: progress, speed, remaining time, and at the end the proof of completeness."""

import time

from flows.artifacts import ProgressArtifact, create_text_artifact, format_counts
from interpdisc_core.operations.backfill.budget import WorkBudget
from interpdisc_core.operations.backfill.plan import BackfillPlan
from interpdisc_core.operations.backfill.prove import CompletenessProof
from interpdisc_core.progress import ProgressReporter
from interpdisc_core.reporting.escaping import MarkdownText, format_markdown, join_markdown

_MESSAGE_INTERVAL_S = 20.0
"""Seconds between two progress messages."""
_MAX_FAULTS_SHOWN = 50


class BackfillProgress:
    """A progress artifact, and progress messages. Progress is counted in bytes: images are known only once they are read."""

    def __init__(self, backfill_plan: BackfillPlan, progress: ProgressReporter) -> None:
        self.backfill_plan, self.progress, self.last_message_time = backfill_plan, progress, time.monotonic()
        self.bytes_to_do = sum(max(shard.size, 0) for shard in backfill_plan.pending_shards)
        self.shards_done_before = backfill_plan.shard_count - len(backfill_plan.pending_shards)
        progress.begin_stage("backfill", round(self.bytes_to_do / 1e6), "MB")
        self.artifact = ProgressArtifact(
            self._percent_done(0),
            key="backfill-progress",
            description=f"{self.shards_done_before} of {backfill_plan.shard_count} shards are done",
        )

    def update(self, budget: WorkBudget, death_count: int) -> None:
        """Show the progress.

        Args:
            budget: The work so far.
            death_count: Shards whose worker died.
        """
        message = budget.describe_progress(
            self.shards_done_before + budget.shards_done,
            self.backfill_plan.shard_count,
            self.bytes_to_do - budget.bytes,
        )
        message += f"; {death_count} shards could not be read" if death_count else ""
        self.artifact.update(self._percent_done(budget.bytes), message)
        if time.monotonic() - self.last_message_time > _MESSAGE_INTERVAL_S:
            self.progress.send_message(message)
            self.last_message_time = time.monotonic()

    def _percent_done(self, size: int) -> float:
        total = self.backfill_plan.bytes
        return 100.0 * (total - self.bytes_to_do + size) / total if total else 100.0


def create_backfill_artifacts(
    backfill_plan: BackfillPlan,
    budget: WorkBudget,
    proof: CompletenessProof,
    worker_deaths: dict[str, str],
    stop_reason: str,
) -> None:
    """The proof of completeness as an artifact: members, inputs by status, faults."""
    faults = [*(f"{shard}: {reason}" for shard, reason in (proof.faults | worker_deaths).items()), *proof.gaps]
    state = (
        MarkdownText("**Complete.**")
        if proof.is_complete and not worker_deaths
        else format_markdown("**Not complete**: {} shards are left.", proof.left)
    )
    create_text_artifact(
        format_markdown(
            "{state} {progress}. {stop_reason}\n\n{headers} members by the shards' headers; {members} were read:\n\n"
            "{counts}\n{vectors} images have a vector.\n\n{faults}",
            state=state,
            progress=budget.describe_progress(proof.shards - proof.left - len(proof.faults), proof.shards, 0),
            stop_reason=stop_reason,
            headers=f"{proof.headers:,}",
            members=f"{proof.members:,}",
            counts=format_counts("members", proof.statuses),
            vectors=f"{proof.vectors:,}",
            faults=join_markdown("\n", [format_markdown("* {}", fault) for fault in faults[:_MAX_FAULTS_SHOWN]]),
        ),
        key="backfill",
        description=f"Backfill {backfill_plan.name}",
    )
