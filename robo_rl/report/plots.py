"""Figures for reports, as SVG text.

Units on every axis, intervals on every curve, no screen needed.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from robo_rl.verdicts import LOOKS, Tone

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#999999",
)  # Okabe-Ito
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "svg.fonttype": "none",
    "svg.hashsalt": "robo_rl",
}


class Curve(NamedTuple):
    """A line with a band: x, middle, low and high, all [points], and what it is made of."""

    x: NDArray[np.float64]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    lines: NDArray[np.float64]  # [runs, points]


def curves(groups: Mapping[str, Curve], xlabel: str, ylabel: str, title: str) -> str:
    """Curves with bands and the runs they are made of; the axis spans the runs, not the bands."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for colour, (name, c) in zip(_cycle(groups), groups.items(), strict=True):
            axes.plot(c.x, c.lines.T, color=colour, lw=0.6, alpha=0.6)
            axes.plot(c.x, c.middle, color=colour, label=name, lw=1.8)
            axes.fill_between(c.x, c.low, c.high, color=colour, alpha=0.18, lw=0)
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title, ylim=_span(groups))
        if groups:
            axes.legend(frameon=False, fontsize=8)
        return _svg(figure)


def failure_rates(rows: Sequence[tuple[Any, ...]], title: str) -> str:
    """One line per criterion: (label, verdict, low, point, high, limit) of its failure rate."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.8 + 0.22 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for y, (_, verdict, low, point, high, limit) in enumerate(rows):
            colour = LOOKS[verdict].colour
            axes.plot([low, high], [y, y], color=colour, lw=1.6)
            axes.plot(point, y, LOOKS[verdict].marker, color=colour, ms=5)
            axes.plot([limit, limit], [y - 0.4, y + 0.4], color="#000000", lw=1.2)
        axes.set_yticks(
            range(len(rows)), [f"{label} · {verdict}" for label, verdict, *_ in rows], fontsize=7
        )
        axes.set(
            xlim=(-0.02, 1.02),
            xlabel="share of failing episodes (one-sided bounds; bar: most allowed)",
            title=title,
        )
        axes.invert_yaxis()
        return _svg(figure)


def response(axes_of: Sequence[tuple[str, str, NDArray[Any], NDArray[Any]]]) -> str:
    """One panel per axis of (name, unit, asked, given): given over asked, and where they agree."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(axes_of), 2.8), layout="constrained")
        for k, (name, unit, asked, given) in enumerate(axes_of):
            axes = figure.add_subplot(1, len(axes_of), k + 1)
            ends = [float(np.min(asked)), float(np.max(asked))]
            axes.plot(ends, ends, color="#777777", lw=0.8)
            axes.plot(asked, given, "o-", color=COLOURS[0], lw=1.5, ms=4)
            for at in asked[np.isnan(given)]:
                axes.axvline(at, color=COLOURS[1], lw=0.8, ls=":")
            axes.set(xlabel=f"asked, {unit}", ylabel=f"given, {unit}", title=name)
        return _svg(figure)


class Degradation(NamedTuple):
    """One injector's sweep: success and return by magnitude, with the two marks that matter."""

    name: str
    unit: str
    magnitudes: NDArray[np.float64]
    success: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    retention: NDArray[np.float64]
    floor: float
    measured: float | None
    breaking: tuple[float, float, float] | None  # low, point, high; None beyond the sweep
    verdict: str


def degradation(sweeps: Sequence[Degradation], columns: int = 3) -> str:
    """Small multiples: success rate with interval and retained return against magnitude."""
    rows = -(-len(sweeps) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * columns, 2.2 * rows), layout="constrained")
        for k, s in enumerate(sweeps):
            axes = figure.add_subplot(rows, columns, k + 1)
            axes.fill_between(s.magnitudes, s.low, s.high, color=COLOURS[0], alpha=0.2, lw=0)
            axes.plot(s.magnitudes, s.success, color=COLOURS[0], lw=1.5, label="success rate")
            axes.plot(
                s.magnitudes,
                np.clip(s.retention, 0, 1.2),
                color=COLOURS[1],
                lw=1.0,
                ls="--",
                label="return kept",
            )
            axes.axhline(s.floor, color="#999999", lw=0.8)
            if s.measured is not None:
                axes.axvline(s.measured, color="#000000", lw=1.0, ls=":", label="real magnitude")
            if s.breaking is not None:
                low, point, high = s.breaking
                ends = s.magnitudes[[0, -1]]
                axes.axvspan(*np.clip((low, high), *ends), color=Tone.BAD.value, alpha=0.2, lw=0)
                axes.axvline(point, color=Tone.BAD.value, lw=1.0, label="breaking point")
            axes.set(ylim=(-0.03, 1.23), xscale="log", xlabel=f"magnitude, {s.unit}")
            ticks = np.unique(np.geomspace(float(s.magnitudes[0]), float(s.magnitudes[-1]), 3))
            axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.plot(s.magnitudes, s.success, ".", color=COLOURS[0], ms=3)
            axes.set_title(f"{s.name} · {s.verdict}", fontsize=8, color=LOOKS[s.verdict].colour)
            if k == 0:
                axes.legend(fontsize=6, frameon=False)
        return _svg(figure)


def _span(groups: Mapping[str, Curve]) -> tuple[float, float] | None:
    """The range of all runs and a twentieth more; None leaves the choice to matplotlib."""
    values = np.concatenate([c.lines.ravel() for c in groups.values()] or [np.zeros(0)])
    seen = values[np.isfinite(values)]
    if not seen.size or np.ptp(seen) == 0.0:
        return None
    return float(seen.min() - np.ptp(seen) / 20), float(seen.max() + np.ptp(seen) / 20)


def _cycle(groups: Mapping[str, Curve]) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(groups))]


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    return stream.getvalue()
