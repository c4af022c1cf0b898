"""Artefacts in a bucket of a real server that speaks S3, and what is said when it cannot be used."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from learning import bucket
from learning.artefacts import Store, open_store, reference
from learning.errors import ArtefactError, StoreError
from tests.s3.server import S3Server, s3_server
from tests.stores import LARGE, EveryStore, InFiles

pytestmark = pytest.mark.integration

ENOUGH_SECONDS = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


class KeptInBucket(InFiles):
    def __init__(self, server: S3Server, name: str) -> None:
        self.name = name
        self.root = server.make_bucket(name) / "descant" / "models"

    def open(self, bytes_max: int = 2**30) -> Store:
        return bucket.BucketStore(self.name, "descant/models", bytes_max)


@pytest.fixture
def kept(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> KeptInBucket:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return KeptInBucket(server, f"bucket-{uuid.uuid4().hex[:12]}")


class TestBucket(EveryStore):
    """And what only a bucket can do."""


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """The code and the sentence of what says that the store is at fault."""
    with pytest.raises(StoreError) as caught:
        call()
    assert "a-secret" not in str(caught.value)
    return caught.value.code, str(caught.value)


def every_call(store: Store) -> Iterator[tuple[str, str]]:
    ref = reference("m", b"content", "skops", 2**30)
    yield refused(store.check)
    yield refused(lambda: store.put("m", b"content", format="skops"))
    yield refused(lambda: store.put("m", LARGE, format="skops"))
    yield refused(lambda: store.get(ref))


def test_a_bucket_that_is_not_there(kept: KeptInBucket) -> None:
    for code, said in every_call(open_store("s3://nobody-made-it/x")):
        assert code == "learning.artefact.bucket"
        assert "'nobody-made-it'" in said


@pytest.mark.parametrize(
    ("variable", "reason"),
    [("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch")],
)
def test_credentials_that_are_refused(
    kept: KeptInBucket, monkeypatch: pytest.MonkeyPatch, variable: str, reason: str
) -> None:
    monkeypatch.setenv(variable, "not-the-one")
    for code, said in every_call(kept.open()):
        assert code == "learning.artefact.credentials"
        assert reason in said
        assert "not-the-one" not in said


def test_no_credentials(kept: KeptInBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    code, said = refused(kept.open().check)
    assert code == "learning.artefact.credentials"
    assert "Set AWS_ACCESS_KEY_ID" in said


def test_a_server_that_is_not_there(kept: KeptInBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://somebody:a-secret@127.0.0.1:1")
    begun = time.monotonic()
    for code, said in every_call(kept.open()):
        assert code == "learning.artefact.unreachable"
        assert "http://127.0.0.1:1 cannot be reached" in said
    assert time.monotonic() - begun < 4 * ENOUGH_SECONDS


def test_a_server_that_says_nothing(kept: KeptInBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(bucket, "RETRY_SECONDS", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        for code, _ in every_call(kept.open()):
            assert code == "learning.artefact.unreachable"
        assert time.monotonic() - begun < ENOUGH_SECONDS


def test_a_server_that_comes_back_serves_on(kept: KeptInBucket) -> None:
    with s3_server() as other:
        other.make_bucket("models")
        os.environ["AWS_ENDPOINT_URL"] = other.environment["AWS_ENDPOINT_URL"]  # `kept` puts it back
        store = open_store("s3://models/x")
        ref = store.put("m", LARGE, format="bin")
        other.stop()
        assert refused(lambda: store.get(ref))[0] == "learning.artefact.unreachable"
        other.start()
        assert store.get(ref) == LARGE


PUT = """
import os, sys
from learning.artefacts import open_store
store = open_store(sys.argv[1])
sys.stdout.write("begins\\n"); sys.stdout.flush()
store.put("m", bytes(range(256)) * 400_000, format="bin")
"""
LARGER = bytes(range(256)) * 400_000


def test_who_is_killed_while_it_writes_leaves_nothing_visible(kept: KeptInBucket) -> None:
    store = kept.open()
    ref = reference("m", LARGER, "bin", 2**30)
    ends_at = time.monotonic() + ENOUGH_SECONDS
    with subprocess.Popen(
        [sys.executable, "-c", PUT, f"s3://{kept.name}/descant/models"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not any(kept.root.parent.parent.rglob("*")):  # a first part has come
            assert time.monotonic() < ends_at
            time.sleep(0.01)
        process.kill()
    with pytest.raises(ArtefactError) as caught:
        store.get(ref)
    assert caught.value.code == "learning.artefact.missing"
    assert store.put("m", LARGER, format="bin") == ref
    assert store.get(ref) == LARGER
