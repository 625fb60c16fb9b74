"""The command line: `interpdisc`.

It alone chooses where a run takes place. Exit codes: 0 done; 1 it failed; 2 something that was given cannot be right;
3 `verify` found faults; 130 interrupted.
"""

import json
import logging
import os
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from interpdisc_core.errors import InterpdiscError, PlanError, StoreError

FAILED, MISUSED, UNSOUND, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="interpdisc",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Finds the images that are new with respect to everything seen so far, and shows why.",
    epilog="Exit codes: 0 done · 1 failed · 2 something given cannot be right · 3 `verify` found faults · 130 interrupted. "
    "The same command again goes on where an interrupted one stopped.",
)
told = Console(stderr=True)

Archive = Annotated[str, typer.Argument(help="Folder or s3:// prefix of an archive.", show_default=False)]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else there.")
]


@app.command()
def discover(
    source: Annotated[list[str] | None, typer.Argument(
        help="Folders, globs, CSV lists or s3:// prefixes of images. Default: $INTERPDISC_DATA.", show_default=False)] = None,
    labels: Annotated[str, typer.Option(
        help="CSV with a class for each image, to score the discovery; or `folder`: an image's class is its folder's name.")] = "",
    background: Annotated[list[str] | None, typer.Option(
        help="Images that count as already known; may be given more than once.")] = None,
    archive: Annotated[str, typer.Option(
        help="Folder or s3:// prefix that keeps what is computed.")] = "interpdisc-archive",
    out: Annotated[str, typer.Option(help="Folder for the report and tables, beside the copy in the archive.")] = "",
    plan: Annotated[Path | None, typer.Option(help="JSON file that says what to compute (see deploy/plans).")] = None,
    picks: Annotated[int | None, typer.Option("-n", "--picks", help="How many images to pick.  [default: 50]")] = None,
    rank: Annotated[int | None, typer.Option("-k", "--rank", help="Rank of DEMUD's model.  [default: 50]")] = None,
    explain: Annotated[int | None, typer.Option(
        help="How many of the first picks to render (slow on a CPU).  [default: 12]")] = None,
    scheduler: Annotated[str, typer.Option(
        help="Address of a running Dask scheduler. Default: a cluster on this machine, for this run.", show_default=False)] = "",
    workers: Annotated[int, typer.Option(help="Worker processes of the local cluster; 0: one a core.")] = 0,
    block: Annotated[int, typer.Option(help="Most images a task extracts.", min=1)] = 1024,
    keep_ui: Annotated[bool, typer.Option("--keep-ui", help="Leave the Prefect UI running at the end.")] = False,
    as_json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's log.")] = False,
) -> None:  # fmt: skip
    """Find the most novel images of SOURCE and write a report that shows why.

    Example: `interpdisc discover photos/ --labels photos.csv -n 100 --out report/`
    """
    sources = list(source or []) or list(filter(None, [os.environ.get("INTERPDISC_DATA", "")]))
    with _sentences():
        if not sources:
            raise PlanError("no SOURCE: name a folder of images, or set INTERPDISC_DATA.")
        _run(
            sources, list(background or []), labels, archive, out, _plan(plan, picks, rank, explain),
            scheduler, workers, block, keep_ui, as_json, verbose,
        )  # fmt: skip


