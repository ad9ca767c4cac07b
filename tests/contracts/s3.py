"""An S3 store under test, and the ways around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from backends.errors import InvalidError
from backends.location import Location
from backends.s3.body import S3Body
from backends.s3.location import Address
from backends.s3.options import S3Options
from backends.s3.store import S3Store
from contracts.subject import PIECE, Subject, pattern, write

BUCKET = "images"
SECRET = "secret/with+slashes/"
# Every object of more than a piece is sent in parts, two of them at once.
IN_PARTS: dict[str, Any] = {
    "large_object_bytes": 0,
    "part_bytes": PIECE,
    "parts_at_once": 2,
    "buffer_bytes": 4 * PIECE,
}


def s3_options(host: str, **changes: Any) -> S3Options:
    defaults: dict[str, Any] = {
        "bucket": BUCKET,
        "access_key": "access",
        "secret_key": SECRET,
        "create_bucket": True,
    }
    return S3Options(host, **(defaults | changes))


@asynccontextmanager
async def opened(host: str, **changes: Any) -> AsyncIterator[S3Store]:
    store = S3Store(s3_options(host, **changes))
    try:
        yield store
    finally:
        await store.aclose()


def image(store: S3Store) -> Location:
    return store._endpoint.location(Address(store._options.bucket, "image"))


async def left_in(store: S3Store) -> set[str]:
    """Return the keys of all objects in the store's bucket, and of uploads that were not ended."""
    client = await store._client.get()
    bucket = store._options.bucket
    objects = await client.list_objects_v2(Bucket=bucket)
    uploads = await client.list_multipart_uploads(Bucket=bucket)
    return {found["Key"] for found in objects.get("Contents", ())} | {
        f"upload of {found['Key']}" for found in uploads.get("Uploads", ())
    }


async def refuses_other_bytes(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """See that a server takes no other bytes than those whose digest was signed."""
    store = subject.store
    assert isinstance(store, S3Store)
    monkeypatch.setattr(S3Body, "_digest", lambda _: sha256(b"others").hexdigest())
    for content in (b"small", pattern(2 * PIECE)):
        with pytest.raises(InvalidError, match="ContentSHA256Mismatch"):
            await write(store, "image", content)
    assert await left_in(store) == set()


def s3_subject(store: S3Store) -> Subject:
    missing = store._endpoint.location(Address(store._options.bucket, "absent"))
    return Subject(store, partial(write, store), partial(left_in, store), missing)
