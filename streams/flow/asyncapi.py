"""A pipeline's topics as an AsyncAPI 3.0 document, for clients in other languages and for schema tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from streams.core.plan import Plan, StageKind

Schema = dict[str, Any]

ERROR: Final[Schema] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "stage", "message"],
            "properties": {
                "code": {"type": "string", "description": "Stable and dotted, e.g. stage.raised, deadline."},
                "stage": {"type": "string"},
                "message": {"type": "string"},
                "request_id": {"type": "string"},
            },
        }
    },
}

TEXT: Final[Schema] = {
    "type": "object",
    "description": "Some tokens of a text; without a value: its end, or a marker (header `kind`).",
    "required": ["text"],
    "properties": {
        "text": {"type": "string"},
        "ids": {"type": "array", "items": {"type": "integer"}, "description": "Token ids, where the engine has them."},
        "n": {"type": "integer", "description": "Tokens, where there are no ids."},
        "logprobs": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "number"}}},
    },
}

DEAD_LETTER_HEADERS: Final = ("reason", "message", "stage", "topic", "partition", "offset")

ENVELOPE: Final[Mapping[str, str]] = {
    "id": "The request's id.",
    "kind": "item, end, tombstone, error, chunk, fence, cancel, fail or revise (asks its stage for another run).",
    "serial": "Partition and offset of the request on `accepted`: what it is inside the pipeline.",
    "plan": "Digest of the flow that wrote this.",
    "stage": "Whose run this is of.",
    "path": "Child indices from the request's root.",
    "lin": "Runs that this was made by, the root's first: a higher run of the same place supersedes it.",
    "deadline": "Milliseconds since 1970.",
    "traceparent": "W3C trace context, as the client sent it.",
    "count": "Of `end`: children, or tokens.",
    "pos": "Of `chunk`: index of its first token.",
    "revisions": "How many wishes for another run this was made in the knowledge of; absent: none.",
}


def asyncapi(plan: Plan, version: str) -> Schema:
    """The public topics (requests, answers, dead letters) and what may be watched (each stage's).

    `version`: of the user's pipeline or of Descant; it goes to `info`.
    """
    channels: dict[str, Schema] = {}
    operations: dict[str, Schema] = {}

    def channel(name: str, topic: str, message: Schema, action: str, summary: str) -> None:
        channels[name] = {"address": topic, "description": summary, "messages": {name: message}}
        operations[f"{action}-{name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
            "summary": summary,
        }

    request = _message(_schema(plan.request_type), None, key="The request's id; `<partition>-<offset>` without one.")
    request["headers"] = {
        "type": "object",
        "properties": {
            "timeout-ms": {"type": "string", "description": "Milliseconds until the answer is the error `deadline`."},
            "traceparent": {"type": "string"},
            "kind": {"const": "cancel", "description": "Cancels the request of this key; the value is empty."},
        },
    }
    channel("requests", f"{plan.pipeline}.requests", request, "receive", "Requests, from any Kafka client.")
    answer = _message({"oneOf": [_schema(plan.answer_type), ERROR]}, _envelope(), key="The request's id.")
    channel(
        "answers", f"{plan.pipeline}.answers", answer, "send",
        "One answer a request, a value or an error. Read it with isolation.level=read_committed.",
    )  # fmt: skip
    dead = _message({"description": "The original bytes."}, _strings(dict.fromkeys(DEAD_LETTER_HEADERS, "")))
    channel("dead-letters", f"{plan.pipeline}.dead-letters", dead, "send", "What could not be used, with the reason.")
    for stage in plan.stages:
        payload = TEXT if stage.kind is StageKind.MODEL else {"oneOf": [_schema(stage.output_type), ERROR]}
        channel(
            f"stage-{stage.name}", plan.topic(stage.name), _message(payload, _envelope()), "send",
            f"What stage {stage.name} gives, before any commit: a higher run may supersede it.",
        )  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "info": {"title": plan.pipeline, "version": version, "description": f"Plan {plan.digest}."},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def _message(payload: Schema, headers: Schema | None, key: str = "") -> Schema:
    message: Schema = {"payload": payload, "contentType": "application/json"}
    if headers is not None:
        message["headers"] = headers
    if key:
        message["bindings"] = {"kafka": {"key": {"type": "string", "description": key}}}
    return message


def _schema(kind: Any) -> Schema:
    """Each with its own definitions inside, so that it can be cut out and used alone."""
    return TypeAdapter(kind).json_schema()


def _envelope() -> Schema:
    return _strings(ENVELOPE)


def _strings(names: Mapping[str, str]) -> Schema:
    return {
        "type": "object",
        "properties": {n: {"type": "string"} | ({"description": d} if d else {}) for n, d in names.items()},
    }
