"""Charts and heat overlays for a report: arrays in, markup or pixels out, the same for the same input.

A chart is inline SVG that takes its colours from the page's CSS variables (`--ink`, `--muted`, `--line`, `--accent`),
so it follows the page into dark mode and print, and carries no identifier that another chart of the page could share.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from interpdisc_core.evaluation import Discovery
from interpdisc_core.images import Pixels

Floats = npt.NDArray[np.float64]
Window = tuple[float, float, float, float]

INK, MUTED, LINE, ACCENT, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
"""Stand-ins that matplotlib draws with; the CSS variables of the page take their place."""
HUES = ("#060101", "#060102", "#060103", "#060104", "#060105")
"""The same for lines of several kinds: `--hue-1` to `--hue-5`."""
_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    PAPER: "var(--card)",
    **{stand_in: f"var(--hue-{number})" for number, stand_in in enumerate(HUES, 1)},
}
_HEAT = colormaps["magma"]
_COLD = np.array([38, 132, 255], dtype=np.float64)
_OPAQUE = 0.78
"""Opacity of the strongest cell."""
_SHADE, _MIDDLE = 0.72, 92
"""Under a map the picture is grey and darkened, so that all colour and most light are the map's; its middle grey."""
_SPREAD = np.array([0.0, -0.13, 0.1, -0.05, 0.14, -0.1, 0.05])
"""By how much the points of a strip are moved off its middle, in turn, so that equal ones show."""
_BOX = np.array([-0.22, -0.22, 0.22, 0.22, -0.22])


