"""The programming model: stages, tracing, and the plan that the runtime carries out."""

from streams.flow.hints import hints
from streams.flow.pipeline import Pipeline, Stage
from streams.flow.resource import Resource
from streams.flow.stream import Stream
from streams.flow.values import Chunk, Drop, Failed, Prompt

__all__ = ["Chunk", "Drop", "Failed", "Pipeline", "Prompt", "Resource", "Stage", "Stream", "hints"]
