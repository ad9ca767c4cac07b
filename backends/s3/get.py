"""Asking for the bytes of objects, without what botocore does around a request.

That is events, an endpoint looked for among Amazon's rules, an answer parsed into a dictionary: for a
range of a megabyte more than the range itself costs.  Signing and sending are botocore's here too.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from backends import answers
from backends.location import Location
from backends.s3.client import S3Client
from backends.s3.errors import refusal, translated
from backends.s3.location import Address
from backends.s3.options import S3Options
from backends.spans import Span

_WITH_BYTES = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
_ERROR_BYTES_MAX = 1 << 16
_REGIONS_MAX = 2  # that are tried for one request
_REGION = "x-amz-bucket-region"
_TOLD = re.compile(rb"<(Code|Region)>([\w-]+)</\1>")


class S3Getter:
    """Sends GETs with the keys of the options, over the connections of the client."""

    def __init__(self, options: S3Options, client: S3Client) -> None:
        self._client = client
        self._credentials = Credentials(options.access_key, options.secret_key)
        self._bases: dict[str, str] = {}  # what the addresses of a bucket's objects begin with
        self._regions: dict[str, str] = {}  # of buckets that are not where the options say

    async def get(self, location: Location, span: Span | None) -> aiohttp.ClientResponse | None:
        """Return an answer with bytes, which are not read yet; None for a 416."""
        address = Address.of(location)
        url = await self._base(location, address.bucket) + quote(address.key, safe="~")
        asked: list[str] = []
        while True:
            region = self._regions.get(address.bucket, self._client.region)
            asked.append(region)
            answer = await self._sent(location, url, region, span)
            if answer.status in _WITH_BYTES:
                return answer
            if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and span is not None:
                answer.close()
                return None
            code, elsewhere = await _told(location, answer)
            if elsewhere is None or elsewhere in asked or len(asked) == _REGIONS_MAX:
                raise refusal(location, answer.status, code)
            self._regions[address.bucket] = elsewhere

    async def _base(self, location: Location, bucket: str) -> str:
        """Return what botocore makes of the options: the bucket in the host, or in the path."""
        if bucket not in self._bases:
            client = await self._client.get()
            named = {"Bucket": bucket, "Key": "k"}
            with translated(location):
                url = await client.generate_presigned_url("get_object", Params=named)
            self._bases[bucket] = url.partition("?")[0].removesuffix("k")
        return self._bases[bucket]

    async def _sent(
        self, location: Location, url: str, region: str, span: Span | None
    ) -> aiohttp.ClientResponse:
        client = await self._client.get()
        request = AWSRequest("GET", url, {} if span is None else {"Range": span.range_header})
        S3SigV4Auth(self._credentials, "s3", region).add_auth(request)
        prepared = request.prepare()
        prepared.stream_output = True  # else all of it would be read at once
        with translated(location):
            answer = await client._endpoint.http_session.send(prepared)  # noqa: SLF001  one pool
        received: aiohttp.ClientResponse = answer.raw
        return received


async def _told(location: Location, answer: aiohttp.ClientResponse) -> tuple[str, str | None]:
    """Return the server's own name of an error, and the bucket's region where it tells that."""
    async with answer:
        with answers.translated(location):
            body = await answer.content.read(_ERROR_BYTES_MAX)
    told = {name: value.decode() for name, value in _TOLD.findall(body)}
    return told.get(b"Code", ""), answer.headers.get(_REGION, told.get(b"Region"))
