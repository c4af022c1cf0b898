"""Artefacts in a folder, and where the settings say that they lie."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from learning.artefacts import FolderStore, open_store
from learning.errors import ArtefactError, StoreError
from tests.stores import EveryStore, InFiles


class KeptInFolder(InFiles):
    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, bytes_max: int = 2**30) -> FolderStore:
        return FolderStore(self.root, bytes_max)


@pytest.fixture
def kept(tmp_path: Path) -> KeptInFolder:
    return KeptInFolder(tmp_path / "store")


class TestFolder(EveryStore):
    def test_what_cannot_be_written_is_the_stores_fault(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        store = FolderStore(tmp_path / "file")
        for call in (store.check, lambda: store.put("m", b"content", format="skops")):
            with pytest.raises(StoreError, match="cannot be written") as caught:
                call()
            assert caught.value.code == "learning.artefact.folder"


class TestPlaces:
    def test_a_folder_and_the_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ref = open_store(str(tmp_path)).put("m", b"content", format="skops")
        monkeypatch.setenv("DESCANT_ARTEFACTS", str(tmp_path))
        assert open_store().get(ref) == b"content"
        monkeypatch.setenv("DESCANT_ARTEFACT_BYTES_MAX", "3")
        with pytest.raises(ArtefactError, match="at most 3"):
            open_store().get(ref)

    @pytest.mark.parametrize(
        "place", ["gs://bucket/x", "s3://", "s3:///prefix", "s3://key:secret@bucket/x", "s3://bucket?x=1", "http://x/y"]
    )
    def test_what_is_no_place_is_refused_without_saying_it(self, place: str) -> None:
        with pytest.raises(ArtefactError, match="s3://bucket/prefix") as caught:
            open_store(place)
        assert caught.value.code == "learning.artefact.place"
        assert "secret" not in str(caught.value)

    def test_a_bucket_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "obstore", None)
        monkeypatch.delitem(sys.modules, "learning.bucket", raising=False)
        with pytest.raises(ArtefactError, match=r"pip install 'descant\[s3\]'") as caught:
            open_store("s3://bucket/prefix")
        assert caught.value.code == "learning.artefact.extra"