def score_curve(scores: Sequence[float], *, apart: bool, explained: int) -> Markup:
    """Scores by rank, as SVG. apart: the first was measured otherwise. explained: how many have cards of their own."""
    values = np.asarray(scores, dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    ranks = np.arange(1, len(values) + 1)
    with themed("score"):
        figure, axes = framed("pick", "novelty score |x − x̂|²", len(values))
        begin = 1 if apart else 0
        marker = {"marker": "o", "markersize": 3.2} if len(values) <= 120 else {}
        axes.plot(ranks[begin:], values[begin:], color=ACCENT, linewidth=1.6, **marker)  # type: ignore[arg-type]
        if apart:
            axes.plot(ranks[:1], values[:1], "o", markersize=4.5, markerfacecolor=PAPER, markeredgecolor=ACCENT)
        if explained < len(values):
            axes.axvline(explained + 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.set_ylim(bottom=0, top=_ceiling(values))
        said = f"Novelty score by pick, from {_number(values, 0)} at pick 1 to {_number(values, -1)} at pick {len(values)}."
        return svg(figure, "score", said)


def discovery_chart(found: Discovery) -> Markup:
    """Distinct classes among the first i picks: the run, an oracle, and what a random order is expected to find."""
    i = np.arange(1, found.t + 1)
    with themed("discovery"):
        figure, axes = framed("pick", f"classes found, of {found.classes}", found.t)
        axes.plot(i, found.oracle, color=MUTED, linewidth=1.1, linestyle=(0, (4, 2.5)), label="oracle")
        axes.plot(
            i[: len(found.curve)], found.curve, color=ACCENT, linewidth=2.2, label="this run", drawstyle="steps-post"
        )
        axes.plot(i, found.random, color=MUTED, linewidth=1.3, label="random, expected")
        axes.set_ylim(0, max(found.classes, 1) * 1.06)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend(loc="lower right", handlelength=2.2, borderaxespad=0.3)
        last = int(found.curve[-1]) if len(found.curve) else 0
        said = f"Discovery curve: {last} of {found.classes} classes among the first {len(found.curve)} picks."
        return svg(figure, "discovery", said)


def deletion_chart(deletion: Floats, *, name: str) -> Markup:
    """Novelty left by the share of cells that is painted over: the map's strongest first, and random ones.

    deletion (3, m) as in `interpdisc_core.runs.Explanation`. name: one of the page's identifiers, of this chart alone.
    """
    share, strongest, random = np.where(np.isfinite(deletion), deletion, np.nan)
    with themed(name):
        figure = Figure(figsize=(2.9, 1.45))
        figure.patch.set_alpha(0.0)
        axes = figure.add_axes((0.1, 0.23, 0.84, 0.71))
        axes.patch.set_alpha(0.0)
        axes.grid(axis="y")
        axes.plot(share, random, color=MUTED, linewidth=1.2, linestyle=(0, (3, 2)))
        axes.plot(share, strongest, color=ACCENT, linewidth=1.9, marker="o", markersize=2.6)
        both = np.concatenate([strongest, random, [0.0, 1.0]])
        axes.set_ylim(float(np.nanmin(both)) - 0.04, float(np.nanmax(both)) + 0.06)
        axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
        last = float(np.nanmax([*share, 0.0])) or 1.0
        axes.set_xlim(-0.03 * last, 1.03 * last)
        axes.set_xticks([0, last / 2, last], ["0", f"{50 * last:.3g} %", f"{100 * last:.3g} %"])
        said = (
            f"Novelty left when {100 * last:.3g} % of the cells are painted over: {_number(strongest, -1)} with the "
            f"map's strongest first, {_number(random, -1)} with random ones."
        )
        return svg(figure, name, said)


def faithfulness_chart(rows: Sequence[tuple[str, Floats]], *, controls: int, threshold: float | None) -> Markup:
    """One strip a row (title, its values over the picks), with a box from quartile to quartile and the median.

    The last `controls` rows are controls and grey. threshold: the broken line, of the badge.
    """
    finite = [values[np.isfinite(values)] for _, values in rows]
    every = np.concatenate([*finite, [0.0, 1.0], [] if threshold is None else [threshold]])
    medians = [f"{float(np.median(values)):.2f}".replace("-", "−") if values.size else "none" for values in finite]
    with themed("faithful"):
        figure = Figure(figsize=(4.9, 0.55 + 0.6 * len(rows)), layout="constrained")
        figure.patch.set_alpha(0.0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0.0)
        axes.grid(axis="x")
        axes.axvline(0, color=MUTED, linewidth=0.8)
        if threshold is not None:
            axes.axvline(threshold, color=ACCENT, linewidth=0.9, linestyle=(0, (3, 3)))
        left, right = float(every.min()) - 0.04, float(every.max()) + 0.03
        for row, values in enumerate(finite):
            colour = ACCENT if row < len(rows) - controls else MUTED
            for at, text, ink, side in (
                (left, rows[row][0], INK, "left"),
                (right, f"median {medians[row]}", MUTED, "right"),
            ):
                ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
                axes.text(at, row - 0.36, text, color=ink, va="baseline", ha=side, bbox=ground)
            if values.size:
                low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
                moved = row + _SPREAD[np.arange(values.size) % len(_SPREAD)]
                axes.plot(values, moved, "o", color=colour, markersize=2.4, alpha=0.45)
                axes.plot([low, high, high, low, low], row + _BOX, color=colour, linewidth=1.0)
                axes.plot([median, median], row + _BOX[1:3], color=colour, linewidth=2.4)
        axes.set_yticks([])
        axes.set_ylim(len(rows) - 0.62, -0.7)
        axes.set_xlim(left, right)
        axes.set_xlabel("cosine with x − x̂: 1 is perfect, 0 unrelated")
        told = ", ".join(f"{title} {median}" for (title, _), median in zip(rows, medians, strict=True))
        return svg(figure, "faithful", f"Cosines over the picks, medians: {told}.")


def style(ink: str, muted: str, line: str) -> dict[Any, Any]:
    """Matplotlib's settings for a chart of ours in these colours: of text, of what is beside it, of lines."""
    return {
        "svg.fonttype": "none",
        "font.family": ["DejaVu Sans"],  # ships with matplotlib, so the layout is the same everywhere
        "font.size": 9,
        "axes.edgecolor": line,
        "axes.labelcolor": muted,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.axisbelow": True,
        "grid.color": line,
        "grid.linewidth": 0.7,
        "text.color": ink,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "legend.labelcolor": ink,
        "path.simplify": True,
    }


@contextmanager
def drawing(settings: dict[Any, Any]) -> Iterator[None]:
    """Matplotlib's own defaults and these settings, whatever this machine's are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def themed(name: str) -> AbstractContextManager[None]:
    """A context to draw in, in colours that the page's take the place of; `name` salts the identifiers."""
    return drawing({**style(INK, MUTED, LINE), "svg.hashsalt": name})


def framed(across: str, up: str, last: int, *, high: float = 2.8) -> tuple[Figure, Axes]:
    """A figure of a report's width and `high` inches, and its axes over picks 1 to `last`. across, up: what they show."""
    figure = Figure(figsize=(4.9, high), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.grid(axis="y")
    axes.set_xlabel(across)
    axes.set_title(up, loc="left", fontsize=9, color=MUTED, pad=7)
    axes.set_xlim(1 - 0.02 * max(last, 2), max(last, 2) + 0.02 * max(last, 2))
    ticks = MaxNLocator(7, integer=True, min_n_ticks=1).tick_values(0, max(last, 2))
    axes.set_xticks([1, *(tick for tick in ticks if 1 < tick <= max(last, 2))])
    return figure, axes


def _ceiling(values: Floats) -> float:
    top = float(np.nanmax(values)) if values.size and np.isfinite(values).any() else 0.0
    return 1.06 * top if top > 0 else 1.0


def _number(values: Floats, index: int) -> str:
    return f"{values[index]:.4g}" if values.size else "nothing"


def svg(figure: Figure, name: str, said: str) -> Markup:
    """The figure as one <svg> element, themed by CSS, with a text for those who cannot see it.

    Made in the context `themed`. name: of the chart alone, as an identifier. The figure holds numbers and our own words
    only: names that others gave go beside it.
    """
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    text = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", opening) + ">" + rest
    text = text.replace("xlink:href", "href")
    text = _own_identifiers(text, name)
    for stand_in, css in _THEME.items():
        text = text.replace(stand_in, css)
    text = re.sub(r"font(-size|-family)?: [^;\"]*(; )?", "", text)  # the page's style sets it
    label = f' class="chart" role="img" aria-label="{escape(said)}" stroke-linejoin="round"'
    return Markup(text.replace("<svg", "<svg" + label, 1))  # numbers and our own words only


def _own_identifiers(text: str, name: str) -> str:
    """Drop identifiers that nothing refers to; begin the others with the chart's name."""
    used = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', text))
    text = re.sub(r'\sid="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)


def heat(where: Floats, largest: float) -> npt.NDArray[np.uint8]:
    """Colour and opacity (..., 4) uint8 of signed contributions, `largest` in size being the strongest.

    Positive: magma from violet to cream, stronger is lighter and more opaque. Negative: blue. Zero: transparent.
    """
    strength = np.clip(np.abs(where) / largest, 0.0, 1.0) if largest > 0 else np.zeros_like(where)
    warm = np.asarray(_HEAT(0.30 + 0.67 * strength))[..., :3] * 255.0
    colour = np.where((where < 0)[..., None], _COLD, warm)
    alpha = 255.0 * _OPAQUE * strength**0.8
    painted: npt.NDArray[np.uint8] = np.rint(np.concatenate([colour, alpha[..., None]], axis=-1)).astype(np.uint8)
    return painted


def overlay(picture: Pixels, where: Floats, window: Window) -> Pixels:
    """The picture (h, w, 3) in dark grey, with the signed map where (gy, gx) in colour over its window.

    window: left, top, right, bottom as fractions of the picture. The map is upsampled smoothly, without overshoot;
    outside the window the picture is dimmed. Returns (h, w, 3) uint8.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = _box(window, width, height)
    base = Image.fromarray(picture).convert("L").point([round(_SHADE * level) for level in range(256)]).convert("RGB")
    dimmed = Image.blend(base, Image.new("RGB", base.size, (_MIDDLE, _MIDDLE, _MIDDLE)), 0.5)
    smooth = Image.fromarray(where.astype(np.float32)).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(smooth, dtype=np.float64), where.min(), where.max())
    colours = Image.fromarray(heat(values, float(np.abs(where).max())))
    seen = Image.alpha_composite(base.crop((left, top, right, bottom)).convert("RGBA"), colours)
    dimmed.paste(seen.convert("RGB"), (left, top))
    return np.array(dimmed, dtype=np.uint8)


def crop(picture: Pixels, window: Window) -> Pixels:
    """The window's part of a picture (h, w, 3), at least one pixel each way."""
    left, top, right, bottom = _box(window, picture.shape[1], picture.shape[0])
    return picture[top:bottom, left:right]


def _box(window: Window, width: int, height: int) -> tuple[int, int, int, int]:
    """A window in whole pixels, inside the picture and at least one pixel each way."""
    left, right = (round(float(np.clip(at, 0, 1)) * width) for at in (window[0], window[2]))
    top, bottom = (round(float(np.clip(at, 0, 1)) * height) for at in (window[1], window[3]))
    left, top = min(left, width - 1), min(top, height - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def scale(low: float, high: float, *, stops: int = 13) -> str:
    """A CSS gradient of `heat` from `low` to `high`, over the overlay's middle grey."""
    values = np.linspace(low, high, stops)
    colours = heat(values, max(abs(low), abs(high))).astype(np.float64)
    over = colours[:, 3:] / 255.0
    shown = np.rint(colours[:, :3] * over + _MIDDLE * (1 - over)).astype(int)
    return f"linear-gradient(90deg, {', '.join(f'#{r:02x}{g:02x}{b:02x}' for r, g, b in shown)})"
