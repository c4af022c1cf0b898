from __future__ import annotations

import pytest

from streams.core.partition import _murmur2


@pytest.mark.parametrize(
    ("key", "hashed"),
    # The vectors of Kafka's own UtilsTest.testMurmur2 (Apache Kafka, clients).
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_go_where_java_clients_send_them(key: bytes, hashed: int) -> None:
    assert _murmur2(key) == hashed % 2**32
