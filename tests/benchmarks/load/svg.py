"""Plots as SVG, by hand: a few rectangles, lines and words, readable on a light page and on a dark one. Pure."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final

import msgspec

from tests.benchmarks.load.figures import shown

_COLOURS: Final = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#999999")
"""Okabe and Ito's: told apart by people who see fewer colours, too."""
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-size: 14px; font-weight: 600 }
.page { fill: #ffffff } .grid { stroke: #d0d7de; stroke-width: 1 }
.end { text-anchor: end } .middle { text-anchor: middle }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .page { fill: #0d1117 } .grid { stroke: #30363d } }
"""
_WIDTH: Final = 760
_LEFT: Final = 150
_RIGHT: Final = 90
_BAR: Final = 16
_GAP: Final = 14
_TOP: Final = 44
_PLOT_HEIGHT: Final = 260


class Series(msgspec.Struct, frozen=True):
    """One line of a plot: its name and a value at each place; nan where there is none."""

    name: str
    values: Sequence[float]


def bars(title: str, groups: Mapping[str, Mapping[str, float]], unit: str, known: Sequence[str] = ()) -> str:
    """Return horizontal bars: a group for each question, in it a bar for each server, with its value behind it.

    Args:
        title: What stands above.
        groups: The values by group and name.
        unit: What stands behind each value.
        known: Names that have colours of their own, so that they are the same in every plot.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    largest = max((value for group in groups.values() for value in group.values() if value > 0), default=1.0)
    y = _TOP
    parts = []
    for label, group in groups.items():
        parts.append(_text(_LEFT - 8, y + _BAR * len(group) / 2 + 4, label, "end"))
        for name, value in group.items():
            width = 0.0 if math.isnan(value) else (_WIDTH - _LEFT - _RIGHT) * value / largest
            colour = _colour(name, known or names)
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>')
            parts.append(_text(_LEFT + width + 5, y + _BAR - 5, f"{shown(value)} {unit}"))
            y += _BAR
        y += _GAP
    return _page(title, y + 30, [*parts, *_legend(names, y + 10, known)])


def lines(title: str, places: Sequence[str], series: Sequence[Series], unit: str, known: Sequence[str] = ()) -> str:
    """Return lines over evenly spaced places, with a logarithmic scale: ten times is as far everywhere."""
    names = [each.name for each in series]
    values = [value for each in series for value in each.values if value > 0]
    low = math.floor(math.log10(min(values))) if values else 0
    high = max(low + 1, math.ceil(math.log10(max(values)))) if values else 1

    def x(place: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (place / max(1, len(places) - 1))

    def y(value: float) -> float:
        return _TOP + _PLOT_HEIGHT * (high - math.log10(value)) / (high - low)

    parts = []
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{_WIDTH - _RIGHT}" y2="{at:.1f}"/>')
        parts.append(_text(_LEFT - 8, at + 4, f"{10.0**power:,g} {unit}", "end"))
    for place, label in enumerate(places):
        parts.append(_text(x(place), _TOP + _PLOT_HEIGHT + 20, label, "middle"))
    for each in series:
        points = [(x(place), y(value)) for place, value in enumerate(each.values) if value > 0]
        parts += _line(points, _colour(each.name, known or names))
    bottom = _TOP + _PLOT_HEIGHT + 44
    return _page(title, bottom + 20, [*parts, *_legend(names, bottom, known)])


def _line(points: Sequence[tuple[float, float]], colour: str) -> list[str]:
    return [
        *(
            f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" stroke="{colour}" stroke-width="2"/>'
            for (a, b), (c, d) in pairwise(points)
        ),
        *(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in points),
    ]


def _colour(name: str, known: Sequence[str]) -> str:
    return _COLOURS[(known.index(name) if name in known else -1) % len(_COLOURS)]


def _legend(names: Sequence[str], y: float, known: Sequence[str]) -> list[str]:
    step = (_WIDTH - 20) / max(1, len(names))
    parts = []
    for number, name in enumerate(names):
        x, colour = 10 + step * number, _colour(name, known or names)
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, y + 9, name))
    return parts


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(text)}</text>'


def _page(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" role="img">'
    page = f'<rect class="page" width="{_WIDTH}" height="{height:.0f}" rx="6"/>'
    body = "\n".join(
        [f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", page, _text(16, 24, title, "title"), *parts]
    )
    return f"{head}\n{body}\n</svg>\n"
