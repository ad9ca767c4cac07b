"""The data of images, and where it is."""

from __future__ import annotations

from registry.web.openapi.parts import (
    ANY,
    COUNT,
    DONE,
    JSON,
    OCTETS,
    TEXT,
    Answer,
    Operation,
    Parameter,
    answer,
)

MANIFEST = "application/vnd.cacheproxy.manifest"
_TAG = {"ETag": "A strong validator."}
_UPLOAD = {"Upload-Offset": "The bytes that are stored.", "Upload-Complete": "?1 if it is all."}
_RANGE = Parameter("Range", "One range of bytes.", place="header")
_PREFER = Parameter("prefer", "Names of stores to be read first, with commas.")

DATA = (
    Operation(
        "GET",
        "/v2/images/{image_id}/locations",
        "Where the data is, for services",
        {200: answer("The places.", {"type": "array", "items": {"type": "object"}})},
        (403, 404),
    ),
    Operation(
        "POST",
        "/v2/images/{image_id}/locations",
        "Add the place where the data is",
        {202: Answer("It is added; its hashes follow.")},
        (403, 404, 409, 413),
        body={
            JSON: {
                "type": "object",
                "required": ["url"],
                "properties": {"url": TEXT, "validation_data": {"type": "object"}},
            }
        },
    ),
    Operation(
        "GET",
        "/v2/images/{image_id}/file",
        "Download the data",
        {
            200: Answer(
                "All of it.", {OCTETS: ANY}, _TAG | {"Content-MD5": "The md5 of all, in hex."}
            ),
            206: Answer("The range that was asked for.", {OCTETS: ANY}, _TAG),
            204: Answer("There is none (yet)."),
            304: Answer("It is what If-None-Match names.", headers=_TAG),
        },
        (403, 404, 416),
        (_RANGE, _PREFER),
        more="HEAD, ETag and ranges on every store are not Glance's.",
    ),
    Operation(
        "HEAD",
        "/v2/images/{image_id}/file",
        "The header fields of a download (not Glance's)",
        {
            200: Answer("They.", headers=_TAG),
            204: Answer("There is no data (yet)."),
            304: Answer("It is what If-None-Match names."),
        },
        (403, 404),
        (_PREFER,),
    ),
    Operation(
        "PUT",
        "/v2/images/{image_id}/file",
        "Upload the data",
        {204: DONE},
        (403, 404, 409, 410, 413, 415, 417),
        (
            Parameter("X-Image-Meta-Store", "The store, by name.", place="header"),
            Parameter(
                "x-openstack-image-size", "The size, if there is no Content-Length.", TEXT, "header"
            ),
        ),
        body={OCTETS: ANY},
        more="415 also where the data is not of the image's disk_format.",
    ),
    Operation(
        "HEAD",
        "/v2/images/{image_id}/upload",
        "How much of a resumable upload has come (not Glance's)",
        {204: Answer("So much.", headers=_UPLOAD)},
        (403, 404),
        more="docs/uploads.md",
    ),
    Operation(
        "PATCH",
        "/v2/images/{image_id}/upload",
        "Send more of a resumable upload (not Glance's)",
        {204: Answer("It is stored.", headers=_UPLOAD)},
        (403, 404, 409, 410, 413, 415, 417),
        (
            Parameter("Upload-Offset", "Where it goes on.", place="header"),
            Parameter("Upload-Complete", "?1 with the last bytes, else ?0.", place="header"),
        ),
        body={"application/partial-upload": ANY},
        more="docs/uploads.md",
    ),
    Operation(
        "DELETE",
        "/v2/images/{image_id}/upload",
        "Give a resumable upload up (not Glance's)",
        {204: DONE},
        (403, 404, 409),
        more="docs/uploads.md",
    ),
    *(
        Operation(
            method,
            "/v2/images/{image_id}/download-right",
            "Whether one may download, without data (not Glance's)",
            {204: Answer("One may.")},
            (403, 404),
            (_PREFER,),
        )
        for method in ("GET", "HEAD")
    ),
    *(
        Operation(
            method,
            "/v2/images/{image_id}/manifest",
            "The manifest of the data (not Glance's)",
            {
                200: Answer(
                    "The root document, or pages.",
                    {MANIFEST: ANY} if method == "GET" else {},
                    _TAG,
                ),
                304: Answer("It is what If-None-Match names.", headers=_TAG),
            },
            (403, 404),
            (
                Parameter("page", "The number of a page.", COUNT),
                Parameter(
                    "pages", "How many pages from there on.", {"type": "integer", "minimum": 1}
                ),
            ),
            more="docs/manifest.md",
        )
        for method in ("GET", "HEAD")
    ),
    Operation(
        "DELETE",
        "/v2/stores/{store}/{image_id}",
        "Take an image's data out of a store",
        {204: DONE},
        (403, 404, 409),
    ),
)
