"""Records of images, their members and tags; and what is asked of all of them."""

from __future__ import annotations

from registry.domain.member import MemberStatus
from registry.web.openapi.parts import (
    COUNT,
    DONE,
    JSON,
    LIMIT,
    MARKER,
    TEXT,
    Answer,
    Operation,
    Parameter,
    answer,
    ref,
)

V21_PATCH = "application/openstack-images-v2.1-json-patch"
V20_PATCH = "application/openstack-images-v2.0-json-patch"

RECORDS = (
    Operation(
        "GET",
        "/v2/images",
        "List images",
        {200: answer("A page.", "images")},
        (403, 404),
        (
            LIMIT,
            MARKER,
            Parameter("sort", "Keys with directions: name:asc,size:desc."),
            Parameter("sort_key", "A key; may be repeated."),
            Parameter("sort_dir", "asc or desc."),
            Parameter("visibility", "One visibility, or all."),
            Parameter(
                "member_status",
                "Of images that are shared with the caller.",
                {"type": "string", "enum": [*(each.value for each in MemberStatus), "all"]},
            ),
            Parameter("name", "Only of this name; in:a,b for several."),
            Parameter("status", "Only in this status; in:a,b for several."),
            Parameter("tag", "Only with this tag; may be repeated."),
            Parameter("os_hidden", "Those that are hidden instead.", {"type": "boolean"}),
            Parameter("protected", "Only protected ones, or only others.", {"type": "boolean"}),
            Parameter("size_min", "Not smaller, in bytes.", COUNT),
            Parameter("size_max", "Not larger, in bytes.", COUNT),
            Parameter("created_at", "gt:, gte:, eq:, neq:, lt: or lte: and a time."),
            Parameter("updated_at", "Likewise."),
        ),
        more="Any other parameter asks for images with a property of this name and value.",
    ),
    Operation(
        "POST",
        "/v2/images",
        "Register an image",
        {201: Answer("The record.", {JSON: ref("image")}, {"Location": "Where it is."})},
        (403, 409, 413),
        body={JSON: ref("new image")},
    ),
    Operation(
        "GET", "/v2/images/{image_id}", "Show an image", {200: answer("It.", "image")}, (404,)
    ),
    Operation(
        "PATCH",
        "/v2/images/{image_id}",
        "Change an image",
        {200: answer("It.", "image")},
        (403, 404, 409, 413, 415),
        body={V21_PATCH: ref("patch"), V20_PATCH: {"type": "array", "items": {"type": "object"}}},
    ),
    Operation(
        "DELETE",
        "/v2/images/{image_id}",
        "Delete an image and its data",
        {204: DONE},
        (403, 404, 409),
    ),
    Operation(
        "POST",
        "/v2/images/{image_id}/actions/deactivate",
        "Keep its data from all but administrators",
        {204: DONE},
        (403, 404),
    ),
    Operation(
        "POST", "/v2/images/{image_id}/actions/reactivate", "Undo that", {204: DONE}, (403, 404)
    ),
    Operation(
        "GET",
        "/v2/images/{image_id}/members",
        "List whom it is shared with",
        {200: answer("They.", "members")},
        (403, 404),
    ),
    Operation(
        "POST",
        "/v2/images/{image_id}/members",
        "Share it with a project",
        {200: answer("The member.", "member")},
        (403, 404, 409, 413),
        body={
            JSON: {
                "type": "object",
                "properties": {"member": {"type": "string"}},
                "required": ["member"],
            }
        },
    ),
    Operation(
        "GET",
        "/v2/images/{image_id}/members/{member}",
        "Show a member",
        {200: answer("It.", "member")},
        (403, 404),
    ),
    Operation(
        "PUT",
        "/v2/images/{image_id}/members/{member}",
        "Accept or reject an image",
        {200: answer("The member.", "member")},
        (403, 404),
        body={
            JSON: {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"type": "string", "enum": [each.value for each in MemberStatus]}
                },
            }
        },
    ),
    Operation(
        "DELETE",
        "/v2/images/{image_id}/members/{member}",
        "Share it with one project less",
        {204: DONE},
        (403, 404),
    ),
    Operation(
        "PUT", "/v2/images/{image_id}/tags/{tag}", "Tag an image", {204: DONE}, (403, 404, 413)
    ),
    Operation(
        "DELETE", "/v2/images/{image_id}/tags/{tag}", "Take a tag off", {204: DONE}, (403, 404)
    ),
)

OF_ALL = (
    Operation(
        "GET",
        "/v2/cacheproxy/changes",
        "What has become of images (not Glance's)",
        {200: answer("A page of the feed.", "changes")},
        (403, 410),
        (
            Parameter("after", "The number of the last change that is known.", COUNT),
            Parameter("epoch", "Of which feed.", TEXT),
            Parameter("limit", "How many at most.", {"type": "integer", "minimum": 1}),
            Parameter(
                "wait",
                "Seconds to wait for a change.",
                {"type": "integer", "minimum": 0, "maximum": 60},
            ),
        ),
        more="docs/changes.md",
    ),
    Operation(
        "GET",
        "/v2/cacheproxy/content/{content}",
        "Images of all projects with this content (not Glance's)",
        {200: answer("A page.", "found images")},
        (403,),
        (LIMIT, MARKER),
        more="docs/content.md",
    ),
)
