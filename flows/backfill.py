"""Backfill: plan → take in shard by shard → settle → remember → prove."""

import time
from collections import deque
from typing import Any, Literal

from prefect import flow
from prefect.futures import PrefectFuture

from flows.artifacts import finished
from flows.backfill_artifacts import Progress, show
from interpdisc_core.backfill import account
from interpdisc_core.backfill.pace import Pace
from interpdisc_core.backfill.planning import ROWS, Planned
from interpdisc_core.backfill.proving import Proof
from interpdisc_core.backfill.records import Shard
from interpdisc_core.backfill.remembering import Remembered
from interpdisc_core.backfill.settling import Settled
from interpdisc_core.lease import held
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from tasks.backfill import fill, plan_shards, prove, remember, settle

_DEADLY = ("KilledWorker", "MemoryError")
"""What is raised where a shard was too much for its worker: it stops no other shard."""


@flow(name="backfill", flow_run_name="backfill {name}", validate_parameters=True)
def backfill(
    sources: tuple[str, ...], archive: str, plan: Plan | None = None, dtype: Literal["float16", "float32"] = "float16",
    budget_s: float | None = None, most_images: int | None = None, stratum: str = "", block: int = ROWS,
    workers: int = 1, name: str = "shards", watch: str = "",
) -> str:  # fmt: skip
    """Take in the images of many shards, such as the tars of a mission's archive.

    sources: shards, patterns, folders or s3:// prefixes of them. archive: a folder or s3:// prefix that keeps what is
    computed; the same call again goes on from there, and one with more shards adds them. plan: its representation is
    what is computed, kept as `dtype`. budget_s: wall seconds after which nothing new is begun; most_images: images.
    stratum: of the memory that takes the images in as seen, once all shards are there. block: rows of a chunk.
    workers: how many the work is spread over. Returns the address of the backfill's result.json.
    """
    plan, marks, began = plan or Plan(), Watch(archive, watch), time.monotonic()
    with held(archive, owner=f"backfill {name}") as lease:
        planned: Planned = plan_shards(archive, sources, plan, dtype, block)
        pace, progress = Pace(workers, budget_s, most_images), Progress(planned, marks)
        waiting, died, stopped = deque(planned.todo), dict[str, str](), ""
        flight: deque[tuple[tuple[Shard, ...], PrefectFuture[Any]]] = deque()
        while flight or (waiting and not stopped):
            while waiting and not stopped and not pace.full(flight):
                group = pace.group(waiting, [some for some, _ in flight])
                if not group:
                    stopped = "its budget is used up"
                    break
                lease.check()
                flight.append((group, fill.submit(archive, planned.name, plan, group, planned.turn, marks)))
                for _ in group:
                    waiting.popleft()
            if not flight:
                break
            group, future = flight.popleft()
            try:
                filled = finished(future)
            except Exception as error:
                if type(error).__name__ not in _DEADLY:
                    raise
                died |= {shard.id: f"the worker that read it died ({type(error).__name__})" for shard in group}
                continue
            pace = pace.after(filled, time.monotonic() - began)
            progress.tell(pace, len(died))

        lease.check()
        settled: Settled = settle(archive, planned.name)
        proof: Proof = prove(archive, planned.name)
        taken = Remembered("", 0)
        if stratum and proof.complete:
            taken = remember(archive, planned.name, stratum, plan.normalise)
        address = account.write(archive, planned, pace, settled, taken, proof, stopped, died)
        show(planned, pace, proof, died, stopped)
    return address
