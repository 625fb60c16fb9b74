"""What a backfill leaves in the Prefect UI: how far it is, how fast, how long it will take, and the proof at its end."""

import time
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from interpdisc_core.backfill.pace import Pace
from interpdisc_core.backfill.planning import Planned
from interpdisc_core.backfill.proving import Proof
from interpdisc_core.progress import Watch

_EVERY = 20.0
"""Seconds between two sentences."""
_SHOWN = 50


class Progress:
    """A progress artifact, and now and then a sentence for whoever watches. By bytes: images are only known when read."""

    def __init__(self, planned: Planned, marks: Watch) -> None:
        self.planned, self.marks, self.said = planned, marks, time.monotonic()
        self.to_do = sum(max(shard.size, 0) for shard in planned.todo)
        self.before = planned.shards - len(planned.todo)
        marks.begin("backfill", round(self.to_do / 1e6), "MB")
        self.artifact: Any = create_progress_artifact(
            self._percent(0), key="backfill-progress", description=f"{self.before} of {planned.shards} shards are done"
        )

    def tell(self, pace: Pace, died: int) -> None:
        """How far it is now."""
        told = pace.told(self.before + pace.done, self.planned.shards, self.to_do - pace.bytes)
        told += f"; {died} shards could not be read" if died else ""
        update_progress_artifact(self.artifact, self._percent(pace.bytes), description=told)
        if time.monotonic() - self.said > _EVERY:
            self.marks.say(told)
            self.said = time.monotonic()

    def _percent(self, size: int) -> float:
        whole = self.planned.bytes
        return 100.0 * (whole - self.to_do + size) / whole if whole else 100.0


def show(planned: Planned, pace: Pace, proof: Proof, died: dict[str, str], stopped: str) -> None:
    """The proof: what went in, what came out, what is wrong."""
    rows = "\n".join(f"| {status} | {count:,} |" for status, count in proof.statuses.items())
    wrong = [*(f"{shard}: {why}" for shard, why in (proof.faults | died).items()), *proof.gaps]
    state = "**Complete.**" if proof.complete and not died else f"**Not complete**: {proof.left} shards are left."
    create_markdown_artifact(
        f"{state} {pace.told(proof.shards - proof.left - len(proof.faults), proof.shards, 0)}. {stopped}\n\n"
        f"{proof.headers:,} members by the shards' headers; {proof.members:,} were read:\n\n"
        f"| status | members |\n|---|---:|\n{rows}\n| **all** | **{sum(proof.statuses.values()):,}** |\n\n"
        f"{proof.vectors:,} images have a vector.\n\n" + "\n".join(f"* {one}" for one in wrong[:_SHOWN]),
        key="backfill", description=f"Backfill {planned.name}",
    )  # fmt: skip
