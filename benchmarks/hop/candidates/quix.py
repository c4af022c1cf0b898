"""Quix Streams: a dataframe from one topic to another."""

import sys

from quixstreams import Application

bootstrap, source, target = sys.argv[1:4]
app = Application(
    broker_address=bootstrap,
    consumer_group=f"quix-{source}",
    auto_offset_reset="earliest",
    auto_create_topics=False,
    use_changelog_topics=False,
    producer_extra_config={"enable.idempotence": True, "linger.ms": 0},
)
frame = app.dataframe(app.topic(source, value_deserializer="bytes", key_deserializer="bytes"))
frame.apply(lambda value: value).to_topic(app.topic(target, value_serializer="bytes", key_serializer="bytes"))
app.run()
