"""An OpenAI-compatible server, asked for what the pipeline needs before anything is started.

Otherwise a server that is not there shows minutes later, in a worker's last words; and without log-probabilities the
verifier would judge all the same, without knowing what the model thinks.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from examples.factcheck.prompts import VERIFY_ALTERNATIVES, VERIFY_TOKENS, verify_prompt
from streams.errors import ConfigError
from workers.engines.protocol import Generation, Sampling
from workers.engines.registry import create_engine

# A worker waits for two minutes, since servers and workers may be started together; here a person waits.
ANSWER_SECONDS_MAX: Final = 10.0


async def check_server(model: str) -> None:
    """Ask for one token as the stage `verify` does, of the model that a worker would serve as `model`.

    Raises ConfigError (no server, key refused, model not there, no log-probabilities), PromptError (it does not write).
    """
    engine = create_engine("openai", {"served_name": model, "start_seconds": ANSWER_SECONDS_MAX})
    await engine.start()
    try:
        sampling = Sampling(max_tokens=VERIFY_TOKENS, temperature=0.0, logprobs=VERIFY_ALTERNATIVES)
        wanted = Generation("check", verify_prompt(["Nairobi"], "Nairobi"), sampling)
        async with aclosing(engine.generate(wanted)) as chunks:
            found = [chunk.logprobs async for chunk in chunks]
    finally:
        await engine.close()
    if not any(found):
        raise ConfigError(
            "the server gives no log-probabilities, by which the fact checker judges; use one that has `logprobs` on "
            "/v1/completions, as vLLM and llama.cpp do.",
            code="demo.no_logprobs",
        )