@app.command()
def select(
    source: Annotated[str, typer.Argument(
        help="An archive, or features: .npy, .npz, .parquet, .csv (label first), or Zarr; archive and Zarr may be s3://.",
        show_default=False)],
    picks: Annotated[int, typer.Option("-n", "--picks", help="How many rows to pick.")] = 50,
    rank: Annotated[int, typer.Option("-k", "--rank", help="Rank of DEMUD's model.")] = 50,
    method: Annotated[str, typer.Option(help="`full` (exact), `incremental`, or `static` (batch SVD).")] = "full",
    start: Annotated[str, typer.Option(help="First pick: `svd`, `mean`, `random`, or the number of a row.")] = "svd",
    seed: Annotated[int, typer.Option(help="Of `--start random`.")] = 0,
    variance: Annotated[float | None, typer.Option(
        help="Instead of -k: as few directions as hold this part (0 to 1) of the variance.")] = None,
    sign: Annotated[str, typer.Option(
        help="Which residuals count: `both`, `low` (below what was expected) or `high`.")] = "both",
    weights: Annotated[str, typer.Option(
        help="How much each feature counts: a file of d numbers, `boostlow` or `boosthigh`.")] = "",
    interest: Annotated[str, typer.Option(help="A pick whose label contains this is not learned.")] = "",
    interest_action: Annotated[str, typer.Option(
        help="`seek`: and the next pick is the row nearest to it; or `keep`.")] = "keep",
    missing: Annotated[str, typer.Option(
        help="What a missing value is: `refuse`, an error; `zero`; `ignore`, as expected.")] = "refuse",
    normalise: Annotated[str, typer.Option(help="`l2`: each row divided by its length; or `none`.")] = "none",
    background: Annotated[list[str] | None, typer.Option(
        help="Features or archive whose rows count as already known; may be given more than once.")] = None,
    background_where: Annotated[str, typer.Option(help="Leaves a part of the background, as --where does.")] = "",
    where: Annotated[str, typer.Option(
        help="Picks from a part of the rows, e.g. \"sol > 800 and instrument == 'MAST_LEFT'\".")] = "",
    known: Annotated[str, typer.Option(
        help="Ids, separated by commas, or @FILE with one a line: learned first and never picked.")] = "",
    interesting: Annotated[str, typer.Option(help="Ids or @FILE: picked, but not learned then.")] = "",
    labels: Annotated[str, typer.Option(
        help="CSV with a class for each id, to score the discovery; or `folder`. Default: the source's own.")] = "",
    features: Annotated[str, typer.Option(help="Which representation of an archive that has several.")] = "",
    horizon: Annotated[str, typer.Option(
        help="Stratum of an archive's memory whose batches count as already known (see `interpdisc remember`).")] = "",
    last: Annotated[int | None, typer.Option(help="Only the horizon's last so many batches.", min=1)] = None,
    without: Annotated[list[str] | None, typer.Option(help="A batch that the horizon leaves out; repeatable.")] = None,
    memory: Annotated[str, typer.Option(help="The archive that has the horizon. Default: SOURCE.")] = "",
    threads: Annotated[int, typer.Option(help="Threads that look at rows; the picks are the same.")] = 1,
    device: Annotated[str, typer.Option(
        help="`cpu`, or `cuda`, `cuda:1` … through PyTorch; the picks are the same.")] = "cpu",
    scheduler: Annotated[str, typer.Option(
        help="Address of a running Dask scheduler, whose workers look at the rows; the picks are the same.")] = "",
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the picks.")] = "interpdisc-selection",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Select alone, in seconds: the most novel rows of features, without touching an image.

    Example: `interpdisc select features.npy -n 300 -k 20`. A larger -n later goes on from there.
    """
    with _sentences():
        from deploy.running import locked
        from interpdisc_core import bare

        settings = settings_from(
            method=method, rank=rank, start=start, seed=seed, variance=variance, sign=sign, weights=weights,
            interest=interest, action=interest_action, missing=missing,
        )  # fmt: skip
        asked = bare.Asked(
            source=_absolute(source) if scheduler else source, features=features, where=where, normalise=_one_of("--normalise", normalise, ("none", "l2")),
            labels=labels, background=tuple(background or []), background_where=background_where,
            known=bare.ids_of(known), interesting=bare.ids_of(interesting), selector=settings, picks=picks,
            threads=threads, device=device, horizon=horizon, last=last, without=tuple(without or []), memory=memory,
        )  # fmt: skip
        with told.status("reading …") as status, _spread(scheduler) as crew:
            result = bare.select(
                asked, _absolute(out), alone=locked(_absolute(out), "folder"), crew=crew,
                tell=lambda made, of: status.update(f"pick {made} of {of}"),
            )  # fmt: skip
    if as_json:
        print(json.dumps(result))
        return
    _tell_selection(result)


def _spread(scheduler: str) -> Any:
    """What makes the crew of a selection on a cluster, while it is needed; None for this process alone."""
    if not scheduler:
        return nullcontext()
    from deploy.crew import on_cluster

    return on_cluster(scheduler)


@app.command()
def remember(
    source: Annotated[str, typer.Argument(help="An archive or features, as of `select`.", show_default=False)],
    stratum: Annotated[str, typer.Argument(help="What is remembered together, e.g. an instrument.", show_default=False)],
    batch: Annotated[str, typer.Argument(help="The name of these rows, e.g. a sol.", show_default=False)],
    where: Annotated[str, typer.Option(help="A part of the rows, as of `select`.")] = "",
    normalise: Annotated[str, typer.Option(help="`l2`: each row divided by its length; or `none`.")] = "none",
    features: Annotated[str, typer.Option(help="Which representation of an archive that has several.")] = "",
    memory: Annotated[str, typer.Option(help="The archive that remembers. Default: SOURCE.")] = "",
) -> None:  # fmt: skip
    """Remember rows as one batch of what was seen; `select --horizon STRATUM` picks what is new beside the batches.

    Example: `interpdisc remember ARCHIVE mastcam sol-812 --where "sol == 812"`
    """
    with _sentences():
        from deploy.running import locked
        from interpdisc_core import bare
        from interpdisc_core.storage import Place

        if not memory and not Place.of(source).exists("archive.json"):
            raise PlanError(f"{source} is no archive that could remember; name one by --memory.")
        asked = bare.Asked(
            source=source, where=where, features=features, normalise=_one_of("--normalise", normalise, ("none", "l2"))
        )  # fmt: skip
        with locked(_absolute(memory or source), "archive"):
            record = bare.remember(asked, memory or source, stratum, batch)
    print(f"{record.count} rows of {record.dimension} features are batch {batch!a} of {stratum!a}")


@app.command()
def forget(
    archive: Archive,
    stratum: Annotated[str, typer.Argument(help="See `remember`.", show_default=False)],
    batch: Annotated[str, typer.Argument(help="The batch to take out, e.g. a sol that was bad.", show_default=False)],
) -> None:
    """Take a batch out of what was seen; horizons are then as if it had never been there, to the bit."""
    with _sentences():
        from deploy.running import locked
        from interpdisc_core.memory import Memory
        from interpdisc_core.storage import Place

        with locked(_absolute(archive), "archive"):
            Memory(Place.of(archive), stratum).remove(batch)
            left = Memory(Place.of(archive), stratum).names()
    print(f"batch {batch!a} of {stratum!a} is gone; {len(left)} are left")


def settings_from(
    *, method: str, rank: int, start: str, seed: int, variance: float | None, sign: str, weights: str, interest: str,
    action: str, missing: str,
) -> Any:  # fmt: skip
    """DEMUD's settings of the options of `interpdisc select`: the one place where an option becomes a field.

    Raises PlanError for a value that an option does not have.
    """
    from interpdisc_core.selectors import Demud

    row = start.isascii() and start.isdigit()
    return Demud(
        method=_one_of("--method", method, ("full", "incremental", "static")),
        rank=rank,
        variance=variance,
        start=int(start) if row else _one_of("--start", start, ("svd", "mean", "random"), " or a row's number"),
        seed=seed,
        sign=_one_of("--sign", sign, ("both", "low", "high")),
        weights=weights,
        interest=interest,
        action=_one_of("--interest-action", action, ("keep", "seek")),
        missing=_one_of("--missing", missing, ("refuse", "zero", "ignore")),
    )


def _one_of(option: str, given: str, choices: tuple[str, ...], more: str = "") -> Any:
    if given not in choices:
        raise PlanError(f"{option} is {', '.join(choices)}{more}, not {given!r}.")
    return given


def _tell_selection(result: dict[str, Any]) -> None:
    count = len(result["picks"])
    background = result["horizon"]["count"] if result["horizon"] else result["background"]["count"]
    print(
        f"{count} picks of {result['n']} rows of {result['d']} features"
        + (f", {background} known before" if background else "")
        + (f", {result['resumed_at']} of them from before" if result["resumed_at"] else "")
        + (", then nothing new any more" if result["exhausted"] else "")
    )
    for sentence in result["left_out"]:
        print(sentence)
    print(f"{'rank':>4}  {'row':>8}  {'score':>11}  id")
    for pick in result["picks"][:10]:
        label = f"  ({pick['label']!a:.40})" if pick["label"] else ""
        print(f"{pick['rank']:>4}  {pick['row']:>8}  {pick['score']:>11.5g}  {pick['id']!a:.60}{label}")
    if count > 10:
        print(f" …    {count - 10} more")
    if result["nauc"]:
        nauc, classes = result["nauc"], result["classes"]
        print(
            f"nAUC (t = {nauc['t']}): {nauc['exact']:.2f} (random {nauc['random']:.2f}); "
            f"{len(classes['found'])} of {classes['total']} classes found"
        )
    seconds = sum(result["timings"].values())
    print(f"{seconds:.1f} s; {result['out']}: picks.csv, result.json, vectors (Zarr: x, x̂ and x − x̂ of each pick)")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the tiles, the archive and the report.")] = Path("demo-out"),
    picks: Annotated[int, typer.Option("-n", "--picks", help="How many images to pick.")] = 60,
    explain: Annotated[int, typer.Option(help="How many of the first picks to render.")] = 4,
    keep_ui: Annotated[bool, typer.Option("--keep-ui", help="Leave the Prefect UI running at the end.")] = False,
    as_json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's log.")] = False,
) -> None:
    """Run the whole job on several hundred tiles of photos that ship in installed packages."""
    from deploy.demo import make_tiles

    with _sentences():
        tiles, labels = make_tiles(out)
        _run(
            [str(tiles)], [], str(labels), str(out / "archive"), str(out / "report"),
            _plan(None, picks, None, explain), "", 0, 1024, keep_ui, as_json, verbose,
        )  # fmt: skip


@app.command()
def verify(archive: Archive, as_json: AsJson = False) -> None:
    """Prove that an archive is whole: every input accounted for, no block missing, every hash holds."""
    from dataclasses import asdict

    from interpdisc_core.verification import verify as check

    with _sentences():
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

    with _sentences():
        shown(archive, as_json)


@app.command("stop-ui")
def stop_ui() -> None:
    """Stop the Prefect UI that a run with --keep-ui left."""
    from deploy.server import stop_kept

    address = stop_kept()
    print(f"stopped {address}" if address else "no Prefect UI was left running")


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
    sources: list[str], background: list[str], labels: str, archive: str, out: str, plan: Any,
    scheduler: str, workers: int, block: int, keep_ui: bool, as_json: bool, verbose: bool,
) -> None:  # fmt: skip
    """Run the flow with a server, workers and progress bars, and tell what came of it."""
    from deploy.running import Request, run
    from interpdisc_core.runs import Inputs

    inputs = Inputs(
        sources=tuple(_absolute(s) for s in sources),
        background=tuple(_absolute(b) for b in background),
        labels=labels if labels in ("", "folder") else _absolute(labels),
    )
    result = run(
        Request(
            inputs=inputs, archive=_absolute(archive), out=_absolute(out) if out else "", plan=plan, scheduler=scheduler,
            workers=workers, block=block, keep_ui=keep_ui, verbose=verbose, token=uuid.uuid4().hex[:12],
        ),
        told,
    )  # fmt: skip
    if as_json:
        print(json.dumps(result))
        return
    _tell(result)


def _tell(result: dict[str, Any]) -> None:
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


def _absolute(address: str) -> str:
    return address if "://" in address else os.path.abspath(address)


class _sentences:
    """Ends the program with one clear sentence where something went wrong that has one."""

    def __enter__(self) -> None:
        logging.getLogger("distributed").setLevel(logging.ERROR)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            told.print("\ninterrupted; the same command goes on where this one stopped.")
            raise typer.Exit(INTERRUPTED)
        if isinstance(error, InterpdiscError):
            told.print(f"interpdisc: {error}", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(MISUSED if isinstance(error, PlanError | StoreError) else FAILED)


def main() -> None:
    """The entry point."""
    app(prog_name="interpdisc")
