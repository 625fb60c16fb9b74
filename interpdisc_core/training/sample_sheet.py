"""What an inverter can render so far: a sheet of pictures of images that it is not trained on."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from interpdisc_core._types import PixelArray
from interpdisc_core.explanations.render import shift_mean
from interpdisc_core.reporting.html import encode_small_jpeg
from interpdisc_core.training.dataset import TrainingRun, encode_png
from interpdisc_core.training.validation import DecodeFunction, reconstruct_codes

SHEET_ROWS = ("image", "control", "expected", "new")
"""Rows of a sheet: the image, its own features decoded, x̂ decoded, and x − x̂ as the panel `new` shows it."""
SHEET_IMAGES = 8
_MODEL_EXAMPLES = 256
"""Training examples by whose model x̂ is computed."""
_GAP, _MARGIN = 4, 78
_PAPER, _INK = (255, 255, 255), (70, 70, 70)


def sheet_path(epoch: int) -> str:
    """The name of an epoch's sheet in the training's folder."""
    return f"samples/{epoch:04d}.png"


def write_sample_sheet(training: TrainingRun, epoch: int, decode: DecodeFunction) -> PixelArray:
    """Write the sheet of an epoch to the training's folder.

    Args:
        training: Whose validation images are shown.
        epoch: Number of the epoch.
        decode: Codes (n, d) to pictures (n, s, s, 3) uint8, by the weights of that epoch.

    Returns:
        The sheet (h, w, 3) uint8.
    """
    examples = training.read_first("validation", SHEET_IMAGES)
    expected = reconstruct_codes(examples.codes, training.read_first("train-", _MODEL_EXAMPLES).codes)
    residual_codes = shift_mean(examples.codes - expected, examples.codes.astype(np.float64))
    sample_sheet = compose_sheet((examples.pictures, decode(examples.codes), decode(expected), decode(residual_codes)))
    training.location.write_checked(sheet_path(epoch), encode_png(sample_sheet))
    return sample_sheet


def compose_sheet(rows: tuple[PixelArray, ...]) -> PixelArray:
    """Rows of pictures (n, s, s, 3) below each other, each with its name in `SHEET_ROWS`; (h, w, 3) uint8."""
    count, side = rows[0].shape[:2]
    step = side + _GAP
    page = Image.new("RGB", (_MARGIN + count * step, len(rows) * step), _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for down, (name, pictures) in enumerate(zip(SHEET_ROWS, rows, strict=True)):
        draw.text((2, down * step + side // 2 - 8), name, fill=_INK, font=font)
        for across, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture), (_MARGIN + across * step, down * step))
    return np.asarray(page)


def compress_sheet(sheet: bytes, max_bytes: int = 110_000) -> bytes:
    """A sheet's PNG file as a JPEG of at most `max_bytes` bytes."""
    return encode_small_jpeg(Image.open(io.BytesIO(sheet)).convert("RGB"), max_bytes, qualities=(88, 75, 60))[0]
