"""The progress of a training as a chart."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from interpdisc_core.reporting import charts
from interpdisc_core.training.history import EpochRecord

_INK, _MUTED, _LINE, _ACCENT = "#1d1f23", "#6a6e76", "#dcdee2", "#b3261e"


def draw_loss_chart(history: Sequence[EpochRecord]) -> bytes:
    """Training loss, validation score and PSNR by epoch, as a PNG file. history: at least one epoch."""
    numbers = [epoch.number for epoch in history]
    best = min(history, key=lambda epoch: epoch.score)
    with charts.use_matplotlib_settings(charts.build_chart_style(_INK, _MUTED, _LINE)):
        figure = Figure(figsize=(8.4, 3.0), layout="constrained", dpi=100)
        left = _add_axes(figure, 1, "training loss and validation score: lower is better")
        right = _add_axes(figure, 2, "validation PSNR, dB: higher is better")
        dots: dict[str, Any] = {"marker": "o" if len(history) <= 60 else "", "markersize": 2.5}
        left.plot(numbers, [epoch.loss for epoch in history], color=_MUTED, linewidth=1.2, label="training", **dots)
        left.plot(numbers, [epoch.score for epoch in history], color=_ACCENT, linewidth=1.8, label="validation", **dots)
        left.plot([best.number], [best.score], "o", markersize=8, markerfacecolor="none", markeredgecolor=_ACCENT)
        left.set_ylim(bottom=0)
        left.legend(loc="upper right")
        right.plot(numbers, [epoch.psnr for epoch in history], color=_ACCENT, linewidth=1.8, **dots)
        sink = io.BytesIO()
        figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()


def _add_axes(figure: Figure, column: int, title: str) -> Axes:
    axes = figure.add_subplot(1, 2, column)
    axes.grid(axis="y")
    axes.set_xlabel("epoch")
    axes.set_title(title, loc="left", fontsize=9, color=_MUTED, pad=7)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    return axes
