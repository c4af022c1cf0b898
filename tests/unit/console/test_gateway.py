"""The HTTP surface: typed errors, the OpenAPI document, lists, chat completions' shape."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field
from starlette.testclient import TestClient

from assertions.core.flag import FlagState
from console.http.app import create_app
from console.http.pages import fields_of
from console.settings import ConsoleSettings
from console.state.hub import Hub
from learning.records import LABEL_REQUESTS
from streams import Pipeline
from streams.settings import KafkaSettings
from tests.console.pipelines import checker
from tests.console.records import flag, label_request, log_record, observation


@pytest.fixture
def hub() -> Hub:
    return Hub([checker("factcheck", "gemma")], KafkaSettings(bootstrap="127.0.0.1:1"), ConsoleSettings())


@pytest.fixture
def console(hub: Hub) -> TestClient:
    return TestClient(create_app(hub), base_url="http://localhost")


REQUESTS = "/v1/pipelines/factcheck/requests"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/pipelines/other/requests", {"input": {}}, 404, "console.no_pipeline"),
        ("POST", REQUESTS, {"input": {"text": "x"}}, 503, "console.pipeline_away"),
        ("POST", REQUESTS, {}, 422, "request.invalid"),
        ("POST", REQUESTS, {"input": {"text": "x"}, "surprise": 1}, 422, "request.invalid"),
        ("POST", REQUESTS, {"input": {"text": "x"}, "id": "spaces are not allowed"}, 422, "request.invalid"),
        ("POST", REQUESTS, {"input": {"text": "x"}, "timeout_seconds": -1}, 422, "request.invalid"),
        ("GET", f"{REQUESTS}/nobody/events", None, 404, "console.no_request"),
        ("GET", f"{REQUESTS}?count=0", None, 422, "request.invalid"),
        ("GET", "/v1/flags/none", None, 404, "console.no_flag"),
        ("GET", "/v1/flags?min_severity=nan", None, 422, "request.invalid"),
        ("POST", "/v1/labels", {"example": "e", "value": "v"}, 404, "console.no_example"),
        ("PUT", "/v1/labels", {}, 405, "console.method"),
        ("GET", "/v2", None, 404, "console.no_page"),
        ("POST", "/v1/chat/completions", {"model": "gpt", "messages": [{"role": "user", "content": "x"}]}, 404,
         "console.no_model"),
        ("POST", "/v1/chat/completions", {"model": "factcheck", "messages": []}, 422, "request.invalid"),
        ("POST", "/v1/chat/completions", {"model": "factcheck", "messages": [{"role": "system", "content": "x"}]}, 422,
         "request.invalid"),
        ("GET", "/healthz", None, 503, None),
    ],
)  # fmt: skip
def test_every_refusal_is_typed(
    console: TestClient, method: str, path: str, body: object, status: int, code: str | None
) -> None:
    answer = console.request(method, path, json=body)
    assert answer.status_code == status
    if code is not None:
        error = answer.json()["error"]
        assert error["code"] == code
        assert error["message"]


def test_an_error_does_not_repeat_what_was_sent(console: TestClient) -> None:
    answer = console.post(REQUESTS, json={"input": {"text": "x"}, "id": "the secret of Bolivia"})
    assert answer.status_code == 422
    assert "secret" not in answer.text


def test_the_openapi_document_names_every_way_in(console: TestClient) -> None:
    document = console.get("/openapi.json").json()
    assert {
        "/v1/pipelines", "/v1/pipelines/{pipeline}/requests", "/v1/pipelines/{pipeline}/requests/{request_id}",
        "/v1/pipelines/{pipeline}/requests/{request_id}/events", "/v1/pipelines/{pipeline}/events", "/v1/flags",
        "/v1/flags/{flag_id}", "/v1/alerts", "/v1/label-requests", "/v1/labels", "/v1/model-versions", "/v1/models",
        "/v1/chat/completions", "/v1/workers", "/healthz",
    } == set(document["paths"])  # fmt: skip
    assert document["components"]["schemas"]["Submission"]["properties"]["id"]["description"]


def test_models_of_chat_are_the_pipelines_and_their_texts(console: TestClient) -> None:
    assert [model["id"] for model in console.get("/v1/models").json()["data"]] == ["factcheck", "factcheck/draft"]


def test_flags_are_paged_filtered_and_shown_with_their_other_side(console: TestClient, hub: Hub) -> None:
    other = observation("r0", "0:3", {"capital": "Sucre"})
    hub.board.on_observations(log_record(other))
    for n in range(5):
        raised = flag("capital", f"r{n + 1}", {"verdict": {"n": n}}, id=f"f{n}", severity=float(n), window=(other.id,))
        hub.board.on_flag(raised.to_bytes())
    hub.board.on_flag(flag("quiet", "r9", {}, id="w", state=FlagState.WITHDRAWN, revision=2).to_bytes())
    hub.board.on_flag(b"no flag")
    first = console.get("/v1/flags?count=2").json()
    assert [f["id"] for f in first["flags"]] == ["f4", "f3"]
    assert (first["total"], first["assertions"]) == (5, ["capital", "quiet"])
    second = console.get(f"/v1/flags?count=3&before={first['next']}").json()
    assert [f["id"] for f in second["flags"]] == ["f2", "f1", "f0"]
    assert second["next"] is None
    assert [f["id"] for f in console.get("/v1/flags?min_severity=3").json()["flags"]] == ["f4", "f3"]
    assert console.get("/v1/flags?assertion=quiet&withdrawn=true").json()["flags"][0]["data"]["state"] == "withdrawn"
    shown = console.get("/v1/flags/f4").json()
    assert shown["flag"]["data"]["example"] == {"verdict": {"n": 4}}
    assert shown["others"] == [
        {"reference": other.id, "request": "r0", "path": "0", "example": {"verdict": {"capital": "Sucre"}}}
    ]
    assert hub.board.unreadable == 1


def test_label_requests_are_listed_and_a_class_that_is_none_is_refused(console: TestClient, hub: Hub) -> None:
    request = label_request("e1", "verifier", {"sentence": "x"})
    hub.labelling.ask(lambda learned: learned.fold(LABEL_REQUESTS, b"e1", request.encoded()))
    queue = console.get("/v1/label-requests").json()
    assert (queue["pending"], queue["requests"][0]["id"], queue["is_there"]) == (1, "e1", False)
    refused = console.post("/v1/labels", json={"example": "e1", "value": "maybe"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "learning.label.wrong-class")
    models = console.get("/v1/model-versions").json()["models"]
    assert [(m["name"], m["pending"]) for m in models] == [("verifier", 1)]


class Loud(BaseModel):
    first: str
    second: str = Field(title="<script>alert(1)</script>", default='"><script>alert(2)</script>')


def test_what_a_schema_says_is_escaped_on_the_page() -> None:
    pipeline = Pipeline("loud")

    @pipeline.stage
    def shout(loud: Loud) -> str:
        return loud.second

    @pipeline.flow
    def flow(loud: Loud) -> str:
        return shout(loud)

    hub = Hub([pipeline], KafkaSettings(bootstrap="127.0.0.1:1"), ConsoleSettings())
    page = TestClient(create_app(hub), base_url="http://localhost").get("/")
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert" not in page.text


def test_the_ask_box_has_a_field_for_each_plain_property(hub: Hub) -> None:
    (field,) = fields_of(hub.feeds["factcheck"])
    assert (field["name"], field["kind"], field["is_required"]) == ("text", "text", True)
