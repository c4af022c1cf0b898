"""`descant acls`: what each process must be allowed to do."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.access import all_access, commands
from streams.cli.options import AsJson, Bootstrap, kafka_or_fail, load_pipeline, messages, print_json
from streams.cli.usage import UsageError
from streams.runtime.authorization import set_access
from streams.settings import KafkaSettings


def command(
    pipeline: Annotated[str, typer.Argument(metavar="MODULE:PIPELINE", help="For example mine.flow:factcheck.")],
    process: Annotated[
        list[str] | None, typer.Option("--process", "-p", help="Only this one's; may be repeated.")
    ] = None,
    user: Annotated[
        str, typer.Option(help="The principal; {process} and {pipeline} are filled in.")
    ] = "User:{pipeline}-{process}",
    apply: Annotated[bool, typer.Option("--apply", help="Set them, as a user who may; without it only print.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """List the least that each process of a pipeline must be allowed in Kafka, as kafka-acls.sh commands.

    Topics are made by somebody who may: `descant topics MODULE:PIPELINE`.

    Examples: descant acls mine.flow:factcheck · descant acls mine.flow:factcheck -p closer --apply
    """
    plan = load_pipeline(pipeline).plan
    found = all_access(plan)
    if unknown := sorted(set(process or ()) - set(found)):
        raise UsageError(f"there is no process {unknown[0]!r}; there are {', '.join(found)}.")
    chosen = {name: access for name, access in found.items() if not process or name in process}
    users = {name: user.format(process=name, pipeline=plan.pipeline) for name in chosen}
    if apply:
        kafka = KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
        for name, access in chosen.items():
            set_access(kafka, access, users[name])
            messages.print(f"{users[name]} may do what {name} needs: {len(access)} permissions")
    if as_json:
        print_json(
            {
                name: {
                    "principal": users[name],
                    "access": [
                        {"resource": a.resource, "name": a.name, "operation": a.operation, "is_prefix": a.is_prefix}
                        for a in sorted(access)
                    ],
                }
                for name, access in chosen.items()
            }
        )
    elif not apply:
        for name, access in chosen.items():
            typer.echo(f"# {name}")
            typer.echo("\n".join(commands(access, users[name])) + "\n")
