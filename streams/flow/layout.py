"""Where the boxes of a drawing go: layers from top to bottom, few crossings, straight arrows where they fit.

The usual layered layout: a box is one layer below the lowest that it reads; an arrow over several layers gets
a bend in each, which keeps its place free of boxes; layers are ordered by the mean place of their neighbours,
and then pulled towards it. All sizes are in pixels. Nothing is random: the same plan gives the same picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

# More rounds than this changed none of the plans in the tests; each is linear in boxes and bends.
_ROUNDS: Final = 8
_GAP: Final = 36.0
_BEND_WIDTH: Final = 12.0

_Spot = tuple[str, ...]  # (box,) or, for a bend, (source, target, layer)


@dataclass(frozen=True, slots=True)
class Layout:
    centre: Mapping[str, float]
    """x of a box's middle, from 0."""
    layer: Mapping[str, int]
    bends: Mapping[tuple[str, str], tuple[tuple[int, float], ...]]
    """Of an arrow: (layer, x) between its ends."""
    width: float


def layout(boxes: Mapping[str, float], arrows: Iterable[tuple[str, str]]) -> Layout:
    """`boxes`: name → width, in topological order. `arrows`: (source, target), without loops."""
    edges = tuple(dict.fromkeys(arrows))
    layer: dict[str, int] = dict.fromkeys(boxes, 0)
    for name in boxes:
        layer[name] = max((layer[a] + 1 for a, b in edges if b == name), default=0)
    layers: list[list[_Spot]] = [[] for _ in range(1 + max(layer.values(), default=0))]
    above: dict[_Spot, list[_Spot]] = defaultdict(list)
    below: dict[_Spot, list[_Spot]] = defaultdict(list)
    for name in boxes:
        layers[layer[name]].append((name,))
    for source, target in edges:
        bends = [(source, target, str(level)) for level in range(layer[source] + 1, layer[target])]
        for bend in bends:
            layers[int(bend[2])].append(bend)
        way: list[_Spot] = [(source,), *bends, (target,)]
        for upper, lower in pairwise(way):
            below[upper].append(lower)
            above[lower].append(upper)
    widths = {spot: boxes[spot[0]] if len(spot) == 1 else _BEND_WIDTH for spots in layers for spot in spots}
    x: dict[_Spot, float] = {}
    for spots in layers:
        _spread(spots, widths, x, dict.fromkeys(spots, 0.0))
    for _ in range(_ROUNDS):
        for neighbours, order in ((above, layers), (below, layers[::-1])):
            for spots in order:
                wanted = {spot: _mean([x[n] for n in neighbours[spot]], x[spot]) for spot in spots}
                spots.sort(key=lambda spot: wanted[spot])
                _spread(spots, widths, x, wanted)
    left = min((x[s] - widths[s] / 2 for s in x), default=0.0)
    right = max((x[s] + widths[s] / 2 for s in x), default=0.0)
    return Layout(
        centre={name: x[(name,)] - left for name in boxes},
        layer=layer,
        bends={(a, b): tuple((i, x[(a, b, str(i))] - left) for i in range(layer[a] + 1, layer[b])) for a, b in edges},
        width=right - left,
    )


def _spread(
    spots: Sequence[_Spot], widths: Mapping[_Spot, float], x: dict[_Spot, float], wanted: Mapping[_Spot, float]
) -> None:
    """Place one layer in its order, without overlaps, as near to where each spot wants to be as shifting "
    "allows."""
    edge = float("-inf")
    for spot in spots:
        x[spot] = max(wanted[spot], edge + _GAP + widths[spot] / 2)
        edge = x[spot] + widths[spot] / 2
    if spots:
        shift = _mean([wanted[spot] - x[spot] for spot in spots], 0.0)
        for spot in spots:
            x[spot] += shift


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
