"""Running one command with Typer, in such a way that its errors are ours to tell."""

import inspect
from typing import cast

import typer

from streams.cli.usage import UsageError
from streams.errors import ConfigError

# Some Typers bring their own copy of Click and some use the installed one; this is the class that they really raise.
_ClickUsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
_ClickError = cast("type[typer.BadParameter]", _ClickUsageError.__base__)


def invoke(target: object, name: str, arguments: list[str]) -> int:
    """Run a command, a Typer app or a plain function, and return the status that it ends with.

    Raises KeyboardInterrupt for Ctrl-C, UsageError for a wrong command line, and what the command itself raises.
    """
    app = _as_app(target, name)
    try:
        status = typer.main.get_command(app).main(args=arguments, prog_name=name, standalone_mode=False)
    except typer.Abort as error:
        # Ctrl-C or Ctrl-D in the command, or a question answered with no.
        raise KeyboardInterrupt from error
    except _ClickUsageError as error:
        # Empty where a group of commands was called without one: it has shown its help already.
        said = error.format_message().rstrip(".") or "a command is missing"
        raise UsageError(f"{said}. `{name} --help` shows what it takes.") from error
    except _ClickError as error:
        raise ConfigError(error.format_message(), code="cli") from error
    return status if isinstance(status, int) else 0


def _as_app(target: object, name: str) -> typer.Typer:
    if isinstance(target, typer.Typer):
        return target
    if not inspect.isfunction(target):
        raise ConfigError(
            f"the command {name!r} is {type(target).__name__}; it must be a function or a typer.Typer.",
            code="cli.command_type",
        )
    app = typer.Typer(add_completion=False)
    app.command()(target)
    return app
