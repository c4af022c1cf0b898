"""What a worker says of itself on the compacted `workers.state`: one JSON record, checked before anything
uses it."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from streams.errors import RecordError
from workers.routing.blocks import BLOCK_BYTES, unpack_blocks

# A worker with 4 million KV tokens has 131,072 blocks of 32; twice that is 2.8 MB of base64, the most that
# a topic with a raised message limit carries. More is a mistake, and would fill every router's memory.
BLOCKS_MAX: Final = 262_144
LANES_MAX: Final = 4_096

Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]
Packed = Annotated[str, Field(max_length=4 * ((BLOCKS_MAX * 8 + 2) // 3))]


class WorkerState(BaseModel):
    """One announcement of one worker; key: the worker id.

    Written every 50 ms while something changes, at least twice a second, at once on joining and leaving. A
    snapshot (`full`) carries every block held; the others what changed since the last record. Compaction
    keeps only the last record of a worker, so a snapshot is repeated every few seconds for routers that join.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    worker: Annotated[str, Field(min_length=1, max_length=256)]
    epoch: Count
    """Raised at each start. The highest one counts: an older process with the same id is not heard any
    more."""
    sequence: Count
    """Number of the record within the epoch, from 0; a gap means that block changes were lost."""
    model: Annotated[str, Field(min_length=1, max_length=256)]
    lanes: Annotated[tuple[Annotated[int, Field(ge=0, strict=True)], ...], Field(max_length=LANES_MAX)]
    """The partitions of `models.<model>.prompts` that it owns. None: alive, but to be given nothing."""
    ts: Annotated[float, Field(gt=0, le=1e11, allow_inf_nan=False)]
    """When it was measured, seconds since 1970 by the worker's clock."""
    leaving: bool = False
    """It drains: nothing new is to be sent."""

    pend: Amount = 0.0
    """Prompt tokens accepted, not cached and not computed yet."""
    rate: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] = 20_000.0
    """Prompt tokens a second, of steps that prefill. The default serves until something was measured."""
    base: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.01
    """Mean seconds of an engine step without its prefill part, with the prompts that are there now."""
    further: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.0
    """Seconds that one more running prompt adds to a step. Next to nothing on a GPU, on a CPU most of the step."""
    places: Count = 0
    """Prompts that run at once; others wait until one ends. 0: more than matter."""
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Share of step time spent in prefill."""
    crit: Amount = 0.0
    """Sum of κ of the prompts that decode or wait here."""
    running: Count = 0
    waiting: Count = 0
    context: Amount = 0.0
    """KV tokens that the running prompts hold."""
    free_blocks: Count = 0
    """KV blocks that no running prompt holds, cached or not."""
    blocks: Count = 0
    """KV blocks in all."""

    prompted: Amount = 0.0
    """Tokens of all prompts that had their first token here, so far."""
    cached: Amount = 0.0
    """How many of these the engine found in its prefix cache; 0 where it does not say."""

    hashing: Annotated[str, Field(max_length=32)] = f"bytes/{BLOCK_BYTES}"
    """How prompts are cut into blocks; see workers.routing.blocks."""
    tokens_per_byte: Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)] = 0.25
    """Measured by the worker on its prompts; where routers have no tokenizer they estimate by it."""
    outputs: Annotated[
        dict[str, Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]], Field(max_length=1_024)
    ] = Field(default_factory=dict)
    """Mean output tokens a stage, of prompts finished here."""

    full: bool = False
    """`added` is everything that is held."""
    added: Packed = ""
    """Prefix blocks held since the last record, packed (`pack_blocks`)."""
    removed: Packed = ""

    @field_validator("added", "removed")
    @classmethod
    def _whole_words(cls, packed: str) -> str:
        unpack_blocks(packed)
        return packed

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.free_blocks > self.blocks:
            raise ValueError("more KV blocks free than there are")
        if len(set(self.lanes)) != len(self.lanes):
            raise ValueError("a lane is named twice")
        return self

    @classmethod
    def parse(cls, value: bytes | str) -> WorkerState:
        """Reads a record's value. Raises RecordError, which names the fields and never their content."""
        try:
            return cls.model_validate_json(value)
        except (ValidationError, RecordError) as error:
            fields = (
                ", ".join(sorted({".".join(str(part) for part in e["loc"][:1]) or "record" for e in error.errors()}))
                if isinstance(error, ValidationError)
                else "blocks"
            )
            raise RecordError(
                f"a worker's state cannot be used (wrong: {fields}): it runs another version, or something "
                "else writes to workers.state. It is not routed to until it announces a valid state.",
                code="record.worker_state",
            ) from error
