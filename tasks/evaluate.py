"""Evaluate: gather a labelled collection, learn what is to be learned, measure the cells of a study, sum up; or learn alone."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from interpdisc_core.lab import arranging, collection, learning, measuring, publishing
from interpdisc_core.lab.arranging import Arranged
from interpdisc_core.lab.study import Study
from interpdisc_core.plan import Plan
from interpdisc_core.progress import Watch
from interpdisc_core.runs import Inputs


@task(name="collect", cache_policy=NO_CACHE)
def collect(archive: str, listing: str, inputs: Inputs, study: Study, block: int, workers: int) -> collection.Collected:
    """See `interpdisc_core.lab.arranging.collect`."""
    return arranging.collect(archive, listing, inputs, study, block, workers)


@task(name="learn", task_run_name="learn {name}", cache_policy=NO_CACHE)
def learn(archive: str, collected: str, name: str, representation: Any, watch: Watch) -> str:
    """See `interpdisc_core.lab.learning.learn`."""
    return learning.learn(archive, collected, representation, watch)


@task(name="arrange", cache_policy=NO_CACHE)
def arrange(archive: str, collected: str, study: Study, workers: int) -> Arranged:
    """See `interpdisc_core.lab.arranging.arrange`."""
    return arranging.arrange(archive, collected, study, workers)


@task(name="measure", task_run_name="measure part {part}", cache_policy=NO_CACHE)
def measure(archive: str, study: str, part: int, watch: Watch) -> measuring.Measured:
    """See `interpdisc_core.lab.measuring.measure`."""
    return measuring.measure(archive, study, part, watch)


@task(name="publish", cache_policy=NO_CACHE)
def publish(archive: str, study: str, out: str, command: str, timings: dict[str, float]) -> publishing.Published:
    """See `interpdisc_core.lab.publishing.publish`."""
    return publishing.publish(archive, study, out, command, timings)


@task(name="gather", cache_policy=NO_CACHE)
def gather(archive: str, listing: str, inputs: Inputs, block: int, workers: int) -> collection.Collected:
    """See `interpdisc_core.lab.collection.collect`."""
    return collection.collect(archive, listing, inputs, block, workers)


@task(name="deliver", cache_policy=NO_CACHE)
def deliver(archive: str, collected: str, plan: Plan, address: str, out: str) -> learning.Delivered:
    """See `interpdisc_core.lab.learning.deliver`."""
    return learning.deliver(archive, collected, plan, address, out)
