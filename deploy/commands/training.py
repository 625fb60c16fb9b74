"""Train an inverter: the network that turns features back into pictures."""

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.commands import AsJson, KeepUi, Scheduler, Verbose, Workers, absolute, app, carry_out, one_of, sentences
from interpdisc_core.errors import PlanError


@app.command("train-inverter")
def train_inverter(
    sources: Annotated[list[str], typer.Argument(
        help="What to learn from: folders, globs, CSV lists or s3:// prefixes of images, or whole archives.", show_default=False)],
    archive: Annotated[str, typer.Option(
        help="Folder or s3:// prefix that keeps examples and state; the same command goes on from there.", show_default=False)],
    out: Annotated[str, typer.Option(help="The checkpoint, a file NAME.safetensors.", show_default=False)],
    recipe: Annotated[Path | None, typer.Option(
        "--recipe", "--plan", help="JSON file with any settings of a recipe; the options below go before it.")] = None,
    representation: Annotated[str, typer.Option(
        help="Whose features are inverted: `grid`, `pooled` or `logits` of EfficientNet-lite0, or the JSON file of a plan.  [default: grid]",
        show_default=False)] = "",
    generator: Annotated[str, typer.Option(
        help="`light`, a few million parameters; `paper`, the one of Dosovitskiy & Brox 2016.  [default: light]", show_default=False)] = "",
    where: Annotated[str | None, typer.Option(help="Trains on a part of the images, e.g. \"split == 'train'\".")] = None,
    held_out: Annotated[list[str] | None, typer.Option(
        metavar="NAME=EXPR", help="Images that are never trained on, for the scores at the end; repeatable.")] = None,
    validation: Annotated[float | None, typer.Option(
        help="Share of the images for the score after each epoch.  [default: 0.03]", show_default=False)] = None,
    views: Annotated[int | None, typer.Option(
        help="Of each image: 1 as it is, 2 mirrored too.  [default: 2]", min=1, max=2, show_default=False)] = None,
    start: Annotated[str, typer.Option(
        help="A checkpoint from whose weights training starts, e.g. to fit the one that ships to a rover.", show_default=False)] = "",
    epochs: Annotated[int, typer.Option(help="Most epochs; it ends before where more would not help.", min=1)] = 100,
    hours: Annotated[float | None, typer.Option(help="Most hours in epochs, earlier calls' included.", min=0)] = None,
    batch: Annotated[int | None, typer.Option(help="Examples of a step.  [default: 16]", show_default=False)] = None,
    rate: Annotated[float | None, typer.Option(help="Of Adam.  [default: 0.0004]", show_default=False)] = None,
    adversarial: Annotated[float | None, typer.Option(
        help="Weight of a discriminator's verdict: sharper, and more invented.  [default: 0]", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Of all that is random.  [default: 0]", show_default=False)] = None,
    about: Annotated[str, typer.Option(help="What the images are, for the checkpoint's card.")] = "",
    licence: Annotated[str, typer.Option(help="The images' licence, for the card.")] = "",
    scheduler: Scheduler = "",
    workers: Workers = 0,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Train a network that turns features back into pictures, in hours, and score it on images that it never saw.

    Example: `interpdisc train-inverter rover.csv --archive training --out grid.safetensors --held-out "late=sol > 3000"`
    """
    with sentences():
        from interpdisc_core.sources import title
        from interpdisc_core.training.finish import About

        settings = recipe_from(
            recipe, representation, generator, where=where, validation=validation, views=views, batch=batch, rate=rate,
            adversarial=adversarial, seed=seed, start=absolute(start) if start else None,
        )  # fmt: skip
        if not out.endswith(".safetensors") or Path(out).is_dir():
            raise PlanError(f"--out must be a file NAME.safetensors, not {out!r}.")
        card = About(command=shlex.join(["interpdisc", *sys.argv[1:]]), data=about)
        given = {
            "sources": tuple(absolute(source) for source in sources), "out": absolute(out), "recipe": settings,
            "held_out": held_out_from(held_out or []), "epochs": epochs, "hours": hours,
            "about": replace(card, licence=licence) if licence else card, "name": title(sources[0]),
        }  # fmt: skip
        carry_out(
            _tell, as_json, flow="train_inverter", given=given,
            tags=("train-inverter", settings.representation.kind, settings.generator.kind), archive=absolute(archive),
            scheduler=scheduler, workers=workers, keep_ui=keep_ui, verbose=verbose,
        )  # fmt: skip


def recipe_from(path: Path | None, representation: str, generator: str, **chosen: Any) -> Any:
    """The recipe of the file, or the default one, with the command line's own settings put in.

    The light generator takes the cells of the representation. Raises PlanError.
    """
    from interpdisc_core import plan as plans
    from interpdisc_core.inverters.generators import LightGenerator, PaperGenerator
    from interpdisc_core.representations import EfficientNetLite0
    from interpdisc_core.training import recipe as recipes

    written = plans.json_at(str(path)) if path else {}
    settings = recipes.parse(written, str(path))
    if representation in ("grid", "pooled", "logits"):
        settings = replace(settings, representation=EfficientNetLite0(output=representation))  # type: ignore[arg-type]
    elif representation:
        settings = replace(settings, representation=plans.read(representation).representation)
    one_of("--generator", generator, ("", "light", "paper"))
    if generator and generator != settings.generator.kind:
        settings = replace(settings, generator=PaperGenerator() if generator == "paper" else LightGenerator())
    light = settings.generator
    if isinstance(light, LightGenerator) and (
        representation or generator or "cells" not in written.get("generator", {})
    ):
        settings = replace(settings, generator=replace(light, cells=recipes.cells_of(settings.representation)))
    return replace(settings, **{name: value for name, value in chosen.items() if value is not None})


def held_out_from(given: list[str]) -> dict[str, str]:
    """Held-out sets, NAME=EXPR each, by name. Raises PlanError for one that is not of that form."""
    sets: dict[str, str] = {}
    for one in given:
        name, _, expression = one.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) or not expression.strip() or expression.startswith("="):
            raise PlanError(
                f'--held-out {one!r}: write NAME=EXPR, such as late="sol > 3000"; NAME of letters, digits, - and _.'
            )
        if name in sets:
            raise PlanError(f"--held-out: there are two sets {name!r}.")
        sets[name] = expression.strip()
    return sets


def _tell(result: dict[str, Any]) -> None:
    print(
        f"{result['images']} images, {result['examples']} examples"
        + (f", {len(result['failed'])} images could not be read" if result["failed"] else "")
    )
    print(f"{'epoch':>5}  {'loss':>8}  {'validation':>10}  {'PSNR dB':>8}  {'feature error':>13}  {'seconds':>8}")
    for epoch in result["epochs"]:
        print(
            f"{epoch['number']:>5}  {epoch['loss']:>8.4f}  {epoch['score']:>10.4f}  {epoch['psnr']:>8.2f}  "
            f"{epoch['feature_error']:>13.4f}  {epoch['seconds']:>8.0f}"
            + ("  best" if epoch["number"] == result["best"] else "")
        )
    for name, scores in result["scores"].items():
        print(f"scores of {name}:")
        for what, value in scores.items():
            print(f"  {what:<42} {value:.4g}")
    if result["threshold"] is not None:
        print(f"renderings count as trusted from a cosine of {result['threshold']:.3f} on")
    print(f"checkpoint: {result['checkpoint']} ({result['bytes'] / 1e6:.1f} MB)")
