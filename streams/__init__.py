"""Pipelines of typed stages that stream to each other through Kafka."""

from streams.errors import DescantError
from streams.flow import Chunk, Drop, Failed, Pipeline, Prompt, Stage, Stream

__all__ = ["Chunk", "DescantError", "Drop", "Failed", "Pipeline", "Prompt", "Stage", "Stream"]
