"""Archives: what they hold, whether they are whole, other layout versions; the Prefect UI that was kept."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from deploy.commands import exit_on_error
from deploy.commands.checks import make_absolute, parse_duration, resolve_existing_archive
from deploy.commands.options import DryRunOption, EnvArchiveArgument, JsonOption
from deploy.commands.output import EXIT_FAULTS, print_line, stderr


def verify_command(archive: EnvArchiveArgument, as_json: JsonOption = False) -> None:
    """Check that an archive is whole: every input accounted for, no block missing, every hash correct."""
    from interpdisc_core.operations.verify import verify_archive

    with exit_on_error():
        report = verify_archive(make_absolute(archive))
    if as_json:
        print(json.dumps(asdict(report) | {"sound": report.is_sound}))
    else:
        counts = " + ".join(f"{count} {status}" for status, count in report.counts.items() if count)
        print_line(f"{report.inputs} inputs seen = {counts or 'none'}")
        for store in report.features:
            print_line(
                f"features {store.name} ({store.kind}): {store.ready} ready = {store.extracted} extracted + "
                f"{store.to_do} to do; {store.blocks} blocks, every hash read"
            )
        for line in _describe_records(report.records):
            print_line(line)
        print_line(_describe_files(report))
        for fault in report.faults:
            print_line(f"FAULT  {fault!s}")
        print_line(
            "sound" if report.is_sound else f"{len(report.faults)} faults; `interpdisc repair` says what can be done"
        )
    raise typer.Exit(0 if report.is_sound else EXIT_FAULTS)


def repair_command(archive: EnvArchiveArgument, dry_run: DryRunOption = False, as_json: JsonOption = False) -> None:
    """Repair a damaged archive: make again what is derived, let the next run compute the rest, say what is lost."""
    from interpdisc_core.operations.repair import prepare_repair, repair_archive
    from interpdisc_core.storage.lock import archive_lock

    with exit_on_error():
        address = make_absolute(archive)
        with stderr.status("reading everything …") as status:
            if dry_run:
                report = repair_archive(address, dry_run=True)
            else:
                prepare_repair(address)
                with archive_lock(address, owner="repair"):
                    report = repair_archive(address, report_progress=status.update)
    is_sound = report.verification.is_sound
    if as_json:
        verification = asdict(report.verification) | {"sound": is_sound}
        print(json.dumps({"actions": [asdict(action) for action in report.actions], "verification": verification}))
    else:
        for action in report.actions:
            print_line(f"{'LOST  ' if action.is_lost else 'repair'} {action.path}: {action.sentence}")
        if not report.actions:
            print_line("nothing to repair")
        elif dry_run:
            print_line("nothing was changed")
        for fault in report.verification.faults:
            print_line(f"FAULT  {fault}")
        print_line("sound" if is_sound else f"{len(report.verification.faults)} faults")
    raise typer.Exit(0 if is_sound else EXIT_FAULTS)


def _describe_files(report: Any) -> str:
    line = f"files: {report.checked_files} fit their checksum"
    return f"{line}; {report.unchecked_files} have none (of an earlier version)" if report.unchecked_files else line


def _describe_records(records: Any) -> list[str]:
    """A line for days, inboxes and backfills each, if the archive has any."""
    lines = []
    if records.days or records.memory_records:
        lines.append(f"memory: {records.days} days; {records.memory_records} records, every hash read")
    if records.feed_records:
        lines.append(f"inbox: {records.feed_records} records, {records.pending_records} of them not ingested yet")
    if records.shards_read or records.shards_left:
        lines.append(f"backfills: {records.shards_read} shards read, {records.shards_left} to do")
    return lines


def tidy_command(
    archive: EnvArchiveArgument,
    older_than: Annotated[
        str, typer.Option(help="Remove only what was last changed longer ago, e.g. `7d`, `12h`.", metavar="TIME")
    ] = "7d",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what killed runs left in ARCHIVE, and caches: unfinished files, downloads and uploads, unused listings.

    Nothing that results rely on is touched, and nothing while a run writes to the archive.
    """
    from interpdisc_core.operations.tidy import find_untidy, tidy_archive
    from interpdisc_core.storage.lock import archive_lock

    with exit_on_error():
        url, age_s = resolve_existing_archive(archive), parse_duration(older_than, "--older-than") or 0.0
        if dry_run:
            items = find_untidy(url, age_s)
        else:
            with archive_lock(url, owner="tidy"):
                items = tidy_archive(url, age_s)
    if as_json:
        print(json.dumps({"removed": not dry_run, "items": [asdict(item) for item in items]}))
        return
    for kind in dict.fromkeys(item.kind for item in items):
        sizes = [item.bytes for item in items if item.kind == kind]
        size = f", {sum(sizes) / 1e6:,.1f} MB" if min(sizes) >= 0 else ""
        print_line(f"{kind}: {len(sizes):,}{size} {'would be removed' if dry_run else 'removed'}")
    if not items:
        print_line(f"nothing to remove that is older than {older_than}")


