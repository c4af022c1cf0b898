"""From what the brokers say to rows: which pipelines there are, their stages in order, lags and rates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Final

from console.top.cluster import Group, Place, Probed, Seen
from console.top.snapshot import LaneRow, StageRow
from streams.runtime.topics import group_of, prompts_topic
from workers.access import workers_group

NO_GROUP: Final = Group(0, frozenset(), {})

NOT_STAGES: Final = frozenset({"requests", "accepted", "control", "answers", "dead-letters"})

ROUTE: Final = "route"

Probes = Mapping[tuple[str, int, int], Probed]


def pipelines_in(topics: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Pipeline → its stages. A pipeline is what has `requests`, `accepted` and `control`."""
    names = set(topics)
    found = {}
    for topic in sorted(names):
        pipeline, _, last = topic.rpartition(".")
        if last == "accepted" and {f"{pipeline}.requests", f"{pipeline}.control"} <= names:
            stages = (name.removeprefix(f"{pipeline}.") for name in names if name.startswith(f"{pipeline}."))
            found[pipeline] = tuple(sorted(s for s in stages if s not in NOT_STAGES and "." not in s))
    return found


def models_in(topics: Iterable[str]) -> tuple[str, ...]:
    ours = [t for t in topics if t.startswith("models.") and t.endswith(".prompts")]
    return tuple(sorted(t.removeprefix("models.").removesuffix(".prompts") for t in ours))


def in_flow_order(pipeline: str, stages: Iterable[str], groups: Mapping[str, Group]) -> list[str]:
    """Stages after those whose topics they have committed offsets of; by name where nothing is known."""
    names = sorted(stages)
    reads = {
        name: {t.removeprefix(f"{pipeline}.") for t, _ in groups.get(group_of(pipeline, name), NO_GROUP).committed}
        for name in names
    }
    try:
        return list(TopologicalSorter({name: sorted(reads[name] & set(names)) for name in names}).static_order())
    except CycleError:
        return names  # a topic of an older flow may still have offsets


def places_of(group: Group, topics: Iterable[str], seen: Seen) -> list[Place]:
    """Partitions that the group reads: those it has committed or owns, and all of the topics named."""
    known = {at for at in (*group.committed, *group.owned) if at in seen.ends}
    known.update((topic, number) for topic in topics for number in range(seen.topics.get(topic, 0)))
    return sorted(known)


def lag_of(group: Group, places: Iterable[Place], ends: Mapping[Place, int]) -> int:
    return sum(max(0, ends.get(at, 0) - group.committed.get(at, 0)) for at in places)


def behind(group: Group, places: Iterable[Place], ends: Mapping[Place, int]) -> list[tuple[str, int, int]]:
    """Where the first record above each committed offset is."""
    return [
        (*at, group.committed[at]) for at in places if at in group.committed and ends.get(at, 0) > group.committed[at]
    ]


def per_second(topics: Iterable[str], now: Seen, before: Seen | None) -> float:
    """Records that came on these topics, a second."""
    if before is None or now.at <= before.at:
        return 0.0
    wanted = set(topics)
    came = sum(end - before.ends.get(at, end) for at, end in now.ends.items() if at[0] in wanted)
    return round(came / (now.at - before.at), 1)


def stage_row(
    name: str,
    group_name: str,
    inputs: Iterable[str],
    output: str,
    now: Seen,
    before: Seen | None,
    probes: Probes,
    clock: float,
) -> StageRow:
    """`clock`: seconds since 1970."""
    group = now.groups.get(group_name, NO_GROUP)
    places = places_of(group, inputs, now)
    first = min((probes[p] for p in behind(group, places, now.ends) if p in probes), default=None)
    return StageRow(
        name=name,
        group=group_name,
        members=group.members,
        partitions=len(places),
        unowned=sum(at not in group.owned for at in places),
        lag=lag_of(group, places, now.ends),
        oldest_seconds=None if first is None else round(max(0.0, clock - first.appended), 1),
        oldest_request=None if first is None else first.headers.get("id"),
        read_per_second=per_second({topic for topic, _ in places}, now, before),
        written_per_second=per_second([output], now, before),
    )


def lane_rows(model: str, owners: Mapping[int, str], now: Seen, probes: Probes) -> tuple[LaneRow, ...]:
    topic, group = prompts_topic(model), now.groups.get(workers_group(model), NO_GROUP)
    rows = []
    for lane in range(now.topics.get(topic, 0)):
        end = now.ends.get((topic, lane), 0)
        newest = probes.get((topic, lane, end - 1))
        rows.append(
            LaneRow(
                lane=lane,
                worker=owners.get(lane),
                lag=lag_of(group, [(topic, lane)], now.ends),
                last_route=None if newest is None else newest.headers.get(ROUTE),
            )
        )
    return tuple(rows)
