"""Rebuild: the archive's features and memory brought along to other settings, from the images that it knows."""

from prefect import flow

from flows.artifacts import gather
from interpdisc_core.daily.settings import Daily
from interpdisc_core.lease import held
from interpdisc_core.progress import Watch
from tasks.daily import begin_rebuild, end_rebuild, rebuild_day
from tasks.extract import extract


@flow(name="rebuild", flow_run_name="rebuild {name}", validate_parameters=True)
def rebuild(archive: str, settings: Daily, workers: int = 1, watch: str = "", name: str = "archive") -> str:
    """Compute the features that `settings` ask for, and make the memory's record of every day anew from them.

    Days that were taken back stay out. Lists and pages stay as they were made. Killed, the same call goes on; until it is
    through, daily runs refuse to mix what was made by other settings. Returns the address of its account, a JSON file.
    """
    marks = Watch(archive, watch)
    with held(archive, owner=f"rebuild {name}"):
        begun = begin_rebuild(archive, settings)
        marks.begin("extract", begun.images, "images")
        gather("extract", [extract.submit(archive, settings.plan, part, begun.turn, marks) for part in begun.blocks])
        marks.begin("rebuild", len(begun.days), "days")
        meter = marks.meter("rebuild", "days")
        for day in begun.days:
            rebuild_day(archive, settings, day)
            meter.add(1)
        meter.close()
        account: str = end_rebuild(archive, settings)
    return account
