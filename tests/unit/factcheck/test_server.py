from __future__ import annotations

import pytest

from examples.factcheck.server import check_server
from streams.errors import ConfigError
from tests.fixtures.openai_server import served, stream


async def test_a_server_without_log_probabilities_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(stream(" yes")) as server:
        monkeypatch.setenv("DESCANT_OPENAI_BASE_URL", server.url)
        with pytest.raises(ConfigError, match="log-probabilities") as refused:
            await check_server("gemma-3-270m")
    assert refused.value.code == "demo.no_logprobs"
