"""Charts and heat overlays for a report: arrays in, markup or pixels out; the same input gives the same output.

A chart is inline SVG that takes its colors from the page's CSS variables (`--ink`, `--muted`, `--line`, `--accent`), so
it follows the page into dark mode and print. Its identifiers are unique on the page.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from interpdisc_core._types import FloatArray, PixelArray
from interpdisc_core.metrics.discovery import DiscoveryResult
from interpdisc_core.reporting.html import format_fixed

FractionBox = tuple[float, float, float, float]
"""left, top, right, bottom as fractions of a picture."""

INK, MUTED, LINE, ACCENT, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
"""Placeholder colors that Matplotlib draws with; they are replaced by the CSS variables of the page."""
LINE_COLORS = ("#060101", "#060102", "#060103", "#060104", "#060105")
"""Placeholder colors for lines of several kinds: `--hue-1` to `--hue-5`."""
_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    PAPER: "var(--card)",
    **{stand_in: f"var(--hue-{number})" for number, stand_in in enumerate(LINE_COLORS, 1)},
}
_POSITIVE_COLORMAP = colormaps["magma"]
_NEGATIVE_COLOR = np.array([38, 132, 255], dtype=np.float64)
_MAX_OPACITY = 0.78
"""Opacity of the strongest cell."""
_BRIGHTNESS, _MIDDLE_GRAY = 0.72, 92
"""Under a map the picture is gray and darkened, so that all color and most light are the map's; its middle gray."""
_JITTER = np.array([0.0, -0.13, 0.1, -0.05, 0.14, -0.1, 0.05])
"""How far the points of a strip are moved off its middle, in turn, so that equal values stay visible."""
_BOX_OUTLINE = np.array([-0.22, -0.22, 0.22, 0.22, -0.22])


