"""Random flows are accepted or refused, and planned, as enumerating all ways through them says.

The checks share no code with `streams.flow`: they list every way from a stage to another and apply the definitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from streams.core.plan import REQUEST, InputMode, Plan, StageKind
from streams.flow.drawing import drawing, to_mermaid, to_text
from streams.flow.errors import RefusedFlowError
from streams.flow.svg import to_svg
from tests.unit.flow.strategies import Spec, build, flows

Way = tuple[str, ...]
Flow = Mapping[str, Spec]
F = ("fork",)


def stage(name: str, ancestry: tuple[str, ...], *inputs: str, kind: StageKind = StageKind.MAP) -> Spec:
    """`inputs`: names of sources; with a star in front, as a Stream."""
    modes = (InputMode.STREAM if source.startswith("*") else InputMode.ITEM for source in inputs)
    return Spec(name, kind, tuple(zip((i.lstrip("*") for i in inputs), modes, strict=True)), ancestry)


DIAMOND = [
    stage("fork", (), REQUEST, kind=StageKind.FORK),
    stage("triple", F, "fork"),
    stage("left", F, "triple"),
    stage("right", F, "triple"),
    stage("lefts", (), "*left"),
    stage("rights", (), "*right"),
    stage("polished", (), "rights"),
    stage("last", (), "lefts", "polished"),
]
# `share` is built on its own `score`, and through `total` on those of all its siblings.
SIBLINGS = [
    stage("fork", (), REQUEST, kind=StageKind.FORK),
    stage("score", F, "fork"),
    stage("total", (), "*score"),
    stage("share", F, "score", "total"),
    stage("other", (), "*score"),
    stage("both", F, "share", "other"),
    stage("last", (), "*both"),
]
# `meets` reads only from the fork's level, but one of the two was built on all scores.
REBROADCAST = [
    stage("fork", (), REQUEST, kind=StageKind.FORK),
    stage("score", F, "fork"),
    stage("total", (), "*score"),
    stage("marked", F, "fork", "total"),
    stage("rounded", F, "score"),
    stage("meets", F, "rounded", "marked"),
    stage("last", (), "*meets"),
]


def test_a_diamond_below_a_join() -> None:
    plan = build(DIAMOND).plan
    carried = {s.name: s.digests for s in plan.stages if s.digests}
    assert carried == {"lefts": ("triple",), "rights": ("triple",), "polished": ("triple",)}


@pytest.mark.parametrize(
    ("specs", "meeting", "summary"), [(SIBLINGS, "share", "total"), (REBROADCAST, "meets", "total")]
)
def test_a_summary_does_not_meet_its_parts_again(specs: list[Spec], meeting: str, summary: str) -> None:
    with pytest.raises(RefusedFlowError, match=summary) as refused:
        build(specs)
    assert (refused.value.code, refused.value.stage) == ("flow.handed-back", meeting)
    assert "one per request > fork" in str(refused.value)


def test_what_both_inputs_name_needs_no_digest() -> None:
    after_a_join = [*DIAMOND[:5], stage("a", (), "lefts"), stage("b", (), "lefts"), stage("last", (), "a", "b")]
    used = [s for s in after_a_join if s.name != "right"]
    assert not any(s.digests for s in build(used).plan.stages)


def extends(deep: tuple[str, ...], shallow: tuple[str, ...]) -> bool:
    return deep[: len(shallow)] == shallow


def ways(flow: Flow, start: str, end: str) -> Iterator[Way]:
    """All ways along the arrows of the flow, both ends included."""
    if start == end:
        yield (start,)
    elif end != REQUEST:
        for source in {source for source, _ in flow[end].inputs}:
            yield from ((*way, end) for way in ways(flow, start, source))


def stays_below(flow: Flow, way: Way) -> bool:
    """Whether each stage on the way is below a node of the first."""
    return all(extends(flow[name].ancestry, flow[way[0]].ancestry) for name in way)


def lineage(flow: Flow, name: str) -> list[str]:
    return [other for other in flow if any(stays_below(flow, way) for way in ways(flow, other, name))]


@settings(max_examples=120, deadline=None)
@given(flows())
@example(DIAMOND)
@example(SIBLINGS)
@example(REBROADCAST)
def test_plans(specs: list[Spec]) -> None:
    flow = {spec.name: spec for spec in specs}
    if any(hands_back(flow, way, meeting) for meeting in specs for way in open_ways(flow, meeting)):
        with pytest.raises(RefusedFlowError) as refused:
            build(specs)
        assert refused.value.code == "flow.handed-back"
        return
    plan = build(specs).plan
    check_ancestries_and_lineages(flow, plan)
    check_keys(plan)
    check_digests(flow, plan)


def check_ancestries_and_lineages(flow: Flow, plan: Plan) -> None:
    names = [stage.name for stage in plan.stages]
    specs = list(flow.values())
    assert names == list(flow)
    for spec, stage in zip(specs, plan.stages, strict=True):
        assert (stage.kind, stage.ancestry, stage.out_depth) == (spec.kind, spec.ancestry, len(spec.out))
        assert [(i.source, i.mode) for i in stage.inputs] == list(spec.inputs)
        assert all(source == REQUEST or names.index(source) < names.index(stage.name) for source in stage.sources)
        assert stage.lineage[-1] == stage.name
        assert list(stage.lineage) == lineage(flow, stage.name)
        for given_input in stage.inputs:
            source = next((s for s in specs if s.name == given_input.source), None)
            assert given_input.depth == (len(source.out) if source else 0)
            assert given_input.is_text == bool(source and source.is_text)


def check_keys(plan: Plan) -> None:

    def key(source: str) -> int:
        return 0 if source == REQUEST else plan[source].key_depth

    asked: dict[str, list[int]] = {}
    for stage in plan.stages:
        grouping = min([stage.depth, *(i.depth for i in stage.inputs if i.mode is InputMode.ITEM)])
        assert len({key(source) for source in stage.sources}) == 1, f"{stage.name} reads differently keyed topics"
        assert all(key(source) <= grouping for source in stage.sources)
        for source in stage.sources:
            asked.setdefault(source, []).append(grouping)
        assert stage.key_depth <= stage.out_depth
    assert key(plan.answer) == 0
    # No key is shallower than somebody in its component asks for.
    for component in components(plan):
        wanted = [depth for source in component for depth in asked.get(source, [])]
        closes = {REQUEST, plan.answer} & component
        assert {key(source) for source in component} == {0 if closes else min(wanted)}


def components(plan: Plan) -> list[set[str]]:
    found: list[set[str]] = [{REQUEST, plan.answer}]
    for stage in plan.stages:
        touching = [c for c in found if c & set(stage.sources)]
        found = [c for c in found if c not in touching] + [set(stage.sources).union(*touching)]
    return found


def comparisons(flow: Flow, meeting: Spec) -> Iterator[tuple[tuple[str, str, str], list[Way]]]:
    """For each pair of inputs and each stage that both come from: the ways on which they could differ."""
    sources = sorted({source for source, _ in meeting.inputs if source != REQUEST})
    for first, second in combinations(sources, 2):
        agreed = set(lineage(flow, first)) & set(lineage(flow, second))

        def is_covered(way: Way, agreed: set[str] = agreed) -> bool:
            return any(way[k] in agreed and stays_below(flow, way[k:]) for k in range(len(way)))

        for shared in flow:
            sides = [[way for way in ways(flow, shared, source) if not is_covered(way)] for source in (first, second)]
            if all(sides):
                yield (shared, first, second), [*sides[0], *sides[1]]


def open_ways(flow: Flow, meeting: Spec) -> Iterator[Way]:
    for _, ways_of_pair in comparisons(flow, meeting):
        yield from ways_of_pair


def hands_back(flow: Flow, way: Way, meeting: Spec) -> bool:
    """Whether the way, once it has left the nodes of its first stage, descends again."""
    depths = [len(flow[name].ancestry) for name in (*way, meeting.name)]
    return any(not stays_below(flow, way[: k + 1]) and depths[k + 1] > depths[k] for k in range(len(way)))


def check_digests(flow: Flow, plan: Plan) -> None:
    expected: dict[str, set[str]] = {stage.name: set() for stage in plan.stages}
    for meeting in plan.stages:
        pairs = [pair for pair, _ in comparisons(flow, flow[meeting.name])]
        assert sorted((c.shared, *c.sources) for c in meeting.compares) == sorted(pairs), meeting.name
        for way in open_ways(flow, flow[meeting.name]):
            for k in range(len(way)):
                if not stays_below(flow, way[: k + 1]):
                    expected[way[k]].add(way[0])
    names = [stage.name for stage in plan.stages]
    for stage in plan.stages:
        assert list(stage.digests) == sorted(expected[stage.name], key=names.index), stage.name


def build_or_reject(specs: list[Spec]) -> Plan:
    try:
        return build(specs).plan
    except RefusedFlowError:  # `test_plans` checks when this is right
        reject()


@settings(max_examples=25, deadline=None)
@given(flows(), st.data())
def test_the_plan_digest_names_the_shape(specs: list[Spec], data: st.DataObject) -> None:
    plan = build_or_reject(specs)
    assert plan.digest == build(specs).plan.digest
    joins = [i for i, spec in enumerate(specs) if len(spec.inputs) > 1]
    if joins:
        chosen = specs[data.draw(st.sampled_from(joins))]
        turned = [Spec(s.name, s.kind, s.inputs[::-1], s.ancestry) if s is chosen else s for s in specs]
        assert build(turned).plan.digest != plan.digest


@settings(max_examples=40, deadline=None)
@given(flows())
def test_every_plan_can_be_drawn(specs: list[Spec]) -> None:
    drawn = drawing(build_or_reject(specs))
    edges = {(source, spec.name) for spec in specs for source, _ in spec.inputs}
    assert {(a.source, a.target) for a in drawn.arrows} == edges | {("last", "answers")}
    mermaid, text, svg = to_mermaid(drawn), to_text(drawn), to_svg(drawn)
    for source, target in product([s.name for s in specs], repeat=2):
        assert any(
            line.strip().startswith(f"n_{source} ") and line.endswith(f" n_{target}") for line in mermaid.splitlines()
        ) == ((source, target) in edges)
    assert len(text.splitlines()) == len(specs) + 3
    assert svg.count("<g>") == len(specs) + 2
    assert svg.count('class="arrow') == len(drawn.arrows)
