"""Evaluate: methods compared on labeled images. Learn: a representation trained on your own images."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.commands import exit_on_error, override, run_and_print
from deploy.commands.checks import list_sources, make_absolute, resolve_archive, resolve_labels, resolve_output_folder
from deploy.commands.options import (
    ArchiveOption,
    BlockOption,
    LabelsOption,
    OutOption,
    RunOptions,
    SourceArgument,
    WhereOption,
    with_run_options,
)
from deploy.commands.output import print_line
from interpdisc_core.errors import PlanError

STUDIES_FOLDER = Path(__file__).resolve().parent.parent / "studies"


def list_study_names() -> list[str]:
    """Names of the studies that come with the program."""
    return sorted(path.stem for path in STUDIES_FOLDER.glob("*.json"))


@with_run_options
def evaluate_command(
    options: RunOptions,
    source: SourceArgument = None,
    labels: LabelsOption = "",
    study: Annotated[
        str,
        typer.Option(
            help=f"What to compare: a JSON file, or one of {', '.join(list_study_names())}.",
            metavar="FILE|NAME",
            autocompletion=list_study_names,
        ),
    ] = "quick",
    archive: ArchiveOption = "interpdisc-archive",
    out: OutOption = "",
    novel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="A class that should be found: adds P@N, MDR and ROC AUC; repeatable.",
            show_default=False,
        ),
    ] = None,
    picks: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--picks",
            help="Number of picks that count, t of nAUC_t.  [default: the study's]",
            min=1,
            show_default=False,
        ),
    ] = None,
    where: WhereOption = "",
    block: BlockOption = 1024,
) -> None:
    """Benchmark representations and selectors on labeled images.

    Example: `interpdisc evaluate photos/ --labels photos.csv --out evaluation/`
    """
    with exit_on_error():
        from interpdisc_core.archive.run import RunInputs
        from interpdisc_core.sources import format_source_title

        sources = list_sources(source)
        final_study = _apply_options(find_study(study), novel or [], picks, where)
        run_and_print(
            print_evaluation,
            options,
            flow="evaluate",
            parameters={
                "inputs": RunInputs(sources=sources, labels=resolve_labels(labels)),
                "study": final_study,
                "out": resolve_output_folder(out),
                "block": block,
                "command": shlex.join(["interpdisc", *sys.argv[1:]]),
                "name": format_source_title(sources[0]),
            },
            tags=("evaluate", *sorted({experiment.kind for experiment in final_study.experiments.values()})),
            archive=resolve_archive(archive, sources),
        )


@with_run_options
def learn_command(
    options: RunOptions,
    plan: Annotated[
        Path,
        typer.Option(
            help="JSON file of a plan whose representation is learned from images (learned-network, sift-words).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The plan with its weights, a file NAME.json; the weights go to NAME.safetensors.",
            show_default=False,
        ),
    ],
    source: SourceArgument = None,
    archive: ArchiveOption = "interpdisc-archive",
) -> None:
    """Train a representation on your images, for `discover --plan`; `evaluate` does this by itself.

    Example: `interpdisc learn rover/ --plan deploy/plans/learned.json --out rover.json`
    """
    with exit_on_error():
        from interpdisc_core.archive.run import RunInputs
        from interpdisc_core.plan import read_plan
        from interpdisc_core.representations import Trainable
        from interpdisc_core.sources import format_source_title

        sources, loaded_plan = list_sources(source), read_plan(str(plan))
        representation = loaded_plan.representation
        if not isinstance(representation, Trainable):
            raise PlanError(f"{plan}: {representation.kind} is not learned from images: use the plan as it is.")
        if representation.learned_weights:
            raise PlanError(f"{plan}: the plan has weights already ({representation.learned_weights}): leave them out.")
        if out.suffix != ".json":
            raise PlanError(f"--out must be a file NAME.json, not {str(out)!r}.")
        resolve_output_folder(str(out.parent))
        run_and_print(
            _print_learned,
            options,
            flow="learn",
            parameters={
                "inputs": RunInputs(sources=sources),
                "plan": loaded_plan,
                "out": make_absolute(str(out)),
                "name": format_source_title(sources[0]),
            },
            tags=("learn", representation.kind),
            archive=resolve_archive(archive, sources),
        )


def find_study(name_or_path: str) -> Any:
    """The study of a JSON file, or a named one. Raises PlanError if there is neither, or if it is no study."""
    from interpdisc_core.evaluation.study import read_study

    if not Path(name_or_path).exists():
        if name_or_path not in list_study_names():
            raise PlanError(
                f"--study {name_or_path}: no such file, and no study of this name; choose from "
                f"{', '.join(list_study_names())}."
            )
        return read_study(str(STUDIES_FOLDER / f"{name_or_path}.json"))
    return read_study(name_or_path)


def _apply_options(study: Any, novel: list[str], picks: int | None, where: str) -> Any:
    """The study with the command line's own settings put in."""
    from interpdisc_core.evaluation.study import DiscoveryExperiment

    def override_experiment(experiment: Any) -> Any:
        if where:
            trials = {
                name: replace(item, where=f"({item.where}) and ({where})" if item.where else where)
                for name, item in experiment.trials.items()
            }
            experiment = replace(experiment, trials=trials)
        if isinstance(experiment, DiscoveryExperiment):
            experiment = override(experiment, novel=tuple(novel) or None, t=picks)
        return experiment

    return replace(
        study, experiments={title: override_experiment(experiment) for title, experiment in study.experiments.items()}
    )


def print_evaluation(result: dict[str, Any]) -> None:
    """Print the result of an evaluation."""
    print_line(f"{result['images']} images in {result['classes']} classes; {result['cells']} cells")
    for title, trials in dict.fromkeys((line["experiment"], line["trials"]) for line in result["lines"]):
        lines = [line for line in result["lines"] if (line["experiment"], line["trials"]) == (title, trials)]
        print_line(f"{title}, {trials}: nAUC (t = {lines[0]['t']}), random {lines[0]['nauc_random']:.2f}")
        for line in sorted(lines, key=lambda line: -(line["nauc"] or 0.0))[:10]:
            deviation = f" ± {line['nauc_sd']:.2f}" if line["draws"] > 1 else ""
            name = f"{line['representation']}, {line['treatment']}, {line['method']}"
            print_line(f"  {line['nauc'] or float('nan'):>6.2f}{deviation}  {name}")
    for title, other in result.get("others", {}).items():
        print_line(f"{title}: {other['headline']}")
    for name, reason in result["problems"]:
        print_line(f"no result for {name}: {reason}")
    print_line(f"page: {result['report']}")


def _print_learned(result: dict[str, Any]) -> None:
    print_line(f"learned from {result['images']} images: {result['weights']} ({result['bytes'] / 1e6:.1f} MB)")
    print_line(f"plan: {result['plan']}")