def draw_score_curve(scores: Sequence[float], *, is_first_separate: bool, card_count: int) -> Markup:
    """Scores by rank, as SVG.

    Args:
        scores: Score of each pick.
        is_first_separate: Whether the first score cannot be compared with the others; it is drawn as a hollow point.
        card_count: How many picks have a card; a broken line follows them.
    """
    values = np.asarray(scores, dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    ranks = np.arange(1, len(values) + 1)
    with use_chart_theme("score"):
        figure, axes = create_chart_axes("pick", "novelty score |x − x̂|²", len(values))
        start = 1 if is_first_separate else 0
        marker = {"marker": "o", "markersize": 3.2} if len(values) <= 120 else {}
        axes.plot(ranks[start:], values[start:], color=ACCENT, linewidth=1.6, **marker)  # type: ignore[arg-type]
        if is_first_separate:
            axes.plot(ranks[:1], values[:1], "o", markersize=4.5, markerfacecolor=PAPER, markeredgecolor=ACCENT)
        if card_count < len(values):
            axes.axvline(card_count + 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.set_ylim(bottom=0, top=_y_limit(values))
        alt_text = f"Novelty score by pick, from {_format_at(values, 0)} at pick 1 to {_format_at(values, -1)} at pick {len(values)}."
        return figure_to_svg(figure, "score", alt_text)


def draw_discovery_chart(discovery: DiscoveryResult) -> Markup:
    """Distinct classes among the first i picks: of the run, of an oracle, and expected of a random order."""
    i = np.arange(1, discovery.t + 1)
    with use_chart_theme("discovery"):
        figure, axes = create_chart_axes("pick", f"classes found, of {discovery.classes}", discovery.t)
        axes.plot(i, discovery.oracle_curve, color=MUTED, linewidth=1.1, linestyle=(0, (4, 2.5)), label="oracle")
        axes.plot(
            i[: len(discovery.curve)],
            discovery.curve,
            color=ACCENT,
            linewidth=2.2,
            label="this run",
            drawstyle="steps-post",
        )
        axes.plot(i, discovery.random_curve, color=MUTED, linewidth=1.3, label="random, expected")
        axes.set_ylim(0, max(discovery.classes, 1) * 1.06)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend(loc="lower right", handlelength=2.2, borderaxespad=0.3)
        last = int(discovery.curve[-1]) if len(discovery.curve) else 0
        alt_text = (
            f"Discovery curve: {last} of {discovery.classes} classes among the first {len(discovery.curve)} picks."
        )
        return figure_to_svg(figure, "discovery", alt_text)


def draw_deletion_chart(deletion: FloatArray, *, name: str) -> Markup:
    """Novelty left over the share of cells painted over: the map's strongest first, and random ones.

    Args:
        deletion: (3, m) As in `interpdisc_core.archive.run.Explanation`.
        name: Identifier of the chart, unique on the page.
    """
    share, strongest, random = np.where(np.isfinite(deletion), deletion, np.nan)
    with use_chart_theme(name):
        figure, axes = _create_axes((2.9, 1.45), grid="y", position=(0.1, 0.23, 0.84, 0.71))
        axes.plot(share, random, color=MUTED, linewidth=1.2, linestyle=(0, (3, 2)))
        axes.plot(share, strongest, color=ACCENT, linewidth=1.9, marker="o", markersize=2.6)
        all_values = np.concatenate([strongest, random, [0.0, 1.0]])
        axes.set_ylim(float(np.nanmin(all_values)) - 0.04, float(np.nanmax(all_values)) + 0.06)
        axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
        last = float(np.nanmax([*share, 0.0])) or 1.0
        axes.set_xlim(-0.03 * last, 1.03 * last)
        axes.set_xticks([0, last / 2, last], ["0", f"{50 * last:.3g} %", f"{100 * last:.3g} %"])
        alt_text = (
            f"Novelty left when {100 * last:.3g} % of the cells are painted over: {_format_at(strongest, -1)} with the "
            f"map's strongest first, {_format_at(random, -1)} with random ones."
        )
        return figure_to_svg(figure, name, alt_text)


def draw_faithfulness_chart(
    rows: Sequence[tuple[str, FloatArray]], *, controls: int, threshold: float | None
) -> Markup:
    """One strip per row, with a box from the first to the third quartile and the median.

    Args:
        rows: (title, values over the picks).
        controls: The last rows, as many, are controls and drawn in gray.
        threshold: Drawn as a broken line.
    """
    finite = [values[np.isfinite(values)] for _, values in rows]
    all_values = np.concatenate([*finite, [0.0, 1.0], [] if threshold is None else [threshold]])
    medians = [format_fixed(float(np.median(values)), 2) if values.size else "none" for values in finite]
    with use_chart_theme("faithful"):
        figure, axes = _create_axes((4.9, 0.55 + 0.6 * len(rows)), grid="x")
        axes.axvline(0, color=MUTED, linewidth=0.8)
        if threshold is not None:
            axes.axvline(threshold, color=ACCENT, linewidth=0.9, linestyle=(0, (3, 3)))
        left, right = float(all_values.min()) - 0.04, float(all_values.max()) + 0.03
        for row, values in enumerate(finite):
            color = ACCENT if row < len(rows) - controls else MUTED
            for at, text, text_color, alignment in (
                (left, rows[row][0], INK, "left"),
                (right, f"median {medians[row]}", MUTED, "right"),
            ):
                text_box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
                axes.text(at, row - 0.36, text, color=text_color, va="baseline", ha=alignment, bbox=text_box)
            if values.size:
                low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
                offsets = row + _JITTER[np.arange(values.size) % len(_JITTER)]
                axes.plot(values, offsets, "o", color=color, markersize=2.4, alpha=0.45)
                axes.plot([low, high, high, low, low], row + _BOX_OUTLINE, color=color, linewidth=1.0)
                axes.plot([median, median], row + _BOX_OUTLINE[1:3], color=color, linewidth=2.4)
        axes.set_yticks([])
        axes.set_ylim(len(rows) - 0.62, -0.7)
        axes.set_xlim(left, right)
        axes.set_xlabel("cosine with x − x̂: 1 is perfect, 0 unrelated")
        medians_text = ", ".join(f"{title} {median}" for (title, _), median in zip(rows, medians, strict=True))
        return figure_to_svg(figure, "faithful", f"Cosines over the picks, medians: {medians_text}.")


def build_chart_style(ink: str, muted: str, line: str) -> dict[Any, Any]:
    """Matplotlib's settings for a chart, with the colors of its text, of axis labels, and of lines."""
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
def use_matplotlib_settings(settings: dict[Any, Any]) -> Iterator[None]:
    """A context with Matplotlib's defaults and these settings, whatever the machine's settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def use_chart_theme(name: str) -> AbstractContextManager[None]:
    """A context to draw in with the placeholder colors; `name` makes the identifiers unique."""
    return use_matplotlib_settings({**build_chart_style(INK, MUTED, LINE), "svg.hashsalt": name})


def create_chart_axes(x_label: str, y_label: str, last: int, *, height: float = 2.8) -> tuple[Figure, Axes]:
    """A figure of a report's width, and its axes over picks 1 to `last`.

    Args:
        x_label: What the x axis shows.
        y_label: What the y axis shows.
        last: The last pick.
        height: In inches.
    """
    figure, axes = _create_axes((4.9, height), grid="y")
    axes.set_xlabel(x_label)
    axes.set_title(y_label, loc="left", fontsize=9, color=MUTED, pad=7)
    axes.set_xlim(1 - 0.02 * max(last, 2), max(last, 2) + 0.02 * max(last, 2))
    ticks = MaxNLocator(7, integer=True, min_n_ticks=1).tick_values(0, max(last, 2))
    axes.set_xticks([1, *(tick for tick in ticks if 1 < tick <= max(last, 2))])
    return figure, axes


def _create_axes(
    size: tuple[float, float], grid: Literal["x", "y"], position: tuple[float, float, float, float] | None = None
) -> tuple[Figure, Axes]:
    """A transparent figure of a size in inches, with one pair of axes; by default they fill it."""
    figure = Figure(figsize=size, layout=None if position else "constrained")
    axes = figure.add_axes(position) if position else figure.add_subplot()
    figure.patch.set_alpha(0.0)
    axes.patch.set_alpha(0.0)
    axes.grid(axis=grid)
    return figure, axes


def _y_limit(values: FloatArray) -> float:
    top = float(np.nanmax(values)) if values.size and np.isfinite(values).any() else 0.0
    return 1.06 * top if top > 0 else 1.0


def _format_at(values: FloatArray, index: int) -> str:
    return f"{values[index]:.4g}" if values.size else "nothing"


def figure_to_svg(figure: Figure, name: str, alt_text: str) -> Markup:
    """The figure as one <svg> element, colored by the page's CSS.

    The figure must be drawn in the context `use_chart_theme`, and must not show names from data: these are not escaped.

    Args:
        figure: The figure.
        name: Identifier of the chart, unique on the page.
        alt_text: Text for readers who cannot see the chart.
    """
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    text = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", opening) + ">" + rest
    text = text.replace("xlink:href", "href")
    text = _prefix_identifiers(text, name)
    for stand_in, css in _THEME.items():
        text = text.replace(stand_in, css)
    text = re.sub(r"font(-size|-family)?: [^;\"]*(; )?", "", text)  # the page's style sets it
    label = f' class="chart" role="img" aria-label="{escape(alt_text)}" stroke-linejoin="round"'
    return Markup(text.replace("<svg", "<svg" + label, 1))  # numbers and our own words only


def _prefix_identifiers(text: str, name: str) -> str:
    """Remove identifiers that nothing refers to; put the chart's name before the others."""
    referenced_ids = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', text))
    text = re.sub(
        r'\sid="([^"]*)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in referenced_ids else "", text
    )
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)


def colorize_map(attribution_map: FloatArray, max_strength: float) -> npt.NDArray[np.uint8]:
    """Color and opacity (..., 4) uint8 of signed contributions, of which the strongest has the size `max_strength`.

    Positive: magma from violet to cream; stronger is lighter and more opaque. Negative: blue. Zero: transparent.
    """
    strength = (
        np.clip(np.abs(attribution_map) / max_strength, 0.0, 1.0)
        if max_strength > 0
        else np.zeros_like(attribution_map)
    )
    warm = np.asarray(_POSITIVE_COLORMAP(0.30 + 0.67 * strength))[..., :3] * 255.0
    color = np.where((attribution_map < 0)[..., None], _NEGATIVE_COLOR, warm)
    alpha = 255.0 * _MAX_OPACITY * strength**0.8
    rgba: npt.NDArray[np.uint8] = np.rint(np.concatenate([color, alpha[..., None]], axis=-1)).astype(np.uint8)
    return rgba


def overlay_map(picture: PixelArray, attribution_map: FloatArray, window: FractionBox) -> PixelArray:
    """The picture in dark gray, with the signed map in color over the part that the network reads.

    The map is upsampled smoothly, without overshoot; outside the window the picture is dimmed.

    Args:
        picture: (h, w, 3) uint8.
        attribution_map: (gy, gx).
        window: The part of the picture that the map covers.

    Returns:
        (h, w, 3) uint8.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = _window_pixels(window, width, height)
    base = (
        Image.fromarray(picture).convert("L").point([round(_BRIGHTNESS * level) for level in range(256)]).convert("RGB")
    )
    dimmed = Image.blend(base, Image.new("RGB", base.size, (_MIDDLE_GRAY, _MIDDLE_GRAY, _MIDDLE_GRAY)), 0.5)
    smooth = Image.fromarray(attribution_map.astype(np.float32)).resize(
        (right - left, bottom - top), Image.Resampling.BICUBIC
    )
    values = np.clip(np.asarray(smooth, dtype=np.float64), attribution_map.min(), attribution_map.max())
    colors = Image.fromarray(colorize_map(values, float(np.abs(attribution_map).max())))
    composite = Image.alpha_composite(base.crop((left, top, right, bottom)).convert("RGBA"), colors)
    dimmed.paste(composite.convert("RGB"), (left, top))
    return np.array(dimmed, dtype=np.uint8)


def crop_window(picture: PixelArray, window: FractionBox) -> PixelArray:
    """The window's part of a picture (h, w, 3), at least one pixel each way."""
    left, top, right, bottom = _window_pixels(window, picture.shape[1], picture.shape[0])
    return picture[top:bottom, left:right]


def window_to_css(window: FractionBox) -> str:
    """The position of a window as CSS, within the picture."""
    left, top, right, bottom = (min(max(float(at), 0.0), 1.0) * 100 for at in window)
    return f"left:{left:.3f}%;top:{top:.3f}%;width:{max(right - left, 0):.3f}%;height:{max(bottom - top, 0):.3f}%"


def _window_pixels(window: FractionBox, width: int, height: int) -> tuple[int, int, int, int]:
    """A window in whole pixels, inside the picture, at least one pixel wide and high."""
    left, right = (round(float(np.clip(at, 0, 1)) * width) for at in (window[0], window[2]))
    top, bottom = (round(float(np.clip(at, 0, 1)) * height) for at in (window[1], window[3]))
    left, top = min(left, width - 1), min(top, height - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def build_legend_gradient(low: float, high: float, *, stops: int = 13) -> str:
    """A CSS gradient of `colorize_map` from `low` to `high`, over the overlay's middle gray."""
    values = np.linspace(low, high, stops)
    colors = colorize_map(values, max(abs(low), abs(high))).astype(np.float64)
    opacity = colors[:, 3:] / 255.0
    blended = np.rint(colors[:, :3] * opacity + _MIDDLE_GRAY * (1 - opacity)).astype(int)
    return f"linear-gradient(90deg, {', '.join(f'#{r:02x}{g:02x}{b:02x}' for r, g, b in blended)})"
