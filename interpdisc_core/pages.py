"""What the HTML pages share: templates that escape everything, names made visible, numbers as text, photos as data.

Every page but the index of days is one file that needs nothing beside itself: no network, no script. Names are hostile
input: the templates escape them, and characters that would reorder or hide text are shown by their number.
`templates/base.css.j2` has the pages' common style, `templates/parts.html.j2` their common macros.
"""

import base64
import io
import math
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from interpdisc_core.images import Pixels


@dataclass(frozen=True, slots=True)
class Photo:
    """A JPEG as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def ratio(self) -> float:
        """Width over height, kept within what a page can lay out."""
        return min(max(self.width / self.height, 0.05), 40.0)

    @classmethod
    def of(cls, pixels: Pixels, most: int, *, box: tuple[int, int] | None = None) -> "Photo":
        """Pixels (h, w, 3) as a JPEG of at most `most` bytes: of lower quality, then smaller, where it takes more.

        box: width and height that it is brought into first.
        """
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if box is not None:
            image.thumbnail(box, Image.Resampling.LANCZOS)
        while True:
            for quality in (82, 72, 60, 45):
                data = _jpeg(image, quality)
                if len(data) <= most or max(image.size) <= 32:
                    return cls("data:image/jpeg;base64," + base64.b64encode(data).decode(), image.width, image.height)
            image = image.resize(
                (max(image.width * 3 // 4, 1), max(image.height * 3 // 4, 1)), Image.Resampling.LANCZOS
            )


def _jpeg(image: Image.Image, quality: int) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality, optimize=True)
    return sink.getvalue()


_REORDERING = {0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF}


def visible(value: Any, keep: str = "") -> Any:
    """Text with control characters, direction marks and lone surrogates written as ⟨U+202E⟩; all else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        f"⟨U+{ord(c):04X}⟩"
        if c not in keep and (ord(c) in _REORDERING or unicodedata.category(c) in ("Cc", "Cs"))
        else c
        for c in value
    )


def verbatim(text: str) -> Markup:
    """Text whose line breaks and tabs are kept, escaped."""
    return escape(visible(text, keep="\n\t"))


def number(value: float, digits: int = 4) -> str:
    """That many significant digits, with powers of ten for very large and very small ones."""
    if not math.isfinite(value):
        return "not finite" if math.isinf(value) else "not available"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 <= size <= 6:
        return f"{value:,.{max(digits - 1 - size, 0)}f}".replace("-", "−")
    return f"{value:.2e}".replace("e+", " × 10^").replace("e-", " × 10^−").replace("-", "−").replace("^−0", "^−")


def count(value: int) -> str:
    """6712 as 6,712."""
    return f"{value:,}"


def seconds(value: float) -> str:
    """A duration: 0.03 s, 12.4 s, 3 min 12 s, 2 h 05 min."""
    if not math.isfinite(value) or value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes = round(value) // 60
    return f"{minutes} min {round(value) % 60:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def short(text: str) -> str:
    """A name for where there is little room: its beginning and its end."""
    return text if len(text) <= 72 else f"{text[:44]} … {text[-24:]}"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, with the functions above as filters; a name that a template lacks is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True, undefined=StrictUndefined, finalize=visible, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(number=number, count=count, seconds=seconds, short=short, verbatim=verbatim)
    return made
