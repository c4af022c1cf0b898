"""Faust: an agent that forwards bytes, over its default aiokafka driver."""

import sys
import tempfile

import faust

bootstrap, source, target = sys.argv[1:4]
folder = tempfile.TemporaryDirectory()
app = faust.App(
    f"faust-{source}",
    broker=f"kafka://{bootstrap}",
    store="memory://",
    datadir=folder.name,
    value_serializer="raw",
    key_serializer="raw",
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    producer_linger=0,
)
incoming = app.topic(source, value_type=bytes, key_type=bytes)
outgoing = app.topic(target, value_type=bytes, key_type=bytes)


@app.agent(incoming)
async def forward(stream: faust.Stream) -> None:
    async for event in stream.events():
        await outgoing.send(key=event.key, value=event.value, headers=event.headers)


if __name__ == "__main__":
    sys.argv[1:] = ["worker"]  # Faust reads the command line itself, and takes the broker's address for a command
    app.main()
