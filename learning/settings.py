"""Settings of the learning processes."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from streams.settings import PositiveInt, Settings


class ArtefactSettings(Settings):
    """Where models and snapshots lie; every process that loads a model needs the same place."""

    model_config = SettingsConfigDict(env_prefix="DESCANT_", frozen=True, extra="ignore", use_attribute_docstrings=True)
    artefacts: str = "artefacts"
    """A folder, or `s3://bucket/prefix` (extra `s3`; endpoint, region and credentials by the usual `AWS_*` variables);
    `--store` comes first."""
    artefact_bytes_max: PositiveInt = 2**30
    """Largest artefact that is written or read: a process holds it in memory whole, twice while it is made a model."""
