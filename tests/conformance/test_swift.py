"""The real Swift answers as its drivers expect: what the tests of Swift and S3 build on."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from email.utils import formatdate

from harness.http import ask
from harness.keystone import MEMBER, STRANGER
from harness.swift import Swift


def test_keystones_users_have_accounts(swift: Swift) -> None:
    data = secrets.token_bytes(100_000)
    mine = {"X-Auth-Token": swift.keystone.token(MEMBER)}
    container = f"{swift.account(MEMBER)}/{secrets.token_hex(8)}"
    ask("PUT", container, headers=mine).expect(201)
    ask("PUT", f"{container}/image", headers=mine, body=data).expect(201)
    ranged = ask("GET", f"{container}/image", headers={**mine, "Range": "bytes=10-19"})
    assert ranged.expect(206).body == data[10:20]
    theirs = {"X-Auth-Token": swift.keystone.token(STRANGER)}
    ask("GET", f"{container}/image", headers=theirs).expect(403)
    ask("GET", f"{container}/image").expect(401)
    ask("DELETE", f"{container}/image", headers=mine).expect(204)
    ask("DELETE", container, headers=mine).expect(204)


def test_s3_with_keystones_keys(swift: Swift) -> None:
    access, secret = swift.ec2_keys(MEMBER)

    def signed(method: str, path: str) -> dict[str, str]:
        date = formatdate(usegmt=True)
        text = f"{method}\n\n\n{date}\n{path}"  # version 2 of Amazon's signatures
        digest = hmac.digest(secret.encode(), text.encode(), hashlib.sha1)
        return {
            "Date": date,
            "Authorization": f"AWS {access}:{base64.b64encode(digest).decode()}",
        }

    bucket = f"/{secrets.token_hex(8)}"
    for method, path, status in (
        ("PUT", bucket, 200),
        ("PUT", f"{bucket}/image", 200),
        ("GET", f"{bucket}/image", 200),
        ("DELETE", f"{bucket}/image", 204),
        ("DELETE", bucket, 204),
        ("GET", bucket, 404),
    ):
        ask(method, swift.url + path, headers=signed(method, path)).expect(status)