def migrate_command(archive: EnvArchiveArgument, dry_run: DryRunOption = False, as_json: JsonOption = False) -> None:
    """Bring an archive of an earlier version of this program to the present layout; results stay as they are.

    It may be killed and run again. Images are read again for what version 1 did not keep of them.
    """
    from interpdisc_core.operations.migrate import migrate_archive
    from interpdisc_core.storage.lock import archive_lock

    with exit_on_error():
        if dry_run:
            report = migrate_archive(archive, dry_run=True)
        else:
            with (
                stderr.status("reading the catalog …") as status,
                archive_lock(make_absolute(archive), owner="migrate"),
            ):
                report = migrate_archive(
                    archive, report_progress=lambda count, total: status.update(f"{count} of {total} files read")
                )
    if as_json:
        print(json.dumps(asdict(report)))
    elif report.from_format == report.format:
        print_line(f"{report.archive} has layout version {report.format} already; nothing was done")
    elif dry_run:
        print_line(
            f"{report.archive} has layout version {report.from_format}: {report.remaining} of its {report.inputs} inputs "
            "would be read again"
        )
    else:
        print_line(
            f"{report.archive}: from layout version {report.from_format} to {report.format}; {report.reread} files read "
            "again"
        )
        if report.unknown_radiometry:
            print_line(f"{report.unknown_radiometry} of them are missing or have changed: their radiometry is unknown")
        if report.version_1_radiometry:
            print_line(
                f"{report.version_1_radiometry} of them were converted to 8 bits in another way by version 1; by their "
                "radiometry they stay apart from other images"
            )


def show_command(
    archive: Annotated[
        str,
        typer.Argument(
            help="An archive, the folder of a run (ARCHIVE/runs/RUN), or the output of `select`.",
            show_default=False,
            metavar="ARCHIVE",
            envvar="INTERPDISC_ARCHIVE",
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what an archive holds, or the picks of a run or of a selection."""
    from deploy.show import print_summary

    with exit_on_error():
        print_summary(archive, as_json)


def stop_ui_command() -> None:
    """Stop the Prefect UI that a run with --keep-ui left running."""
    from deploy.prefect_server import stop_kept_servers

    addresses = stop_kept_servers()
    for address in addresses:
        print_line(f"stopped {address.removesuffix('/api')}")
    if not addresses:
        print_line("no Prefect UI was left running")


def show_ui_command() -> None:
    """Show the addresses of the Prefect UIs of your runs on this machine, and how to sign in."""
    from deploy.prefect_server import list_local_servers

    servers = list_local_servers()
    for server in servers:
        state = "left running, `interpdisc stop-ui` stops it" if server.is_kept else "of a run in progress"
        print_line(f"{server.api.removesuffix('/api')}  sign in with {server.auth}  ({state})")
    if not servers:
        print_line("no Prefect UI is running")
