"""A drawing as SVG, readable on light and dark pages, without any other program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from streams.flow.drawing import Box, Drawing
from streams.flow.layout import layout

# Pixels. A character of the monospaced font at 12 px is 7.2 wide (0.6 em) in every common one.
_CHARACTER: Final = 7.2
_LINE: Final = 17
_PADDING: Final = 14
_MARGIN: Final = 24
_LAYER_GAP: Final = 46
_TITLE: Final = 30

_STYLE: Final = """
text { font: 12px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #57606a }
.page { fill: #ffffff }
.title { font-weight: 700; fill: #1f2328 }
.box { fill: #f6f8fa; stroke: #8c959f; stroke-width: 1.2 }
.model { fill: #f3ecff; stroke: #8250df }
.fork { fill: #e7f3ff; stroke: #0969da }
.end { fill: #e9f7ec; stroke: #1a7f37 }
.arrow { fill: none; stroke: #6e7781; stroke-width: 1.4 }
.stream { stroke-width: 3.4 }
.tip { fill: #6e7781 }
.label { font-size: 11px }
.halo { stroke: #ffffff; stroke-width: 4; stroke-linejoin: round; paint-order: stroke }
@media (prefers-color-scheme: dark) {
  text { fill: #9da7b3 } .page { fill: #0d1117 } .title { fill: #f0f6fc }
  .box { fill: #161b22; stroke: #6e7681 } .model { fill: #231a3a; stroke: #ab7df8 }
  .fork { fill: #0f2338; stroke: #4493f8 } .end { fill: #10261a; stroke: #3fb950 }
  .arrow { stroke: #8b949e } .tip { fill: #8b949e } .halo { stroke: #0d1117 }
}
"""


def to_svg(drawn: Drawing) -> str:
    """A complete SVG document, from the request at the top to the answer."""
    sizes = {box.name: _size(box) for box in drawn.boxes}
    widths = {name: width for name, (width, _) in sizes.items()}
    placed = layout(widths, [(a.source, a.target) for a in drawn.arrows])
    heights = [0.0] * (1 + max(placed.layer.values()))
    for name, level in placed.layer.items():
        heights[level] = max(heights[level], sizes[name][1])
    tops = [_MARGIN + _TITLE + sum(heights[:i]) + _LAYER_GAP * i for i in range(len(heights))]
    width = round(max(placed.width, len(drawn.title) * _CHARACTER) + 2 * _MARGIN)
    height = round(tops[-1] + heights[-1] + _MARGIN)

    def box_top(name: str) -> float:
        level = placed.layer[name]
        return tops[level] + (heights[level] - sizes[name][1]) / 2

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(drawn.title)}: the flow from request to answer">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
        f'<rect class="page" width="{width}" height="{height}" rx="6"/>',
        f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 8}">{escape(drawn.title)}</text>',
    ]
    labels = []
    for arrow in drawn.arrows:
        way = [(placed.centre[arrow.source] + _MARGIN, box_top(arrow.source) + sizes[arrow.source][1])]
        for level, x in placed.bends[(arrow.source, arrow.target)]:
            way += [(x + _MARGIN, tops[level]), (x + _MARGIN, tops[level] + heights[level])]
        way.append((placed.centre[arrow.target] + _MARGIN, box_top(arrow.target)))
        kind = "arrow stream" if arrow.is_stream else "arrow"
        parts.append(f'<path class="{kind}" d="{_curve(way)}" marker-end="url(#tip)"/>')
        if arrow.label:
            (x1, y1), (x2, y2) = way[-2:]
            labels.append(
                f'<text class="label halo" text-anchor="middle" x="{(x1 + x2) / 2:.0f}" '
                f'y="{(y1 + y2) / 2 + 3:.0f}">{arrow.label}</text>'
            )
    for box in drawn.boxes:
        parts.append(_draw_box(box, placed.centre[box.name] + _MARGIN, box_top(box.name), sizes[box.name]))
    return "\n".join((*parts, *labels, "</svg>")) + "\n"


def _size(box: Box) -> tuple[float, float]:
    longest = max(len(line) for line in (box.title, *box.lines))
    return longest * _CHARACTER + 2 * _PADDING, (1 + len(box.lines)) * _LINE + 2 * _PADDING - 6


def _draw_box(box: Box, centre: float, top: float, size: tuple[float, float]) -> str:
    width, height = size
    radius = height / 2 if box.shape == "end" else 6
    lines = [
        f'<text class="{"title" if number == 0 else "line"}" text-anchor="middle" x="{centre:.1f}" '
        f'y="{top + _PADDING + 9 + number * _LINE:.1f}">{escape(line)}</text>'
        for number, line in enumerate((box.title, *box.lines))
    ]
    outline = (
        f'<rect class="box {box.shape.value}" x="{centre - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="{radius:.0f}"/>'
    )
    return "\n".join(("<g>", outline, *lines, "</g>"))


def _curve(way: Sequence[tuple[float, float]]) -> str:
    """Through all points, leaving and arriving downwards."""
    x, y = way[0]
    path = [f"M{x:.1f} {y:.1f}"]
    for next_x, next_y in way[1:]:
        half = (y + next_y) / 2
        path.append(f"C{x:.1f} {half:.1f} {next_x:.1f} {half:.1f} {next_x:.1f} {next_y:.1f}")
        x, y = next_x, next_y
    return " ".join(path)
