"""The `descant` command as the shell sees it: output, status, one line for an error."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUN = [sys.executable, "-c", "from streams.cli import main; main()"]

PLUGIN = '''"""Greets from outside."""
import os
import signal
from typing import Annotated

import typer

from streams.errors import BrokerError


def greet(name: Annotated[str, typer.Option(help="Whom.")] = "you", how: str = "well") -> None:
    """Greet somebody."""
    match how:
        case "well":
            typer.echo(f"hello {name}")
        case "badly":
            raise BrokerError("the broker is away.\\nStart it.", code="broker.down")
        case "broken":
            raise ZeroDivisionError("by nothing")
        case "slowly":
            typer.echo("ready")
            signal.pause()
        case "status":
            raise typer.Exit(7)


app = typer.Typer()


@app.command()
def one() -> None:
    typer.echo("one")


@app.command()
def two() -> None:
    typer.echo("two")
'''

ENTRY_POINTS = """[descant.commands]
greet = plug.commands:greet
several = plug.commands:app
gone = plug.nowhere:app
needy = plug.needy:app
nameless = plug.commands:missing
number = plug.commands:os
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed distribution of somebody else's; importing its package leaves a trace."""
    folder = tmp_path_factory.mktemp("site")
    package = folder / "plug"
    package.mkdir()
    (package / "__init__.py").write_text("import pathlib\npathlib.Path(__file__).with_name('imported').touch()\n")
    (package / "commands.py").write_text(PLUGIN)
    (package / "needy.py").write_text('"""Needs more than there is."""\nimport no_such_package_anywhere\n')
    info = folder / "plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def descant(*arguments: str, path: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DESCANT_DEBUG"} | env
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run([*RUN, *arguments], capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_help_lists_every_command_with_its_line_and_imports_none(plugin: Path) -> None:
    shown = descant("--help", path=plugin)
    assert shown.returncode == 0
    lines = {line.split()[0]: line.strip() for line in shown.stdout.splitlines() if line.startswith("  ")}
    assert lines["greet"].endswith("Greet somebody.")
    assert lines["several"].endswith("Greets from outside.")
    assert lines["needy"].endswith("Needs more than there is.")
    assert lines["gone"] == "gone"
    assert "Kafka" in lines["broker"]
    assert not (plugin / "plug" / "imported").exists()


def test_help_imports_nothing_heavy() -> None:
    code = "import sys\nfrom streams.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "streams.cli.main" in loaded
    assert not {"typer", "rich", "pydantic", "numpy", "confluent_kafka"} & set(loaded)


@pytest.mark.parametrize("arguments", [(), ("-h",), ("help",)])
def test_help_has_several_names(arguments: tuple[str, ...]) -> None:
    assert "Commands:" in descant(*arguments).stdout


def test_every_command_of_ours_loads_and_has_a_line() -> None:
    from streams.cli import commands

    ours = {name: entry for name, entry in commands.installed().items() if entry.dist and entry.dist.name == "descant"}
    assert "broker" in ours
    assert all(commands.summary(entry) for entry in ours.values()), ours


def test_a_plugin_command_runs_with_its_options(plugin: Path) -> None:
    assert descant("greet", "--name", "Ada", path=plugin).stdout == "hello Ada\n"
    assert descant("several", "two", path=plugin).stdout == "two\n"
    assert "--name" in descant("help", "greet", path=plugin).stdout


def test_a_command_ends_with_the_status_it_asks_for(plugin: Path) -> None:
    assert descant("greet", "--how", "status", path=plugin).returncode == 7


def test_an_error_is_one_line_with_its_code(plugin: Path) -> None:
    ended = descant("greet", "--how", "badly", path=plugin)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "error [broker.down]: the broker is away. Start it.\n"


def test_a_bug_is_one_line_too_and_a_traceback_on_demand(plugin: Path) -> None:
    ended = descant("greet", "--how", "broken", path=plugin)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error [internal]: ZeroDivisionError: by nothing")
    assert "Traceback" not in ended.stderr
    assert "Traceback" in descant("greet", "--how", "broken", path=plugin, DESCANT_DEBUG="1").stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("graet",), "there is no command 'graet'. Did you mean 'greet'?"),
        (("greet", "--nome", "Ada"), "No such option: --nome"),
        (("greet", "Ada"), "`descant greet --help` shows what it takes"),
        (("several", "three"), "No such command"),
        (("several",), "Missing command"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_a_hint(plugin: Path, arguments: tuple[str, ...], says: str) -> None:
    ended = descant(*arguments, path=plugin)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error [usage]: ")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("gone", "cli.command_missing", "plug.nowhere"),
        ("nameless", "cli.command_missing", "plug.commands:missing"),
        ("needy", "cli.extra_missing", "'no_such_package_anywhere'"),
        ("number", "cli.command_type", "must be a function or a typer.Typer"),
    ],
)
def test_a_command_that_cannot_be_loaded_says_why(plugin: Path, command: str, code: str, says: str) -> None:
    ended = descant(command, path=plugin)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error [{code}]: ")
    assert says in ended.stderr


def test_control_c_ends_with_130_and_no_traceback(plugin: Path) -> None:
    with subprocess.Popen(
        [*RUN, "greet", "--how", "slowly"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(plugin)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_reader_that_went_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        ended = subprocess.run([*RUN, "--help"], stdout=closed, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_a_group_without_its_command_shows_help_and_ends_with_2() -> None:
    ended = descant("broker")
    assert ended.returncode == 2
    assert "status" in ended.stdout + ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error [usage]: a command is missing")


def test_version() -> None:
    from importlib.metadata import version

    assert descant("--version").stdout == f"descant {version('descant')}\n"


def test_help_is_quick() -> None:
    """80 ms where it was measured. Processor time, and the best of three, because the machine may be busy."""

    def seconds_used() -> float:
        before = os.times()
        descant("--help")
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds_used() for _ in range(3)) < 0.3
