"""What happens between the shell and a command: finding it, running it, ending with one line and one status.

Status 0: done. 1: an error, told in one line. 2: the command line was wrong. 130: Ctrl-C.
"""

import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from streams.cli import commands
from streams.cli.usage import UsageError
from streams.errors import DescantError

USAGE = 2
INTERRUPTED = 130

HELP_NAMES = frozenset({"--help", "-h", "help"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `descant` with these arguments, or the process's own; always ends by SystemExit."""
    sys.exit(_status(list(sys.argv[1:] if arguments is None else arguments)))


def _status(arguments: list[str]) -> int:
    try:
        if not arguments or arguments[0] in HELP_NAMES:
            if len(arguments) < 2:
                _help()
                return 0
            arguments = [arguments[1], "--help"]  # descant help NAME
        if arguments[0] in {"--version", "-V"}:
            _say(f"descant {version('descant')}")
            return 0
        return _run(arguments[0], arguments[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`descant topics | head`). Else Python complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        return _fail(error, USAGE)
    except Exception as error:  # noqa: BLE001  the last place that can turn it into a line for people
        return _fail(error, 1)


def _run(name: str, arguments: list[str]) -> int:
    known = commands.installed()
    entry = known.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"there is no command {name!r}. {hint}`descant --help` lists them.")
    target = commands.load(entry)

    # Imported here and not above, because it alone takes most of the time that `descant --help` has.
    from streams.cli.invoke import invoke  # noqa: PLC0415

    return invoke(target, f"descant {name}", arguments)


def _help() -> None:
    found = commands.installed()
    width = max(map(len, found), default=0)
    lines = [
        "Usage: descant COMMAND [OPTIONS]",
        "",
        "Pipelines of language models that stream to each other through Apache Kafka.",
        "",
        "Commands:",
        *(f"  {name:<{width}}  {commands.summary(entry)}".rstrip() for name, entry in found.items()),
        "",
        "descant COMMAND --help tells more. --version shows the version.",
        "KAFKA_BOOTSTRAP_SERVERS names the Kafka to use; DESCANT_DEBUG=1 shows tracebacks.",
    ]
    _say("\n".join(lines))


def _fail(error: Exception, status: int) -> int:
    """Tell the user of an error in one line; DESCANT_DEBUG=1 puts the traceback before it."""
    if os.environ.get("DESCANT_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, DescantError):
        line = f"error [{error.code}]: {error}"
    else:
        line = f"error [internal]: {type(error).__name__}: {error}. DESCANT_DEBUG=1 shows where."
    line = " ".join(line.split())
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    sys.stderr.write(f"\x1b[31m{line}\x1b[0m\n" if coloured else f"{line}\n")
    return status


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
