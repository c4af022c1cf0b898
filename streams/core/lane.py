"""One lane: the prompts of one partition, and who may write each of their texts (PROTOCOL §8).

Prompts, what the log of a text holds, tokens and acknowledgements go in; effects come out, in the order in which they
must happen. The engine, its queue and the coalescing of tokens are the worker service's. A fresh prompt, one that was
produced after this owner took over, is generated at once: a restart outranks whatever a stale owner writes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from streams.core.failure import Failure
from streams.core.lineage import Lineage, Path, RunId, Serial
from streams.core.offsets import SlotMetadata
from streams.core.record import Envelope, Kind
from streams.core.text import Piece, Text, decode_piece, encode_piece
from streams.errors import RecordError


class TextNode(NamedTuple):
    """The task that a prompt belongs to. Lanes serve several pipelines, and several versions of one."""

    pipeline: str
    plan: str
    serial: Serial
    stage: str
    path: Path


class Phase(enum.Enum):
    REPLAYED = enum.auto()  # read before the end offsets of the takeover; nothing starts yet
    LOOKING = enum.auto()  # the output partition is being read
    FENCING = enum.auto()  # a fence is on its way, or what precedes it is being read
    WRITING = enum.auto()
    FINISHED = enum.auto()  # every record of the text is acknowledged, or nobody needs it
    LOST = enum.auto()  # somebody newer owns the lane


@dataclass(slots=True, eq=False)
class Prompt:
    """A prompt run that is not finished; the record that asked for it."""

    offset: int
    node: TextNode
    envelope: Envelope
    """What its text must carry; `lin` ends with the prompt run."""
    value: bytes | None
    phase: Phase = Phase.REPLAYED
    text: Text = field(default_factory=Text)
    """What the log holds of its text, as far as it was read in this look."""
    is_torn: bool = False
    """It holds something that no writer makes: it cannot be continued."""
    writing: Writing | None = None

    def is_text_of(self, envelope: Envelope) -> bool:
        """Whether a record of the output partition belongs to this prompt run's text."""
        mine = self.envelope
        return (
            envelope.w is not None
            and envelope.serial == mine.serial
            and envelope.stage == mine.stage
            and envelope.path == mine.path
            and envelope.lin == mine.lin
        )

    def __repr__(self) -> str:
        return f"<prompt {self.offset} of {self.node.stage} {self.node.serial} {self.node.path} {self.phase.name}>"


@dataclass(slots=True, eq=False)
class Writing:
    """One incarnation's part in a text."""

    prompt: Prompt
    w: RunId
    base: RunId
    resume: tuple[int, ...] = ()
    """Token ids that are in the log already; generation goes on after them."""
    length: int = 0
    """Tokens in the log or on their way."""
    unacked: int = 0
    is_ended: bool = False
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Read the output partition from the prompt's append time, less a margin, to its end as of now; give each record
    of this text to `seen`, in log order, then call `looked`."""

    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Fence:
    """Produce the envelope, without a value, to the output partition. When it is acknowledged at offset f, go on
    reading from where the look ended, up to and including f, giving records to `seen`; then call `fenced`."""

    writing: Writing
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask the engine for tokens from position `writing.length` on, continuing `writing.resume`."""

    writing: Writing


@dataclass(frozen=True, slots=True)
class Write:
    """Produce to the output topic; report with `acked` or `refused`."""

    writing: Writing
    envelope: Envelope
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Halt:
    """Nobody needs the rest: abort the generation, ignore what it still gives."""

    writing: Writing


LaneEffect: TypeAlias = Look | Fence | Generate | Write | Halt


