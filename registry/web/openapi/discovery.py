"""What clients ask before they do anything."""

from __future__ import annotations

from registry.web.openapi.parts import TEXT, Answer, Operation, answer, closed


def _schema(path: str, of: str) -> Operation:
    answers = {200: answer("The schema.", {"type": "object"})}
    return Operation("GET", f"/v2/schemas/{path}", f"The JSON schema of {of}", answers)


DISCOVERY = (
    *(
        Operation(
            "GET",
            path,
            "The versions",
            {status: answer("The versions.", "versions")},
            is_known_to_all=True,
        )
        for path, status in (("/", 300), ("/versions", 200))
    ),
    Operation(
        "GET",
        "/healthcheck",
        "Whether requests are to be sent to this instance",
        {
            200: Answer("OK", {"text/plain": TEXT}),
            503: Answer("No, and why.", {"text/plain": TEXT}),
        },
        is_known_to_all=True,
    ),
    Operation(
        "GET",
        "/healthcheck/live",
        "Whether the process answers",
        {200: Answer("OK", {"text/plain": TEXT})},
        is_known_to_all=True,
    ),
    Operation(
        "GET", "/v2", "The way to the versions", {302: Answer("See there.", {"text/plain": TEXT})}
    ),
    _schema("image", "an image"),
    _schema("images", "a page of images"),
    _schema("member", "a member"),
    _schema("members", "the members of an image"),
    _schema("task", "a task"),
    _schema("tasks", "a page of tasks"),
    Operation(
        "GET",
        "/v2/info/import",
        "The ways of import",
        {200: answer("They.", closed({"import-methods": {"type": "object"}}))},
    ),
    Operation(
        "GET",
        "/v2/info/stores",
        "The stores",
        {200: answer("They.", "stores")},
        (404,),
        more="404 where stores have no names.",
    ),
    Operation(
        "GET",
        "/v2/info/usage",
        "What the caller's project uses of its quotas, and may",
        {200: answer("It.", "usage")},
    ),
    Operation(
        "GET",
        "/v2/info/stores/detail",
        "The stores, and how they are configured",
        {200: answer("They.", "stores")},
        (403, 404),
        more="404 where stores have no names.",
    ),
)
