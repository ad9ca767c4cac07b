"""Every path of the catalog, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from registry.web.bodies import JSON_BODY_BYTES_MAX
from registry.web.changes import ChangeHandlers
from registry.web.discovery import VERSIONS, DiscoveryHandlers
from registry.web.errors import answer_errors
from registry.web.identity import Identify, identifying
from registry.web.image_data import ImageDataHandlers, promise_nothing
from registry.web.images import ImageHandlers
from registry.web.manifests import ManifestHandlers
from registry.web.progress import Progress
from registry.web.request_id import add_request_id

# Any version that is told may stand in the path; they all mean the same.
_V2 = "/{version:v2|" + "|".join(rf"v{version}" for version in VERSIONS).replace(".", r"\.") + "}"
_IMAGE = _V2 + "/images/{image_id}"


@dataclass(frozen=True, slots=True)
class Handlers:
    """Who answers what."""

    discovery: DiscoveryHandlers
    images: ImageHandlers
    data: ImageDataHandlers
    manifests: ManifestHandlers
    changes: ChangeHandlers


def build_application(
    progress: Progress, identify: Identify, handlers: Handlers
) -> web.Application:
    """Return the application; paths without a version answer with the versions."""
    discovery, images, data = handlers.discovery, handlers.images, handlers.data
    application = web.Application(
        middlewares=[progress.middleware, answer_errors, identifying(identify)],
        client_max_size=JSON_BODY_BYTES_MAX,
    )
    application.on_response_prepare.append(add_request_id)
    application.on_response_prepare.append(progress.close_connection)
    application.add_routes(
        [
            web.get("/versions", discovery.versions),
            web.get("/healthcheck", discovery.health),
            web.get(_V2 + "/schemas/image", discovery.image_schema, allow_head=False),
            web.get(_V2 + "/schemas/images", discovery.images_schema, allow_head=False),
            web.get(_V2 + "/info/import", discovery.import_methods, allow_head=False),
            web.get(_V2 + "/info/stores", discovery.stores, allow_head=False),
            web.get(_V2 + "/images", images.list, allow_head=False),
            web.post(_V2 + "/images", images.create),
            web.get(_IMAGE, images.show, allow_head=False),
            web.patch(_IMAGE, images.patch),
            web.delete(_IMAGE, images.delete),
            web.put(_IMAGE + "/tags/{tag}", images.add_tag),
            web.delete(_IMAGE + "/tags/{tag}", images.remove_tag),
            web.get(_IMAGE + "/file", data.download),
            web.put(_IMAGE + "/file", data.upload, expect_handler=promise_nothing),
            web.get(_IMAGE + "/download-right", data.right),
            web.get(_IMAGE + "/manifest", handlers.manifests.manifest),
            web.get(_V2 + "/cacheproxy/changes", handlers.changes.changes, allow_head=False),
            web.route("*", r"/{unversioned:(?!v2(\.\d+)?(/|$)).*}", discovery.choices),
        ]
    )
    return application