class Lane:
    """A lane in one incarnation of its owner, from replay on."""

    def __init__(
        self,
        *,
        epoch: int,
        position: int,
        next_n: Callable[[], int],
        is_closed: Callable[[str, Serial], bool],
        can_resume: bool,
    ) -> None:
        """
        epoch       what this owner committed when it took over
        position    committed offset, where reading starts
        next_n      the owner's counter over all its lanes, never reset
        is_closed   (pipeline, serial) -> what `control` says so far
        can_resume  the engine can continue from token ids
        """
        self.epoch: Final = epoch
        self.is_replaying = True
        self._position = position
        self._next_n: Final = next_n
        self._is_closed: Final = is_closed
        self._can_resume: Final = can_resume
        self._prompts: Final[dict[int, Prompt]] = {}  # by offset: in log order
        self._by_node: Final[dict[TextNode, list[Prompt]]] = {}
        self._by_serial: Final[dict[tuple[str, Serial], set[int]]] = {}

    # -- prompts ---------------------------------------------------------------------------------------------------

    def record(self, offset: int, pipeline: str, envelope: Envelope, value: bytes | None) -> Iterator[LaneEffect]:
        """Take the next record of the lane: a prompt, or a `cancel` of the node's lower runs."""
        self._position = offset + 1
        serial = envelope.serial
        if serial is None or self._is_closed(pipeline, serial):
            return
        node = TextNode(pipeline, envelope.plan, serial, envelope.stage, envelope.path)
        known = self._by_node.get(node, [])
        for other in tuple(known):
            if is_lower(other.envelope.lin, envelope.lin):
                yield from self._drop(other)
        if envelope.kind is not Kind.ITEM or any(not is_lower(o.envelope.lin, envelope.lin) for o in known):
            return
        prompt = self._prompts[offset] = Prompt(offset, node, envelope, value)
        self._by_node.setdefault(node, []).append(prompt)
        self._by_serial.setdefault((pipeline, serial), set()).add(offset)
        if not self.is_replaying:
            yield self._generate(prompt)

    def skip(self, offset: int) -> None:
        """A record that is no prompt was read."""
        self._position = offset + 1

    def caught_up(self) -> Iterator[LaneEffect]:
        """The end offset noted at takeover is reached: what the predecessors left is looked at."""
        self.is_replaying = False
        for prompt in tuple(self._prompts.values()):
            yield self._look(prompt)

    def closed(self, pipeline: str, serial: Serial) -> Iterator[LaneEffect]:
        """The request has its answer."""
        for offset in sorted(self._by_serial.get((pipeline, serial), ())):
            yield from self._drop(self._prompts[offset])

    def _drop(self, prompt: Prompt) -> Iterator[Halt]:
        writing = prompt.writing
        if writing is not None:
            writing.is_void = True
            yield Halt(writing)
        self._finish(prompt)

    def _finish(self, prompt: Prompt) -> None:
        prompt.phase = Phase.FINISHED
        prompt.writing = None
        del self._prompts[prompt.offset]
        siblings = self._by_node[prompt.node]
        siblings.remove(prompt)
        if not siblings:
            del self._by_node[prompt.node]
        name = (prompt.node.pipeline, prompt.node.serial)
        self._by_serial[name].discard(prompt.offset)
        if not self._by_serial[name]:
            del self._by_serial[name]

    # -- the log of a text -----------------------------------------------------------------------------------------

    def _look(self, prompt: Prompt) -> Look:
        prompt.phase, prompt.text, prompt.is_torn, prompt.writing = Phase.LOOKING, Text(), False, None
        return Look(prompt)

    def seen(self, prompt: Prompt, envelope: Envelope, value: bytes | None) -> None:
        """The next record of this text, in log order, while looking or fencing."""
        if prompt.phase not in (Phase.LOOKING, Phase.FENCING):
            return
        try:
            piece = decode_piece(envelope.position, value) if envelope.kind is Kind.CHUNK else None
            prompt.text.on(envelope, piece)
        except RecordError:
            prompt.is_torn = True

    def looked(self, prompt: Prompt) -> Iterator[LaneEffect]:
        """The output partition has been read to its end as of the look."""
        if prompt.phase is not Phase.LOOKING:
            return
        text = prompt.text
        if text.cur is None:
            yield self._generate(prompt)
        elif self._is_newer(text.cur):
            prompt.phase = Phase.LOST
        elif text.base is not None and not prompt.is_torn and (text.is_over or self._can_continue(prompt)):
            # Even a text that has ended: a predecessor's restart that is still in flight would void it.
            prompt.phase = Phase.FENCING
            prompt.writing = Writing(prompt, RunId(self.epoch, self._next_n()), text.base)
            yield Fence(prompt.writing, self._envelope(prompt.writing, Kind.FENCE))
        else:
            yield self._generate(prompt)

    def fenced(self, writing: Writing) -> Iterator[LaneEffect]:
        """The log has been read up to the fence: what it holds now is final but for what this writer adds."""
        prompt = writing.prompt
        if writing.is_void or prompt.phase is not Phase.FENCING:
            return
        text = prompt.text
        if text.cur is not None and text.cur > writing.w:
            prompt.phase = Phase.LOST
        elif text.is_over and not prompt.is_torn:
            self._finish(prompt)
        elif self._can_continue(prompt) and text.base is not None:
            writing.base, writing.resume, writing.length = text.base, text.token_ids, text.length
            prompt.phase = Phase.WRITING
            yield Generate(writing)
        else:
            yield self._generate(prompt)

    def _is_newer(self, w: RunId) -> bool:
        return w.epoch > self.epoch

    def _can_continue(self, prompt: Prompt) -> bool:
        text = prompt.text
        # A fence without tokens before it: the look may have begun after the text did.
        return self._can_resume and not prompt.is_torn and text.length > 0 and len(text.token_ids) == text.length

    # -- writing ---------------------------------------------------------------------------------------------------

    def _generate(self, prompt: Prompt) -> Generate:
        """From nothing, as a new base: this outranks whatever is in the log."""
        w = RunId(self.epoch, self._next_n())
        prompt.phase, prompt.writing = Phase.WRITING, Writing(prompt, w, w)
        return Generate(prompt.writing)

    def tokens(self, writing: Writing, piece: Piece) -> Iterator[Write]:
        """The engine gave tokens, coalesced by the caller; `piece.position` must be `writing.length`."""
        if writing.is_void or writing.is_ended:
            return
        if piece.position != writing.length:
            raise RecordError(f"an engine jumps from token {writing.length} to {piece.position}", code="record.gap")
        writing.length += piece.tokens
        yield self._write(writing, Kind.CHUNK, encode_piece(piece), piece.position)

    def ended(self, writing: Writing, failure: Failure | None = None) -> Iterator[Write]:
        """The engine is done, or refused the prompt for good. Faults of the engine itself never come here: they end
        the lane's incarnation, and the next owner continues."""
        if writing.is_void or writing.is_ended:
            return
        writing.is_ended = True
        if failure is None:
            yield self._write(writing, Kind.END, None)
        else:
            yield self._write(writing, Kind.ERROR, failure.encode())

    def acked(self, writing: Writing) -> None:
        """The broker has one more record of this writing."""
        writing.unacked -= 1
        if writing.is_ended and not writing.unacked and not writing.is_void:
            self._finish(writing.prompt)

    def refused(self, writing: Writing) -> Iterator[LaneEffect]:
        """A record of this writing, or its fence, was not delivered and never will be: go on as a new writer."""
        prompt = writing.prompt
        if writing.is_void:
            return
        writing.is_void = True
        yield Halt(writing)
        yield self._look(prompt)

    def _write(self, writing: Writing, kind: Kind, value: bytes | None, position: int = 0) -> Write:
        writing.unacked += 1
        return Write(writing, self._envelope(writing, kind, position), value)

    def _envelope(self, writing: Writing, kind: Kind, position: int = 0) -> Envelope:
        total = writing.length if kind is Kind.END else 0
        envelope = writing.prompt.envelope
        return envelope._replace(kind=kind, base=writing.base, w=writing.w, position=position, total=total)

    # -- committing ------------------------------------------------------------------------------------------------

    @property
    def open_prompts(self) -> int:
        return len(self._prompts)

    def committable(self) -> tuple[int, SlotMetadata]:
        """The lowest prompt that is not finished, or the position; and the metadata beside it."""
        return next(iter(self._prompts), self._position), SlotMetadata(self.epoch)


def is_lower(lin: Lineage, than: Lineage) -> bool:
    """Whether `lin` is outranked: two lineages of one stage and path, the first difference decides (PROTOCOL §3).

    They are of one length unless somebody else writes prompts; a lane does not know the plan that says how long."""
    for run, other in zip(lin, than, strict=False):
        if run is not None and other is not None and run != other:
            return run < other
    return False
