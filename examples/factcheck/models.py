"""What flows between the stages of the fact checker."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from examples.factcheck.tables import Relation

Label = Literal["supported", "refuted", "unknown"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(BaseModel):
    """A request: any Kafka client may produce `{"text": "Tell me about Bolivia."}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    text: str = Field(min_length=1, max_length=400)


class Claim(_Value):
    """One sentence of the draft that can be read alone."""

    sentence: str
    """As the model wrote it: "Its capital is La Paz."."""
    text: str
    """With its subject named: "Bolivia's capital is La Paz."."""


class Triple(_Value):
    entity: str
    relation: Relation
    object: str


class Evidence(_Value):
    """What the tables say about a claim."""

    triple: Triple | None = None
    entity: str | None = None
    """The country's name in the tables."""
    facts: tuple[str, ...] = ()
    """Every true value, the closest to the claim's first. Empty: the tables cannot tell."""
    source: str | None = None
    """The packages that the facts come from."""
    reason: str | None = None
    """Why there are no facts."""


class Verdict(_Value):
    sentence: str
    label: Label
    confidence: float
    """Probability of the label as the verifier sees it, 0.5 to 1; 0 for unknown."""
    evidence: Evidence
    margin: float
    """The model's log-probability of "yes" minus that of "no"."""
    features: dict[str, float]
    """What the verifier saw: a flagged verdict is a whole training example."""
    verifier: str
    """Version of the verifier that judged."""


class Report(_Value):
    question: str
    verdicts: tuple[Verdict, ...]
    supported: int
    refuted: int
    unknown: int
    text: str
    """The draft with its errors marked, for people."""
