"""One run of a flow function over handles, and the plan that follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.core.plan import REQUEST, InputMode, InputPlan, Plan, StageKind, StagePlan
from streams.flow.ancestry import Ancestry, Input, is_above, node_ancestry
from streams.flow.definition import StageDefinition
from streams.flow.errors import RefusedFlowError, ancestry_words
from streams.flow.handle import Handle, Origin, origin_of, trace_of
from streams.flow.keys import Reader, key_depths
from streams.flow.reconvergence import Traced, digests
from streams.flow.signature import Parameter
from streams.flow.types import fits, type_name
from streams.flow.values import Chunk


@dataclass(frozen=True, slots=True)
class _Call:
    stage: StageDefinition
    inputs: tuple[InputPlan, ...]
    ancestry: Ancestry
    lineage: tuple[str, ...]
    descends_from: frozenset[str]


@dataclass(slots=True)
class Trace:
    """Collects the calls of one flow function, in order: a topological order, since handles come from
    calls."""

    pipeline: str
    request_type: Any
    calls: dict[str, _Call] = field(default_factory=dict)

    def request(self) -> Handle:
        return Handle(Origin(REQUEST, (), self.request_type, is_text=False), self)

    def call(self, stage: StageDefinition, arguments: Mapping[str, Any]) -> Handle:
        """Note a call of `stage`, whose arguments are bound to parameters; what it returns, as a handle."""
        origins = {name: self._origin(stage.name, name, argument) for name, argument in arguments.items()}
        self._check_first_use(stage.name, origins)
        if not origins:
            raise RefusedFlowError(
                "flow.no-input",
                "has no input, so nothing would ever start it",
                stage=stage.name,
                hint="Pass it the request or the output of another stage",
            )
        parameters = {p.name: p for p in stage.signature.parameters}
        for name, origin in origins.items():
            _check_item(stage.name, parameters[name], origin)
        places = [Input(n, parameters[n].mode, o.ancestry, o.is_text) for n, o in origins.items()]
        ancestry = node_ancestry(stage.name, places)
        inputs = tuple(
            InputPlan(
                parameter=name,
                source=origin.source,
                mode=parameters[name].mode,
                depth=len(origin.ancestry),
                is_text=origin.is_text,
                item_type=parameters[name].item_type,
                takes_failed=parameters[name].takes_failed,
            )
            for name, origin in origins.items()
        )
        self.calls[stage.name] = _Call(
            stage, inputs, ancestry, self._lineage(stage.name, inputs, ancestry), self._ancestors(inputs)
        )
        kind = stage.signature.kind
        items = (*ancestry, stage.name) if kind is StageKind.FORK else ancestry
        origin = Origin(stage.name, items, stage.signature.output_type, is_text=kind is StageKind.MODEL)
        return Handle(origin, self)

    def plan(self, answer: Any, *, answer_annotation: Any, declared: Sequence[str]) -> Plan:
        """The plan of the flow that returned `answer`. `declared`: every stage of the pipeline."""
        origin = self._answer(answer, answer_annotation)
        used = self.calls[origin.source].descends_from | {origin.source}
        for name in declared:
            if name not in used:
                called = name in self.calls
                raise RefusedFlowError(
                    "flow.unused",
                    "its output does not reach the answer" if called else "the flow never calls it",
                    stage=name,
                    hint="Lead its output to the answer, or remove the stage: a request is closed when "
                    "it has its answer, whatever else is still running",
                )
        calls = tuple(self.calls.values())
        compared = digests([_traced(call) for call in calls])
        readers = [_reader(call) for call in calls]
        closer = Reader((REQUEST, origin.source), 0)
        keys = key_depths([*readers, closer])
        return Plan(
            pipeline=self.pipeline,
            request_type=self.request_type,
            answer_type=origin.item_type,
            stages=tuple(
                StagePlan(
                    name=call.stage.name,
                    kind=call.stage.signature.kind,
                    function=call.stage.function,
                    inputs=call.inputs,
                    ancestry=call.ancestry,
                    lineage=call.lineage,
                    output_type=call.stage.signature.output_type,
                    key_depth=keys[call.stage.name],
                    digests=tuple(name for name in self.calls if name in compared.carried[call.stage.name]),
                    compares=compared.compared.get(call.stage.name, ()),
                    retries=call.stage.retries,
                    on_error=call.stage.on_error,
                    timeout_seconds=call.stage.timeout_seconds,
                    options=call.stage.options,
                    uses=call.stage.uses,
                )
                for call in calls
            ),
            answer=origin.source,
        )

    def _origin(self, stage: str, parameter: str, argument: Any) -> Origin:
        if not isinstance(argument, Handle):
            raise RefusedFlowError(
                "flow.constant",
                f"parameter {parameter!r} is given a {type(argument).__name__} in the flow, and not the "
                "output of a stage",
                stage=stage,
                parameter=parameter,
                hint="Give the parameter a default and leave it out here, or put the value into the request",
            )
        if trace_of(argument) is not self:
            raise RefusedFlowError(
                "flow.foreign",
                f"parameter {parameter!r} is given a value of another pipeline or of an earlier tracing",
                stage=stage,
                parameter=parameter,
                hint="Use only the flow's own parameter and what its stages gave",
            )
        return origin_of(argument)

    def _check_first_use(self, stage: str, origins: Mapping[str, Origin]) -> None:
        if stage not in self.calls:
            return
        for parameter, origin in origins.items():
            if origin.source == stage or stage in self._ancestors_of(origin.source):
                raise RefusedFlowError(
                    "flow.loop",
                    f"{parameter!r} ({ancestry_words(origin.ancestry)}) is, or was made from, the stage's own output",
                    stage=stage,
                    parameter=parameter,
                    hint="Write the loop inside one stage, or define a stage for each round",
                )
        raise RefusedFlowError(
            "flow.reused",
            "is called twice in the flow, and has one topic for its output",
            stage=stage,
            hint="Define a second stage that calls the same function",
        )

    def _ancestors_of(self, source: str) -> frozenset[str]:
        return frozenset() if source == REQUEST else self.calls[source].descends_from

    def _ancestors(self, inputs: Sequence[InputPlan]) -> frozenset[str]:
        sources = frozenset(i.source for i in inputs if i.source != REQUEST)
        return sources.union(*(self._ancestors_of(source) for source in sources))

    def _lineage(self, name: str, inputs: Sequence[InputPlan], ancestry: Ancestry) -> tuple[str, ...]:
        named = {stage for i in inputs if i.source != REQUEST for stage in self.calls[i.source].lineage}
        kept = (s for s, call in self.calls.items() if s in named and is_above(call.ancestry, ancestry))
        return (*kept, name)

    def _answer(self, answer: Any, annotation: Any) -> Origin:
        if not isinstance(answer, Handle):
            raise RefusedFlowError(
                "flow.answer",
                f"the flow returns a {type(answer).__name__}, and not the output of a stage",
                hint="Return what the last stage gave",
            )
        if trace_of(answer) is not self:
            raise RefusedFlowError(
                "flow.foreign",
                "the flow returns a value of another pipeline or of an earlier tracing",
                hint="Return the output of one of this pipeline's stages",
            )
        origin = origin_of(answer)
        if origin.source == REQUEST:
            raise RefusedFlowError(
                "flow.answer", "the flow returns its own request", hint="Return the output of a stage"
            )
        if origin.ancestry:
            raise RefusedFlowError(
                "flow.answer-depth",
                f"the flow returns the output of {origin.source!r}, which is "
                f"{ancestry_words(origin.ancestry)}, but a request "
                "has one answer",
                stage=origin.source,
                hint=f"Collect it in a stage with a parameter typed Stream[{type_name(origin.item_type)}]",
            )
        if not fits(origin.item_type, annotation):
            raise RefusedFlowError(
                "flow.type",
                f"the flow is annotated '-> {type_name(annotation)}', but {origin.source!r} gives "
                f"{type_name(origin.item_type)}",
                stage=origin.source,
                hint="Correct the annotation of the flow, or return another stage's output",
            )
        return origin


def _check_item(stage: str, parameter: Parameter, origin: Origin) -> None:
    wanted = parameter.item_type
    produced = "text" if origin.is_text else type_name(origin.item_type)
    if origin.is_text and parameter.mode is InputMode.ITEM:
        raise RefusedFlowError(
            "flow.text",
            f"parameter {parameter.name!r} is typed {type_name(wanted)}, but {origin.source!r} is a model "
            "whose text comes "
            f"in pieces ({ancestry_words(origin.ancestry)})",
            stage=stage,
            parameter=parameter.name,
            hint="Type it Stream[str], and use 'await text.text()' for the whole of it",
        )
    if origin.is_text and wanted not in (str, Chunk):
        raise RefusedFlowError(
            "flow.type",
            f"parameter {parameter.name!r} is typed Stream[{type_name(wanted)}], but {origin.source!r} gives a text",
            stage=stage,
            parameter=parameter.name,
            hint="Type it Stream[str], or Stream[Chunk] for token ids and log-probabilities",
        )
    if not origin.is_text and not fits(origin.item_type, wanted):
        raise RefusedFlowError(
            "flow.type",
            f"parameter {parameter.name!r} takes {type_name(wanted)}, but {origin.source!r} gives {produced} "
            f"({ancestry_words(origin.ancestry)})",
            stage=stage,
            parameter=parameter.name,
            hint="Change one of the two types, or add a stage between them that converts",
        )


def _traced(call: _Call) -> Traced:
    sources = tuple(sorted({i.source for i in call.inputs if i.source != REQUEST}))
    return Traced(call.stage.name, sources, call.ancestry, call.lineage)


def _reader(call: _Call) -> Reader:
    plain = (i.depth for i in call.inputs if i.mode is InputMode.ITEM)
    return Reader(tuple(sorted({i.source for i in call.inputs})), min((len(call.ancestry), *plain)))
