"""What there is: archives, runs, the Prefect UI that stayed."""

import json
from typing import Annotated, Any

import typer

from deploy.commands import UNSOUND, Archive, AsJson, absolute, app, sentences, told


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
        for sentence in _kept(found.promised):
            print(sentence)
        for fault in found.faults:
            print(f"FAULT  {fault!s}")
        print("sound" if found.sound else f"{len(found.faults)} faults")
    raise typer.Exit(0 if found.sound else UNSOUND)


def _kept(there: Any) -> list[str]:
    """What days, inboxes and backfills hold, in words; nothing of what an archive has none."""
    said = []
    if there.days or there.remembered:
        said.append(f"memory: {there.days} days are in it; {there.remembered} records, every hash read")
    if there.arrived:
        said.append(f"inbox: {there.arrived} records, {there.waiting} of them not taken in yet")
    if there.shards or there.shards_left:
        said.append(f"backfills: {there.shards} shards read, {there.shards_left} to do")
    return said


@app.command()
def migrate(
    archive: Archive,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring an archive of an earlier version of this program to the present one; what is computed stays as it is.

    It may be killed and given again. Files are read again for what version 1 did not keep of them.
    """
    from dataclasses import asdict

    from interpdisc_core.lease import held
    from interpdisc_core.migration import migrate as bring

    with sentences():
        if dry_run:
            done = bring(archive, dry_run=True)
        else:
            with told.status("looking at what there is …") as status, held(absolute(archive), owner="migrate"):
                done = bring(archive, tell=lambda made, of: status.update(f"{made} of {of} files looked at"))
    if as_json:
        print(json.dumps(asdict(done)))
    elif done.found == done.format:
        print(f"{done.archive} has layout version {done.format} already; nothing was done")
    elif dry_run:
        print(
            f"{done.archive} has layout version {done.found}: {done.left} of its {done.inputs} inputs would be looked at anew"
        )
    else:
        print(
            f"{done.archive}: from layout version {done.found} to {done.format}; {done.looked_at} files looked at anew"
        )
        if done.unknown:
            print(f"{done.unknown} of them are not what they were, or not there: their radiometry is unknown")
        if done.earlier:
            print(
                f"{done.earlier} of them were brought to 8 bits otherwise by version {done.found}; they stay apart by their radiometry"
            )


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
