"""The records of the learning topics: one id walks from the flag to the label request, the label, the
training set and the model version. All are JSON on the wire; each record type says its topic and key.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from learning.errors import LabelError

LABEL_REQUESTS = "learning.label-requests"
LABELS = "learning.labels"
MODELS = "learning.models"
JOBS = "learning.jobs"
CHOICES = "learning.choices"

Name = Annotated[str, Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")
    topic: ClassVar[str]

    @property
    def key(self) -> str:
        raise NotImplementedError

    def encoded(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def read(cls, value: bytes | str) -> Self:
        """Raises LabelError, with the fields that are wrong and never their content."""
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            fields = ", ".join(sorted({".".join(map(str, e["loc"])) or "value" for e in error.errors()}))
            raise LabelError(
                f"this is not a {cls.__name__} record; look at: {fields}.", code="learning.record"
            ) from error


class LabelRequest(Record):
    """An example that somebody shall label."""

    topic = LABEL_REQUESTS
    id: Name
    """The example: a label, a training set and `descant trace` name it by this."""
    model: Name
    """Which model the label will teach."""
    example: JsonValue
    """What the labeller sees and the model's features are made of."""
    classes: tuple[Name, ...] = Field(min_length=1)
    predicted: str | None = None
    model_version: int | None = None
    """The version that predicted it."""
    flags: tuple[Name, ...] = ()
    """Ids of the flags that led here; empty: chosen without one."""
    severities: Mapping[str, float] = Field(default_factory=dict)
    """By assertion, those that fired."""
    uncertainty: float | None = None
    request: str | None = None
    """The pipeline's request: examples of one request are never split between training and gate."""
    entity: str | None = None
    """What the example is about, where that is known; the same rule."""
    selector: str = "by-hand"
    round: int = 0
    requested_at: AwareDatetime
    dismissed: bool = False
    """Nobody can label it: it waits no longer."""

    @property
    def key(self) -> str:
        return self.id


class LabelSource(enum.StrEnum):
    PERSON = "person"
    ORACLE = "oracle"  # a program that knows: the demo's fact tables
    IMPORT = "import"


class Label(Record):
    """What one labeller says of one example. A later label of the same labeller replaces the earlier; labels
    of several labellers stand side by side."""

    topic = LABELS
    id: Name
    example: Name
    model: Name
    labeller: Name
    value: str | None
    """A class; None where it is withdrawn."""
    withdrawn: bool = False
    supersedes: str | None = None
    """The label that it replaces or withdraws."""
    source: LabelSource = LabelSource.PERSON
    labelled_at: AwareDatetime

    @property
    def key(self) -> str:
        return self.example


class TrainingExample(Record):
    """One row of a training set, with everything that made it."""

    id: Name
    """The example."""
    example: JsonValue
    value: Name
    weight: float = Field(default=1.0, gt=0, le=1)
    labels: tuple[Name, ...] = ()
    """Ids of the labels that agree on the value."""
    rules: tuple[Name, ...] = ()
    """Weak rules that gave it; empty: people did."""
    flags: tuple[Name, ...] = ()
    request: str | None = None
    entity: str | None = None

    @property
    def key(self) -> str:
        return self.id


class TrainingSet(Record):
    """A snapshot: what a version was trained on, to the last label. Equal content has an equal digest."""

    model: Name
    examples: tuple[TrainingExample, ...]
    disagreements: tuple[Name, ...] = ()
    """Examples left out because labellers contradict each other."""
    conflicts: tuple[Name, ...] = ()
    """Examples on which weak rules contradict each other, whichever won."""

    @property
    def key(self) -> str:
        return self.digest

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        plain = self.model_dump(mode="json")
        return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({example.value for example in self.examples}))


class ArtefactRef(Record):
    """Where the bytes of a model are, and which bytes: a topic never carries a model, and a loader trusts
    only the hash."""

    uri: Name
    """Relative to the store's root."""
    sha256: Sha256
    size_bytes: int = Field(ge=0)
    format: str = "skops"

    @property
    def key(self) -> str:
        return self.sha256


