"""What the HTML pages share: templates that escape everything, visible control characters, numbers as text, photos as data.

Every page but the index of days is a single file that needs no network and no script. Names are hostile input: the
templates escape them, and characters that would reorder or hide text are shown by their code point. The common style
is `templates/base.css.j2`, the common macros are `templates/parts.html.j2`.
"""

import base64
import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from interpdisc_core._types import PixelArray
from interpdisc_core.progress import format_duration


@dataclass(frozen=True, slots=True)
class EmbeddedPhoto:
    """A JPEG as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def aspect_ratio(self) -> float:
        """Width over height, kept within what a page can lay out."""
        return min(max(self.width / self.height, 0.05), 40.0)

    @classmethod
    def encode(cls, pixels: PixelArray, max_bytes: int, *, box: tuple[int, int] | None = None) -> "EmbeddedPhoto":
        """Encode pixels (h, w, 3) uint8 as a JPEG of at most `max_bytes` bytes; see `encode_small_jpeg`.

        Args:
            pixels: The picture.
            max_bytes: Most bytes of the JPEG.
            box: Width and height that the picture is first shrunk to fit into.
        """
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if box is not None:
            image.thumbnail(box, Image.Resampling.LANCZOS)
        data, (width, height) = encode_small_jpeg(image, max_bytes)
        return cls("data:image/jpeg;base64," + base64.b64encode(data).decode(), width, height)


def encode_small_jpeg(
    image: Image.Image, max_bytes: int, qualities: Sequence[int] = (82, 72, 60, 45)
) -> tuple[bytes, tuple[int, int]]:
    """An image as a JPEG of at most `max_bytes` bytes, and its width and height.

    If no quality makes it small enough, it is made smaller; one of at most 32 x 32 pixels may take more bytes.
    """
    while True:
        for quality in qualities:
            sink = io.BytesIO()
            image.save(sink, "JPEG", quality=quality, optimize=True)
            if sink.tell() <= max_bytes or max(image.size) <= 32:
                return sink.getvalue(), image.size
        image = image.resize((max(image.width * 3 // 4, 1), max(image.height * 3 // 4, 1)), Image.Resampling.LANCZOS)


_DIRECTION_MARKS = {0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF}


def escape_invisible(value: Any, allowed: str = "") -> Any:
    """Text with control characters, direction marks and lone surrogates written as ⟨U+202E⟩; other values unchanged."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        f"⟨U+{ord(c):04X}⟩"
        if c not in allowed and (ord(c) in _DIRECTION_MARKS or unicodedata.category(c) in ("Cc", "Cs"))
        else c
        for c in value
    )


def escape_verbatim(text: str) -> Markup:
    """Escaped text that keeps its line breaks and tabs."""
    return escape(escape_invisible(text, allowed="\n\t"))


def format_number(value: float, digits: int = 4) -> str:
    """A number with significant digits, and a power of ten if it is very large or very small.

    Example:
        >>> format_number(6712.4), format_number(1e-9)
        ('6,712', '1.00 × 10^−9')
    """
    if not math.isfinite(value):
        return "not finite" if math.isinf(value) else "not available"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 <= size <= 6:
        return f"{value:,.{max(digits - 1 - size, 0)}f}".replace("-", "−")
    return f"{value:.2e}".replace("e+", " × 10^").replace("e-", " × 10^−").replace("-", "−").replace("^−0", "^−")


def format_fixed(value: float, decimals: int, *, signed: bool = False) -> str:
    """That many decimals, with a minus sign, or a dash if it is not finite: 1,234.50, −0.25, –. signed: also +0.25."""
    sign = "+" if signed else ""
    return f"{value:{sign},.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"


def format_count(value: int) -> str:
    """6712 as 6,712."""
    return f"{value:,}"


def shorten_middle(text: str) -> str:
    """A long name shortened to its beginning and its end."""
    return text if len(text) <= 72 else f"{text[:44]} … {text[-24:]}"


@lru_cache(maxsize=1)
def get_template_environment() -> Environment:
    """The templates, with the functions above as filters; an undefined name in a template is an error."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=escape_invisible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        number=format_number,
        count=format_count,
        seconds=format_duration,
        short=shorten_middle,
        verbatim=escape_verbatim,
    )
    return templates
