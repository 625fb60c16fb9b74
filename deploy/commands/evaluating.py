"""Evaluate: methods compared on labelled images. Learn: features of a collection's own."""

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.commands import AsJson, KeepUi, Scheduler, Verbose, Workers, absolute, app, carry_out, sentences
from interpdisc_core.errors import PlanError

STUDIES = Path(__file__).resolve().parent.parent / "studies"


@app.command()
def evaluate(
    source: Annotated[list[str] | None, typer.Argument(
        help="Folders, globs, CSV lists or s3:// prefixes of images. Default: $INTERPDISC_DATA.", show_default=False)] = None,
    labels: Annotated[str, typer.Option(
        help="CSV with a class for each image; or `folder`: an image's class is its folder's name; or the list's own column.")] = "",
    study: Annotated[str, typer.Option(
        help=f"What is compared: a JSON file, or one of {', '.join(sorted(p.stem for p in STUDIES.glob('*.json')))}.")] = "quick",
    archive: Annotated[str, typer.Option(
        help="Folder or s3:// prefix that keeps features and every result; the same command goes on from there.")] = "interpdisc-archive",
    out: Annotated[str, typer.Option(help="Folder for the page and the tables, beside the copy in the archive.")] = "",
    novel: Annotated[list[str] | None, typer.Option(
        metavar="CLASS", help="A class whose images are what is to be found: adds P@N, MDR, ROC AUC; may be given more than once.")] = None,
    t: Annotated[int | None, typer.Option("-n", "--picks", help="Picks that count (t of nAUC_t).  [default: the study's]", min=1)] = None,
    where: Annotated[str, typer.Option(help="Only a part of the images, e.g. \"split == 'train'\".")] = "",
    scheduler: Scheduler = "",
    workers: Workers = 0,
    block: Annotated[int, typer.Option(help="Most images a task extracts.", min=1)] = 1024,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Compare methods on images whose classes are known: does this find what matters in them, and sooner than others?

    Example: `interpdisc evaluate photos/ --labels photos.csv --out evaluation/`
    """
    with sentences():
        from interpdisc_core.sources import title

        inputs = _inputs(source, labels)
        settings = _asked(study_from(study), novel or [], t, where)
        kinds = sorted({experiment.kind for experiment in settings.experiments.values()})
        carry_out(
            tell, as_json, flow="evaluate",
            given={
                "inputs": inputs, "study": settings, "out": absolute(out) if out else "", "block": block,
                "command": shlex.join(["interpdisc", *sys.argv[1:]]), "name": title(inputs.sources[0]),
            },
            tags=("evaluate", *kinds), archive=absolute(archive), scheduler=scheduler, workers=workers, keep_ui=keep_ui,
            verbose=verbose,
        )  # fmt: skip


@app.command()
def learn(
    source: Annotated[list[str] | None, typer.Argument(
        help="Folders, globs, CSV lists or s3:// prefixes of images. Default: $INTERPDISC_DATA.", show_default=False)] = None,
    plan: Annotated[Path, typer.Option(
        help="JSON file of a plan whose representation is learned from images (kinds `learned-network`, `sift-words`).")] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option(help="The plan with its weights, a file NAME.json; NAME.safetensors is put beside it.")] = ...,  # type: ignore[assignment]
    archive: Annotated[str, typer.Option(
        help="Folder or s3:// prefix that keeps state; the same command goes on from there.")] = "interpdisc-archive",
    scheduler: Scheduler = "",
    workers: Workers = 0,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Learn a representation from images themselves, for `discover --plan`; `evaluate` does this by itself.

    Example: `interpdisc learn rover/ --plan deploy/plans/learned.json --out rover.json`
    """
    with sentences():
        from interpdisc_core import plan as plans
        from interpdisc_core.representations import Learns
        from interpdisc_core.sources import title

        inputs, settings = _inputs(source, ""), plans.read(str(plan))
        if not isinstance(settings.representation, Learns):
            raise PlanError(f"{plan}: {settings.representation.kind} is not learned from images; it needs no learning.")
        if settings.representation.learned:
            raise PlanError(f"{plan}: names weights already ({settings.representation.learned}); leave them out.")
        if out.suffix != ".json":
            raise PlanError(f"--out must be a file NAME.json, not {str(out)!r}.")
        carry_out(
            _tell_learned, as_json, flow="learn",
            given={"inputs": inputs, "plan": settings, "out": absolute(str(out)), "name": title(inputs.sources[0])},
            tags=("learn", settings.representation.kind), archive=absolute(archive), scheduler=scheduler,
            workers=workers, keep_ui=keep_ui, verbose=verbose,
        )  # fmt: skip


def study_from(given: str) -> Any:
    """The study of a JSON file, or a named one. Raises PlanError where there is none, or it is not one."""
    from interpdisc_core.lab import study as studies

    named = STUDIES / f"{given}.json"
    if not Path(given).exists() and named.parent == STUDIES and named.is_file():
        return studies.read(str(named))
    if not Path(given).exists():
        names = ", ".join(sorted(path.stem for path in STUDIES.glob("*.json")))
        raise PlanError(f"--study {given}: neither a file nor one of {names}.")
    return studies.read(given)


def _inputs(source: list[str] | None, labels: str) -> Any:
    from interpdisc_core.runs import Inputs

    sources = list(source or []) or list(filter(None, [os.environ.get("INTERPDISC_DATA", "")]))
    if not sources:
        raise PlanError("no SOURCE: name a folder of images, or set INTERPDISC_DATA.")
    return Inputs(
        sources=tuple(map(absolute, sources)), labels=labels if labels in ("", "folder") else absolute(labels)
    )


def _asked(study: Any, novel: list[str], t: int | None, where: str) -> Any:
    """The study with the command line's own settings put in."""
    from interpdisc_core.lab.study import Discovery

    def one(experiment: Any) -> Any:
        if where:
            experiment = replace(experiment, trials={
                name: replace(trials, where=f"({trials.where}) and ({where})" if trials.where else where)
                for name, trials in experiment.trials.items()
            })  # fmt: skip
        if isinstance(experiment, Discovery):
            experiment = replace(experiment, novel=tuple(novel) or experiment.novel, t=t or experiment.t)
        return experiment

    return replace(study, experiments={title: one(experiment) for title, experiment in study.experiments.items()})


def tell(result: dict[str, Any]) -> None:
    """Print what an evaluation came to."""
    print(f"{result['images']} images in {result['classes']} classes; {result['cells']} cells")
    for title, trials in dict.fromkeys((line["experiment"], line["trials"]) for line in result["lines"]):
        these = [line for line in result["lines"] if (line["experiment"], line["trials"]) == (title, trials)]
        print(f"{title}, {trials}: nAUC (t = {these[0]['t']}), random {these[0]['nauc_random']:.2f}")
        for line in sorted(these, key=lambda line: -(line["nauc"] or 0.0))[:10]:
            spread = f" ± {line['nauc_sd']:.2f}" if line["draws"] > 1 else ""
            name = f"{line['representation']}, {line['treatment']}, {line['method']}"
            print(f"  {line['nauc'] or float('nan'):>6.2f}{spread}  {name}")
    for title, other in result.get("others", {}).items():
        print(f"{title}: {other['headline']}")
    for name, why in result["problems"]:
        print(f"no result for {name}: {why}")
    print(f"page: {result['report']}")


def _tell_learned(result: dict[str, Any]) -> None:
    print(f"learned from {result['images']} images: {result['weights']} ({result['bytes'] / 1e6:.1f} MB)")
    print(f"plan: {result['plan']}")
