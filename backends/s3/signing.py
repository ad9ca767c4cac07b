"""Signatures over a body whose digest is known: botocore would compute it on the loop.

Every S3 server holds the body against the digest that was signed (`X-Amz-Content-SHA256`), so bytes
that change on their way are refused.  SHA-256 costs less than half of what MD5 does on processors
that know it, which is what `Content-MD5` would take.
"""

from __future__ import annotations

from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth

from backends.s3.body import S3Body

_NAME = "s3v4-known-digest"
_WITH_BODIES = ("PutObject", "UploadPart")


class _KnownDigestAuth(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    def payload(self, request: Any) -> Any:
        if isinstance(request.body, S3Body):
            return request.body.sha256
        return super().payload(request)


AUTH_TYPE_MAPS[_NAME] = _KnownDigestAuth  # where botocore looks up what its events choose


def sign_known_digests(events: Any) -> None:
    """Have a client, by its events, sign each `S3Body` with the digest that this tells."""
    for operation in _WITH_BODIES:
        events.register_first(f"choose-signer.s3.{operation}", _chosen)


def _chosen(**_: object) -> str:
    return _NAME
