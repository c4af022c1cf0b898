"""Where nodes are: against trying every place that a node could have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.plan import InputMode
from streams.flow.ancestry import Input, node_ancestry
from streams.flow.errors import RefusedFlowError

Ancestry = tuple[str, ...]

ancestries = st.lists(st.sampled_from("ab"), max_size=3).map(tuple)


@st.composite
def inputs(draw: st.DrawFn) -> list[Input]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        mode = draw(st.sampled_from(list(InputMode)))
        is_text = mode is InputMode.STREAM and draw(st.booleans())
        made.append(Input(f"p{number}", mode, draw(ancestries), is_text))
    return made


def could_be_at(node: Ancestry, given_inputs: list[Input]) -> bool:
    """DESIGN §2, read as conditions on a place."""
    plain = [i.ancestry for i in given_inputs if i.mode is InputMode.ITEM]
    for i in given_inputs:
        shared = i.ancestry[: len(node)]
        if i.mode is InputMode.ITEM:
            fits = node[: len(i.ancestry)] == i.ancestry
        elif i.is_text:
            fits = i.ancestry == node
        elif plain:
            fits = shared == node and len(i.ancestry) > len(node)
        else:
            fits = shared == node and len(i.ancestry) == len(node) + 1
        if not fits:
            return False
    return not plain or node in plain


@given(inputs())
def test_a_stage_is_accepted_exactly_if_there_is_a_place_for_its_nodes(given_inputs: list[Input]) -> None:
    places = {i.ancestry[:n] for i in given_inputs for n in range(len(i.ancestry) + 1)}
    possible = [place for place in places if could_be_at(place, given_inputs)]
    assert len(possible) <= 1
    if possible:
        assert node_ancestry("stage", given_inputs) == possible[0]
        return
    with pytest.raises(RefusedFlowError, match="one per request") as refused:
        node_ancestry("stage", given_inputs)
    assert refused.value.stage == "stage"
    assert refused.value.parameter in {i.parameter for i in given_inputs}
    assert refused.value.code in ("flow.unjoinable", "flow.not-a-stream", "flow.text-level")
