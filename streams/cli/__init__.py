"""The `descant` command.

Commands are entry points of the group `descant.commands`: name -> `module:function` or `module:typer_app`. So this
package imports none of them, a plugin adds its own the same way, and only the command that is asked for is imported.
The first line of its docstring (the function's, else the module's) is its line in `descant --help`.
"""

from streams.cli.main import main

__all__ = ["main"]
