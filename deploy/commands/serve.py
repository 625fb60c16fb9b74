"""The published pages of an archive, and people's verdicts on its images."""

import getpass
import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from deploy.commands import exit_on_error
from deploy.commands.checks import resolve_existing_archive
from deploy.commands.options import ArchiveArgument, AuthorOption, EnvArchiveArgument, JsonOption, NoteOption
from deploy.commands.output import print_error, print_line, print_table
from interpdisc_core.reporting.escaping import escape_controls

VerdictChoice = Literal["known", "interesting", "boring", "artefact", "none"]


def serve_command(
    archive: EnvArchiveArgument,
    port: Annotated[int, typer.Option(help="Port; 0: any free one.", min=0, max=65535)] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen at; any but loopback lets others in.")] = "127.0.0.1",
    local_names: Annotated[
        bool,
        typer.Option(
            "--local-names",
            help="Answer only requests that name loopback, at any --host: "
            "for a container whose port is published on loopback.",
        ),
    ] = False,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Start even if there is no archive yet: for a deployment that begins."),
    ] = False,
) -> None:
    """Show the published days in a browser, with buttons for verdicts, until Control-C."""
    from deploy.page_server import format_url, open_listener, serve_pages
    from deploy.request_guard import is_loopback
    from interpdisc_core.storage.location import Location

    with exit_on_error():
        location = Location.parse(archive if allow_missing else resolve_existing_archive(archive))
        listener = open_listener(host, port)
        loopback_only = local_names or is_loopback(host)
        if not loopback_only:
            _warn(
                f"whoever reaches {host} may read these pages and record verdicts; there are no accounts. Put something "
                "that asks for a name and a password in front of it."
            )
        if not location.exists("site/index.html"):
            _warn(
                "no pages are published yet: `interpdisc daily` makes them. The reports of `interpdisc discover` are files, "
                f"{location.url}/runs/RUN/report.html; `interpdisc show` lists the runs."
            )
        print_line(f"serving {location.url}/site at {format_url(listener)} (Control-C stops it)", flush=True)
        try:
            serve_pages(location, listener, loopback_only)
        except KeyboardInterrupt:
            print_line("stopped")


def mark_command(
    archive: ArchiveArgument,
    image: Annotated[
        str,
        typer.Argument(help="Id of an image as the pages show it, or its key.", metavar="IMAGE", show_default=False),
    ],
    verdict: Annotated[VerdictChoice, typer.Argument(help="The verdict, as described above.", show_default=False)],
    by: AuthorOption = "",
    note: NoteOption = "",
    as_json: JsonOption = False,
) -> None:
    """Record a verdict on an image; it takes effect at the next daily run.

    known: never picked again. interesting: tracked, and similar images are shown. boring: learned, so that similar
    images are not picked either. artefact: listed apart. none: takes the verdict back. The last verdict on an image
    counts, and all are kept: see `marks`.
    """
    from interpdisc_core.archive import feedback
    from interpdisc_core.storage.location import Location

    with exit_on_error():
        location = Location.parse(resolve_existing_archive(archive))
        event = feedback.record_verdict(location, image, verdict, by or getpass.getuser(), note)
    if as_json:
        print(json.dumps(asdict(event)))
    else:
        print_line(f"{escape_controls(event.id)} (key {event.key}): {event.verdict}, by {escape_controls(event.by)}")


def marks_command(archive: EnvArchiveArgument, as_json: JsonOption = False) -> None:
    """List all verdicts on an archive's images, by whom and when; the last one of each image counts."""
    from interpdisc_core.archive import feedback
    from interpdisc_core.storage.location import Location

    with exit_on_error():
        events = feedback.read_verdict_history(Location.parse(resolve_existing_archive(archive)))
    latest = feedback.select_current_verdicts(events)
    if as_json:
        print(json.dumps([asdict(event) | {"counts": latest.get(event.key) == event} for event in events]))
    elif not events:
        print_line("there are no verdicts yet")
    else:
        rows = [
            (
                *(getattr(event, name) for name in ("at", "verdict", "id", "key", "by", "note")),
                "yes" if latest.get(event.key) == event else "",
            )
            for event in events
        ]
        print_table(("when", "verdict", "image", "key", "by", "note", "counts"), rows)


def _warn(sentence: str) -> None:
    print_error(f"warning: {sentence}")
