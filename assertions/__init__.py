"""Model assertions over streams: severities, consistency, flags, alerts."""

from assertions.api import assertion, consistency
from assertions.core.definition import Assertion
from assertions.core.flag import Flag, FlagState
from assertions.core.observation import Observation
from assertions.core.registry import Registry
from assertions.core.severity import Abstain, Correction, Severity
from assertions.core.window import Window
from assertions.offline import Evaluation, evaluate, read_observations
from assertions.subscription import alerts

__all__ = [
    "Abstain",
    "Assertion",
    "Correction",
    "Evaluation",
    "Flag",
    "FlagState",
    "Observation",
    "Registry",
    "Severity",
    "Window",
    "alerts",
    "assertion",
    "consistency",
    "evaluate",
    "read_observations",
]
