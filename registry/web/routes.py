"""Every path of the catalog, in one table."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

from registry.web.bodies import JSON_BODY_BYTES_MAX
from registry.web.changes import ChangeHandlers
from registry.web.content import ContentHandlers
from registry.web.cors import Cors
from registry.web.discovery import DiscoveryHandlers
from registry.web.errors import answer_errors
from registry.web.health import HealthHandlers
from registry.web.identity import Identify, identifying
from registry.web.image_data import ImageDataHandlers, promise_nothing
from registry.web.images import ImageHandlers
from registry.web.imports import ImportHandlers
from registry.web.incoming import end_connection
from registry.web.links import BELIEVES_PROXIES
from registry.web.locations import LocationHandlers
from registry.web.manifests import ManifestHandlers
from registry.web.members import MemberHandlers
from registry.web.metadefs import MetadefItemHandlers, NamespaceHandlers
from registry.web.negotiation import Negotiation
from registry.web.options import WebSettings
from registry.web.progress import Progress
from registry.web.request_id import add_request_id
from registry.web.resumable import ResumableHandlers
from registry.web.stores import StoreHandlers
from registry.web.tasks import TaskHandlers
from registry.web.usage import UsageHandlers


@dataclass(frozen=True, slots=True)
class Handlers:
    """Who answers what."""

    discovery: DiscoveryHandlers
    health: HealthHandlers
    images: ImageHandlers
    members: MemberHandlers
    data: ImageDataHandlers
    resumable: ResumableHandlers
    manifests: ManifestHandlers
    changes: ChangeHandlers
    usage: UsageHandlers
    content: ContentHandlers
    stores: StoreHandlers
    locations: LocationHandlers
    imports: ImportHandlers
    tasks: TaskHandlers
    namespaces: NamespaceHandlers
    metadef_items: MetadefItemHandlers


def build_application(
    progress: Progress, identify: Identify, handlers: Handlers, settings: WebSettings
) -> web.Application:
    """Return the application; paths without a version answer with the versions."""
    discovery, images, data = handlers.discovery, handlers.images, handlers.data
    members, stores = handlers.members, handlers.stores
    imports, tasks = handlers.imports, handlers.tasks
    # Any version that is told may stand in the path; they all mean the same.
    told = "|".join(re.escape(f"v{version}") for version in discovery.known_versions)
    v2 = f"/{{version:v2|{told}}}"
    versioned = f"(v2|{told})(/|$)"
    image = v2 + "/images/{image_id:[^/]+}"
    tag = image + "/tags/{tag:(?:[^/%]|%(?!2[fF]))+}"  # a slash in it, escaped, leads nowhere
    cors = Cors(settings.cors)
    application = web.Application(
        middlewares=[
            progress.middleware,
            cors.middleware,
            answer_errors,
            identifying(identify, re.compile(f"/{versioned}")),
        ],
        client_max_size=JSON_BODY_BYTES_MAX,
    )
    application[BELIEVES_PROXIES] = settings.believes_proxies
    application.on_response_prepare.append(add_request_id)
    application.on_response_prepare.append(cors.tell)
    application.on_response_prepare.append(progress.close_connection)
    application.on_response_prepare.append(end_connection)
    known = {"v2", *(f"v{version}" for version in discovery.known_versions)}
    application.router.register_resource(Negotiation(application.router, known))
    application.add_routes(
        [
            # What is called most comes first: they are looked through in this order.
            web.get(image, images.show, allow_head=False),
            web.patch(image, images.patch),
            web.delete(image, images.delete),
            web.get(image + "/file", data.download),
            web.put(image + "/file", data.upload, expect_handler=promise_nothing),
            web.get(v2 + "/images", images.list, allow_head=False),
            web.post(v2 + "/images", images.create),
            web.route("*", "/versions{slash:(?:/.*)?}", discovery.versions),
            web.route("*", "/healthcheck/live", handlers.health.live),
            web.route("*", "/healthcheck{slash:(?:/.*)?}", handlers.health.ready),
            web.route("*", v2, discovery.entrance),
            web.get(v2 + "/schemas/image", discovery.image_schema, allow_head=False),
            web.get(v2 + "/schemas/images", discovery.images_schema, allow_head=False),
            web.get(v2 + "/schemas/member", discovery.member_schema, allow_head=False),
            web.get(v2 + "/schemas/members", discovery.members_schema, allow_head=False),
            web.get(v2 + "/schemas/task", discovery.task_schema, allow_head=False),
            web.get(v2 + "/schemas/tasks", discovery.tasks_schema, allow_head=False),
            web.get(v2 + "/info/usage", handlers.usage.usage, allow_head=False),
            web.get(v2 + "/info/import", imports.methods, allow_head=False),
            web.get(v2 + "/info/stores", stores.list, allow_head=False),
            web.get(v2 + "/info/stores/detail", stores.detail, allow_head=False),
            web.delete(v2 + "/stores/{store}/{image_id}", stores.remove),
            web.post(image + "/actions/deactivate", images.deactivate),
            web.post(image + "/actions/reactivate", images.reactivate),
            web.get(image + "/members", members.list, allow_head=False),
            web.post(image + "/members", members.add),
            web.get(image + "/members/{member:[^/]+}", members.show, allow_head=False),
            web.put(image + "/members/{member:[^/]+}", members.answer),
            web.delete(image + "/members/{member:[^/]+}", members.remove),
            web.put(tag, images.add_tag),
            web.delete(tag, images.remove_tag),
            web.get(image + "/locations", handlers.locations.list, allow_head=False),
            web.post(image + "/locations", handlers.locations.add),
            web.head(image + "/upload", handlers.resumable.standing),
            web.patch(image + "/upload", handlers.resumable.append, expect_handler=promise_nothing),
            web.delete(image + "/upload", handlers.resumable.cancel),
            web.put(image + "/stage", imports.stage, expect_handler=promise_nothing),
            web.post(image + "/import", imports.begin),
            web.get(image + "/tasks", tasks.of_image, allow_head=False),
            web.get(v2 + "/tasks", tasks.page, allow_head=False),
            web.post(v2 + "/tasks", tasks.create),
            web.get(v2 + "/tasks/{task_id}", tasks.show, allow_head=False),
            web.delete(v2 + "/tasks/{task_id}", tasks.remove),
            web.get(image + "/download-right", data.right),
            web.get(image + "/manifest", handlers.manifests.manifest),
            web.get(v2 + "/cacheproxy/changes", handlers.changes.changes, allow_head=False),
            web.get(v2 + "/cacheproxy/content/{content}", handlers.content.find, allow_head=False),
            *handlers.namespaces.routes(v2),
            *handlers.metadef_items.routes(v2),
            web.route("*", "/{unversioned:(?!" + versioned + ").*}", discovery.choices),
        ]
    )
    return application
