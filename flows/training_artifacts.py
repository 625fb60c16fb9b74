"""What a training shows in the Prefect UI.

Prefect stores no files, but its UI shows pictures in Markdown as data URLs, which must be small.
"""

import base64

from flows.artifacts import create_file_artifact, create_rows_artifact, create_text_artifact
from interpdisc_core.reporting.escaping import MarkdownText, format_code, format_markdown, format_markdown_table
from interpdisc_core.storage.location import Location
from interpdisc_core.training.epochs import TrainingProgress
from interpdisc_core.training.export import CheckpointExport
from interpdisc_core.training.loss_chart import draw_loss_chart
from interpdisc_core.training.sample_sheet import SHEET_ROWS, compress_sheet


def create_epoch_artifacts(archive: str, epoch_result: TrainingProgress) -> None:
    """The last epoch's sample pictures, the loss curves, and a table of the epochs."""
    last_epoch = epoch_result.history[-1]
    sheet = compress_sheet(Location.parse(archive).read(epoch_result.sample_sheet))
    create_text_artifact(
        format_markdown(
            "{picture}\n\nValidation images, which the network is not trained on; rows: {rows}. In full size in {file} of "
            "the archive.",
            picture=_format_picture("samples", sheet, "jpeg"),
            rows=", ".join(SHEET_ROWS),
            file=format_code(epoch_result.sample_sheet),
        ),
        key="samples",
        description=f"Pictures rendered after epoch {last_epoch.number}",
    )
    create_text_artifact(
        _format_picture("curves", draw_loss_chart(epoch_result.history), "png"),
        key="curves",
        description=epoch_result.status_line,
    )
    create_rows_artifact(
        [
            {
                "epoch": epoch.number,
                "loss": f"{epoch.loss:.4f}",
                "validation": f"{epoch.score:.4f}",
                "PSNR dB": f"{epoch.psnr:.2f}",
                "image error": f"{epoch.image_error:.4f}",
                "feature error": f"{epoch.feature_error:.4f}",
                "rate": f"{epoch.rate:.2g}",
                "seconds": f"{epoch.seconds:.0f}",
            }
            for epoch in epoch_result.history
        ],
        key="epochs",
        description=f"{len(epoch_result.history)} epochs; validation: lower is better, 1 is about the mean image's",
    )


def create_checkpoint_artifacts(export: CheckpointExport) -> None:
    """The scores on held-out images, and a link to the checkpoint."""
    result = export.result
    scores_by_set = result["scores"]
    names = list(dict.fromkeys(name for scores in scores_by_set.values() for name in scores))
    rows = [[name, *(_format_number(scores.get(name)) for scores in scores_by_set.values())] for name in names]
    threshold = result["threshold"]
    trust = (
        format_markdown("Renderings count as trusted from a cosine of **{}**.\n\n", f"{threshold:.3f}")
        if threshold is not None
        else MarkdownText()
    )
    create_text_artifact(
        format_markdown(
            "{table}\n{trust}Trained on {images} images ({examples} examples), {epochs} epochs, the best of them epoch "
            "{best}. Errors are normalized: 1 is the mean distance of two images.\n\n{file}",
            table=format_markdown_table(["", *scores_by_set], rows),
            trust=trust,
            images=result["images"],
            examples=result["examples"],
            epochs=len(result["epochs"]),
            best=result["best"],
            file=format_code(export.checkpoint),
        ),
        key="scores",
        description=f"Scores of {result['training']} on held-out images",
    )
    create_file_artifact("checkpoint", export.checkpoint, "Checkpoint")


def _format_picture(title: str, data: bytes, kind: str) -> MarkdownText:
    return MarkdownText(f"![{title}](data:image/{kind};base64,{base64.b64encode(data).decode()})")


def _format_number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""
