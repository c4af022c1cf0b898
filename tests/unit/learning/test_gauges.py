"""What a dashboard shows of assertions is what people said and what the gate replayed."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client import REGISTRY

from learning import gauges
from learning.records import ArtefactRef, GateResult, Interval, Label, LabelRequest, ModelVersion, Verdict, VersionState
from learning.view import Learned

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
A_FILE = ArtefactRef(uri="m/0", sha256="0" * 64, size_bytes=1)


def test_judged_and_confirmed_flags_and_rates_before_and_after() -> None:
    learned = Learned()
    for name, said in (("1", "a"), ("2", "b"), ("3", "b")):
        learned.labels.ask(
            LabelRequest(
                id=name, model="gauged", example=None, classes=("a", "b"), predicted="a", severities={"odd": 1.0},
                requested_at=NOON,
            )
        )  # fmt: skip
        learned.labels.say(Label(id=name, example=name, model="gauged", labeller="ann", value=said, labelled_at=NOON))
    gate = GateResult(
        verdict=Verdict.PROMOTE, reasons=(), accuracy=Interval(value=1, low=1, high=1, n=1), firings={"odd": (0.4, 0.1)}
    )
    learned.versions["gauged"] = {
        2: ModelVersion(
            name="gauged", version=2, state=VersionState.CURRENT, artefact=A_FILE, training_set=A_FILE,
            training_set_digest=A_FILE.sha256, labels=3, gate=gate, job="j", created_at=NOON,
        )
    }  # fmt: skip
    gauges.show(learned, ["gauged"])
    of = {"model": "gauged", "assertion": "odd"}
    assert REGISTRY.get_sample_value("descant_assertion_judged", of) == 3
    assert REGISTRY.get_sample_value("descant_assertion_confirmed", of) == 2
    assert REGISTRY.get_sample_value("descant_assertion_fires", {**of, "role": "parent"}) == 0.4
    assert REGISTRY.get_sample_value("descant_assertion_fires", {**of, "role": "current"}) == 0.1
