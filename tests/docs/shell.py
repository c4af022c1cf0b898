"""Whether a command line of the documentation could be typed: its program, subcommand, options and what it names."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import dropwhile, pairwise, takewhile
from typing import Any, Final

import typer
import yaml

from streams.cli import commands as cli
from streams.cli.invoke import _as_app, _ClickError
from tests.docs.blocks import ROOT

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
ELSEWHERE: Final = {
    "cat",
    "cd",
    "curl",
    "echo",
    "export",
    "git",
    "kill",
    "ls",
    "mkdir",
    "openssl",
    "pip",
    "sleep",
    "uv",
}
"""Programs that are not ours; what of ours they are given is checked where it can be."""


def problems(line: str) -> Iterator[str]:
    """What is wrong with a command line, in words; nothing if it could be typed as it stands."""
    for simple in _simple_commands(line):
        words = list(dropwhile(lambda word: re.match(r"^[A-Z_]+=", word) is not None, simple))
        if words:
            yield from _problems(words)


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;") or word == "·":
            yield words
            words = []
        else:
            words.append(word)
    yield words


def _problems(words: list[str]) -> Iterator[str]:
    program, arguments = words[0], words[1:]
    if program in OURS:
        yield from OURS[program](arguments)
    elif program.startswith((".", "deploy/")):
        if not (ROOT / program).is_file():
            yield f"there is no {program}"
    elif program not in ELSEWHERE:
        yield f"nobody knows the program {program!r}"
    for extra in re.findall(r"descant\[([\w,-]+)\]", " ".join(arguments)):
        if unknown := set(extra.split(",")) - set(PROJECT["project"]["optional-dependencies"]):
            yield f"descant has no extra {unknown}"


def _descant(arguments: list[str]) -> Iterator[str]:
    arguments = list(takewhile(lambda word: word not in {"<", ">"}, arguments))
    if not arguments or arguments[0] == "--help":
        return
    entry = cli.installed().get(arguments[0])
    if entry is None:
        yield f"descant has no command {arguments[0]!r}"
        return
    command: Any = typer.main.get_command(_as_app(cli.load(entry), f"descant {arguments[0]}"))
    rest = arguments[1:]
    try:
        while hasattr(command, "resolve_command"):
            context = command.make_context(command.name, rest)
            _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        command.make_context(command.name, rest)
    except _ClickError as error:
        said = error.format_message()
        if "does not exist" not in said:  # files are the reader's
            yield f"{' '.join(arguments)}: {said}"
    except (SystemExit, Exception) as error:  # noqa: BLE001  --help, or a group without a command
        if type(error).__name__ not in {"Exit", "NoArgsIsHelpError"}:
            yield f"{' '.join(arguments)}: {error}"


def _make(arguments: list[str]) -> Iterator[str]:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in arguments:
        name, equals, value = word.partition("=")
        if not equals and word not in targets:
            yield f"make has no target {word!r}"
        if name == "NAME":
            yield from _module(f"benchmarks.{value}", ())


def _python(arguments: list[str]) -> Iterator[str]:
    if arguments[0] == "-m":
        yield from _module(arguments[1], tuple(arguments[2:]))


def _module(name: str, arguments: tuple[str, ...]) -> Iterator[str]:
    if importlib.util.find_spec(name) is None:
        yield f"there is no module {name}"
    elif name.partition(".")[0] in {"benchmarks", "examples", "tests"}:
        said = _help_of(name)
        for word in arguments:
            if word.startswith("--") and not re.search(rf"{re.escape(word.partition('=')[0])}\b", said):
                yield f"python -m {name} has no option {word}"


@cache
def _help_of(name: str) -> str:
    command = [sys.executable, "-m", name, "--help"]
    wide = {**os.environ, "COLUMNS": "250"}  # or names are cut
    done = subprocess.run(command, cwd=ROOT, env=wide, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{name} --help:\n{done.stderr}"
    return done.stdout


def _docker(arguments: list[str]) -> Iterator[str]:
    composition = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = set(composition["services"])
    for word in arguments:
        scaled = re.fullmatch(r"(?:--scale=)?([a-z-]+)=\d+", word)
        if scaled and scaled[1] not in services:
            yield f"the composition has no service {scaled[1]!r}"
    profiles = {profile for service in composition["services"].values() for profile in service.get("profiles", ())}
    for flag, value in pairwise(arguments):
        if flag == "--profile" and value not in profiles:
            yield f"the composition has no profile {value!r}"
    for verb in ("exec", "run"):
        if verb in arguments:
            rest = [word for word in arguments[arguments.index(verb) + 1 :] if not word.startswith("-")]
            if rest[0] not in services:
                yield f"the composition has no service {rest[0]!r}"
            if rest[1:2] == ["descant"]:
                yield from _descant(arguments[arguments.index("descant") + 1 :])


def _kubectl(arguments: list[str]) -> Iterator[str]:
    for flag, path in pairwise(arguments):
        if flag == "-k" and not (ROOT / path / "kustomization.yaml").exists():
            yield f"{path} is no kustomization"


OURS: Final[dict[str, Callable[[list[str]], Iterator[str]]]] = {
    "descant": _descant,
    "docker": _docker,
    "kubectl": _kubectl,
    "make": _make,
    "python": _python,
}
