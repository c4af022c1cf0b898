"""What people install: the wheel, made from the sdist, in an environment that has never seen the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from streams.testing import KafkaForTests
from tests.docs.blocks import ROOT, blocks
from tests.docs.player import Player

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("uv") is None, reason="uv builds and installs, and is not here"),
]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with one sdist and one wheel, the wheel made from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run("uv", "build", "--quiet", "--out-dir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what assertions and learning need."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run("uv", "venv", "--quiet", "--no-python-downloads", folder, cwd=folder.parent)
    [wheel] = built.glob("*.whl")
    extras = f"{wheel}[assertions,learning,console,kubernetes]"
    run("uv", "pip", "install", "--quiet", "--python", folder / "bin" / "python", extras, cwd=folder.parent)
    return folder


def test_the_wheel_holds_every_file_of_its_packages_and_nothing_else(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = run("git", "ls-files", *PACKAGES, cwd=ROOT).split()
    assert held == set(tracked)
    assert {f"{package}/py.typed" for package in PACKAGES} <= held


def test_the_sdist_can_be_tested(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "tests/conftest.py", "examples/factcheck/demo.py", "LICENSE", "docs/guarantees.md"} <= held


def test_every_entry_point_leads_somewhere(built: Path, installed: Path, tmp_path: Path) -> None:
    code = """
from importlib.metadata import distribution
for point in distribution("descant").entry_points:
    try:
        point.load()
    except ModuleNotFoundError as error:
        print(point.name, error.name)
"""
    missing = dict(line.split() for line in run(installed / "bin" / "python", "-c", code, cwd=tmp_path).splitlines())
    # The demo is the repository's; the others need an extra that this environment has not.
    assert missing == {
        "demo": "examples",
        "llamacpp": "xllamacpp",
        "skactiveml-badge": "skactiveml",
        "skactiveml-core-set": "skactiveml",
    }


def test_the_demo_says_where_it_is(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed / "bin" / "descant", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error [cli.command_missing]: the command 'demo' is in examples.factcheck.demo" in done.stderr
    assert "clone" in done.stderr
    assert "Traceback" not in done.stderr


def test_types_are_seen_from_outside(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from streams import Prompt\n\nreveal_type(Prompt(text='').text)\n")
    python = str(installed / "bin" / "python")
    mypy = Path(sys.executable).with_name("mypy")
    said = run(mypy, "--python-executable", python, "mine.py", cwd=tmp_path, MYPYPATH="")
    assert re.search(r'Revealed type is "(builtins\.)?str"', said), "without py.typed it would be Any"


@pytest.mark.parametrize(
    "version", ["3.11", *(pytest.param(version, marks=pytest.mark.nightly) for version in ("3.12", "3.13"))]
)
def test_every_extra_resolves(version: str, tmp_path: Path) -> None:
    for extra in PROJECT["project"]["optional-dependencies"]:
        command = ["uv", "pip", "compile", "--quiet", "--python-version", version, "--extra", extra]
        assert "confluent-kafka==" in run(*command, ROOT / "pyproject.toml", cwd=tmp_path)


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_it_imports_with_a_newer_python(built: Path, version: str, tmp_path: Path) -> None:
    found = subprocess.run(
        ["uv", "python", "find", "--no-python-downloads", "--no-project", version],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"no Python {version} is installed here")
    run("uv", "venv", "--quiet", "--python", found.stdout.strip(), tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    [wheel] = built.glob("*.whl")
    run("uv", "pip", "install", "--quiet", "--python", python, f"{wheel}[assertions,learning,console]", cwd=tmp_path)
    (tmp_path / "mine.py").write_text((ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0])
    descant = tmp_path / "venv" / "bin" / "descant"
    drawn = run(descant, "graph", "mine:checker", "--format", "text", cwd=tmp_path)
    assert re.search(r"^report +.*Report +request$", drawn, re.MULTILINE), drawn
    code = "import assertions.processor.runner, console.server, learning.job, streams.client, workers.service.worker"
    run(python, "-W", "error::SyntaxWarning", "-c", code, cwd=tmp_path)


def test_a_plugin_from_outside_is_found_and_used(installed: Path, kafka: KafkaForTests, tmp_path: Path) -> None:
    """docs/how-to/plugin.md, typed as it stands there: engine, policy, selector, trainer, assertion, command."""
    environment = {
        "PATH": f"{installed / 'bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(installed),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
    }
    with Player(tmp_path, environment) as reader:
        reader.play(blocks(ROOT / "docs" / "how-to" / "plugin.md"))
