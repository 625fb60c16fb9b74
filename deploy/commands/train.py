"""Train an inverter: the network that turns features back into pictures."""

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deploy.commands import exit_on_error, override, run_and_print
from deploy.commands.checks import make_absolute, resolve_archive, resolve_output_folder, resolve_sources
from deploy.commands.options import ArchiveOption, RunOptions, WhereOption, with_run_options
from deploy.commands.output import print_line
from interpdisc_core.errors import PlanError

_GRIDS = ("grid", "pooled", "logits")


@with_run_options
def train_inverter_command(
    options: RunOptions,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Images to learn from: folders, globs, CSV lists, s3:// prefixes, or whole archives.",
            metavar="SOURCE",
            show_default=False,
        ),
    ],
    out: Annotated[
        str, typer.Option(help="The checkpoint, a file NAME.safetensors.", metavar="FILE", show_default=False)
    ],
    archive: ArchiveOption = "interpdisc-training",
    recipe: Annotated[
        Path | None,
        typer.Option(help="JSON file with settings of a recipe; the options below override it.", show_default=False),
    ] = None,
    representation: Annotated[
        str,
        typer.Option(
            help="Features to invert: an output of EfficientNet-lite0, or the JSON file of a plan.  [default: grid]",
            metavar="grid|pooled|logits|FILE",
            autocompletion=lambda: list(_GRIDS),
            show_default=False,
        ),
    ] = "",
    generator: Annotated[
        Literal["light", "paper"] | None,
        typer.Option(
            help="light: a few million parameters. paper: the network of Dosovitskiy & Brox 2016.  [default: light]",
            show_default=False,
        ),
    ] = None,
    where: WhereOption = "",
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=EXPR",
            help="Images that are not trained on, for the final scores; repeatable.",
            show_default=False,
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Share of the images for the score after each epoch.  [default: 0.03]",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            help="Examples of each image: 1, or 2 with its mirror image.  [default: 2]",
            min=1,
            max=2,
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            help="Checkpoint from whose weights training starts, e.g. to adapt the shipped one to a rover.",
            metavar="FILE",
            show_default=False,
        ),
    ] = "",
    epochs: Annotated[int, typer.Option(help="Most epochs; it stops earlier if more would not help.", min=1)] = 100,
    hours: Annotated[
        float | None,
        typer.Option(help="Most hours in epochs, including those of earlier calls.", min=0, show_default=False),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples of a step.  [default: 16]", min=1, show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of Adam.  [default: 0.0004]", min=0, max=1, show_default=False)
    ] = None,
    adversarial: Annotated[
        float | None,
        typer.Option(
            help="Weight of a discriminator: sharper pictures, more of them invented.  [default: 0]",
            min=0,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of everything random.  [default: 0]", min=0, show_default=False)
    ] = None,
    data_description: Annotated[
        str, typer.Option(help="What the images are, for the checkpoint's card.", show_default=False)
    ] = "",
    license_name: Annotated[
        str, typer.Option("--license", help="License of the images, for the card.", show_default=False)
    ] = "",
) -> None:
    """Train a network that turns features back into pictures, and score it on images that it never saw. Takes hours.

    Example: `interpdisc train-inverter rover.csv --out grid.safetensors --held-out "late=sol > 3000"`
    """
    with exit_on_error():
        from interpdisc_core.pipeline.preconditions import check_checkpoint
        from interpdisc_core.sources import format_source_title
        from interpdisc_core.training.finish import CheckpointDescription

        final_recipe = build_recipe(
            recipe,
            representation,
            generator,
            where=where or None,
            validation=validation,
            views=views,
            batch=batch_size,
            rate=learning_rate,
            adversarial=adversarial,
            seed=seed,
            start=make_absolute(start) if start else None,
        )
        if not out.endswith(".safetensors") or Path(out).is_dir():
            raise PlanError(f"--out must be a file NAME.safetensors, not {out!r}.")
        resolve_output_folder(str(Path(out).parent) if "://" not in out else "")
        addresses = resolve_sources(sources)
        check_checkpoint(final_recipe.start)
        description = CheckpointDescription(command=shlex.join(["interpdisc", *sys.argv[1:]]), data=data_description)
        run_and_print(
            _print_training,
            options,
            flow="train_inverter",
            parameters={
                "sources": addresses,
                "out": make_absolute(out),
                "recipe": final_recipe,
                "held_out": parse_held_out(held_out or []),
                "epochs": epochs,
                "hours": hours,
                "description": override(description, licence=license_name or None),
                "name": format_source_title(addresses[0]),
            },
            tags=("train-inverter", final_recipe.representation.kind, final_recipe.generator.kind),
            archive=resolve_archive(archive, addresses),
        )


