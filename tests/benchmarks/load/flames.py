"""A flame graph as SVG: a row for each depth of the stack, as wide as it was seen often; the callee is below. Pure."""

import zlib
from collections.abc import Iterator
from html import escape
from typing import Final, NamedTuple

from tests.benchmarks.load.stacks import Node, Stacks, is_ours, merged, package_of

_WIDTH: Final = 1600
_ROW: Final = 17
_TOP: Final = 30
_DEPTH: Final = 90
_NARROWEST: Final = 0.6
"""Pixels: what is narrower cannot be seen, and is left out."""
_LETTER: Final = 6.6
_STYLE: Final = """
text { font: 11px ui-monospace, monospace; fill: #1f2328; pointer-events: none }
.head { font-size: 13px; fill: #24292f }
.page { fill: #ffffff } rect:hover { stroke: #24292f }
@media (prefers-color-scheme: dark) { .head { fill: #e6edf3 } .page { fill: #0d1117 } rect:hover { stroke: #ffffff } }
"""


class _Box(NamedTuple):
    frame: str
    x: float
    width: float
    depth: int
    samples: int


def flame_graph(stacks: Stacks, title: str) -> str:
    """Return the graph. Our own frames are orange, each library has a colour of its own; a tooltip tells the rest."""
    root = merged(stacks, _DEPTH)
    boxes = list(_boxes(root, 0.0, _WIDTH / max(1, root.samples), 0))
    height = _TOP + _ROW * (1 + max((box.depth for box in boxes), default=0)) + 6
    parts = [_drawn(box, root.samples) for box in boxes]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img">'
    page = f'<rect class="page" width="{_WIDTH}" height="{height}"/>'
    heading = f'<text class="head" x="8" y="19">{escape(title)}</text>'
    return "\n".join([head, f"<style>{_STYLE}</style>", page, heading, *parts, "</svg>", ""])


def _boxes(node: Node, x: float, scale: float, depth: int) -> Iterator[_Box]:
    yield _Box(node.frame, x, node.samples * scale, depth, node.samples)
    for child in sorted(node.children.values(), key=lambda each: each.frame):
        if child.samples * scale >= _NARROWEST:
            yield from _boxes(child, x, scale, depth + 1)
        x += child.samples * scale


def _drawn(box: _Box, samples: int) -> str:
    y = _TOP + box.depth * _ROW
    told = escape(f"{box.frame}: {box.samples} samples, {100 * box.samples / max(1, samples):.1f} %")
    letters = int((box.width - 4) / _LETTER)
    text = escape(box.frame[:letters]) if letters > 2 else ""
    return (
        f'<g><title>{told}</title><rect x="{box.x:.1f}" y="{y}" width="{box.width:.1f}" height="{_ROW - 1}" '
        f'fill="{colour_of(box.frame)}" rx="1"/><text x="{box.x + 2:.1f}" y="{y + 12}">{text}</text></g>'
    )


def colour_of(frame: str) -> str:
    """Return an orange for our own code; for a library a colour that follows from its name."""
    if is_ours(frame):
        return "#f6a04d"
    hue = zlib.crc32(package_of(frame).encode()) % 220 + 90
    return f"hsl({hue} 45% 75%)"
