"""Artefacts in a bucket, on a real server that speaks S3."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from learning.artefacts import Store, open_store
from learning.bucket import BucketStore
from learning.errors import StoreError
from tests.s3.server import Server, s3_server
from tests.stores import EveryStore

pytestmark = pytest.mark.integration

BUCKET = "models"
PREFIX = "team/a"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3_server(tmp_path_factory.mktemp("buckets")) as server:
        yield server


class KeptInBucket:
    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, bytes_max: int = 2**30) -> Store:
        return BucketStore(BUCKET, PREFIX, bytes_max)

    def damage(self, uri: str, content: bytes | None) -> None:
        if content is None:
            (self.root / uri).unlink()
        else:
            (self.root / uri).write_bytes(content)

    def names(self) -> Iterator[str]:
        return (str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptInBucket]:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    bucket = server.folder / BUCKET
    bucket.mkdir()
    yield KeptInBucket(bucket / PREFIX)
    shutil.rmtree(bucket)


class TestBucket(EveryStore):
    def test_another_bucket_than_there_is(self, kept: KeptInBucket) -> None:
        store = open_store("s3://nobodys/x")
        for call in (store.check, lambda: store.put("m", b"content", format="skops")):
            with pytest.raises(StoreError, match="no bucket 'nobodys'") as caught:
                call()
            assert caught.value.code == "learning.artefact.bucket"

    def test_credentials_that_are_refused(self, kept: KeptInBucket, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the testers secret")
        store = kept.open()
        for call in (store.check, lambda: store.put("m", b"content", format="skops")):
            with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY") as caught:
                call()
            assert caught.value.code == "learning.artefact.credentials"
            assert "testers secret" not in str(caught.value)
        assert not list(kept.names())

    def test_a_server_that_is_away_is_told_of_in_time(
        self, kept: KeptInBucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        began = time.monotonic()
        with pytest.raises(StoreError, match="cannot be reached") as caught:
            kept.open().put("m", b"content", format="skops")
        assert caught.value.code == "learning.artefact.unreachable"
        assert time.monotonic() - began < 30
