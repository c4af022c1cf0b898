"""`Pipeline`: the decorators that declare stages, and the flow that connects them."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from streams.core.plan import Plan
from streams.flow.definition import StageDefinition, check_name, define
from streams.flow.errors import RefusedFlowError
from streams.flow.handle import Handle
from streams.flow.resource import Resource
from streams.flow.signature import read_flow
from streams.flow.trace import Trace

P = ParamSpec("P")
R = TypeVar("R")
U = TypeVar("U")
F = TypeVar("F", bound=Callable[[Any], Any])

OnErrorName = Literal["fail", "drop", "pass"]

# A run that raised is most often a passing fault of something that the stage asked; the third failure is
# reported.
DEFAULT_RETRIES: Final = 2


class Stage(Generic[P, R, U]):
    """A declared stage. Called in a flow it connects; called anywhere else it is its function.

    Types follow the flow: a call gives one item (of a fork, too), so that what flows is checked by name and
    type when it is traced, and the flow's return type by mypy. `function` is the function as it was written,
    typed exactly.
    """

    def __init__(self, pipeline: Pipeline, definition: StageDefinition, function: Callable[P, R]) -> None:
        self._pipeline = pipeline
        self._definition = definition
        self.function: Final = function
        functools.update_wrapper(self, function)

    @property
    def name(self) -> str:
        return self._definition.name

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    def __repr__(self) -> str:
        return f"<stage {self._pipeline.name}.{self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> U:
        return self._pipeline._call(self._definition, args, kwargs)  # type: ignore[no-any-return]


class _Declare(Protocol):
    """A decorator for stages; U is one item of what the function gives."""

    @overload
    def __call__(self, function: Callable[P, AsyncIterator[U]], /) -> Stage[P, AsyncIterator[U], U]: ...
    @overload
    def __call__(self, function: Callable[P, Iterator[U]], /) -> Stage[P, Iterator[U], U]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, U]], /) -> Stage[P, Coroutine[Any, Any, U], U]: ...
    @overload
    def __call__(self, function: Callable[P, U], /) -> Stage[P, U, U]: ...


class _DeclareModel(Protocol):
    """A decorator for functions that return a Prompt; in the flow, what they give is text."""

    def __call__(self, function: Callable[P, R], /) -> Stage[P, R, str]: ...


class Pipeline:
    """A pipeline by name: stages are declared with decorators, then one flow connects them.

        factcheck = Pipeline("factcheck")

        @factcheck.model("writer", max_tokens=160)
        def draft(question: Question) -> Prompt: ...

        @factcheck.flow
        def flow(question: Question) -> Report: ...

    The flow is traced where it is defined, so that a flow that cannot work is refused (FlowError) at import.
    """

    def __init__(self, name: str) -> None:
        """`name` begins the name of every topic. Raises FlowError if topics cannot be called after it."""
        self.name: Final = check_name(name, "pipeline")
        self._definitions: dict[str, StageDefinition] = {}
        self._trace: Trace | None = None
        self._plan: Plan | None = None

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"

    @property
    def plan(self) -> Plan:
        """What the traced flow asks of the runtime. Raises FlowError before there is a flow."""
        if self._plan is None:
            raise RefusedFlowError(
                "flow.missing",
                f"pipeline {self.name!r} has no flow",
                hint=f"Connect its stages in a function decorated with @{self.name}.flow",
            )
        return self._plan

    @overload
    def stage(self, function: Callable[P, AsyncIterator[U]], /) -> Stage[P, AsyncIterator[U], U]: ...
    @overload
    def stage(self, function: Callable[P, Iterator[U]], /) -> Stage[P, Iterator[U], U]: ...
    @overload
    def stage(self, function: Callable[P, Coroutine[Any, Any, U]], /) -> Stage[P, Coroutine[Any, Any, U], U]: ...
    @overload
    def stage(self, function: Callable[P, U], /) -> Stage[P, U, U]: ...
    @overload
    def stage(
        self,
        function: None = None,
        /,
        *,
        retries: int = ...,
        on_error: OnErrorName = ...,
        timeout: float | None = ...,
        uses: Sequence[Resource[Any]] = ...,
    ) -> _Declare: ...
    def stage(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        retries: int = DEFAULT_RETRIES,
        on_error: OnErrorName = "fail",
        timeout: float | None = None,
        uses: Sequence[Resource[Any]] = (),
    ) -> Any:
        """Declare a stage: `@p.stage`, or `@p.stage(retries=5)`.

        retries    further runs after one that raised; then the item ends in an error
        on_error   what the stage does with an input that ended in an error: "fail" with it, "drop" it, or
                   "pass" it on as a Failed to a parameter typed `Stream[T | Failed]` or `T | Failed`
        timeout    seconds after which a run counts as one that raised; None: until the request's deadline
        uses       resources that its process opens before it runs
        """
        local_names = sys._getframe(1).f_locals  # annotations may name what a test function defines

        def declare(function: Callable[..., Any]) -> Stage[..., Any, Any]:
            return self._add(
                define(
                    function,
                    options={},
                    retries=retries,
                    on_error=on_error,
                    timeout_seconds=timeout,
                    uses=uses,
                    local_names=local_names,
                )
            )

        return declare if function is None else declare(function)

    def model(
        self,
        model: str,
        /,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: Sequence[str] | None = None,
        logprobs: int | None = None,
        seed: int | None = None,
        whole: bool = False,
        retries: int = DEFAULT_RETRIES,
        on_error: OnErrorName = "fail",
        timeout: float | None = None,
    ) -> _DeclareModel:
        """Declare a stage that returns a Prompt, which `model` (the name that workers serve) answers with
        text.

        The sampling options are defaults for its prompts; those that a Prompt sets go first. `retries`,
        `on_error` and `timeout` are those of `stage`, and concern the function, not the generation.

        whole   the text leaves the worker as one record, when it is finished: for short texts whose reader
                waits for the end anyway, one record instead of one a token
        """
        options = {
            "model": model, "max_tokens": max_tokens, "temperature": temperature, "top_p": top_p,
            "stop": stop, "logprobs": logprobs, "seed": seed, "whole": whole,
        }  # fmt: skip
        local_names = sys._getframe(1).f_locals

        def declare(function: Callable[..., Any], /) -> Any:
            return self._add(
                define(
                    function,
                    options=options,
                    retries=retries,
                    on_error=on_error,
                    timeout_seconds=timeout,
                    uses=(),
                    local_names=local_names,
                )
            )

        return declare

    def flow(self, function: F) -> F:
        """Trace the flow, now. It takes the request and returns the answer. The function is not changed.

        Raises FlowError if the flow cannot work, with the stage, the parameter, both ancestries and a hint.
        """
        if self._plan is not None:
            raise RefusedFlowError(
                "flow.duplicate",
                f"pipeline {self.name!r} has a flow already",
                hint="Give the second flow a Pipeline of its own",
            )
        request_type, answer_type = read_flow(function, self.name, sys._getframe(1).f_locals)
        trace = self._trace = Trace(self.name, request_type)
        try:
            answer = function(trace.request())
        finally:
            self._trace = None
        self._plan = trace.plan(answer, answer_annotation=answer_type, declared=tuple(self._definitions))
        return function

    def _add(self, definition: StageDefinition) -> Stage[..., Any, Any]:
        if self._plan is not None or definition.name in self._definitions:
            late = self._plan is not None
            raise RefusedFlowError(
                "flow.late" if late else "flow.duplicate",
                "is declared after the flow, which could not call it" if late else "is declared twice",
                stage=definition.name,
                hint="Declare it above the flow" if late else "Give one of the functions another name",
            )
        self._definitions[definition.name] = definition
        return Stage(self, definition, definition.function)

    def _call(self, stage: StageDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        symbolic = any(isinstance(a, Handle) for a in (*args, *kwargs.values()))
        if self._trace is None and not symbolic:
            return stage.function(*args, **kwargs)
        if self._trace is None:
            raise RefusedFlowError(
                "flow.foreign",
                "is called with a symbolic value while its pipeline is not being traced",
                stage=stage.name,
                hint="Call the stages of a pipeline inside its own @flow function",
            )
        try:
            arguments = inspect.signature(stage.function).bind(*args, **kwargs).arguments
        except TypeError as error:
            raise RefusedFlowError(
                "flow.parameters",
                f"is called with arguments that it does not take ({error})",
                stage=stage.name,
                hint="Pass each parameter one output",
            ) from error
        return self._trace.call(stage, arguments)
