"""Errors of model serving; the tree is in streams.errors."""

from streams.errors import StageError


class PromptError(StageError):
    """The prompt cannot be served by any worker of this model: too long, a parameter out of range."""

    code = "model.prompt"


class EngineDeadError(StageError):
    """The engine behind this worker is gone. Never an error item: the prompts are served by somebody else."""

    code = "model.engine_dead"
