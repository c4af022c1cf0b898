"""The assertions' own topics as an AsyncAPI 3.0 document: `descant docs asyncapi assertions`."""

from __future__ import annotations

from typing import Any

from assertions.core.flag import flag_schema
from assertions.core.health import Health, HealthState
from assertions.processor.topics import DEAD_LETTERS, FLAGS, HEALTH


def document(version: str) -> dict[str, Any]:
    """`version`: of Descant; it goes to `info`."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    flag = flag_schema()

    def channel(name: str, topic: str, payload: dict[str, Any], key: str, summary: str, **more: Any) -> None:
        message = {
            "payload": payload,
            "contentType": "application/json",
            "bindings": {"kafka": {"key": {"type": "string", "description": key}}},
            **more,
        }
        channels[name] = {"address": topic, "description": summary, "messages": {name: message}}
        operations[f"send-{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
            "summary": summary,
        }

    channel(
        "flags", FLAGS, flag, "The example's subject: <request>/<path>.",
        "A state of a flag, as a CloudEvent. Records of one `id` are its states; the highest `revision` is the newest.",
        headers=_texts({"ce_id": "The flag's id.", "group": "Of the processors.", "fold": "Partition of their log."}),
    )  # fmt: skip
    channel(
        "health", HEALTH, _health(), "<assertion>/<group>/<instance>; compacted.",
        "How an assertion is doing, every two seconds.",
    )  # fmt: skip
    channel(
        "dead-letters", DEAD_LETTERS, flag, "As of the flag.", "A flag that a webhook did not take.",
        headers=_texts({"reason": "Why.", "url": "Of the webhook."}),
    )  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "assertions", "version": version},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def _health() -> dict[str, Any]:
    known = Health().to_json()
    counts = {name: {"type": "integer"} for name, value in known.items() if isinstance(value, int)}
    quantiles = {name: {"type": ["number", "null"]} for name in known if "_p" in name}
    return {
        "type": "object",
        "required": ["assertion", "group", "instance", "time", "state", "evaluated", "errors"],
        "properties": {
            "assertion": {"type": "string"},
            "group": {"type": "string"},
            "instance": {"type": "string"},
            "time": {"type": "number", "description": "Seconds since 1970."},
            "state": {"enum": [state.value for state in HealthState]},
            "errors": {"type": "object", "additionalProperties": {"type": "integer"}},
            "last_error": {"type": "string"},
            **counts,
            **quantiles,
        },
    }


def _texts(names: dict[str, str]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string", "description": d} for name, d in names.items()}}
