"""Labels and model versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from console.http.streams import HubOf
from learning.records import JobRecord, Label, LabelRequest, ModelVersion
from learning.view import Learned
from learning.worth import Worth, worth

router = APIRouter(prefix="/v1", tags=["learning"])

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Queue(BaseModel):
    """What waits for a label."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    is_there: bool
    """False: there are no learning topics on this Kafka yet."""
    pending: int
    """All of them."""
    requests: list[LabelRequest]
    """The oldest."""


class NewLabel(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    example: Name
    value: Name
    """One of the classes of its request."""
    labeller: Name = "console"
    """Who says so; a later label of the same labeller replaces this one."""


class ModelView(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    name: str
    versions: list[ModelVersion]
    """Newest first."""
    job: JobRecord | None
    """How far its retraining is, or how the last one ended."""
    labels: int
    """Standing labels of its examples."""
    pending: int
    """Examples that wait for a label."""


class Learning(BaseModel):
    model_config = ConfigDict(frozen=True)
    is_there: bool
    models: list[ModelView]
    assertions: list[Worth]


@router.get("/label-requests")
async def list_pending(hub: HubOf, model: str | None = None, count: Annotated[int, Query(ge=1, le=500)] = 50) -> Queue:
    """Examples that wait for a label, oldest first."""
    requests, pending = hub.labelling.pending(model, count)
    return Queue(is_there=hub.labelling.is_there, pending=pending, requests=requests)


@router.post("/labels", status_code=201)
async def submit_label(label: NewLabel, hub: HubOf) -> Label:
    """Say what an example is. 404: nobody asked about it. 422: not one of its classes."""
    return await hub.labelling.submit(label.example, label.value, label.labeller)


@router.get("/model-versions")
async def list_versions(hub: HubOf) -> Learning:
    """Every version of every model with its gate result, and what each assertion is worth."""

    def models(learned: Learned) -> list[ModelView]:
        return [
            ModelView(
                name=name,
                versions=list(reversed(learned.known(name))),
                job=learned.jobs.get(name),
                labels=learned.labels.count(name),
                pending=len(learned.labels.pending(name)),
            )
            for name in sorted(learned.models)
        ]

    return Learning(
        is_there=hub.labelling.is_there,
        models=hub.labelling.ask(models),
        assertions=hub.labelling.ask(worth),
    )
