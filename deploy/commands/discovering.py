"""Discover: the whole job, on images of one's own or on the demo's."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.commands import AsJson, KeepUi, Scheduler, Verbose, Workers, absolute, app, carry_out, sentences
from interpdisc_core.errors import PlanError


@app.command()
def discover(
    source: Annotated[list[str] | None, typer.Argument(
        help="Folders, globs, CSV lists, tar shards or s3:// prefixes of images. Default: $INTERPDISC_DATA.", show_default=False)] = None,
    labels: Annotated[str, typer.Option(
        help="CSV with a class for each image, to score the discovery; or `folder`: an image's class is its folder's name.")] = "",
    background: Annotated[list[str] | None, typer.Option(
        help="Images that count as already known; may be given more than once.")] = None,
    tiles: Annotated[bool, typer.Option(
        "--tiles", help="Look at frames much larger than the network's input (panoramas, mosaics) tile by tile besides.")] = False,
    archive: Annotated[str, typer.Option(
        help="Folder or s3:// prefix that keeps what is computed.")] = "interpdisc-archive",
    out: Annotated[str, typer.Option(help="Folder for the report and tables, beside the copy in the archive.")] = "",
    plan: Annotated[Path | None, typer.Option(help="JSON file that says what to compute (see deploy/plans).")] = None,
    picks: Annotated[int | None, typer.Option("-n", "--picks", help="How many images to pick.  [default: 50]")] = None,
    rank: Annotated[int | None, typer.Option("-k", "--rank", help="Rank of DEMUD's model.  [default: 50]")] = None,
    explain: Annotated[int | None, typer.Option(
        help="How many of the first picks to render.  [default: 12]")] = None,
    scheduler: Scheduler = "",
    workers: Workers = 0,
    block: Annotated[int, typer.Option(help="Most images a task extracts.", min=1)] = 1024,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Find the most novel images of SOURCE and write a report that shows why.

    Example: `interpdisc discover photos/ --labels photos.csv -n 100 --out report/`
    """
    sources = list(source or []) or list(filter(None, [os.environ.get("INTERPDISC_DATA", "")]))
    with sentences():
        if not sources:
            raise PlanError("no SOURCE: name a folder of images, or set INTERPDISC_DATA.")
        _run(
            sources, list(background or []), labels, tiles, archive, out, _plan(plan, picks, rank, explain),
            scheduler, workers, block, keep_ui, as_json, verbose,
        )  # fmt: skip


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the tiles, the archive and the report.")] = Path("demo-out"),
    picks: Annotated[int, typer.Option("-n", "--picks", help="How many images to pick.")] = 60,
    explain: Annotated[int, typer.Option(help="How many of the first picks to render.")] = 4,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run the whole job on several hundred tiles of photos that ship in installed packages."""
    from deploy.demo import make_tiles

    with sentences():
        images, labels = make_tiles(out)
        _run(
            [str(images)], [], str(labels), False, str(out / "archive"), str(out / "report"),
            _plan(None, picks, None, explain), "", 0, 1024, keep_ui, as_json, verbose,
        )  # fmt: skip


def _plan(path: Path | None, picks: int | None, rank: int | None, explain: int | None) -> Any:
    """The plan of the file, or the default one, with the command line's own settings put in."""
    from dataclasses import replace

    from interpdisc_core import plan as plans
    from interpdisc_core.selectors import Demud

    plan = plans.read(str(path)) if path else plans.Plan()
    if rank is not None:
        if not isinstance(plan.selector, Demud):
            raise PlanError(f"-k is DEMUD's, but the plan's selector is {plan.selector.kind}.")
        plan = replace(plan, selector=replace(plan.selector, rank=rank))
    chosen: dict[str, Any] = {"picks": picks, "explain": explain}
    return replace(plan, **{name: value for name, value in chosen.items() if value is not None})


def _run(
    sources: list[str], background: list[str], labels: str, tiles: bool, archive: str, out: str, plan: Any,
    scheduler: str, workers: int, block: int, keep_ui: bool, as_json: bool, verbose: bool,
) -> None:  # fmt: skip
    """Run the flow with a server, workers and progress bars, and tell what came of it."""
    from interpdisc_core.runs import Inputs
    from interpdisc_core.sources import title

    inputs = Inputs(
        sources=tuple(absolute(s) for s in sources),
        background=tuple(absolute(b) for b in background),
        labels=labels if labels in ("", "folder") else absolute(labels),
        tiles=tiles,
    )
    given = {
        "inputs": inputs, "plan": plan, "out": absolute(out) if out else "", "block": block, "name": title(inputs.sources[0]),
    }  # fmt: skip
    carry_out(
        tell, as_json, flow="discover", given=given, tags=("discover", plan.representation.kind, plan.selector.kind),
        archive=absolute(archive), scheduler=scheduler, workers=workers, keep_ui=keep_ui, verbose=verbose,
    )  # fmt: skip


def tell(result: dict[str, Any]) -> None:
    """Print what a run found."""
    counts = ", ".join(f"{count} {status}" for status, count in result["counts"].items() if count)
    print(f"{sum(result['counts'].values())} inputs: {counts}")
    print(
        f"{len(result['picks'])} picks of {result['candidates']} images"
        + (", then nothing new any more" if result["exhausted"] else "")
    )
    for pick in result["picks"][:5]:
        print(
            f"  {pick['rank']:>3}. {pick['id']!a:.60}  score {pick['score']:.4g}"
            + (f"  ({pick['label']})" if pick["label"] else "")
        )
    if result["nauc"]:
        nauc, classes = result["nauc"], result["classes"]
        print(
            f"nAUC (t = {nauc['t']}): {nauc['exact']:.2f} (random {nauc['random']:.2f}); "
            f"{len(classes['found'])} of {classes['total']} classes found"
        )
    print(f"report: {result['report']}")
