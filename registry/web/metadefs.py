"""Metadata definitions over HTTP: `/v2/metadefs/…`, and their schemas."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from aiohttp import hdrs, web

from registry.domain.metadefs.kinds import KINDS, PROPERTY, RESOURCE_TYPE, TAG, Kind
from registry.domain.metadefs.records import ItemPath
from registry.domain.metadefs.schemas import Schema, schemas
from registry.service.metadef_items import MetadefItems
from registry.service.metadefs import Metadefs
from registry.web.bodies import json_response, read_json, refuse_body
from registry.web.identity import IDENTITY

BODY_BYTES_MAX = 1 << 20  # fifty times the largest namespace that Glance ships
_SEGMENT = r"(?:[^/%]|%(?!2[fF]))+"  # a slash in it, escaped, leads nowhere
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})


class NamespaceHandlers:
    """`/v2/metadefs/namespaces`, `/v2/metadefs/namespaces/{namespace}` and resource types."""

    def __init__(self, metadefs: Metadefs) -> None:
        self._metadefs = metadefs

    def routes(self, v2: str) -> Iterator[web.RouteDef]:
        """Return the paths, behind what begins all of this version."""
        of_all = f"{v2}/metadefs/namespaces"
        one = f"{of_all}/{{namespace:{_SEGMENT}}}"
        for name, schema in schemas().items():
            path = f"{v2}/schemas/metadefs/{name}"
            yield web.get(path, partial(self.schema, schema), allow_head=False)
        yield web.get(f"{v2}/metadefs/resource_types", self.resource_types, allow_head=False)
        yield web.get(of_all, self.list, allow_head=False)
        yield web.post(of_all, self.create)
        yield web.get(one, self.show, allow_head=False)
        yield web.put(one, self.update)
        yield web.delete(one, self.delete)

    async def schema(self, schema: Schema, request: web.Request) -> web.Response:
        """GET /v2/schemas/metadefs/…."""
        refuse_body(request)
        return json_response(schema)

    async def create(self, request: web.Request) -> web.Response:
        """POST /v2/metadefs/namespaces."""
        document = await self._metadefs.create(
            request[IDENTITY], await read_json(request, BODY_BYTES_MAX)
        )
        path = quote(document["self"], safe="/:")
        location = f"{request.scheme}://{request.host}{path}"
        return json_response(document, status=201, headers={hdrs.LOCATION: location})

    async def list(self, request: web.Request) -> web.Response:
        """GET /v2/metadefs/namespaces."""
        parameters = tuple(request.query.items())
        return json_response(await self._metadefs.list(request[IDENTITY], parameters))

    async def show(self, request: web.Request) -> web.Response:
        """GET /v2/metadefs/namespaces/{namespace}."""
        refuse_body(request)
        name, parameters = request.match_info["namespace"], tuple(request.query.items())
        return json_response(await self._metadefs.show(request[IDENTITY], name, parameters))

    async def update(self, request: web.Request) -> web.Response:
        """PUT /v2/metadefs/namespaces/{namespace}."""
        body, name = await read_json(request, BODY_BYTES_MAX), request.match_info["namespace"]
        return json_response(await self._metadefs.update(request[IDENTITY], name, body))

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /v2/metadefs/namespaces/{namespace}."""
        refuse_body(request)
        await self._metadefs.delete(request[IDENTITY], request.match_info["namespace"])
        return web.Response(status=204)

    async def resource_types(self, request: web.Request) -> web.Response:
        """GET /v2/metadefs/resource_types."""
        refuse_body(request)
        return json_response(await self._metadefs.resource_types(request[IDENTITY]))


class MetadefItemHandlers:
    """`/v2/metadefs/namespaces/{namespace}/KINDS` and each of them, of every kind."""

    def __init__(self, items: MetadefItems) -> None:
        self._items = items

    def routes(self, v2: str) -> Iterator[web.RouteDef]:
        """Return the paths, behind what begins all of this version."""
        for kind in KINDS:
            of_all = f"{v2}/metadefs/namespaces/{{namespace:{_SEGMENT}}}/{kind.plural}"
            one = f"{of_all}/{{name:{_SEGMENT}}}"
            yield web.get(of_all, partial(self.list, kind), allow_head=False)
            yield web.post(of_all, self.add_tags if kind is TAG else partial(self.add, kind))
            yield web.delete(one, partial(self.remove, kind))
            if kind is TAG:
                yield web.post(one, self.add_tag)
            if kind is not RESOURCE_TYPE:
                yield web.delete(of_all, partial(self.clear, kind))
                yield web.get(one, partial(self.show, kind), allow_head=False)
                yield web.put(one, partial(self.replace, kind))

    async def list(self, kind: Kind, request: web.Request) -> web.Response:
        """GET of all."""
        if kind in {PROPERTY, RESOURCE_TYPE}:
            refuse_body(request)
        parameters, namespace = tuple(request.query.items()), request.match_info["namespace"]
        return json_response(await self._items.list(request[IDENTITY], kind, namespace, parameters))

    async def add(self, kind: Kind, request: web.Request) -> web.Response:
        """POST: one more."""
        body, namespace = await read_json(request, BODY_BYTES_MAX), request.match_info["namespace"]
        document = await self._items.add(request[IDENTITY], kind, namespace, body)
        return json_response(document, status=201)

    async def add_tags(self, request: web.Request) -> web.Response:
        """POST of several tags: instead of those that there are, unless X-Openstack-Append."""
        body, namespace = await read_json(request, BODY_BYTES_MAX), request.match_info["namespace"]
        append = request.headers.get("X-Openstack-Append", "").strip().lower() in _TRUE
        document = await self._items.add_tags(request[IDENTITY], namespace, body, append=append)
        return json_response(document, status=201)

    async def add_tag(self, request: web.Request) -> web.Response:
        """POST of a tag by its path."""
        refuse_body(request)
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        document = await self._items.add_tag(request[IDENTITY], namespace, name)
        return json_response(document, status=201)

    async def show(self, kind: Kind, request: web.Request) -> web.Response:
        """GET of one."""
        if kind is not PROPERTY:
            refuse_body(request)
        path, parameters = _path(kind, request), tuple(request.query.items())
        return json_response(await self._items.show(request[IDENTITY], path, parameters))

    async def replace(self, kind: Kind, request: web.Request) -> web.Response:
        """PUT of one."""
        body, path = await read_json(request, BODY_BYTES_MAX), _path(kind, request)
        return json_response(await self._items.replace(request[IDENTITY], path, body))

    async def remove(self, kind: Kind, request: web.Request) -> web.Response:
        """DELETE of one."""
        refuse_body(request)
        await self._items.remove(request[IDENTITY], _path(kind, request))
        return web.Response(status=204)

    async def clear(self, kind: Kind, request: web.Request) -> web.Response:
        """DELETE of all."""
        refuse_body(request)
        await self._items.clear(request[IDENTITY], kind, request.match_info["namespace"])
        return web.Response(status=204)


def _path(kind: Kind, request: web.Request) -> ItemPath:
    return ItemPath(kind, request.match_info["namespace"], request.match_info["name"])
