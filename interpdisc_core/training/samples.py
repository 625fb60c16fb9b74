"""What a training can paint by now: a sheet of pictures of images that it does not learn from."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from interpdisc_core.images import Pixels
from interpdisc_core.rendering import shifted
from interpdisc_core.training.examples import Training, png
from interpdisc_core.training.scoring import Inverse, expectations

ROWS = ("image", "control", "expected", "new")
"""Of a sheet: the image itself, its own features decoded, x̂ decoded, and x − x̂ as the panel `new` shows it."""
IMAGES = 8
_SEEN = 256
"""Training examples of which the model is made that expects."""
_GAP, _MARGIN = 4, 78
_PAPER, _INK = (255, 255, 255), (70, 70, 70)


def file_of(epoch: int) -> str:
    """Where the sheet of an epoch lies in a training's folder."""
    return f"samples/{epoch:04d}.png"


def sample(training: Training, epoch: int, invert: Inverse) -> Pixels:
    """The sheet of an epoch, (h, w, 3) uint8, which is also kept in the training's folder.

    invert: codes (n, d) to pictures (n, s, s, 3), by the weights of that epoch.
    """
    held = training.all("validation", IMAGES)
    expected = expectations(held.codes, training.all("train-", _SEEN).codes)
    new = shifted(held.codes - expected, held.codes.astype(np.float64))
    made = sheet((held.pictures, invert(held.codes), invert(expected), invert(new)))
    training.place.write(file_of(epoch), png(made))
    return made


def sheet(rows: tuple[Pixels, ...]) -> Pixels:
    """Rows of pictures (n, s, s, 3) one below the other, each with its name of ROWS."""
    count, side = rows[0].shape[:2]
    step = side + _GAP
    page = Image.new("RGB", (_MARGIN + count * step, len(rows) * step), _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for down, (name, pictures) in enumerate(zip(ROWS, rows, strict=True)):
        draw.text((2, down * step + side // 2 - 8), name, fill=_INK, font=font)
        for across, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture), (_MARGIN + across * step, down * step))
    return np.asarray(page)


def small_jpeg(file: bytes, most: int = 110_000) -> bytes:
    """An image file as a JPEG of at most so many bytes, by its quality and then by its size."""
    image: Image.Image = Image.open(io.BytesIO(file)).convert("RGB")
    while True:
        for quality in (88, 75, 60):
            sink = io.BytesIO()
            image.save(sink, "JPEG", quality=quality)
            if sink.tell() <= most:
                return sink.getvalue()
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS)
