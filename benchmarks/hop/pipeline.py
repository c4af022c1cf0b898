"""Descant's candidate: one stage, `pass_on`, between a request and its answer."""

from streams import Pipeline

hop = Pipeline("hop")


@hop.stage
def pass_on(text: str) -> str:
    return text


@hop.flow
def flow(text: str) -> str:
    return pass_on(text)
