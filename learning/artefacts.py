"""Where models and snapshots lie: by content, written whole or not at all, and checked before anything reads
them. `open_store` makes the one that the settings name; learning/bucket.py is the other kind."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import urlsplit

from learning.errors import ArtefactError, StoreError
from learning.records import ArtefactRef
from learning.settings import ArtefactSettings

BYTES_MAX = int(ArtefactSettings.model_fields["artefact_bytes_max"].default)


class Store(Protocol):
    """A folder, a bucket. `put` returns when the bytes are durable; the same bytes twice are one artefact.

    Both raise StoreError where the store itself cannot be used: the same call may succeed later. Any other
    ArtefactError is about the artefact, and stays.
    """

    def put(self, model: str, content: bytes, *, format: str) -> ArtefactRef: ...
    def get(self, ref: ArtefactRef) -> bytes: ...
    def check(self) -> None:
        """Return where the store can be used as far as can be told without writing; else StoreError."""
        ...


def open_store(place: str | None = None) -> Store:
    """The store at `place`, a folder or `s3://bucket/prefix`; without it, where DESCANT_ARTEFACTS says.

    Nothing is read or written yet. Raises ArtefactError for a place that is neither, or without the extra `s3`.
    """
    settings = ArtefactSettings()
    where = settings.artefacts if place is None else place
    if "://" not in where:
        return FolderStore(Path(where), settings.artefact_bytes_max)
    url = urlsplit(where)
    if url.scheme != "s3" or not url.netloc or "@" in url.netloc or url.query or url.fragment:
        raise ArtefactError(
            f"{url.scheme}://… is no place for artefacts. Give a folder, or s3://bucket/prefix; endpoint and "
            "credentials go into the AWS_* variables.",
            code="learning.artefact.place",
        )
    try:
        from learning.bucket import BucketStore  # noqa: PLC0415 it needs the extra
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "obstore":
            raise
        raise ArtefactError(
            f"artefacts at s3://{url.netloc} need {missing.name}: pip install 'descant[s3]'.",
            code="learning.artefact.extra",
        ) from missing
    return BucketStore(url.netloc, url.path.strip("/"), settings.artefact_bytes_max)


class FolderStore:
    """`<root>/<model>/<sha256>.<format>`, on a disk that jobs and stages share."""

    def __init__(self, root: Path, bytes_max: int = BYTES_MAX) -> None:
        self.root = root
        self._bytes_max = bytes_max

    def check(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def put(self, model: str, content: bytes, *, format: str) -> ArtefactRef:
        """Raises StoreError where the folder cannot be written."""
        ref = reference(model, content, format, self._bytes_max)
        path = self.root.joinpath(*parts_of(ref))
        try:
            if path.exists() and path.read_bytes() == content:
                return ref
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, content)
        except OSError as error:
            raise self._unwritable(error) from error
        return ref

    def _write(self, path: Path, content: bytes) -> None:
        # A reader sees the old state or all bytes: a killed job leaves at most a temporary file behind.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        # The names are on the disk only once their folders are.
        below = path.relative_to(self.root.parent).parents
        for folder in (self.root.parent / parent for parent in below):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def get(self, ref: ArtefactRef) -> bytes:
        """Raises ArtefactError where the artefact is missing, or its bytes are not those that the record
        names."""
        path = self.root.joinpath(*parts_of(ref))
        refuse_size(ref.uri, ref.size_bytes, self._bytes_max)
        try:
            content = path.read_bytes() if path.stat().st_size == ref.size_bytes else None
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ArtefactError(
                f"artefact {ref.uri} is not in {self.root}: {error.strerror}. Give this process the folder that the "
                "retraining job writes to.",
                code="learning.artefact.missing",
            ) from error
        except OSError as error:
            raise StoreError(
                f"artefact folder {self.root} cannot be read: {error.strerror}. Look at its disk and its permissions.",
                code="learning.artefact.folder",
            ) from error
        return checked(ref, content)

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"artefact folder {self.root} cannot be written: {error.strerror}. Make room or give it to this user, or "
            "name another with --store or DESCANT_ARTEFACTS.",
            code="learning.artefact.folder",
        )


def reference(model: str, content: bytes, format: str, bytes_max: int) -> ArtefactRef:
    """What a record says of the bytes. Raises ArtefactError for too many of them, or a name that is no path."""
    digest = hashlib.sha256(content).hexdigest()
    ref = ArtefactRef(uri=f"{model}/{digest}.{format}", sha256=digest, size_bytes=len(content), format=format)
    parts_of(ref)
    refuse_size(ref.uri, ref.size_bytes, bytes_max)
    return ref


def parts_of(ref: ArtefactRef) -> tuple[str, ...]:
    """The folders and the name below the store's root. Raises ArtefactError for a way out of it."""
    path = PurePosixPath(ref.uri)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ArtefactError(f"artefact {ref.uri!r} lies outside the store.", code="learning.artefact.outside")
    return path.parts


def refuse_size(uri: str, size_bytes: int, bytes_max: int) -> None:
    if size_bytes > bytes_max:
        raise ArtefactError(
            f"artefact {uri} has {size_bytes} bytes; this process takes at most {bytes_max}. Raise "
            "DESCANT_ARTEFACT_BYTES_MAX in every process that writes or loads it, or make a smaller model.",
            code="learning.artefact.size",
        )


def checked(ref: ArtefactRef, content: bytes | None) -> bytes:
    """The bytes if they are those that the record names; None are bytes of another length. Raises ArtefactError."""
    if content is None or hashlib.sha256(content).hexdigest() != ref.sha256:
        raise ArtefactError(
            f"the bytes of artefact {ref.uri} are not the ones that were promoted. It was not loaded; restore the "
            "file, or roll back: descant models rollback.",
            code="learning.artefact.hash",
        )
    return content
