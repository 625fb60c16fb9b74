"""Daily: what is new in the images that came in, day by day; days taken back; the memory rebuilt."""

import getpass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deploy.commands import exit_on_error, name_share, override, run_and_print
from deploy.commands.checks import check_source_and_weights, resolve_archive, resolve_existing_archive
from deploy.commands.options import (
    ArchiveArgument,
    ArchiveOption,
    AuthorOption,
    BlockOption,
    EnvArchiveArgument,
    MaxOutstandingOption,
    NoteOption,
    RunOptions,
    with_run_options,
)
from deploy.commands.output import print_line
from interpdisc_core.errors import PlanError
from interpdisc_core.reporting.escaping import escape_controls

SettingsOption = Annotated[
    Path | None,
    typer.Option(help="JSON file with the settings of the daily run; see deploy/daily.", show_default=False),
]
StratumOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A field, or an expression as of `select --where`, that gets a memory and a list of its own; repeatable.  "
        "[default: instrument]",
        metavar="FIELD|EXPR",
        show_default=False,
    ),
]
DayArgument = Annotated[str, typer.Argument(help="The day, e.g. sol-00812.", metavar="DAY", show_default=False)]


@with_run_options
def daily_command(
    options: RunOptions,
    source: Annotated[
        str,
        typer.Argument(
            help="feed:msl, feed:mars2020, a folder, glob, list, tar shards, or s3:// prefix. Default: the settings'.",
            metavar="SOURCE",
            show_default=False,
        ),
    ] = "",
    archive: ArchiveOption = "interpdisc-daily",
    settings: SettingsOption = None,
    picks: Annotated[
        int | None, typer.Option("-n", "--picks", help="Picks of a day.  [default: 25]", min=1, show_default=False)
    ] = None,
    explain: Annotated[
        int | None,
        typer.Option(help="Number of picks to render, the first ones.  [default: 25]", min=0, show_default=False),
    ] = None,
    horizon: Annotated[
        Literal["sols", "site", "mission"] | None,
        typer.Option(
            help="What counts as seen: the last sols, all at this site, or all of the mission.  [default: sols]",
            show_default=False,
        ),
    ] = None,
    horizon_sols: Annotated[
        int | None,
        typer.Option(help="Number of last sols of the horizon `sols`.  [default: 30]", min=1, show_default=False),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="At most N picks of an instrument; `*=N` is for any that is not named; repeatable.",
            metavar="NAME=N",
            show_default=False,
        ),
    ] = None,
    stratum: StratumOption = None,
    pages: Annotated[
        str,
        typer.Option(
            help="Address at which `interpdisc serve` shows the pages, for links.",
            show_default=False,
            envvar="INTERPDISC_PAGES",
        ),
    ] = "",
    block: BlockOption = 256,
    max_outstanding: MaxOutstandingOption = None,
) -> None:
    """Find what is new in the images that SOURCE brought since the last run, and remember them.

    Safe to run again after a crash, for late data, or by mistake.

    Example: `interpdisc daily feed:msl --archive msl/ --budget MAST_LEFT=8`
    """
    with exit_on_error():
        daily_settings = build_settings(
            source, settings, picks, explain, horizon=horizon, horizon_sols=horizon_sols, budget=budget, strata=stratum
        )
        check_source_and_weights(daily_settings)
        run_and_print(
            print_daily_result,
            options,
            flow="daily",
            parameters={
                "settings": daily_settings,
                "block": block,
                "name": _archive_name(archive),
                "pages": pages,
                **name_share(max_outstanding),
            },
            tags=("daily", daily_settings.source.kind),
            archive=resolve_archive(archive, [daily_settings.source]),
        )


@with_run_options
def rebuild_command(
    options: RunOptions,
    archive: EnvArchiveArgument,
    source: Annotated[
        str, typer.Option(help="The source of the daily runs, if the settings name none.", show_default=False)
    ] = "",
    settings: SettingsOption = None,
    stratum: StratumOption = None,
    max_outstanding: MaxOutstandingOption = None,
) -> None:
    """Compute the features and the memory of ARCHIVE again: after a change of backbone, strata or rules, or of damage.

    Images that the archive knows are read again if features are missing. Lists and pages stay as they are.
    """
    with exit_on_error():
        run_and_print(
            lambda result: print_line(
                f"{result['days']} days are in the memory; {result['records_removed']} old records removed"
            ),
            options,
            flow="rebuild",
            parameters={
                "settings": build_settings(source or ("" if settings else "."), settings, strata=stratum),
                "name": _archive_name(archive),
                **name_share(max_outstanding),
            },
            tags=("rebuild",),
            archive=resolve_existing_archive(archive),
        )


