"""Requests: submit, list, follow, cancel."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from sse_starlette import EventSourceResponse

from console.http.streams import HubOf, event_stream, follow
from console.state.events import RequestEvent, Summary
from console.state.feed import Feed
from streams.core.plan import REQUEST, Plan, StageKind

router = APIRouter(prefix="/v1/pipelines", tags=["requests"])

RequestId = Annotated[str, Field(pattern=r"^[\w.:@-]{1,128}$")]


class StageRow(BaseModel):
    """A stage as the page draws it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    name: str
    kind: str
    is_text: bool
    """It writes a text; others write items."""
    forks: tuple[str, ...]
    """The forks whose indices form the path of what it writes, outermost first."""
    reads: tuple[str, ...]
    model: str | None = None


class PipelineRow(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    name: str
    is_connected: bool
    problem: str
    """Why it is not; empty when it is."""
    answer: str
    """The stage whose output is the answer."""
    stages: tuple[StageRow, ...]
    """In topological order."""
    request_schema: dict[str, Any]
    """JSON Schema of what it takes."""


class Submission(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    input: Any
    """The request, as the pipeline's schema says."""
    id: RequestId | None = None
    """The same id within the pipeline's idempotency window is the same request and is answered once."""
    stream: bool = True
    """False: stages wait for whole outputs of the ones before."""
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """The request's deadline; without it, the pipeline's."""


class Submitted(BaseModel):
    id: str
    events: str
    """Where its events are to be had."""


class Accepted(BaseModel):
    id: str


@router.get("")
async def list_pipelines(hub: HubOf) -> list[PipelineRow]:
    """The pipelines that this console serves."""
    return [describe(feed) for feed in hub.feeds.values()]


@router.post("/{pipeline}/requests", status_code=202)
async def submit(
    pipeline: str,
    submission: Submission,
    hub: HubOf,
    response: Response,
    traceparent: Annotated[str | None, Header(max_length=55)] = None,
) -> Submitted:
    """Produce a request. 202: the broker has it. 422: it does not fit the pipeline's schema. 503: no pipeline."""
    request_id = await hub.feed(pipeline).submit(
        submission.input,
        id=submission.id,
        stream=submission.stream,
        timeout_seconds=submission.timeout_seconds,
        traceparent=traceparent,
    )
    events = f"/v1/pipelines/{pipeline}/requests/{request_id}/events"
    response.headers["location"] = events
    return Submitted(id=request_id, events=events)


@router.get("/{pipeline}/requests")
async def list_requests(pipeline: str, hub: HubOf, count: Annotated[int, Query(ge=1, le=1_000)] = 50) -> list[Summary]:
    """The newest requests of the pipeline, whoever submitted them."""
    return hub.feed(pipeline).recent(count)


@router.get("/{pipeline}/events", response_class=EventSourceResponse, responses={200: {"model": Summary}})
async def watch_requests(pipeline: str, request: Request, hub: HubOf) -> EventSourceResponse:
    """Server-sent events: a `Summary` whenever a request is opened or answered, from now on."""
    feed = hub.feed(pipeline)

    async def summaries() -> AsyncGenerator[Summary, None]:
        async with feed.summaries.subscribe() as news:
            async for batch in news:
                for summary in reversed(feed.recent(50)) if batch is None else batch:
                    yield summary

    return event_stream(request, summaries())


@router.get(
    "/{pipeline}/requests/{request_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"model": RequestEvent}},
)
async def follow_request(pipeline: str, request_id: str, request: Request, hub: HubOf) -> EventSourceResponse:
    """Server-sent events of one request: what has happened so far, then what happens, up to its answer."""
    feed = hub.feed(pipeline)
    feed.find(request_id)
    return event_stream(request, follow(feed, request_id))


@router.delete("/{pipeline}/requests/{request_id}", status_code=202)
async def cancel(pipeline: str, request_id: RequestId, hub: HubOf) -> Accepted:
    """Ask for the end of a request. Its answer is then the typed error `cancelled`, unless it was answered first."""
    await hub.feed(pipeline).cancel(request_id)
    return Accepted(id=request_id)


def describe(feed: Feed) -> PipelineRow:
    plan = feed.plan
    return PipelineRow(
        name=plan.pipeline,
        is_connected=feed.is_connected,
        problem=feed.problem,
        answer=plan.answer,
        stages=stages_of(plan),
        request_schema=TypeAdapter(plan.request_type).json_schema(),
    )


def stages_of(plan: Plan) -> tuple[StageRow, ...]:
    return tuple(
        StageRow(
            name=stage.name,
            kind=stage.kind.value,
            is_text=stage.kind is StageKind.MODEL,
            forks=(*stage.ancestry, stage.name) if stage.kind is StageKind.FORK else stage.ancestry,
            reads=tuple("request" if source == REQUEST else source for source in stage.sources),
            model=str(stage.options["model"]) if stage.kind is StageKind.MODEL else None,
        )
        for stage in plan.stages
    )
