"""What the learning demo tells at its end."""

from __future__ import annotations

import json

from rich.console import Console

from examples.factcheck.classroom import Standing
from examples.factcheck.learn import Course, _curves, _rates
from examples.factcheck.learn_result import as_document, show_course, summary_lines
from examples.factcheck.models import Report
from examples.factcheck.recipe import of_record, shown
from learning.intervals import mean, wilson
from tests.unit.factcheck.test_recipe import verdict


def course() -> Course:
    return Course(
        standings=[
            Standing(0, 1, "current", wilson(100, 174), "the first version"),
            Standing(8, 2, "current", wilson(150, 174), "accuracy +0.2"),
            Standing(15, 3, "held", wilson(150, 174), "accuracy -0.1"),
        ],
        flagged=[{"refutes_a_match": 0.5}, {"refutes_a_match": 0.1}, {"refutes_a_match": 0.05}],
        fires={"refutes_a_match": (0.5, 0.1)},
        curves={name: [mean([0.5]), mean([0.8]), mean([0.9])] for name in ("error-seeking", "random")},
    )


def test_people_read_that_accuracy_rises_and_assertions_fire_less() -> None:
    lines = " ".join(summary_lines(course()))
    assert "57.5% before the first label, 86.2% after 15" in lines
    assert "2 rounds, 1 promotions" in lines
    assert "refutes_a_match fires on 10% instead of 50%: 1 of 1 fire less" in lines
    console = Console(record=True, width=140, file=open("/dev/null", "w"))  # noqa: SIM115
    show_course(console, course())
    shown_text = console.export_text()
    assert "error-seeking" in shown_text
    assert "round 3" in shown_text


def test_programs_read_the_same() -> None:
    document = json.loads(json.dumps(as_document(course())))
    assert (document["accuracy_before"], document["accuracy_after"]) == (0.5747, 0.8621)
    assert document["label_source"] == "oracle"
    assert document["fires_before"]["refutes_a_match"] > document["fires_after"]["refutes_a_match"]
    assert document["curves"]["random"] == [0.5, 0.8, 0.9]


def test_rates_and_curves_come_from_reports() -> None:
    verdicts = (verdict("Sucre", "refuted"), verdict("Sucre", "supported"), verdict("x", "unknown", entity="Nowhere"))
    report = Report(question="?", verdicts=verdicts, supported=1, refuted=1, unknown=1, text="")
    assert _rates([report])["refutes_a_match"] == 0.5
    example = of_record(verdicts[0].model_dump(mode="json"))
    assert example == shown(verdicts[0])
    found = _curves([[example], [shown(verdict("Lima", "supported"))]], seeds=1)
    assert set(found) == {"error-seeking", "bal", "random", "margin"}
    assert all(len(points) == 3 for points in found.values())
