"""Artefacts in a bucket of S3 or of any server that speaks its protocol: `s3://bucket/prefix`.

Endpoint, region and credentials come from the variables that every S3 client reads (AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_ROLE_ARN with a web identity; else the machine's own
role). An object is there whole or not at all: the store makes it visible when its last byte has been acknowledged, and
checks the digest that each request is signed with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from learning.artefacts import BYTES_MAX, checked, parts_of, reference, refuse_size
from learning.errors import ArtefactError, StoreError
from learning.records import ArtefactRef

CONNECT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 15.0
"""Longest without a byte of an answer. A part that is sent is answered only when all of it is there, so a line needs
PART_BYTES × PARTS_AT_ONCE in this time: 1.1 MB/s."""
REQUEST_SECONDS: Final = 600.0
"""Longest for one answer: the largest artefact that the default allows, at 1.8 MB/s."""
RETRIES_MAX: Final = 4
RETRY_SECONDS: Final = 20.0
"""No request begins again after so long. A server that is away is told of after 3 s where it refuses connections, and
after RETRY_SECONDS + SILENT_SECONDS where nothing answers: a job stays a member of its group meanwhile
(`max.poll.interval.ms`, 300 s)."""
PART_BYTES: Final = 8 * 2**20
"""Artefacts above this are sent in parts. What a killed process had sent of one is never visible; the bucket's
lifecycle rule for incomplete uploads frees it."""
PARTS_AT_ONCE: Final = 2

PROBE: Final = "descant-was-here"
"""A name that no artefact has: they lie below their model's."""

_CODE: Final = re.compile(r"<Code>(\w+)</Code>")


class BucketStore:
    """`s3://<bucket>/<prefix>/<model>/<sha256>.<format>`."""

    def __init__(self, bucket: str, prefix: str = "", bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max: Final = bytes_max
        self._bucket: Final = bucket
        self._where: Final = f"s3://{bucket}/{prefix}".rstrip("/")
        self._store: Final = S3Store(
            bucket,
            prefix=prefix or None,
            client_options={
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "read_timeout": timedelta(seconds=SILENT_SECONDS),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
                "allow_http": True,  # for whoever sets an endpoint with http://; without one it is Amazon's, with https
            },
            retry_config={
                "max_retries": RETRIES_MAX,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(seconds=0.2),
                    "max_backoff": timedelta(seconds=3),
                    "base": 2,
                },
            },
        )

    def check(self) -> None:
        """One look for an object that is not there: bucket, credentials and endpoint are right, or StoreError."""
        try:
            with self._asked(PROBE):
                obstore.get(self._store, PROBE)
        except StoreError as error:
            # Without s3:ListBucket, S3 answers so for whatever is not there: nothing can be told.
            if "AccessDenied" not in str(error):
                raise
        except ArtefactError:
            pass  # missing, as it should be

    def put(self, model: str, content: bytes, *, format: str) -> ArtefactRef:
        """Raises StoreError. Written again where it is there already: the same bytes under the same name, and what
        damaged them is mended."""
        ref = reference(model, content, format, self._bytes_max)
        with self._asked(ref.uri):
            obstore.put(self._store, ref.uri, content, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
        return ref

    def get(self, ref: ArtefactRef) -> bytes:
        """Raises StoreError, or ArtefactError where the artefact is missing or its bytes are not those that the record
        names. No more is read than the record says."""
        parts_of(ref)
        refuse_size(ref.uri, ref.size_bytes, self._bytes_max)
        with self._asked(ref.uri):
            found = obstore.get(self._store, ref.uri)
            content = bytes(found.bytes()) if found.meta["size"] == ref.size_bytes else None
        return checked(ref, content)

    @contextmanager
    def _asked(self, uri: str) -> Iterator[None]:
        """What the library raises, as an error of ours. Its text holds the whole answer: only the code is told."""
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise self._told(error, uri) from None

    def _told(self, error: Exception, uri: str) -> ArtefactError:
        said = str(error)
        found = _CODE.search(said)
        code = found[1] if found else ""
        if code == "NoSuchBucket":
            return StoreError(
                f"there is no bucket {self._bucket!r} at {_endpoint()}. Create it, or name another with --store or "
                "DESCANT_ARTEFACTS.",
                code="learning.artefact.bucket",
            )
        if isinstance(error, FileNotFoundError):
            return ArtefactError(
                f"artefact {uri} is not in {self._where}. Give this process the store that the retraining job writes "
                "to.",
                code="learning.artefact.missing",
            )
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return StoreError(
                f"{_endpoint()} refuses {self._where} ({code or 'no reason given'}). Check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and that they may s3:GetObject, s3:PutObject and "
                "s3:ListBucket there.",
                code="learning.artefact.credentials",
            )
        if "/latest/api/token" in said or "/latest/meta-data" in said:
            return StoreError(
                f"no credentials for {self._where}: this machine has no role of its own. Set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY.",
                code="learning.artefact.credentials",
            )
        if isinstance(error, ValueError):
            return ArtefactError(f"artefact {uri!r} is no name of an object.", code="learning.artefact.outside")
        if "LOCATION" in said or code in {"AuthorizationHeaderMalformed", "PermanentRedirect"}:
            return StoreError(
                f"bucket {self._bucket!r} is in another region. Set AWS_REGION to the bucket's.",
                code="learning.artefact.region",
            )
        if code or "status code" in said:
            return StoreError(
                f"{_endpoint()} cannot serve {self._where} ({code or 'no reason given'}). Look at the store's log.",
            )
        return StoreError(
            f"{_endpoint()} cannot be reached for {self._where}. Check AWS_ENDPOINT_URL, and that the store runs.",
            code="learning.artefact.unreachable",
        )


def _endpoint() -> str:
    """Without what a URL may carry beside host and port."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    said = next((value for name in names if (value := os.environ.get(name))), "")
    url = urlsplit(said)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}" if url.netloc else "Amazon S3"
