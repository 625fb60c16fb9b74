"""Explain: the picks of an existing run, rendered by another inverter."""

import os
from typing import Annotated, Any, Literal

import typer

from deploy.commands import exit_on_error, override, run_and_print
from deploy.commands.checks import make_absolute, resolve_archive, resolve_output_folder
from deploy.commands.options import OutOption, RunOptions, with_run_options
from deploy.commands.output import print_discovery
from interpdisc_core.errors import PlanError, StoreError

InverterKind = Literal["upconv", "gradient", "refined"]


@with_run_options
def explain_command(
    options: RunOptions,
    run: Annotated[str, typer.Argument(help="Folder of a run: ARCHIVE/runs/RUN.", metavar="RUN", show_default=False)],
    inverter: Annotated[
        InverterKind | None,
        typer.Option(
            help="upconv: a trained network. gradient: an optimizer. refined: the network, then the optimizer. "
            "Default: as before.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            help="File made by `train-inverter`, for upconv and refined.  [default: the shipped one]",
            show_default=False,
            metavar="FILE",
        ),
    ] = "",
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of the optimizer, for gradient and refined.", min=1, show_default=False),
    ] = None,
    explain: Annotated[
        int | None,
        typer.Option(help="Number of picks to render, the first ones. Default: as before.", min=0, show_default=False),
    ] = None,
    out: OutOption = "",
) -> None:
    """Render the picks of RUN again, by another inverter, without selecting again.

    Example: `interpdisc explain interpdisc-archive/runs/photos-1a2b3c4d --inverter refined --steps 60`
    """
    with exit_on_error():
        from interpdisc_core.archive.run import Run
        from interpdisc_core.pipeline.preconditions import check_rendering
        from interpdisc_core.storage.location import Location

        location = Location.parse(run)
        archive, _, name = location.url.rpartition("/runs/")
        if not archive or not location.exists("plan.json"):
            raise StoreError(f"{run} is not a run: give its folder, ARCHIVE/runs/RUN; `interpdisc show` lists them.")
        existing_run = Run(Location.parse(archive), name)
        before = existing_run.rendering
        new_inverter = build_inverter(
            (before.inverter, existing_run.plan.inverter), inverter, _resolve_checkpoint(checkpoint), steps
        )
        rendering = override(before, inverter=new_inverter, picks=explain)
        check_rendering(rendering, existing_run.plan.representation)
        run_and_print(
            print_discovery,
            options,
            flow="explain",
            parameters={"run": name, "rendering": rendering, "out": resolve_output_folder(out)},
            tags=("explain", existing_run.plan.representation.kind, new_inverter.kind),
            archive=resolve_archive(archive),
        )


def _resolve_checkpoint(checkpoint: str) -> str:
    return make_absolute(os.path.expanduser(checkpoint)) if checkpoint else ""


def build_inverter(previous: tuple[Any, ...], kind: InverterKind | None, checkpoint: str, steps: int | None) -> Any:
    """The inverter of the options of `interpdisc explain`.

    Args:
        previous: Inverters that the run had, the present one first; what the options leave open is as in the first of
            the same kind.
        kind: Of the new inverter; None if it is not given.
        checkpoint: Path of a network; empty if it is not given.
        steps: Of the optimizer; None if they are not given.

    Raises:
        PlanError: For an option that the inverter does not have.
    """
    from interpdisc_core.inverters import Gradient, Refined, UpConv

    chosen = kind or (previous[0].kind if previous[0].kind != "gradient" or not checkpoint else "upconv")
    if chosen == "gradient" and checkpoint:
        raise PlanError("--checkpoint is an option of the inverters upconv and refined, not of gradient.")
    if chosen == "upconv" and steps is not None:
        raise PlanError("--steps is an option of the inverters gradient and refined, not of upconv.")
    classes: dict[str, Any] = {"upconv": UpConv, "gradient": Gradient, "refined": Refined}
    same_kind = (inverter for inverter in previous if inverter is not None and inverter.kind == chosen)
    base = next(same_kind, None) or classes[chosen]()
    if isinstance(base, UpConv):
        return override(base, checkpoint=checkpoint or None)
    if isinstance(base, Refined):
        return override(
            base,
            start=override(base.start, checkpoint=checkpoint or None),
            refine=override(base.refine, steps=steps),
        )
    return override(base, steps=steps)
