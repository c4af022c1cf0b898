"""Descant's candidate: one stage, `pass_on`, between a request and its answer. HOP_PIPELINE names it."""

import os

from streams import Pipeline


def named(name: str) -> Pipeline:
    pipeline = Pipeline(name)

    @pipeline.stage
    def pass_on(text: str) -> str:
        return text

    @pipeline.flow
    def flow(text: str) -> str:
        return pass_on(text)

    return pipeline


hop = named(os.environ.get("HOP_PIPELINE", "hop"))
