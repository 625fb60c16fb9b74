"""The published pages of an archive, and what people say of its images."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from deploy.commands import Archive, AsJson, app, sentences, told

By = Annotated[str, typer.Option(help="Whose verdict it is.", show_default=False)]


@app.command()
def serve(
    archive: Archive,
    port: Annotated[int, typer.Option(help="Port; 0 takes any that is free.", min=0, max=65535)] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen at; any but loopback lets others in.")] = "127.0.0.1",
    local_names: Annotated[bool, typer.Option("--local-names", help="Answer only requests that name loopback, at any --host: "
        "for a container whose port is published on loopback.")] = False,
) -> None:  # fmt: skip
    """Show the published days in a browser, with buttons for verdicts, until Control-C."""
    from deploy.guarding import is_loopback
    from deploy.serving import address_of, listening
    from deploy.serving import serve as serve_at
    from interpdisc_core.storage import Place

    with sentences():
        place = Place.of(archive)
        at = listening(host, port)
        if not (local_names or is_loopback(host)):
            told.print(
                f"warning: whoever reaches {host} may read these pages and mark images; there are no accounts. Put something "
                "that asks for a name and a password before it.", markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
        print(f"serving {place.url}/site at {address_of(at)} (Control-C stops it)", flush=True)
        try:
            serve_at(place, at, local_names or is_loopback(host))
        except KeyboardInterrupt:
            print("stopped")


@app.command()
def mark(
    archive: Archive,
    image: Annotated[str, typer.Argument(help="Id of an image as the pages show it, or its key.", show_default=False)],
    verdict: Annotated[
        str,
        typer.Argument(help="known, interesting, boring or artefact; none takes a verdict back.", show_default=False),
    ],
    by: By,
    note: Annotated[str, typer.Option(help="Why.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Say what an image is; the next list obeys.

    known: never picked again. interesting: tracked, and its like shown. boring: learned, so that its like is not picked
    either. artefact: ranked apart. The last word on an image counts, and everything said is kept: see `marks`.
    """
    from interpdisc_core import feedback
    from interpdisc_core.ingest import check_format
    from interpdisc_core.storage import Place

    with sentences():
        place = Place.of(archive)
        check_format(place)
        made = feedback.mark(place, image, verdict, by, note)
    if as_json:
        print(json.dumps(asdict(made)))
    else:
        print(f"{_plain(made.id)} (key {made.key}): {made.verdict}, by {_plain(made.by)}")


@app.command()
def marks(archive: Archive, as_json: AsJson = False) -> None:
    """List everything that was said of an archive's images, by whom and when; the last of each image counts."""
    from rich.console import Console
    from rich.table import Table

    from interpdisc_core import feedback
    from interpdisc_core.ingest import check_format
    from interpdisc_core.storage import Place

    with sentences():
        place = Place.of(archive)
        check_format(place)
        trail = feedback.trail(place)
    counts = feedback.latest(trail)
    if as_json:
        print(json.dumps([asdict(one) | {"counts": counts.get(one.key) == one} for one in trail]))
        return
    table = Table("when", "verdict", "image", "key", "by", "note", "counts")
    for one in trail:
        said = (one.at, one.verdict, _plain(one.id), one.key, _plain(one.by), _plain(one.note))
        table.add_row(*said, "yes" if counts.get(one.key) == one else "")
    Console(markup=False, soft_wrap=True).print(table) if trail else print("nothing was said yet")


def _plain(text: str) -> str:
    """Without line ends and terminal control characters."""
    return ascii(text)[1:-1]