def build_recipe(path: Path | None, representation: str, generator: str | None, **overrides: Any) -> Any:
    """The recipe of the file, or the default one, with the command line's own settings put in.

    The light generator gets the cells of the representation, unless the file says how many.

    Raises:
        PlanError: If the recipe is not valid.
    """
    from interpdisc_core.inverters.generators import LightGenerator, PaperGenerator
    from interpdisc_core.plan import read_json_file, read_plan
    from interpdisc_core.representations import EfficientNetLite0
    from interpdisc_core.training.recipe import grid_cells_per_side, parse_recipe

    payload = read_json_file(str(path)) if path else {}
    recipe = parse_recipe(payload, str(path))
    if representation in _GRIDS:
        recipe = override(recipe, representation=EfficientNetLite0(output=representation))  # type: ignore[arg-type]
    elif representation:
        recipe = override(recipe, representation=read_plan(representation).representation)
    if generator and generator != recipe.generator.kind:
        recipe = override(recipe, generator=PaperGenerator() if generator == "paper" else LightGenerator())
    chooses_cells = representation or generator or "cells" not in payload.get("generator", {})
    if isinstance(recipe.generator, LightGenerator) and chooses_cells:
        cells = grid_cells_per_side(recipe.representation)
        recipe = override(recipe, generator=override(recipe.generator, cells=cells))
    return override(recipe, **overrides)


def parse_held_out(items: list[str]) -> dict[str, str]:
    """Held-out sets, NAME=EXPR each, by name.

    Raises:
        PlanError: For one that is not of this form, an expression that is not valid, or a name given twice.

    Example:
        >>> parse_held_out(["late=sol > 3000"])
        {'late': 'sol > 3000'}
    """
    from interpdisc_core.metadata.expressions import check_expression

    sets: dict[str, str] = {}
    for item in items:
        name, _, expression = item.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) or not expression.strip() or expression.startswith("="):
            raise PlanError(
                f'--held-out {item!r}: write NAME=EXPR, such as late="sol > 3000"; NAME of letters, digits, - and _.'
            )
        if name in sets:
            raise PlanError(f"--held-out: there are two sets {name!r}.")
        check_expression(expression.strip())
        sets[name] = expression.strip()
    return sets


def _print_training(result: dict[str, Any]) -> None:
    unreadable = f", {len(result['failed'])} images could not be read" if result["failed"] else ""
    print_line(f"{result['images']} images, {result['examples']} examples{unreadable}")
    print_line(f"{'epoch':>5}  {'loss':>8}  {'validation':>10}  {'PSNR dB':>8}  {'feature error':>13}  {'seconds':>8}")
    for epoch in result["epochs"]:
        print_line(
            f"{epoch['number']:>5}  {epoch['loss']:>8.4f}  {epoch['score']:>10.4f}  {epoch['psnr']:>8.2f}  "
            f"{epoch['feature_error']:>13.4f}  {epoch['seconds']:>8.0f}"
            + ("  best" if epoch["number"] == result["best"] else "")
        )
    for name, scores in result["scores"].items():
        print_line(f"scores of {name}:")
        for metric, value in scores.items():
            print_line(f"  {metric:<42} {value:.4g}")
    if result["threshold"] is not None:
        print_line(f"renderings are trusted if their cosine is at least {result['threshold']:.3f}")
    print_line(f"checkpoint: {result['checkpoint']} ({result['bytes'] / 1e6:.1f} MB)")
