"""Plots of the accuracy benchmark as SVG text: dots with intervals per factor, and lines over weight bits.

Written by hand so that the page needs no plotting library; the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LABELS, ROW, MARGIN = 720, 190, 22, 34
COLOURS = ("#1f5fa8", "#c2461f", "#2b8a3e", "#7b3fa0", "#a67c00", "#007c89", "#b0306a", "#555555")


@dataclass(frozen=True)
class Dot:
    """One row: a mean in percent and half of its 95 % interval, None with one seed."""

    label: str
    mean: float
    half: float | None = None


def dot_plot(title: str, dots: Sequence[Dot]) -> str:
    """Rows from top to bottom in the given order; the first one is the default and gets a guide line."""
    ends = [dot.mean + sign * (dot.half or 0) for dot in dots for sign in (-1, 1)]
    axis = Axis.around(min(ends), max(ends), start=LABELS, stop=WIDTH - MARGIN)
    height = 2 * MARGIN + ROW * len(dots)
    parts = [*_frame(title, height), *axis.drawn(MARGIN, height - MARGIN)]
    parts.append(_line(axis.at(dots[0].mean), MARGIN, axis.at(dots[0].mean), height - MARGIN, "#999", dash="3 3"))
    for number, dot in enumerate(dots):
        y = MARGIN + ROW * (number + 0.5)
        parts.append(_text(LABELS - 8, y + 4, dot.label, anchor="end"))
        if dot.half is not None:
            parts.append(_line(axis.at(dot.mean - dot.half), y, axis.at(dot.mean + dot.half), y, COLOURS[0]))
        parts.append(f'<circle cx="{axis.at(dot.mean):.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[0]}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def line_plot(title: str, curves: Mapping[str, Mapping[int, float]]) -> str:
    """Percent over weight bits (few bits on the right), one curve per name."""
    widths = sorted({bits for curve in curves.values() for bits in curve}, reverse=True)
    values = [value for curve in curves.values() for value in curve.values()]
    height = 2 * MARGIN + max(260, ROW * len(curves))
    axis = Axis.around(min(values), max(values), start=height - MARGIN, stop=MARGIN)
    step = (WIDTH - 2 * LABELS) / max(len(widths) - 1, 1)
    position = {bits: 60 + step * number for number, bits in enumerate(widths)}
    parts = _frame(title, height)
    for tick in axis.ticks:
        parts.append(_line(60, axis.at(tick), position[widths[-1]], axis.at(tick), "#ddd"))
        parts.append(_text(52, axis.at(tick) + 4, f"{tick:g}", anchor="end"))
    parts += [_text(x, height - MARGIN + 18, f"W{bits}", anchor="middle") for bits, x in position.items()]
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        dash = "" if number < len(COLOURS) else ' stroke-dasharray="5 3"'
        points = " ".join(f"{position[bits]:.1f},{axis.at(curve[bits]):.1f}" for bits in widths if bits in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        y = MARGIN + ROW * (number + 0.5)
        parts.append(f'<path d="M{WIDTH - 290} {y:.1f}h22" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(_text(WIDTH - 262, y + 4, name))
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class Axis:
    """Values low … high lie at pixels start … stop; ticks are whole steps."""

    low: float
    high: float
    step: float
    start: float
    stop: float

    @classmethod
    def around(cls, low: float, high: float, *, start: float, stop: float) -> Axis:
        """The axis whose ends are whole steps around [low, high].

        >>> Axis.around(81.2, 84.9, start=0, stop=100).ticks
        [81.0, 82.0, 83.0, 84.0, 85.0]
        """
        step = next(
            step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if (high - low) / step <= 6 or step == 20.0
        )
        bottom = math.floor(low / step + 1e-9) * step
        return cls(bottom, max(math.ceil(high / step - 1e-9) * step, bottom + step), step, start, stop)

    @property
    def ticks(self) -> list[float]:
        """Values of the ticks."""
        return [round(self.low + self.step * n, 6) for n in range(round((self.high - self.low) / self.step) + 1)]

    def at(self, value: float) -> float:
        """Pixels of a value."""
        return self.start + (self.stop - self.start) * (value - self.low) / (self.high - self.low)

    def drawn(self, top: float, bottom: float) -> list[str]:
        """A horizontal axis: a grid line and a number per tick."""
        lines = [_line(self.at(tick), top, self.at(tick), bottom, "#ddd") for tick in self.ticks]
        return lines + [_text(self.at(tick), bottom + 16, f"{tick:g}", anchor="middle") for tick in self.ticks]


def _frame(title: str, height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>',
        _text(12, 20, title, weight="bold"),
    ]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width="1.5"{dashed}/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="#222">{escape(text)}</text>'
    )
