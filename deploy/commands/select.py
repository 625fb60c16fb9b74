"""Select on features alone; the memory of rows that were seen."""

import json
from contextlib import nullcontext
from typing import Annotated, Any, Literal

import typer

from deploy.commands import exit_on_error
from deploy.commands.checks import check_scheduler, make_absolute, resolve_output_folder
from deploy.commands.options import ArchiveArgument, JsonOption, WhereOption
from deploy.commands.output import print_discovery_score, print_line, stderr
from interpdisc_core.errors import PlanError
from interpdisc_core.reporting.escaping import escape_controls

Method = Literal["full", "incremental", "static"]
Sign = Literal["both", "low", "high"]
InterestAction = Literal["keep", "seek"]
Missing = Literal["refuse", "zero", "ignore"]
Normalization = Literal["none", "l2"]
_STARTS = ("svd", "mean", "random")
_WEIGHTS = ("boostlow", "boosthigh")

FeaturesOption = Annotated[
    str, typer.Option(help="Which representation, if an archive has several.", show_default=False)
]
NormalizeOption = Annotated[Normalization, typer.Option(help="l2: divide each row by its length.")]
StratumArgument = Annotated[
    str,
    typer.Argument(
        help="Rows that are remembered together, e.g. an instrument.", metavar="STRATUM", show_default=False
    ),
]


