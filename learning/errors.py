"""What can go wrong in the learning loop; each has a stable `code`."""

from __future__ import annotations

from streams.errors import ConfigError, RecordError


class SelectionError(ConfigError):
    """Arrays, budget or state that a selector cannot work with; the generator has not been touched."""

    code = "learning.selection"


class UnknownNameError(ConfigError):
    """A selector or trainer that nobody registered."""

    code = "learning.unknown-name"


class TrainingError(ConfigError):
    """A fit that must not be tried (empty, one class) or that the trainer itself refused."""

    code = "learning.training"


class LeakageError(TrainingError):
    """The held-out set shares a request or an entity with what was trained on."""

    code = "learning.leakage"


class ArtefactError(ConfigError):
    """A model artefact that is missing, too large, or whose bytes are not the ones that were promoted."""

    code = "learning.artefact"


class StoreError(ArtefactError):
    """The artefact store cannot be used now: not reached, not allowed, not there. No artefact is at fault, and the same
    call may succeed later."""

    code = "learning.artefact.store"


class LabelError(RecordError):
    """A label that cannot be used: unknown example, wrong class, nothing to withdraw."""

    code = "learning.label"
