"""What the virtual processes obey beside the core: each field is a sentence of PROTOCOL that a flaw can take back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rules:
    drains_on_revoke: bool = True
    """6.4: commits in flight are waited for before a partition is given back."""
    drops_slot_with_partition: bool = True
    """7.6: losing one partition drops the whole slot."""
    waits_for_all_inputs: bool = True
    """7.1: takeover waits for partition i of all topics."""
    claims_before_fetch: bool = True
    """7.2: offsets are fetched when the coordinator has said, to a member that has heard of its assignment, that the
    slot is its own."""
    raises_epoch: bool = True
    """7.3: the epoch is raised and committed before anything runs."""
    commits_epoch_first: bool = True
    """7.3: nothing runs before that commit has succeeded."""
    keeps_metadata: bool = True
    """6.3: every commit carries epoch, position and marks."""
    marks_after_acks: bool = True
    """4.1: a run is finished when everything that it emits is acknowledged."""
    retries_refused: bool = True
    """4.2: an output that is refused fails the run."""
    waits_for_pending_offsets: bool = True
    """7.2: takeover waits for a pending transaction."""
    restores_to_high_watermark: bool = True
    """9.5: the window is read until the last stable offset reaches the high watermark."""
    window_from_oldest_needed: bool = True
    """9.5: the window's position is that of the oldest answer still needed."""
    starts_over_after_abort: bool = True
    """9.3: nothing is decided on the strength of a transaction that was aborted."""
    keyless_ids_are_places: bool = True
    """9.1: a record without key is called by its place, never by chance."""
    fences_texts: bool = True
    """8.3: a text is continued only behind an acknowledged fence."""
    resumes_from_ids: bool = True
    """8.3: generation continues from token ids, not from text."""
    control_is_followed: bool = True
    """9.6: instances and workers free what is closed."""
    closer_alone_answers: bool = True
    """9.3: only the closer writes answers."""
    markers_pass: bool = True
    """4.4: stages below forward the markers of a level above the key depth."""
    replays_first: bool = True
    """7.5: no run is started before the end offsets noted at takeover are reached."""
    fixes_partition_count: bool = True
    """9.8: a process does not start when a topic has another partition count than its settings say."""
    out_of_range_is_fatal: bool = True
    """7.4: a position below a log's first record ends the process; it is never moved."""


KEPT: Final = Rules()
