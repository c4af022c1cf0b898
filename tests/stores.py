"""What every artefact store promises: a suite that each kind inherits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from learning.artefacts import Store
from learning.errors import ArtefactError, StoreError
from learning.records import ArtefactRef

LARGE = bytes(range(256)) * 80_000
"""20 MB: more than one part of a bucket."""


class Kept(Protocol):
    """A store of one kind, and a way behind its back."""

    def open(self, bytes_max: int = 2**30) -> Store: ...
    def damage(self, uri: str, content: bytes | None) -> None:
        """Other bytes under that name, or none."""
        ...

    def names(self) -> Iterable[str]:
        """Of everything that is there."""
        ...


class InFiles:
    """The way behind the back of a store whose artefacts are files below `root`."""

    root: Path

    def damage(self, uri: str, content: bytes | None) -> None:
        if content is None:
            (self.root / uri).unlink()
        else:
            (self.root / uri).write_bytes(content)

    def names(self) -> Iterator[str]:
        return (str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ArtefactError) as caught:
        call()
    return caught.value.code


class EveryStore:
    def test_what_was_put_is_what_is_got(self, kept: Kept) -> None:
        store = kept.open()
        store.check()
        ref = store.put("m", b"content", format="skops")
        assert store.get(ref) == b"content"
        assert store.put("m", b"content", format="skops") == ref
        assert list(kept.names()) == [f"m/{ref.sha256}.skops"], "the same bytes twice are one artefact"
        assert ref.size_bytes == 7

    def test_another_process_gets_it(self, kept: Kept) -> None:
        ref = kept.open().put("m", LARGE, format="bin")
        assert kept.open().get(ref) == LARGE

    @pytest.mark.parametrize("model", ["höhe über null", "a b+c%20", "team/model"])
    def test_any_name_of_a_model(self, kept: Kept, model: str) -> None:
        ref = kept.open().put(model, b"content", format="skops")
        assert kept.open().get(ref) == b"content"

    @pytest.mark.parametrize("content", [b"evilish", b"longer than it was", b""])
    def test_other_bytes_are_never_handed_out(self, kept: Kept, content: bytes) -> None:
        store = kept.open()
        ref = store.put("m", b"content", format="skops")
        kept.damage(ref.uri, content)
        assert refused(lambda: store.get(ref)) == "learning.artefact.hash"
        store.put("m", b"content", format="skops")
        assert store.get(ref) == b"content", "putting it again repairs it"

    def test_what_is_gone_is_missing_and_the_store_is_not_at_fault(self, kept: Kept) -> None:
        store = kept.open()
        ref = store.put("m", b"content", format="skops")
        kept.damage(ref.uri, None)
        with pytest.raises(ArtefactError) as caught:
            store.get(ref)
        assert caught.value.code == "learning.artefact.missing"
        assert not isinstance(caught.value, StoreError)

    @pytest.mark.parametrize("uri", ["../secret", "/etc/passwd", "m/../../x", "."])
    def test_nothing_outside_is_read(self, kept: Kept, uri: str) -> None:
        ref = ArtefactRef(uri=uri, sha256="0" * 64, size_bytes=1)
        assert refused(lambda: kept.open().get(ref)) == "learning.artefact.outside"

    @pytest.mark.parametrize("model", ["..", "/etc", "m/../.."])
    def test_nothing_outside_is_written(self, kept: Kept, model: str) -> None:
        assert refused(lambda: kept.open().put(model, b"content", format="skops")) == "learning.artefact.outside"
        assert not list(kept.names())

    def test_what_is_too_large_is_neither_written_nor_read(self, kept: Kept) -> None:
        ref = kept.open().put("m", b"content", format="skops")
        small = kept.open(bytes_max=6)
        assert refused(lambda: small.get(ref)) == "learning.artefact.size"
        assert refused(lambda: small.put("m", b"another", format="skops")) == "learning.artefact.size"
        assert len(list(kept.names())) == 1
        assert small.get(small.put("m", b"little", format="skops")) == b"little"

    def test_who_puts_the_same_at_once_gets_the_same(self, kept: Kept) -> None:
        refs = []
        threads = [
            threading.Thread(target=lambda: refs.append(kept.open().put("m", b"content", format="skops")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(refs) == 8
        assert len(set(refs)) == 1
        assert kept.open().get(refs[0]) == b"content"
