"""What `interpdisc show` prints."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from interpdisc_core import catalog
from interpdisc_core.errors import StoreError
from interpdisc_core.ingest import check_format
from interpdisc_core.runs import runs
from interpdisc_core.storage import Place
from interpdisc_core.verification import counts_of


def show(address: str, as_json: bool) -> None:
    """Print an archive's counts and runs, or a run's or a selection's result. StoreError where `address` is neither."""
    place = Place.of(address)
    if place.exists("result.json"):
        _run(place.read_json("result.json"), as_json)
        return
    check_format(place)
    found = [_summary(place, run) for run in runs(place)]
    counts = counts_of(catalog.latest(place, ("status",)))
    if as_json:
        print(json.dumps({"archive": place.url, "counts": counts, "runs": found}))
        return
    print(
        f"{sum(counts.values())} inputs: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    )
    table = Table("run", "finished", "images", "picks", "nAUC", "classes")
    for run in found:
        table.add_row(*(str(value) for value in run.values()))
    Console().print(table)


def _summary(place: Place, run: str) -> dict[str, Any]:
    try:
        told = place.read_json(f"runs/{run}/result.json")
    except FileNotFoundError:
        return {"run": run, "finished": "not yet", "images": "", "picks": "", "nauc": "", "classes": ""}
    nauc, classes = told["nauc"], told["classes"]
    return {
        "run": run,
        "finished": told["finished"],
        "images": told["candidates"],
        "picks": len(told["picks"]),
        "nauc": f"{nauc['exact']:.2f} (t = {nauc['t']})" if nauc else "",
        "classes": f"{len(classes['found'])} of {classes['total']}" if classes else "",
    }


def _run(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    if not isinstance(result.get("picks"), list):
        raise StoreError("result.json is damaged: it has no picks.")
    if "run" in result:
        print(f"run {result['run']}, finished {result['finished']}; report: {result['report']}")
    else:  # of `interpdisc select`
        print(f"selection from {result['source']}, in {result['out']}")
    table = Table("rank", "image", "score", "label")
    for pick in result["picks"]:
        # repr: a name may hold line ends and terminal control characters
        table.add_row(str(pick["rank"]), ascii(pick["id"])[1:-1], f"{pick['score']:.5g}", str(pick["label"] or ""))
    Console(markup=False).print(table)
