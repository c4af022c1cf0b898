"""The floor: a loop over confluent-kafka, without any framework."""

import sys

from confluent_kafka import Consumer, Producer

BATCH = 500

bootstrap, source, target = sys.argv[1:4]
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": f"raw-{source}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": True,
        "fetch.wait.max.ms": 50,
    }
)
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        "queue.buffering.max.messages": 500_000,
    }
)
consumer.subscribe([source])
while True:
    first = consumer.poll(0.1)
    if first is not None:
        for message in (first, *consumer.consume(BATCH, 0)):
            if message.error() is None:
                producer.produce(target, message.value(), message.key(), headers=message.headers())
    producer.poll(0)
