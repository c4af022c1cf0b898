"""Who is let in, from where, with how much and how often."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from console.errors import ConsoleConfigError
from console.http.app import create_app
from console.http.guards import Rate, Sessions
from console.server import ConsoleServer
from console.settings import ConsoleSettings
from console.state.hub import Hub
from streams.settings import KafkaSettings
from tests.console.pipelines import checker

TOKEN = "correct-horse-battery-staple"  # noqa: S105 — of the tests alone
PIPELINE = checker("factcheck", "gemma")
NOWHERE = KafkaSettings(bootstrap="127.0.0.1:1")

Make = Callable[..., TestClient]


@pytest.fixture
def client() -> Make:
    """A console that nothing has been entered of: no Kafka is there, which is all these tests need."""

    def make(**settings: object) -> TestClient:
        found = ConsoleSettings.model_validate(settings)
        return TestClient(create_app(Hub([PIPELINE], NOWHERE, found)), base_url="http://localhost")

    return make


def code_of(answer: object) -> str:
    return str(answer.json()["error"]["code"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["/v1/pipelines", "/v1/flags", "/v1/models", "/openapi.json", "/flags"])
def test_with_a_token_set_nothing_is_told_without_it(client: Make, path: str) -> None:
    console = client(token=TOKEN)
    refused = console.get(path)
    assert (refused.status_code, code_of(refused)) == (401, "console.token")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert console.get(path, headers={"authorization": "Bearer wrong-token-of-24-letters"}).status_code == 401
    assert console.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_browser_is_led_to_the_login_and_back(client: Make) -> None:
    console = client(token=TOKEN)
    html = {"accept": "text/html"}
    led = console.get("/flags", headers=html, follow_redirects=False)
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=/flags")
    assert console.get(led.headers["location"], headers=html).status_code == 200
    assert console.post("/login", data={"token": "no", "next": "/flags"}).status_code == 403
    entered = console.post("/login", data={"token": TOKEN, "next": "/flags"}, follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/flags")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert console.get("/flags").status_code == 200
    console.post("/logout", follow_redirects=False)
    assert console.get("/v1/flags").status_code == 401


@pytest.mark.parametrize("target", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "x"])
def test_a_login_never_leads_elsewhere(client: Make, target: str) -> None:
    answer = client(token=TOKEN).post("/login", data={"token": TOKEN, "next": target}, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_a_session_ends_after_its_hours() -> None:
    now = [0.0]
    sessions = Sessions(TOKEN, lambda: now[0])
    session = sessions.log_in(TOKEN)
    from starlette.datastructures import Headers

    headers = Headers({"cookie": f"descant_session={session}"})
    assert sessions.admits(headers)
    now[0] = 13 * 3_600.0
    assert not sessions.admits(headers)


@pytest.mark.parametrize(
    ("host", "token", "is_refused"),
    [("0.0.0.0", None, True), ("0.0.0.0", "short", True), ("127.0.0.1", None, False), ("0.0.0.0", TOKEN, False)],  # noqa: S104
)
async def test_beyond_loopback_a_token_is_needed(host: str, token: str | None, is_refused: bool) -> None:
    settings = ConsoleSettings.model_validate({"host": host, "token": token, "port": 0})
    if is_refused:
        with pytest.raises(ConsoleConfigError) as refused:
            ConsoleServer([PIPELINE], NOWHERE, settings)
        assert refused.value.code == "console.token"
    else:
        server = ConsoleServer([PIPELINE], NOWHERE, settings)
        assert server.url.startswith(f"http://{host}:")
        await server.__aexit__()


def test_a_name_that_was_not_allowed_is_refused_so_that_no_page_can_rebind_to_it(client: Make) -> None:
    answer = client().get("/v1/flags", headers={"host": "evil.example"})
    assert (answer.status_code, code_of(answer)) == (421, "console.host")
    assert client(allowed_hosts=["console.example"]).get("/v1/flags", headers={"host": "console.example:80"}).is_success


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
def test_pages_of_another_origin_change_nothing(client: Make, headers: dict[str, str]) -> None:
    answer = client().post("/v1/pipelines/factcheck/requests", json={"input": {"text": "x"}}, headers=headers)
    assert (answer.status_code, code_of(answer)) == (403, "console.origin")
    assert "access-control-allow-origin" not in answer.headers


def test_a_body_over_the_limit_is_refused_whether_it_says_its_length_or_not(client: Make) -> None:
    console = client(body_bytes_max=1_000)
    path = "/v1/pipelines/factcheck/requests"
    said = console.post(path, content=b"x" * 1_001)
    assert (said.status_code, code_of(said)) == (413, "console.body")
    unsaid = console.post(path, content=iter([b"x" * 600, b"x" * 600]), headers={"content-type": "application/json"})
    assert (unsaid.status_code, code_of(unsaid)) == (413, "console.body")


def test_too_many_writes_a_minute_are_told_when_to_come_again(client: Make) -> None:
    console = client(writes_per_minute=3)
    for _ in range(3):
        assert console.delete("/v1/pipelines/factcheck/requests/r1").status_code == 503  # admitted, but no Kafka
    answer = console.delete("/v1/pipelines/factcheck/requests/r1")
    assert (answer.status_code, code_of(answer)) == (429, "console.rate")
    assert 1 <= int(answer.headers["retry-after"]) <= 21
    assert console.get("/v1/flags").is_success


def test_a_rate_refills_steadily_and_keeps_clients_apart() -> None:
    rate = Rate(60)
    assert [rate.wait("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert rate.wait("a", 0.0) == pytest.approx(1.0)
    assert rate.wait("b", 0.0) == 0.0
    assert rate.wait("a", 1.0) == 0.0
    assert rate.wait("a", 1.0) > 0


@pytest.mark.parametrize("path", ["/", "/flags", "/labels", "/models", "/workers", "/nothing", "/v1/flags", "/healthz"])
def test_every_answer_forbids_scripts_from_elsewhere_and_inline(client: Make, path: str) -> None:
    answer = client().get(path, headers={"accept": "text/html"})
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in answer.text
    assert "style=" not in answer.text
    assert "//" not in answer.text.replace("http://www.w3.org/2000/svg", "")
