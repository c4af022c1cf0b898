"""The verifier that the pipeline serves with: the newest version that was promoted, or the one of the seed claims."""

from __future__ import annotations

from typing import Final

from examples.factcheck.verifier import Verifier, current, read
from learning.artefacts import open_store
from learning.following import following
from learning.records import ModelVersion
from streams import Resource

MODEL: Final = "verifier"
"""Its name on the learning topics."""


def loaded(version: ModelVersion, artefact: bytes) -> Verifier:
    """Raises ConfigError if it is no verifier over these features."""
    return read(artefact, version.key, f"v{version.version}")


verifier: Final = Resource(following(MODEL, loaded, open_store, current))
