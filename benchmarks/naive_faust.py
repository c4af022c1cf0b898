"""What a Faust user would write first: one record at a time, windows in tables, a flag sent where it is found.

The same twenty checks on the same records as benchmarks.watched. Run as a process by benchmarks.alerts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from typing import Any

import faust

from benchmarks.watched import PLAIN, WINDOWED


def make_app(bootstrap: str, topic: str, flags: str, partitions: int) -> Any:
    app = faust.App(
        f"naive-{topic}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="descant-naive-"),
        topic_partitions=partitions,
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
    )
    source = app.topic(topic, value_serializer="json", key_serializer="raw")
    found = app.topic(flags, value_serializer="json")
    recent = app.Table("recent", default=list, partitions=partitions)
    said = app.Table("said", default=dict, partitions=partitions)

    @app.agent(source)
    async def judge(stream: Any) -> None:
        async for item in stream:
            entity = item["entity"]
            severities = {name: float(check(item)) for name, check in PLAIN.items()}
            window = recent[entity]
            severities |= {name: float(check(item, window)) for name, check in WINDOWED.items()}
            recent[entity] = [*window[-19:], item]
            known = said[entity]
            for name in ("capital", "continent"):
                severities[name] = float(known.get(name, item[name]) != item[name])
            said[entity] = {"capital": item["capital"], "continent": item["continent"]}
            for name, severity in severities.items():
                if severity > 0:
                    await found.send(key=entity, value={"assertion": name, "severity": severity, "example": item})

    return app


async def main(bootstrap: str, topic: str, flags: str, partitions: int) -> None:
    app = make_app(bootstrap, topic, flags, partitions)
    app.loop = asyncio.get_running_loop()
    await app.start()
    await app.wait_until_stopped()


if __name__ == "__main__":
    print(json.dumps({"naive": sys.argv[2]}))
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