class Interval(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    value: float
    low: float
    high: float
    n: int
    """What it was measured on."""


class Verdict(enum.StrEnum):
    PROMOTE = "promote"
    HOLD = "hold"
    ASK = "ask"


class GateResult(BaseModel):
    """Why a candidate was promoted, held, or put before a person."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    verdict: Verdict
    reasons: tuple[str, ...]
    accuracy: Interval
    """Of the candidate, on the held-out examples; Wilson, 95 %."""
    gain: Interval | None = None
    """Candidate − current accuracy on the same examples; paired bootstrap, 95 %. None without a current
    version."""
    recall: Mapping[str, Interval] = Field(default_factory=dict)
    """By class."""
    firings: Mapping[str, tuple[float, float]] = Field(default_factory=dict)
    """By assertion: share of replayed examples on which it fires, with the current version and with the
    candidate."""
    latency_ms: float | None = None
    """Median for one example."""


class VersionState(enum.StrEnum):
    CANDIDATE = "candidate"  # waits for a person: verdict ask
    CANARY = "canary"  # a share of the traffic is its own
    CURRENT = "current"
    HELD = "held"  # the gate refused it
    RETIRED = "retired"  # was current
    ROLLED_BACK = "rolled-back"


class ModelVersion(Record):
    """One version of a model. `learning.models` holds it under `name@version` and, for the current one, under
    `name` too: a stage that wants the current model reads one key, `descant models list` reads the others."""

    topic = MODELS
    name: Name
    version: int = Field(ge=1)
    state: VersionState
    artefact: ArtefactRef
    training_set: ArtefactRef
    """The snapshot, as JSON; its digest is `training_set_digest`."""
    training_set_digest: Sha256
    labels: int = Field(ge=0)
    """How many labels of people went in."""
    weak: int = Field(default=0, ge=0)
    """How many examples have their class from rules alone."""
    conflicts: int = Field(default=0, ge=0)
    """On how many examples rules contradicted each other."""
    gate: GateResult
    parent: int | None = None
    job: str
    """The retraining job that made it: the same job never makes two."""
    created_at: AwareDatetime
    share: float | None = Field(default=None, gt=0, lt=1)
    """Of the traffic, while it is a canary."""

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"


class Phase(enum.StrEnum):
    ASKED = "asked"  # by hand; a job may start although no trigger is due
    SNAPSHOT = "snapshot"
    TRAINED = "trained"
    GATED = "gated"
    PUBLISHED = "published"
    FAILED = "failed"


class JobRecord(Record):
    """The journal of retraining, keyed by model: the last record of a job says which phase is complete."""

    topic = JOBS
    model: Name
    job: Name
    phase: Phase
    at: AwareDatetime
    served: str | None = None
    """The newest request by hand that this job, or one before it, has served: it has a key and thus a partition of its
    own, and may be read after the journal."""
    labels_seen: int = 0
    """Labels in the snapshot; the trigger counts from here."""
    flags_read: Mapping[int, int] = Field(default_factory=dict)
    """By partition of the flags topic, the first offset that the snapshot has not seen; as `labels_seen`."""
    snapshot: ArtefactRef | None = None
    artefact: ArtefactRef | None = None
    gate: GateResult | None = None
    reason: str | None = None
    """Of FAILED: a sentence for the user."""

    @property
    def key(self) -> str:
        # A request by hand has a key of its own, so that compaction never drops the open job's journal for it.
        return f"{self.model}@asked" if self.phase is Phase.ASKED else self.model


class Choice(Record):
    """How far choosing for a model is. It is written in one transaction with the label requests of its round, so that a
    round is there once or not at all."""

    topic = CHOICES
    model: Name
    round: int = Field(ge=1)
    at: AwareDatetime
    selector: str
    assertions: tuple[str, ...]
    """The columns that the state knows, in their order."""
    state: dict[str, JsonValue] | None = None
    """What labels of earlier rounds taught the selector."""
    untaught: tuple[Name, ...] = ()
    """Examples that were put up for labelling and whose labels the state does not know yet."""

    @property
    def key(self) -> str:
        return self.model


class Canary(Record):
    """Which version takes a share of a model's traffic beside the current one; none where `version` is None."""

    topic = MODELS
    model: Name
    version: ModelVersion | None

    @property
    def key(self) -> str:
        return canary_key(self.model)


def canary_key(model: str) -> str:
    return f"{model}@canary"


def also_under(record: Record) -> list[tuple[str, bytes]]:
    """Further keys of a record, with their values: the current version lies under its model's name as well."""
    if isinstance(record, ModelVersion) and record.state is VersionState.CURRENT:
        return [(record.name, record.encoded())]
    return []


def digest(parts: Sequence[str]) -> str:
    """A short id that the same parts always give."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
