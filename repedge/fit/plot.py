"""The Pareto plot of a fit: an SVG, and a page around it in the report's own style. Both are files that load nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from train.artefact import write_text

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 68, 20, 16, 50
LOSS_FLOOR = 1e-6  # nats; a logarithm has no zero
STYLE_FILE = Path(__file__).resolve().parents[2] / "deploy" / "report" / "style.css"
# the report's palette, for the SVG that stands alone
COLOURS = """
svg { --ink: #18202b; --quiet: #566173; --line: #dde1e8; --one: #2563a6; --two: #c2762b; --three: #8a97a8; --good: #17734a; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e4e9f0; --quiet: #9aa6b6; --line: #2c3540; --one: #6aa6e8; --two: #e0a05c; --three: #66758a; --good: #56c596; }
}
"""
SHAPES = """
.fit text { fill: var(--quiet); font: 12px system-ui, sans-serif; }
.fit .name { fill: var(--ink); }
.fit .grid { stroke: var(--line); stroke-width: 1; }
.fit .front { fill: none; stroke: var(--one); stroke-width: 2; }
.fit .greedy { fill: none; stroke: var(--two); stroke-width: 1.5; stroke-dasharray: 5 4; }
.fit .uniform { fill: var(--three); }
.fit .cgmq { fill: var(--two); }
.fit .chosen { fill: var(--good); }
.fit .limit { stroke: var(--good); stroke-width: 1.5; stroke-dasharray: 2 3; }
"""
NAMES = {
    "front": "exact: no choice is below this line",
    "greedy": "greedy",
    "uniform": "one width",
    "cgmq": "CGMQ",
    "chosen": "chosen",
}


def write_plot(facts: Mapping[str, Any], folder: Path) -> None:
    """Write pareto.svg and pareto.html; equal facts give equal files."""
    picture = svg(facts)
    write_text(folder / "pareto.svg", picture.replace("<style>", f"<style>{COLOURS}", 1))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        facts=facts, style=Markup(STYLE_FILE.read_text()), picture=Markup(picture), names=NAMES
    )
    write_text(folder / "pareto.html", page)


def svg(facts: Mapping[str, Any]) -> str:
    """Encoded bytes against predicted loss on a logarithmic axis."""
    points = {name: list(found) for name, found in facts["points"].items() if found}
    everything = [point for found in points.values() for point in found]
    x, y = _Axis.bytes(everything), _Axis.loss(everything)
    parts = [*_grid(x, y), *_lines(points, x, y), *_dots(points, x, y), *_limit(facts, x), *_legend(points)]
    title = f"Weight bytes against predicted loss of {facts['net']}"
    return (
        f'<svg class="fit" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title><style>{SHAPES}</style>{"".join(parts)}</svg>\n'
    )


class _Axis:
    """A scale from values to pixels, with its ticks."""

    def __init__(self, low: float, high: float, start: float, stop: float, ticks: Sequence[tuple[float, str]]) -> None:
        self.low, self.high, self.start, self.stop, self.ticks = low, high, start, stop, ticks

    @classmethod
    def bytes(cls, points: Sequence[Mapping[str, Any]]) -> _Axis:
        """Bytes, linear, from zero."""
        high = max(point["weight_bytes"] for point in points) * 1.05
        rough = high / 6
        step = next(scale * 10**power for power in range(9) for scale in (1, 2, 5) if scale * 10**power >= rough)
        ticks = [(step * number, f"{step * number:,}") for number in range(int(high // step) + 1)]
        return cls(0.0, high, LEFT, WIDTH - RIGHT, ticks)

    @classmethod
    def loss(cls, points: Sequence[Mapping[str, Any]]) -> _Axis:
        """Nats, as powers of ten."""
        values = [max(point["loss"], LOSS_FLOOR) for point in points]
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
        ticks = [(float(power), f"{10.0**power:g}") for power in range(low, high + 1)]
        return cls(low, max(high, low + 1), HEIGHT - BOTTOM, TOP, ticks)

    def at(self, value: float) -> float:
        """Pixels."""
        return self.start + (self.stop - self.start) * (value - self.low) / (self.high - self.low)


def _place(point: Mapping[str, Any], x: _Axis, y: _Axis) -> tuple[float, float]:
    return x.at(point["weight_bytes"]), y.at(math.log10(max(point["loss"], LOSS_FLOOR)))


def _grid(x: _Axis, y: _Axis) -> Iterator[str]:
    for value, text in y.ticks:
        place = y.at(value)
        yield f'<path class="grid" d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 8}" y="{place + 4:.1f}" text-anchor="end">{text}</text>'
    for value, text in x.ticks:
        yield f'<text x="{x.at(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">weight bytes as encoded</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield (
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
        "predicted loss (KL to the float net, nats)</text>"
    )


def _lines(points: Mapping[str, Any], x: _Axis, y: _Axis) -> Iterator[str]:
    for name in ("front", "greedy"):
        places = sorted(_place(point, x, y) for point in points.get(name, ()))
        if places:
            path = "L".join(f"{left:.1f} {top:.1f}" for left, top in places)
            yield f'<path class="{name}" d="M{path}"/>'


def _dots(points: Mapping[str, Any], x: _Axis, y: _Axis) -> Iterator[str]:
    for name, radius in (("uniform", 4), ("cgmq", 5), ("chosen", 6)):
        for point in points.get(name, ()):
            left, top = _place(point, x, y)
            text = f"{point.get('label', NAMES[name])}: {point['weight_bytes']:,} B, {point['loss']:.4g} nats"
            yield f'<circle class="{name}" cx="{left:.1f}" cy="{top:.1f}" r="{radius}"><title>{escape(text)}</title></circle>'


def _limit(facts: Mapping[str, Any], x: _Axis) -> Iterator[str]:
    limit = facts["budget"].get("model", {}).get("weight_bytes")
    if limit is not None and limit <= x.high:
        yield f'<path class="limit" d="M{x.at(limit):.1f} {TOP}V{HEIGHT - BOTTOM}"><title>limit: {limit:,} B</title></path>'


def _legend(points: Mapping[str, Any]) -> Iterator[str]:
    left, top = WIDTH - RIGHT - 235, TOP + 14
    for number, name in enumerate(name for name in NAMES if name in points):
        middle = top + 18 * number
        if name in ("front", "greedy"):
            yield f'<path class="{name}" d="M{left} {middle - 4}h22"/>'
        else:
            yield f'<circle class="{name}" cx="{left + 11}" cy="{middle - 4}" r="5"/>'
        yield f'<text class="name" x="{left + 30}" y="{middle}">{NAMES[name]}</text>'