def undo_command(archive: ArchiveArgument, day: DayArgument, by: AuthorOption = "", note: NoteOption = "") -> None:
    """Take a day out of the memory: later days are then as if it had never been in it, to the bit.

    Its page stays, and shows NOTE. Daily runs leave the day alone until `interpdisc redo`.
    """
    with exit_on_error():
        from interpdisc_core.archive.layout import lock_archive
        from interpdisc_core.operations.daily import commit
        from interpdisc_core.reporting import site
        from interpdisc_core.storage.location import Location

        location, author = Location.parse(archive), by or getpass.getuser()
        with lock_archive(location.url, owner="undo"):
            day_commit = commit.undo_day(location.url, day, author, note)
            undo_record = location.read_checked_json(f"days/{day}/undone.json")
            site.withdraw_day(location, day, author, note, undo_record["at"])
    print_line(f"{day} is undone: {len(day_commit.records)} records are out of the memory")


def redo_command(archive: ArchiveArgument, day: DayArgument) -> None:
    """Let the next daily run process an undone day again."""
    with exit_on_error():
        from interpdisc_core.archive.layout import lock_archive
        from interpdisc_core.operations.daily import commit
        from interpdisc_core.storage.location import Location

        location = Location.parse(archive)
        with lock_archive(location.url, owner="redo"):
            commit.redo_day(location.url, day)
    print_line(f"the next daily run processes {day} again")


def build_settings(
    source: str,
    path: Path | None,
    picks: int | None = None,
    explain: int | None = None,
    *,
    budget: list[str] | None = None,
    strata: list[str] | None = None,
    **overrides: Any,
) -> Any:
    """The settings of the file, or the default ones, with the command line's own put in.

    Args:
        source: SOURCE; empty if it is not given.
        path: Of --settings; one of both must be given.
        picks: Picks of a day; None if not given, as for the following.
        explain: Picks to render.
        budget: Most picks of instruments, as NAME=N.
        strata: Fields or expressions.
        overrides: Other fields of `Daily`; None for those that are not given.

    Raises:
        PlanError: If the settings are not valid.
    """
    from interpdisc_core import sources
    from interpdisc_core.operations.daily.settings import Daily, parse_daily
    from interpdisc_core.plan import read_json_file

    parsed_source = sources.parse_source(sources.make_source_absolute(source)) if source else None
    if path:
        payload = read_json_file(str(path))
        if not isinstance(payload, dict):
            raise PlanError(f"{path}: settings must be a JSON object.")
        if parsed_source is not None:
            payload = {"source": sources.source_to_json(parsed_source)} | payload
        base = parse_daily(payload, str(path))
    elif parsed_source is not None:
        base = Daily(source=parsed_source)
    else:
        raise PlanError("no SOURCE: name a feed, a folder or an s3:// prefix, or give --settings.")
    if picks is not None and explain is None:
        explain = min(picks, base.plan.explain)
    return override(
        base,
        source=parsed_source,
        plan=override(base.plan, picks=picks, explain=explain),
        budget=_parse_budget(budget) if budget else None,
        strata=tuple(strata) if strata else None,
        **overrides,
    )


def _parse_budget(items: list[str]) -> dict[str, int]:
    picks_by_instrument = {}
    for item in items:
        name, _, number = item.rpartition("=")
        if not name or not number.isdecimal():
            raise PlanError(f"--budget is NAME=N, such as MAST_LEFT=8, not {item!r}.")
        picks_by_instrument[name] = int(number)
    return picks_by_instrument


def _archive_name(archive: str) -> str:
    return archive.rstrip("/").rpartition("/")[2] or "archive"


def print_daily_result(result: dict[str, Any]) -> None:
    """Print the log of a daily run."""
    poll = result["polled"]
    if poll["is_feed"]:
        print_line(f"feed: {poll['new']} new, {poll['resent']} sent again, {poll['outstanding']} to be downloaded")
    if poll["trouble"]:
        print_line(f"the poll stopped early, and the next one resumes it: {poll['trouble']}")
    if result["remembered"]:
        print_line(f"remembered without a list: {len(result['remembered'])} days")
    for day in result["days"]:
        print_line(
            f"{day['day']}, revision {day['revision']}: {sum(day['ledger'].values())} inputs, {len(day['picks'])} picks"
        )
        for pick in day["picks"][:3]:
            share = pick["tail_probability"]
            unusual = "" if share is None else f"  as high as {100 * share:.2g} % of the images before"
            print_line(f"  {pick['rank']:>3}. {escape_controls(pick['id'], 60)}  score {pick['score']:.4g}{unusual}")
        if day["spikes"]:
            print_line(f"  novelty spike: {', '.join(day['spikes'])}")
        print_line(f"  page: {day['page']}")
    if not result["days"] and not result["remembered"]:
        print_line("nothing is new")
