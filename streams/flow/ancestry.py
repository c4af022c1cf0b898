"""Where a stage's nodes are: the ancestry of a node follows from those of its inputs (DESIGN §2).

An ancestry is the tuple of forks, outermost first, whose child indices form a path. The request has (); a map
keeps its node's; the items of a fork have their node's plus the fork. A text counts as one level below its
prompt when it is consumed, but its chunks have positions instead of indices, so the ancestry of a text is
written as that of its prompt.

* Plain inputs lie on one chain, and the node is where the deepest of them is: shallower ones are broadcast.
* A Stream of items lies strictly below the node. Without plain inputs it is one level below.
* A Stream of a text is exactly at the node: texts are consumed as they are written, by one node each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.core.plan import InputMode
from streams.flow.errors import RefusedFlowError, ancestry_words

Ancestry = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Input:
    """One argument of a stage, as far as its place matters."""

    parameter: str
    mode: InputMode
    ancestry: Ancestry
    is_text: bool


def is_above(shallow: Ancestry, deep: Ancestry) -> bool:
    """Whether each node of `deep` is below (or is) exactly one node of `shallow`."""
    return deep[: len(shallow)] == shallow


def common_prefix(first: Ancestry, second: Ancestry) -> Ancestry:
    """The deepest ancestry above both."""
    length = 0
    while length < min(len(first), len(second)) and first[length] == second[length]:
        length += 1
    return first[:length]


def node_ancestry(stage: str, inputs: Sequence[Input]) -> Ancestry:
    """The ancestry of a stage's nodes. Raises RefusedFlowError if no node could ever hold all the inputs."""
    plain = [i for i in inputs if i.mode is InputMode.ITEM]
    streams = [i for i in inputs if i.mode is InputMode.STREAM]
    if plain:
        deepest = max(plain, key=lambda i: len(i.ancestry))
        for other in plain:
            if not is_above(other.ancestry, deepest.ancestry):
                raise _unjoinable(stage, other, deepest)
        for stream in streams:
            _check_stream(stage, stream, deepest.ancestry, because=f"{deepest.parameter!r} is {_place(deepest)}")
        return deepest.ancestry
    first = streams[0]
    node = _node_of_stream(stage, first)
    for stream in streams[1:]:
        if _node_of_stream(stage, stream) != node:
            raise RefusedFlowError(
                "flow.unjoinable",
                f"cannot tell where to join {first.parameter!r} ({_place(first)}) with {stream.parameter!r} "
                f"({_place(stream)}): they lie below different nodes",
                stage=stage,
                parameter=stream.parameter,
                hint="Add a plain parameter of the level to join at, such as the request",
            )
    return node


def _node_of_stream(stage: str, stream: Input) -> Ancestry:
    if stream.is_text:
        return stream.ancestry
    if not stream.ancestry:
        raise _not_below(stage, stream, (), because="there is one per request")
    return stream.ancestry[:-1]


def _check_stream(stage: str, stream: Input, node: Ancestry, *, because: str) -> None:
    if stream.is_text:
        if stream.ancestry == node:
            return
        if is_above(node, stream.ancestry) or is_above(stream.ancestry, node):
            raise RefusedFlowError(
                "flow.text-level",
                f"{stream.parameter!r} is a text {_place(stream)}, but {because}: a text is consumed by one "
                "node at its "
                "own level",
                stage=stage,
                parameter=stream.parameter,
                hint="Collect the text in a stage of its own first, and pass on what that returns",
            )
    elif is_above(node, stream.ancestry):
        if len(stream.ancestry) > len(node):
            return
        raise _not_below(stage, stream, node, because=because)
    elif is_above(stream.ancestry, node):
        raise _not_below(stage, stream, node, because=because)
    raise RefusedFlowError(
        "flow.unjoinable",
        f"cannot join {stream.parameter!r} ({_place(stream)}), because {because}: neither descends from the other",
        stage=stage,
        parameter=stream.parameter,
        hint="Collect it in a stage of its own first, or derive both from the same fork",
    )


def _not_below(stage: str, stream: Input, node: Ancestry, *, because: str) -> RefusedFlowError:
    return RefusedFlowError(
        "flow.not-a-stream",
        f"{stream.parameter!r} is typed Stream[...], but is {_place(stream)}, with nothing to join where "
        "the stage runs "
        f"({ancestry_words(node)}), because {because}",
        stage=stage,
        parameter=stream.parameter,
        hint="Type it without Stream, to get the one value",
    )


def _unjoinable(stage: str, first: Input, second: Input) -> RefusedFlowError:
    return RefusedFlowError(
        "flow.unjoinable",
        f"cannot join {first.parameter!r} ({_place(first)}) with {second.parameter!r} ({_place(second)}): "
        "neither "
        "descends from the other",
        stage=stage,
        parameter=first.parameter,
        hint="Collect one of them by typing it Stream[...], here or in a stage of its own",
    )


def _place(item: Input) -> str:
    return ancestry_words(item.ancestry)
