"""The calls of staging, import and tasks."""

from __future__ import annotations

from registry.web.openapi.parts import JSON, OCTETS, TEXT, Answer, Operation, Parameter, closed

IMPORTS = (
    Operation(
        "PUT",
        "/v2/images/{image_id}/stage",
        "Send the data, to be imported later",
        {204: Answer("Done.")},
        (403, 404, 409, 410, 413, 415, 417),
        (
            Parameter(
                "x-openstack-image-size", "The size, if there is no Content-Length.", TEXT, "header"
            ),
        ),
        body={OCTETS: {}},
    ),
    Operation(
        "POST",
        "/v2/images/{image_id}/import",
        "Import the data: what was staged, or from elsewhere",
        {202: Answer("It goes on; the record and its tasks tell how far.")},
        (403, 404, 409, 413),
        (Parameter("X-Image-Meta-Store", "The store, by name.", place="header"),),
        body={
            JSON: {
                "type": "object",
                "required": ["method"],
                "properties": {
                    "method": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": TEXT, "uri": TEXT},
                    },
                    "stores": {"type": "array", "items": TEXT},
                    "all_stores": {"type": "boolean"},
                    "all_stores_must_succeed": {"type": "boolean"},
                },
            }
        },
    ),
    Operation(
        "GET",
        "/v2/images/{image_id}/tasks",
        "What goes on behind its import",
        {200: Answer("The tasks.", {JSON: closed({"tasks": {"type": "array"}})})},
        (404,),
    ),
    Operation(
        "GET",
        "/v2/tasks",
        "List tasks",
        {200: Answer("A page of them.", {JSON: {"type": "object"}})},
        (403,),
    ),
    Operation(
        "POST",
        "/v2/tasks",
        "Make an image of what is on the web",
        {201: Answer("The task.", {JSON: {"type": "object"}}, {"Location": "Where it is."})},
        (403,),
        body={
            JSON: {
                "type": "object",
                "required": ["type", "input"],
                "properties": {"type": TEXT, "input": {"type": ["object", "null"]}},
            }
        },
    ),
    Operation(
        "GET",
        "/v2/tasks/{task_id}",
        "Show a task",
        {200: Answer("It.", {JSON: {"type": "object"}})},
        (403, 404),
    ),
    Operation(
        "DELETE",
        "/v2/tasks/{task_id}",
        "Not possible: tasks go by themselves",
        {405: Answer("Always.")},
        (403,),
    ),
)
