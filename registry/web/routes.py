"""Every path of the catalog, in one table."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

from registry.web.bodies import JSON_BODY_BYTES_MAX
from registry.web.changes import ChangeHandlers
from registry.web.discovery import DiscoveryHandlers
from registry.web.errors import answer_errors
from registry.web.identity import VERSIONED, Identify, identifying
from registry.web.image_data import ImageDataHandlers, promise_nothing
from registry.web.images import ImageHandlers
from registry.web.manifests import ManifestHandlers
from registry.web.members import MemberHandlers
from registry.web.progress import Progress
from registry.web.request_id import add_request_id
from registry.web.stores import StoreHandlers


@dataclass(frozen=True, slots=True)
class Handlers:
    """Who answers what."""

    discovery: DiscoveryHandlers
    images: ImageHandlers
    members: MemberHandlers
    data: ImageDataHandlers
    manifests: ManifestHandlers
    changes: ChangeHandlers
    stores: StoreHandlers


def build_application(
    progress: Progress, identify: Identify, handlers: Handlers
) -> web.Application:
    """Return the application; paths without a version answer with the versions."""
    discovery, images, data = handlers.discovery, handlers.images, handlers.data
    members, stores = handlers.members, handlers.stores
    # Any version that is told may stand in the path; they all mean the same.
    told = "|".join(re.escape(f"v{version}") for version in discovery.known_versions)
    v2 = f"/{{version:v2|{told}}}"
    image = v2 + "/images/{image_id}"
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
            web.get(v2 + "/schemas/image", discovery.image_schema, allow_head=False),
            web.get(v2 + "/schemas/images", discovery.images_schema, allow_head=False),
            web.get(v2 + "/schemas/member", discovery.member_schema, allow_head=False),
            web.get(v2 + "/schemas/members", discovery.members_schema, allow_head=False),
            web.get(v2 + "/info/import", discovery.import_methods, allow_head=False),
            web.get(v2 + "/info/stores", stores.list, allow_head=False),
            web.get(v2 + "/info/stores/detail", stores.detail, allow_head=False),
            web.delete(v2 + "/stores/{store}/{image_id}", stores.remove),
            web.get(v2 + "/images", images.list, allow_head=False),
            web.post(v2 + "/images", images.create),
            web.get(image, images.show, allow_head=False),
            web.patch(image, images.patch),
            web.delete(image, images.delete),
            web.post(image + "/actions/deactivate", images.deactivate),
            web.post(image + "/actions/reactivate", images.reactivate),
            web.get(image + "/members", members.list, allow_head=False),
            web.post(image + "/members", members.add),
            web.get(image + "/members/{member}", members.show, allow_head=False),
            web.put(image + "/members/{member}", members.answer),
            web.delete(image + "/members/{member}", members.remove),
            web.put(image + "/tags/{tag}", images.add_tag),
            web.delete(image + "/tags/{tag}", images.remove_tag),
            web.get(image + "/file", data.download),
            web.put(image + "/file", data.upload, expect_handler=promise_nothing),
            web.get(image + "/download-right", data.right),
            web.get(image + "/manifest", handlers.manifests.manifest),
            web.get(v2 + "/cacheproxy/changes", handlers.changes.changes, allow_head=False),
            web.route("*", "/{unversioned:(?!" + VERSIONED + ").*}", discovery.choices),
        ]
    )
    return application
