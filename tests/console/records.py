"""Records that other parts of Descant write, for the pages that show them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Producer

from assertions.core.flag import AssertionRef, CorrectionRef, Flag, FlagDetail, FlagState, LineageRef
from assertions.core.log import Batch, Routed, encode_batch
from assertions.core.observation import Observation
from learning.records import (
    ArtefactRef,
    GateResult,
    Interval,
    LabelRequest,
    ModelVersion,
    Record,
    Verdict,
    VersionState,
)

A_HASH = "0" * 64


def flag(
    assertion: str,
    request: str,
    example: Mapping[str, Any],
    *,
    id: str,
    why: str = "",
    severity: float = 1.0,
    state: FlagState = FlagState.STANDING,
    revision: int = 1,
    window: tuple[str, ...] = (),
    correction: CorrectionRef | None = None,
) -> Flag:
    return Flag(
        id=id,
        source="/factcheck/verdict",
        subject=f"{request}/0",
        time=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        data=FlagDetail(
            state=state,
            revision=revision,
            assertion=AssertionRef(name=assertion, version="1", rule="attr.capital:Bolivia", tags=("consistency",)),
            severity=severity,
            why=why,
            example=dict(example),
            lineage=LineageRef(
                pipeline="factcheck", stages=("verdict",), request=request, serial="0:7", path="0", run="1-1"
            ),
            window=window,
            correction=correction,
        ),
    )


def observation(request: str, serial: str, value: Any) -> Observation:
    return Observation(
        pipeline="factcheck",
        stages=("verdict",),
        values=(value,),
        serial=serial,
        path="0",
        time=time.time(),
        request=request,
        run="1-1",
    )


def log_record(*observations: Observation) -> bytes:
    return encode_batch(Batch(time.time(), tuple(Routed(each, is_plain=True) for each in observations)))


def label_request(id: str, model: str, example: Any, *, predicted: str = "supported") -> LabelRequest:
    return LabelRequest(
        id=id,
        model=model,
        example=example,
        classes=("supported", "refuted", "unknown"),
        predicted=predicted,
        flags=("f1",),
        severities={"agrees-on-capital": 0.8},
        requested_at=datetime.now(UTC),
    )


def model_version(name: str, version: int, state: VersionState, accuracy: float, gain: float | None) -> ModelVersion:
    def around(value: float, spread: float) -> Interval:
        return Interval(value=value, low=value - spread, high=value + spread, n=240)

    artefact = ArtefactRef(uri=f"{name}/{version}", sha256=A_HASH, size_bytes=1_024)
    is_promoted = state is not VersionState.HELD
    return ModelVersion(
        name=name,
        version=version,
        state=state,
        artefact=artefact,
        training_set=artefact,
        training_set_digest=A_HASH,
        labels=60 * version,
        gate=GateResult(
            verdict=Verdict.PROMOTE if is_promoted else Verdict.HOLD,
            reasons=("more accurate than the current version",) if is_promoted else ("recall of refuted fell by 0.12",),
            accuracy=around(accuracy, 0.05),
            gain=None if gain is None else around(gain, 0.03),
            firings={"agrees-on-capital": (0.14, 0.14 - 0.03 * version)},
            latency_ms=0.4,
        ),
        parent=version - 1 or None,
        job=f"job-{version}",
        created_at=datetime.now(UTC),
    )


class Records:
    """Produces them."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})

    def send(self, topic: str, key: str, value: bytes) -> None:
        self._producer.produce(topic, value, key)

    def record(self, record: Record) -> None:
        self.send(record.topic, record.key, record.encoded())

    def flush(self) -> None:
        assert self._producer.flush(30) == 0
