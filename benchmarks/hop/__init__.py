"""One stage that passes records on: Descant beside a raw loop, Quix Streams, Faust and FastStream, on the same Kafka."""
