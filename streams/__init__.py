"""Pipelines of typed stages that stream to each other through Kafka."""

from typing import TYPE_CHECKING

from streams.errors import DescantError

if TYPE_CHECKING:
    from streams.flow import Chunk, Drop, Failed, Pipeline, Prompt, Resource, Stage, Stream, hints
else:

    def __getattr__(name: str) -> object:
        # At the first use, since pydantic comes with it: `descant --help` goes through here and must not wait.
        if name not in __all__:
            raise AttributeError(f"module 'streams' has no attribute {name!r}")
        from streams import flow  # noqa: PLC0415

        return getattr(flow, name)


__all__ = ["Chunk", "DescantError", "Drop", "Failed", "Pipeline", "Prompt", "Resource", "Stage", "Stream", "hints"]
