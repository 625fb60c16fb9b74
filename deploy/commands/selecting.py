"""Select alone, and what was seen before."""

import json
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from deploy.commands import Archive, AsJson, absolute, app, one_of, sentences, told
from interpdisc_core.errors import PlanError


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
    with sentences():
        from interpdisc_core import bare
        from interpdisc_core.lease import held

        settings = settings_from(
            method=method, rank=rank, start=start, seed=seed, variance=variance, sign=sign, weights=weights,
            interest=interest, action=interest_action, missing=missing,
        )  # fmt: skip
        asked = bare.Asked(
            source=absolute(source) if scheduler else source, features=features, where=where, normalise=one_of("--normalise", normalise, ("none", "l2")),
            labels=labels, background=tuple(background or []), background_where=background_where,
            known=bare.ids_of(known), interesting=bare.ids_of(interesting), selector=settings, picks=picks,
            threads=threads, device=device, horizon=horizon, last=last, without=tuple(without or []), memory=memory,
        )  # fmt: skip
        with told.status("reading …") as status, _spread(scheduler) as crew:
            result = bare.select(
                asked, absolute(out), alone=held(absolute(out), "folder", owner="select"), crew=crew,
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
    with sentences():
        from interpdisc_core import bare
        from interpdisc_core.lease import held
        from interpdisc_core.storage import Place

        if not memory and not Place.of(source).exists("archive.json"):
            raise PlanError(f"{source} is no archive that could remember; name one by --memory.")
        asked = bare.Asked(
            source=source, where=where, features=features, normalise=one_of("--normalise", normalise, ("none", "l2"))
        )  # fmt: skip
        with held(absolute(memory or source), owner="remember"):
            record = bare.remember(asked, memory or source, stratum, batch)
    print(f"{record.count} rows of {record.dimension} features are batch {batch!a} of {stratum!a}")


@app.command()
def forget(
    archive: Archive,
    stratum: Annotated[str, typer.Argument(help="See `remember`.", show_default=False)],
    batch: Annotated[str, typer.Argument(help="The batch to take out, e.g. a sol that was bad.", show_default=False)],
) -> None:
    """Take a batch out of what was seen; horizons are then as if it had never been there, to the bit."""
    with sentences():
        from interpdisc_core.lease import held
        from interpdisc_core.memory import Memory
        from interpdisc_core.storage import Place

        with held(absolute(archive), owner="forget"):
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
        method=one_of("--method", method, ("full", "incremental", "static")),
        rank=rank,
        variance=variance,
        start=int(start) if row else one_of("--start", start, ("svd", "mean", "random"), " or a row's number"),
        seed=seed,
        sign=one_of("--sign", sign, ("both", "low", "high")),
        weights=weights,
        interest=interest,
        action=one_of("--interest-action", action, ("keep", "seek")),
        missing=one_of("--missing", missing, ("refuse", "zero", "ignore")),
    )


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
