"""Where models and snapshots lie: by content, written whole or not at all, and checked before anything reads
them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Protocol

from learning.errors import ArtefactError
from learning.records import ArtefactRef


class Store(Protocol):
    """A folder, a bucket. `put` returns when the bytes are durable; the same bytes twice are one artefact."""

    def put(self, model: str, content: bytes, *, format: str) -> ArtefactRef: ...
    def get(self, ref: ArtefactRef) -> bytes: ...


class FolderStore:
    """`<root>/<model>/<sha256>.<format>`, on a disk that jobs and stages share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, model: str, content: bytes, *, format: str) -> ArtefactRef:
        """Raises ArtefactError where the folder cannot be written."""
        digest = hashlib.sha256(content).hexdigest()
        ref = ArtefactRef(uri=f"{model}/{digest}.{format}", sha256=digest, size_bytes=len(content), format=format)
        path = self._path(ref)
        if path.exists() and _digest(path.read_bytes()) == digest:
            return ref
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A reader sees the old state or all bytes: a killed job leaves at most a temporary file behind.
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except OSError as error:
            raise ArtefactError(f"artefact folder {self.root} cannot be written: {error.strerror}.") from error
        return ref

    def get(self, ref: ArtefactRef) -> bytes:
        """Raises ArtefactError where the artefact is missing, or its bytes are not those that the record
        names."""
        try:
            content = self._path(ref).read_bytes()
        except OSError as error:
            raise ArtefactError(
                f"artefact {ref.uri} is not in {self.root}: {error.strerror}. Give this process the folder that the "
                "retraining job writes to.",
                code="learning.artefact.missing",
            ) from error
        if _digest(content) != ref.sha256:
            raise ArtefactError(
                f"the bytes of artefact {ref.uri} are not the ones that were promoted. It was not loaded; restore the "
                "file, or roll back: descant models rollback.",
                code="learning.artefact.hash",
            )
        return content

    def _path(self, ref: ArtefactRef) -> Path:
        parts = PurePosixPath(ref.uri)
        if parts.is_absolute() or ".." in parts.parts:
            raise ArtefactError(f"artefact {ref.uri!r} lies outside the store.", code="learning.artefact.outside")
        return self.root.joinpath(*parts.parts)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