def select_command(
    source: Annotated[
        str,
        typer.Argument(
            help="An archive, or features: .npy, .npz, .parquet, .csv (label first), or Zarr. Archive and Zarr may be "
            "s3:// addresses.",
            metavar="SOURCE",
            show_default=False,
        ),
    ],
    picks: Annotated[int, typer.Option("-n", "--picks", help="Number of rows to pick.", min=1)] = 50,
    rank: Annotated[int, typer.Option("-k", "--rank", help="Rank of DEMUD's model.", min=1)] = 50,
    method: Annotated[
        Method,
        typer.Option(help="full: exact after each pick. incremental: updated. static: one SVD of all rows."),
    ] = "full",
    start: Annotated[
        str,
        typer.Option(
            help="First pick: by the SVD of all rows, far from the mean, random, or the number of a row.",
            metavar="svd|mean|random|ROW",
            autocompletion=lambda: list(_STARTS),
        ),
    ] = "svd",
    seed: Annotated[int, typer.Option(help="Seed of `--start random`.", min=0)] = 0,
    variance: Annotated[
        float | None,
        typer.Option(
            help="Instead of -k: the fewest directions with this share of the variance.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = None,
    sign: Annotated[
        Sign, typer.Option(help="Residuals that count: both, low (below what was expected) or high.")
    ] = "both",
    weights: Annotated[
        str,
        typer.Option(
            help="How much each feature counts: a file of d numbers, or a rule.",
            metavar="FILE|boostlow|boosthigh",
            autocompletion=lambda: list(_WEIGHTS),
            show_default=False,
        ),
    ] = "",
    interest: Annotated[
        str, typer.Option(help="Do not learn a pick whose label contains this text.", show_default=False)
    ] = "",
    interest_action: Annotated[
        InterestAction,
        typer.Option(help="After such a pick: keep: nothing else. seek: also pick its nearest neighbor next."),
    ] = "keep",
    missing: Annotated[
        Missing, typer.Option(help="Missing values: refuse: an error. zero: 0. ignore: as the model expects.")
    ] = "refuse",
    normalize: NormalizeOption = "none",
    background: Annotated[
        list[str] | None,
        typer.Option(help="Features or archive whose rows count as already known; repeatable.", show_default=False),
    ] = None,
    background_where: Annotated[
        str, typer.Option(help="Use only a part of the background, as --where does.", show_default=False)
    ] = "",
    where: WhereOption = "",
    known: Annotated[
        str,
        typer.Option(
            help="Ids to learn first and never pick, separated by commas, or @FILE with one a line.",
            metavar="IDS|@FILE",
            show_default=False,
        ),
    ] = "",
    interesting: Annotated[
        str, typer.Option(help="Ids that may be picked, but not learned.", metavar="IDS|@FILE", show_default=False)
    ] = "",
    labels: Annotated[
        str,
        typer.Option(
            help="CSV file with a class for each id, to score the discovery; or `folder`. Default: the source's own.",
            metavar="FILE|folder",
            show_default=False,
        ),
    ] = "",
    features: FeaturesOption = "",
    stratum: Annotated[
        str,
        typer.Option(
            help="Stratum of an archive's memory whose batches count as already known; see `interpdisc remember`.",
            show_default=False,
        ),
    ] = "",
    last: Annotated[
        int | None, typer.Option(help="Only the last N batches of the stratum.", min=1, metavar="N", show_default=False)
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="A batch of the stratum to leave out; repeatable.", show_default=False)
    ] = None,
    memory: Annotated[
        str, typer.Option(help="The archive that has the stratum. Default: SOURCE.", show_default=False)
    ] = "",
    threads: Annotated[int, typer.Option(help="Threads; the picks are the same.", min=1)] = 1,
    device: Annotated[
        str,
        typer.Option(
            help="Where rows are scored; the picks are the same.",
            metavar="cpu|cuda|cuda:N",
            autocompletion=lambda: ["cpu", "cuda", "cuda:0"],
        ),
    ] = "cpu",
    scheduler: Annotated[
        str,
        typer.Option(
            help="Address of a running Dask scheduler whose workers score the rows; the picks are the same.",
            show_default=False,
            envvar="INTERPDISC_SCHEDULER",
        ),
    ] = "",
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the picks.")] = "interpdisc-selection",
    as_json: JsonOption = False,
) -> None:
    """Select the most novel rows of features, in seconds, without reading an image. A larger -n resumes.

    Example: `interpdisc select features.npy -n 300 -k 20`
    """
    with exit_on_error():
        from interpdisc_core.pipeline import select_features
        from interpdisc_core.pipeline.select_options import SelectOptions, parse_ids
        from interpdisc_core.storage.lock import archive_lock

        selector = build_demud(
            method=method,
            rank=rank,
            start=start,
            seed=seed,
            variance=variance,
            sign=sign,
            weights=weights,
            interest=interest,
            action=interest_action,
            missing=missing,
        )
        options = SelectOptions(
            source=make_absolute(source) if scheduler else source,
            features=features,
            where=where,
            normalise=normalize,
            labels=labels,
            background=tuple(background or []),
            background_where=background_where,
            known=parse_ids(known),
            interesting=parse_ids(interesting),
            selector=selector,
            picks=picks,
            threads=threads,
            device=device,
            horizon=stratum,
            last=last,
            without=tuple(exclude or []),
            memory=memory,
        )
        out = resolve_output_folder(out)
        with stderr.status("reading …") as status, _open_shard_pools(check_scheduler(scheduler)) as make_shard_pool:
            result = select_features.select_rows(
                options,
                out,
                write_lock=archive_lock(out, "folder", owner="select"),
                make_shard_pool=make_shard_pool,
                on_progress=lambda count, total: status.update(f"pick {count} of {total}"),
            )
    print(json.dumps(result)) if as_json else _print_selection(result, picks)


def _open_shard_pools(scheduler: str) -> Any:
    """A function that makes the shard pool of a selection on a cluster; None without a scheduler."""
    if not scheduler:
        return nullcontext()
    from deploy.dask_shard_pool import connect_shard_pools

    return connect_shard_pools(scheduler)


def remember_command(
    source: Annotated[
        str, typer.Argument(help="An archive or features, as of `select`.", metavar="SOURCE", show_default=False)
    ],
    stratum: StratumArgument,
    batch: Annotated[
        str, typer.Argument(help="A name for these rows, e.g. a sol.", metavar="BATCH", show_default=False)
    ],
    where: WhereOption = "",
    normalize: NormalizeOption = "none",
    features: FeaturesOption = "",
    memory: Annotated[str, typer.Option(help="The archive that remembers. Default: SOURCE.", show_default=False)] = "",
) -> None:
    """Remember rows as one batch of a stratum; `select --stratum` picks what is new compared with its batches.

    Example: `interpdisc remember ARCHIVE mastcam sol-812 --where "sol == 812"`
    """
    with exit_on_error():
        from interpdisc_core.archive.layout import lock_archive
        from interpdisc_core.pipeline import select_features
        from interpdisc_core.pipeline.select_options import SelectOptions
        from interpdisc_core.storage.location import Location

        if not memory and not Location.parse(source).exists("archive.json"):
            raise PlanError(f"{source} is not an archive, so it cannot remember; name an archive by --memory.")
        options = SelectOptions(source=source, where=where, features=features, normalise=normalize)
        with lock_archive(make_absolute(memory or source), owner="remember"):
            record = select_features.remember_rows(options, memory or source, stratum, batch)
    print_line(f"{record.count} rows of {record.dimension} features are batch {_quote(batch)} of {_quote(stratum)}")


def forget_command(
    archive: ArchiveArgument,
    stratum: StratumArgument,
    batch: Annotated[
        str, typer.Argument(help="The batch to remove, e.g. a sol that was bad.", metavar="BATCH", show_default=False)
    ],
) -> None:
    """Remove a batch from a stratum; selections are then as if it had never been in it, to the bit."""
    with exit_on_error():
        from interpdisc_core.archive.layout import lock_archive
        from interpdisc_core.archive.memory import Memory
        from interpdisc_core.storage.location import Location

        location = Location.parse(archive)
        with lock_archive(location.url, owner="forget"):
            memory = Memory(location, stratum)
            memory.remove(batch)
            remaining = memory.list_names()
    print_line(f"batch {_quote(batch)} of {_quote(stratum)} is removed; {len(remaining)} are left")


def _quote(name: str) -> str:
    return f"“{escape_controls(name)}”"


def build_demud(*, start: str, **settings: Any) -> Any:
    """DEMUD's settings of the options of `interpdisc select`.

    Args:
        start: `svd`, `mean`, `random`, or the number of a row.
        settings: Its other settings, by their names.

    Raises:
        PlanError: For another start, or a value out of range.
    """
    from interpdisc_core.selectors import Demud

    if start.isascii() and start.isdigit():
        return Demud(start=int(start), **settings)
    if start not in _STARTS:
        raise PlanError(f"--start is {', '.join(_STARTS)} or the number of a row, not {start!r}.")
    return Demud(start=start, **settings)  # type: ignore[arg-type]


def _print_selection(result: dict[str, Any], requested: int) -> None:
    from interpdisc_core.pipeline.feature_columns import FeatureColumns

    count = len(result["picks"])
    background = result["horizon"]["count"] if result["horizon"] else result["background"]["count"]
    print_line(
        f"{count} picks of {result['n']} rows of {result['d']} features"
        + (f", {background} known before" if background else "")
        + (f", {result['resumed_at']} of them from an earlier call" if result["resumed_at"] else "")
        + ("; nothing new was left after them" if result["exhausted"] else "")
    )
    if requested > result["n"]:
        print_line(f"note: {requested:,} picks were requested, but there are only {result['n']:,} rows")
    if columns := FeatureColumns(**result["columns"]).describe():
        print_line(columns)
    for line in result["left_out"]:
        print_line(line)
    print_line(f"{'rank':>4}  {'row':>8}  {'score':>11}  id")
    for pick in result["picks"][:10]:
        label = f"  ({escape_controls(pick['label'], 40)})" if pick["label"] else ""
        print_line(
            f"{pick['rank']:>4}  {pick['row']:>8}  {pick['score']:>11.5g}  {escape_controls(pick['id'], 60)}{label}"
        )
    if count > 10:
        print_line(f" …    {count - 10} more")
    print_discovery_score(result)
    seconds = sum(result["timings"].values())
    print_line(f"{seconds:.1f} s; {result['out']}: picks.csv, result.json, vectors (Zarr: x, x̂ and x − x̂ of each pick)")
