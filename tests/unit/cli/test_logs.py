"""The log: one form for all, and no text of an error."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from streams.cli.logs import LogFormat, configure_logs

PAYLOAD = "what was asked"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_our_events_and_those_of_libraries_have_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogFormat.JSON, "p.stage")
    structlog.get_logger("ours").info("slots lost", group="g")
    logging.getLogger("theirs").warning("slow: %s", 3)
    logging.getLogger("theirs").info("not told")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["group"], ours["level"], ours["service"]) == ("slots lost", "g", "info", "p.stage")
    assert (theirs["event"], theirs["logger"], theirs["service"]) == ("slow: 3", "theirs", "p.stage")
    assert set(theirs) >= {"timestamp", "level"}


@pytest.mark.parametrize("form", list(LogFormat))
def test_an_exception_is_told_by_type_and_place(form: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(form)
    try:
        raise ValueError(PAYLOAD)
    except ValueError:
        logging.getLogger("theirs").exception("it broke")
        structlog.get_logger("ours").exception("it broke here")
    said = capsys.readouterr().err
    assert PAYLOAD not in said
    assert said.count("ValueError") == 2
    assert "test_logs.py" in said


def test_without_a_terminal_it_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    structlog.get_logger("ours").info("ready")
    assert json.loads(capsys.readouterr().err)["event"] == "ready"
