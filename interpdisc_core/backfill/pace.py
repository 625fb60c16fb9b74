"""How much is handed out at a time, when to stop, and how long it will take, by what the shards so far have cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from interpdisc_core.backfill.filling import Filled
from interpdisc_core.backfill.records import Shard

TASK_SECONDS = 45.0
"""What one task should take: long beside what handing it out costs, short beside what a dead worker loses."""
_IN_FLIGHT = 2
"""Tasks handed out for each worker: one at work, one waiting."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What was done so far in this call, and what it took.

    workers: how many work at once. seconds: of work, all workers' together; elapsed: of wall time. budget_s: wall time
    that there is, most_images: images; None for no end. done, images, bytes: of the shards that came back.
    """

    workers: int
    budget_s: float | None = None
    most_images: int | None = None
    done: int = 0
    images: int = 0
    bytes: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0

    def after(self, filled: Sequence[Filled], elapsed: float) -> "Pace":
        """The pace when these shards have come back. elapsed: wall seconds of this call so far."""
        return replace(
            self, done=self.done + len(filled), images=self.images + sum(each.rows for each in filled),
            bytes=self.bytes + sum(max(each.bytes, 0) for each in filled),
            seconds=self.seconds + sum(each.seconds for each in filled), elapsed=elapsed,
        )  # fmt: skip

    def group(self, waiting: Sequence[Shard], flight: Sequence[Sequence[Shard]]) -> tuple[Shard, ...]:
        """The next shards for one task: as many as fill its time; none where the budget is used up by those in flight.

        The first of a call is handed out whatever the budget, so every call gets further.
        """
        group, size = list[Shard](), 0
        ahead = sum(max(shard.size, 0) for some in flight for shard in some)
        for shard in waiting:
            more = size + max(shard.size, 0)
            if (group or flight or self.done) and self._over(ahead + size, ahead + more):
                break
            if group and (not self.bytes or self._work(more) > TASK_SECONDS):
                break
            group.append(shard)
            size = more
        return tuple(group)

    def _over(self, before: int, after: int) -> bool:
        """Whether the budget is used up by `before` bytes more, or would be passed by `after`."""
        if self.most_images is not None and self.images + self.images * before / max(self.bytes, 1) >= self.most_images:
            return True
        return self.budget_s is not None and self.elapsed + self._work(after) / self.workers > self.budget_s

    def full(self, flight: Sequence[object]) -> bool:
        """Whether enough is handed out. Until something came back, one task a worker: its cost is not known."""
        return len(flight) >= (_IN_FLIGHT if self.bytes else 1) * self.workers

    def left_s(self, size: int) -> float | None:
        """Wall seconds that `size` bytes more will take; None while that is not known."""
        return size * self.elapsed / self.bytes if self.bytes else None

    def told(self, done: int, shards: int, left: int) -> str:
        """A sentence for people. done: of the `shards`; left: bytes of the others."""
        rate = f"{self.images:,} images in this call, {self.rate:,.0f} images/s; " if self.images else ""
        ahead = f"about {spoken(self.left_s(left))} left" if left else "nothing left"
        return f"{done} of {shards} shards are done; {rate}{ahead}"

    @property
    def rate(self) -> float:
        """Images a second of wall time."""
        return self.images / self.elapsed if self.elapsed else 0.0

    def _work(self, size: float) -> float:
        """Seconds that one worker needs for so many bytes; 0 while that is not known."""
        return size * self.seconds / self.bytes if self.bytes else 0.0


def spoken(seconds: float | None) -> str:
    """A time as people say it."""
    if seconds is None:
        return "an unknown time"
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(round(seconds), 1)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{minutes // 60} h {minutes % 60:02d} min" if hours < 48 else f"{hours / 24:.1f} days"
