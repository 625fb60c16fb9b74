"""What there is: archives, runs, the Prefect UI that stayed."""

import json
from typing import Annotated

import typer

from deploy.commands import UNSOUND, Archive, AsJson, app, sentences


@app.command()
def verify(archive: Archive, as_json: AsJson = False) -> None:
    """Prove that an archive is whole: every input accounted for, no block missing, every hash holds."""
    from dataclasses import asdict

    from interpdisc_core.verification import verify as check

    with sentences():
        found = check(archive)
    if as_json:
        print(json.dumps(asdict(found) | {"sound": found.sound}))
    else:
        ledger = " + ".join(f"{count} {status}" for status, count in found.counts.items() if count)
        print(f"{found.inputs} inputs seen = {ledger or 'none'}")
        for store in found.features:
            print(
                f"features {store.name} ({store.kind}): {store.ready} ready = {store.extracted} extracted + {store.to_do} to do; "
                f"{store.blocks} blocks, every hash read"
            )
        for fault in found.faults:
            print(f"FAULT  {fault!s}")
        print("sound" if found.sound else f"{len(found.faults)} faults")
    raise typer.Exit(0 if found.sound else UNSOUND)


@app.command()
def show(
    archive: Annotated[
        str, typer.Argument(help="An archive, or a run of one: its folder, ARCHIVE/runs/RUN.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Show what an archive holds, or what a run found."""
    from deploy.showing import show as shown

    with sentences():
        shown(archive, as_json)


@app.command("stop-ui")
def stop_ui() -> None:
    """Stop the Prefect UI that a run with --keep-ui left."""
    from deploy.server import stop_kept

    address = stop_kept()
    print(f"stopped {address}" if address else "no Prefect UI was left running")
