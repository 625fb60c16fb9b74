"""Discover: ingest, extract, select, explain and report, on your own images or on the demo's."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.commands import exit_on_error, name_share, override, run_and_print
from deploy.commands.checks import list_sources, resolve_archive, resolve_labels, resolve_output_folder, resolve_sources
from deploy.commands.options import (
    ArchiveOption,
    BlockOption,
    LabelsOption,
    MaxOutstandingOption,
    OutOption,
    RunOptions,
    SourceArgument,
    with_run_options,
)
from deploy.commands.output import print_discovery
from interpdisc_core.errors import PlanError

PlanOption = Annotated[
    Path | None, typer.Option(help="JSON file that says what to compute; see deploy/plans.", show_default=False)
]


@with_run_options
def discover_command(
    options: RunOptions,
    source: SourceArgument = None,
    labels: LabelsOption = "",
    background: Annotated[
        list[str] | None, typer.Option(help="Images that count as already known; repeatable.", show_default=False)
    ] = None,
    tiles: Annotated[
        bool,
        typer.Option(
            "--tiles",
            help="Also score tiles of images that are much larger than the network's input (panoramas, mosaics).",
        ),
    ] = False,
    archive: ArchiveOption = "interpdisc-archive",
    out: OutOption = "",
    plan: PlanOption = None,
    picks: Annotated[
        int | None,
        typer.Option("-n", "--picks", help="Number of images to pick.  [default: 50]", min=1, show_default=False),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option("-k", "--rank", help="Rank of DEMUD's model.  [default: 50]", min=1, show_default=False),
    ] = None,
    explain: Annotated[
        int | None,
        typer.Option(help="Number of picks to render, the first ones.  [default: 12]", min=0, show_default=False),
    ] = None,
    block: BlockOption = 1024,
    max_outstanding: MaxOutstandingOption = None,
) -> None:
    """Find the most novel images of SOURCE and write a report that shows why they are.

    Example: `interpdisc discover photos/ --labels photos.csv -n 100 --out report/`
    """
    with exit_on_error():
        _run_discover(
            options,
            sources=list_sources(source),
            background=resolve_sources(background or []),
            labels=resolve_labels(labels),
            tiles=tiles,
            archive=archive,
            out=out,
            plan=build_plan(plan, picks, rank, explain),
            block=block,
            max_outstanding=max_outstanding,
        )


@with_run_options
def demo_command(
    options: RunOptions,
    out: Annotated[Path, typer.Option(help="Folder for the tiles, the archive and the report.")] = Path("demo-out"),
    picks: Annotated[int, typer.Option("-n", "--picks", help="Number of tiles to pick.", min=1)] = 60,
    explain: Annotated[int, typer.Option(help="Number of picks to render, the first ones.", min=0)] = 4,
) -> None:
    """Run `discover` on several hundred tiles of photos that ship in installed packages."""
    from deploy.demo import make_tiles

    with exit_on_error():
        resolve_output_folder(str(out))
        images, labels = make_tiles(out)
        _run_discover(
            options,
            sources=resolve_sources([str(images)]),
            labels=resolve_labels(str(labels)),
            archive=str(out / "archive"),
            out=str(out / "report"),
            plan=build_plan(None, picks, None, explain),
        )


def build_plan(path: Path | None, picks: int | None, rank: int | None, explain: int | None) -> Any:
    """The plan of the file, or the default one, with the command line's own settings put in."""
    from interpdisc_core.plan import Plan, read_plan
    from interpdisc_core.selectors import Demud

    plan = read_plan(str(path)) if path else Plan()
    if rank is not None and not isinstance(plan.selector, Demud):
        raise PlanError(f"-k is an option of DEMUD; the plan's selector is {plan.selector.kind}.")
    selector = override(plan.selector, rank=rank) if rank is not None else None
    return override(plan, selector=selector, picks=picks, explain=explain)


def _run_discover(
    options: RunOptions,
    *,
    sources: tuple[str, ...],
    archive: str,
    out: str,
    plan: Any,
    background: tuple[str, ...] = (),
    labels: str = "",
    tiles: bool = False,
    block: int = 1024,
    max_outstanding: float | None = None,
) -> None:
    from interpdisc_core.archive.run import RunInputs
    from interpdisc_core.pipeline.preconditions import check_weights
    from interpdisc_core.sources import format_source_title

    check_weights(plan)
    run_and_print(
        print_discovery,
        options,
        flow="discover",
        parameters={
            "inputs": RunInputs(sources=sources, background=background, labels=labels, tiles=tiles),
            "plan": plan,
            "out": resolve_output_folder(out),
            "block": block,
            "name": format_source_title(sources[0]),
            **name_share(max_outstanding),
        },
        tags=("discover", plan.representation.kind, plan.selector.kind),
        archive=resolve_archive(archive, [*sources, *background]),
    )
