"""Daily: what is new in what came in, day by day; a day taken back; the memory made anew."""

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.commands import Archive, AsJson, KeepUi, Scheduler, Verbose, Workers, absolute, app, carry_out, sentences
from interpdisc_core.errors import PlanError

Settings = Annotated[Path | None, typer.Option(help="JSON file that says what is asked for (see deploy/daily).")]
By = Annotated[str, typer.Option(help="Who says so.  [default: your user name]", show_default=False)]


@app.command()
def daily(
    source: Annotated[str, typer.Argument(
        help="Where images come from: `feed:msl`, `feed:mars2020`, a folder, glob, list, tar shards, or s3:// prefix. "
        "Default: that of the settings.", show_default=False)] = "",
    archive: Annotated[str, typer.Option(help="Folder or s3:// prefix that keeps all.")] = "interpdisc-daily",
    settings: Settings = None,
    picks: Annotated[int | None, typer.Option("-n", "--picks", help="Picks of a day.  [default: 25]")] = None,
    explain: Annotated[int | None, typer.Option(help="How many of them to render.  [default: 25]")] = None,
    horizon: Annotated[str, typer.Option(help="What counts as seen: `sols` (the last), `site`, or `mission`.")] = "",
    sols: Annotated[int | None, typer.Option(help="How many last sols.  [default: 30]")] = None,
    budget: Annotated[list[str] | None, typer.Option(
        help="Most picks of an instrument, as NAME=N; `*=N` for any other. May be given more than once.")] = None,
    stratum: Annotated[list[str] | None, typer.Option(
        help="A field or an expression that gets a memory and a list of its own.  [default: instrument]")] = None,
    pages: Annotated[str, typer.Option(help="Address at which the pages are served (see `interpdisc serve`).")] = "",
    scheduler: Scheduler = "",
    workers: Workers = 0,
    block: Annotated[int, typer.Option(help="Most images a task extracts.", min=1)] = 256,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Find what is new in what SOURCE brought since the last run, and remember it.

    Example: `interpdisc daily feed:msl --archive msl/ --budget MAST_LEFT=8`. Twice, late, or after a crash: the same
    command; what is right stays.
    """
    with sentences():
        asked = _settings(source, settings, picks, explain, horizon, sols, budget, stratum)
        given = {"settings": asked, "block": block, "name": _name(archive), "pages": pages}
        carry_out(
            _tell, as_json, flow="daily", given=given, tags=("daily", asked.source.kind), archive=absolute(archive),
            scheduler=scheduler, workers=workers, keep_ui=keep_ui, verbose=verbose,
        )  # fmt: skip


@app.command()
def rebuild(
    archive: Archive,
    source: Annotated[
        str, typer.Option(help="The source that daily runs have; only the settings' form needs it.")
    ] = ".",
    settings: Settings = None,
    stratum: Annotated[list[str] | None, typer.Option(help="As of `daily`.")] = None,
    scheduler: Scheduler = "",
    workers: Workers = 0,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Make an archive's features and memory anew: after a change of backbone, strata or rules, or of damage.

    Images that the archive knows are read again where features are missing. Lists and pages stay as they were made.
    """
    with sentences():
        asked = _settings(source, settings, None, None, "", None, None, stratum)
        carry_out(
            lambda result: print(f"{result['days']} days are in the memory; {result['records_removed']} old records removed"),
            as_json, flow="rebuild", given={"settings": asked, "name": _name(archive)}, tags=("rebuild",),
            archive=absolute(archive), scheduler=scheduler, workers=workers, keep_ui=keep_ui, verbose=verbose,
        )  # fmt: skip


@app.command()
def undo(
    archive: Archive,
    day: Annotated[str, typer.Argument(help="The day, e.g. sol-00812.", show_default=False)],
    by: By = "",
    why: Annotated[str, typer.Option(help="The reason; the day's page tells it.")] = "",
) -> None:
    """Take a day out of the memory: later days are then as if it had never been there, to the bit.

    Its page stays, and says so. Daily runs leave the day alone until `interpdisc redo`.
    """
    with sentences():
        from interpdisc_core import site
        from interpdisc_core.daily import commit
        from interpdisc_core.lease import held
        from interpdisc_core.storage import Place

        who = by or getpass.getuser()
        with held(absolute(archive)):
            found = commit.undo(absolute(archive), day, who, why)
            told = Place.of(absolute(archive)).read_json(f"days/{day}/undone.json")
            site.withdraw(Place.of(absolute(archive)), day, who, why, told["at"])
    print(f"{day} is taken back: {len(found.records)} records are out of the memory")


@app.command()
def redo(
    archive: Archive,
    day: Annotated[str, typer.Argument(help="A day that was taken back.", show_default=False)],
) -> None:
    """Let the next daily run do a day again that was taken back."""
    with sentences():
        from interpdisc_core.daily import commit
        from interpdisc_core.lease import held

        with held(absolute(archive)):
            commit.redo(absolute(archive), day)
    print(f"the next daily run does {day} again")


def _settings(
    source: str, path: Path | None, picks: int | None, explain: int | None, horizon: str, sols: int | None,
    budget: list[str] | None, strata: list[str] | None,
) -> Any:  # fmt: skip
    """The settings of the file, or the default ones, with the command line's own put in."""
    from dataclasses import replace

    from interpdisc_core import sources
    from interpdisc_core.daily import settings as daily_settings
    from interpdisc_core.plan import json_at

    given: dict[str, Any] = {"source": sources.parse(sources.absolute(source))} if source else {}
    if path:
        told = json_at(str(path))
        if not isinstance(told, dict):
            raise PlanError(f"{path}: settings are a JSON object.")
        if source and "source" not in told:
            told = told | {"source": sources.to_json(given["source"])}
        asked = daily_settings.parse(told, str(path))
    elif source:
        asked = daily_settings.Daily(source=given["source"])
    else:
        raise PlanError("no SOURCE: name a feed, a folder or an s3:// prefix, or give --settings.")
    plan: dict[str, Any] = {
        "picks": picks,
        "explain": explain if explain is not None else picks and min(picks, asked.plan.explain),
    }
    plan = {name: value for name, value in plan.items() if value is not None}
    changed: dict[str, Any] = {"horizon": horizon or None, "sols": sols, "strata": tuple(strata) if strata else None}
    changed |= {"budget": _budget(budget) if budget else None, "plan": replace(asked.plan, **plan) if plan else None}
    return replace(asked, **given, **{name: value for name, value in changed.items() if value is not None})


def _budget(given: list[str]) -> dict[str, int]:
    found = {}
    for one in given:
        name, _, number = one.rpartition("=")
        if not name or not number.isdecimal():
            raise PlanError(f"--budget is NAME=N, such as MAST_LEFT=8, not {one!r}.")
        found[name] = int(number)
    return found


def _name(archive: str) -> str:
    return archive.rstrip("/").rpartition("/")[2] or "archive"


def _tell(result: dict[str, Any]) -> None:
    polled = result["polled"]
    print(f"feed: {polled['new']} new, {polled['resent']} sent again, {polled['outstanding']} outstanding")
    if polled["trouble"]:
        print(f"the poll did not get to its end; the next goes on: {polled['trouble']}")
    if result["remembered"]:
        print(f"remembered without a list: {len(result['remembered'])} days")
    for day in result["days"]:
        print(
            f"{day['day']}, revision {day['revision']}: {sum(day['ledger'].values())} inputs, {len(day['picks'])} picks"
        )
        for pick in day["picks"][:3]:
            unusual = "" if pick["novelty_rank"] is None else f"  {100 * pick['novelty_rank']:.2g} % scored as high"
            print(f"  {pick['rank']:>3}. {pick['id']!a:.60}  score {pick['score']:.4g}{unusual}")
        if day["spikes"]:
            print(f"  novelty spike: {', '.join(day['spikes'])}")
        print(f"  page: {day['page']}")
    if not result["days"] and not result["remembered"]:
        print("nothing is new")
