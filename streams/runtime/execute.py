"""Runs a stage's function on what its group holds, and gives the slot what it returns."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError

from streams.core.branches import Next
from streams.core.effects import Dropped, Ended, Failed, Result, Run, Value
from streams.core.failure import Failure, decode_failure
from streams.core.plan import InputMode, OnError, Plan, StageKind, StagePlan
from streams.core.record import Kind
from streams.core.text import Piece
from streams.core.view import Held
from streams.errors import DescantError
from streams.flow import Chunk, Drop, Prompt, Stream
from streams.flow import Failed as FailedItem
from streams.flow.hints import told
from streams.runtime.failures import FailureLog

OnChild = Callable[[bytes], None]


class StageCode:
    """One stage's function with the JSON readers and writers that its annotations name."""

    def __init__(self, plan: Plan, stage: StagePlan) -> None:
        self.stage: Final = stage
        self._function: Final = stage.function
        self._failures: Final = FailureLog(plan.pipeline, stage.name)
        # Not by the adapters' own methods: for 100 bytes they take two to three times as long, to pass options on.
        self._readers: Final = [
            None if i.is_text else TypeAdapter[Any](_source_type(plan, i.source)).validator for i in stage.inputs
        ]
        writer = TypeAdapter[Any](Prompt if stage.kind is StageKind.MODEL else stage.output_type)
        self._check: Final = writer.validator.validate_python
        self._write: Final = writer.serializer.to_json
        self._plain: Final = [(k, i.parameter) for k, i in enumerate(stage.inputs) if i.mode is InputMode.ITEM]
        self._streams: Final = [(k, i.parameter) for k, i in enumerate(stage.inputs) if i.mode is InputMode.STREAM]
        self.is_inline: Final = (
            not inspect.iscoroutinefunction(stage.function)
            and (stage.kind is not StageKind.FORK or inspect.isgeneratorfunction(stage.function))
            and all(i.mode is InputMode.ITEM for i in stage.inputs)
        )
        """A plain `def` over plain values: called where it stands, without a task."""

    def call_inline(self, run: Run, on_child: OnChild) -> Result:
        if run.node.group.revisions:
            with told(_hints(run)):
                return self._call_inline(run, on_child)
        return self._call_inline(run, on_child)

    def _call_inline(self, run: Run, on_child: OnChild) -> Result:
        try:
            returned = self._function(**self._arguments(run, None))
            if self.stage.kind is not StageKind.FORK:
                return self._result(returned)
            for child in returned:
                self._give(child, on_child)
            return Ended()
        except Exception as error:  # noqa: BLE001 — a stage may raise anything; it becomes a typed error
            return self._failed(run, error)

    async def call(self, run: Run, wake: asyncio.Event, on_child: OnChild) -> Result:
        seconds = self.stage.timeout_seconds
        try:
            with told(_hints(run)):
                if seconds is None:
                    return await self._call(run, wake, on_child)
                async with asyncio.timeout(seconds):
                    return await self._call(run, wake, on_child)
        except TimeoutError as error:
            message = f"stage {self.stage.name!r} took longer than {self.stage.timeout_seconds} s, or waited in vain"
            return self._told(run, Failure("stage.timeout", message, self.stage.name), error)
        except Exception as error:  # noqa: BLE001 — see call_inline
            return self._failed(run, error)

    async def _call(self, run: Run, wake: asyncio.Event, on_child: OnChild) -> Result:
        returned = self._function(**self._arguments(run, wake))
        if self.stage.kind is not StageKind.FORK:
            return self._result(await returned if inspect.isawaitable(returned) else returned)
        if inspect.isawaitable(returned):
            returned = await returned
        if hasattr(returned, "__aiter__"):
            async for child in returned:
                self._give(child, on_child)
        else:
            for child in returned:
                self._give(child, on_child)
        return Ended()

    def _give(self, child: object, on_child: OnChild) -> None:
        if not isinstance(child, Drop) and child is not Drop:
            on_child(self._write(child))

    def _result(self, returned: object) -> Result:
        if isinstance(returned, Drop) or returned is Drop:
            return Dropped()
        return Value(self._write(self._check(returned)))

    def _failed(self, run: Run, error: Exception) -> Failed:
        """What the client is told: the stage's own words for errors made for it, only the kind for all others, since
        their texts often quote the item."""
        name = self.stage.name
        match error:
            case _UnreadableError():
                return Failed(error.failure, error.held)
            case DescantError():
                failure = Failure(error.code, str(error), name)
            case ValidationError():
                failure = Failure("stage.invalid", f"{error.title}: {_problems(error)}", name)
            case _:
                failure = Failure("stage.raised", f"stage {name!r} raised {type(error).__name__}", name)
        return self._told(run, failure, error)

    def _told(self, run: Run, failure: Failure, error: Exception) -> Failed:
        self._failures.told(run, failure, error)
        return Failed(failure)

    def _arguments(self, run: Run, wake: asyncio.Event | None) -> dict[str, object]:
        group = run.node.group
        arguments: dict[str, object] = {name: self.read(k, group.plain(k)) for k, name in self._plain}
        for k, name in self._streams:
            arguments[name] = _GroupStream(self, run, k, cast("asyncio.Event", wake))
        return arguments

    def read(self, k: int, held: Held) -> object:
        if held.envelope.kind is Kind.ERROR:
            failure = decode_failure(held.value)
            return FailedItem(code=failure.code, stage=failure.stage, message=failure.message)
        reader = self._readers[k]
        assert reader is not None, "texts are read by pieces"  # noqa: S101 — the plan says so
        try:
            return reader.validate_json(held.value or b"null")
        except ValidationError as error:
            source, name = self.stage.inputs[k].source, self.stage.name
            message = (
                f"what {source!r} wrote does not fit the type that stage {name!r} reads: {_problems(error)}. "
                "Another version of it may have written it: deploy types that read old records too."
            )
            raise _UnreadableError(held, Failure("record.schema", message, name)) from None


