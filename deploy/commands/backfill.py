"""Backfill: an archive of millions of images, from tar or zip shards."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deploy.commands import exit_on_error, run_and_print
from deploy.commands.checks import make_absolute, parse_duration, resolve_archive
from deploy.commands.options import ArchiveOption, DryRunOption, RunOptions, with_run_options
from deploy.commands.output import EXIT_FAILED, print_line
from interpdisc_core.reporting.escaping import escape_controls

_MAX_SHOWN = 20


@with_run_options
def backfill_command(
    options: RunOptions,
    shards: Annotated[
        list[str],
        typer.Argument(
            help="Tar or zip files, patterns (`shard-{000000..000099}.tar`), folders or s3:// prefixes of them.",
            metavar="SHARDS",
            show_default=False,
        ),
    ],
    archive: ArchiveOption = "interpdisc-archive",
    plan: Annotated[
        Path | None,
        typer.Option(help="JSON file of a plan, for its representation; see deploy/plans.", show_default=False),
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32"], typer.Option(help="Type of the stored features; float16 is half the size.")
    ] = "float16",
    max_time: Annotated[
        str,
        typer.Option(
            help="Stop starting new shards after this wall time, e.g. `2h`, `90min`.",
            metavar="TIME",
            show_default=False,
        ),
    ] = "",
    max_images: Annotated[
        int | None,
        typer.Option(help="Stop starting new shards after about this many images.", min=1, show_default=False),
    ] = None,
    stratum: Annotated[
        str,
        typer.Option(
            help="Stratum of the archive's memory in which the images count as seen, once the backfill is complete.",
            show_default=False,
        ),
    ] = "",
    block: Annotated[int, typer.Option(help="Rows of a block of features.", min=1)] = 2048,
    dry_run: DryRunOption = False,
) -> None:
    """Extract the features of all images in SHARDS, and prove that none is missing. Rerun it to resume.

    Example: `interpdisc backfill s3://bucket/shards --archive s3://bucket/archive --max-time 8h`
    """
    with exit_on_error():
        from interpdisc_core.pipeline.preconditions import check_backfill
        from interpdisc_core.plan import Plan, read_plan
        from interpdisc_core.sources import format_source_title

        loaded_plan, budget_s = read_plan(str(plan)) if plan else Plan(), parse_duration(max_time, "--max-time")
        addresses = tuple(make_absolute(shard.removeprefix("shards:")) for shard in shards)
        location = resolve_archive(archive)
        check_backfill(location, addresses, loaded_plan)
        if dry_run:
            _print_remaining(addresses, location, loaded_plan, dtype, options.as_json)
            return
        result = run_and_print(
            print_backfill,
            options,
            flow="backfill",
            parameters={
                "sources": addresses,
                "plan": loaded_plan,
                "dtype": dtype,
                "budget_s": budget_s,
                "max_images": max_images,
                "stratum": stratum,
                "block": block,
                "name": format_source_title(addresses[0]),
            },
            tags=("backfill", loaded_plan.representation.kind),
            archive=location,
        )
        if result["proof"]["faults"] or result["proof"]["gaps"]:
            raise typer.Exit(EXIT_FAILED)


def _print_remaining(addresses: tuple[str, ...], archive: str, plan: Any, dtype: Any, as_json: bool) -> None:
    from interpdisc_core.operations.backfill.plan import count_remaining_work

    shards, to_do, size = count_remaining_work(archive, addresses, plan, dtype)
    if as_json:
        print(json.dumps({"shards": shards, "to_do": to_do, "bytes": size}))
    else:
        print_line(f"{shards} shards, {shards - to_do} of them done; {to_do} to do, {size / 1e9:.2f} GB")


def print_backfill(result: dict[str, Any]) -> None:
    """Print the result of a backfill: what this call did, and what is left."""
    proof, call = result["proof"], result["call"]
    if call["images"]:
        print_line(f"{call['images']:,} images in {call['seconds']:,.0f} s, {call['images_per_second']:,.0f} images/s")
    counts = " + ".join(f"{count:,} {status}" for status, count in proof["statuses"].items() if count)
    print_line(f"{proof['headers']:,} members by the headers of the shards that were read = {counts or 'none'}")
    for shard, reason in list(proof["faults"].items())[:_MAX_SHOWN]:
        print_line(f"FAULT  {escape_controls(shard, 80)}: {reason!s}")
    for gap in proof["gaps"][:_MAX_SHOWN]:
        print_line(f"FAULT  {gap}")
    if hidden := max(len(proof["faults"]) - _MAX_SHOWN, 0) + max(len(proof["gaps"]) - _MAX_SHOWN, 0):
        print_line(f" …     {hidden} more")
    if result["remembered"]["batch"]:
        print_line(f"{result['remembered']['rows']:,} rows are remembered as {result['remembered']['batch']}")
    if result["complete"]:
        print_line(
            f"complete: all {proof['shards']:,} shards are in the archive, {proof['vectors']:,} images with features"
        )
    elif proof["faults"]:
        print_line(
            f"{len(proof['faults'])} shards could not be read to their end; run the same command to try them again"
        )
    if proof["left"]:
        reason = f"stopped, since {result['stopped']}" if result["stopped"] else "not complete"
        print_line(
            f"{reason}: {proof['left']:,} of {proof['shards']:,} shards are left; run the same command to resume"
        )
