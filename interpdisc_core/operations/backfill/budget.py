"""The budget of a backfill: how many shards a task gets, when to stop, and the remaining time, by the cost so far."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from interpdisc_core.operations.backfill.process_shard import ShardResult
from interpdisc_core.operations.backfill.records import ShardVersion
from interpdisc_core.progress import format_duration

TASK_SECONDS = 45.0
"""What one task should take: much longer than its overhead, and little to lose if its worker dies."""
_TASKS_PER_WORKER = 2
"""Tasks in flight for each worker: one running, one waiting."""


@dataclass(frozen=True, slots=True)
class WorkBudget:
    """The work of one call so far, and its limits.

    Attributes:
        workers: Number of workers.
        budget_s: Maximum wall time in seconds; None for no limit.
        max_images: No new shard is started after this many images; None for no limit.
        shards_done: Shards that were read; `images` and `bytes`: of those.
        seconds: Time of all workers together; `elapsed`: wall time.
    """

    workers: int
    budget_s: float | None = None
    max_images: int | None = None
    shards_done: int = 0
    images: int = 0
    bytes: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0

    def with_results(self, results: Sequence[ShardResult], elapsed: float) -> "WorkBudget":
        """The budget after some more shards were read; `elapsed`: wall time of the call so far, in seconds."""
        return replace(
            self,
            shards_done=self.shards_done + len(results),
            images=self.images + sum(result.rows for result in results),
            bytes=self.bytes + sum(max(result.bytes, 0) for result in results),
            seconds=self.seconds + sum(result.seconds for result in results),
            elapsed=elapsed,
        )

    def next_group(
        self, pending_shards: Sequence[ShardVersion], in_flight: Sequence[Sequence[ShardVersion]]
    ) -> tuple[ShardVersion, ...]:
        """The shards of the next task: as many as fill its time, none if those in flight use up the budget.

        The first shard of a call is handed out in any case, so that every call makes progress.
        """
        group, size = list[ShardVersion](), 0
        bytes_in_flight = sum(max(shard.size, 0) for shards in in_flight for shard in shards)
        for shard in pending_shards:
            next_size = size + max(shard.size, 0)
            if (group or in_flight or self.shards_done) and self._exceeds_budget(
                bytes_in_flight + size, bytes_in_flight + next_size
            ):
                break
            if group and (not self.bytes or self._worker_seconds(next_size) > TASK_SECONDS):
                break
            group.append(shard)
            size = next_size
        return tuple(group)

    def _exceeds_budget(self, bytes_before: int, bytes_after: int) -> bool:
        """Whether `bytes_before` more use up the images, or `bytes_after` more take longer than there is time."""
        if (
            self.max_images is not None
            and self.images + self.images * bytes_before / max(self.bytes, 1) >= self.max_images
        ):
            return True
        return (
            self.budget_s is not None
            and self.elapsed + self._worker_seconds(bytes_after) / self.workers > self.budget_s
        )

    def is_saturated(self, in_flight: Sequence[object]) -> bool:
        """Whether enough tasks are in flight: one per worker until the cost of a shard is known, then two."""
        return len(in_flight) >= (_TASKS_PER_WORKER if self.bytes else 1) * self.workers

    def estimate_seconds_left(self, size: int) -> float | None:
        """Wall time for `size` more bytes in seconds; None if unknown."""
        return size * self.elapsed / self.bytes if self.bytes else None

    def describe_progress(self, shards_done: int, shards: int, bytes_left: int) -> str:
        """A sentence about the progress.

        Args:
            shards_done: Shards that were read, in earlier calls too.
            shards: Number of all shards.
            bytes_left: Size of those that were not read.
        """
        rate_text = (
            f"{self.images:,} images in this call, {self.images_per_second:,.0f} images/s; " if self.images else ""
        )
        remaining_text = (
            f"about {format_duration(self.estimate_seconds_left(bytes_left))} left" if bytes_left else "nothing left"
        )
        return f"{shards_done} of {shards} shards are done; {rate_text}{remaining_text}"

    @property
    def images_per_second(self) -> float:
        """Images per second of wall time."""
        return self.images / self.elapsed if self.elapsed else 0.0

    def _worker_seconds(self, size: float) -> float:
        """Time that one worker needs for `size` bytes, in seconds; 0 if unknown."""
        return size * self.seconds / self.bytes if self.bytes else 0.0
