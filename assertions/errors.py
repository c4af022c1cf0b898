"""What this package refuses. Part of the DescantError tree (streams/errors.py)."""

from __future__ import annotations

from streams.errors import ConfigError, RecordError


class AssertionSetupError(ConfigError):
    """An assertion that cannot be registered or run: two of one name, an empty window, an unknown stage."""

    code = "assertion.setup"


class DuplicateAssertionError(AssertionSetupError):
    """Two assertions of one name: their flags would have the same ids."""

    code = "assertion.duplicate"

    def __init__(self, name: str, where: str) -> None:
        super().__init__(
            f"assertion {name!r} is already registered by {where}. Give one of them another name=; names are how "
            "flags, labels and alerts refer to an assertion for as long as they are kept."
        )


class SeverityRefusedError(ConfigError):
    """An assertion returned something that is no severity."""

    code = "assertion.severity"


class ObservationError(RecordError):
    """A line or record that is no observation."""

    code = "assertion.observation"
