"""An OpenAI-compatible way in: a pipeline is a model, `pipeline/stage` is one whose text is that stage's."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from console.errors import GatewayError, not_found
from console.http.streams import HubOf, event_stream, follow
from console.state.events import AnswerEvent, GoneEvent, TextEndEvent, TextEvent
from console.state.feed import Feed
from console.state.hub import Hub
from streams.core.plan import StageKind

router = APIRouter(prefix="/v1", tags=["chat"])


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(BaseModel):
    """Sampling parameters are the pipeline's own: those of a call are accepted and have no effect."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)
    model: Annotated[str, Field(min_length=1, max_length=200)]
    """A pipeline, or `pipeline/stage` for the text of one of its model stages."""
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1_000)]
    """The last one of the user is the request: its text, or the request's JSON."""
    stream: bool = False


class _Choice:
    """What a call asked for."""

    def __init__(self, hub: Hub, request: ChatRequest) -> None:
        name, _, stage = request.model.partition("/")
        if name not in hub.feeds:
            raise not_found("model", request.model, ", ".join(models_of(hub)))
        self.model = request.model
        self.feed: Feed = hub.feeds[name]
        plan = self.feed.plan
        texts = {s.name for s in plan.stages if s.kind is StageKind.MODEL and not s.ancestry}
        if stage and stage not in texts:
            raise not_found("model", request.model, ", ".join(models_of(hub)))
        self.stage = stage or (plan.answer if plan.answer in texts else "")
        """The stage whose text is the content; empty: the answer is."""
        self.input = _input(self.feed, request.messages)


@router.get("/models")
async def list_models(hub: HubOf) -> dict[str, Any]:
    """What `model` may be in a chat completion."""
    created = int(hub.started_at)
    data = [{"id": name, "object": "model", "created": created, "owned_by": "descant"} for name in models_of(hub)]
    return {"object": "list", "data": data}


@router.post("/chat/completions", response_model=None)
async def complete(request: Request, asked: ChatRequest, hub: HubOf) -> Response:
    """Run a pipeline on the user's last message. The content is the pipeline's answer, or the text of the chosen
    stage, which streams as it is generated."""
    choice = _Choice(hub, asked)
    request_id = await choice.feed.submit(choice.input, id=None, stream=True, timeout_seconds=None)
    if asked.stream:
        return event_stream(request, _chunks(choice, request_id))
    return JSONResponse(await _whole(choice, request_id))


def models_of(hub: Hub) -> list[str]:
    found = []
    for name, feed in hub.feeds.items():
        texts = [s.name for s in feed.plan.stages if s.kind is StageKind.MODEL and not s.ancestry]
        found += [name, *(f"{name}/{stage}" for stage in texts)]
    return found


def _input(feed: Feed, messages: list[ChatMessage]) -> Any:
    """The last message of the user as the pipeline's request: JSON where it is that, else the one text field."""
    said = [message.text for message in messages if message.role == "user"]
    if not said:
        raise GatewayError("there is no message of the user.", code="request.invalid", status=422)
    text = said[-1]
    schema = feed.request.json_schema()
    if schema.get("type") == "string":
        return text
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            pass  # a text that only begins like JSON
    needed = schema.get("required") or list(schema.get("properties", {}))
    if len(needed) != 1:
        raise GatewayError(
            f"a request of {feed.plan.pipeline!r} has the fields {', '.join(needed)}: write it as JSON.",
            code="request.invalid",
            status=422,
        )
    return {needed[0]: text}


async def _whole(choice: _Choice, request_id: str) -> dict[str, Any]:
    """Raises GatewayError when the answer is an error."""
    pieces: list[str] = []
    async for event in follow(choice.feed, request_id):
        match event:
            case TextEvent(stage=stage) if stage == choice.stage and not event.path:
                pieces = [event.text] if event.position == 0 else [*pieces, event.text]
            case GoneEvent(stage=stage) if stage == choice.stage:
                pieces = []
            case TextEndEvent(stage=stage) if stage == choice.stage and not event.path:
                return _completion(choice, request_id, "".join(pieces))
            case AnswerEvent(error=None):
                return _completion(choice, request_id, "".join(pieces) if choice.stage else _text(event.value))
            case AnswerEvent(error=error) if error is not None:
                raise GatewayError(error.message, code=error.code, status=502)
            case _:
                pass
    raise GatewayError("the console stops.", code="console.stopping", status=503)


async def _chunks(choice: _Choice, request_id: str) -> AsyncGenerator[str, None]:
    def chunk(delta: dict[str, str], finish: str | None = None) -> str:
        end = {"index": 0, "delta": delta, "finish_reason": finish}
        return json.dumps({**_head(choice, request_id, "chat.completion.chunk"), "choices": [end]})

    yield chunk({"role": "assistant", "content": ""})
    has_text = False
    async for event in follow(choice.feed, request_id):
        match event:
            case TextEvent(stage=stage) if stage == choice.stage and not event.path:
                if event.position == 0 and has_text:
                    yield _failed("run.superseded", "the text was generated anew; what was sent is void. Ask again.")
                    break
                has_text = True
                yield chunk({"content": event.text})
            case TextEndEvent(stage=stage) if stage == choice.stage and not event.path:
                # The text is whole. What else the pipeline does with it is not waited for, and goes on.
                yield chunk({}, "stop")
                break
            case AnswerEvent(error=None):
                if not choice.stage:
                    yield chunk({"content": _text(event.value)})
                yield chunk({}, "stop")
                break
            case AnswerEvent(error=error) if error is not None:
                yield _failed(error.code, error.message)
                break
            case _:
                pass
    yield "[DONE]"


def _completion(choice: _Choice, request_id: str, content: str) -> dict[str, Any]:
    end = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {**_head(choice, request_id, "chat.completion"), "choices": [end]}


def _head(choice: _Choice, request_id: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": choice.model,
    }


def _failed(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message, "type": "descant"}})


def _text(answer: Any) -> str:
    """A text answer as it is, an object's field `text`, anything else as JSON."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, dict) and isinstance(answer.get("text"), str):
        return str(answer["text"])
    return json.dumps(answer, ensure_ascii=False)
