"""How deep the key of each topic is: as deep as all who read it allow (DESIGN §4).

A stage needs all inputs of one group at one instance, so all topics that it reads are partitioned alike.
Topics that meet in one stage therefore form a component with one key depth, the shallowest at which one of
its readers groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reader:
    sources: tuple[str, ...]
    grouping_depth: int
    """Path length of what must come together: the node, or the shallowest plain input, which is broadcast
    below it."""


def key_depths(readers: Iterable[Reader]) -> Mapping[str, int]:
    """The key depth of every source that somebody reads."""
    component: dict[str, set[str]] = {}
    depth: dict[str, int] = {}
    for reader in readers:
        joined = set(reader.sources).union(*(component.get(source, ()) for source in reader.sources))
        shallowest = min(reader.grouping_depth, *(depth.get(source, reader.grouping_depth) for source in joined))
        for source in joined:
            component[source] = joined
            depth[source] = shallowest
    return depth
