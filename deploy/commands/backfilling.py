"""Backfill: an archive of millions of images, from tar or zip shards."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.commands import (
    FAILED,
    AsJson,
    KeepUi,
    Scheduler,
    Verbose,
    Workers,
    absolute,
    app,
    carry_out,
    one_of,
    sentences,
)
from interpdisc_core.errors import PlanError

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)")
_SHOWN = 20


@app.command()
def backfill(
    shards: Annotated[list[str], typer.Argument(
        help="Tar or zip files, patterns (`shard-{000000..000099}.tar`), folders or s3:// prefixes of them.", show_default=False)],
    archive: Annotated[str, typer.Option(
        help="Folder or s3:// prefix that keeps what is computed.")] = "interpdisc-archive",
    plan: Annotated[Path | None, typer.Option(
        help="JSON file that says what to compute (see deploy/plans); its representation counts.")] = None,
    dtype: Annotated[str, typer.Option(help="What features are kept as: `float16`, half the size, or `float32`.")] = "float16",
    budget: Annotated[str, typer.Option(
        help="Wall time after which nothing new is begun, e.g. `2h`, `90min`. The same command goes on.", show_default=False)] = "",
    most_images: Annotated[int | None, typer.Option(help="As --budget, after about so many images.", min=1)] = None,
    remember: Annotated[str, typer.Option(
        help="Stratum of the archive's memory that takes the images in as seen, once all are there.", show_default=False)] = "",
    only_list: Annotated[bool, typer.Option("--list", help="Only say what there is to do; nothing is read or written.")] = False,
    scheduler: Scheduler = "",
    workers: Workers = 0,
    block: Annotated[int, typer.Option(help="Rows of a chunk of features.", min=1)] = 2048,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Take in the images of many SHARDS, and prove that all are there. Restarts exactly, whatever stopped it.

    Example: `interpdisc backfill s3://bucket/shards --archive s3://bucket/archive --budget 8h`
    """
    with sentences():
        from interpdisc_core import plan as plans

        settings = plans.read(str(plan)) if plan else plans.Plan()
        kept, seconds = one_of("--dtype", dtype, ("float16", "float32")), budget_of(budget)
        given = tuple(absolute(shard.removeprefix("shards:")) for shard in shards)
        if only_list:
            _list(given, absolute(archive), settings, kept, as_json)
            return
        result = carry_out(
            tell, as_json, flow="backfill",
            given={
                "sources": given, "plan": settings, "dtype": kept, "budget_s": seconds, "most_images": most_images,
                "stratum": remember, "block": block, "name": _title(given),
            },
            tags=("backfill", settings.representation.kind), archive=absolute(archive), scheduler=scheduler,
            workers=workers, keep_ui=keep_ui, verbose=verbose,
        )  # fmt: skip
        if result["proof"]["faults"] or result["proof"]["gaps"]:
            raise typer.Exit(FAILED)


def budget_of(given: str) -> float | None:
    """Seconds of a time such as `2h`, `1h30m`, `90 min` or `45s`; None where none is given. Raises PlanError."""
    if not given:
        return None
    text = given.strip().lower()
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if _PART.sub("", text).strip() or not seconds:
        raise PlanError(f"--budget is a time such as 2h, 90min or 1h30m, not {given!r}.")
    return seconds


def _title(given: tuple[str, ...]) -> str:
    from interpdisc_core.sources import title

    return title(given[0])


def _list(given: tuple[str, ...], archive: str, settings: Any, dtype: Any, as_json: bool) -> None:
    """Say what there is to do."""
    from interpdisc_core.backfill.planning import to_do

    shards, left, size = to_do(archive, given, settings, dtype)
    if as_json:
        print(json.dumps({"shards": shards, "to_do": left, "bytes": size}))
    else:
        print(f"{shards} shards, {shards - left} of them done; {left} to do, {size / 1e9:.2f} GB")


def tell(result: dict[str, Any]) -> None:
    """Print what a call came to."""
    proof, call = result["proof"], result["call"]
    left = proof["left"]
    if call["images"]:
        print(f"{call['images']:,} images in {call['seconds']:,.0f} s, {call['images_per_second']:,.0f} images/s")
    counts = " + ".join(f"{count:,} {status}" for status, count in proof["statuses"].items() if count)
    print(f"{proof['headers']:,} members by the headers of the shards that were read = {counts or 'none'}")
    for shard, why in list(proof["faults"].items())[:_SHOWN]:
        print(f"FAULT  {shard!a:.80}: {why!s}")
    for gap in proof["gaps"][:_SHOWN]:
        print(f"FAULT  {gap}")
    if more := max(len(proof["faults"]) - _SHOWN, 0) + max(len(proof["gaps"]) - _SHOWN, 0):
        print(f" …     {more} more")
    if result["remembered"]["batch"]:
        print(f"{result['remembered']['rows']:,} rows are remembered as {result['remembered']['batch']}")
    if result["complete"]:
        print(f"complete: all of {proof['shards']:,} shards are there, {proof['vectors']:,} images with a vector")
    elif proof["faults"]:
        print(f"{len(proof['faults'])} shards could not be read to their end; the same command tries them again")
    if left:
        why = f"stopped, since {result['stopped']}" if result["stopped"] else "not done"
        print(f"{why}: {left:,} of {proof['shards']:,} shards are left; the same command goes on")
