"""What a training leaves in the Prefect UI for the people who watch it.

Prefect keeps no files, but its UI shows a picture in Markdown whose address is the picture itself; these are kept small.
"""

import base64

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from interpdisc_core.storage import Place
from interpdisc_core.training.curves import loss_chart
from interpdisc_core.training.delivering import Delivered
from interpdisc_core.training.epochs import Trained
from interpdisc_core.training.samples import ROWS, small_jpeg


def show_epoch(archive: str, trained: Trained) -> None:
    """The last epoch's sample pictures, the curves so far, and a table of the epochs."""
    last = trained.history[-1]
    sheet = small_jpeg(Place.of(archive).read(trained.sheet))
    create_markdown_artifact(
        f"![samples]({_address(sheet, 'jpeg')})\n\nValidation images, which the network does not learn from; "
        f"below each other: {', '.join(ROWS)}. Large in `{trained.sheet}` of the archive.",
        key="samples",
        description=f"What the network paints after epoch {last.number}",
    )
    create_markdown_artifact(
        f"![curves]({_address(loss_chart(trained.history), 'png')})",
        key="curves",
        description=trained.told,
    )
    create_table_artifact(
        [
            {"epoch": e.number, "loss": f"{e.loss:.4f}", "validation": f"{e.score:.4f}", "PSNR dB": f"{e.psnr:.2f}",
             "image error": f"{e.image_error:.4f}", "feature error": f"{e.feature_error:.4f}", "rate": f"{e.rate:.2g}",
             "seconds": f"{e.seconds:.0f}"}
            for e in trained.history
        ],
        key="epochs",
        description=f"{len(trained.history)} epochs; validation: lower is better, 1 is about the mean image's",
    )  # fmt: skip


def show_checkpoint(delivered: Delivered) -> None:
    """The scores on images that the network never saw, and a link to the checkpoint."""
    result = delivered.result
    sets = result["scores"]
    names = list(dict.fromkeys(name for scores in sets.values() for name in scores))
    rows = [f"| {name} | " + " | ".join(_number(scores.get(name)) for scores in sets.values()) + " |" for name in names]
    trust = result["threshold"]
    create_markdown_artifact(
        "\n".join([f"| | {' | '.join(sets)} |", "|---|" + "---:|" * len(sets), *rows])
        + (f"\n\nRenderings count as trusted from a cosine of **{trust:.3f}** on." if trust is not None else "")
        + f"\n\nTrained on {result['images']} images ({result['examples']} examples), {len(result['epochs'])} epochs, the "
        f"best of them epoch {result['best']}. Errors are normalised: 1 is the mean distance of two images.\n\n"
        f"[{delivered.checkpoint}]({delivered.link})",
        key="scores",
        description=f"Scores of {result['training']} on images that it never saw",
    )
    create_link_artifact(delivered.link, link_text="Checkpoint", key="checkpoint", description=delivered.checkpoint)


def _address(file: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""
