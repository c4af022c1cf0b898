"""Lines of JSON, and nothing among them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streams.cli.options import print_json
from streams.cli.stdout import kept, kept_for_json

NOISY = """
import os, subprocess
from streams.cli.options import print_json
from streams.cli.stdout import kept_for_json

print("before")
with kept_for_json():
    print("of a stage")
    os.write(1, b"of a library\\n")
    subprocess.run(["echo", "of a child"], check=True)
    print_json({"event": "ready"})
print("after")
"""


def test_what_others_write_goes_to_standard_error() -> None:
    run = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["before", '{"event": "ready"}', "after"]
    assert sorted(run.stderr.splitlines()) == ["of a child", "of a library", "of a stage"]


def test_a_replaced_standard_output_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with kept_for_json():
        assert kept() is None
        print_json({"event": "ready"})
    assert capsys.readouterr().out == '{"event": "ready"}\n'
