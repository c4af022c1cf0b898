"""A flag: the durable record that an assertion fired on an example, as a CloudEvent."""

from __future__ import annotations

import enum
import hashlib
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from assertions.core.definition import Assertion
from assertions.core.observation import JOINED, Observation, canonical, digest
from assertions.core.severity import Correction, Finding

FLAG_TYPE: Final = "descant.assertions.flag.v1"
SCHEMA: Final = "urn:descant:schema:flag:1"
# A record of Kafka's default limit is 1 MB. Half of it for the example leaves room for references and corrections.
EXAMPLE_BYTES_MAX: Final = 500_000
CORRECTION_BYTES_MAX: Final = 200_000
WINDOW_REFERENCES_MAX: Final = 50


class FlagState(enum.StrEnum):
    PROVISIONAL = "provisional"  # early, or on a run that may yet be superseded
    STANDING = "standing"  # the request closed on this run and no earlier observation can come any more
    WITHDRAWN = "withdrawn"  # what it rested on was superseded or corrected; it counts for nothing


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AssertionRef(Model):
    name: str
    version: str
    rule: str = ""
    """Which of its checks fired: "attr.capital:Bolivia", "flicker:7"; empty when it has one."""
    owner: str = ""
    tags: tuple[str, ...] = ()


class LineageRef(Model):
    """Where the example came from."""

    pipeline: str
    stages: tuple[str, ...]
    request: str
    serial: str
    path: str
    run: str


class ValueRef(Model):
    """Stands for a value that is too large for a flag."""

    reference: str | None
    """"topic:partition:offset" of the record that holds it."""
    bytes: int
    sha256: str


class CorrectionRef(Model):
    """What the assertion proposes."""

    kind: Literal["modify", "remove", "add"]
    targets: tuple[str, ...] = ()
    changes: dict[str, Any] = Field(default_factory=dict)
    additions: tuple[Any, ...] = ()


class Versions(Model):
    plan: str | None = None
    """Digest of the traced flow."""
    model: str | None = None


class FlagDetail(Model):
    """`data` of the CloudEvent."""

    state: FlagState
    revision: int
    """Counts the records of this flag; the highest is the newest."""
    assertion: AssertionRef
    severity: float
    """Higher is worse; greater than 0."""
    why: str = ""
    example: dict[str, Any]
    """Stage → value: the whole example. A value too large is a ValueRef."""
    example_is_complete: bool = True
    """False: a text that was still being generated."""
    lineage: LineageRef
    window: tuple[str, ...] = ()
    """Ids of the observations that it was judged against, nearest last."""
    correction: CorrectionRef | None = None
    decision: Literal["abort", "retry", "replace"] | None = None
    """What was asked of the pipeline, which does it unless the request was answered first. abort: the answer says so.
    retry, replace: the stage gives another output, and this flag is withdrawn with the one that it is about."""
    replacement: Any = None
    """Of "replace": the output that stands in place of the flagged one."""
    versions: Versions = Versions()


class Flag(Model):
    """A CloudEvents 1.0 event in structured JSON. Records with the same `id` are states of one flag."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    """Deterministic: the same example, assertion, version and rule give the same id, on every replay."""
    source: str
    type: Literal["descant.assertions.flag.v1"] = "descant.assertions.flag.v1"
    subject: str
    """The example: "<request id>/<path>". The record's key."""
    time: str
    """Event time of the example, RFC 3339."""
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Literal["urn:descant:schema:flag:1"] = "urn:descant:schema:flag:1"
    traceparent: str | None = None
    """CloudEvents distributed tracing extension."""
    data: FlagDetail

    @property
    def state(self) -> FlagState:
        return self.data.state

    @property
    def severity(self) -> float:
        return self.data.severity

    @property
    def assertion(self) -> str:
        return self.data.assertion.name

    @property
    def pipeline(self) -> str:
        return self.data.lineage.pipeline

    @property
    def observation(self) -> str:
        """Id of the example, as `data.window` of other flags names it."""
        place = self.data.lineage
        return "/".join((place.pipeline, JOINED.join(place.stages), place.serial, place.path, place.run))

    def to_bytes(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()

    @staticmethod
    def from_bytes(value: bytes | str) -> Flag:
        """Raises pydantic.ValidationError for anything that is no flag."""
        return Flag.model_validate_json(value)


def flag_id(assertion: Assertion, observation: Observation, rule: str) -> str:
    return digest(assertion.name, assertion.version, observation.id, rule)


def make_flag(
    assertion: Assertion,
    observation: Observation,
    finding: Finding,
    *,
    state: FlagState,
    revision: int,
    window: tuple[str, ...],
) -> Flag:
    correction = finding.correction
    return Flag(
        id=flag_id(assertion, observation, finding.rule),
        source=f"/{observation.pipeline}/{observation.stage}",
        subject=observation.subject,
        time=rfc3339(observation.time),
        traceparent=observation.trace,
        data=FlagDetail(
            state=state,
            revision=revision,
            assertion=AssertionRef(
                name=assertion.name,
                version=assertion.version,
                rule=finding.rule,
                owner=assertion.owner,
                tags=tuple(sorted(assertion.tags)),
            ),
            severity=finding.severity,
            why=finding.why,
            example=_bounded(observation),
            example_is_complete=observation.is_complete,
            lineage=LineageRef(
                pipeline=observation.pipeline,
                stages=observation.stages,
                request=observation.request,
                serial=observation.serial,
                path=observation.path,
                run=observation.run,
            ),
            window=(finding.references or window)[-WINDOW_REFERENCES_MAX:],
            correction=None if correction is None else _proposed(correction, observation),
            decision=assertion.enforce if _may_enforce(assertion, observation) else None,
            replacement=None if finding.instead is None else _Room(CORRECTION_BYTES_MAX, None).put(finding.instead),
            versions=Versions(plan=observation.plan, model=observation.model),
        ),
    )


def rfc3339(seconds: float) -> str:
    """UTC with microseconds. Times before year 1 or after 9999 are cut to those."""
    within = min(max(seconds, -62_135_596_800.0), 253_402_300_799.0)
    return datetime.fromtimestamp(within, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _may_enforce(assertion: Assertion, observation: Observation) -> bool:
    return assertion.enforce == "abort" or observation.revisions < assertion.retries


class _Room:
    """Bytes that are left for values; one that is too large is named in its place."""

    def __init__(self, left: int, reference: str | None) -> None:
        self._left = left
        self._reference = reference

    def put(self, value: Any) -> Any:
        encoded = canonical(value).encode()
        if len(encoded) <= self._left:
            self._left -= len(encoded)
            return value
        hashed = hashlib.sha256(encoded).hexdigest()
        return ValueRef(reference=self._reference, bytes=len(encoded), sha256=hashed).model_dump()


def _bounded(observation: Observation) -> dict[str, Any]:
    room = _Room(EXAMPLE_BYTES_MAX, observation.source)
    return {stage: room.put(value) for stage, value in zip(observation.stages, observation.values, strict=True)}


def _proposed(correction: Correction, observation: Observation) -> CorrectionRef:
    room = _Room(CORRECTION_BYTES_MAX, None)
    return CorrectionRef(
        kind=correction.kind,
        targets=correction.targets[:WINDOW_REFERENCES_MAX] or (observation.id,),
        changes={name: room.put(change) for name, change in correction.changes.items()},
        additions=tuple(room.put(each) for each in correction.additions),
    )


def flag_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a flag record."""
    schema = Flag.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **schema}
