"""Writes docs/reference/ from the code: `make docs`. A test checks that the pages are what this writes."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings

from assertions.core.flag import Flag
from learning import records as learning_records
from streams.cli import commands
from streams.cli.docs import metrics_page
from streams.cli.invoke import _as_app
from streams.core.record import Envelope, Kind

ROOT = Path(__file__).parents[1]
PACKAGES = ("streams", "workers", "assertions", "learning", "console")


def pages() -> dict[Path, str]:
    """Every generated page: its path, and what it must hold."""
    docs = ROOT / "docs"
    return {
        docs / "metrics.md": metrics_page() + "\n",
        docs / "reference" / "settings.md": settings_page(),
        docs / "reference" / "errors.md": errors_page(),
        docs / "reference" / "commands.md": commands_page(),
        docs / "reference" / "records.md": records_page(),
    }


def page(title: str, said: str, *parts: str) -> str:
    head = f"# {title}\n\n{said} This page is written by `make docs`.\n"
    return head + "".join(f"\n{part.rstrip()}\n" for part in parts)


def table(*rows: tuple[str, ...]) -> str:
    first, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (first, ("---",) * len(first), *rest))


def cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


# --- settings ---------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    said = (
        "Flag over environment over default. A value that cannot be used is refused by the variable's name; it is "
        "never printed."
    )
    return page("Settings", said, *(settings_part(found) for found in settings_classes()))


def settings_classes() -> Iterator[type[BaseSettings]]:
    for name in module_names():
        module = importlib.import_module(name)
        for value in vars(module).values():
            is_ours = inspect.isclass(value) and issubclass(value, BaseSettings) and value.__module__ == name
            if is_ours and value.model_fields:
                yield value


def module_names() -> Iterator[str]:
    for package in PACKAGES:
        for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if found.name.endswith("settings"):
                yield found.name


def settings_part(made: type[BaseSettings]) -> str:
    prefix = str(made.model_config.get("env_prefix", ""))
    rows = [("variable", "default", "meaning")]
    for name, field in made.model_fields.items():
        default = "" if field.default is None or isinstance(field.default, SecretStr) else f"`{field.default}`"
        rows.append((f"`{prefix}{name.upper()}`", default, cell(field.description or "")))
    return f"## {made.__name__}\n\n{inspect.getdoc(made)}\n\n{table(*rows)}"


# --- errors -----------------------------------------------------------------------------------------------------------


def errors_page() -> str:
    said = (
        "Every error has a stable code to branch on and a sentence on what happened and what to do. Below, "
        "… stands for a name or a number. The codes of answers are in "
        "[guarantees](../guarantees.md#how-an-error-reaches-you)."
    )
    found: dict[str, dict[str, str]] = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        where = str(path.relative_to(ROOT))
        for code, sentence in codes_of(ast.parse(path.read_text())):
            found.setdefault(code, {}).setdefault(sentence, where)
    rows = [("code", "what it says", "raised in")]
    for code, sentences in sorted(found.items()):
        rows += [(f"`{code}`", cell(sentence), f"`{where}`") for sentence, where in sentences.items()]
    return page("Errors", said, table(*rows))


def codes_of(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(code, sentence) of `SomethingError("...", code="...")`, of `RefusedFlowError("code", "...", hint="...")`, and of
    classes with a code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            code = next((k.value for k in node.keywords if k.arg == "code"), None)
            hint = next((k.value for k in node.keywords if k.arg == "hint"), None)
            if name == "RefusedFlowError" and len(node.args) > 1 and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), f"{words(node.args[1])}. {words(hint)}." if hint else words(node.args[1])
            elif name.endswith("Error") and isinstance(code, ast.Constant) and node.args:
                yield str(code.value), words(node.args[0])
        elif isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
            for line in node.body:
                match line:
                    case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                        yield code, (ast.get_docstring(node) or "").split("\n\n")[0]
                    case ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant(value=str(code))):
                        yield code, (ast.get_docstring(node) or "").split("\n\n")[0]


def words(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(words(value) if isinstance(value, ast.Constant) else "…" for value in values)
        case ast.BinOp(left=left, right=right):
            return words(left) + words(right)
    return "…"


# --- commands ---------------------------------------------------------------------------------------------------------


def commands_page() -> str:
    said = (
        "What `descant` takes; `descant COMMAND --help` says the same. Status 0: done · 1: an error, told in one line "
        "· 2: a wrong command line · 130: Ctrl-C."
    )
    parts = []
    for name, entry in commands.installed().items():
        if entry.dist is not None and entry.dist.name != "descant":
            continue
        command: Any = typer.main.get_command(_as_app(commands.load(entry), f"descant {name}"))
        parts += command_parts(f"descant {name}", command)
    return page("Commands", said, *parts)


def command_parts(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for child_name, child in sorted(command.commands.items()):
            yield from command_parts(f"{name} {child_name}", child)
        return
    rows = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        is_argument = parameter.param_type_name == "argument"
        shown = " ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])
        shown = f"`{parameter.metavar or parameter.name.upper()}`" if is_argument else shown
        variable = f" (`{parameter.envvar}`)" if getattr(parameter, "envvar", None) else ""
        rows.append((shown.replace("|", "\\|"), cell(getattr(parameter, "help", "") or "") + variable))
    said = textwrap.dedent(command.help or "").strip()
    options = f"\n\n{table(('', ''), *rows)}" if rows else ""
    yield f"## {name}\n\n{said}{options}"


# --- records ----------------------------------------------------------------------------------------------------------


def records_page() -> str:
    said = (
        "What is on the topics. Requests and answers are JSON of your own types: `descant docs asyncapi` writes "
        "AsyncAPI 3.0 with their schemas. Records between stages carry the envelope in headers, as readable ASCII."
    )
    kinds = ", ".join(f"`{kind.value}`" for kind in Kind)
    models: list[type[BaseModel]] = [Flag]
    models += [
        value
        for value in vars(learning_records).values()
        if inspect.isclass(value) and issubclass(value, learning_records.Record) and hasattr(value, "topic")
    ]
    envelope = f"## Envelope\n\nKinds: {kinds}.\n\n{table(*field_rows(Envelope))}"
    return page("Records", said, envelope, *(model_part(model) for model in models))


def model_part(model: type[BaseModel]) -> str:
    topic = getattr(model, "topic", "assertions.flags")
    return f"## {model.__name__}: `{topic}`\n\n{inspect.getdoc(model)}\n\n{table(*field_rows(model))}"


def field_rows(model: type) -> list[tuple[str, ...]]:
    """Each field as it is written in the source, with the string below it."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    rows: list[tuple[str, ...]] = [("field", "type", "meaning")]
    body = getattr(node, "body", [])
    for line, below in pairwise([*body, ast.Pass()]):
        if not isinstance(line, ast.AnnAssign) or "ClassVar" in ast.unparse(line.annotation):
            continue
        match below:
            case ast.Expr(value=ast.Constant(value=str(text))):
                said = text
            case _:
                said = ""
        rows.append((f"`{ast.unparse(line.target)}`", f"`{cell(ast.unparse(line.annotation))}`", cell(said)))
    return rows


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        typer.echo(path.relative_to(ROOT))
