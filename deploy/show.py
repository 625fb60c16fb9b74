"""What `interpdisc show` prints."""

import json
from typing import Any

from deploy.commands.output import print_line, print_table
from interpdisc_core.archive import catalog
from interpdisc_core.archive.layout import check_format
from interpdisc_core.archive.run import list_runs
from interpdisc_core.errors import StoreError
from interpdisc_core.operations.verify import count_by_status
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location


def print_summary(address: str, as_json: bool) -> None:
    """Print an archive's counts and runs, or the result of a run or a selection.

    Raises:
        StoreError: If `address` is none of these.
    """
    location = Location.parse(address)
    if location.exists("result.json"):
        _print_result(location, location.read_checked_json("result.json"), as_json)
        return
    check_format(location)
    runs = [_summarize_run(location, run) for run in list_runs(location)]
    counts = count_by_status(catalog.read_latest(location, ("status",)))
    if as_json:
        print(json.dumps({"archive": location.url, "counts": counts, "runs": runs}))
        return
    statuses = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    print_line(f"{sum(counts.values())} inputs: {statuses}")
    if runs:
        rows = [[str(value) for value in run.values()] for run in runs]
        print_table(("run", "finished", "images", "picks", "nAUC", "classes"), rows)
        print_line(f"reports: {location.url}/runs/RUN/report.html")


def _summarize_run(location: Location, run: str) -> dict[str, Any]:
    try:
        result = location.read_checked_json(f"runs/{run}/result.json")
    except FileNotFoundError:
        return {"run": run, "finished": "not yet", "images": "", "picks": "", "nauc": "", "classes": ""}
    with name_damage(f"{location.url}/runs/{run}/result.json"):
        nauc, classes = result["nauc"], result["classes"]
        return {
            "run": run,
            "finished": result["finished"],
            "images": result["candidates"],
            "picks": len(result["picks"]),
            "nauc": f"{nauc['exact']:.2f} (t = {nauc['t']})" if nauc else "",
            "classes": f"{len(classes['found'])} of {classes['total']}" if classes else "",
        }


def _print_result(location: Location, result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    if not isinstance(result.get("picks"), list):
        raise StoreError(f"{location.url}/result.json is damaged: it has no picks.")
    if "run" in result:
        # An archive may have been copied or moved since: the report is next to the result.
        report = f"{location.url}/report.html" if location.exists("report.html") else result["report"]
        print_line(f"run {result['run']}, finished {result['finished']}; report: {report}")
    else:  # of `interpdisc select`
        print_line(f"selection from {result['source']}, in {location.url}")
    rows = [
        [str(pick["rank"]), pick["id"], f"{pick['score']:.5g}", str(pick["label"] or "")] for pick in result["picks"]
    ]
    print_table(("rank", "image", "score", "label"), rows)
