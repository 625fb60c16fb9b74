"""Explain: the picks of a run that is there, rendered in another way."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from deploy.commands import AsJson, KeepUi, Scheduler, Verbose, Workers, absolute, app, carry_out, one_of, sentences
from deploy.commands.discovering import tell
from interpdisc_core.errors import PlanError, StoreError


@app.command()
def explain(
    run: Annotated[str, typer.Argument(help="A run of an archive: its folder, ARCHIVE/runs/RUN.", show_default=False)],
    inverter: Annotated[str, typer.Option(
        help="`upconv`, a trained network; `gradient`, an optimiser; `refined`, the one after the other. Default: as before.",
        show_default=False)] = "",
    checkpoint: Annotated[str, typer.Option(
        help="Of upconv and refined: a file that `train-inverter` made.  [default: the one that ships]", show_default=False)] = "",
    steps: Annotated[int | None, typer.Option(help="Of gradient and refined: steps of the optimiser.", min=1)] = None,
    picks: Annotated[int | None, typer.Option(
        "--explain", help="How many of the first picks to render. Default: as before.", min=0, show_default=False)] = None,
    out: Annotated[str, typer.Option(help="Folder for the report and tables, beside the copy in the archive.")] = "",
    scheduler: Scheduler = "",
    workers: Workers = 0,
    keep_ui: KeepUi = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Render the picks of RUN anew, by another inverter, without selecting again.

    Example: `interpdisc explain interpdisc-archive/runs/photos-1a2b3c4d --inverter refined --steps 60`
    """
    with sentences():
        from interpdisc_core.runs import Run
        from interpdisc_core.storage import Place

        place = Place.of(run)
        archive, _, name = place.url.rpartition("/runs/")
        if not archive or not place.exists("plan.json"):
            raise StoreError(
                f"{run} is no run: name its folder, ARCHIVE/runs/RUN; `interpdisc show ARCHIVE` lists them."
            )
        made = Run(Place.of(archive), name)
        rendering = made.rendering
        chosen = inverter_from(
            (rendering.inverter, made.plan.inverter), inverter, absolute(checkpoint) if checkpoint else "", steps
        )
        if chosen.kind != "gradient":
            chosen.card(made.plan.representation)
        rendering = replace(rendering, inverter=chosen, picks=rendering.picks if picks is None else picks)
        carry_out(
            tell, as_json,
            flow="explain", given={"run": name, "rendering": rendering, "out": absolute(out) if out else ""},
            tags=("explain", made.plan.representation.kind, chosen.kind), archive=archive, scheduler=scheduler,
            workers=workers, keep_ui=keep_ui, verbose=verbose,
        )  # fmt: skip


def inverter_from(before: tuple[Any, ...], kind: str, checkpoint: str, steps: int | None) -> Any:
    """The inverter of the options of `interpdisc explain`.

    before: those that the run had, the present one first; what the options do not say is as in the first of that kind.
    Raises PlanError for an option that the inverter does not have.
    """
    from interpdisc_core.inverters import Gradient, Refined, UpConv

    kind = kind or (before[0].kind if before[0].kind != "gradient" or not checkpoint else "upconv")
    one_of("--inverter", kind, ("upconv", "gradient", "refined"))
    if kind == "gradient" and checkpoint:
        raise PlanError("--checkpoint is of the inverters upconv and refined, not of gradient.")
    if kind == "upconv" and steps is not None:
        raise PlanError("--steps is of the inverters gradient and refined, not of upconv.")
    fresh = {"upconv": UpConv, "gradient": Gradient, "refined": Refined}[kind]
    same = next((inverter for inverter in before if inverter is not None and inverter.kind == kind), None) or fresh()
    if isinstance(same, UpConv):
        return replace(same, checkpoint=checkpoint) if checkpoint else same
    if isinstance(same, Refined):
        start = replace(same.start, checkpoint=checkpoint) if checkpoint else same.start
        return replace(same, start=start, refine=same.refine if steps is None else replace(same.refine, steps=steps))
    return same if steps is None else replace(same, steps=steps)