class _UnreadableError(Exception):
    def __init__(self, held: Held, failure: Failure) -> None:
        super().__init__(failure.message)
        self.held = held
        self.failure = failure


def _problems(error: ValidationError) -> str:
    """Where, and what is wrong there; never the value."""
    found = error.errors(include_input=False, include_url=False, include_context=False)[:5]
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in found)


def _hints(run: Run) -> list[str]:
    return [revision.hint for revision in run.node.group.revisions if revision.hint]


def _source_type(plan: Plan, source: str) -> Any:
    """Items are read back as what their stage writes, so that a subclass or a narrower type keeps its fields."""
    return plan.request_type if source == "accepted" else plan[source].output_type


class _GroupStream(Stream[Any]):
    """What the runtime hands to a `Stream[T]` parameter: the group's own state, walked as it grows."""

    def __init__(self, code: StageCode, run: Run, k: int, wake: asyncio.Event) -> None:
        self._code: Final = code
        self._run: Final = run
        self._k: Final = k
        self._wake: Final = wake
        self._plan: Final = code.stage.inputs[k]

    def __aiter__(self) -> AsyncIterator[Any]:
        group = self._run.node.group
        if self._plan.is_text:
            return self._walk(group.pieces(self._k))
        return self._walk(group.branches(self._k).in_order())

    def unordered(self) -> AsyncIterator[Any]:
        if self._plan.is_text:
            return self.__aiter__()
        return self._walk(self._run.node.group.branches(self._k).as_they_come())

    async def _walk(self, steps: Iterator[Held | Next] | Iterator[Piece | Next]) -> AsyncIterator[Any]:
        for step in steps:
            if step is Next.OVER:
                break
            while self._is_wait(step):
                self._wake.clear()
                await self._wake.wait()
                step = next(steps)  # noqa: PLW2901 — the same place, looked at again
            if step is Next.OVER:
                break
            if isinstance(step, Piece):
                yield step.text if self._plan.item_type is str else _chunk(step)
            elif isinstance(step, Held) and self._is_shown(step):
                yield self._code.read(self._k, step)
        failed = self._run.node.group.text_error(self._k) if self._plan.is_text else None
        if failed is not None and self._passes_errors:
            yield self._code.read(self._k, failed)

    def _is_wait(self, step: object) -> bool:
        return step is Next.WAIT

    def _is_shown(self, held: Held) -> bool:
        kind = held.envelope.kind
        return kind is Kind.ITEM or (kind is Kind.ERROR and self._passes_errors)

    @property
    def _passes_errors(self) -> bool:
        return self._run.node.group.shape.on_error[self._k] is OnError.PASS


def _chunk(piece: Piece) -> Chunk:
    return Chunk(piece.position, piece.text, piece.token_ids, piece.logprobs)
